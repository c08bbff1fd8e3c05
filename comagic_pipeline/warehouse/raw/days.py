"""What raw tables hold of a period, and their rows: for who wants them without asking the API again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Text, select
from sqlalchemy import cast as sql_cast

from comagic_pipeline.catalog import Column, ColumnType, Method
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.tables import loaded_days
from comagic_pipeline.warehouse.raw.tables import raw_table
from comagic_pipeline.warehouse.target import Account

_BATCH = 10_000
"""Rows that are held in memory at once."""


@dataclass(frozen=True)
class HeldDay:
    """A loaded day: which rows were wanted (None: all) and the columns that they do not have (None: not known)."""

    day: date
    filter_text: str | None
    left_out: frozenset[str] | None
    loaded_at: datetime


@contextmanager
def snapshot(warehouse: Warehouse) -> Iterator[Connection]:
    """Provide a connection that sees the warehouse as it is at one moment, whatever is loaded meanwhile."""
    with warehouse.connect() as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


def held_days(connection: Connection, table: str, account: Account, first_day: date, last_day: date) -> list[HeldDay]:
    """Return the loaded days of a period, both ends included, oldest first."""
    columns = loaded_days.c
    mine = (columns.account_id == account.account_id) & (columns.customer_user_id == account.customer_user_id)
    query = (
        select(columns.day, columns.filter, columns.left_out, columns.loaded_at)
        .where(mine, columns.table_name == table, columns.day.between(first_day, last_day))
        .order_by(columns.day)
    )
    return [
        HeldDay(row.day, row.filter, None if row.left_out is None else frozenset(row.left_out), row.loaded_at)
        for row in connection.execute(query)
    ]


def rows_of_day(
    connection: Connection, method: Method, columns: Sequence[Column], account: Account, day: date
) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield the account's rows of a day as tuples of these columns of a method, part by part: memory holds one part.

    Nested columns come as JSON texts.
    """
    table = raw_table(method)
    selected = [
        sql_cast(table.c[column.name], Text) if column.type is ColumnType.JSON else table.c[column.name]
        for column in columns
    ]
    mine = (table.c.account_id == account.account_id) & (table.c.customer_user_id == account.customer_user_id)
    query = select(*selected).where(mine, table.c.event_date == day)
    with connection.execution_options(stream_results=True, yield_per=_BATCH).execute(query) as streamed:
        for part in streamed.partitions():
            yield [tuple(row) for row in part]
