"""Map rows of a report to the rows of its tables: JSON texts, or tuples of typed values.

Values that do not fit are returned apart, with the reason. Rows may come from the API or from a raw table.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

from comagic_pipeline.api.rows import Rejected, Row, cast
from comagic_pipeline.catalog import Column, ColumnType, Method
from comagic_pipeline.custom_reports.paths import items_at, value_at
from comagic_pipeline.custom_reports.structure import ColumnSource, TableSource
from comagic_pipeline.warehouse.raw.target import day_of_moment
from comagic_pipeline.warehouse.reports.structured_target import RowsOf
from comagic_pipeline.warehouse.target import RejectedValue

_UNFIT = (ValueError, TypeError, LookupError, ArithmeticError)
_LONGEST_KEY = 2000
"""Bytes of the texts of a key: an entry of an index has to fit into a third of a page."""
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def day_of(method: Method) -> Callable[[Row], date | None]:
    """Return the day of a row of a report; None for a report that tells no time."""
    if method.time_column is None:
        return lambda _: None
    moment = attrgetter(method.time_column)
    return lambda row: day_of_moment(moment(row))


def place_of(method: Method) -> Callable[[Row], tuple[datetime | None, str]]:
    """Return what orders the rows of a day: their time, if they have one, and their key."""
    key = [attrgetter(name) for name in method.key]

    def place(row: Row) -> tuple[datetime | None, str]:
        moment = getattr(row, method.time_column) if method.time_column else None
        if moment is not None and not isinstance(moment, datetime):
            moment = datetime.combine(moment, time())
        values = (get(row) for get in key)
        return moment, " ".join(f"{value:020d}" if isinstance(value, int) else str(value) for value in values)

    return place


def json_of(method: Method, fields: Sequence[str]) -> Callable[[Row], str]:
    """Return the fields of a row as the text of a JSON object, in this order, as the API writes them."""
    parts = [(_encode(name) + b":", attrgetter(name), method.column(name)) for name in fields]

    def text(row: Row) -> str:
        values = [name + json_value(get(row), column) for name, get, column in parts]
        return (b"{" + b",".join(values) + b"}").decode()

    return text


def json_value(value: Any, column: Column) -> bytes:
    """Return a value of a column as the API writes it."""
    match value:
        case msgspec.Raw():
            return bytes(value)
        case datetime() | date():
            return _encode(text_of(value))
        case Decimal() if column.is_text:
            return _encode(text_of(value))
    return _encode(value)


def text_of(value: Any) -> str:
    """Return a value as a text: as the API writes it."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat(" ")
        case date():
            return value.isoformat()
        case Decimal():
            return f"{value:f}"
        case int():
            return str(value)
    return _encode(value).decode()


def convert(value: Any, kind: ColumnType, zone: tzinfo) -> Any:
    """Return a value of a row, or of decoded JSON, as one of another type.

    Raises ValueError, TypeError, LookupError or ArithmeticError when it is none.
    """
    if isinstance(value, msgspec.Raw):
        if kind is ColumnType.JSON:
            return value
        value = _decode(value)
    if value is None:
        return None
    if kind is ColumnType.JSON:
        return msgspec.Raw(_encode(text_of(value) if isinstance(value, date) else value))
    if kind is ColumnType.TEXT:
        return text_of(value)
    if value in ([], {}):
        return None
    if isinstance(value, datetime):
        if kind not in (ColumnType.TIMESTAMP, ColumnType.DATE):
            raise ValueError
        return value if kind is ColumnType.TIMESTAMP else value.date()
    if isinstance(value, date):
        if kind is not ColumnType.TIMESTAMP:
            raise ValueError
        return datetime.combine(value, time())
    return cast(kind, value, zone)


def rows_of(source: TableSource, method: Method, zone: tzinfo) -> RowsOf:
    """Return what makes the rows of a table out of rows of a report."""
    if source.field is None and all(_is_as_it_comes(each) for each in source.columns):
        return _as_they_come(source, method)
    return _TableRows(source, method, zone).of


def _is_as_it_comes(column: ColumnSource) -> bool:
    return bool(column.field) and not column.steps and column.type is column.column.type


