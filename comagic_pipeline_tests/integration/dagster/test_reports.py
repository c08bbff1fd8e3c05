"""Every report: raw equals what the API has, in all columns, at hardly more points than the least that are possible.

Real HTTP, real PostgreSQL, the job that the UI runs. What the API has is taken from the sandbox's world.
"""

import socket
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from math import ceil
from time import monotonic, sleep
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.readers.periods import PeriodReader
from comagic_pipeline.api.readers.windows import Discarded, Rows
from comagic_pipeline.catalog import methods
from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.cli.services import free_port
from comagic_pipeline.config import Config
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import (
    Row,
    api_rows,
    days_between,
    differences,
    journal,
    query,
    raw_rows,
)
from comagic_pipeline_tests.integration.runs import failures, materialized, run_load

FIRST, LAST = date(2026, 3, 2), date(2026, 4, 30)
"""60 days, all long over by the world's clock. They lie in one window of three months, in two of thirty days."""
DAYS = 60
MONTH = "2026-03-31"
"""The last day of the first window of messages, whose periods are 30 days at most."""
BY_DAY = ["ct_summary_report", "employee_stat"]
BY_DAY_AND_SITE = ["ct_ac_summary_report"]
SUMMARIES = BY_DAY + BY_DAY_AND_SITE
WITH_TIME = [
    "calls_report",
    "call_legs_report",
    "visitor_sessions_report",
    "chats_report",
    "chat_messages_report",
    "offline_messages_report",
    "communications_report",
    "goals_report",
    "campaign_daily_stat",
    "financial_call_legs_report",
]
PAGE = 10_000


def world(calls_per_day: int = 8, **options: Any) -> World:
    """An account seen from the first of June 2026."""
    return World(calls_per_day=calls_per_day, now=lambda: datetime(2026, 6, 1, tzinfo=UTC), **options)


@dataclass
class Account:
    """A configured source, the sandbox that it asks, and the warehouse."""

    config: Config
    sandbox: Sandbox
    warehouse: Warehouse
    instance: DagsterInstance

    def load(self, *tables: str, first_day: date = FIRST, last_day: date = LAST) -> ExecuteInProcessResult:
        return run_load(self.config, self.instance, first_day, last_day, *tables)

    def api(self, table: str, first_day: date = FIRST, last_day: date = LAST) -> list[Row]:
        """What the API has."""
        return api_rows(self.sandbox.world, f"get.{table}", first_day, last_day)

    def problems(self, *tables: str, last_day: date = LAST) -> dict[str, list[str]]:
        """Where raw differs from the API, by table; tables without a difference are left out."""
        found = {
            table: differences(raw_rows(self.warehouse, table), self.api(table, last_day=last_day)) for table in tables
        }
        return {table: problems for table, problems in found.items() if problems}

    def points(self) -> Counter[str]:
        """The points charged for each table since the start."""
        points: Counter[str] = Counter()
        for request in self.sandbox.requests:
            points[request.method.removeprefix("get.")] += request.points
        return points


OpenAccount = Callable[..., Account]


@pytest.fixture
def open_account(project: Callable[..., Config], warehouse: Warehouse) -> Iterator[OpenAccount]:
    """Starts a sandbox and configures a source of it; keywords are of the source."""
    with ExitStack() as stack:

        def start(of: World | None = None, settings: Settings | None = None, **source: Any) -> Account:
            sandbox = stack.enter_context(running_sandbox(of or world(), settings or Settings(minute_limit=10_000)))
            source = {"day_points": "{reserve: 0}", "tables": f"[{', '.join(WITH_TIME)}]"} | source
            config = project(base_url=sandbox.url, token=SANDBOX_TOKEN, **source)
            return Account(config, sandbox, warehouse, stack.enter_context(DagsterInstance.ephemeral()))

        yield start


def least_points(account: Account, table: str, last_day: date = LAST, page: int = PAGE) -> int:
    """The least that a report can cost, from the first day on."""
    days = len(days_between(FIRST, last_day))
    sites = len(account.sandbox.world.rows("get.sites"))
    if table in SUMMARIES:
        return days * (sites if table in BY_DAY_AND_SITE else 1)
    rows = account.api(table, last_day=last_day)
    parts = Counter(
        row["site_id"]
        if table == "campaign_daily_stat"
        else table == "chat_messages_report" and row["event_date"] > MONTH
        for row in rows
    )
    least = sum(ceil(count / page) for count in parts.values())
    if table == "campaign_daily_stat" and account.sandbox.settings.quirks.bare_list is None:
        # Nobody counts the rows of a bare list: a page longer than those before is the last if the next one is empty.
        sizes = [parts[site["id"]] for site in account.sandbox.world.rows("get.sites")]
        least += sum(size > max(sizes[:number], default=0) for number, size in enumerate(sizes))
    return least


