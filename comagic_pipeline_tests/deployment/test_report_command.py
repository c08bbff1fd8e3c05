"""`comagic-pipeline report`: lists, loads, rebuilds, writes files, and what a kill -9 leaves."""

import csv
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from pyarrow import parquet
from sqlalchemy import text

from comagic_pipeline.cli.main import cli
from comagic_pipeline.config import Config, ConfigError
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.operations.report_target import target_of
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.deployment.command_line import error, eventually, finish, run, start

DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")
PERIOD = ("--from", DAYS[0], "--till", DAYS[-1])
CALLS, VISITS = "get.calls_report", "get.visitor_sessions_report"
FIELDS = ["id", "start_time", "talk_duration", "is_lost", "utm_source", "tags", "last_answered_employee_rating"]
VISIT_COLUMNS = {"id": None, "at": {"path": "date_time"}, "day": {"path": "date_time", "type": "date"}}
REPORTS: list[dict[str, Any]] = [
    {"name": "Звонки", "report": "calls_report", "fields": FIELDS},
    {
        "name": "visits",
        "report": "visitor_sessions_report",
        "structure": [
            {"table": "visits", "columns": VISIT_COLUMNS},
            {"table": "visit_hits", "rows": "hits[]", "columns": ["hit_url", "hit_time"]},
        ],
    },
]


class Account:
    """A project with two custom reports, its sandbox, and what the warehouse holds."""

    def __init__(self, config: Config, sandbox: Sandbox) -> None:
        self.config, self.sandbox, self.folder = config, sandbox, config.path.parent

    def api(self, method: str) -> list[dict[str, Any]]:
        return self.sandbox.world.rows(method, f"{DAYS[0]} 00:00:00", f"{DAYS[-1]} 23:59:59")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with open_warehouse(self.config) as warehouse, warehouse.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]


@pytest.fixture
def account(project: Callable[..., Config]) -> Iterator[Account]:
    world = World(calls_per_day=10, now=lambda: datetime.fromisoformat("2026-06-01T00:00:00+00:00"))
    settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=40))
    with running_sandbox(world, settings) as sandbox:
        source = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "day_points": "{reserve: 0}", "tables": "[tags]"}
        yield Account(project(json.dumps(REPORTS), **source), sandbox)


