"""Choose the next run for pending days, when points are back or a failure may have passed.

Pending days are in the warehouse. Newest days come first, one run at a time for each source, with periods as long as a
request may span; the star, which costs no points, at once. Days of runs that a person cancelled are discarded, and so
are days that retention deletes.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunRequest, RunsFilter
from sqlalchemy import Connection

from comagic_pipeline.api.errors import ComagicError
from comagic_pipeline.api.quota import Allowance, Clock, effective_reserve, utc_now
from comagic_pipeline.api.readers.windows import longest_until
from comagic_pipeline.api.requests import MAX_OFFSET, PAGE_ROWS
from comagic_pipeline.config import Config, Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.automation.recovery import close_silent_runs, show_loaded_days
from comagic_pipeline.dagster.runs import CONTINUES, RANGE_END, RANGE_START, UNFINISHED, WAITED_FOR
from comagic_pipeline.operations.api_client import open_client, source_key
from comagic_pipeline.operations.points.shared_quota import known_points
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import pending_days as waiting
from comagic_pipeline.warehouse.ops.pending_days import WaitingPeriod
from comagic_pipeline.warehouse.star.tables import kinds_of, star_of

_SURE_TO_HELP = MAX_OFFSET // PAGE_ROWS + 1
"""Points that reach for any part of a report that has to be loaded at once: so many pages has a window at most."""
_ASK_ANEW = timedelta(minutes=15)
"""How long it is believed that no points are left, while days wait for them."""
_UNHEARD_OF = timedelta(minutes=10)
"""A run that was asked for and has not begun after so long will not begin."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Continuation:
    """A run to begin: days in a row, both included, of reports and of facts of the star of a source."""

    source: Source
    reports: tuple[str, ...]
    facts: tuple[str, ...]
    first_day: date
    last_day: date
    waited_for: str

    @property
    def request(self) -> RunRequest:
        """The request for the run."""
        built = star_of(self.source.chosen_tables).items()
        star = [table.name for kind, tables in built if kind.facts.name in self.facts for table in tables]
        selection: list[AssetKey] = [asset_key(self.source, name) for name in (*self.reports, *star)]
        return RunRequest(
            asset_selection=selection,
            tags={
                RANGE_START: self.first_day.isoformat(),
                RANGE_END: self.last_day.isoformat(),
                CONTINUES: self.source.name,
                WAITED_FOR: self.waited_for,
            },
        )


def next_run(
    config: Config, source: Source, instance: DagsterInstance, warehouse: Warehouse, clock: Clock = utc_now
) -> Continuation | str:
    """Return the run of a source that is to begin now, noted as begun; else why there is none, for a person.

    First tidies up: dead runs are closed and what they had loaded is shown; what a cancelled run left is forgotten, and
    what the configuration has no more.
    Raises ConfigError when the key cannot be looked up.
    """
    close_silent_runs(config, instance, warehouse)
    with warehouse.begin() as connection:
        _forget_what_is_no_more(connection, source)
        left = waiting.waiting_periods(connection, source.account_id)
        statuses = _statuses(instance, {period.run_id for period in left})
        for run_id, status in statuses.items():
            if status == DagsterRunStatus.CANCELED:
                waiting.forget(connection, source.account_id, run_id=run_id)
            elif status == DagsterRunStatus.SUCCESS:
                # It has loaded all that it was asked for; what it leaves is the star of the days that it changed.
                waiting.forget(connection, source.account_id, source.reports, run_id=run_id)
        _forget_what_is_old(connection, source, left, statuses, clock())
        left = waiting.waiting_periods(connection, source.account_id)
    left = [period for period in left if statuses.get(period.run_id) not in (*UNFINISHED, DagsterRunStatus.CANCELED)]
    silent = [period.run_id for period in left if period.reason is None and period.not_before is None]
    died = {run_id for run_id in silent if statuses.get(run_id) != DagsterRunStatus.SUCCESS}
    if died:
        show_loaded_days(config, instance, warehouse)
        with warehouse.begin() as connection:
            waiting.leave_interrupted(connection, source.account_id, died)
    going_on = instance.get_runs(RunsFilter(tags={CONTINUES: source.name}, statuses=list(UNFINISHED)), limit=1)
    if going_on:
        return f"the run {going_on[0].run_id} goes on with days that wait"
    if not left:
        return "no days wait"
    now = clock()
    found = choose(source, left, _day_points(source, warehouse, clock), now)
    if isinstance(found, Continuation):
        with warehouse.begin() as connection:
            tables = (*found.reports, *found.facts)
            waiting.count_try(connection, source.account_id, tables, found.first_day, found.last_day, now + _UNHEARD_OF)
    return found


def _forget_what_is_no_more(connection: Connection, source: Source) -> None:
    waiting.forget(connection, source.account_id, last_day=source.start_date - _DAY)
    tables = {period.table_name for period in waiting.waiting_periods(connection, source.account_id)}
    if gone := tables - source.chosen_tables - source.reports.keys():
        waiting.forget(connection, source.account_id, gone)


