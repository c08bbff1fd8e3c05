"""Retention on a real PostgreSQL and instance: what is old goes, whole, and nothing else does; what is shown follows.

Two accounts share all tables. What should be left is worked out from copies of the tables that were made before.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from dagster import (
    AssetKey,
    DagsterInstance,
    DefaultScheduleStatus,
    ExecuteInProcessResult,
    RepositoryDefinition,
    build_schedule_context,
)
from sqlalchemy import Connection, text

from comagic_pipeline.catalog.table_names import SHARED_STAR
from comagic_pipeline.cli.main import cli
from comagic_pipeline.config import Config, ConfigError, load_config
from comagic_pipeline.dagster.automation.continuation import next_run
from comagic_pipeline.dagster.automation.recovery import show_loaded_days
from comagic_pipeline.dagster.checks.all_days_loaded import missing_days
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.jobs import retention
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.points.scheduled_loads import scheduled_loads, scheduled_reports
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.pending_days import expect, waiting_periods
from comagic_pipeline.warehouse.retention import days as rows
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.kinds import KINDS
from comagic_pipeline_tests.integration.raw_reference import Row, days_between, journal, query
from comagic_pipeline_tests.integration.runs import failures, materialized, run_load

NOW = datetime(2026, 4, 11, 9, tzinfo=UTC)
HORIZON = date(2026, 3, 2)
"""The first day that is kept of the last 40."""
LAST = date(2026, 3, 3)
SHORT, LONG = (date(2026, 1, 31), date(2026, 2, 1)), (date(2026, 2, 28), LAST)
PERIODS = {"main": (SHORT, LONG), "other": (LONG,)}
"""What is loaded: of January one account alone has rows."""
DAYS = {name: {day for period in periods for day in days_between(*period)} for name, periods in PERIODS.items()}
ACCOUNTS = {"main": 1, "other": 2}
RAW = ("calls_report", "goals_report")
REPORTS = [
    {"name": "Звонки", "report": "calls_report", "fields": ["id", "talk_duration"]},
    {"name": "goals", "report": "goals_report", "fields": ["id", "name"], "structure": "auto"},
]
BUILT = [kind for kind in KINDS if kind.report in RAW]
SHARED = ("dates", "clientids", "traffic", "sites", "locations")


@dataclass
class Loaded:
    """Two accounts with two months of rows each; `main` may keep 40 days."""

    config: Callable[..., Config]
    warehouse: Warehouse
    instance: DagsterInstance

    def retain(self, config: Config, *, is_dry: bool = False) -> ExecuteInProcessResult:
        """Run the job of the source main."""
        return (
            build_definitions(config)
            .resolve_job_def("retain_main")
            .execute_in_process(
                run_config={
                    "ops": {"delete_old_days_of_main": {"config": {"dry_run": is_dry}}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                instance=self.instance,
                raise_on_error=False,
            )
        )

    @property
    def own_table(self) -> str:
        """The table of the report of the source main that has one."""
        sql = (
            "select tables[1] as name from comagic_ops.custom_reports where account_id = 1 and report = 'goals_report'"
        )
        return f"comagic.{query(self.warehouse, sql)[0]['name']}"

    def rows(self, table: str) -> list[Row]:
        return query(self.warehouse, f"select * from {table}")

    def tables(self) -> dict[str, list[Row]]:
        """All rows of the tables that hold days, and of the books of days."""
        reports = [f"comagic_raw.{name}" for name in RAW]
        star = [f"comagic.{table.name}" for kind in BUILT for table in kind.tables]
        shared = [f"comagic.general_{name}" for name in SHARED]
        return {
            name: self.rows(name)
            for name in (
                *reports,
                *star,
                *shared,
                "comagic.comagic_campaigns",
                "comagic_raw.campaigns",
                "comagic_raw.campaigns_history",
                "comagic.comagic_reports",
                self.own_table,
                "comagic_ops.loaded_days",
                "comagic_ops.rejected_rows",
            )
        }


@pytest.fixture
def loaded(project: Callable[..., Config], warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaded]:
    """Both accounts, loaded by runs of their jobs."""
    monkeypatch.setattr(retention, "utc_now", lambda: NOW)
    with ExitStack() as stack:
        sandboxes = {
            name: stack.enter_context(
                running_sandbox(World(seed=number, calls_per_day=6, now=lambda: NOW), Settings(minute_limit=10_000))
            )
            for name, number in ACCOUNTS.items()
        }
        path = project(base_url="sandbox", token=SANDBOX_TOKEN).path

        def configure(**kept: Any) -> Config:
            found = yaml.safe_load(path.read_text())
            found["sources"] = [
                {
                    "name": name,
                    "account_id": number,
                    "base_url": sandboxes[name].url,
                    "token": SANDBOX_TOKEN,
                    "start_date": "2026-01-01",
                    "tables": [kind.facts.name for kind in BUILT],
                    "retention": kept if name == "main" else {},
                }
                for name, number in ACCOUNTS.items()
            ]
            found["custom_reports"] = [
                {**report, "source": name, "name": report["name"] if name == "main" else f"{report['name']} 2"}
                for name in ACCOUNTS
                for report in REPORTS
            ]
            path.write_text(json.dumps(found, ensure_ascii=False))
            return load_config(path)

        config = configure()
        definitions = build_definitions(config)
        instance = stack.enter_context(open_instance(config))
        for source in config.sources:
            for first_day, last_day in PERIODS[source.name]:
                result = run_load(config, instance, first_day, last_day, source=source.name)
                assert result.success, failures(result)
                for report in source.custom_reports:
                    span = {RANGE_START: str(first_day), RANGE_END: str(last_day)}
                    job = definitions.resolve_job_def(f"report_{source.name}__{report.asset_name}")
                    assert job.execute_in_process(instance=instance, tags=span).success
        yield Loaded(configure, warehouse, instance)


def figures(result: ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of a run."""
    assert result.success, failures(result)
    (output,) = (event.step_output_data for event in result.all_events if event.is_successful_output)
    return {name: value.value for name, value in output.metadata.items()}


