"""Count or delete, month by month, what is older than the first kept day, of one account in one layer.

A month of a report or of a kind of facts is one transaction, with its lines in the load log: an interruption leaves a
month as it was, or deleted. Which days are kept is decided by the caller.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, Protocol

import psycopg
from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, OperationalError

from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError, one_line
from comagic_pipeline.warehouse.monthly_partitions import (
    Partition,
    detached_partitions,
    drop_partition,
    stored_partitions,
)
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.reports.json_target import comagic_reports
from comagic_pipeline.warehouse.retention.dependents import dependents, foreign_keys, joined
from comagic_pipeline.warehouse.retention.star import Facts, Period
from comagic_pipeline.warehouse.star.tables import KINDS

Layer = Literal["raw", "star", "custom_reports"]
_LOCK_SECONDS = 5
"""How long the drop of a partition waits for those who read the table: meanwhile others wait behind it."""
_DAY = timedelta(days=1)


@dataclass
class Outdated:
    """Rows of a month of what is deleted together, by table: those that there are, or those that were deleted.

    `dropped` are the partitions that went as a whole; `names` are the assets. `obstacles` say in a sentence each what
    of other people depends on the month: then all of it stays.
    """

    layer: Layer
    period: Period
    rows: dict[str, int]
    dropped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    names: Collection[str] = ()
    obstacles: Sequence[str] = ()

    @property
    def total(self) -> int:
        """The rows of all tables."""
        return sum(self.rows.values())


class MonthsLeftError(WarehouseError):
    """Months that had to stay because something of other people depends on them; everything else is deleted."""

    def __init__(self, left: Sequence[str]) -> None:
        super().__init__(" ".join(left))


class _Part(Protocol):
    """What is deleted together: tables, by the names that the books have for it."""

    @property
    def names(self) -> Collection[str]:
        """The names."""

    def obstacles(self, connection: Connection, period: Period) -> list[str]:
        """Return what of other people depends on these days, so that they cannot be deleted: a sentence each."""

    def months(self, connection: Connection, horizon: date) -> set[date]:
        """Return the first days of the months that may have something older than the horizon."""

    def count(self, connection: Connection, period: Period) -> dict[str, int]:
        """Return rows of days, both included."""

    def delete(self, connection: Connection, period: Period) -> tuple[dict[str, int], list[str]]:
        """Delete the rows of days, both included; gives their numbers and the dropped partitions."""


def count_outdated(warehouse: Warehouse, account_id: int, layer: Layer, horizon: date) -> Iterator[Outdated]:
    """Yield what is older than the horizon, the first day that is kept; nothing is changed."""
    for part, period in _work(warehouse, account_id, layer, horizon):
        started = time.monotonic()
        with warehouse.begin() as connection:
            obstacles = part.obstacles(connection, period)
            rows = {} if obstacles else part.count(connection, period)
        seconds = time.monotonic() - started
        yield Outdated(layer, period, rows, seconds=seconds, names=part.names, obstacles=obstacles)


def delete_outdated(warehouse: Warehouse, account_id: int, layer: Layer, horizon: date) -> Iterator[Outdated]:
    """Delete what is older than the horizon, oldest months first; what was given is committed.

    A month that something of other people depends on stays as it is, and so does one whose deletion the server refuses.
    """
    for part, period in _work(warehouse, account_id, layer, horizon):
        started = time.monotonic()
        rows: dict[str, int] = {}
        dropped: list[str] = []
        with warehouse.begin() as connection:
            obstacles = part.obstacles(connection, period)
        if not obstacles:
            try:
                with warehouse.begin() as connection:
                    rows, dropped = part.delete(connection, period)
                    _note(connection, account_id, layer, period[1] + _DAY)
            except DBAPIError as error:
                if isinstance(error, OperationalError) or error.connection_invalidated:
                    raise  # the server, not the month
                obstacles = [f"the server refuses it ({one_line(error)}): correct that"]
        yield Outdated(layer, period, rows, dropped, time.monotonic() - started, part.names, obstacles)


def retained_from(connection: Connection, account_id: int, layer: Layer) -> date | None:
    """Return the first day of which nothing was deleted; None when nothing ever was."""
    columns = ops.retained_from.c
    mine = (columns.account_id == account_id) & (columns.layer == layer)
    found: date | None = connection.scalar(select(columns.first_day).where(mine))
    return found


def _work(warehouse: Warehouse, account_id: int, layer: Layer, horizon: date) -> Iterator[tuple[_Part, Period]]:
    """Yield what to do, month by month: the month of the horizon up to the day before it."""
    with warehouse.begin() as connection:
        parts = list(_parts(connection, warehouse, account_id, layer))
        months = [part.months(connection, horizon) for part in parts]
    for month in sorted(set().union(*months)):
        period = month, min(month + relativedelta(months=1), horizon) - _DAY
        yield from ((part, period) for part, its in zip(parts, months, strict=True) if month in its)


def _parts(connection: Connection, warehouse: Warehouse, account_id: int, layer: Layer) -> Iterator[_Part]:
    if layer == "star":
        yield from (Facts(warehouse, account_id, kind) for kind in KINDS)
        return
    if layer == "raw":
        for report in REPORTS:
            yield _Report(warehouse, account_id, "raw", [report.table], "event_date", [report.table])
        return
    books = ops.custom_reports.c
    known = connection.execute(
        select(ops.custom_reports).where(books.account_id == account_id).order_by(books.processor_id)
    ).all()
    for line in (line for line in known if comagic_reports.name not in line.tables):
        yield _Report(warehouse, account_id, "star", line.tables, "simple_date", [line.asset_name])
    if as_json := [line for line in known if comagic_reports.name in line.tables]:
        yield _JsonReports(
            warehouse,
            account_id,
            "star",
            [comagic_reports.name],
            "simple_date",
            [line.asset_name for line in as_json],
            processors=[line.processor_id for line in as_json],
        )


@dataclass(frozen=True)
class _Report:
    """Tables with monthly partitions that hold the days of reports, and the names of these in the books."""

    warehouse: Warehouse
    account_id: int
    schema: Literal["raw", "star"]
    tables: Sequence[str]
    day: str
    names: Collection[str]

    def months(self, connection: Connection, horizon: date) -> set[date]:
        """Of the tables, those that hold a row of the account; and those of the books."""
        found = {
            part.first_day.replace(day=1)
            for table_name in self.tables
            for part in stored_partitions(connection, self._schema, table_name)
            if part.first_day < horizon
            and self._holds(connection, table_name, (part.first_day, min(part.last_day, horizon - _DAY)))
        }
        for table_name in self.tables:
            detached = detached_partitions(connection, self._schema, table_name)
            found |= {part.first_day for part in detached if part.first_day < horizon}
        for book, name in ((ops.loaded_days, "day"), (ops.waiting_days, "day"), (ops.rejected_rows, "event_date")):
            month = func.date_trunc("month", book.c[name])
            mine = (book.c.account_id == self.account_id) & book.c.table_name.in_(self.names)
            days = connection.scalars(select(month).where(mine, book.c[name] < horizon).distinct())
            found |= {day.date() for day in days}
        return found

    def obstacles(self, connection: Connection, period: Period) -> list[str]:
        """Return what hinders the drop of a month, or the deletion of its rows."""
        return [
            obstacle
            for table_name in self._present(connection)
            for obstacle in (
                *self._detached(connection, table_name, period),
                *(
                    obstacle
                    for part in self._old_partitions(connection, table_name, period)
                    for obstacle in self._obstacles(connection, table_name, part, period)
                ),
            )
        ]

    def _detached(self, connection: Connection, table_name: str, period: Period) -> Iterator[str]:
        for part in detached_partitions(connection, self._schema, table_name):
            if part.first_day <= period[1] and part.last_day >= period[0]:
                table, name = (self.warehouse.quote(self.schema, each) for each in (table_name, part.name))
                yield f"{name} is detached from {table}: attach it, rename it or drop it"

    def _obstacles(self, connection: Connection, table_name: str, part: Partition, period: Period) -> Iterator[str]:
        table, name = (self.warehouse.quote(self.schema, each) for each in (table_name, part.name))
        is_dropped = self._is_whole(part, period) and not self._holds_others(connection, name)
        if is_dropped and (objects := dependents(connection, name)):
            yield f"{name} is needed by {joined(objects)}: drop that, or make it of {table}"
        for key in foreign_keys(connection, [table, name]):
            old = f"select * from {name} where {self._mine} and {self._of}"  # noqa: S608 - quoted names
            of_old = f"{key.table} as referencing join ({old}) as referenced on {key.join}"
            statement = f"select exists (select from {of_old})"  # noqa: S608 - quoted names
            if not key.cascades and connection.scalar(text(statement), self._values(self._days(part, period))):
                yield (
                    f"rows of {key.table} refer to rows of {name} (foreign key {key.name}): delete those rows, or drop "
                    "the foreign key"
                )

    def count(self, connection: Connection, period: Period) -> dict[str, int]:
        """Return rows of days, both included."""
        return {self._shown(name): self._count(connection, name, period) for name in self._present(connection)}

    def delete(self, connection: Connection, period: Period) -> tuple[dict[str, int], list[str]]:
        """Delete the rows of days with their lines in the books; drops partitions that hold nothing else."""
        rows, dropped = {}, []
        for table_name in self._present(connection):
            rows[self._shown(table_name)], gone = self._delete(connection, table_name, period)
            dropped += gone
        for book, name in (
            (ops.loaded_days, "day"),
            (ops.waiting_days, "day"),
            (ops.rejected_rows, "event_date"),
            (ops.reconciled_days, "day"),
            (ops.reconciliation, "day"),
        ):
            mine = (book.c.account_id == self.account_id) & book.c.table_name.in_(self.names)
            connection.execute(delete(book).where(mine, book.c[name].between(*period)))
        removed = ops.removed_rows.c
        mine = (removed.account_id == self.account_id) & removed.table_name.in_(self.tables)
        connection.execute(delete(ops.removed_rows).where(mine, removed.day.between(*period)))
        return rows, dropped

    @property
    def _schema(self) -> str:
        schema: str = getattr(self.warehouse.schemas, self.schema)
        return schema

    def _present(self, connection: Connection) -> list[str]:
        """Return the tables that are there: somebody may have dropped one."""
        names = {name: {"name": self.warehouse.quote(self.schema, name)} for name in self.tables}
        return [name for name, value in names.items() if connection.scalar(text("select to_regclass(:name)"), value)]

    def _delete(self, connection: Connection, table_name: str, period: Period) -> tuple[int, list[str]]:
        parts = self._old_partitions(connection, table_name, period)
        rows, dropped = 0, []
        for part in parts:
            if self._is_whole(part, period) and (gone := self._drop(connection, table_name, part)) is not None:
                rows += gone
                dropped.append(part.name)
        left = [part for part in parts if part.name not in dropped]
        for part in left:
            # A load that has such days in hand commits rows and lines first; another one waits until both are gone.
            name = self.warehouse.quote(self.schema, part.name)
            connection.execute(text(f"lock table {name} in share row exclusive mode"))
            statement = f"delete from {name} where {self._mine} and {self._of}"  # noqa: S608 - quoted names
            rows += connection.execute(text(statement), self._values(self._days(part, period))).rowcount
        return rows, dropped

    def _old_partitions(self, connection: Connection, table_name: str, period: Period) -> list[Partition]:
        stored = stored_partitions(connection, self._schema, table_name)
        return [part for part in stored if part.first_day <= period[1] and part.last_day >= period[0]]

    @staticmethod
    def _is_whole(part: Partition, period: Period) -> bool:
        """Return whether all days of a partition are old."""
        return period[0] <= part.first_day and part.last_day <= period[1]

    @staticmethod
    def _days(part: Partition, period: Period) -> Period:
        return max(part.first_day, period[0]), min(part.last_day, period[1])

    def _drop(self, connection: Connection, table_name: str, part: Partition) -> int | None:
        """Drop a partition; gives its rows, or None when it stays: for other rows in it, or for long readers."""
        name = self.warehouse.quote(self.schema, part.name)
        if self._holds_others(connection, name):
            return None
        savepoint = connection.begin_nested()
        try:
            connection.execute(text(f"set local lock_timeout = '{_LOCK_SECONDS}s'"))
            # The table first: a load holds it already when it comes to wait for the partition.
            connection.execute(text(f"lock table only {self.warehouse.quote(self.schema, table_name)}"))
            connection.execute(text(f"lock table {name}"))
            connection.execute(text("set local lock_timeout = 0"))
            if self._holds_others(connection, name):
                savepoint.rollback()
                return None
            rows: int = connection.scalar(text(f"select count(*) from {name}")) or 0  # noqa: S608 - a quoted name
            table = self.warehouse.quote(self.schema, table_name)
            if foreign_keys(connection, [table, name]):
                # What refers to a row goes or changes with it, as its key says; a detached row would be refused.
                connection.execute(text(f"delete from {name}"))  # noqa: S608 - a quoted name
            drop_partition(connection, self._schema, table_name, part)
        except OperationalError as error:
            savepoint.rollback()
            if isinstance(error.orig, psycopg.errors.LockNotAvailable):
                return None
            raise
        savepoint.commit()
        return rows

    def _holds_others(self, connection: Connection, partition: str) -> bool:
        """Return whether a partition, by its quoted name, has rows that are not the account's."""
        # Two ranges, for which the index serves; <> would read all that is the account's.
        sides = (f"exists (select from {partition} where account_id {sign} :account_id)" for sign in "<>")
        return bool(connection.scalar(text(f"select {' or '.join(sides)}"), {"account_id": self.account_id}))

    def _holds(self, connection: Connection, table_name: str, period: Period) -> bool:
        name = self.warehouse.quote(self.schema, table_name)
        statement = f"select exists (select from {name} where {self._mine} and {self._of})"  # noqa: S608 - quoted names
        return bool(connection.scalar(text(statement), self._values(period)))

    def _count(self, connection: Connection, table_name: str, period: Period) -> int:
        name = self.warehouse.quote(self.schema, table_name)
        statement = text(f"select count(*) from {name} where {self._mine} and {self._of}")  # noqa: S608 - quoted names
        return connection.scalar(statement, self._values(period)) or 0

    def _shown(self, table_name: str) -> str:
        return f"{self._schema}.{table_name}"

    @property
    def _mine(self) -> str:
        return "account_id = :account_id"

    @property
    def _of(self) -> str:
        return f"{self.day} between :first_day and :last_day"

    def _values(self, period: Period) -> dict[str, Any]:
        return {"account_id": self.account_id, "first_day": period[0], "last_day": period[1]}


