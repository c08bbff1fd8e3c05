"""After a run was killed, Dagster shows the days that it had committed, and no longer that it goes on."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from dagster import AssetKey, DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import insert

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.recovery import close_silent_runs, show_loaded_days
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.resources import run_lock
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import tables as ops

CALLS = AssetKey(["main", "calls_report"])


@pytest.fixture
def config(project: Callable[..., Config]) -> Config:
    """A source whose history begins on the second of January."""
    return project(base_url="sandbox", token="x", start_date="2026-01-02")


@pytest.fixture
def instance(config: Config) -> Iterator[DagsterInstance]:
    """The Dagster instance as the commands open it."""
    with open_instance(config) as instance:
        yield instance


def load(
    warehouse: Warehouse, *days: int, run_id: str = "killed", account_id: int = 1, customer_user_id: int = 0
) -> None:
    """Write days of January into the ledger, as a load does; a day has as many rows as its number."""
    values: dict[str, Any] = {"account_id": account_id, "customer_user_id": customer_user_id}
    values |= {"table_name": "calls_report", "run_id": run_id}
    values |= {"points": Decimal("0.25"), "seconds": 1.5, "loaded_at": datetime(2026, 2, 1, tzinfo=UTC)}
    with warehouse.begin() as connection:
        for day in days:
            connection.execute(insert(ops.loaded_days).values(values | {"day": date(2026, 1, day), "rows": day}))


def shown(instance: DagsterInstance) -> list[tuple[str | None, Any]]:
    """The days that Dagster shows as materialized, with their rows; a day is there as often as it was reported."""
    records = instance.fetch_materializations(CALLS, limit=10, ascending=True).records
    events = [record.asset_materialization for record in records if record.asset_materialization]
    return [(event.partition, event.metadata["dagster/partition_row_count"].value) for event in events]


def begin_run(instance: DagsterInstance) -> DagsterRun:
    """A run that has started and that nobody works on."""
    run: DagsterRun = create_run_for_test(instance, job_name="load_main")
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, "load_main"), run.run_id)
    return run


def test_days_of_a_killed_run_are_shown_once(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """Days of the ledger become materializations with the ledger's numbers; a second time there is nothing to do."""
    load(warehouse, 2, 3, 5)
    show_loaded_days(config, instance, warehouse)
    show_loaded_days(config, instance, warehouse)
    assert shown(instance) == [("2026-01-02", 2), ("2026-01-03", 3), ("2026-01-05", 5)]
    load(warehouse, 4)
    show_loaded_days(config, instance, warehouse)
    assert shown(instance)[3:] == [("2026-01-04", 4)]


def test_days_of_some_customers_are_not_shown(
    project: Callable[..., Config], instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Days that failed for one customer of an agent, perhaps ever since, were shown as done after the next start."""
    agent = project(base_url="https://dataapi.comagic.ru/v2.0", token="${COMAGIC_TOKEN}", user_ids="[7, 8]")
    load(warehouse, 2, 3, customer_user_id=7)
    show_loaded_days(agent, instance, warehouse)
    assert shown(instance) == []
    load(warehouse, 3, 4, customer_user_id=8)
    show_loaded_days(agent, instance, warehouse)
    assert shown(instance) == [("2026-01-03", 6)]


def test_what_is_not_of_the_source_is_not_shown(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Days before the start date are no partitions, days of another account are not this source's."""
    load(warehouse, 1)
    load(warehouse, 2, account_id=2)
    show_loaded_days(config, instance, warehouse)
    assert shown(instance) == []


def test_a_run_that_goes_on_reports_its_own_days(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Its days are shown when it has failed without a word, and not before: they would be there twice."""
    run = begin_run(instance)
    load(warehouse, 2, run_id=run.run_id)
    show_loaded_days(config, instance, warehouse)
    assert shown(instance) == []
    instance.report_run_failed(run)
    show_loaded_days(config, instance, warehouse)
    assert shown(instance) == [("2026-01-02", 2)]


def test_runs_without_a_process_are_closed(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """A started run that holds no lock is marked as failed; one that does, or that began just now, is left alone."""
    dead, alive = begin_run(instance), begin_run(instance)
    close_silent_runs(config, instance, warehouse)
    assert {run.status for run in instance.get_runs()} == {DagsterRunStatus.STARTED}
    with warehouse.holding(run_lock(alive.run_id)):
        close_silent_runs(config, instance, warehouse, clock=lambda: time.time() + 60)
    states = {run.run_id: run.status for run in instance.get_runs()}
    assert states == {dead.run_id: DagsterRunStatus.FAILURE, alive.run_id: DagsterRunStatus.STARTED}
