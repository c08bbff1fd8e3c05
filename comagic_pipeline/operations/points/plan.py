"""Estimate a load: rows, points, and the day on which it is done. No request is sent.

The estimate is the least that a report can cost: a point for each 10 000 rows of each of its windows, at least one.
Numbers of rows come from what the warehouse knows (`Volumes`); `cli/plan.py` may ask the API for the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache, partial
from itertools import takewhile
from math import ceil

from comagic_pipeline.api.quota import Allowance, effective_reserve
from comagic_pipeline.api.readers.dictionaries import lists_of
from comagic_pipeline.api.readers.periods import longest_windows
from comagic_pipeline.api.requests import PAGE_ROWS
from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog import tables as methods_by_table
from comagic_pipeline.catalog.table_names import DICTIONARIES, REPORTS
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.core.cron import ticks
from comagic_pipeline.operations.customers import user_ids
from comagic_pipeline.operations.ledger import complete_days
from comagic_pipeline.operations.points.scheduled_loads import (
    HOURLY,
    NIGHTLY,
    OF_REPORT,
    ScheduledLoad,
    scheduled_loads,
    scheduled_reports,
)
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.pending_days import periods
from comagic_pipeline.warehouse.quality.row_rates import (
    OfCustomer,
    dictionary_rows,
    rows_a_day,
    skipped_tables,
)
from comagic_pipeline.warehouse.raw.tables import stored_rows

Period = tuple[date, date]
"""Days in a row, by the first and the last of them."""

_DAY = timedelta(days=1)
_SOMEBODY = -1
"""A customer of whom there is at least one, while nobody knows them."""


@dataclass(frozen=True)
class Volumes:
    """How much there is of a source, as far as it is known.

    `customers` are the users on whose behalf it asks: 0 for an account that is nobody's agent, none while the customers
    of an agent are not known. `rows_a_day` of reports and `rows` of dictionaries are those of a table and customer.
    `skipped` are the tables that the account has no access to.
    """

    customers: tuple[int, ...]
    rows_a_day: Mapping[OfCustomer, float] = field(default_factory=dict)
    rows: Mapping[OfCustomer, int] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()

    def density(self, table: str, customer: int) -> float | None:
        """Return rows a day of a report; None when it is not known of any customer."""
        return _of(self.rows_a_day, table, customer)

    def count(self, table: str, customer: int) -> int | None:
        """Return rows of a dictionary; None when they are not known of any customer."""
        rows = _of(self.rows, table, customer)
        return None if rows is None else ceil(rows)


def _of(known: Mapping[OfCustomer, float], table: str, customer: int) -> float | None:
    """Return what is known of a customer, or as much as others have on average."""
    if (table, customer) in known:
        return known[table, customer]
    others = [value for (name, _), value in known.items() if name == table]
    return sum(others) / len(others) if others else None


@dataclass(frozen=True)
class TablePlan:
    """What a table will take. `days` is None for a dictionary, `rows` while they are not known.

    `is_least` when it may cost more, for rows, sites or customers are not known. `is_skipped` when the account has no
    access to it: a refusal is free.
    """

    table: str
    days: int | None
    rows: int | None
    points: int
    is_least: bool = False
    is_skipped: bool = False


@dataclass(frozen=True)
class Plan:
    """What a load of days, both included, will take, by raw table: the star costs nothing."""

    source: str
    first_day: date
    last_day: date
    tables: tuple[TablePlan, ...]

    @property
    def points(self) -> int:
        """The points of all tables: the least that the load can cost."""
        return sum(table.points for table in self.tables)

    @property
    def rows(self) -> int:
        """The rows of all tables of which they are known."""
        return sum(table.rows or 0 for table in self.tables)

    @property
    def is_least(self) -> bool:
        """True when it may cost more, for something is not known."""
        return any(table.is_least for table in self.tables)


def known_volumes(
    warehouse: Warehouse, source: Source, first_day: date, last_day: date, tables: Collection[str] = ()
) -> Volumes:
    """Return what the warehouse knows of tables (empty: all that the source has) for a load of days, both included."""
    tables = set(tables or (*source.chosen_tables, *source.reports)) | {"sites"}
    users = methods_by_table()["customer_users"]
    with warehouse.connect() as connection:
        stored = partial(stored_rows, connection, users, source.account_id, 0, ("id", "customer_id"))
        customers = tuple(user_ids(source, stored))
    reports = [name for name in source.reports if name in tables]
    dictionaries = [method for method in DICTIONARIES if method.table in tables]
    return Volumes(
        customers,
        rows_a_day(warehouse, source.account_id, source.timezone, reports, customers, first_day, last_day),
        dictionary_rows(warehouse, source.account_id, dictionaries),
        skipped_tables(warehouse, source.account_id),
    )


def missing_periods(
    warehouse: Warehouse, source: Source, first_day: date, last_day: date, tables: Collection[str] = ()
) -> dict[str, Sequence[Period]]:
    """Return the days of a period, both ends included, that reports lack, oldest first.

    `tables` empty means all reports.
    """
    days = [first_day + number * _DAY for number in range((last_day - first_day).days + 1)]
    with warehouse.connect() as connection:
        loaded = complete_days(source, connection)
    return {
        name: periods([day for day in days if day not in loaded.get(name, {})])
        for name in source.reports
        if name in (tables or source.chosen_tables)
    }


def plan_load(
    source: Source,
    volumes: Volumes,
    first_day: date,
    last_day: date,
    tables: Collection[str] = (),
    parts: Mapping[str, Sequence[Period]] | None = None,
) -> Plan:
    """Return what a load of these days, both included, will take; `tables` empty means all that the source has.

    `parts` are the periods to load of the reports that need not all of these days.
    """
    chosen, parts = tables or source.chosen_tables, parts or {}
    free = {report.asset_name for report in source.custom_reports if source.holds(report)}
    reports = [
        _report(volumes, name, method, parts.get(name, [(first_day, last_day)]), is_free=name in free)
        for name, method in ({method.table: method for method in REPORTS} | source.reports).items()
        if name in chosen
    ]
    dictionaries = [_dictionary(volumes, method) for method in DICTIONARIES if method.table in chosen]
    return Plan(source.name, first_day, last_day, (*reports, *dictionaries))


def _report(
    volumes: Volumes, name: str, method: Method, parts: Sequence[Period], *, is_free: bool = False
) -> TablePlan:
    """Return what a report takes; one that `is_free` reads what raw tables hold."""
    windows = [_length(*window) for part in parts for window in longest_windows(method, *part)]
    days = sum(windows)
    if name in volumes.skipped:
        return TablePlan(name, days, None, 0, is_skipped=True)
    if not days:
        return TablePlan(name, 0, 0, 0)
    customers = volumes.customers or (_SOMEBODY,)
    densities = [volumes.density(name, customer) for customer in customers]
    rows = None if None in densities else round(days * sum(density or 0 for density in densities))
    if is_free:
        return TablePlan(name, days, rows, 0)
    sites = [volumes.count("sites", customer) if method.needs_site else 1 for customer in customers]
    points = 0
    for density, of_customer in zip(densities, sites, strict=True):
        # Of sites nothing is known but their number: they are taken to be alike.
        asked = 1 if of_customer is None else of_customer
        points += asked * sum(_pages((density or 0) * window / max(asked, 1)) for window in windows)
    # The sums of a day fill no page, however many rows they are.
    is_known = None not in densities or method.time_column is None
    return TablePlan(
        name,
        days,
        rows,
        points,
        is_least=not (is_known and volumes.customers and None not in sites),
    )


def _length(first_day: date, last_day: date) -> int:
    return (last_day - first_day).days + 1


def _dictionary(volumes: Volumes, method: Method) -> TablePlan:
    if method.table in volumes.skipped:
        return TablePlan(method.table, None, None, 0, is_skipped=True)
    customers = (0,) if method.group == "agent" else volumes.customers or (_SOMEBODY,)
    counts = [volumes.count(method.table, customer) for customer in customers]
    points = sum(max(len(lists_of(method)), _pages(count or 0)) for count in counts)
    rows = None if None in counts else sum(count or 0 for count in counts)
    return TablePlan(method.table, None, rows, points, is_least=method.group != "agent" and not volumes.customers)


def _pages(rows: float) -> int:
    """Return how many requests take so many rows; a look whether there are any takes one."""
    return max(1, ceil(round(rows) / PAGE_ROWS))


def done_on(points: int, day: Allowance, reserve: int, source: Source, now: datetime) -> date | None:
    """Return the day, by the clock of the account, on which a load is done that leaves the reserve on each day.

    `day` is what is known of the day's points, `now` is aware. None where the API does not tell enough.
    """
    if day.remaining is None:
        return None
    untouched = effective_reserve(reserve, day.limit)
    missing = points - max(0, day.remaining - untouched)
    if missing <= 0:
        return today(source, now)
    if not day.limit:
        return None
    # Where nobody tells when the day ends, it is no longer than a day until then.
    first_reset = day.resets_at or now + _DAY
    return today(source, first_reset + (ceil(missing / (day.limit - untouched)) - 1) * _DAY)


def nightly_points(source: Source, volumes: Volumes, day: date) -> int:
    """Return the points that the nightly load of a day will take."""
    return sum(_points_of(source, volumes, load, day) for load in scheduled_loads(source) if load.name == NIGHTLY)


def normal_day_points(source: Source, volumes: Volumes, day: date) -> int:
    """Return the points that all scheduled loads of a day will take."""
    midnight, next_midnight = (datetime.combine(each, time(), source.zone) for each in (day, day + _DAY))
    return points_until_reset(source, volumes, midnight, next_midnight)


def points_until_reset(
    source: Source,
    volumes: Volumes,
    now: datetime,
    resets_at: datetime,
    names: Collection[str] = (NIGHTLY, HOURLY, OF_REPORT),
) -> int:
    """Return the points that the scheduled loads of these names will take until the day's points start anew.

    Both moments are aware; a load that begins at `now` is not counted, one at `resets_at` is.
    """
    points = 0
    loads = (*scheduled_loads(source), *scheduled_reports(source).values())
    for load in (load for load in loads if load.name in names):
        of_day = cache(partial(_points_of, source, volumes, load))
        due = takewhile(lambda tick: tick <= resets_at, ticks(load.cron_schedule, now, source.zone))
        points += sum(of_day(today(source, tick)) for tick in due)
    return points


def _points_of(source: Source, volumes: Volumes, load: ScheduledLoad, day: date) -> int:
    return plan_load(source, volumes, *load.period(source, day), load.tables).points
