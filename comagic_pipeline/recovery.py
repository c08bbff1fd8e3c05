"""After a crash: what Dagster shows is made equal to what happened. A process that was killed could not say so."""

import time
from collections.abc import Callable
from functools import partial

from dagster import AssetMaterialization, DagsterInstance, DagsterRunStatus, RunsFilter
from sqlalchemy import func, select

from comagic_pipeline.assets.customers import user_ids
from comagic_pipeline.assets.describe import asset_key
from comagic_pipeline.catalog import tables
from comagic_pipeline.config import Config
from comagic_pipeline.resources import run_lock
from comagic_pipeline.tables import REPORTS
from comagic_pipeline.warehouse import ops
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.raw import stored_rows

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
    going_on = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]))
    ledger = ops.loaded_days.c
    totals = (func.sum(ledger.rows), func.sum(ledger.points), func.sum(ledger.seconds))
    for source in config.sources:
        with warehouse.connect() as connection:
            customer_users = partial(stored_rows, connection, tables()["customer_users"], source.account_id, 0)
            customers = user_ids(source, partial(customer_users, ("id", "customer_id")))
        for method in (method for method in REPORTS if method.table in source.chosen_tables):
            key = asset_key(source, method.table)
            shown = instance.get_materialized_partitions(key)
            mine = (ledger.account_id == source.account_id) & (ledger.table_name == method.table)
            loaded = (
                select(ledger.day, *totals)
                .where(mine, ledger.day >= source.start_date, ledger.run_id.not_in([run.run_id for run in going_on]))
                .where(ledger.customer_user_id.in_(customers))
                .group_by(ledger.day)
                .having(func.count() == len(customers))
                .order_by(ledger.day)
            )
            with warehouse.connect() as connection:
                days = [row for row in connection.execute(loaded) if row.day.isoformat() not in shown]
            for day, rows, points, seconds in days:
                metadata = {
                    "dagster/partition_row_count": int(rows),
                    "points": float(points),
                    "seconds": float(seconds),
                }
                materialization = AssetMaterialization(key, partition=day.isoformat(), metadata=metadata)
                instance.report_runless_asset_event(materialization)
