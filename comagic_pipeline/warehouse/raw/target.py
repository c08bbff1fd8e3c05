"""The raw table of a report as a target: every column as the API gives it, COPYed as it comes."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.changes import Compared, Replaced
from comagic_pipeline.warehouse.copying import COPY_TYPES, copy_rows
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.previous_rows import put_back
from comagic_pipeline.warehouse.raw.tables import OWNER, raw_table
from comagic_pipeline.warehouse.target import Account, RejectedRow, Removed, Written


def day_of_moment(moment: datetime | date) -> date:
    """Return the day of a value of a time column."""
    return moment.date() if isinstance(moment, datetime) else moment


class RawTarget:
    """The raw table of a report. Rows are structs with one attribute for each column of the method."""

    def __init__(self, method: Method) -> None:
        self.name = method.table
        self._method = method
        self._replaced = replaced_raw(method)
        self._time = attrgetter(method.time_column) if method.time_column else None

    def day_of(self, row: Any) -> date | None:
        """Return the day of the row's time."""
        return day_of_moment(self._time(row)) if self._time else None

    def make_room(self, connection: Connection, warehouse: Warehouse, first_day: date, last_day: date) -> None:
        """Make the monthly partitions of these days."""
        ensure_months(connection, warehouse.schemas.raw, self.name, first_day, last_day)

    def empty(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:  # noqa: ARG002 - the shape of a target
        """Delete the days."""
        self._replaced.take_away(connection, self._which(account, days))

    def write(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        rows: Sequence[Any],
        days: Sequence[date],
        loaded_at: datetime,
    ) -> Written:
        """COPY the rows."""
        ids = (account.account_id, account.customer_user_id)

        def values() -> Iterable[tuple[Any, ...]]:
            tuples = map(msgspec.structs.astuple, rows)
            return ((*ids, *row, day, loaded_at) for row, day in zip(tuples, days, strict=True))

        refused = copy_raw(connection, warehouse, self._method, values)
        return Written(refused, Counter(row.day for row in refused if row.day))

    def compare(
        self,
        connection: Connection,
        warehouse: Warehouse,  # noqa: ARG002
        account: Account,
        days: Sequence[date],
        loaded_at: datetime,  # noqa: ARG002
    ) -> Mapping[date | None, Compared]:
        """Compare the days: their rows are in their place already."""
        return self._replaced.compare(connection, self._which(account, days))

    def put_back(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:
        """Put back the rows of the days."""
        put_back(connection, warehouse, raw_table(self._method), self._which(account, days))

    def finish(
        self,
        connection: Connection,
        warehouse: Warehouse,  # noqa: ARG002
        account: Account,
        days: Sequence[date],
        removed: Removed | None,
    ) -> None:
        """Keep what the days lose."""
        if removed:
            places = self._replaced.vanished(self._which(account, days), days)
            removed.keep(connection, raw_table(self._method), places, days, "event_date", self._method.key)

    def _which(self, account: Account, days: Sequence[date]) -> ColumnElement[bool]:
        return rows_of(self._method, account) & raw_table(self._method).c.event_date.in_(days)


def rows_of(method: Method, account: Account) -> ColumnElement[bool]:
    """Return the rows that an account has in the raw table of a method."""
    columns = raw_table(method).c
    return (columns.account_id == account.account_id) & (columns.customer_user_id == account.customer_user_id)


def replaced_raw(method: Method) -> Replaced:
    """Return how rows of the raw table of a method are replaced and compared."""
    return Replaced(raw_table(method), method.key, method.is_key_unique, "event_date" if method.has_period else None)


def copy_raw(
    connection: Connection, warehouse: Warehouse, method: Method, rows: Callable[[], Iterable[tuple[Any, ...]]]
) -> list[RejectedRow]:
    """COPY tuples in the order of the declared columns into the raw table of a method; returns those it refuses."""
    types = ["int4", "int8", *(COPY_TYPES[column.type] for column in method.columns)]
    types += ["date", "timestamptz"] if method.has_period else ["timestamptz"]
    columns = raw_table(method).columns.keys()
    whole = "day" if method.has_period else "list"
    repeated = f"another row of the {whole} has the same key ({', '.join(method.key)}); the one that came first is kept"
    refused = copy_rows(connection, warehouse, warehouse.quote("raw", method.table), columns, types, rows)
    own = (*OWNER, "event_date", "loaded_at")
    return [RejectedRow.of(row, columns, own, method.key, "event_date", repeated) for row in refused]
