"""Rows that the database refuses though their values fit their types: they are rejected, all the others are stored."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from dagster import DagsterInstance

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.readers.periods import PeriodReader
from comagic_pipeline.api.readers.windows import DaysComplete, Rows
from comagic_pipeline.catalog import tables
from comagic_pipeline.config import Config
from comagic_pipeline.operations.api_client import open_client
from comagic_pipeline.operations.reconciler import Reconciler
from comagic_pipeline.operations.report_target import target_of
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse import copying
from comagic_pipeline.warehouse.copying import MOST_REFUSED, RowsRefusedError
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.load import DayLoad, replace_dictionary
from comagic_pipeline.warehouse.raw.target import RawTarget
from comagic_pipeline.warehouse.reports.tables import prepare
from comagic_pipeline.warehouse.target import Account
from comagic_pipeline_tests.integration.api.test_contradictions import MOSCOW, OddApi
from comagic_pipeline_tests.integration.api_server import Server
from comagic_pipeline_tests.integration.raw_reference import api_rows, query
from comagic_pipeline_tests.integration.runs import failures, run_load

CALLS, CAMPAIGNS = tables()["calls_report"], tables()["campaigns"]
MAIN = Account(1)
DAY = date(2026, 3, 1)
Call: Any = msgspec.defstruct("Call", [(column.name, Any, None) for column in CALLS.columns])
Campaign: Any = msgspec.defstruct("Campaign", [(column.name, Any, None) for column in CAMPAIGNS.columns])
REJECTED = "select event_date, row_key, column_name, value, reason from comagic_ops.rejected_rows order by id"


def call(key: int, day: date = DAY, **columns: Any) -> Any:
    """A call of a day."""
    return Call(id=key, start_time=datetime.combine(day, time(12)), **columns)


def write(warehouse: Warehouse, *batches: list[Any]) -> tuple[int, int]:
    """Load the day in several batches; gives rows and answered of its line in the ledger."""
    with DayLoad(warehouse, RawTarget(CALLS), MAIN, "run") as days:
        for rows in batches:
            days.write(DAY, DAY, rows, ())
        days.complete(DAY, DAY, 1)
    (line,) = query(warehouse, "select rows, answered from comagic_ops.loaded_days")
    return line["rows"], line["answered"]


def stored(warehouse: Warehouse, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of the calls by id."""
    found = query(warehouse, f"select {', '.join(columns)} from comagic_raw.calls_report order by id")
    return [tuple(row.values()) for row in found]


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_of_two_rows_with_one_key_the_first_is_kept(warehouse: Warehouse, is_one_batch: bool) -> None:
    """Two rows of one key in a day failed its whole window, day after day: "duplicate key value violates ..."."""
    first, second = call(5, contact_phone_number="1"), call(5, contact_phone_number="2")
    others = [call(key) for key in range(10, 20)]
    batches = (
        [[*others[:3], first, *others[3:], second]] if is_one_batch else [[*others[:3], first], [second, *others[3:]]]
    )
    assert write(warehouse, *batches) == (11, 12)
    assert stored(warehouse, "id", "contact_phone_number")[0] == (5, "1")
    assert len(stored(warehouse, "id")) == 11
    (line,) = query(warehouse, REJECTED)
    assert (line["event_date"], line["row_key"], line["column_name"]) == (DAY, "5", None)
    assert json.loads(line["value"]) == {"id": 5, "start_time": "2026-03-01T12:00:00", "contact_phone_number": "2"}
    assert line["reason"] == "another row of the day has the same key (id); the one that came first is kept"
    # Without it the line is gone.
    assert write(warehouse, [first]) == (1, 1)
    assert query(warehouse, REJECTED) == []


REFUSED = {
    "a number that jsonb does not hold": (
        {"tags": msgspec.Raw(b'[{"tag_id": 1e999999}]')},
        "the database refuses the row: value overflows numeric format",
    ),
    "a fraction longer than numeric has": (
        {"sale_cost": Decimal("1." + "0" * 20_000 + "1")},
        "the database refuses the row: decimal too precise for PostgreSQL numeric binary format "
        "(maximum 16383 digits after the decimal point)",
    ),
    "a zero byte in a text": (
        {"contact_phone_number": "7\0"},
        'the database refuses the row: invalid byte sequence for encoding "UTF8": 0x00',
    ),
    "a zero character in JSON": (
        {"tags": msgspec.Raw(b'["\\u0000"]')},
        "the database refuses the row: unsupported Unicode escape sequence",
    ),
    "half a surrogate in JSON": (
        {"tags": msgspec.Raw(b'["\\ud800"]')},
        "the database refuses the row: invalid input syntax for type json",
    ),
    "JSON that is too deep": (
        {"tags": msgspec.Raw(b"[" * 100_000 + b"]" * 100_000)},
        "the database refuses the row: stack depth limit exceeded",
    ),
}


