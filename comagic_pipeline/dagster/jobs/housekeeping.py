"""The job `housekeeping`: delete old events from Dagster's storage every night."""

from dagster import (
    DefaultScheduleStatus,
    JobDefinition,
    OpExecutionContext,
    ScheduleDefinition,
    job,
    op,
)

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.jobs.old_events import KEPT, KEPT_FAILED, delete_old_events

JOB = "housekeeping"
_AFTER_THE_NIGHTLY_LOADS = "50 4 * * *"


def housekeeping_job() -> JobDefinition:
    """Return the job; it is about all sources."""

    @op(name="delete_old_events")
    def delete_events(context: OpExecutionContext) -> None:
        deleted: dict[str, int] = {}
        for name, rows in delete_old_events(context.instance, utc_now()):
            deleted[name] = rows
            context.log.info(f"{rows} {name} are gone")
        context.add_output_metadata(deleted)

    @job(
        name=JOB,
        description=f"Deletes events of successful runs that ended more than {KEPT.days} days ago, and of failed ones "
        f"after {KEPT_FAILED.days} days. The latest materialization of each day and the latest result of each check "
        "stay: the UI shows the same days and checks as before.",
    )
    def housekeeping() -> None:
        delete_events()

    return housekeeping


def housekeeping_schedule(config: Config, job: JobDefinition) -> ScheduleDefinition:
    """Return its schedule, by the clock of the first source."""
    return ScheduleDefinition(
        name=f"{JOB}_schedule",
        job=job,
        cron_schedule=_AFTER_THE_NIGHTLY_LOADS,
        execution_timezone=config.sources[0].timezone,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Keeps the storage of Dagster small.",
    )
