"""The plan of a load against what the load then costs, and against rows counted in the sandbox's world.

Real HTTP, real PostgreSQL, the job that the UI runs. The worlds' clock stands in June 2026: all days are long over.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from dagster import DagsterInstance
from rich.console import Console
from sqlalchemy import insert

from comagic_pipeline.catalog.table_names import AGENT_DICTIONARIES, DICTIONARIES, REPORTS, STAR, SUMMARIES, TABLE_NAMES
from comagic_pipeline.cli.load import load
from comagic_pipeline.cli.main import cli
from comagic_pipeline.cli.plan import PlanSummary, plan
from comagic_pipeline.config import Config, ConfigError, Source
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.points.plan import (
    known_volumes,
    nightly_points,
    normal_day_points,
    plan_load,
)
from comagic_pipeline.operations.points.scheduled_loads import scheduled_loads
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.quality.row_rates import rows_a_day, skipped_tables
from comagic_pipeline_tests.integration.raw_reference import days_between, query
from comagic_pipeline_tests.integration.runs import failures, run_load

FIRST, LAST = date(2026, 2, 1), date(2026, 5, 17)
"""106 days: 17 of them lie before the newest three months."""
WINDOWS = [(date(2026, 2, 18), LAST), (FIRST, date(2026, 2, 17))]
MESSAGES = "chat_messages_report"
PROBED = [method.table for method in REPORTS if method.table not in SUMMARIES and method.table != "campaign_daily_stat"]
"""Reports whose rows the API counts and which fill pages."""
EVERYTHING = [name for name in TABLE_NAMES if name not in {method.table for method in AGENT_DICTIONARIES}]
ALL_RAW = {method.table for method in (*REPORTS, *DICTIONARIES)} - {method.table for method in AGENT_DICTIONARIES}


@dataclass
class Account:
    """A configured source, the sandbox that it asks, and the warehouse."""

    config: Config
    sandbox: Sandbox
    warehouse: Warehouse
    instance: DagsterInstance

    @property
    def source(self) -> Source:
        return self.config.sources[0]

    @property
    def world(self) -> World:
        return self.sandbox.world

    def plan(
        self, *tables: str, first_day: date = FIRST, last_day: date = LAST, only_missing: bool = False
    ) -> PlanSummary:
        return plan(self.config, self.source, first_day, last_day, tables, only_missing=only_missing)

    def load(self, first_day: date = FIRST, last_day: date = LAST) -> Counter[str]:
        """Load days of all raw tables; gives the points that each table cost."""
        self.sandbox.requests.clear()
        raw = sorted(self.source.chosen_tables - set(STAR))
        assert failures(run_load(self.config, self.instance, first_day, last_day, *raw)) == []
        return self.points()

    def points(self) -> Counter[str]:
        """The points charged for each table since the last load began."""
        points: Counter[str] = Counter()
        for request in self.sandbox.requests:
            points[request.method.removeprefix("get.")] += request.points
        return points

    def rows(self, table: str, first_day: date = FIRST, last_day: date = LAST) -> int:
        """How many rows the API has of a report."""
        sections = self.world.sections(f"get.{table}", f"{first_day} 00:00:00", f"{last_day} 23:59:59", {})
        return sum(section.count for section in sections)


OpenAccount = Callable[..., Account]


def world(calls_per_day: int = 8, **options: Any) -> World:
    """An account seen from the first of June 2026."""
    return World(calls_per_day=calls_per_day, now=lambda: datetime(2026, 6, 1, tzinfo=UTC), **options)


@pytest.fixture
def open_account(project: Callable[..., Config], warehouse: Warehouse) -> Iterator[OpenAccount]:
    """Starts a sandbox and configures a source of it with every table; keywords are of the source."""
    with ExitStack() as stack:

        def start(of: World | None = None, settings: Settings | None = None, **source: Any) -> Account:
            sandbox = stack.enter_context(running_sandbox(of or world(), settings or Settings(minute_limit=10_000)))
            source = {"day_points": "{reserve: 0}", "tables": f"[{', '.join(EVERYTHING)}]"} | source
            config = project(base_url=sandbox.url, token=SANDBOX_TOKEN, **source)
            return Account(config, sandbox, warehouse, stack.enter_context(DagsterInstance.ephemeral()))

        yield start


def points_of(summary: PlanSummary) -> dict[str, int]:
    """The points of each table of a plan."""
    return {line.table: line.points for line in summary.plan.tables}


def rows_of(summary: PlanSummary) -> dict[str, int | None]:
    """The rows of each table of a plan."""
    return {line.table: line.rows for line in summary.plan.tables}


def test_a_load_costs_what_was_planned(open_account: OpenAccount) -> None:
    """Every table of 106 days: before anything is loaded at ten points for asking, afterwards at none."""
    account = open_account(world(calls_per_day=30), Settings(minute_limit=10_000, quirks=Quirks(bare_list=False)))
    before = account.plan()
    assert before.points_spent == account.sandbox.points_spent == len(PROBED) + 1
    assert Counter(request.method.removeprefix("get.") for request in account.sandbox.requests) == Counter(
        [*PROBED, "sites"]
    )
    assert {request.params["limit"] for request in account.sandbox.requests} == {1}
    spent = account.load()
    assert points_of(before) == spent
    assert spent["visitor_sessions_report"] == 4  # so that not each window is one page
    assert {line.table for line in before.plan.tables} == ALL_RAW
    for table in PROBED:
        assert rows_of(before)[table] == pytest.approx(account.rows(table), rel=0.05), table
    assert rows_of(before)["campaign_daily_stat"] is None
    assert rows_of(before)["tags"] is None
    after = account.plan()
    assert after.points_spent == 0
    assert points_of(after) == spent
    assert (after.plan.points, after.plan.is_least) == (sum(spent.values()), False)
    for table in ("calls_report", "visitor_sessions_report", "campaign_daily_stat", "employee_stat"):
        held = query(account.warehouse, f"select count(*) from comagic_raw.{table}")[0]["count"]
        assert rows_of(after)[table] == pytest.approx(held, rel=0.05), table
    assert rows_of(after)["tags"] == len(account.world.rows("get.tags"))
    assert rows_of(after)["statuses"] == len(account.world.rows("get.statuses")) + len(
        account.world.rows("get.statuses", is_deleted=True)
    )


def test_one_request_tells_the_rows_of_a_report(open_account: OpenAccount) -> None:
    """The newest window is asked for, a month of messages: its rows a day stand for all days."""
    account = open_account(world(calls_per_day=100))
    summary = account.plan("calls_report", "visitor_sessions_report", MESSAGES)
    assert summary.points_spent == 3
    for table, (first_day, last_day) in {
        "calls_report": WINDOWS[0],
        "visitor_sessions_report": WINDOWS[0],
        MESSAGES: (date(2026, 4, 18), LAST),
    }.items():
        (request,) = [each for each in account.sandbox.requests if each.method == f"get.{table}"]
        assert (request.params["date_from"][:10], request.params["date_till"][:10]) == (str(first_day), str(last_day))
        rows = account.rows(table, first_day, last_day)
        assert rows_of(summary)[table] == round(106 * rows / ((last_day - first_day).days + 1))
    least = sum(ceil(account.rows("visitor_sessions_report", *window) / 10_000) for window in WINDOWS)
    assert points_of(summary) == {"calls_report": 2, "visitor_sessions_report": least, MESSAGES: 4}
    assert least == 11


def test_missing_days_alone(open_account: OpenAccount) -> None:
    """Loaded days cost nothing where only the others are asked for, and those cost a window for each gap."""
    tables = ["calls_report", "visitor_sessions_report", "employee_stat", "tags"]
    account = open_account(world(calls_per_day=80), tables=f"[{', '.join(tables)}]")
    # From Monday to Sunday, for days of the week differ.
    account.load(date(2026, 5, 4), date(2026, 5, 10))
    account.load(date(2026, 4, 20), date(2026, 4, 26))
    summary = account.plan(only_missing=True)
    days = {line.table: line.days for line in summary.plan.tables}
    assert days == dict.fromkeys(tables[:3], 106 - 14) | {"tags": None}
    gaps = [(date(2026, 5, 11), LAST), (date(2026, 4, 27), date(2026, 5, 3)), (FIRST, date(2026, 4, 19))]
    visits = sum(ceil(account.rows("visitor_sessions_report", *gap) / 10_000) for gap in gaps)
    points = {"calls_report": 3, "visitor_sessions_report": visits, "employee_stat": 92, "tags": 1}
    assert points_of(summary) == points
    assert visits > 3
    account.sandbox.requests.clear()
    assert load(account.config, account.source, FIRST, LAST, tables, Console(quiet=True), only_missing=True).ok
    assert account.points() == points
    account.sandbox.requests.clear()
    rest = account.plan(only_missing=True)
    assert points_of(rest) == dict.fromkeys(tables[:3], 0) | {"tags": 1}
    assert (rest.plan.is_least, len(account.sandbox.requests)) == (False, 0)


def test_nothing_is_loaded(open_account: OpenAccount) -> None:
    """A plan leaves no rows, no day in the ledger, no run and no days that wait."""
    account = open_account()
    account.plan()
    for table in ("comagic_raw.calls_report", "comagic_raw.sites", "comagic_ops.loaded_days", "comagic_ops.journal"):
        assert query(account.warehouse, f"select * from {table}") == []
    assert query(account.warehouse, "select * from comagic_ops.waiting_days") == []
    assert account.instance.get_runs_count() == 0
    spent = query(account.warehouse, "select table_name, run_id, points from comagic_ops.points_spent")
    assert {(line["table_name"], line["run_id"], line["points"]) for line in spent} == {
        (table, "", 1) for table in (*PROBED, "sites")
    }


def test_a_filter_goes_with_the_question(open_account: OpenAccount) -> None:
    """Only the rows that are wanted are counted."""
    account = open_account(tables="[calls_report]", filters="{calls_report: \"direction = 'in'\"}")
    wanted = [
        row
        for row in account.world.rows("get.calls_report", f"{WINDOWS[0][0]} 00:00:00", f"{LAST} 23:59:59")
        if row["direction"] == "in"
    ]
    rows = account.plan(first_day=WINDOWS[0][0]).plan.rows
    assert rows == len(wanted)
    assert 0 < rows < account.rows("calls_report", *WINDOWS[0])


def test_an_account_with_shorter_windows_tells_rows_too(open_account: OpenAccount) -> None:
    """Where three months are refused, which is free, a part of them is asked for."""
    account = open_account(settings=Settings(minute_limit=10_000, longest_period_days=30))
    summary = account.plan("calls_report")
    assert summary.points_spent == 1
    assert rows_of(summary)["calls_report"] == pytest.approx(account.rows("calls_report"), rel=0.15)
    refused = [request.outcome for request in account.sandbox.requests]
    assert refused == ["date_interval_limit_reached", "date_interval_limit_reached", "ok"]


def test_answers_without_a_count_leave_the_least(open_account: OpenAccount) -> None:
    """Rows are unknown, a point for each window is the least, and nobody knows when it is done."""
    quirks = Quirks(without_metadata=True)
    account = open_account(settings=Settings(minute_limit=10_000, quirks=quirks), tables="[calls_report]")
    summary = account.plan()
    (line,) = summary.plan.tables
    assert (line.rows, line.points, line.is_least) == (None, 2, True)
    assert (summary.day.remaining, summary.done_on, summary.points_spent) == (None, None, 1)


def test_what_the_account_may_not_ask_for_costs_nothing(open_account: OpenAccount) -> None:
    """A refusal says so, at no point; after a load the journal says it without a request."""
    account = open_account(tables="[calls_report, chats_report, employee_stat, segments]")
    for method in ("get.chats_report", "get.employee_stat", "get.segments"):
        account.sandbox.settings.refused_methods[method] = "forbidden"
    summary = account.plan()
    assert points_of(summary) == {"calls_report": 2, "chats_report": 0, "employee_stat": 106, "segments": 1}
    assert summary.points_spent == 1
    spent = account.load()
    account.sandbox.requests.clear()
    after = account.plan()
    assert points_of(after) == dict.fromkeys(("chats_report", "employee_stat", "segments"), 0) | spent
    assert not account.sandbox.requests
    account.sandbox.settings.refused_methods.clear()
    account.load()
    assert points_of(account.plan()) == account.points()


def test_points_that_end_stop_the_questions(open_account: OpenAccount) -> None:
    """What was told so far stands in the plan, the rest as the least; the reserve is left alone."""
    account = open_account(settings=Settings(minute_limit=10_000, day_limit=7), day_points="{reserve: 4}")
    summary = account.plan()
    assert summary.points_spent == account.sandbox.points_spent == 4
    assert (summary.day.limit, summary.day.remaining, summary.reserve) == (7, 3, 3)
    assert "the day's points are spent" in (summary.not_asked or "")
    known = {table for table, rows in rows_of(summary).items() if rows is not None}
    assert known == set(PROBED[:4])
    assert summary.plan.is_least


def test_the_day_when_it_is_done(open_account: OpenAccount) -> None:
    """Of 100 points a day 60 are a reserve, at most 50: 44 are left today after asking six, then 50 a day."""
    settings = Settings(minute_limit=10_000, day_limit=100)
    account = open_account(settings=settings, day_points="{reserve: 60}", tables="[calls_report, employee_stat]")
    before = datetime.now(UTC)
    summary = account.plan()
    assert summary.points_spent == 1
    # The world's clock stands at midnight of UTC, so a whole day is left until the reset. 108 points: 49, 50 and 9.
    assert summary.plan.points == 106 + 2
    moscow = ZoneInfo("Europe/Moscow")
    assert summary.done_on in {
        (moment + timedelta(days=2)).astimezone(moscow).date() for moment in (before, datetime.now(UTC))
    }
    assert account.plan("calls_report").done_on in {
        moment.astimezone(moscow).date() for moment in (before, datetime.now(UTC))
    }


def test_an_agent_asks_for_one_customer_and_plans_for_all(open_account: OpenAccount) -> None:
    """The list of customers, then each report on behalf of the first; afterwards the rows of each are known."""
    of = world(calls_per_day=6, customers=4)
    quirks = Quirks(bare_list=False)
    tables = ["calls_report", "visitor_sessions_report", "campaign_daily_stat", "ct_ac_summary_report", "tags"]
    account = open_account(
        of, Settings(minute_limit=10_000, quirks=quirks), user_ids="all", tables=f"[{', '.join(tables)}]"
    )
    friday = date(2026, 5, 15)
    before = account.plan(first_day=friday)
    assert Counter(request.method for request in account.sandbox.requests) == Counter(
        ["get.customer_users", "get.calls_report", "get.visitor_sessions_report", "get.sites"]
    )
    assert {request.params.get("user_id") for request in account.sandbox.requests} == {None, 2801}
    assert before.points_spent == 4
    spent = account.load(friday)
    assert points_of(before) == spent
    assert spent["calls_report"] == spent["tags"] == 4
    assert (spent["customer_users"], spent["ct_ac_summary_report"]) == (1, 3 * spent["campaign_daily_stat"])
    after = account.plan(first_day=friday)
    assert (after.points_spent, points_of(after)) == (0, spent)
    customers = of.customers.values()
    calls = sum(len(each.rows("get.calls_report", f"{friday} 00:00:00", f"{LAST} 23:59:59")) for each in customers)
    assert rows_of(after)["calls_report"] == calls


def test_scheduled_loads_cost_what_is_forecast(open_account: OpenAccount) -> None:
    """The nightly load of all tables, and the hourly loads of the same day, when days before are loaded."""
    account = open_account(world(calls_per_day=140), Settings(minute_limit=10_000, quirks=Quirks(bare_list=False)))
    account.load(first_day=date(2026, 5, 5))
    today = LAST
    volumes = known_volumes(account.warehouse, account.source, today - timedelta(days=7), today)
    spent = account.load(first_day=today - timedelta(days=7), last_day=today)
    # 8 days of 1400 visits are two pages.
    assert spent["visitor_sessions_report"] == 2
    assert nightly_points(account.source, volumes, today) == spent.total()
    (_, hourly) = scheduled_loads(account.source)
    assert "comagic_calls_facts" in hourly.tables
    assert not {"sites", "campaign_daily_stat", *SUMMARIES} & set(hourly.tables)
    assert normal_day_points(account.source, volumes, today) == spent.total() + 24 * len(PROBED)


def test_scheduled_loads_are_those_of_the_schedules(open_account: OpenAccount) -> None:
    """What is forecast is what Dagster does: the same names and the same times."""
    account = open_account()
    schedules = build_definitions(account.config).get_repository_def().schedule_defs
    loads = [schedule for schedule in schedules if schedule.name.startswith("load_")]
    assert {schedule.name: schedule.cron_schedule for schedule in loads} == {
        f"load_main_{load.name}": load.cron_schedule for load in scheduled_loads(account.source)
    }
    for tables, names in (("[tags]", ["nightly"]), ("[chats_report]", ["nightly", "hourly"])):
        config = open_account(tables=tables).config
        assert [load.name for load in scheduled_loads(config.sources[0])] == names


def line_of(day: date, rows: int, loaded_at: datetime, table: str, customer: int = 0, account: int = 1) -> Any:
    """A line of the ledger."""
    return {"account_id": account, "customer_user_id": customer, "table_name": table, "day": day, "rows": rows} | {
        "points": 1, "seconds": 1, "run_id": "run", "loaded_at": loaded_at
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first_day", "last_day"),
    [
        (date(2026, 1, 1), date(2026, 12, 31)),
        (date(2026, 3, 1), date(2026, 3, 5)),
        (date(2026, 9, 1), date(2026, 9, 30)),
        (date(2025, 1, 1), date(2025, 12, 31)),
        (date(2026, 2, 10), date(2026, 2, 10)),
    ],
)
def test_the_nearest_whole_days_tell_the_density(warehouse: Warehouse, first_day: date, last_day: date) -> None:
    """Up to 28 days that were loaded when they were over, for each table and customer, those of others left out."""
    random, moscow = Random(7), ZoneInfo("Europe/Moscow")
    tables, customers = ("calls_report", "chats_report", "goals_report"), (0, 5, 6)
    lines = []
    for table, customer, account in [*((t, c, 1) for t in tables[:2] for c in customers[:2]), (tables[0], 0, 2)]:
        for day in days_between(date(2026, 1, 20), date(2026, 6, 20)):
            if random.random() < 0.4:
                midnight = datetime.combine(day + timedelta(days=1), time(), moscow)
                loaded_at = midnight + random.choice((-1, 0, 1, 10_000)) * timedelta(seconds=1)
                lines.append(line_of(day, random.randrange(5000), loaded_at, table, customer, account))
    lines.append(line_of(date(2026, 2, 1), 77, datetime(2026, 6, 1, tzinfo=UTC), "chats_report", 6))
    with warehouse.begin() as connection:
        connection.execute(insert(ops.loaded_days), lines)
    expected = {}
    for table in tables:
        for customer in customers:
            whole = [
                line
                for line in lines
                if (line["account_id"], line["table_name"], line["customer_user_id"]) == (1, table, customer)
                and line["loaded_at"].astimezone(moscow).date() > line["day"]
            ]

            def distance(line: Any) -> tuple[int, int]:
                day = line["day"]
                nearest = min(max(day, first_day), last_day)
                return abs((day - nearest).days), -day.toordinal()

            if nearest := sorted(whole, key=distance)[:28]:
                expected[table, customer] = pytest.approx(sum(line["rows"] for line in nearest) / len(nearest))
    found = rows_a_day(warehouse, 1, "Europe/Moscow", tables, customers, first_day, last_day)
    assert found == expected
    assert found.keys() == {(t, c) for t in tables[:2] for c in customers[:2]} | {("chats_report", 6)}


def test_tables_without_access_are_those_of_which_the_journal_says_so_last(warehouse: Warehouse) -> None:
    """A later load means that it was opened; warnings say nothing."""
    events = {
        "chats_report": ["skipped"],
        "goals_report": ["skipped", "done"],
        "tags": ["done", "skipped", "warning"],
        "calls_report": ["done"],
    }
    with warehouse.begin() as connection:
        for table, said in events.items():
            for event in said:
                ops.record(connection, account_id=1, run_id="run", event=event, table_name=table)
        ops.record(connection, account_id=2, run_id="run", event="skipped", table_name="calls_report")
    assert skipped_tables(warehouse, 1) == {"chats_report", "tags"}
    assert skipped_tables(warehouse, 3) == frozenset()


def test_a_plan_within_a_run_asks_nothing(open_account: OpenAccount) -> None:
    """What the warehouse knows is enough; the rest is the least."""
    account = open_account()
    volumes = known_volumes(account.warehouse, account.source, FIRST, LAST, ["calls_report", "ct_ac_summary_report"])
    planned = plan_load(account.source, volumes, FIRST, LAST, ["calls_report", "ct_ac_summary_report"])
    assert [(line.points, line.is_least) for line in planned.tables] == [(2, True), (106, True)]
    assert not account.sandbox.requests


def test_the_command_prints_a_plan_for_people_or_machines(open_account: OpenAccount) -> None:
    """Both say the same, at exit code 0."""
    account = open_account(tables="[calls_report, employee_stat, campaigns]")
    command = ["load", "--plan", "--from", str(FIRST), "--till", str(LAST)]
    result = CliRunner().invoke(cli, command, env={"COLUMNS": "200"})
    assert (result.exit_code, result.exception) == (0, None)
    lines = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    rows = round(106 * account.rows("calls_report", *WINDOWS[0]) / 89)
    assert ["calls_report", "106", str(rows), "2"] in lines
    assert ["employee_stat", "106", "unknown", "106"] in lines
    assert ["campaigns", "unknown", "1"] in lines
    assert ["all", "at", "least", str(rows), "109"] in lines
    assert "2999 of 3000 points are left today; 0 are kept in reserve.\nDone today.\n" in result.stdout
    assert "Asking took 1 of the day's points." in result.stdout
    result = CliRunner().invoke(cli, [*command, "--json", "--table", "calls_report", "--source", "main"])
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["tables"] == {
        "calls_report": {"days": 106, "rows": rows, "points": 2, "is_least": False, "is_skipped": False}
    }
    assert (summary["source"], summary["first_day"], summary["last_day"]) == ("main", str(FIRST), str(LAST))
    assert (summary["rows"], summary["points"], summary["is_least"]) == (rows, 2, False)
    assert (summary["day_points"]["limit"], summary["day_points"]["reserve"]) == (3000, 0)
    assert summary["day_points"]["resets_at"]
    assert summary["done_on"]
    assert (summary["points_spent"], summary["not_asked"]) == (1, None)


def test_what_is_wrong_is_one_line(open_account: OpenAccount) -> None:
    """Days and tables that there are not, and a key that is refused, which is exit code 1."""
    account = open_account()
    with pytest.raises(ConfigError, match="--table calls_reprt: not among the tables of the source main: calls_report"):
        account.plan("calls_reprt")
    with pytest.raises(ConfigError, match="swap them"):
        account.plan(first_day=LAST, last_day=FIRST)
    account.sandbox.settings.tokens[SANDBOX_TOKEN] = "blocked"
    result = CliRunner().invoke(cli, ["load", "--plan"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: get.calls_report: the API says access_token_blocked")
