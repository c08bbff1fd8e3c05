"""Rows out of an answer: what every type of column makes of every value, and what is rejected."""

from collections.abc import Callable
from dataclasses import astuple
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from comagic_pipeline.api.errors import TransientError
from comagic_pipeline.api.rows import Page, RowDecoder
from comagic_pipeline.catalog import Column, ColumnType, Method, methods

TYPES = {
    "id": ColumnType.INTEGER,
    "start_time": ColumnType.TIMESTAMP,
    "cost": ColumnType.DECIMAL,
    "name": ColumnType.TEXT,
    "is_lost": ColumnType.BOOLEAN,
    "sale_date": ColumnType.DATE,
    "duration": ColumnType.INTEGER,
    "seen_at": ColumnType.TIMESTAMP,
    "tags": ColumnType.JSON,
}
REPORT = Method(
    name="get.things_report",
    alias=None,
    table="things_report",
    group="",
    description="",
    columns=tuple(Column(name, kind, "", filterable=False, sortable=False) for name, kind in TYPES.items()),
    key=("id",),
    is_key_unique=True,
    time_column="start_time",
    max_days=None,
    parameters=frozenset(),
    required=frozenset(),
)
at = datetime.fromisoformat
GOOD = '{"id": 1, "start_time": "2026-01-02 03:04:05"}'
ODD = '{"id": 2, "start_time": "2026-01-02 03:04:05", "is_lost": "yes"}'
Decode = Callable[[str], Page]


@pytest.fixture
def decode() -> Decode:
    """Decodes a page of the small report; the account is in Moscow."""
    decoder = RowDecoder(REPORT, ZoneInfo("Europe/Moscow"))
    return lambda text: decoder.decode(msgspec.Raw(text.encode()))