def test_reports_are_listed_loaded_and_written_to_files(account: Account) -> None:
    """The same rows in the warehouse, in CSV, in Parquet and in Excel; JSON of the command is for programs."""
    listed = json.loads(run("report", "--json").stdout)
    assert [(line["asset"], line["days"]) for line in listed] == [("zvonki", 0), ("visits", 0)]
    said = run("report", "Звонки", *PERIOD, "--out", "calls.csv", "--json")
    assert said.returncode == 0, said.stderr
    summary = json.loads(said.stdout)
    calls = account.api(CALLS)
    assert summary["ok"]
    assert summary["tables"]["zvonki"]["rows"] == len(calls)
    assert f"calls.csv: {len(calls)} rows of zvonki" in said.stderr
    with (account.folder / "calls.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = sorted((as_text(call) for call in calls), key=str)
    assert sorted(({**row, "tags": json.loads(row["tags"])} for row in rows), key=str) == expected
    assert run("report", "zvonki", *PERIOD, "--missing", "--out", "calls.parquet").returncode == 0
    spent = sum(request.points for request in account.sandbox.requests)
    table = parquet.read_table(account.folder / "calls.parquet").to_pylist()
    assert sorted((row["id"], row["start_time"], row["is_lost"]) for row in table) == sorted(
        (call["id"], datetime.fromisoformat(call["start_time"]), call["is_lost"]) for call in calls
    )
    assert {row["simple_date"] for row in table} == {date.fromisoformat(day) for day in DAYS}
    ratings = {row["id"]: row["last_answered_employee_rating"] for row in table}
    assert ratings == {
        call["id"]: None if call["last_answered_employee_rating"] is None
        else Decimal(str(call["last_answered_employee_rating"]))
        for call in calls
    }  # fmt: skip
    # What is loaded costs nothing again when only missing days are asked for.
    assert spent == sum(request.points for request in account.sandbox.requests if request.method == CALLS)
    visits = run("report", "visits", *PERIOD, "--out", "visits.xlsx")
    assert visits.returncode == 0, visits.stderr
    book = load_workbook(account.folder / "visits.xlsx", read_only=True)
    assert book.sheetnames == ["visits", "visit_hits"]
    header, *lines = book["visits"].iter_rows(values_only=True)
    assert header == ("simple_date", "id", "at", "day")
    api = account.api(VISITS)
    assert sorted((line[1], line[2]) for line in lines) == sorted(
        (row["id"], datetime.fromisoformat(row["date_time"])) for row in api
    )
    assert book["visit_hits"].max_row - 1 == sum(len(row["hits"] or ()) for row in api)
    assert sorted(path.name for path in account.folder.iterdir() if not path.name.startswith(".comagic")) == [
        "calls.csv",
        "calls.parquet",
        "comagic.yaml",
        "visits.xlsx",
    ]
    assert "3 days, from 2026-03-02 to 2026-03-04" in run("report").stdout


def as_text(call: dict[str, Any]) -> dict[str, Any]:
    """A call as a line of CSV, its tags decoded."""

    def shown(value: Any) -> str:
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return {
        "simple_date": call["start_time"][:10],
        **{name: call[name] if name == "tags" else shown(call[name]) for name in FIELDS},
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("zvonky",), "there is no report 'zvonky'; did you mean 'zvonki'?; the config has: Звонки, visits"),
        (("visits", "--from", "2026-03-09", "--till", "2026-03-02"), "--from 2026-03-09 is later than --till"),
        (("visits", "--out", "visits.txt"), "--out visits.txt: let the name end with .csv or .parquet or .xlsx"),
        (("visits", "--out", "nowhere/visits.csv"), "--out nowhere/visits.csv: no file can be written there"),
        (("visits", "--source", "mian"), "there is no source 'mian'; did you mean 'main'?"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_touched(
    arguments: tuple[str, ...], said: str, account: Account
) -> None:
    """Nothing is asked of the API."""
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        cli.main(["report", *arguments], standalone_mode=False)
    assert not account.sandbox.requests


def test_what_would_lose_data_is_done_on_purpose(account: Account) -> None:
    """--rebuild deletes what is loaded of the one report, in all its tables, and loads the period anew."""
    for name in ("visits", "zvonki"):
        assert run("report", name, *PERIOD).returncode == 0
    path = account.config.path
    path.write_text(path.read_text().replace('"visit_hits"', '"hits_of_visits"'))
    refused = run("report", "visits", "--from", DAYS[-1], "--till", DAYS[-1])
    assert refused.returncode == 1
    assert "its rows are in visit_hits, which it does not have any more. Nothing was changed." in refused.stderr
    assert error(run("report", "visitz"), 2).startswith("there is no report 'visitz'; did you mean 'visits'?")
    rebuilt = run("report", "visits", "--rebuild", "--from", DAYS[-1], "--till", DAYS[-1])
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "deleted what was loaded of 'visits' in visits, visit_hits" in rebuilt.stdout
    assert account.query("select to_regclass('comagic.visit_hits')") == [(None,)]
    assert account.query("select distinct simple_date::text from comagic.hits_of_visits") == [(DAYS[-1],)]
    ledger = "select table_name, count(*) from comagic_ops.loaded_days group by 1 order by 1"
    assert account.query(ledger) == [("visits", 1), ("zvonki", 3)]


def test_a_kill_leaves_whole_days_in_all_tables(account: Account) -> None:
    """Killed while pages come and while they are written: the old or the new rows of a day, of parents and items."""
    moments = random.Random("kill")
    path = account.config.path
    versions = {"table": "versions", "rows": "tags[]", "columns": {"version": {"path": "$.talk_duration"}}}
    calls = {"table": "calls_of_mine", "columns": ["id", "talk_duration"]}
    reports = [{"name": "v", "report": "calls_report", "structure": [calls, versions]}, REPORTS[0]]
    path.write_text(path.read_text().replace(json.dumps(REPORTS), json.dumps(reports)))

    def change_all(version: int) -> None:
        for call in account.api(CALLS):
            tags = [{"tag_id": number, "tag_name": "x"} for number in range(3)]
            account.sandbox.world.change(CALLS, call["id"], {"talk_duration": version, "tags": tags})

    def seen(sql: str) -> dict[str, set[tuple[Any, ...]]]:
        found: dict[str, set[tuple[Any, ...]]] = {}
        for day, *values in account.query(sql):
            found.setdefault(str(day), set()).add(tuple(values))
        return found

    def assert_whole() -> None:
        expected = {day: sum(call["start_time"].startswith(day) for call in account.api(CALLS)) for day in DAYS}
        whole = "select simple_date, count(*), min({0}), max({0}) from comagic.{1} group by 1"
        rows = seen(whole.format("talk_duration", "calls_of_mine"))
        items = seen(whole.format("version", "versions"))
        assert rows.keys() == items.keys()
        for day, values in rows.items():
            ((count, oldest, newest),) = values
            assert (count, oldest) == (expected[day], newest)
            assert items[day] == {(3 * count, oldest, newest)}
        duration = "(row_data::json ->> 'talk_duration')::int"
        for day, values in seen(whole.format(duration, "comagic_reports")).items():
            ((count, oldest, newest),) = values
            assert (count, oldest) == (expected[day], newest)

    for version, name in enumerate(("v", "zvonki", "v", "zvonki"), 1):
        change_all(version)
        if version < 3:
            assert run("report", name, *PERIOD).returncode == 0
            assert_whole()
            continue
        account.sandbox.requests.clear()
        process = start("report", name, *PERIOD)
        eventually(lambda: account.sandbox.requests)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        finish(process)
        assert_whole()
        assert run("report", name, *PERIOD).returncode == 0
        assert_whole()
    assert account.query("select distinct version from comagic.versions") == [(3,)]


MILLION = """
import resource, sys
from datetime import date
from pathlib import Path
from comagic_pipeline.config import load_config
from comagic_pipeline.operations.files import write_file
from comagic_pipeline.operations.connections import open_warehouse

config = load_config()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = config.sources[0]
report = next(report for report in source.custom_reports if report.name == sys.argv[1])
with open_warehouse(config) as warehouse:
    period = (date(2026, 3, 2), date(2026, 3, 4))
    write_file(warehouse, report, period, Path(sys.argv[2]), is_agent=False)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_million_rows_go_to_a_file_in_bounded_memory(project: Callable[..., Config], tmp_path: Path) -> None:
    """Memory is that of some thousand rows, and every row is there."""
    table = {"table": "many", "columns": ["id", "utm_source", "start_time"]}
    config = project(
        json.dumps([{"name": "many", "report": "calls_report", "structure": [table]}]),
        base_url="sandbox",
        token=SANDBOX_TOKEN,
    )
    from comagic_pipeline.dagster.assets.custom_reports import prepared

    (report,) = config.sources[0].custom_reports
    with open_warehouse(config) as warehouse:
        prepared(config, report, warehouse)
        with warehouse.begin() as connection:
            target_of(report, config.sources[0].zone).make_room(
                connection, warehouse, date(2026, 3, 2), date(2026, 3, 4)
            )
            connection.execute(
                text(
                    "insert into comagic.many (account_id, customer_user_id, processor_id, simple_date, id, utm_source,"
                    " start_time, loaded_at) select 1, 0, 1, date '2026-03-02' + n % 3, n, 'source ' || n,"
                    " timestamp '2026-03-02', now() from generate_series(1, 1000000) as n"
                )
            )
    out = tmp_path / "many.parquet"
    written = subprocess.run(
        [sys.executable, "-c", MILLION, "many", str(out)], capture_output=True, text=True, check=False
    )
    assert written.returncode == 0, written.stderr
    assert int(written.stdout) < 150, "MiB beyond what the program takes itself"
    file = parquet.ParquetFile(out)
    assert file.metadata.num_rows == 1_000_000
    assert sum(int(sum(batch["id"].to_pylist())) for batch in file.iter_batches(columns=["id"])) == 500_000_500_000