def same(found: list[Row], expected: list[Row]) -> bool:
    return Counter(map(repr, found)) == Counter(map(repr, expected))


def kept_facts(before: dict[str, list[Row]], kind: Kind) -> set[int]:
    """The ids of the rows of a kind's dimension that should stay."""
    days = {row["id"]: row["simple_date"] for row in before["comagic.general_dates"]}
    facts = before[f"comagic.{kind.facts.name}"]
    return {row[kind.owner] for row in facts if row["account_id"] != 1 or days[row["dates_id"]] >= HORIZON}


def expected_after(before: dict[str, list[Row]], own_table: str) -> dict[str, list[Row]]:
    """What should be left of every table."""
    left = dict(before)
    days = {"comagic_ops.loaded_days": "day", "comagic_ops.rejected_rows": "event_date"}
    days |= {f"comagic_raw.{name}": "event_date" for name in RAW} | {"comagic.comagic_reports": "simple_date"}
    days[own_table] = "simple_date"
    for name, day in days.items():
        left[name] = [row for row in before[name] if row["account_id"] != 1 or row[day] >= HORIZON]
    for kind in BUILT:
        ids = kept_facts(before, kind)
        for table in kind.tables:
            owner = "id" if table is kind.dimension else kind.owner
            name = f"comagic.{table.name}"
            left[name] = [row for row in before[name] if row[owner] in ids]
    return left


def partitions(warehouse: Warehouse, table: str) -> set[str]:
    """The partitions of a table, by their names."""
    sql = "select inhrelid::regclass::text as name from pg_inherits where inhparent = to_regclass(:table)"
    return {row["name"].rpartition("_")[0][-4:] + "-" + row["name"][-2:] for row in query(warehouse, sql, table=table)}