def plain(value: Any) -> Any:
    """A value to compare with: nested columns are JSON of their own."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


STRICT = [
    ("duration", "12", 12),
    ("duration", "-1", -1),
    ("duration", "3331456735", 3_331_456_735),
    ("duration", str(2**63 - 1), 2**63 - 1),
    ("duration", str(-(2**63)), -(2**63)),
    ("cost", "12.10", Decimal("12.10")),
    ("cost", "12", Decimal(12)),
    ("cost", '"12.10"', Decimal("12.10")),
    ("cost", "0.1000000000000000000001", Decimal("0.1000000000000000000001")),
    ("name", '"имя"', "имя"),
    ("name", '""', ""),
    ("is_lost", "true", True),
    ("is_lost", "false", False),
    ("seen_at", '"2026-02-03 04:05:06"', at("2026-02-03 04:05:06")),
    ("seen_at", '"2026-02-03T04:05:06"', at("2026-02-03 04:05:06")),
    ("seen_at", '"2026-02-03 04:05:06.5"', at("2026-02-03 04:05:06.500000")),
    ("sale_date", '"2026-02-03"', date(2026, 2, 3)),
    ("tags", '[{"a": 1}]', [{"a": 1}]),
    ("tags", "[]", []),
    ("tags", "{}", {}),
    ("tags", '"text"', "text"),
    *((name, "null", None) for name in ("cost", "name", "is_lost", "sale_date", "duration", "seen_at", "tags")),
]
LENIENT = [
    ("duration", '"12"', 12),
    ("duration", '" -12 "', -12),
    ("duration", "12.0", 12),
    ("duration", '"12.00"', 12),
    ("duration", "1e3", 1000),
    ("cost", '"12,10"', Decimal("12.10")),
    ("name", "12", "12"),
    ("name", "12.50", "12.50"),
    ("name", "true", "true"),
    ("name", '{"a":1}', '{"a":1}'),
    ("is_lost", "1", True),
    ("is_lost", "0", False),
    ("is_lost", '"true"', True),
    ("is_lost", '"False"', False),
    ("is_lost", '"0"', False),
    ("seen_at", '"2026-02-03T04:05:06Z"', at("2026-02-03 07:05:06")),
    ("seen_at", '"2026-02-03 04:05:06+05:00"', at("2026-02-03 02:05:06")),
    ("seen_at", '"2026-02-03"', at("2026-02-03 00:00:00")),
    ("sale_date", '"2026-02-03 04:05:06"', date(2026, 2, 3)),
    *(
        (name, value, None)
        for name in ("duration", "cost", "seen_at", "sale_date", "is_lost")
        for value in ('""', '" "')
    ),
    *(
        (name, value, None)
        for name in ("duration", "cost", "name", "seen_at", "sale_date", "is_lost")
        for value in ("[]", "{}")
    ),
]


@pytest.mark.parametrize(("column", "value", "expected"), STRICT + LENIENT)
@pytest.mark.parametrize("neighbour", [GOOD, ODD], ids=["good", "odd"])
def test_a_value(decode: Decode, column: str, value: str, expected: Any, neighbour: str) -> None:
    """A value in any form that the API is known for is read alike, whether the rest of its page is in order or not."""
    row = f'{{"id": 3, "start_time": "2026-01-02 03:04:05", "{column}": {value}}}'
    page = decode(f"[{neighbour}, {row}]")
    result = plain(getattr(page.rows[1], column))
    assert (result, type(result)) == (expected, type(expected))
    assert [rejected.key for rejected in page.rejected] == (["2"] if neighbour == ODD else [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("duration", "12.5"),
        ("duration", '"twelve"'),
        ("duration", "true"),
        ("duration", str(2**63)),
        ("duration", str(-(2**63) - 1)),
        ("duration", "1" + "0" * 400),
        ("duration", "1e400"),
        ("duration", '"1e999999999"'),
        ("duration", '"sNaN"'),
        ("duration", "[1]"),
        ("cost", "true"),
        ("cost", '"12 RUB"'),
        ("cost", '{"value": 1}'),
        ("is_lost", '"yes"'),
        ("is_lost", "2"),
        ("is_lost", "[true]"),
        ("seen_at", '"0000-00-00 00:00:00"'),
        ("seen_at", '"0001-01-01T00:00:00+23:00"'),
        ("seen_at", "1767225600"),
        ("seen_at", '"yesterday"'),
        ("sale_date", '"2026-02-30"'),
        ("sale_date", "20260203"),
    ],
)
def test_a_value_that_cannot_be_read(decode: Decode, column: str, value: str) -> None:
    """What has no reasonable reading leaves its column empty, is reported as it was given, and harms no other."""
    page = decode(f'[{GOOD}, {{"id": 7, "start_time": "2026-01-02 03:04:05", "name": "x", "{column}": {value}}}]')
    assert [(row.id, row.name) for row in page.rows] == [(1, None), (7, "x")]  # type: ignore[attr-defined]
    assert getattr(page.rows[1], column) is None
    expected = ("7", date(2026, 1, 2), column, value, f"not a value of type {TYPES[column]}")
    assert [astuple(rejected) for rejected in page.rejected] == [expected]


@pytest.mark.parametrize(
    ("row", "key", "day", "reason"),
    [
        ('{"start_time": "2026-01-02 03:04:05", "name": "x"}', "None", date(2026, 1, 2), "no id"),
        ('{"id": null, "start_time": "2026-01-02 03:04:05"}', "None", date(2026, 1, 2), "no id"),
        ('{"id": 5, "name": "x"}', "5", None, "no start_time"),
        ('{"id": 5, "start_time": ""}', "5", None, "no start_time"),
        ("{}", "None", None, "no id and no start_time"),
        ("[1, 2]", "", None, "not an object"),
        ('"text"', "", None, "not an object"),
        ("null", "", None, "not an object"),
    ],
)
def test_a_row_that_cannot_be_stored(decode: Decode, row: str, key: str, day: date | None, reason: str) -> None:
    """A row without its key or its time, or that is none, is rejected as a whole; the rows beside it are kept."""
    page = decode(f"[{GOOD}, {row}]")
    assert [row.id for row in page.rows] == [1]  # type: ignore[attr-defined]
    (rejected,) = page.rejected
    assert (rejected.key, rejected.day, rejected.column) == (key, day, None)
    assert reason in rejected.reason
    assert "x" in rejected.value or "x" not in row


def test_a_time_that_cannot_be_read(decode: Decode) -> None:
    """A row whose time is odd is rejected, and so is the time, so that both the row and the reason can be found."""
    page = decode('[{"id": 5, "start_time": "soon", "tags": [1]}]')
    assert page.rows == []
    assert [(rejected.column, rejected.value) for rejected in page.rejected] == [
        ("start_time", '"soon"'),
        (None, '{"id": 5, "start_time": "soon", "tags": [1]}'),
    ]
    assert page.rejected[1].reason == 'the row has no start_time that fits its column: start_time is "soon"'


@pytest.mark.parametrize(
    ("came", "key"),
    [
        ("18446744073709551615", "18446744073709551615"),
        ('"abc"', "abc"),
        ('"\\u0444"', "\u0444"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("1.5", "1.5"),
        ("true", "true"),
        ('["a"]', '["a"]'),
        ("1e400", "1e400"),
    ],
)
@pytest.mark.parametrize("neighbour", [GOOD, ODD], ids=["good", "odd"])
def test_a_key_that_does_not_fit(decode: Decode, came: str, key: str, neighbour: str) -> None:
    """Case 17: rejected rows had the key `None` and a value without it, so that nobody could find the row."""
    row = f'{{"id": {came}, "start_time": "2026-01-02 03:04:05", "name": "x"}}'
    page = decode(f"[{neighbour}, {row}]")
    assert len(page.rows) == 1
    assert {rejected.key for rejected in page.rejected} - {"2"} == {key}
    (whole,) = [rejected for rejected in page.rejected if rejected.column is None]
    assert (whole.key, whole.day, whole.value) == (key, date(2026, 1, 2), row)
    assert whole.reason == f"the row has no id that fits its column: id is {came}"


@pytest.mark.parametrize(
    "value",
    ['"NaN"', '"Infinity"', '"-Infinity"', '"1e999999"', '"1e-20000"', '"0E-99999"', '"sNaN"', "1" + "0" * 2000],
)
def test_a_number_that_the_warehouse_refuses(decode: Decode, value: str) -> None:
    """A decimal that no column of PostgreSQL takes stopped the load of its whole window; now it alone is left empty."""
    page = decode(f'[{GOOD}, {{"id": 7, "start_time": "2026-01-02 03:04:05", "cost": {value}}}]')
    assert [(row.id, row.cost) for row in page.rows] == [(1, None), (7, None)]  # type: ignore[attr-defined]
    assert [(rejected.key, rejected.column, rejected.value) for rejected in page.rejected] == [("7", "cost", value)]


def test_missing_and_unknown_columns(decode: Decode) -> None:
    """Columns that do not come are empty, those that nobody knows are left out, in order and odd pages alike."""
    extra = GOOD[:-1] + ', "brand_new": {"a": [1]}}'
    for page in (decode(f"[{extra}]"), decode(f"[{extra}, {ODD}]")):
        empty = [plain(getattr(page.rows[0], name)) for name in TYPES if name not in ("id", "start_time")]
        assert empty == [None] * 7


@pytest.mark.parametrize("text", ["[]", "null"])
def test_no_rows(decode: Decode, text: str) -> None:
    """An empty list and null are no rows."""
    assert decode(text) == Page()


def test_one_row_as_an_object(decode: Decode) -> None:
    """An object in place of the list is its one row."""
    assert [row.id for row in decode(GOOD).rows] == [1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ['"text"', "12", "true"])
def test_data_that_is_no_list(decode: Decode, text: str) -> None:
    """Data of another kind is an error that names the method."""
    with pytest.raises(TransientError, match=r"get\.things_report: .* not a list of rows"):
        decode(text)


def test_every_method_of_the_catalog() -> None:
    """Every method's rows can be decoded, and a row's key and columns come in the catalog's order."""
    samples = {
        ColumnType.INTEGER: 1,
        ColumnType.DECIMAL: 1.5,
        ColumnType.TEXT: "x",
        ColumnType.BOOLEAN: True,
        ColumnType.TIMESTAMP: "2026-01-02 03:04:05",
        ColumnType.DATE: "2026-01-02",
        ColumnType.JSON: [1],
    }
    for method in methods().values():
        decoder = RowDecoder(method, ZoneInfo("Europe/Moscow"), {"site_id": 1})
        row = {column.name: samples[column.type] for column in method.columns if column.answered}
        page = decoder.decode(msgspec.Raw(msgspec.json.encode([row])))
        assert page.rejected == []
        assert list(msgspec.structs.asdict(page.rows[0])) == [column.name for column in method.columns]
        assert None not in msgspec.structs.astuple(page.rows[0])