def _as_they_come(source: TableSource, method: Method) -> RowsOf:
    """Return the quick way for columns that need no work."""
    names = [str(each.field) for each in source.columns]
    values = attrgetter(*names) if len(names) > 1 else lambda row: (getattr(row, names[0]),)
    key = [number for number, each in enumerate(source.columns) if each.column.name in source.table.key]

    def of(rows: Sequence[Any], days: Sequence[date], rejected: list[RejectedValue]) -> Iterator[tuple[Any, ...]]:
        for row, day in zip(rows, days, strict=True):
            found = values(row)
            if problem := _key_problem(source, [found[number] for number in key]):
                rejected.append(_rejected(method, row, day, None, _listed(found), problem))
            else:
                yield (day, *found)

    return of


class _TableRows:
    """Makes rows of a table value by value."""

    def __init__(self, source: TableSource, method: Method, zone: tzinfo) -> None:
        self._source, self._method, self._zone = source, method, zone
        self._array = attrgetter(source.field) if source.field else None
        self._items = items_at(source.items)
        self._columns = [(each, *_finder(each)) for each in source.columns]

    def of(self, rows: Sequence[Any], days: Sequence[date], rejected: list[RejectedValue]) -> Iterator[tuple[Any, ...]]:
        """Tuples of the rows, or of their items; adds what does not fit to `rejected`."""
        for row, day in zip(rows, days, strict=True):
            for position, item in enumerate(self._items_of(row, day, rejected), 1):
                if made := self._made(row, item, position, day, rejected):
                    yield made

    def _items_of(self, row: Row, day: date, rejected: list[RejectedValue]) -> Sequence[Any]:
        if self._array is None:
            return (None,)
        raw = self._array(row)
        try:
            return self._items(_decode(raw))
        except ValueError:
            name = self._source.table.name
            rejected.append(_rejected(self._method, row, day, name, bytes(raw).decode(), "no array"))
            return ()

    def _made(
        self, row: Row, item: Any, position: int, day: date, rejected: list[RejectedValue]
    ) -> tuple[Any, ...] | None:
        values: list[Any] = [day]
        key = []
        for source, get, find in self._columns:
            found = get(row) if get else item if source.is_item else position
            try:
                if find is not None:
                    found = find(_decode(found) if isinstance(found, msgspec.Raw) else found)
                value = convert(found, source.column.type, self._zone)
            except _UNFIT:
                name = f"{self._source.table.name}.{source.column.name}"
                reason = f"not a value of type {source.column.type}"
                rejected.append(_rejected(self._method, row, day, name, _shown(found) or "", reason))
                value = None
            values.append(value)
            if source.column.name in self._source.table.key:
                key.append(value)
        if problem := _key_problem(self._source, key):
            whole = _encode(item).decode() if self._array else _listed(values[1:])
            rejected.append(_rejected(self._method, row, day, None, whole, problem))
            return None
        return tuple(values)


def _rejected(method: Method, row: Row, day: date, column: str | None, value: str, reason: str) -> Rejected:
    label = ", ".join(str(getattr(row, name)) for name in method.key)
    return Rejected(label, day, column, value, reason)


def _listed(values: Sequence[Any]) -> str:
    return _encode(list(map(_shown, values))).decode()


def _finder(source: ColumnSource) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    return attrgetter(source.field) if source.field else None, value_at(source.steps) if source.steps else None


def _key_problem(source: TableSource, key: Sequence[Any]) -> str | None:
    """Return why a row with these values of the key cannot be stored; None when it can."""
    if None in key:
        names = [each.column.name for each in source.columns if each.column.name in source.table.key]
        missing = [name for name, value in zip(names, key, strict=True) if value is None]
        return f"the row has no {' and no '.join(missing)} for {source.table.name}"
    if sum(len(value.encode()) for value in key if isinstance(value, str)) > _LONGEST_KEY:
        return f"the key is longer than {_LONGEST_KEY} bytes for {source.table.name}"
    return None


def _shown(value: Any) -> str | None:
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return None if value is None else text_of(value)
