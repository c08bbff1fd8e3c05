"""Runs that could not say anything: queued, never started, killed. Their days wait, and the journal says why."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from dagster import AssetKey, DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.events import JobFailureData, RunFailureReason
from sqlalchemy import insert

from comagic_pipeline.catalog.table_names import SHARED_STAR, STAR_OF_KIND
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.continuation import Continuation, next_run
from comagic_pipeline.dagster.automation.recovery import close_silent_runs, recover
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.resources import run_lock
from comagic_pipeline.dagster.runs import COMMAND, CONTINUES, RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.translations import text_in
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import pending_days as waiting
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline_tests.integration.raw_reference import query
from comagic_pipeline_tests.integration.runs import create_run, materialized

CALLS, FACTS = "calls_report", "comagic_calls_facts"
FIRST, LAST = date(2026, 1, 5), date(2026, 1, 8)
START_TIMEOUT = "Run timed out due to taking longer than 180 seconds to start."


@pytest.fixture
def config(project: Callable[..., Config]) -> Config:
    """A source of calls and chats and their star."""
    return project(base_url="sandbox", token="x", tables="[comagic_calls_facts, comagic_chats_facts]")


@pytest.fixture
def instance(config: Config) -> Iterator[DagsterInstance]:
    """The Dagster instance as the commands open it."""
    with open_instance(config) as instance:
        yield instance


def create(
    config: Config, instance: DagsterInstance, *tables: str, status: DagsterRunStatus = DagsterRunStatus.STARTING
) -> DagsterRun:
    """A run as the daemon creates it for a backfill of these tables, or of all; nobody executes it."""
    return create_run(config, instance, FIRST, LAST, *tables, status=status, tags={"dagster/backfill": "k2j4"})


def fail(instance: DagsterInstance, run: DagsterRun, message: str = START_TIMEOUT) -> None:
    """Mark it as failed, as the monitoring daemon does."""
    data = JobFailureData(error=None, failure_reason=RunFailureReason.START_TIMEOUT)
    instance.report_run_failed(run, message, data)


def begin(instance: DagsterInstance, run: DagsterRun) -> None:
    """Let the run be started."""
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, run.job_name), run.run_id)


def waits(warehouse: Warehouse) -> dict[str, set[date]]:
    """The days that wait, by table."""
    found: dict[str, set[date]] = {}
    for line in query(warehouse, "select table_name, day from comagic_ops.waiting_days"):
        found.setdefault(line["table_name"], set()).add(line["day"])
    return found


def journal(warehouse: Warehouse) -> list[dict[str, Any]]:
    """The lines of the journal, by table."""
    return query(warehouse, "select * from comagic_ops.journal order by table_name, id")


def load(warehouse: Warehouse, run_id: str, *days: date, points: int = 0) -> None:
    """Write days of calls into the ledger, each with ten rows, and the points into the book."""
    values = {"account_id": 1, "table_name": CALLS, "run_id": run_id}
    with warehouse.begin() as connection:
        for day in days:
            moment = {"points": Decimal("0.25"), "seconds": 1.5, "loaded_at": datetime.now(UTC), "day": day, "rows": 10}
            connection.execute(insert(ops.loaded_days).values(values | {"customer_user_id": 0} | moment))
            waiting.strike_off(connection, 1, 0, CALLS, day, day)
        if points:
            connection.execute(insert(ops.points_spent).values(values | {"day": FIRST, "points": points}))


DAYS = {FIRST + timedelta(days=number) for number in range(4)}


def test_a_run_that_never_began_is_continued(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """A backfill whose run timed out before its first step was forgotten: nothing waited, the journal was empty."""
    run = create(config, instance, CALLS)
    fail(instance, run)
    found = next_run(config, config.sources[0], instance, warehouse)
    assert isinstance(found, Continuation)
    assert (found.reports, found.first_day, found.last_day) == ((CALLS,), FIRST, LAST)
    assert waits(warehouse) == {CALLS: DAYS}
    (line,) = journal(warehouse)
    assert (line["event"], line["table_name"], line["trigger"]) == ("failed", CALLS, "backfill k2j4")
    assert (line["first_day"], line["last_day"], line["rows"], line["points"]) == (FIRST, LAST, 0, 0)
    assert line["message"] == f"the run did not begin: {START_TIMEOUT}"
    assert text_in("ru", line["message"]) == "запуск не начался: он не стартовал за 180 секунд."
    close_silent_runs(config, instance, warehouse)
    assert len(journal(warehouse)) == 1


def test_what_a_queued_run_is_to_load_waits_before_it_begins(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Its plan says what that is; until it ends nobody else loads these days, and cancelled they are given up."""
    run = create(config, instance, CALLS, *SHARED_STAR, *STAR_OF_KIND["calls"])
    source = config.sources[0]
    assert next_run(config, source, instance, warehouse) == "no days wait"
    assert waits(warehouse) == {CALLS: DAYS, FACTS: DAYS}
    instance.report_run_canceled(run)
    assert next_run(config, source, instance, warehouse) == "no days wait"
    assert (waits(warehouse), journal(warehouse)) == ({}, [])