@dataclass(frozen=True)
class _JsonReports(_Report):
    """`comagic_reports`, which reports of all accounts share; `processors` are the numbers of the account's."""

    processors: Sequence[int] = ()

    def _holds_others(self, connection: Connection, partition: str) -> bool:
        found = connection.scalars(text(_PROCESSORS.format(partition=partition)))
        return not set(found) <= set(self.processors) or super()._holds_others(connection, partition)

    @property
    def _mine(self) -> str:
        # Its index begins with the number of the report.
        return "processor_id = any(cast(:processors as int[])) and account_id = :account_id"

    def _values(self, period: Period) -> dict[str, Any]:
        return super()._values(period) | {"processors": list(self.processors)}


_PROCESSORS = """
with recursive found (id) as (
    select min(processor_id) from {partition}
    union all
    select (select min(processor_id) from {partition} where processor_id > found.id)
      from found
     where found.id is not null
)
select id from found where id is not null
"""
"""The numbers of the reports in a partition, each found by the index."""


def _note(connection: Connection, account_id: int, layer: Layer, first_day: date) -> None:
    """Note that older days were deleted; what was noted of later ones stays true."""
    line = postgresql.insert(ops.retained_from).values(
        account_id=account_id, layer=layer, first_day=first_day, deleted_at=datetime.now(UTC)
    )
    latest = func.greatest(ops.retained_from.c.first_day, line.excluded.first_day)
    renewed = {"first_day": latest, "deleted_at": line.excluded.deleted_at}
    connection.execute(line.on_conflict_do_update(constraint=ops.retained_from.primary_key, set_=renewed))
