"""Raw tables: what the API gave, one table per method, all columns typed. Their shape derives from the catalog.

Reports are partitioned by month of `event_date`, so that replacing a day or dropping a month costs the same however
large the table is. Dictionaries have a second table that keeps the versions of their rows.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    func,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateColumn, SetColumnComment
from sqlalchemy.types import TypeEngine

from comagic_pipeline.catalog import ColumnType, Method
from comagic_pipeline.warehouse.ops import tables as ops

metadata = MetaData(schema="raw")

OWNER = ("account_id", "customer_user_id")
"""Whose rows they are: the source, and the customer of an agent."""

SQL_TYPES: dict[ColumnType, TypeEngine[Any] | type[TypeEngine[Any]]] = {
    ColumnType.INTEGER: BigInteger,
    ColumnType.DECIMAL: Numeric,
    ColumnType.TEXT: Text,
    ColumnType.BOOLEAN: Boolean,
    ColumnType.TIMESTAMP: DateTime,
    ColumnType.DATE: Date,
    ColumnType.JSON: JSONB(none_as_null=True),
}


@cache
def raw_table(method: Method) -> Table:
    """Return the table of a method.

    Account, customer, the API's columns, the day (reports) and the time of the load.
    """
    columns = _columns(method)
    owner = [*OWNER]
    if method.has_period:
        day_of = f"Day of {method.time_column}" if method.time_column else "Day that the row sums up"
        columns.append(Column("event_date", Date, nullable=False, comment=day_of))
        owner.append("event_date")
    columns.append(Column("loaded_at", DateTime(timezone=True), nullable=False, comment="When the row was loaded"))
    return Table(
        method.table,
        metadata,
        *columns,
        PrimaryKeyConstraint(*owner, *method.key, name=f"{method.table}_pkey")
        if method.is_key_unique
        else Index(f"{method.table}_idx", *owner),
        comment=method.description,
        postgresql_partition_by="RANGE (event_date)" if method.has_period else None,
    )


@cache
def history_table(method: Method) -> Table:
    """Return the versions of a dictionary's rows: what each said from `valid_from` (included) to `valid_to` (excluded).

    The first version of a row is valid since 1900, for the row may be older than the first load; a row that came back
    begins a new version. `valid_to` is empty while the row stands in the dictionary.
    """
    return Table(
        f"{method.table}_history",
        metadata,
        *_columns(method),
        Column("valid_from", DateTime(timezone=True), nullable=False, comment="First moment of this version"),
        Column("valid_to", DateTime(timezone=True), comment="First moment without it; empty while it stands"),
        PrimaryKeyConstraint(*OWNER, *method.key, "valid_from", name=f"{method.table}_history_pkey"),
        comment=f"Versions of the rows of {method.table}: a row begins whenever one of its columns changed",
    )


def tables_of(method: Method) -> tuple[Table, ...]:
    """Return all raw tables of a method."""
    return (raw_table(method),) if method.has_period else (raw_table(method), history_table(method))


def _columns(method: Method) -> list[Column[Any]]:
    return [
        Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
        Column(
            "customer_user_id", BigInteger, nullable=False, server_default="0", comment="Customer of an agent, else 0"
        ),
        *(
            Column(
                column.name,
                SQL_TYPES[column.type],
                nullable=column.name not in method.required_columns,
                comment=column.description,
            )
            for column in method.columns
        ),
    ]


_ledger = ops.loaded_days.c
_lacks_column = (
    update(ops.loaded_days)
    .where(_ledger.table_name == bindparam("of_table"))
    .values(left_out=func.array_append(_ledger.left_out, bindparam("column_name", type_=Text)))
)


def create_missing(connection: Connection, methods: Iterable[Method]) -> None:
    """Create the tables that are not there yet and add the columns that the catalog has gained."""
    translated = connection.get_execution_options()["schema_translate_map"]["raw"]
    quote = connection.dialect.identifier_preparer.quote_identifier
    inspector = inspect(connection)
    present = {name: columns for (_, name), columns in inspector.get_multi_columns(translated).items()}
    for table in (table for method in methods for table in tables_of(method)):
        if table.name not in present:
            table.create(connection)
            continue
        names = {column["name"] for column in present[table.name]}
        for column in table.columns:
            if column.name not in names:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(text(f"alter table {quote(translated)}.{quote(table.name)} add column {definition}"))
                connection.execute(SetColumnComment(column))
                # Days that are loaded do not hold it.
                connection.execute(_lacks_column, {"of_table": table.name, "column_name": column.name})


def stored_rows(
    connection: Connection, method: Method, account_id: int, customer_user_id: int, columns: Iterable[str]
) -> list[dict[str, Any]]:
    """Return columns of the rows that an account has in a dictionary."""
    table = raw_table(method)
    mine = (table.c.account_id == account_id) & (table.c.customer_user_id == customer_user_id)
    rows = connection.execute(select(*(table.c[name] for name in columns)).where(mine))
    return [dict(row) for row in rows.mappings()]
