"""Make Dagster show what happened: after a crash, and after the warehouse was moved or restored.

A killed process could not report what it had loaded, and a restored dump lacks later days. The load log in the
warehouse is the truth. Days that the load log lacks are found in `lost_days`.
"""

import logging
import time
from collections.abc import Callable, Collection

from dagster import AssetMaterialization, DagsterInstance, DagsterRunStatus, RunsFilter

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.automation.lost_days import take_back_days, told
from comagic_pipeline.dagster.automation.silent_runs import (
    dead_runs,
    note_silent_runs,
    silent_failures,
)
from comagic_pipeline.operations.ledger import complete_days
from comagic_pipeline.warehouse.engine import Warehouse

_GOING_ON = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_log = logging.getLogger(__name__)


def recover(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """Recover what runs left that were killed or never began, and make Dagster show the days of the ledger, no more."""
    close_silent_runs(config, instance, warehouse)
    show_loaded_days(config, instance, warehouse)
    if lost := take_back_days(config, instance, warehouse):
        _log.warning("Dagster showed days that the warehouse does not have; they are missing again: %s", told(lost))


def close_silent_runs(
    config: Config, instance: DagsterInstance, warehouse: Warehouse, clock: Callable[[], float] = time.time
) -> None:
    """Mark runs whose process is gone as failed, after their days are shown; note what silent runs were to load.

    A dead run would fill the pool of its source until it times out. `clock` gives seconds since 1970.
    """
    now = utc_now()
    dead = dead_runs(instance, warehouse, clock)
    if dead or silent_failures(instance, now):
        # First: a backfill counts the days of a failed run that are not shown as failed.
        show_loaded_days(config, instance, warehouse, dead={run.run_id for run, _ in dead})
    for run, reason in dead:
        instance.report_run_failed(run, reason)
    note_silent_runs(config, instance, warehouse, now)


def show_loaded_days(
    config: Config, instance: DagsterInstance, warehouse: Warehouse, dead: Collection[str] = ()
) -> None:
    """Report the days of the load ledger that Dagster does not show as materialized.

    Only reports, because their days cost points; the star is built again with the next load, free of charge. Days of a
    run that still goes on are left to it; `dead` are ids of runs that do not, though Dagster has them as started.
    """
    going_on = {run.run_id for run in instance.get_runs(RunsFilter(statuses=_GOING_ON))} - set(dead)
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