@pytest.mark.parametrize(("columns", "reason"), REFUSED.values(), ids=REFUSED)
def test_one_value_does_not_stop_a_window(warehouse: Warehouse, columns: dict[str, Any], reason: str) -> None:
    """One value that COPY refuses though it had passed our own types failed the whole window, day after day."""
    rows = [call(key) for key in range(1, 30)]
    rows.insert(17, call(100, **columns))
    assert write(warehouse, rows) == (29, 30)
    assert stored(warehouse, "id") == [(key,) for key in range(1, 30)]
    (line,) = query(warehouse, REJECTED)
    assert (line["event_date"], line["row_key"], line["column_name"]) == (DAY, "100", None)
    assert line["reason"] == reason


def test_a_key_that_is_too_long_for_its_index(warehouse: Warehouse) -> None:
    """A text key of more than a third of a page is a limit of the database, which the type of a row does not know."""
    method = tables()["communications_report"]
    row_type: Any = msgspec.defstruct("Row", [(column.name, Any, None) for column in method.columns])
    # Not one that can be compressed below the limit.
    long = "".join(chr(0x4E00 + (7919 * number) % 20_000) for number in range(8000))
    rows = [
        row_type(id=number, communication_type=kind, date_time=datetime.combine(DAY, time(12)))
        for number, kind in enumerate(["call", long, "chat"])
    ]
    with DayLoad(warehouse, RawTarget(method), MAIN, "run") as days:
        days.write(DAY, DAY, rows, ())
        assert [day.rows for day in days.complete(DAY, DAY, 1)] == [2]
    (line,) = query(warehouse, REJECTED)
    assert line["reason"].startswith("the database refuses the row: index row ")