def test_a_run_that_takes_its_lock_notes_its_days_itself(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Days that it has loaded already would wait again."""
    run = create(config, instance, status=DagsterRunStatus.STARTING)
    with warehouse.holding(run_lock(run.run_id)):
        close_silent_runs(config, instance, warehouse)
    assert waits(warehouse) == {}


def test_days_that_were_loaded_since_do_not_wait(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Another run has loaded them after the one was created that never began."""
    run = create(config, instance, CALLS)
    load(warehouse, "other", FIRST, LAST)
    fail(instance, run)
    recover(config, instance, warehouse)
    assert waits(warehouse) == {CALLS: DAYS - {FIRST, LAST}}


def test_what_a_killed_run_had_loaded_is_told(
    config: Config, instance: DagsterInstance, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill -9 left no line in the journal, and days were shown after the run was marked: a backfill failed them."""
    run = create(config, instance, CALLS, "chats_report", status=DagsterRunStatus.STARTING)
    close_silent_runs(config, instance, warehouse)
    begin(instance, run)
    load(warehouse, run.run_id, FIRST, LAST, points=3)
    shown_when_marked: list[set[date]] = []
    report = instance.report_run_failed

    def look(*arguments: Any) -> DagsterEvent:
        shown_when_marked.append(materialized(instance, CALLS))
        return report(*arguments)

    monkeypatch.setattr(instance, "report_run_failed", look)
    close_silent_runs(config, instance, warehouse, clock=lambda: time.time() + 60)
    assert shown_when_marked == [{FIRST, LAST}]
    calls, chats = journal(warehouse)
    assert (calls["table_name"], calls["event"], calls["rows"], calls["points"]) == (CALLS, "failed", 20, 3)
    assert (chats["table_name"], chats["event"], chats["rows"], chats["points"]) == ("chats_report", "failed", 0, 0)
    assert calls["message"] == "the run ended without a word: the process of this run is gone; what it committed stays"
    assert waits(warehouse) == {CALLS: DAYS - {FIRST, LAST}, "chats_report": DAYS}
    found = next_run(config, config.sources[0], instance, warehouse)
    assert isinstance(found, Continuation)


def test_a_run_that_was_created_and_never_launched(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """The web server was killed while it wrote planned events: the run stayed "not started" for ever."""
    create(config, instance, CALLS, status=DagsterRunStatus.NOT_STARTED)
    close_silent_runs(config, instance, warehouse, clock=lambda: time.time() + 1700)
    assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.NOT_STARTED]
    close_silent_runs(config, instance, warehouse, clock=lambda: time.time() + 1900)
    assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.FAILURE]
    assert [line["message"] for line in journal(warehouse)] == [
        "the run did not begin: the run was created and never launched"
    ]
    assert waits(warehouse) == {CALLS: DAYS}


@pytest.mark.parametrize("reason", [RunFailureReason.STEP_FAILURE, None])
def test_a_run_that_said_why_is_not_told_again(
    config: Config, instance: DagsterInstance, warehouse: Warehouse, reason: RunFailureReason | None
) -> None:
    """Its loads are in the journal; what a person gave up does not wait again."""
    run = create(config, instance, CALLS)
    close_silent_runs(config, instance, warehouse)
    begin(instance, run)
    with warehouse.begin() as connection:
        waiting.forget(connection, 1)
        ops.record(connection, account_id=1, run_id=run.run_id, event="failed", table_name=CALLS)
    instance.report_run_failed(run, None, JobFailureData(error=None, failure_reason=reason))
    recover(config, instance, warehouse)
    assert len(journal(warehouse)) == 1
    assert waits(warehouse) == {}


def test_a_run_that_continues_asks_for_no_more_than_waits(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """When the run of the sensor never begins, the days between those that wait are not loaded again."""
    job = build_definitions(config).resolve_job_def("load_main")
    tags = {RANGE_START: str(FIRST), RANGE_END: str(LAST), CONTINUES: "main", COMMAND: "load"}
    run = instance.create_run_for_job(
        job_def=job.get_subset(asset_selection={AssetKey(["main", CALLS])}), status=DagsterRunStatus.STARTING, tags=tags
    )
    with warehouse.begin() as connection:
        waiting.expect(connection, 1, [CALLS], LAST, LAST, "gone", datetime.now(UTC))
    close_silent_runs(config, instance, warehouse)
    fail(instance, run)
    recover(config, instance, warehouse)
    assert waits(warehouse) == {CALLS: {LAST}}
    assert len(journal(warehouse)) == 1
