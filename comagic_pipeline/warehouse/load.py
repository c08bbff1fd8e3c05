"""Rows into raw tables: whole days or whole dictionaries replace the old ones in one transaction.

A load that dies leaves the old rows or the new ones, never a mix, and the ledger says which. Rows are COPYed in binary
as they come; nothing here knows where they come from.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, Protocol, cast

import msgspec
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection, delete, insert, text, true
from sqlalchemy.dialects import postgresql

from comagic_pipeline.catalog import ColumnType, Method
from comagic_pipeline.warehouse import ops
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError, one_line
from comagic_pipeline.warehouse.history import keep_versions
from comagic_pipeline.warehouse.raw import ensure_months, raw_table
from comagic_pipeline.warehouse.waiting import expect, strike_off

_COPY_TYPES = {
    ColumnType.INTEGER: "int8",
    ColumnType.DECIMAL: "numeric",
    ColumnType.TEXT: "text",
    ColumnType.BOOLEAN: "bool",
    ColumnType.TIMESTAMP: "timestamp",
    ColumnType.DATE: "date",
    ColumnType.JSON: "jsonb",
}
_DAY = timedelta(days=1)


class RejectedValue(Protocol):
    """A value that did not fit; `column` None means that the whole row could not be stored."""

    @property
    def key(self) -> str:
        """Key of the row, as far as it could be read."""

    @property
    def day(self) -> date | None:
        """Day of the row, where it has one."""

    @property
    def column(self) -> str | None:
        """Column that is left empty."""

    @property
    def value(self) -> str:
        """What the API gave."""

    @property
    def reason(self) -> str:
        """Why it does not fit."""


@dataclass(frozen=True)
class LoadedDay:
    """What the ledger says of a day: its rows, and its shares of points and seconds."""

    day: date
    rows: int
    points: float
    seconds: float


@dataclass(frozen=True)
class Account:
    """Whose rows they are: the configured source, and for an agent the customer (else 0)."""

    account_id: int
    customer_user_id: int = 0


class DayLoad:
    """Replaces days of one report: `write` rows of days, then `complete` those days. Use it as a context manager.

    `rows` are structs with one attribute per column of the method. `clock` gives aware datetimes. `facts` are the
    tables of the star that are made of the report: their days are due with every change.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        method: Method,
        account: Account,
        run_id: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        facts: Collection[str] = (),
    ) -> None:
        self._warehouse, self._method, self._account, self._run_id = warehouse, method, account, run_id
        self._facts = facts
        self._clock = clock
        self._time = attrgetter(method.time_column) if method.time_column else None
        self._started = clock()
        self._emptied: set[date] = set()
        self._rows_of_day: Counter[date] = Counter()

    def __enter__(self) -> "DayLoad":
        self._context = self._warehouse.connect()
        self._connection = self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def write(self, first_day: date, last_day: date, rows: Sequence[Any], rejected: Sequence[RejectedValue]) -> None:
        """Add rows of these days, both included; what the days held before the first `write` goes.

        Rows of a report that tells no time are of the first of these days.
        """
        self._empty(first_day, last_day)
        loaded_at = self._clock()
        days = [_day(self._time(row)) for row in rows] if self._time else [first_day] * len(rows)
        self._rows_of_day.update(days)
        account = (self._account.account_id, self._account.customer_user_id)
        tuples = map(msgspec.structs.astuple, rows)
        values = ((*account, *row, day, loaded_at) for row, day in zip(tuples, days, strict=True))
        _copy(self._connection, self._warehouse, self._method, values)
        _reject(self._connection, self._method, self._account, rejected, loaded_at, first_day)

    def complete(self, first_day: date, last_day: date, points: int) -> list[LoadedDay]:
        """Commit the days, both included, with their lines in the ledger; `points` were spent on them."""
        now = self._clock()
        seconds, self._started = (now - self._started).total_seconds(), now
        days = [first_day + number * _DAY for number in range((last_day - first_day).days + 1)]
        total = sum(self._rows_of_day[day] for day in days)
        loaded = []
        for day in days:
            rows = self._rows_of_day[day]
            share = rows / total if total else 1 / len(days)
            loaded.append(LoadedDay(day, rows, round(points * share, 4), round(seconds * share, 4)))
        self._connection.execute(
            _upsert_loaded_day,
            [
                _account_values(self._account, self._method)
                | {"day": day.day, "rows": day.rows, "points": Decimal(str(day.points)), "seconds": day.seconds}
                | {"run_id": self._run_id, "loaded_at": now}
                for day in loaded
            ],
        )
        account_id, customer = self._account.account_id, self._account.customer_user_id
        strike_off(self._connection, account_id, customer, self._method.table, first_day, last_day)
        if self._facts:
            expect(self._connection, account_id, self._facts, first_day, last_day, self._run_id, now)
        self._connection.commit()
        self._emptied.clear()
        self._rows_of_day.clear()
        return loaded

    def discard(self) -> None:
        """Take back what was written since the last `complete`: the days hold what they held before."""
        self._connection.rollback()
        self._emptied.clear()
        self._rows_of_day.clear()

    def _empty(self, first_day: date, last_day: date) -> None:
        days = [first_day + number * _DAY for number in range((last_day - first_day).days + 1)]
        fresh = [day for day in days if day not in self._emptied]
        if not fresh:
            return
        with self._warehouse.begin() as connection:
            ensure_months(connection, self._warehouse.schemas.raw, self._method, fresh[0], fresh[-1])
        # Two loads of the same day take turns, oldest day first: without this the second would not see, and so not
        # delete, what the first is about to commit.
        self._connection.execute(_lock_days, {"days": fresh, **_account_values(self._account, self._method)})
        _delete(self._connection, self._method, self._account, fresh)
        self._emptied.update(fresh)


