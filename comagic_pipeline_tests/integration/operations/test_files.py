"""Files of custom reports: what a spreadsheet does with them, who can read them, and values that do not fit."""

import csv
import json
import stat
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import text

from comagic_pipeline.config import parse_config
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.operations.files import check_path, write_file
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.monthly_partitions import ensure_months

DAY = date(2026, 3, 2)
CONFIG = """\
sources:
  - {name: main, account_id: 1, base_url: sandbox, start_date: 2026-03-01, token: x}
custom_reports:
  - {name: calls, report: calls_report, fields: [id, utm_campaign, contact_phone_number, sale_cost, tags]}
"""


@pytest.fixture
def report() -> CustomReport:
    """A report of calls as JSON."""
    return parse_config(CONFIG, Path("comagic.yaml")).sources[0].custom_reports[0]


class Number(str):
    """A number of JSON as it is written: one that Python would round."""


def store(warehouse: Warehouse, report: CustomReport, *rows: dict[str, Any]) -> None:
    """Store rows of the day as a load does; a field that is not given is null."""
    insert = text(
        "insert into comagic.comagic_reports (account_id, processor_id, simple_date, row_id, row_data) "
        "values (1, :processor_id, :day, :row_id, :row_data)"
    )
    with warehouse.begin() as connection:
        ensure_months(connection, warehouse.schemas.star, "comagic_reports", DAY, DAY)
        for number, row in enumerate(rows):
            fields = {name: row.get(name) for name in report.fields}
            values = (f"{json.dumps(name)}: {as_json(value)}" for name, value in fields.items())
            line = {"row_id": number, "row_data": f"{{{', '.join(values)}}}"}
            connection.execute(insert, line | {"processor_id": report.processor_id, "day": DAY})


def as_json(value: Any) -> str:
    return value if isinstance(value, Number) else json.dumps(value)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_is_no_formula_in_a_spreadsheet(
    sign: str, warehouse: Warehouse, report: CustomReport, tmp_path: Path
) -> None:
    """`utm_campaign` of a visit is anybody's text: `=HYPERLINK(…)` in a CSV file was run by the spreadsheet."""
    formula = f'{sign}HYPERLINK("http://x.example")'
    store(warehouse, report, {"id": 1, "utm_campaign": formula, "sale_cost": -5})
    out = tmp_path / "calls.csv"
    for escapes, expected in ((True, f"'{formula}"), (False, formula)):
        write_file(warehouse, report, (DAY, DAY), out, is_agent=False, escapes_formulas=escapes)
        with out.open(encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["utm_campaign"] == expected
        # A number is a number.
        assert row["sale_cost"] == "-5"


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx"])
def test_a_file_is_for_its_owner(ending: str, warehouse: Warehouse, report: CustomReport, tmp_path: Path) -> None:
    """Files with telephone numbers could be read by every user of the machine; one that was replaced too."""
    out = tmp_path / f"calls.{ending}"
    out.write_text("old")
    out.chmod(0o644)
    store(warehouse, report, {"id": 1})
    write_file(warehouse, report, (DAY, DAY), out, is_agent=False)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_large_amount_goes_into_parquet(warehouse: Warehouse, report: CustomReport, tmp_path: Path) -> None:
    """A decimal of more than 19 digits before the point ended in a traceback; one of more than 29 has no room."""
    amounts = [
        "1e19",
        "12345678901234567890123456789.123456789",
        "1e29",
        "-1e30",
        "99999999999999999999999999999.9999999999",
    ]
    store(warehouse, report, {"sale_cost": 0.5}, *({"sale_cost": Number(amount)} for amount in amounts))
    out = tmp_path / "calls.parquet"
    written = write_file(warehouse, report, (DAY, DAY), out, is_agent=False)
    assert [row["sale_cost"] for row in parquet.read_table(out).to_pylist()] == [
        Decimal("0.5"),
        Decimal(10) ** 19,
        Decimal(amounts[1]),
        None,
        None,
        None,
    ]
    assert written.unfit["sale_cost"] == 3


def test_a_place_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    """`--out` was tried after the load had spent its points: rights alone say yes to the superuser."""
    with pytest.raises(IsADirectoryError):
        check_path(tmp_path)
    with pytest.raises(FileNotFoundError):
        check_path(tmp_path / "nowhere" / "calls.csv")
    with pytest.raises(OSError, match=r"."):
        check_path(Path("/proc/calls.csv"))
    with pytest.raises(OSError, match="name too long"):
        check_path(tmp_path / f"{'x' * 300}.csv")
    (tmp_path / "calls.csv").write_text("old")
    check_path(tmp_path / "calls.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("calls.csv", "old")]
