"""Marks of the load log, unproven and refused days, and the check that shows them day by day."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import AssetCheckEvaluation, AssetCheckKey, AssetCheckSeverity, AssetKey, DagsterEventType, DagsterInstance

from comagic_pipeline.catalog import tables
from comagic_pipeline.config import Config
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.load import DayLoad
from comagic_pipeline.warehouse.ops.doubtful_days import (
    DoubtfulDay,
    clear_marks,
    doubtful_days,
    mark_refused,
    mark_unproven,
)
from comagic_pipeline.warehouse.raw.target import RawTarget
from comagic_pipeline.warehouse.target import Account
from comagic_pipeline_tests.integration.runs import run_load

CALLS = "calls_report"
FIRST, SECOND, THIRD = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def load_empty(warehouse: Warehouse, account: Account, unproven: dict[date, int] | None = None) -> None:
    """Load three days without rows."""
    with DayLoad(warehouse, RawTarget(tables()[CALLS]), account, "run") as load:
        load.write(FIRST, THIRD, (), ())
        load.complete(FIRST, THIRD, 1, (), unproven)


def test_a_mark_is_there_until_the_day_is_loaded_proven(warehouse: Warehouse) -> None:
    """Both marks with their numbers; those of other tables, accounts and days are not touched."""
    account, other = Account(1), Account(2)
    for each in (account, other):
        load_empty(warehouse, each)
    with warehouse.begin() as connection:
        mark_unproven(connection, account, CALLS, {FIRST: 7, THIRD: 0})
        mark_refused(connection, account, CALLS, {THIRD: 5}, NOW)
        mark_refused(connection, account, "chats_report", {THIRD: 5}, NOW)
        first, third = DoubtfulDay(FIRST, 0, 7, None, None), DoubtfulDay(THIRD, 0, 0, 5, NOW)
        assert doubtful_days(connection, 1, CALLS) == [first, third]
        assert doubtful_days(connection, 1, CALLS, SECOND, THIRD) == [third]
        assert doubtful_days(connection, 2, CALLS) == []
        clear_marks(connection, account, CALLS, THIRD, THIRD)
        assert doubtful_days(connection, 1, CALLS) == [first]
        mark_refused(connection, account, CALLS, {FIRST: 5}, NOW)
    load_empty(warehouse, account, {SECOND: 3})
    with warehouse.connect() as connection:
        assert doubtful_days(connection, 1, CALLS) == [DoubtfulDay(SECOND, 0, 3, None, None)]


def test_a_day_of_several_customers_is_one_day(warehouse: Warehouse) -> None:
    """Numbers are added up; a customer whose rows are proven counts with them."""
    for customer in (5, 6):
        load_empty(warehouse, Account(1, customer))
    with warehouse.begin() as connection:
        mark_unproven(connection, Account(1, 5), CALLS, {FIRST: 7})
        assert doubtful_days(connection, 1, CALLS) == [DoubtfulDay(FIRST, 0, 7, None, None)]


@pytest.fixture
def config(project: Callable[..., Config]) -> Iterator[Config]:
    """A source of calls, 20 a day."""
    world = World(calls_per_day=20, now=lambda: NOW)
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox:
        yield project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}", tables="[calls_report]")


def results(instance: DagsterInstance, run_id: str) -> dict[str | None, AssetCheckEvaluation]:
    """What a run stored of the check, by day."""
    events = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION).records
    found = [
        each.event_log_entry.dagster_event.asset_check_evaluation_data
        for each in events
        if each.event_log_entry.dagster_event
    ]
    return {each.partition: each for each in found if each.check_name == "no_doubtful_days"}


def test_the_check_tells_of_each_day(config: Config, warehouse: Warehouse) -> None:
    """Green after a proven load; yellow for an unproven and red for a refused day, each with both numbers."""
    with DagsterInstance.ephemeral() as instance:
        loaded = run_load(config, instance, FIRST, THIRD)
        found = results(instance, loaded.run_id)
        assert {day: each.passed for day, each in found.items()} == {str(day): True for day in (FIRST, SECOND, THIRD)}
        assert all(each.target_materialization_data for each in found.values())
        with warehouse.begin() as connection:
            mark_unproven(connection, Account(1), CALLS, {FIRST: 99})
            mark_refused(connection, Account(1), CALLS, {SECOND: 0}, NOW)
            rows = {each.day: each.rows for each in doubtful_days(connection, 1, CALLS)}
        key = AssetCheckKey(AssetKey(["main", CALLS]), "no_doubtful_days")
        job = build_definitions(config).resolve_implicit_global_asset_job_def()
        result = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}, instance=instance
        )
        found = results(instance, result.run_id)
        assert found.keys() == {str(FIRST), str(SECOND)}
        unproven, refused = found[str(FIRST)], found[str(SECOND)]
        assert (unproven.passed, unproven.severity) == (False, AssetCheckSeverity.WARN)
        assert (refused.passed, refused.severity) == (False, AssetCheckSeverity.ERROR)
        assert f"{FIRST} has {rows[FIRST]} rows and the API counts 99" in str(unproven.description)
        assert f"{SECOND} keeps its {rows[SECOND]} rows: the latest answer has 0" in str(refused.description)
        assert unproven.metadata["api_rows"].value == 99
        assert refused.metadata["refused_rows"].value == 0
        loaded = run_load(config, instance, FIRST, SECOND)
        assert all(each.passed for each in results(instance, loaded.run_id).values())
        shown = instance.event_log_storage.get_asset_check_partition_info([key])
        # A run without days leaves a planned result without a day.
        status = {each.partition_key: str(each.latest_execution_status) for each in shown if each.partition_key}
        assert status.keys() == {str(FIRST + timedelta(days=number)) for number in range(3)}
        assert len(set(status.values())) == 1