def test_every_report_is_complete_in_all_columns_at_the_least_cost(open_account: OpenAccount) -> None:
    """Thirteen reports of 60 days: a request for each window, or for each day (and site) where the period is summed."""
    tables = WITH_TIME + SUMMARIES
    assert set(tables) == {method.table for method in REPORTS}
    account = open_account(world(several_charges=True), tables=f"[{', '.join(tables)}]")
    assert failures(account.load()) == []
    assert account.problems(*tables) == {}
    assert all(account.api(table) for table in tables)
    assert {table: points for table, points in account.points().items() if table != "sites"} == {
        table: least_points(account, table) for table in tables
    }
    ledger = query(
        account.warehouse,
        "select table_name, count(*) as days, sum(rows) as rows, sum(points) as points"
        " from comagic_ops.loaded_days group by 1",
    )
    for line in ledger:
        assert (line["days"], line["rows"]) == (DAYS, len(account.api(line["table_name"]))), line
        assert float(line["points"]) == pytest.approx(least_points(account, line["table_name"]), abs=0.01), line
    assert {line["table_name"] for line in ledger} == set(tables)
    assert all(len(materialized(account.instance, table)) == DAYS for table in tables)


SHORT, SHORT_LAST = 33, date(2026, 3, 21)
"""Rows of a short page, and the last day: 50 pages of visits, two of offline messages."""


@pytest.mark.parametrize("unstable_order", [False, True])
def test_every_report_is_complete_in_short_pages(open_account: OpenAccount, unstable_order: bool) -> None:
    """Pages end before they are full; rows that no sort tells apart change places with every request."""
    quirks = Quirks(short_pages=SHORT, bare_list=False)
    account = open_account(settings=Settings(minute_limit=10_000, unstable_order=unstable_order, quirks=quirks))
    assert failures(account.load(last_day=SHORT_LAST)) == []
    assert account.problems(*WITH_TIME, last_day=SHORT_LAST) == {}
    points = account.points()
    for table in WITH_TIME:
        # Pages of an ordered report overlap by a row, which proves them; mixed pages without an order prove nothing.
        if not unstable_order or table not in ("visitor_sessions_report", "offline_messages_report", "goals_report"):
            more = len(account.sandbox.world.rows("get.sites")) if table == "campaign_daily_stat" else 1
            assert points[table] <= least_points(account, table, SHORT_LAST, SHORT - 1) + more, table


IDS = {"id", "communication_id", "leg_id", "campaign_id"}
"""What tells rows apart, in one report or another."""


def test_rows_that_arrive_between_pages_are_loaded(open_account: OpenAccount) -> None:
    """Before the second and the third request of each report rows arrive on its first and on its last day."""
    account = open_account(settings=Settings(minute_limit=10_000, quirks=Quirks(short_pages=SHORT, bare_list=False)))
    asked: list[str] = []
    arrived: Counter[str] = Counter()
    expected: dict[str, list[Row]] = {}

    def arrive(method: str, _: Row) -> None:
        table = method.removeprefix("get.")
        if asked and asked[-1] != table:
            see(asked[-1])
        asked.append(table)
        if table in WITH_TIME and asked.count(table) in (2, 3):
            rows = account.sandbox.world.rows(method, f"{FIRST} 00:00:00", f"{SHORT_LAST} 23:59:59")
            for row in (rows[0], rows[-1]):
                arrived[table] += 1
                account.sandbox.world.add(method, row | dict.fromkeys(IDS & row.keys(), arrived.total()))

    def see(table: str) -> None:
        # As soon as it is read: calls that arrive later are among the communications too.
        if table in WITH_TIME:
            expected[table] = account.api(table, last_day=SHORT_LAST)

    account.sandbox.before_request = arrive
    assert failures(account.load(last_day=SHORT_LAST)) == []
    see(asked[-1])
    assert arrived.keys() == expected.keys() == set(WITH_TIME)
    for table, rows in expected.items():
        assert differences(raw_rows(account.warehouse, table), rows) == [], table


