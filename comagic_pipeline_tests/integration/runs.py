"""Runs of a source's load job: executed in this process, or only created."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from dagster import AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, ExecuteInProcessResult

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions


def run_load(
    config: Config,
    instance: DagsterInstance,
    first_day: date,
    last_day: date,
    *tables: str,
    source: str = "main",
    job: str | None = None,
) -> ExecuteInProcessResult:
    """Run the job of a source, or another one, for days, both included, for all of its tables or some."""
    return (
        build_definitions(config)
        .resolve_job_def(job or f"load_{source}")
        .execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=instance,
            asset_selection=[AssetKey([source, table]) for table in tables] or None,
            tags={RANGE_START: str(first_day), RANGE_END: str(last_day)},
            raise_on_error=False,
        )
    )


def create_run(
    config: Config,
    instance: DagsterInstance,
    first_day: date,
    last_day: date,
    *tables: str,
    tags: Mapping[str, str],
    status: DagsterRunStatus = DagsterRunStatus.STARTING,
) -> DagsterRun:
    """Create a run of the load job for days, both included, of tables or of all, as the daemon does; nothing runs."""
    job = build_definitions(config).resolve_job_def("load_main")
    if tables:
        job = job.get_subset(asset_selection={AssetKey(["main", table]) for table in tables})
    days = {RANGE_START: str(first_day), RANGE_END: str(last_day)}
    return instance.create_run_for_job(job_def=job, status=status, tags={**tags, **days})


def failures(result: ExecuteInProcessResult) -> list[str]:
    """What failed steps told a person."""
    told: list[Any] = [event.step_failure_data.user_failure_data for event in result.get_step_failure_events()]
    return [data.description for data in told if data]


def materialized(instance: DagsterInstance, table: str, source: str = "main") -> set[date]:
    """The days of a table that Dagster shows as done."""
    partitions = instance.get_materialized_partitions(AssetKey([source, table]))
    return {date.fromisoformat(partition) for partition in partitions}