def _forget_what_is_old(
    connection: Connection,
    source: Source,
    left: Sequence[WaitingPeriod],
    statuses: Mapping[str, DagsterRunStatus],
    now: datetime,
) -> None:
    """Days that retention deletes are for a person to load; those that a run has in hand are left to it."""
    facts = {kind.facts.name for kind in kinds_of(source.chosen_tables)}
    custom = {report.asset_name for report in source.custom_reports}
    for period in left:
        name = period.table_name
        layer = "star" if name in facts else "custom_reports" if name in custom else "raw"
        kept = source.horizon(layer, today(source, now))
        # `load --missing` notes its days a moment before its run is there.
        is_in_hand = statuses.get(period.run_id) in UNFINISHED or (
            period.run_id not in statuses and now - period.asked_at < _UNHEARD_OF
        )
        if kept is not None and period.first_day < kept and not is_in_hand:
            waiting.forget(connection, source.account_id, [name], last_day=kept - _DAY, run_id=period.run_id)


def _day_points(source: Source, warehouse: Warehouse, clock: Clock) -> Allowance:
    """Return what is known of the day's points; asks when it was told long ago that there are none.

    They may have been bought since, and while there are none a request costs none.
    """
    known = known_points(warehouse, source_key(source), clock())
    if known.allowances["day"].remaining == 0 and known.told_at and clock() - known.told_at > _ASK_ANEW:
        with suppress(ComagicError), open_client(source, warehouse, attempts=1, insists=True, clock=clock) as client:
            # get.account needs a customer, who may refuse it.
            client.call("get.customer_users" if source.is_agent else "get.account")
        known = known_points(warehouse, source_key(source), clock())
    return known.allowances["day"]


def choose(source: Source, left: Sequence[WaitingPeriod], points: Allowance, now: datetime) -> Continuation | str:
    """Return the run to begin first for pending periods that no run has, within the day's remaining points.

    Star days whose report waits too are built by the run that loads it.
    """
    kinds = {kind.facts.name: kind.report for kind in kinds_of(source.chosen_tables)}
    reports = _days_by_table(period for period in left if period.table_name not in kinds)
    facts = _days_by_table(
        period for period in left if period.table_name in kinds and not period.is_given_up and _is_due(period, now)
    )
    free = {name: days - reports.get(kinds[name], set()) for name, days in facts.items()}
    if any(free.values()):
        tables, first_day, last_day = _newest(free)
        return Continuation(source, (), tables, first_day, last_day, "report")
    spendable = None
    if points.remaining is not None:
        spendable = points.remaining - effective_reserve(source.day_points.reserve, points.limit)
    paid = [
        period
        for period in left
        if period.table_name not in kinds
        and not period.is_given_up
        and (_is_due(period, now) or (period.reason == waiting.POINTS and (spendable or 0) >= _SURE_TO_HELP))
    ]
    if paid and (spendable is None or spendable > 0):
        tables, first_day, last_day = _newest(_days_by_table(paid), longest=True)
        built = tuple(name for name, report in kinds.items() if report in tables)
        reason = next(period.reason for period in paid if period.table_name in tables and period.last_day >= last_day)
        return Continuation(source, tables, built, first_day, last_day, reason or "")
    days = sum(len(_days(period)) for period in left)
    given_up = sum(len(_days(period)) for period in left if period.is_given_up)
    if given_up == days:
        return f"{given_up} days of tables failed too often: see the journal, then load them yourself"
    moments = [period.not_before for period in left if period.not_before and period.not_before > now]
    if spendable is not None and spendable <= 0 and points.resets_at:
        moments.append(points.resets_at)
    until = f"until {min(moments):%Y-%m-%d %H:%M} UTC" if moments else "for points"
    return f"{days} days of tables wait {until}"


_LONGEST_PAUSE = timedelta(days=1, hours=1)


def _is_due(period: WaitingPeriod, now: datetime) -> bool:
    # A time that no pause and no reset reaches was written by a clock that was ahead, or told by the API in error.
    return period.not_before is None or not now < period.not_before <= now + _LONGEST_PAUSE


def _days(period: WaitingPeriod) -> list[date]:
    return [period.first_day + number * _DAY for number in range((period.last_day - period.first_day).days + 1)]


def _days_by_table(periods: Iterable[WaitingPeriod]) -> dict[str, set[date]]:
    found: dict[str, set[date]] = {}
    for period in periods:
        found.setdefault(period.table_name, set()).update(_days(period))
    return found


def _newest(days: Mapping[str, set[date]], *, longest: bool = False) -> tuple[tuple[str, ...], date, date]:
    """Return the newest days in a row, and the tables that lack all of them; `longest` when a request must hold them.

    A table that lacks only some of them has a run of its own: to cut the period for it would cost the others points.
    """
    last_day = max(max(of_table) for of_table in days.values() if of_table)
    first_day = last_day
    while any(first_day - _DAY in of_table and _has_all(of_table, first_day, last_day) for of_table in days.values()):
        first_day -= _DAY
    if longest:
        first_day = max(first_day, longest_until(last_day))
    tables = (name for name, of_table in days.items() if _has_all(of_table, first_day, last_day))
    return tuple(sorted(tables)), first_day, last_day


def _has_all(days: set[date], first_day: date, last_day: date) -> bool:
    return all(first_day + number * _DAY in days for number in range((last_day - first_day).days + 1))


def _statuses(instance: DagsterInstance, run_ids: set[str]) -> dict[str, DagsterRunStatus]:
    if not run_ids:
        return {}
    return {run.run_id: run.status for run in instance.get_runs(RunsFilter(run_ids=sorted(run_ids)))}
