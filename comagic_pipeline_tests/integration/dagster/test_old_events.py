"""What Dagster's storage holds of runs and checks, and what housekeeping leaves of it, in a real instance."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterInstance, DagsterRunStatus, ExecuteInProcessResult
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from sqlalchemy import text

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.jobs.old_events import KEPT, KEPT_FAILED, delete_old_events
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.dagster.wipe_partitions import storage_of
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.integration.runs import materialized

FIRST, LAST = date(2026, 3, 2), date(2026, 3, 4)
CALLS, FACTS = "calls_report", "comagic_calls_facts"
TAGS = {RANGE_START: str(FIRST), RANGE_END: str(LAST)}
EVALUATED = AssetCheckKey(AssetKey(["main", CALLS]), "rows_equal_ledger")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A few calls a day."""
    with running_sandbox(World(calls_per_day=5), Settings(minute_limit=10_000)) as sandbox:
        yield sandbox


@pytest.fixture
def config(project: Callable[..., Config], sandbox: Sandbox) -> Config:
    """A source of calls and their star."""
    return project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}", tables=f"[{FACTS}]")


@pytest.fixture
def instance(config: Config) -> Iterator[DagsterInstance]:
    """The Dagster instance as the commands open it."""
    with open_instance(config) as instance:
        yield instance


def launch(config: Config, instance: DagsterInstance) -> ExecuteInProcessResult:
    """Load days as the UI does that selects assets: with all of their checks."""
    job = build_definitions(config).resolve_implicit_global_asset_job_def()
    keys = build_definitions(config).resolve_asset_graph().materializable_asset_keys
    return job.get_subset(asset_selection=set(keys)).execute_in_process(
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
        tags=TAGS,
        raise_on_error=False,
    )


def rows(instance: DagsterInstance, sql: str) -> dict[Any, int]:
    """The two columns of a query of Dagster's storage."""
    with storage_of(instance).index_connection() as connection:
        return dict(connection.execute(text(sql)).all())


def checks(instance: DagsterInstance) -> dict[Any, int]:
    """How many records there are of each check and status."""
    sql = "select check_name || ' ' || execution_status, count(*) from asset_check_executions group by 1"
    return rows(instance, sql)


def events(instance: DagsterInstance) -> dict[Any, int]:
    """How many events there are of each type."""
    return rows(instance, "select coalesce(dagster_event_type, 'line of the log'), count(*) from event_logs group by 1")


def test_a_launch_stores_what_checks_found_and_nothing_else(config: Config, instance: DagsterInstance) -> None:
    """A launch noted a row for each check and day before it began; `equals_api`, which it left out, was then red."""
    assert launch(config, instance).success
    found = checks(instance)
    # Days from the first of the source to yesterday are missing.
    assert {name for name in found if not name.endswith("SUCCEEDED")} == {"all_days_loaded FAILED"}
    assert {name.split()[0] for name in found}.isdisjoint({"equals_api", "no_doubtful_days"})
    assert found["rows_equal_ledger SUCCEEDED"] == found["facts_equal_raw SUCCEEDED"] == 1
    stored = events(instance)
    assert "ASSET_CHECK_EVALUATION_PLANNED" not in stored
    assert stored["ASSET_CHECK_EVALUATION"] == sum(found.values())
    # An event for each output of a load or a star; none for a check.
    assert stored["STEP_OUTPUT"] == len(materialized_assets(instance))


def materialized_assets(instance: DagsterInstance) -> set[str]:
    """The assets that were materialized."""
    sql = "select asset_key, count(*) from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION' group by 1"
    return set(rows(instance, sql))


def test_a_run_that_dies_leaves_green_checks_green(config: Config, instance: DagsterInstance) -> None:
    """Checks that a killed run had not come to were shown as failed, though nothing had changed."""
    assert launch(config, instance).success
    job = build_definitions(config).resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection={AssetKey(["main", CALLS])})
    run = instance.create_run_for_job(subset, tags=TAGS, asset_selection=frozenset({AssetKey(["main", CALLS])}))
    instance.report_run_failed(run, "killed")
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([EVALUATED])
    assert latest[EVALUATED].status == AssetCheckExecutionRecordStatus.SUCCEEDED


def test_housekeeping_keeps_what_the_ui_shows(config: Config, instance: DagsterInstance, sandbox: Sandbox) -> None:
    """Nothing was ever deleted: a year of hourly loads was 8 GB of events."""
    assert launch(config, instance).success
    once = events(instance)
    sandbox.faults.add(Fault(kind="error", method="get.calls_report", mnemonic="access_token_blocked"))
    launch(config, instance)
    sandbox.faults.clear()
    assert launch(config, instance).success
    now, before = datetime.now(UTC), events(instance)
    shown = {table: materialized(instance, table) for table in (CALLS, FACTS)}
    assert shown == {table: {FIRST, FIRST + timedelta(days=1), LAST} for table in (CALLS, FACTS)}
    assert set(dict(delete_old_events(instance, now)).values()) == {0}

    week, failed = now + KEPT + timedelta(hours=1), instance.get_runs()[1]
    deleted = dict(delete_old_events(instance, week))
    left_logs = rows(
        instance, "select run_id, count(*) from event_logs where dagster_event_type = 'STEP_START' group by 1"
    )
    assert left_logs.keys() == {failed.run_id}, "only the log of the run that failed"
    later = now + KEPT_FAILED + timedelta(hours=1)
    dict(delete_old_events(instance, later))
    assert deleted["materializations"] == before["ASSET_MATERIALIZATION"] - once["ASSET_MATERIALIZATION"] > 0
    left = events(instance)
    assert left == {name: once[name] for name in ("ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION")}
    assert {table: materialized(instance, table) for table in (CALLS, FACTS)} == shown
    assert checks(instance)["rows_equal_ledger SUCCEEDED"] == 1
    # The first two runs hold nothing any more; the third holds what is shown.
    assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.SUCCESS]
    assert set(dict(delete_old_events(instance, later)).values()) == {0}
    assert instance.get_latest_materialization_event(AssetKey(["main", CALLS])) is not None


def test_housekeeping_leaves_failed_days_and_recent_runs(
    config: Config, instance: DagsterInstance, sandbox: Sandbox
) -> None:
    """A day that failed and was not loaded since stays red; the log of a run of yesterday can still be read."""
    sandbox.faults.add(Fault(kind="error", method="get.calls_report", mnemonic="access_token_blocked"))
    launch(config, instance)
    before = events(instance)
    dict(delete_old_events(instance, datetime.now(UTC) + timedelta(days=2)))
    # Campaigns, which has no days, was loaded; Dagster notes it for each day of the run all the same.
    planned = before["ASSET_MATERIALIZATION_PLANNED"] - 3
    assert events(instance) == before | {"ASSET_MATERIALIZATION_PLANNED": planned}
    dict(delete_old_events(instance, datetime.now(UTC) + KEPT_FAILED + timedelta(days=1)))
    assert events(instance) == {"ASSET_MATERIALIZATION": 1, "ASSET_MATERIALIZATION_PLANNED": planned}
