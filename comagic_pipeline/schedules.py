"""Schedules: recent days again and again, because calls change after the fact. On by default.

Dagster's own schedule for partitioned jobs asks for a day once and never again, so these name a range of days.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from dagster import DefaultScheduleStatus, RunRequest, ScheduleDefinition, ScheduleEvaluationContext, schedule
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from comagic_pipeline.config import Source
from comagic_pipeline.partitions import today

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags that give a run its days, both included."""


def load_schedules(source: Source, job: UnresolvedAssetJobDefinition) -> Sequence[ScheduleDefinition]:
    """Nightly the last `refresh_days` and today, hourly today, by the clock of the account."""

    @schedule(
        name=f"{job.name}_nightly",
        job=job,
        cron_schedule="30 4 * * *",
        execution_timezone=source.timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description=f"Loads today and the {source.refresh_days} days before it again: their calls may have changed.",
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
        description="Loads today again. Calls appear when they end.",
    )
    def hourly(context: ScheduleEvaluationContext) -> RunRequest:
        now = context.scheduled_execution_time
        return _load(now, today(source, now), today(source, now))

    def _load(now: datetime, first_day: date, last_day: date) -> RunRequest:
        return RunRequest(
            # The moment makes the key unique: the same days are asked for again at the next tick.
            run_key=now.isoformat(),
            tags={RANGE_START: max(first_day, source.start_date).isoformat(), RANGE_END: last_day.isoformat()},
        )

    return nightly, hourly