FILTERS = {
    "calls_report": "direction = 'in' and (is_lost = false or talk_duration >= 30)",
    "visitor_sessions_report": "utm_source in ('yandex', 'google') and engine is not null",
    "campaign_daily_stat": "campaign_id = 77002 and clicks_count > 2",
    "employee_stat": "id <= 5003",
}
WANTED: dict[str, Callable[[Row], bool]] = {
    "calls_report": lambda row: row["direction"] == "in" and (row["is_lost"] is False or row["talk_duration"] >= 30),
    "visitor_sessions_report": lambda row: row["utm_source"] in ("yandex", "google") and row["engine"] is not None,
    "campaign_daily_stat": lambda row: row["campaign_id"] == 77002 and (row["clicks_count"] or 0) > 2,
    "employee_stat": lambda row: row["id"] <= 5003,
}


def test_filtered_reports_hold_the_rows_wanted_at_fewer_points(open_account: OpenAccount) -> None:
    """Rows that are not wanted are not paid for; those of an earlier load go, and those that match no more."""
    settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=SHORT, bare_list=False))
    of, tables = world(), f"[{', '.join(FILTERS)}]"
    whole = open_account(of, settings, tables=tables)
    last_day = date(2026, 3, 31)
    assert failures(whole.load(last_day=last_day)) == []
    filters = "".join(f'\n      {table}: "{condition}"' for table, condition in FILTERS.items())
    account = open_account(of, settings, tables=tables, filters=filters)
    assert failures(account.load(last_day=last_day)) == []

    def assert_wanted() -> None:
        for table, is_wanted in WANTED.items():
            rows = account.api(table, last_day=last_day)
            wanted = list(filter(is_wanted, rows))
            assert 0 < len(wanted) < len(rows)
            assert differences(raw_rows(account.warehouse, table), wanted) == [], table
            counted = query(
                account.warehouse, f"select sum(rows) from comagic_ops.loaded_days where table_name = '{table}'"
            )
            assert counted[0]["sum"] == len(wanted)

    assert_wanted()
    for table in ("calls_report", "visitor_sessions_report", "campaign_daily_stat"):
        assert account.points()[table] < whole.points()[table], table
    gone = next(row["id"] for row in account.api("calls_report") if WANTED["calls_report"](row))
    of.change("get.calls_report", gone, {"direction": "out"})
    assert failures(account.load("calls_report", last_day=FIRST)) == []
    assert_wanted()


REFUSED = "chats_report", "segments", "campaign_daily_stat", "employee_stat"


def test_what_the_account_may_not_ask_for_is_skipped_until_it_may(open_account: OpenAccount) -> None:
    """The others load; Dagster shows why, the journal says it once, and rows of better times stay."""
    account = open_account(tables=f"[{', '.join([*REFUSED, 'goals_report'])}]")
    last_day = date(2026, 3, 8)
    assert failures(account.load(last_day=last_day)) == []
    before = {table: raw_rows(account.warehouse, table) for table in REFUSED}
    refused = account.sandbox.settings.refused_methods
    refused |= {
        "get.chats_report": "method_component_disabled",
        "get.segments": "forbidden",
        "get.campaign_daily_stat": "method_not_found",
        "get.employee_stat": "forbidden",
    }
    for _ in range(3):
        points = account.sandbox.points_spent
        result = account.load(first_day=date(2026, 3, 5), last_day=date(2026, 3, 12))
        assert failures(result) == []
        assert account.sandbox.points_spent == points + 2  # goals and sites
        told = {
            str(event.asset_key.path[-1]): event.materialization.metadata["skipped"].value
            for event in result.get_asset_materialization_events()
            if event.asset_key and "skipped" in event.materialization.metadata
        }
        assert told.keys() == set(REFUSED)
        assert "connect the component, or leave the table out" in str(told["chats_report"])
    for table in REFUSED:
        assert differences(raw_rows(account.warehouse, table), before[table]) == [], table
    assert len(raw_rows(account.warehouse, "goals_report")) == len(
        account.api("goals_report", last_day=date(2026, 3, 12))
    )
    assert sorted(table for table, _ in journal(account.warehouse, "skipped")) == sorted(REFUSED)
    assert journal(account.warehouse, "failed") == journal(account.warehouse, "warning") == []
    refused.clear()
    assert failures(account.load()) == []
    assert account.problems("chats_report", "campaign_daily_stat", "employee_stat") == {}
    refused["get.segments"] = "forbidden"
    assert failures(account.load("segments")) == []
    assert len(journal(account.warehouse, "skipped")) == len(REFUSED) + 1


