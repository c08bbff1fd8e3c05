"""Schedules: recent days again and again, because calls change after the fact. On by default.

Dagster's own schedule for partitioned jobs asks for a day once and never again, so these name a range of days.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from dagster import AssetKey, DefaultScheduleStatus, RunRequest, ScheduleDefinition, ScheduleEvaluationContext, schedule
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from comagic_pipeline.assets.describe import asset_key
from comagic_pipeline.config import Source
from comagic_pipeline.partitions import today
from comagic_pipeline.tables import REPORTS, STAR, SUMMARIES

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags that give a run its days, both included."""


def load_schedules(source: Source, job: UnresolvedAssetJobDefinition) -> Sequence[ScheduleDefinition]:
    """Nightly the last `refresh_days` and today with all dictionaries, hourly today, by the clock of the account."""
    costly = {method.table for method in REPORTS if method.needs_site} | SUMMARIES
    cheap = [method.table for method in REPORTS if method.table not in costly]
    of_today = [asset_key(source, name) for name in (*cheap, *STAR) if name in source.chosen_tables]

    @schedule(
        name=f"{job.name}_nightly",
        job=job,
        cron_schedule="30 4 * * *",
        execution_timezone=source.timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description=f"Loads today and the {source.refresh_days} days before it again, for rows change after the fact, "
        "and all dictionaries.",
    )
    def nightly(context: ScheduleEvaluationContext) -> RunRequest:
        now = context.scheduled_execution_time
        return _load(now, today(source, now) - timedelta(days=source.refresh_days), today(source, now))

    @schedule(
        name=f"{job.name}_hourly",
        job=job,
        cron_schedule="10 * * * *",
        execution_timezone=source.timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Loads today again, but for dictionaries and for reports that take a request for each site.",
    )
    def hourly(context: ScheduleEvaluationContext) -> RunRequest:
        now = context.scheduled_execution_time
        return _load(now, today(source, now), today(source, now), of_today)

    def _load(
        now: datetime, first_day: date, last_day: date, selection: Sequence[AssetKey] | None = None
    ) -> RunRequest:
        return RunRequest(
            # The moment makes the key unique: the same days are asked for again at the next tick.
            run_key=now.isoformat(),
            asset_selection=selection,
            tags={RANGE_START: max(first_day, source.start_date).isoformat(), RANGE_END: last_day.isoformat()},
        )

    return (nightly, hourly) if of_today else (nightly,)
