"""Whoever launches a load by hand learns which unfinished run has the same days to load."""

import io
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from dagster import DagsterInstance, DagsterRun
from rich.console import Console

from comagic_pipeline.cli.load import load
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.overlaps import note_overlaps
from comagic_pipeline.dagster.automation.silent_runs import note_silent_runs
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.runs import COMMAND
from comagic_pipeline.operations.translations import text_in
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.api_time import NOON
from comagic_pipeline_tests.integration.raw_reference import query
from comagic_pipeline_tests.integration.runs import create_run

CALLS, CHATS = "calls_report", "chats_report"
FIRST, LAST = date(2026, 1, 5), date(2026, 1, 8)
BACKFILL = {"dagster/backfill": "k2j4"}


@pytest.fixture
def config(project: Callable[..., Config]) -> Iterator[Config]:
    """A source of calls and chats of a sandbox that serves ten calls a day."""
    with running_sandbox(World(calls_per_day=10), Settings(minute_limit=10_000)) as sandbox:
        yield project(base_url=sandbox.url, token=SANDBOX_TOKEN, tables=f"[{CALLS}, {CHATS}]")


@pytest.fixture
def instance(config: Config) -> Iterator[DagsterInstance]:
    """The Dagster instance as the commands open it."""
    with open_instance(config) as instance:
        yield instance


def created(config: Config, instance: DagsterInstance, *tables: str, **tags: str) -> DagsterRun:
    """Create a run of the days from FIRST to LAST that has not started."""
    return create_run(config, instance, FIRST, LAST, *tables, tags=tags)


def expected(run: DagsterRun, days: str, trigger: str, tables: str) -> str:
    """Return the line about a run that has not started."""
    return (
        f"{days} of {tables}: run {run.run_id} ({trigger}, not started yet) loads them too; both runs spend points on "
        "them, so cancel one of the two to spend them once"
    )


def test_a_command_names_the_run_that_loads_the_same_days(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """`load` of days that a backfill had queued loaded them without a word, and the backfill loaded them again."""
    run = created(config, instance, CALLS, CHATS, **BACKFILL)
    terminal = io.StringIO()
    console = Console(file=terminal, width=300)
    summary = load(config, config.sources[0], date(2026, 1, 7), date(2026, 1, 10), [CALLS], console)
    line = expected(run, "2026-01-07 to 2026-01-08", "backfill k2j4", CALLS)
    assert f"warning: {line}" in terminal.getvalue()
    assert summary.exit_code == 0, "it warns and loads"
    warnings = query(warehouse, "select * from comagic_ops.journal where event = 'warning'")
    assert [(each["table_name"], each["run_id"], each["message"]) for each in warnings] == [
        (CALLS, summary.run_id, line)
    ]
    assert (warnings[0]["first_day"], warnings[0]["last_day"]) == (date(2026, 1, 7), LAST)
    assert text_in("ru", line) == (
        f"{CALLS} с 2026-01-07 по 2026-01-08: эти дни загружает и запуск {run.run_id} (backfill k2j4); баллы тратят "
        "оба запуска, отмените один из них, чтобы потратить их один раз"
    )


def test_only_runs_that_a_person_launched_are_warned(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """A schedule repeats days on purpose, and the runs of one backfill have days of their own."""
    first = created(config, instance, **BACKFILL)
    assert note_overlaps(config, created(config, instance, **BACKFILL), instance, warehouse) == []
    for tag in ("dagster/schedule_name", "dagster/sensor_name"):
        assert note_overlaps(config, created(config, instance, **{tag: "x"}), instance, warehouse) == []
    by_hand = created(config, instance, CHATS)
    lines = note_overlaps(config, by_hand, instance, warehouse)
    assert lines[0] == expected(first, "2026-01-05 to 2026-01-08", "backfill k2j4", CHATS)
    assert len(lines) == 4, "the backfill's two runs, the schedule's and the sensor's"
    assert by_hand.run_id not in " ".join(lines)


def test_days_that_the_other_run_has_loaded_do_not_overlap(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Loading them again is nothing that the other run does as well."""
    run = created(config, instance, CALLS, **BACKFILL)
    note_silent_runs(config, instance, warehouse, NOON)
    with warehouse.begin() as connection:
        connection.exec_driver_sql("delete from comagic_ops.waiting_days where day <= '2026-01-06'")
    by_hand = created(config, instance, CALLS, **{COMMAND: "load"})
    assert note_overlaps(config, by_hand, instance, warehouse) == [
        expected(run, "2026-01-07 to 2026-01-08", "backfill k2j4", CALLS)
    ]
    instance.report_run_canceled(run)
    assert note_overlaps(config, by_hand, instance, warehouse) == []
