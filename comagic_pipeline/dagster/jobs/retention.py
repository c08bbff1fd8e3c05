"""The job `retain_<source>`: delete days older than `retention.keep_days`, and show them as missing.

Which rows are old, and the SQL that deletes them, is in `warehouse/retention`.
"""

import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dagster import Config as RunConfig
from dagster import Failure, JobDefinition, MetadataValue, OpExecutionContext, job, op
from pydantic import Field

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.catalog.table_names import REPORTS, STAR
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.loads.journal import Entry, journaled
from comagic_pipeline.dagster.resources import WarehouseResource
from comagic_pipeline.dagster.wipe_partitions import forget_days_before
from comagic_pipeline.warehouse.changes import Changes
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.previous_rows import purge_removed
from comagic_pipeline.warehouse.retention.days import MonthsLeftError, count_outdated, delete_outdated

TABLE = "retention"
"""What the journal calls it."""
ROWS = "rows_by_table"
"""Metadata of a run: the rows of each table that were deleted, or would be."""
LEFT = "left"
"""Metadata of a run: a sentence for each month that has to stay, because something of other people depends on it."""


class RetentionRun(RunConfig):
    """What the Launchpad asks for."""

    dry_run: bool = Field(default=True, description="True: only count what would be deleted. False: delete it.")


def retention_job_name(source: Source) -> str:
    """Return the name of the job that deletes what a source keeps no longer."""
    return f"retain_{source.name}"


def retention_op_name(source: Source) -> str:
    """Return the name of its only step, for the run's configuration."""
    return f"delete_old_days_of_{source.name}"


def run_config(source: Source, *, is_dry: bool) -> dict[str, Any]:
    """Return the run configuration that deletes, or only counts: without it a run only counts."""
    return {"ops": {retention_op_name(source): {"config": {"dry_run": is_dry}}}}


def retention_job(source: Source) -> JobDefinition:
    """Return the job of a source that has `keep_days`."""

    @op(name=retention_op_name(source))
    def delete_old_days(context: OpExecutionContext, config: RetentionRun, warehouse: WarehouseResource) -> None:
        started, opened, summary = time.monotonic(), warehouse.get(), _Summary()
        try:
            # What is only counted leaves no line.
            with nullcontext(Entry()) if config.dry_run else journaled(context, opened, source, TABLE) as entry:
                try:
                    _retain(context, source, opened, summary, is_dry=config.dry_run)
                finally:
                    # Months that were deleted stay so: the next run goes on.
                    entry.changes = Changes(deleted=summary.rows.total())
                    entry.metadata = summary.metadata(time.monotonic() - started, is_dry=config.dry_run)
                if summary.left:
                    raise MonthsLeftError(summary.left)
        except MonthsLeftError as error:
            raise Failure(str(error), metadata=entry.metadata, allow_retries=False) from None
        context.add_output_metadata(entry.metadata)

    @job(
        name=retention_job_name(source),
        description=f"Deletes the days of {source.name} before the last {source.retention.keep_days} in "
        f"{', '.join(source.retention.layers)}. Launched by hand it only counts them, unless the Launchpad has "
        "dry_run: false.",
    )
    def retain() -> None:
        delete_old_days()

    return retain


@dataclass
class _Summary:
    """What was done: rows by table, the number of dropped partitions, a sentence for each month that had to stay."""

    rows: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    left: list[str] = field(default_factory=list)

    def metadata(self, seconds: float, *, is_dry: bool) -> dict[str, Any]:
        """For the UI and the command."""
        return {
            "dry_run": is_dry,
            "rows": self.rows.total(),
            "dropped_partitions": self.dropped,
            "seconds": round(seconds, 3),
            ROWS: MetadataValue.json(dict(self.rows)),
            LEFT: MetadataValue.json(list(self.left)),
        }


def _retain(
    context: OpExecutionContext, source: Source, warehouse: Warehouse, summary: _Summary, *, is_dry: bool
) -> None:
    """Delete or count, layer by layer, and fill in the summary."""
    now = today(source, utc_now())
    if not is_dry:
        with warehouse.begin() as connection:
            purge_removed(connection, source.account_id, source.keep_deleted_days, utc_now())
    work = count_outdated if is_dry else delete_outdated
    for layer in source.retention.layers:
        horizon = source.horizon(layer, now)
        assert horizon is not None  # noqa: S101 - the job is there where days are kept
        kept: dict[str, list[tuple[date, date]]] = defaultdict(list)
        for month in work(warehouse, source.account_id, layer, horizon):
            summary.rows.update(month.rows)
            summary.dropped += len(month.dropped)
            period = f"{month.period[0]} to {month.period[1]}"
            if month.obstacles:
                for name in month.names:
                    kept[name].append(month.period)
                summary.left.append(f"{period} of {', '.join(month.names)} stay: {'; '.join(month.obstacles)}.")
                context.log.warning(summary.left[-1])
                continue
            done = "would go" if is_dry else "are gone"
            went = f", as partitions: {', '.join(month.dropped)}" if month.dropped else ""
            context.log.info(f"{layer}, {period}: {month.total} rows of {', '.join(month.rows)} {done}{went}")
        if not is_dry:
            # Also when no row went: a run that was killed had not come here.
            for name in _assets(source, layer):
                forget_days_before(context.instance, asset_key(source, name), horizon, kept[name])


def _assets(source: Source, layer: str) -> list[str]:
    chosen = {
        "raw": [method.table for method in REPORTS],
        "star": [*STAR],
        "custom_reports": [report.asset_name for report in source.custom_reports],
    }[layer]
    return [name for name in chosen if layer == "custom_reports" or name in source.chosen_tables]
