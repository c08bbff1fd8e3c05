"""Rows of raw tables in the form of the API, to use or compare them without a request."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import msgspec
from sqlalchemy import Connection

from comagic_pipeline.api.rows import Row, row_type
from comagic_pipeline.catalog import ColumnType, Method, tables
from comagic_pipeline.warehouse.raw.days import rows_of_day
from comagic_pipeline.warehouse.target import Account


def raw_rows_of(connection: Connection, method: Method, account: Account, day: date) -> Iterator[Sequence[Row]]:
    """Yield the raw rows of a day with the columns of a method, which may be a narrowed one, part by part."""
    make = row_type(method)
    nested = [number for number, column in enumerate(method.columns) if column.type is ColumnType.JSON]
    for part in rows_of_day(connection, tables()[method.table], method.columns, account, day):
        yield [make(*_with_json(values, nested)) for values in part]


def _with_json(values: Iterable[object], nested: Sequence[int]) -> Sequence[object]:
    found = list(values)
    for number in nested:
        text = found[number]
        found[number] = msgspec.Raw(b"null" if text is None else str(text).encode())
    return found