def test_old_days_of_an_account_go_and_nothing_else(loaded: Loaded) -> None:
    """Raw, star, custom reports and books; a dry run tells the same figures, a second run finds nothing."""
    config = loaded.config(keep_days=40)
    with loaded.warehouse.begin() as connection:
        expect(connection, 1, ["calls_report"], date(2026, 2, 1), HORIZON, "gone", NOW)
        expect(connection, 2, ["calls_report"], date(2026, 2, 1), HORIZON, "gone", NOW)
    before = loaded.tables()
    assert all(before[name] for name in before if name != "comagic_ops.rejected_rows")

    dry = figures(loaded.retain(config, is_dry=True))
    assert loaded.tables() == before
    assert (dry["dry_run"], dry["dropped_partitions"]) == (True, 0)
    done = figures(loaded.retain(config))
    after, expected = loaded.tables(), expected_after(before, loaded.own_table)
    for name in before:
        assert same(after[name], expected[name]), name

    gone = {name: len(before[name]) - len(after[name]) for name in before if "_ops" not in name}
    assert {name: count for name, count in done["rows_by_table"].items() if count} == {
        name: count for name, count in gone.items() if count
    }
    assert {name: count for name, count in dry["rows_by_table"].items() if count} == {
        name: count for name, count in done["rows_by_table"].items() if count
    }
    assert dry["rows"] == done["rows"] == sum(gone.values()) > 0
    # January was the account's alone, in February and March there is the other one.
    for table in (*(f"comagic_raw.{name}" for name in RAW), "comagic.comagic_reports"):
        assert partitions(loaded.warehouse, table) == {"2026-02", "2026-03"}, table
    assert partitions(loaded.warehouse, loaded.own_table) == {"2026-03"}
    waiting = query(loaded.warehouse, "select account_id, min(day) as day from comagic_ops.waiting_days group by 1")
    assert {row["account_id"]: row["day"] for row in waiting} == {1: HORIZON, 2: date(2026, 2, 1)}
    lines = query(loaded.warehouse, "select event, deleted from comagic_ops.journal where table_name = 'retention'")
    assert lines == [{"event": "done", "deleted": done["rows"]}]
    noted = query(loaded.warehouse, "select account_id, layer, first_day from comagic_ops.retained_from")
    assert {(row["account_id"], row["layer"], row["first_day"]) for row in noted} == {
        (1, layer, HORIZON) for layer in ("raw", "star", "custom_reports")
    }

    again = figures(loaded.retain(config))
    assert (again["rows"], again["dropped_partitions"]) == (0, 0)
    assert loaded.tables() == after


def test_deleted_days_read_as_missing(loaded: Loaded) -> None:
    """Partitions of kept days keep their events; nothing shows the others again; the other source is as it was."""
    config = loaded.config(keep_days=40)
    assets = [*RAW, "comagic_calls_facts", "general_dates", "zvonki", "goals"]
    kept = set(days_between(HORIZON, LAST))
    for name in assets:
        assert materialized(loaded.instance, name) == DAYS["main"], name
    figures(loaded.retain(config, is_dry=True))
    assert materialized(loaded.instance, "calls_report") > kept
    figures(loaded.retain(config))
    show_loaded_days(config, loaded.instance, loaded.warehouse)
    for name in assets:
        assert materialized(loaded.instance, name) == kept, name
        events = loaded.instance.fetch_materializations(AssetKey(["main", name]), limit=1000).records
        assert {event.partition_key for event in events} == set(map(str, kept)), name
    assert materialized(loaded.instance, "calls_report", "other") == DAYS["other"]


def test_the_star_may_keep_what_raw_does_not(loaded: Loaded) -> None:
    """A build of days that retention deleted from raw leaves them alone and says so; kept days are built."""
    config = loaded.config(keep_days=40, layers=["raw"])
    before = loaded.tables()
    done = figures(loaded.retain(config))
    assert set(done["rows_by_table"]) >= {f"comagic_raw.{name}" for name in RAW}
    assert not any("comagic_calls" in name for name in done["rows_by_table"])
    facts = [f"comagic.{table.name}" for kind in BUILT for table in kind.tables]
    star = [*SHARED_STAR, *(table.name for kind in BUILT for table in kind.tables)]
    result = run_load(config, loaded.instance, SHORT[1], LAST, *star)
    assert result.success, failures(result)
    after = loaded.tables()
    for name in facts:
        assert same(after[name], before[name]), name
    warnings = journal(loaded.warehouse, "warning")
    assert ("comagic_calls_facts", warnings[0][1]) in warnings
    assert "2026-02-01 to 2026-03-01" in warnings[0][1]
    # What a person loads again is built again.
    day = LONG[0]
    result = run_load(config, loaded.instance, day, day, "calls_report", *star)
    again = loaded.tables()
    assert same(again["comagic.comagic_calls_facts"], before["comagic.comagic_calls_facts"])
    assert len([row for row in again["comagic_raw.calls_report"] if row["event_date"] == day]) > 0


