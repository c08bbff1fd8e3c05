"""Write rows by binary COPY, within the transaction of the connection.

A row that the database refuses although its values fit their types (a second row of one key, JSON with a number that
jsonb does not hold, a key too long for its index) must not stop the others: it is found by halving and returned.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from comagic_pipeline.catalog import ColumnType
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError, driver_connection, one_line

COPY_TYPES = {
    ColumnType.INTEGER: "int8",
    ColumnType.DECIMAL: "numeric",
    ColumnType.TEXT: "text",
    ColumnType.BOOLEAN: "bool",
    ColumnType.TIMESTAMP: "timestamp",
    ColumnType.DATE: "date",
    ColumnType.JSON: "jsonb",
}
"""PostgreSQL's names of what values are on the wire."""

MOST_REFUSED = 1000
"""How many rows of a window, or of a dictionary, may be refused: each costs some twenty COPYs of parts."""

_PROGRAM_LIMIT = "54"
"""Class of the errors for what PostgreSQL has no room for: JSON too deep, a key too long for its index."""


class RowsRefusedError(WarehouseError):
    """The database refuses so many rows that no single row is the reason."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(
            f"the database refuses more than {MOST_REFUSED} rows of {table}, so that the days were left as they were; "
            f"the last one because: {reason}"
        )


@dataclass(frozen=True)
class RefusedRow:
    """A row that the database refuses, by the values of its columns, and why, without a value of it.

    It `is_repeated` when another row has its key.
    """

    values: tuple[Any, ...]
    reason: str
    is_repeated: bool


def copy_rows(
    connection: Connection,
    warehouse: Warehouse,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Callable[[], Iterable[tuple[Any, ...]]],
) -> list[RefusedRow]:
    """COPY tuples with the values of these columns, of these PostgreSQL types, into a table given by its quoted name.

    `rows` gives the tuples, once more when some are refused. Returns those; of rows with one key it is the later ones.
    Raises RowsRefusedError when they are very many, WarehouseError when the server refuses the table or is gone.
    """
    if _refusal(connection, warehouse, table, columns, types, rows()) is None:
        return []
    refused: list[RefusedRow] = []
    parts = _halves(list(rows()))
    while parts:
        part = parts.pop()
        refusal = _refusal(connection, warehouse, table, columns, types, part)
        if refusal is None:
            continue
        if len(part) > 1:
            parts += _halves(part)
            continue
        is_repeated = isinstance(refusal, psycopg.errors.UniqueViolation)
        reason = f"the database refuses the row: {one_line(refusal)}"
        refused.append(RefusedRow(part[0], reason, is_repeated))
        if len(refused) > MOST_REFUSED:
            raise RowsRefusedError(table, refused[-1].reason)
    return refused


def _halves(rows: Sequence[tuple[Any, ...]]) -> list[Sequence[tuple[Any, ...]]]:
    """Cut rows in two, the second half first: the end of a list is taken next."""
    middle = len(rows) // 2
    return [half for half in (rows[middle:], rows[:middle]) if half]


def _refusal(
    connection: Connection,
    warehouse: Warehouse,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
) -> psycopg.Error | None:
    """COPY all of the rows, or none: then return why, where it is because of a row."""
    try:
        # A savepoint costs two short statements; without it a refused row would end the transaction.
        with connection.begin_nested():
            _copy(connection, table, columns, types, rows)
    except (psycopg.Error, DBAPIError) as error:
        if isinstance(error, psycopg.Error) and _is_about_a_row(error):
            return error
        raise warehouse.full_disk(error) or WarehouseError(
            f"rows cannot be written to {table} at {warehouse.address}: {one_line(error)}"
        ) from None
    return None


def _is_about_a_row(error: psycopg.Error) -> bool:
    # DataError is the class 22 of the server, and what psycopg raises for a value that it cannot pack.
    is_unfit = isinstance(error, psycopg.DataError | psycopg.errors.UniqueViolation)
    return is_unfit or (error.sqlstate or "").startswith(_PROGRAM_LIMIT)


def _copy(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    # By name: in the database a column that was added later stands last.
    target = f"{table} ({', '.join(map(quote, columns))})"
    driver = driver_connection(connection)
    try:
        with driver.cursor() as cursor:
            cursor.adapters.register_dumper(msgspec.Raw, _RawJsonDumper)
            with cursor.copy(f"copy {target} from stdin (format binary)") as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
    except psycopg.Error:
        # SQLAlchemy does not see what happens in its driver: without this it would roll back a connection that is gone.
        if driver.closed:
            connection.invalidate()
        raise


class _RawJsonDumper(Dumper):
    """Sends JSON as it came: binary jsonb is a version byte and the text. The text null is no value."""

    format = Format.BINARY
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes | None:
        """Return the value on the wire."""
        text = bytes(obj)
        return None if text == b"null" else b"\x01" + text
