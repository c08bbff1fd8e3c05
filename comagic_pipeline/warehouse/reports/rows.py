"""Read stored rows of custom reports day by day. Memory holds a part of a day."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, Text, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB

from comagic_pipeline.warehouse.reports.declaration import ReportTable
from comagic_pipeline.warehouse.reports.json_target import comagic_reports
from comagic_pipeline.warehouse.reports.tables import sql_table

_BATCH = 10_000


def json_rows(
    connection: Connection, account_id: int, processor_id: int, day: date
) -> Iterator[Sequence[tuple[int, str]]]:
    """Yield the customer and the JSON text of each row of a day, in their order."""
    columns = comagic_reports.c
    mine = (columns.account_id == account_id) & (columns.processor_id == processor_id) & (columns.simple_date == day)
    query = select(columns.customer_user_id, columns.row_data).where(mine)
    return _streamed(connection, query.order_by(columns.customer_user_id, columns.row_id))


def table_rows(
    connection: Connection, account_id: int, declared: ReportTable, day: date
) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield the customer and the declared columns of each row of a day, by key; JSON as texts."""
    table = sql_table(declared)
    columns = [table.c[column.name] for column in declared.columns]
    shown = [sql_cast(column, Text) if isinstance(column.type, JSONB) else column for column in columns]
    mine = (table.c.account_id == account_id) & (table.c.simple_date == day)
    query = select(table.c.customer_user_id, *shown).where(mine)
    return _streamed(connection, query.order_by(table.c.customer_user_id, *(table.c[name] for name in declared.key)))


def _streamed(connection: Connection, query: Select[Any]) -> Iterator[Sequence[Any]]:
    with connection.execution_options(stream_results=True, yield_per=_BATCH).execute(query) as streamed:
        for part in streamed.partitions():
            yield [tuple(row) for row in part]