def test_a_run_that_fails_leaves_whole_months(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it committed stays, with its books; the next run deletes the rest."""
    config = loaded.config(keep_days=40)
    before, note = loaded.tables(), rows._note

    def fail_in_february(connection: Connection, account_id: int, layer: rows.Layer, first_day: date) -> None:
        if first_day > date(2026, 2, 1):
            raise RuntimeError("killed")
        note(connection, account_id, layer, first_day)

    monkeypatch.setattr(rows, "_note", fail_in_february)
    assert not loaded.retain(config).success
    monkeypatch.setattr(rows, "_note", note)
    half = loaded.tables()
    for name in ("comagic_raw.calls_report", "comagic_raw.goals_report", "comagic_ops.loaded_days"):
        day = "day" if "ops" in name else "event_date"
        names = {"zvonki", "goals"}
        left = [
            row
            for row in before[name]
            if row["account_id"] != 1 or row[day] >= date(2026, 2, 1) or row.get("table_name") in names
        ]
        assert same(half[name], left), name
    figures(loaded.retain(config))
    after, expected = loaded.tables(), expected_after(before, loaded.own_table)
    for name in before:
        assert same(after[name], expected[name]), name


def test_nothing_loads_old_days_back(loaded: Loaded) -> None:
    """Schedules ask for kept days only, days that wait are forgotten, and the check does not miss them."""
    config = loaded.config(keep_days=40)
    figures(loaded.retain(config))
    source = config.sources[0]
    day = NOW.date()
    for load in (*scheduled_loads(source), *scheduled_reports(source).values()):
        first_day, _ = load.period(source, day)
        assert first_day >= HORIZON
    missing = {each.report: each for each in missing_days(source, loaded.warehouse, NOW)}
    expected = days_between(LAST + timedelta(days=1), day - timedelta(days=1))
    for name in RAW:
        assert list(missing[name].days) == expected, name
    old = HORIZON - timedelta(days=2)
    with loaded.warehouse.begin() as connection:
        expect(connection, 1, ["calls_report", "comagic_calls_facts", "zvonki"], old, HORIZON, "gone", NOW)
    next_run(config, source, loaded.instance, loaded.warehouse, lambda: NOW + timedelta(minutes=30))
    with loaded.warehouse.begin() as connection:
        left = waiting_periods(connection, 1)
    assert {(period.first_day, period.last_day) for period in left} == {(HORIZON, HORIZON)}
    assert {period.table_name for period in left} == {"calls_report", "comagic_calls_facts", "zvonki"}


def test_the_job_is_there_where_days_are_kept(project: Callable[..., Config]) -> None:
    """With a schedule by the account's clock, unless it is off."""
    account = {"base_url": "sandbox", "token": SANDBOX_TOKEN}

    def built(text: str) -> RepositoryDefinition:
        return build_definitions(project(**account, retention=text)).get_repository_def()

    assert not any(job.name.startswith("retain_") for job in built("{}").get_all_jobs())
    repository = built("{keep_days: 40, schedule: off}")
    assert repository.has_job("retain_main")
    assert "retain_main_schedule" not in {schedule.name for schedule in repository.schedule_defs}
    schedule = built("{keep_days: 40}").get_schedule_def("retain_main_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 3 * * *", "Europe/Moscow")
    assert schedule.default_status == DefaultScheduleStatus.RUNNING
    with (
        DagsterInstance.ephemeral() as instance,
        build_schedule_context(instance, scheduled_execution_time=NOW) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.run_config == {"ops": {"delete_old_days_of_main": {"config": {"dry_run": False}}}}


def test_a_launch_by_hand_only_counts(loaded: Loaded) -> None:
    """The Launchpad of the job deleted at once unless somebody wrote `dry_run: true`; the schedule deletes."""
    config = loaded.config(keep_days=40)
    job = build_definitions(config).resolve_job_def("retain_main")
    before = loaded.tables()
    counted = figures(job.execute_in_process(instance=loaded.instance, raise_on_error=False))
    assert (counted["dry_run"], loaded.tables()) == (True, before)
    schedule = build_definitions(config).get_repository_def().get_schedule_def("retain_main_schedule")
    with build_schedule_context(loaded.instance, scheduled_execution_time=NOW) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    deleted = figures(
        job.execute_in_process(run_config=request.run_config, instance=loaded.instance, raise_on_error=False)
    )
    assert (deleted["dry_run"], deleted["rows"]) == (False, counted["rows"])
    assert counted["rows"] > 0
    assert loaded.tables() != before


def test_the_command(loaded: Loaded) -> None:
    """Counts, then deletes, and names the key that is not set."""
    loaded.config()
    refused = CliRunner().invoke(cli, ["retention", "--source", "main"])
    assert isinstance(refused.exception, ConfigError)
    assert "sources.main.retention.keep_days is not set" in str(refused.exception)
    loaded.config(keep_days=40)
    told = {}
    for options in (["--dry-run"], []):
        result = CliRunner().invoke(cli, ["retention", "--source", "main", "--json", *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        told[not options] = json.loads(result.stdout)
    assert told[False]["rows"] == told[True]["rows"] > 0
    assert (told[False]["dry_run"], told[True]["dry_run"]) == (True, False)
    result = CliRunner().invoke(cli, ["retention", "--source", "main"], catch_exceptions=False)
    assert "main: nothing is older than what is kept" in result.stdout


def test_what_people_made_of_a_month_is_named_and_left(loaded: Loaded) -> None:
    """A view on one month stopped the retention of all tables of the source, and the message did not name it."""
    config = loaded.config(keep_days=40)
    with loaded.warehouse.begin() as connection:
        for statement in (
            "create schema bi",
            "create materialized view bi.january as select id from comagic_raw.calls_report_2026_01",
            "create table bi.notes (call int references comagic.comagic_calls (id), note text)",
            "insert into bi.notes select min(calls_id), 'call back' from comagic.comagic_calls_facts as fact"
            " join comagic.general_dates as date on date.id = dates_id"
            " where fact.account_id = 1 and simple_date < '2026-02-01'",
            "alter table comagic_raw.goals_report detach partition comagic_raw.goals_report_2026_01",
        ):
            connection.execute(text(statement))
    before = loaded.tables()
    january = ("comagic_raw.calls_report", "comagic.comagic_calls_facts", "comagic.comagic_calls")
    expected = (
        '"comagic_raw"."calls_report_2026_01" is needed by materialized view bi.january: drop that',
        "rows of bi.notes refer to rows of",
        '"comagic_raw"."goals_report_2026_01" is detached from "comagic_raw"."goals_report"',
    )
    told = []
    for is_dry in (True, False, False):
        result = loaded.retain(config, is_dry=is_dry)
        assert not result.success
        (message,) = failures(result)
        for sentence in expected:
            assert sentence in message
        told.append(message.removeprefix("main/retention: "))
        if is_dry:
            assert loaded.tables() == before
    assert told[0] == told[1] == told[2]
    after, left = loaded.tables(), expected_after(before, loaded.own_table)
    for name in ("comagic.comagic_reports", "comagic.comagic_goals_facts", loaded.own_table):
        assert same(after[name], left[name]), name
    days = {row["id"]: row["simple_date"] for row in before["comagic.general_dates"]}
    for name in january[:2]:
        kept = {row.get("event_date") or days[row["dates_id"]] for row in after[name] if row["account_id"] == 1}
        assert date(2026, 1, 31) in kept, name
        assert not {day for day in kept if date(2026, 2, 1) <= day < HORIZON}, name
    ledger = {row["day"] for row in after["comagic_ops.loaded_days"] if row["table_name"] == "calls_report"}
    assert date(2026, 1, 31) in ledger
    assert date(2026, 1, 31) in materialized(loaded.instance, "calls_report")
    with loaded.warehouse.begin() as connection:
        connection.execute(text("drop schema bi cascade"))
        connection.execute(text("drop table comagic_raw.goals_report_2026_01"))
    assert loaded.retain(config).success
    for name in january:
        assert same(loaded.tables()[name], left[name]), name
