"""COPY: rows into a table of the warehouse, in binary as they come, within the connection's transaction."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection

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


def copy_rows(
    connection: Connection,
    warehouse: Warehouse,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
) -> None:
    """COPY tuples with the values of these columns, of these PostgreSQL types, into a table given by its quoted name.

    Raises WarehouseError when the server refuses them or is gone.
    """
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
    except psycopg.Error as error:
        # SQLAlchemy does not see what happens in its driver: without this it would roll back a connection that is gone.
        if driver.closed:
            connection.invalidate()
        raise WarehouseError(f"rows cannot be written to {table} at {warehouse.address}: {one_line(error)}") from None


class _RawJsonDumper(Dumper):
    """Sends JSON as it came: binary jsonb is a version byte and the text. The text null is no value."""

    format = Format.BINARY
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes | None:
        """The value on the wire."""
        text = bytes(obj)
        return None if text == b"null" else b"\x01" + text
