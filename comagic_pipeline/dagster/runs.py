"""What a run is to load, by its tags (days) and its execution plan (tables), and how it is registered.

Dagster records the plan of every run, whoever creates it: the UI, a schedule, a sensor, a backfill or a command. The
asset selection is not used, because a run that a command executes in its own process has none.
"""

from datetime import date, datetime

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from comagic_pipeline.config import Config, Source
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.pending_days import expect, take_over
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.tables import kinds_of

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags that give a run its days, both included."""
PARTITION = "dagster/partition"
"""The tag of a run of one day."""
CONTINUES, WAITED_FOR = "comagic/continues", "comagic/waited_for"
"""Tags of a run that goes on with what others left: of which source, and what it had waited for."""

LEAVES_POINTS = "comagic/leaves_points"
"""The tag of a run that must leave so many of the day's points, other than the source's reserve."""

ACCEPTS_LOSS = "comagic/accept_loss"
"""The tag of a run that may remove any share of the stored rows."""
NOTED = "comagic/days_noted"
"""The tag of a run whose days were noted as waiting."""

COMMAND = "comagic/command"
"""The tag of a run that a command of ours began: which one."""
ASKED_AT = "comagic/asked_at"
"""The tag of a run that a person waits for: when it was asked for (ISO 8601)."""
_TRIGGERS = {
    "dagster/schedule_name": "schedule",
    "dagster/sensor_name": "sensor",
    "dagster/backfill": "backfill",
    COMMAND: "command",
}

_AUTOMATIC = ("dagster/schedule_name", "dagster/sensor_name", CONTINUES)
"""Tags of runs that nobody launches by hand."""

UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.MANAGED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
"""The statuses of a run that goes on, or will."""


def load_job_name(source: Source) -> str:
    """Return the name of the job that loads the tables of a source."""
    return f"load_{source.name}"


def report_job_name(source: Source, report: CustomReport) -> str:
    """Return the name of the job of a custom report: two underscores tell where the name of the source ends."""
    return f"report_{source.name}__{report.asset_name}"


def reconcile_job_name(source: Source) -> str:
    """Return the name of the job that compares a source with the API."""
    return f"reconcile_{source.name}"


def table_step(source: Source, table: str) -> str:
    """Return the name of the step that loads a raw table or a custom report of a source."""
    return f"{source.name}_{table}"


def star_step(source: Source, kind: Kind) -> str:
    """Return the name of the step that builds the star tables of a kind of facts."""
    return f"{source.name}_star_{kind.name}"


def trigger_of(run: DagsterRun) -> str:
    """Return what began a run, for the journal.

    "schedule load_main_nightly", "backfill k2j4n7", "person" and the like.
    """
    return next((f"{kind} {run.tags[tag]}" for tag, kind in _TRIGGERS.items() if tag in run.tags), "person")


def is_by_hand(run: DagsterRun) -> bool:
    """Return whether a person launched a run: in the UI, by a backfill or by a command."""
    return COMMAND in run.tags or not any(tag in run.tags for tag in _AUTOMATIC)


def period_of(run: DagsterRun) -> tuple[date, date] | None:
    """Return the first and the last day that a run is asked for; None when it is about no days."""
    first_day = run.tags.get(RANGE_START) or run.tags.get(PARTITION)
    last_day = run.tags.get(RANGE_END) or run.tags.get(PARTITION)
    return (date.fromisoformat(first_day), date.fromisoformat(last_day)) if first_day and last_day else None


def steps_of(run: DagsterRun, instance: DagsterInstance) -> frozenset[str]:
    """Return the steps of a run's execution plan; none for a run that has no plan."""
    if run.execution_plan_snapshot_id is None:
        return frozenset()
    return frozenset(instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id).step_keys_to_execute)


def tables_of(run: DagsterRun, source: Source, instance: DagsterInstance) -> set[str]:
    """Return the tables of a source whose days a run is to load: reports, and the facts of kinds of the star."""
    steps = steps_of(run, instance)
    facts = {kind.facts.name for kind in kinds_of(source.chosen_tables) if star_step(source, kind) in steps}
    return {name for name in source.reports if table_step(source, name) in steps} | facts


def reserve_of(run: DagsterRun, source: Source) -> int:
    """Return the points of the day that a run must leave: for scheduled loads, who may have what the others leave."""
    if LEAVES_POINTS in run.tags:
        return int(run.tags[LEAVES_POINTS])
    return 0 if "dagster/schedule_name" in run.tags else source.day_points.reserve


def asked_at(run: DagsterRun) -> datetime | None:
    """Return when a command began the run; None for one that a schedule, a sensor or the UI launched."""
    return datetime.fromisoformat(run.tags[ASKED_AT]) if ASKED_AT in run.tags else None


def note_what_is_asked(
    config: Config, run: DagsterRun, instance: DagsterInstance, warehouse: Warehouse, now: datetime
) -> None:
    """Note the days of a run as waiting for it; a run that continues has only those that wait already."""
    period = period_of(run)
    if period is None:
        return
    with warehouse.begin() as connection:
        for source in config.sources:
            if not (tables := tables_of(run, source, instance)):
                continue
            if CONTINUES in run.tags:
                take_over(connection, source.account_id, tables, *period, run.run_id)
            else:
                expect(connection, source.account_id, tables, *period, run.run_id, now)
    instance.add_run_tags(run.run_id, {NOTED: "yes"})
