"""The job `retain_<source>`: what is older than `retention.keep_days` is deleted, and shown as missing again.

Which rows are old, and how they go, is in `warehouse.retention`; here is what Dagster has to do with it.
"""

import time
from collections import Counter
from contextlib import nullcontext

from dagster import Config as RunConfig
from dagster import JobDefinition, MetadataValue, OpExecutionContext, job, op
from pydantic import Field

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.assets.describe import asset_key
from comagic_pipeline.assets.journal import Entry, journaled
from comagic_pipeline.config import Source
from comagic_pipeline.partitions import today
from comagic_pipeline.resources import WarehouseResource
from comagic_pipeline.shown_days import forget_days_before
from comagic_pipeline.tables import REPORTS, STAR
from comagic_pipeline.warehouse.changes import Changes
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.previous_rows import purge_removed
from comagic_pipeline.warehouse.retention import count_outdated, delete_outdated

TABLE = "retention"
"""What the journal calls it."""
ROWS = "rows_by_table"
"""Metadata of a run: the rows of each table that were deleted, or would be."""


class RetentionRun(RunConfig):
    """What the Launchpad asks for."""

    dry_run: bool = Field(default=False, description="Only count what would be deleted.")


def retention_job_name(source: Source) -> str:
    """The name of the job that deletes what a source keeps no longer."""
    return f"retain_{source.name}"


def retention_op_name(source: Source) -> str:
    """The name of its only step, for the run's configuration."""
    return f"delete_old_days_of_{source.name}"


def retention_job(source: Source) -> JobDefinition:
    """The job of a source that has `keep_days`."""

    @op(name=retention_op_name(source))
    def delete_old_days(context: OpExecutionContext, config: RetentionRun, warehouse: WarehouseResource) -> None:
        started, rows, opened = time.monotonic(), Counter[str](), warehouse.get()
        # What is only counted leaves no line.
        with nullcontext(Entry()) if config.dry_run else journaled(context, opened, source, TABLE) as entry:
            try:
                dropped = _retain(context, source, opened, rows, is_dry=config.dry_run)
            finally:
                # Months that were deleted stay so: the next run goes on.
                entry.changes = Changes(deleted=rows.total())
        context.add_output_metadata(
            {
                "dry_run": config.dry_run,
                "rows": rows.total(),
                "dropped_partitions": dropped,
                "seconds": round(time.monotonic() - started, 3),
                ROWS: MetadataValue.json(dict(rows)),
            }
        )

    @job(
        name=retention_job_name(source),
        description=f"Deletes the days of {source.name} before the last {source.retention.keep_days} in "
        f"{', '.join(source.retention.layers)}. With dry_run in the Launchpad it only counts them.",
    )
    def retain() -> None:
        delete_old_days()

    return retain


def _retain(
    context: OpExecutionContext, source: Source, warehouse: Warehouse, rows: Counter[str], *, is_dry: bool
) -> int:
    """Delete or count, layer by layer; adds the rows up by table and gives the number of dropped partitions."""
    dropped, now = 0, today(source, utc_now())
    if not is_dry:
        with warehouse.begin() as connection:
            purge_removed(connection, source.account_id, source.keep_deleted_days, utc_now())
    work = count_outdated if is_dry else delete_outdated
    for layer in source.retention.layers:
        horizon = source.horizon(layer, now)
        assert horizon is not None  # noqa: S101 - the job is there where days are kept
        for month in work(warehouse, source.account_id, layer, horizon):
            rows.update(month.rows)
            dropped += len(month.dropped)
            done = "would go" if is_dry else "are gone"
            went = f", as partitions: {', '.join(month.dropped)}" if month.dropped else ""
            period = f"{month.period[0]} to {month.period[1]}"
            context.log.info(f"{layer}, {period}: {month.total} rows of {', '.join(month.rows)} {done}{went}")
        if not is_dry:
            # Also when no row went: a run that was killed had not come here.
            for name in _assets(source, layer):
                forget_days_before(context.instance, asset_key(source, name), horizon)
    return dropped


def _assets(source: Source, layer: str) -> list[str]:
    chosen = {
        "raw": [method.table for method in REPORTS],
        "star": [*STAR],
        "custom_reports": [report.asset_name for report in source.custom_reports],
    }[layer]
    return [name for name in chosen if layer == "custom_reports" or name in source.chosen_tables]