def replace_dictionary(
    warehouse: Warehouse,
    method: Method,
    account: Account,
    rows: Sequence[Any],
    rejected: Sequence[RejectedValue],
    loaded_at: datetime,
) -> None:
    """Replace all rows that the account has in a dictionary, in one transaction, and keep what changed as history."""
    with warehouse.begin() as connection:
        connection.execute(_lock_table, _account_values(account, method))
        _delete(connection, method, account)
        ids = (account.account_id, account.customer_user_id)
        _copy(connection, warehouse, method, ((*ids, *msgspec.structs.astuple(row), loaded_at) for row in rows))
        _reject(connection, method, account, rejected, loaded_at, None)
        keep_versions(connection, warehouse, method, asdict(account), loaded_at)


def _delete(connection: Connection, method: Method, account: Account, days: Sequence[date] | None = None) -> None:
    """Delete the account's rows, and what was rejected of them; of these days only, where days are given."""
    rejected = ops.rejected_rows
    for table, of_method in ((raw_table(method), true()), (rejected, rejected.c.table_name == method.table)):
        condition = of_method & (table.c.account_id == account.account_id)
        condition &= table.c.customer_user_id == account.customer_user_id
        if days is not None:
            condition &= table.c.event_date.in_(days)
        connection.execute(delete(table).where(condition))


def _copy(connection: Connection, warehouse: Warehouse, method: Method, rows: Iterable[tuple[Any, ...]]) -> None:
    """COPY tuples in the order of the declared columns, within the connection's transaction.

    Raises WarehouseError when the server refuses them or is gone.
    """
    types = ["int4", "int8", *(_COPY_TYPES[column.type] for column in method.columns)]
    types += ["date", "timestamptz"] if method.has_period else ["timestamptz"]
    # By name: in the database a column that the catalog gained later stands last.
    names = ", ".join(map(connection.dialect.identifier_preparer.quote, raw_table(method).columns.keys()))
    target = f"{warehouse.quote('raw', method.table)} ({names})"
    driver = cast(psycopg.Connection[Any], connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor:
            cursor.adapters.register_dumper(msgspec.Raw, _RawJsonDumper)
            with cursor.copy(f"copy {target} from stdin (format binary)") as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
    except psycopg.Error as error:
        # SQLAlchemy does not see what happens in its driver: without this it would roll back a connection that is gone.
        if driver.closed:
            connection.invalidate()
        raise WarehouseError(
            f"rows of {method.table} cannot be written to {warehouse.address}: {one_line(error)}"
        ) from None


class _RawJsonDumper(Dumper):
    """Sends JSON as it came: binary jsonb is a version byte and the text. The text null is no value."""

    format = Format.BINARY
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes | None:
        """The value on the wire."""
        text = bytes(obj)
        return None if text == b"null" else b"\x01" + text


def _reject(
    connection: Connection,
    method: Method,
    account: Account,
    rejected: Sequence[RejectedValue],
    loaded_at: datetime,
    first_day: date | None,
) -> None:
    if rejected:
        connection.execute(
            insert(ops.rejected_rows),
            [
                _account_values(account, method)
                | {"event_date": value.day or first_day, "row_key": value.key, "column_name": value.column}
                | {"value": value.value, "reason": value.reason, "loaded_at": loaded_at}
                for value in rejected
            ],
        )


def _account_values(account: Account, method: Method) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "customer_user_id": account.customer_user_id,
        "table_name": method.table,
    }


def _day(moment: datetime | date) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


_OWNER = "cast(:table_name as text), cast(:account_id as int), cast(:customer_user_id as bigint)"
_LOCK = f"pg_advisory_xact_lock(hashtextextended(concat_ws(' ', {_OWNER} {{day}}), 0))"
_lock_table = text("select " + _LOCK.format(day=""))
_lock_days = text(f"select {_LOCK.format(day=', day')} from unnest(cast(:days as date[])) as day order by day")  # noqa: S608 - constants

_insert_loaded_day = postgresql.insert(ops.loaded_days)
_upsert_loaded_day = _insert_loaded_day.on_conflict_do_update(
    constraint=ops.loaded_days.primary_key,
    set_={name: _insert_loaded_day.excluded[name] for name in ("rows", "points", "seconds", "run_id", "loaded_at")},
)
