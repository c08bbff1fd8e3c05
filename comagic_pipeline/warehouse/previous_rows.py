"""The rows that a load has replaced and not committed yet, read through a second connection, which still sees them.

Copying every row aside before it is deleted would cost each reload a fifth of its time; this costs only where rows are
put back, or vanish and are kept in `comagic_ops.removed_rows`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import ColumnElement, Connection, Executable, Select, Table, column, delete, select, text

from comagic_pipeline.warehouse.changes import PARTITION, PLACE
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError, one_line
from comagic_pipeline.warehouse.ops.tables import removed_rows
from comagic_pipeline.warehouse.target import Account

_BATCH = 10_000
"""Rows that one statement asks for by their place."""


def put_back(connection: Connection, warehouse: Warehouse, table: Table, which: ColumnElement[bool]) -> None:
    """Make these rows of a table what they were before this transaction; raises WarehouseError."""
    connection.execute(delete(table).where(which))
    # Not the declared ones: a table may have columns that the catalog dropped, or of somebody's own.
    columns = list(connection.scalars(_columns, {"name": _name(connection, table)}))
    named: list[ColumnElement[Any]] = [column(name) for name in columns]
    wanted = select(*named).select_from(table).where(which)
    _copy(connection, warehouse, [sql.SQL(_sql(connection, wanted))], _name(connection, table), columns)


@dataclass(frozen=True)
class RemovedRows:
    """Keeps rows that a run removes from the account's tables."""

    warehouse: Warehouse
    account: Account
    run_id: str
    now: datetime

    def keep(
        self,
        connection: Connection,
        table: Table,
        places: Executable,
        days: Sequence[date],
        day: str | None,
        key: Sequence[str],
    ) -> None:
        """Copy the rows at these places (partition, place) to `removed_rows`, in the transaction that removes them.

        `days` are all days that the rows may have, which tells the server where not to look.
        """
        parts = (self._statement(connection, table, *part, days, day, key) for part in _parts(connection, places))
        names = [each.name for each in removed_rows.columns if each.name != "id"]
        _copy(connection, self.warehouse, parts, _name(connection, removed_rows), names)

    def _statement(
        self,
        connection: Connection,
        table: Table,
        partition: int,
        places: Sequence[str],
        days: Sequence[date],
        day: str | None,
        key: Sequence[str],
    ) -> sql.Composed:
        keys = sql.SQL(", ").join([sql.SQL("removed.{}").format(sql.Identifier(name)) for name in key])
        of_day = sql.SQL("removed.{}").format(sql.Identifier(day)) if day else sql.SQL("cast(null as date)")
        is_of_days = sql.SQL("{} = any({})").format(of_day, sql.Literal(list(days))) if day else sql.SQL("true")
        return sql.SQL(_REMOVED).format(
            now=sql.Literal(self.now),
            account_id=sql.Literal(self.account.account_id),
            customer_user_id=sql.Literal(self.account.customer_user_id),
            table_name=sql.Literal(table.name),
            day=of_day,
            key=sql.SQL("concat_ws(', ', {})").format(keys) if key else sql.SQL("cast(null as text)"),
            run_id=sql.Literal(self.run_id),
            table=sql.SQL(_name(connection, table)),
            days=is_of_days,
            partition=sql.Literal(partition),
            places=sql.Literal(list(places)),
        )


def purge_removed(connection: Connection, account_id: int, keep_days: int, now: datetime) -> int:
    """Delete what was removed more than `keep_days` days before `now` (aware); return the number of rows."""
    columns = removed_rows.c
    old = (columns.account_id == account_id) & (columns.removed_at <= now - timedelta(days=keep_days))
    return connection.execute(delete(removed_rows).where(old)).rowcount


def _parts(connection: Connection, places: Executable) -> Iterator[tuple[int, list[str]]]:
    """Yield the places by partition, in batches; read before anything else uses the connection."""
    found: dict[int, list[str]] = {}
    for row in connection.execute(places):
        found.setdefault(row._mapping[PARTITION], []).append(str(row._mapping[PLACE]))
    for partition, of_partition in found.items():
        for begin in range(0, len(of_partition), _BATCH):
            yield partition, of_partition[begin : begin + _BATCH]


def _copy(
    connection: Connection,
    warehouse: Warehouse,
    statements: Iterator[sql.Composable] | Sequence[sql.Composable],
    target: str,
    columns: Sequence[str],
) -> None:
    """Copy what statements find outside of this transaction into a table within it."""
    for statement in list(statements):
        with warehouse.connect() as outside:
            source, driver = _driver(outside), _driver(connection)
            into = sql.SQL("copy {} ({}) from stdin (format binary)").format(
                sql.SQL(target), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            out = sql.SQL("copy ({}) to stdout (format binary)").format(statement)
            try:
                with source.cursor().copy(out) as reading, driver.cursor().copy(into) as writing:
                    for block in reading:
                        writing.write(block)
            except psycopg.Error as error:
                if driver.closed:
                    connection.invalidate()
                raise warehouse.full_disk(error) or WarehouseError(
                    f"rows cannot be copied to {target} at {warehouse.address}: {one_line(error)}"
                ) from None


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast(psycopg.Connection[Any], connection.connection.driver_connection)


def _name(connection: Connection, table: Table) -> str:
    """Return the quoted name of a table in the database."""
    schema = connection.get_execution_options()["schema_translate_map"][table.schema]
    quote = connection.dialect.identifier_preparer.quote_identifier
    return f"{quote(schema)}.{quote(table.name)}"


def _sql(connection: Connection, query: Select[Any]) -> str:
    """Return the text of a query, with its values."""
    translated = connection.get_execution_options()["schema_translate_map"]
    options = {"schema_translate_map": translated, "render_schema_translate": True}
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}, **options)
    return str(compiled)


_columns = text(
    "select attname from pg_attribute"
    " where attrelid = to_regclass(:name) and attnum > 0 and not attisdropped and attgenerated = ''"
    " order by attnum"
)
_REMOVED = """
select cast({now} as timestamptz), cast({account_id} as int), cast({customer_user_id} as bigint),
       cast({table_name} as text), {day}, {key}, to_jsonb(removed), cast({run_id} as text)
  from {table} as removed
 where {days} and removed.tableoid = {partition} and removed.ctid = any(cast({places} as tid[]))
"""
