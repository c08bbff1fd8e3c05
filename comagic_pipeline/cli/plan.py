"""`load --plan`: estimate a load. What the warehouse does not know is asked of the API, at a point a report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import (
    ComagicError,
    DayPointsSpentError,
    MethodUnavailableError,
    PeriodTooLongError,
)
from comagic_pipeline.api.quota import Allowance, effective_reserve, utc_now
from comagic_pipeline.api.readers.dictionaries import DictionaryReader
from comagic_pipeline.api.readers.periods import longest_windows
from comagic_pipeline.api.requests import RowRequests
from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog import tables as methods_by_table
from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.cli.options import check_tables
from comagic_pipeline.cli.outcome import fail
from comagic_pipeline.config import Config, Source
from comagic_pipeline.config.calendar import check_period, today
from comagic_pipeline.operations.api_client import open_client, source_key
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.operations.customers import user_ids
from comagic_pipeline.operations.points.plan import (
    Period,
    Plan,
    TablePlan,
    Volumes,
    done_on,
    known_volumes,
    missing_periods,
    plan_load,
)
from comagic_pipeline.operations.points.shared_quota import known_points

_LAST_SECOND = time(23, 59, 59)


@dataclass(frozen=True)
class PlanSummary:
    """A plan beside what is left of the day's points (`day`), of which `reserve` would be left untouched.

    `done_on` is None where the API does not tell enough. `points_spent` went into asking; `not_asked` says why no more
    was asked.
    """

    plan: Plan
    day: Allowance
    reserve: int
    today: date
    done_on: date | None
    points_spent: int
    not_asked: str | None

    def as_json(self) -> dict[str, object]:
        """Return the summary for machines; days as YYYY-MM-DD, moments as ISO 8601, None for what is not known."""
        return {
            "source": self.plan.source,
            "first_day": self.plan.first_day.isoformat(),
            "last_day": self.plan.last_day.isoformat(),
            "tables": {
                line.table: {name: value for name, value in vars(line).items() if name != "table"}
                for line in self.plan.tables
            },
            "rows": self.plan.rows,
            "points": self.plan.points,
            "is_least": self.plan.is_least,
            "day_points": {
                "limit": self.day.limit,
                "remaining": self.day.remaining,
                "resets_at": self.day.resets_at.isoformat() if self.day.resets_at else None,
                "reserve": self.reserve,
            },
            "done_on": self.done_on.isoformat() if self.done_on else None,
            "points_spent": self.points_spent,
            "not_asked": self.not_asked,
        }


def plan(
    config: Config,
    source: Source,
    first_day: date,
    last_day: date,
    tables: Sequence[str],
    *,
    only_missing: bool = False,
) -> PlanSummary:
    """Return what a load of days of a source, both included, would take.

    `tables` empty means all that the config chooses.

    `only_missing` leaves out the days of reports that the ledger has. Raises ConfigError, WarehouseError,
    EmbeddedServerError, and what Client.call raises but for the day's points.
    """
    check_period(source, first_day, last_day)
    check_tables(source, tables)
    reserve = source.day_points.reserve
    with open_warehouse(config) as warehouse, open_client(source, warehouse, reserve=reserve) as client:
        known = known_volumes(warehouse, source, first_day, last_day, tables)
        parts = missing_periods(warehouse, source, first_day, last_day, tables) if only_missing else {}
        volumes, not_asked = Questions(client, source, first_day, last_day, parts).ask(known, tables)
        planned = plan_load(source, volumes, first_day, last_day, tables, parts)
        now = utc_now()
        day = known_points(warehouse, source_key(source), now).allowances["day"]
        return PlanSummary(
            planned,
            day,
            effective_reserve(reserve, day.limit),
            today(source, now),
            done_on(planned.points, day, reserve, source, now),
            client.quota.points_spent,
            not_asked,
        )


@dataclass(frozen=True)
class Questions:
    """What the API is asked for a plan of days, both included: one request for a report of which nothing is known.

    `parts` as of `plan_load`. Of an agent's customers the first stands for all.
    """

    client: Client
    source: Source
    first_day: date
    last_day: date
    parts: Mapping[str, Sequence[Period]] = field(default_factory=dict)

    def ask(self, known: Volumes, tables: Sequence[str] = ()) -> tuple[Volumes, str | None]:
        """Return what is known and what the API tells of the rest; and why not all was asked, None if it was.

        `tables` empty means all of the source. Raises what Client.call raises but for the day's points.
        """
        chosen = set(tables or self.source.chosen_tables) - known.skipped
        methods = [method for method in REPORTS if method.table in chosen and self._parts(method)]
        volumes = known
        try:
            if methods and not volumes.customers:
                volumes = replace(volumes, customers=self._customers())
            for customer in volumes.customers[:1]:
                for method in methods:
                    volumes = self._with(volumes, method, customer)
        except DayPointsSpentError as error:
            return volumes, str(error)
        return volumes, None

    def _with(self, volumes: Volumes, method: Method, customer: int) -> Volumes:
        """Volumes with what a report costs by: sites if it is asked for site by site, else rows if they fill pages.

        Rows of a report of sites would take a request for each, and not all of them come with a count.
        """
        try:
            if method.needs_site and volumes.count("sites", customer) is None:
                sites = self._sites(customer)
                return volumes if sites is None else replace(volumes, rows={**volumes.rows, ("sites", customer): sites})
            if method.needs_site or method.time_column is None or volumes.density(method.table, customer) is not None:
                return volumes
            density = self._density(method, customer)
        except MethodUnavailableError:
            # What one customer's account refuses, another's may allow.
            return volumes if self.source.is_agent else replace(volumes, skipped=volumes.skipped | {method.table})
        if density is None:
            return volumes
        return replace(volumes, rows_a_day={**volumes.rows_a_day, (method.table, customer): density})

    def _density(self, method: Method, customer: int) -> float | None:
        """Return rows a day of the newest window, or of its end where the API takes no window so long.

        None if uncounted.
        """
        chosen = self.source.filter(method.table)
        filters = {"filter": chosen.tree} if chosen and chosen.tree else {}
        requests = self._requests(method, customer, filters)
        begin, end = next(longest_windows(method, *self._parts(method)[-1]))
        while True:
            try:
                answer = requests.page_of_period(datetime.combine(begin, time()), datetime.combine(end, _LAST_SECOND))
            except PeriodTooLongError:
                if begin == end:
                    raise
                begin = end - (end - begin) // 2
            else:
                return None if answer.total is None else answer.total / ((end - begin).days + 1)

    def _parts(self, method: Method) -> Sequence[Period]:
        return self.parts.get(method.table, [(self.first_day, self.last_day)])

    def _sites(self, customer: int) -> int | None:
        return self._requests(methods_by_table()["sites"], customer).page().total

    def _requests(self, method: Method, customer: int, params: Mapping[str, Any] | None = None) -> RowRequests:
        user = {"user_id": customer} if customer else {}
        return RowRequests(self.client, method, self.source.zone, {**user, **(params or {})}, page_rows=1)

    def _customers(self) -> tuple[int, ...]:
        """Return the users on whose behalf an agent asks; of the list all is needed, not its length."""
        users, _ = DictionaryReader(self.client, methods_by_table()["customer_users"], self.source.zone).read()
        names = ("id", "customer_id")
        return tuple(user_ids(self.source, lambda: [{name: getattr(user, name) for name in names} for user in users]))


def show(summary: PlanSummary, console: Console) -> None:
    """Print a plan for people."""
    plan, day = summary.plan, summary.day
    table = Table(title=f"{plan.source} {plan.first_day} to {plan.last_day}")
    table.add_column("table")
    for name in ("days", "rows", "points"):
        table.add_column(name, justify="right")
    for line in plan.tables:
        days = "" if line.days is None else str(line.days)
        table.add_row(line.table, days, _rows(line), _points(line))
    table.add_section()
    table.add_row("all", "", _all_rows(plan), _points(plan))
    console.print(table)
    if day.remaining is None:
        console.print("The API has not told how many points are left today.")
    else:
        of_limit = "" if day.limit is None else f" of {day.limit}"
        console.print(f"{day.remaining}{of_limit} points are left today; {summary.reserve} are kept in reserve.")
    if summary.done_on is None:
        console.print("When it is done cannot be told.")
    else:
        when = "today" if summary.done_on == summary.today else f"on {summary.done_on}"
        console.print(f"Done {when}{' at the earliest' if plan.is_least else ''}.")
    if summary.not_asked:
        console.print(f"Not all was asked: {summary.not_asked}", soft_wrap=True)
    if summary.points_spent:
        console.print(f"Asking took {summary.points_spent} of the day's points.")


def _rows(line: TablePlan) -> str:
    return "no access" if line.is_skipped else "unknown" if line.rows is None else str(line.rows)


def _all_rows(plan: Plan) -> str:
    is_least = any(line.rows is None and not line.is_skipped for line in plan.tables)
    return f"at least {plan.rows}" if is_least else str(plan.rows)


def _points(planned: Plan | TablePlan) -> str:
    return f"at least {planned.points}" if planned.is_least else str(planned.points)


def show_plan(
    config: Config,
    source: Source,
    begin: date,
    till: date,
    tables: tuple[str, ...],
    only_missing: bool,
    as_json: bool,
) -> None:
    """Show what a load would take."""
    try:
        summary = plan(config, source, begin, till, tables, only_missing=only_missing)
    except ComagicError as error:
        fail(str(error), 1)
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False))
    else:
        show(summary, Console())
