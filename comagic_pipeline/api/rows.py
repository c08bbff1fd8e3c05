"""Decode the rows of an answer: typed by the catalog, fast for the usual page, lenient for odd values.

A page is decoded at once into one struct per row; nested columns stay raw JSON. Only a page that does not fit is
decoded row by row and value by value. What cannot be decoded is reported as `Rejected`, never dropped silently.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from comagic_pipeline.api.errors import TransientError
from comagic_pipeline.catalog import ColumnType, Method

Row = msgspec.Struct
"""A row: one attribute per column of the method, in the catalog's order; None where the API gave nothing.

Nested columns hold their JSON as msgspec.Raw, the text null included.
"""

_NULL = msgspec.Raw(b"null")
_EMPTY = (None, _NULL)
_LARGEST_EXPONENT = 1000
"""Of the decimals that are stored, base 10: PostgreSQL takes some more, and no amount of money has them."""
_LONGEST_KEY = 200
"""Characters of a key that does not fit its column."""
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_NAIVE = Annotated[datetime, msgspec.Meta(tz=False)]
_TYPES: dict[ColumnType, Any] = {
    ColumnType.INTEGER: _INT64 | None,
    ColumnType.DECIMAL: Decimal | None,
    ColumnType.TEXT: str | None,
    ColumnType.BOOLEAN: bool | None,
    ColumnType.TIMESTAMP: _NAIVE | None,
    ColumnType.DATE: date | None,
    ColumnType.JSON: msgspec.Raw,  # null comes as the text null: a union with None would refuse everything else
}


@dataclass(frozen=True)
class Rejected:
    """A value that does not fit its column, or (with `column` None) a row that cannot be stored at all."""

    key: str
    day: date | None
    column: str | None
    value: str
    reason: str


@dataclass
class Page:
    """The rows of one answer, those that can be stored, and what was rejected."""

    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def row_type(method: Method) -> type[Row]:
    """Return the type of the rows of a method."""
    return msgspec.defstruct(
        method.table,
        [
            (column.name, _TYPES[column.type], _NULL if column.type is ColumnType.JSON else None)
            for column in method.columns
        ],
        gc=False,
    )


class RowDecoder:
    """Decodes the rows of one method; `zone` is the account's, for times that come with an offset after all.

    `asked` holds the parameters of the request, for columns that its answer leaves out.
    """

    def __init__(self, method: Method, zone: tzinfo, asked: Mapping[str, Any] | None = None) -> None:
        self.method = method
        self._zone = zone
        self._asked = {column.name: (asked or {})[column.name] for column in method.columns if not column.answered}
        self._required = [column.name for column in method.columns if column.name in method.required_columns]
        self._decimals = [column.name for column in method.columns if column.type is ColumnType.DECIMAL]
        self._struct = row_type(method)
        self._page = msgspec.json.Decoder(list[self._struct])  # type: ignore[name-defined]
        self._row = msgspec.json.Decoder(self._struct)

    def decode(self, data: msgspec.Raw) -> Page:
        """Decode the `data` of an answer: a list of rows or one row as an object; null and {} are no rows.

        Raises TransientError when it is neither.
        """
        start = bytes(memoryview(data)[:1])
        if start == b"n" or (start == b"{" and not msgspec.json.decode(data)):
            return Page()
        text = b"[" + bytes(data) + b"]" if start == b"{" else data
        try:
            page = Page(self._page.decode(text))
            is_storable = all(map(_is_storable, self._decimals_of(page.rows)))
        except (msgspec.MsgspecError, ValueError, ArithmeticError):
            is_storable = False
        if not is_storable:
            page = self._decode_leniently(text)
        for name, value in self._asked.items():
            for row in page.rows:
                setattr(row, name, value)
        self._reject_incomplete(page)
        return page

    def _reject_incomplete(self, page: Page) -> None:
        """Move rows without a key or a time to the rejected: they have no place in a table."""
        if all(None not in map(attrgetter(name), page.rows) for name in self._required):
            return
        kept = []
        for row in page.rows:
            if self._missing(row):
                known = {name: value for name, value in msgspec.structs.asdict(row).items() if value not in _EMPTY}
                self._reject(row, {}, msgspec.json.encode(known).decode(), page)
            else:
                kept.append(row)
        page.rows = kept

    def _decimals_of(self, rows: list[Row]) -> Iterator[Decimal | None]:
        return chain.from_iterable(map(attrgetter(name), rows) for name in self._decimals)

    def _missing(self, row: Row) -> list[str]:
        """Return the columns without which the row cannot be stored."""
        return [name for name in self._required if getattr(row, name) is None]

    def _reject(self, row: Row, odd: Mapping[str, str], text: str, page: Page) -> None:
        """Reject a row as a whole; `odd` are its values that do not fit, and `text` the row, both as they came."""
        reason = f"the row has no {' and no '.join(self._missing(row))}"
        if told := [f"{name} is {odd[name][:_LONGEST_KEY]}" for name in self._missing(row) if name in odd]:
            reason += f" that fits its column: {', '.join(told)}"
        page.rejected.append(Rejected(self._label(row, odd), self._day(row), None, text, reason))

    def _decode_leniently(self, text: bytes | msgspec.Raw) -> Page:
        page = Page()
        try:
            raws = msgspec.json.decode(text, type=list[msgspec.Raw])
        except msgspec.MsgspecError as error:
            raise TransientError(f"{self.method.name}: the data of the answer is not a list of rows") from error
        for raw in raws:
            try:
                row = self._row.decode(raw)
                if not all(map(_is_storable, self._decimals_of([row]))):
                    raise ValueError
                page.rows.append(row)
            except (msgspec.MsgspecError, ValueError, ArithmeticError):
                self._decode_row_leniently(raw, page)
        return page

    def _decode_row_leniently(self, raw: msgspec.Raw, page: Page) -> None:
        text = bytes(raw).decode()
        try:
            values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        except msgspec.MsgspecError:
            page.rejected.append(Rejected("", None, None, text, "not an object"))
            return
        row = self._struct()
        odd: dict[str, str] = {}
        for column in self.method.columns:
            value = values.get(column.name)
            if value is None:
                continue
            try:
                setattr(row, column.name, _lenient(column.type, value, self._zone))
            except (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError):
                odd[column.name] = bytes(value).decode()
        page.rejected += [
            Rejected(self._label(row, odd), self._day(row), name, value, f"not a value of type {self._type(name)}")
            for name, value in odd.items()
        ]
        # What the request asked for stands in no answer.
        if set(self._missing(row)) <= self._asked.keys():
            page.rows.append(row)
        else:
            self._reject(row, odd, text, page)

    def _type(self, name: str) -> ColumnType:
        return self.method.column(name).type

    def _label(self, row: Row, odd: Mapping[str, str]) -> str:
        """Return the key of a row as text, with the values that do not fit as they came."""
        parts = []
        for name in self.method.key:
            came = odd.get(name)
            if came is None:
                parts.append(str(getattr(row, name)))
            else:
                text = msgspec.json.decode(came) if came[:1] == '"' else came
                parts.append(text[:_LONGEST_KEY])
        return ", ".join(parts)

    def label(self, row: Row) -> str:
        """Return the key of a row as text: what `Rejected.key` holds."""
        return ", ".join(str(getattr(row, name)) for name in self.method.key)

    def _day(self, row: Row) -> date | None:
        moment = getattr(row, self.method.time_column) if self.method.time_column else None
        return moment.date() if isinstance(moment, datetime) else moment


def _lenient(kind: ColumnType, raw: msgspec.Raw, zone: tzinfo) -> Any:
    """Return the value of a column from its JSON, whatever reasonable form it has; ValueError when it has none.

    The documentation's tables and samples disagree about some types (docs/decisions.md, "Types"): "12" for 12 and 12
    for "12".
    """
    if kind is ColumnType.JSON:
        return raw
    value = msgspec.json.decode(raw)
    if value is None or value in ([], {}):
        return None  # empty arrays and objects stand for null in places
    if kind is ColumnType.TEXT:
        return value if isinstance(value, str) else bytes(raw).decode()
    return cast(kind, value, zone)


def cast(kind: ColumnType, value: Any, zone: tzinfo) -> Any:
    """Return a decoded value as one of a kind that is neither text nor JSON, whatever reasonable form it has.

    An empty text is no value. Raises ValueError, TypeError, LookupError or ArithmeticError when it has no such form.
    """
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
    elif isinstance(value, dict | list):
        raise ValueError
    match kind:
        case ColumnType.INTEGER:
            return _whole(value)
        case ColumnType.DECIMAL:
            number = Decimal(str(value).replace(",", "."))
            if not _is_storable(number):
                raise ValueError
            return number
        case ColumnType.BOOLEAN:
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        case ColumnType.TIMESTAMP:
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is None else moment.astimezone(zone).replace(tzinfo=None)
        case ColumnType.DATE:
            return datetime.fromisoformat(value).date()


def _is_storable(number: Decimal | None) -> bool:
    """Return whether PostgreSQL's numeric takes a number and sums survive it: no NaN, infinity, 1e999999."""
    if number is None:
        return True
    return number.is_finite() and -_LARGEST_EXPONENT < number.adjusted() < _LARGEST_EXPONENT


def _whole(value: Any) -> int:
    number = Decimal(str(value))
    if number != number.to_integral_value() or not -(2**63) <= number < 2**63:
        raise ValueError
    return int(number)
