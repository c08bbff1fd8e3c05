"""Schedules that load recent days again and again, because rows change after the fact. On by default.

Dagster's own schedule for partitioned jobs requests each day once, so these request a range of days.
"""

from collections.abc import Sequence
from datetime import datetime

from dagster import (
    AssetCheckKey,
    AssetKey,
    DefaultScheduleStatus,
    JobDefinition,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)
from sqlalchemy.exc import SQLAlchemyError

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import Config, ConfigError, Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.config.values import OFF
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks import equals_api
from comagic_pipeline.dagster.checks.equals_api import default_period, reconciled_reports
from comagic_pipeline.dagster.jobs.retention import run_config
from comagic_pipeline.dagster.jobs.source_jobs import SourceJobs
from comagic_pipeline.dagster.private_names import UnresolvedAssetJobDefinition
from comagic_pipeline.dagster.runs import LEAVES_POINTS, RANGE_END, RANGE_START
from comagic_pipeline.operations.api_client import source_key
from comagic_pipeline.operations.connections import connect_warehouse, embedded_folder
from comagic_pipeline.operations.points.plan import known_volumes, nightly_points, plan_load
from comagic_pipeline.operations.points.scheduled_loads import (
    NIGHTLY,
    ScheduledLoad,
    scheduled_loads,
    scheduled_reports,
)
from comagic_pipeline.operations.points.shared_quota import known_points
from comagic_pipeline.warehouse.embedded import EmbeddedServerError, status
from comagic_pipeline.warehouse.engine import WarehouseError

_PRIORITY = "dagster/priority"
"""Run tag: of the runs in the queue the highest number begins first."""


def load_schedules(config: Config, source: Source, jobs: SourceJobs) -> Sequence[ScheduleDefinition]:
    """Return a schedule for each scheduled load of the source's tables, by the clock of the account."""
    return [_schedule(config, source, jobs, jobs.load, load) for load in scheduled_loads(source)]


def report_schedules(config: Config, source: Source, jobs: SourceJobs) -> Sequence[ScheduleDefinition]:
    """Return a schedule for each custom report that has one."""
    loads = scheduled_reports(source).items()
    return [_schedule(config, source, jobs, jobs.reports[report], load) for report, load in loads]


def reconcile_schedules(source: Source, job: UnresolvedAssetJobDefinition) -> Sequence[ScheduleDefinition]:
    """Return the schedule that compares the source with the API, if it has one."""
    chosen = source.reconciliation
    reports = [method.table for method in reconciled_reports(source) if method.table in chosen.tables]
    if chosen.schedule == OFF or not reports:
        return []

    @schedule(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=chosen.schedule,
        execution_timezone=source.timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description=f"Compares the last {chosen.days} days of {', '.join(reports)} with what CoMagic says.",
    )
    def ask(context: ScheduleEvaluationContext) -> RunRequest:
        keys = [AssetCheckKey(asset_key(source, name), equals_api.NAME) for name in reports]
        # It leaves what the nightly load needs to the next one: a comparison can wait.
        first_day, last_day = default_period(source, context.scheduled_execution_time)
        tags = {
            RANGE_START: first_day.isoformat(),
            RANGE_END: last_day.isoformat(),
            LEAVES_POINTS: str(source.day_points.reserve),
            _PRIORITY: "1",
        }
        return RunRequest(run_key=context.scheduled_execution_time.isoformat(), asset_check_keys=keys, tags=tags)

    return [ask]


def retention_schedule(source: Source, job: JobDefinition) -> Sequence[ScheduleDefinition]:
    """Return the schedule of the job that deletes old days; none where it is off."""
    if source.retention.schedule == OFF:
        return []
    return [
        ScheduleDefinition(
            name=f"{job.name}_schedule",
            job=job,
            cron_schedule=source.retention.schedule,
            execution_timezone=source.timezone,
            default_status=DefaultScheduleStatus.RUNNING,
            # A launch by hand is a dry run at first; nobody is there to look at it here.
            run_config=run_config(source, is_dry=False),
            description=f"Deletes the days of {source.name} before the last {source.retention.keep_days}.",
        )
    ]


def _schedule(
    config: Config, source: Source, jobs: SourceJobs, job: UnresolvedAssetJobDefinition, load: ScheduledLoad
) -> ScheduleDefinition:
    is_nightly = load.name == NIGHTLY

    @schedule(
        name=f"{job.name}_{load.name}",
        job=job,
        cron_schedule=load.cron_schedule,
        execution_timezone=source.timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description=load.description,
    )
    def ask(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        now = context.scheduled_execution_time
        leaves, left = (0, None) if is_nightly else _points(config, source, load, now)
        if left is not None and left <= leaves:
            return SkipReason(f"{left} points are left today; the nightly load needs {leaves}")
        first_day, last_day = load.period(source, today(source, now))
        selection: list[AssetKey] | None = None if is_nightly else [asset_key(source, name) for name in load.tables]
        request = RunRequest(
            # The moment makes the key unique: the same days are asked for again at the next tick.
            run_key=now.isoformat(),
            asset_selection=selection,
            tags={
                RANGE_START: first_day.isoformat(),
                RANGE_END: last_day.isoformat(),
                LEAVES_POINTS: str(leaves),
                _PRIORITY: "10" if is_nightly else "5",
            },
        )
        return jobs.with_checks(request)

    return ask


def _points(config: Config, source: Source, load: ScheduledLoad, now: datetime) -> tuple[int, int | None]:
    """Return the points to leave for the nightly load, and those that remain after this load.

    None where nobody can tell: then it is for the run to find out.
    """
    if config.warehouse.url is None and not status(embedded_folder(config)).running:
        return 0, None
    try:
        with connect_warehouse(config) as warehouse:
            day = today(source, now)
            volumes = known_volumes(warehouse, source, *load.period(source, day))
            remaining = known_points(warehouse, source_key(source), utc_now()).allowances["day"].remaining
    except (ConfigError, WarehouseError, EmbeddedServerError, SQLAlchemyError):
        return 0, None
    leaves = nightly_points(source, volumes, day)
    own = plan_load(source, volumes, *load.period(source, day), load.tables).points
    return leaves, None if remaining is None else remaining - own