def test_a_structure_of_its_own(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """A custom report whose tables are keyed by the report's own key was as helpless; each table tells its columns."""
    structure = [
        {"table": "mine", "key": ["number"], "columns": {"number": {"path": "id"}, "contact_phone_number": None}},
        {"table": "mine_tags", "rows": "tags[]", "columns": ["tag_id"]},
    ]
    reports = json.dumps([{"name": "r", "report": "calls_report", "fields": "all", "structure": structure}])
    source = project(base_url="sandbox", token="x", custom_reports=reports).sources[0]
    (report,) = source.custom_reports
    with warehouse.begin() as connection:
        prepare(connection, report.home)
    tags = msgspec.Raw(b'[{"tag_id": 1}, {"tag_id": 2}]')
    row: Any = msgspec.defstruct("Row", [(column.name, Any, None) for column in report.method.columns])
    moment = datetime.combine(DAY, time(12))
    rows = [row(id=number, start_time=moment, tags=tags, contact_phone_number=str(number)) for number in range(1, 9)]
    rows.append(row(id=5, start_time=moment, tags=tags, contact_phone_number="second"))
    with DayLoad(warehouse, target_of(report, source.zone), MAIN, "run") as days:
        days.write(DAY, DAY, rows, ())
        days.complete(DAY, DAY, 1)
    phones = query(warehouse, "select contact_phone_number as phone from comagic.mine order by number")
    assert [line["phone"] for line in phones] == [str(number) for number in range(1, 9)]
    assert len(query(warehouse, "select * from comagic.mine_tags")) == 16
    lines = query(warehouse, REJECTED)
    same, kept = "another row of the day has the same key", "the one that came first is kept"
    assert {line["reason"] for line in lines} == {
        f"{same} (number) in mine; {kept}",
        f"{same} (parent_number, position) in mine_tags; {kept}",
    }
    assert [line["row_key"] for line in lines] == ["5", "5, 1", "5, 2"]
    assert json.loads(lines[0]["value"]) == {"number": 5, "contact_phone_number": "second"}


def test_rows_of_one_key_on_two_pages(warehouse: Warehouse) -> None:
    """Pages in the order of time prove each other by place, so that both rows of a key reached the table."""
    server = Server()
    try:
        odd = OddApi(server)
        odd.fill(CALLS, 250, DAY, DAY)
        odd.rows[-10]["id"] = odd.rows[10]["id"]
        with (
            Client(server.url, Token("secret-key"), sleep=lambda _: None) as client,
            DayLoad(warehouse, RawTarget(CALLS), MAIN, "run") as days,
        ):
            for step in PeriodReader(client, CALLS, MOSCOW, page_rows=100, max_offset=1000).read(DAY, DAY):
                match step:
                    case Rows():
                        days.write(step.first_day, step.last_day, step.rows, step.rejected)
                    case DaysComplete():
                        days.complete(step.first_day, step.last_day, step.points, (), days.api_rows(step.differences))
    finally:
        server.stop()
    (line,) = query(warehouse, "select rows, answered, api_rows from comagic_ops.loaded_days")
    assert line == {"rows": 249, "answered": 250, "api_rows": None}
    assert [line["row_key"] for line in query(warehouse, REJECTED)] == ["11"]
    assert stored(warehouse, "id", "start_time")[10] == (11, datetime.fromisoformat(odd.rows[10]["start_time"]))


def test_checks_and_comparison_show_what_was_refused(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """A rejected row turns no_rejected_rows yellow and is missing in the comparison, quick and full."""
    world = World(calls_per_day=10, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    odd = api_rows(world, "get.calls_report", DAY, DAY)[3]["id"]
    world.change("get.calls_report", odd, {"visitor_custom_properties": msgspec.Raw(b"[1e400000]")})
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox, DagsterInstance.ephemeral() as instance:
        config = project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}")
        result = run_load(config, instance, DAY, DAY)
        assert failures(result) == []
        checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
        assert not checks["no_rejected_rows"].passed
        assert checks["rows_equal_ledger"].passed
        rejected = query(warehouse, REJECTED)
        assert [line["row_key"] for line in rejected] == [str(odd)]
        assert rejected[0]["reason"] == "the database refuses the row: value overflows numeric format"
        source, method = config.sources[0], CALLS
        for mode in ("quick", "full"):
            with open_client(source) as client:
                reconciliation = Reconciler(client, warehouse, source, method, [MAIN], lambda _: {}, lambda _: [])
                found = {day: each for part in reconciliation.compare(DAY, DAY, mode, 0) for day, each in part.items()}
            assert found[DAY], mode
            missing = [each for each in found[DAY] if each.layer == "raw" and each.measure in ("rows", "calls")]
            assert all(each.difference == -1 for each in missing), mode
            assert missing, mode


def test_a_dictionary_with_two_rows_of_one_key(warehouse: Warehouse) -> None:
    """A dictionary that held a key twice was never replaced."""
    rows = [Campaign(id=1, name="one"), Campaign(id=7, name="first"), Campaign(id=7, name="second")]
    loaded = replace_dictionary(warehouse, CAMPAIGNS, MAIN, rows, [], datetime.now(UTC))
    assert (loaded.rows, loaded.refused) == (2, 1)
    names = query(warehouse, "select name from comagic_raw.campaigns order by id")
    assert [row["name"] for row in names] == ["one", "first"]
    (line,) = query(warehouse, REJECTED)
    assert (line["event_date"], line["row_key"]) == (None, "7")
    assert line["reason"] == "another row of the list has the same key (id); the one that came first is kept"


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows of each COPY, as they are begun."""
    found: list[int] = []
    real = copying._copy

    def count(connection: Any, table: str, columns: Any, types: Any, rows: Any) -> None:
        rows = list(rows)
        found.append(len(rows))
        real(connection, table, columns, types, rows)

    monkeypatch.setattr(copying, "_copy", count)
    return found


def test_a_bad_row_is_found_by_halving(warehouse: Warehouse, copies: list[int]) -> None:
    """One row of 10 000 costs some 2 log2(n) COPYs, and no window is copied row by row."""
    bad = {"tags": msgspec.Raw(b"[1e999999]")}
    rows = [call(key, **(bad if key == 7001 else {})) for key in range(10_000)]  # type: ignore[arg-type]
    assert write(warehouse, rows) == (9_999, 10_000)
    assert len(copies) <= 1 + 2 * 14
    assert sum(copies) <= 3 * len(rows)
    copies.clear()
    assert write(warehouse, rows[:7000]) == (7000, 7000)
    assert copies == [7000]


def test_very_many_bad_rows_are_an_error_that_says_so(warehouse: Warehouse) -> None:
    """A thousand odd rows are no odd rows: the days keep what they held, and one line says why."""
    assert write(warehouse, [call(1)]) == (1, 1)
    rows = [call(key, tags=msgspec.Raw(b"[1e999999]")) for key in range(MOST_REFUSED // 2 + 1)]
    with pytest.raises(RowsRefusedError, match=r"more than 1000 rows of calls_report.*overflows numeric format"):
        # Neither batch alone is too much.
        write(warehouse, rows, [call(row.id + 10_000, tags=row.tags) for row in rows])
    with pytest.raises(RowsRefusedError, match=r"more than 1000 rows of .*calls_report"):
        write(warehouse, [*rows, *(call(row.id + 10_000, tags=row.tags) for row in rows)])
    assert stored(warehouse, "id") == [(1,)]
    assert query(warehouse, REJECTED) == []
