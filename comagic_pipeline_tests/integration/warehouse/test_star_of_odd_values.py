"""Values that raw holds and that the star's narrower columns do not: one of them must not stop the star of all days."""

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from comagic_pipeline.catalog import Column, ColumnType, tables
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.load import DayLoad
from comagic_pipeline.warehouse.raw.target import RawTarget
from comagic_pipeline.warehouse.star.build import Account as StarAccount
from comagic_pipeline.warehouse.star.build import build
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.tables import KINDS
from comagic_pipeline.warehouse.target import Account

DAY = date(2026, 3, 1)
EXTREMES: dict[ColumnType, tuple[Any, ...]] = {
    ColumnType.INTEGER: (-(2**63), 2**63 - 1, 2**31, -(2**31), 0),
    ColumnType.DECIMAL: (Decimal("-9e999"), Decimal("9e999"), Decimal("1e-900"), Decimal("9999999999999999.995")),
    ColumnType.TEXT: ("", "я" * 5000, "-" * 300, "9" * 40, "-1"),
    ColumnType.BOOLEAN: (True, False),
    ColumnType.TIMESTAMP: (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)),
    ColumnType.DATE: (date(1, 1, 1), date(9999, 12, 31)),
    ColumnType.JSON: tuple(
        msgspec.Raw(text.encode())
        for text in (
            "0",
            '"text"',
            '[[], {}, 1, null, "' + "x" * 500 + '"]',
            '{"tag_id": 1}',
            '[{"tag_id": 1e400, "employee_id": 1e400}, {"tag_id": true, "employee_id": []}]',
            '[{"tag_id": 9223372036854775808, "employee_id": -9223372036854775809}]',
            *(
                f'[{{"tag_id": 7, "tag_name": {{}}, "tag_user_id": "x", "tag_change_time": "{moment}"}}]'
                for moment in ("2026-02-31 00:00:00", "2026-13-01 00:00:00", "1999-01-01 25:61:61", "2026-", "1")
            ),
            '[{"tag_id": 8, "tag_change_time": 20260101}, {"employee_id": 5, "is_answered": "yes", "is_talked": {}}]',
        )
    ),
}
"""Values of each type at the ends of what raw takes, and JSON that is not as documented."""


def odd_rows(kind: Kind) -> Iterator[Any]:
    """Rows of a kind's report; each value of each type stands in every column of that type."""
    method = tables()[kind.report]
    row_type: Any = msgspec.defstruct("Row", [(column.name, Any, None) for column in method.columns])
    for number in range(max(map(len, EXTREMES.values()))):
        values = {column.name: value_of(column, number) for column in method.columns}
        keys = dict.fromkeys(method.key, number + 1)
        yield row_type(**values | keys | {str(method.time_column): datetime.combine(DAY, time(12))})


def value_of(column: Column, number: int) -> Any:
    """The value of a column in a row."""
    values = EXTREMES[column.type]
    return values[number % len(values)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_value_of_raw_stops_the_star(warehouse: Warehouse, kind: Kind) -> None:
    """The smallest bigint in a column of 32 bits failed the build of all days: it has no absolute value."""
    rows = list(odd_rows(kind))
    with DayLoad(warehouse, RawTarget(tables()[kind.report]), Account(1), "run") as days:
        days.write(DAY, DAY, rows, ())
        assert [day.rows for day in days.complete(DAY, DAY, 1)] == [len(rows)]
    with warehouse.begin() as connection:
        result = build(connection, warehouse.schemas, StarAccount(1, "main"), kind, DAY, DAY)
    assert result.facts_per_day == {DAY: len(rows)}