def test_an_account_without_sites_has_no_statistics_of_them(open_account: OpenAccount) -> None:
    """The days are done and empty, at no point of their own; sites that come later are loaded."""
    account = open_account(tables="[campaign_daily_stat, ct_ac_summary_report]")
    sites = [row["id"] for row in account.sandbox.world.rows("get.sites")]
    for site in sites:
        account.sandbox.world.delete("get.sites", site)
    last_day = date(2026, 3, 4)
    assert failures(account.load(last_day=last_day)) == []
    assert account.points().keys() == {"sites"}
    empty = query(account.warehouse, "select table_name, count(*), sum(rows) from comagic_ops.loaded_days group by 1")
    assert sorted(map(tuple, (line.values() for line in empty))) == [
        ("campaign_daily_stat", 3, 0),
        ("ct_ac_summary_report", 3, 0),
    ]
    assert len(materialized(account.instance, "campaign_daily_stat")) == 3
    account.sandbox.world.restore("get.sites", sites[0])
    assert failures(account.load(last_day=last_day)) == []
    rows = [row for row in account.api("campaign_daily_stat", last_day=last_day) if row["site_id"] == sites[0]]
    assert rows
    assert differences(raw_rows(account.warehouse, "campaign_daily_stat"), rows) == []
    assert {row["site_id"] for row in raw_rows(account.warehouse, "ct_ac_summary_report")} == {sites[0]}


@pytest.mark.parametrize("table", ["communications_report", "campaign_daily_stat", "ct_ac_summary_report"])
def test_a_report_that_fails_keeps_what_it_told_and_spent(open_account: OpenAccount, table: str) -> None:
    """What a person should know and what was paid for is in the journal also when the load fails at last."""
    column = {"communications_report": "ua_client_id", "campaign_daily_stat": "keyword"}.get(table, "dt_ratio")
    quirks = Quirks(short_pages=50, forgotten_columns=frozenset({column}), bare_list=False)
    account = open_account(settings=Settings(minute_limit=10_000, quirks=quirks), tables=f"[{table}]")
    account.sandbox.faults.add(
        Fault(kind="error", method=f"get.{table}", mnemonic="account_inactive", after=5, times=1000)
    )
    (told,) = failures(account.load())
    assert f"main/{table} {FIRST} to {LAST}: get.{table}: the API says account_inactive" in told
    assert [(name, column in message) for name, message in journal(account.warehouse, "warning")] == [(table, True)]
    lines = query(account.warehouse, "select rows, points from comagic_ops.journal where event = 'failed'")
    rows = query(account.warehouse, "select coalesce(sum(rows), 0) as rows from comagic_ops.loaded_days")
    assert lines == [{"rows": rows[0]["rows"], "points": account.points()[table]}]
    assert account.points()[table] >= 2


BIG = date(2026, 2, 1), date(2026, 4, 30)
SERVE = """
from datetime import UTC, datetime
from comagic_pipeline.sandbox.running import serve
from comagic_pipeline.sandbox.world import World
serve({port}, World(calls_per_day=330, now=lambda: datetime(2026, 6, 1, tzinfo=UTC), cached_rows=20_000))
"""


@pytest.fixture
def big_sandbox() -> Iterator[str]:
    """The URL of an account with 3300 visits a day, in a process of its own: its memory is not counted."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVE.format(port=port)])
    try:
        deadline = monotonic() + 30
        while process.poll() is None and monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            sleep(0.05)
        yield f"http://127.0.0.1:{port}/v2.0"
    finally:
        process.terminate()
        process.wait()


def test_300_000_visitor_sessions_cost_their_pages_and_little_memory(big_sandbox: str) -> None:
    """A window of 89 days cannot be sorted and is three times what offsets reach: its parts were all held in memory.

    Few columns are asked for, and nothing is written: how the rows are decoded and stored is tested above.
    """
    method = methods()["get.visitor_sessions_report"]
    narrow = replace(method, columns=tuple(map(method.column, ("id", "date_time", "entrance_page"))))
    made = World(calls_per_day=330, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    days = [f"{day}" for day in days_between(*BIG)]
    expected = {day: made.sections(method.name, f"{day} 00:00:00", f"{day} 23:59:59", {})[0].count for day in days}
    rows: Counter[str] = Counter()
    done: list[date] = []
    tracemalloc.start()
    try:
        with Client(big_sandbox, Token(SANDBOX_TOKEN)) as client:
            reader = PeriodReader(client, narrow, ZoneInfo("Europe/Moscow"))
            for step in reader.read(*BIG):
                assert not isinstance(step, Discarded)
                if isinstance(step, Rows):
                    rows.update(str(reader.day_of(row)) for row in step.rows)
                else:
                    done += days_between(step.first_day, step.last_day)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    total = sum(expected.values())
    assert rows == expected
    assert done == days_between(*BIG)
    assert 290_000 < total <= 300_000
    assert reader.points == ceil(total / PAGE) == 30
    # A row takes some 350 bytes.
    assert peak < 32_000_000 < 350 * total / 2
