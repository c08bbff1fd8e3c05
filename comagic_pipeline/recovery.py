"""After a crash: what Dagster shows is made equal to what happened. A process that was killed could not say so."""

import time
from collections.abc import Callable

from dagster import AssetMaterialization, DagsterInstance, DagsterRunStatus, RunsFilter

from comagic_pipeline.assets.describe import asset_key
from comagic_pipeline.config import Config
from comagic_pipeline.ledger import complete_days
from comagic_pipeline.resources import run_lock
from comagic_pipeline.warehouse.engine import Warehouse

_GOING_ON = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_STARTING_SECONDS = 30.0
"""A run that began so recently may not have come to take its lock."""


def recover(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """Mark dead runs as failed and show the days that they had committed."""
    close_dead_runs(instance, warehouse)
    show_loaded_days(config, instance, warehouse)


def close_dead_runs(instance: DagsterInstance, warehouse: Warehouse, clock: Callable[[], float] = time.time) -> None:
    """Mark runs whose process is gone as failed: they would fill the pool of their source until they time out."""
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        has_begun = record.start_time is not None and clock() - record.start_time > _STARTING_SECONDS
        if has_begun and not warehouse.is_held(run_lock(record.dagster_run.run_id)):
            message = "the process of this run is gone; what it committed stays"
            instance.report_run_failed(record.dagster_run, message)


def show_loaded_days(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """Report the days of the load ledger that Dagster does not show as materialized.

    Only reports, for their days cost points; the star is built again with the next load, free of charge. Days of a run
    that still goes on are left to it, and so are those that an agent's source has of some of its customers only.
    """
    going_on = {run.run_id for run in instance.get_runs(RunsFilter(statuses=_GOING_ON))}
    for source in config.sources:
        with warehouse.connect() as connection:
            loaded = complete_days(source, connection)
        for table, days in loaded.items():
            key = asset_key(source, table)
            shown = instance.get_materialized_partitions(key)
            for day, line in sorted(days.items()):
                if day.isoformat() in shown or not going_on.isdisjoint(line.run_ids):
                    continue
                metadata = {
                    "dagster/partition_row_count": int(line.rows),
                    "points": float(line.points),
                    "seconds": float(line.seconds),
                }
                materialization = AssetMaterialization(key, partition=day.isoformat(), metadata=metadata)
                instance.report_runless_asset_event(materialization)
