"""What a run is asked to load, noted when it begins: days of tables wait until they are loaded, whatever ends the run.

The tags of a run and its choice of assets say what that is, whoever launched it: a schedule, a person in the UI, `load`
or the sensor that goes on with what is left.
"""

from datetime import date, datetime

from dagster import DagsterRun

from comagic_pipeline.config import Config, Source
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.tables import kinds_of
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.waiting import expect, take_over

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags that give a run its days, both included."""
PARTITION = "dagster/partition"
"""The tag of a run of one day."""
CONTINUES, WAITED_FOR = "comagic/continues", "comagic/waited_for"
"""Tags of a run that goes on with what others left: of which source, and what it had waited for."""

LEAVES_POINTS = "comagic/leaves_points"
"""The tag of a run that must leave so many of the day's points, other than the source's reserve."""

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


def load_job_name(source: Source) -> str:
    """The name of the job that loads the tables of a source."""
    return f"load_{source.name}"


def report_job_name(source: Source, report: CustomReport) -> str:
    """The name of the job of a custom report: two underscores tell where the name of the source ends."""
    return f"report_{source.name}__{report.asset_name}"


def reconcile_job_name(source: Source) -> str:
    """The name of the job that compares a source with the API."""
    return f"reconcile_{source.name}"


def trigger_of(run: DagsterRun) -> str:
    """What began a run, for the journal: "schedule load_main_nightly", "backfill k2j4n7", "person" and the like."""
    return next((f"{kind} {run.tags[tag]}" for tag, kind in _TRIGGERS.items() if tag in run.tags), "person")


def period_of(run: DagsterRun) -> tuple[date, date] | None:
    """The first and the last day that a run is asked for; None when it is about no days."""
    first_day = run.tags.get(RANGE_START) or run.tags.get(PARTITION)
    last_day = run.tags.get(RANGE_END) or run.tags.get(PARTITION)
    return (date.fromisoformat(first_day), date.fromisoformat(last_day)) if first_day and last_day else None


def tables_of(run: DagsterRun, source: Source) -> set[str]:
    """The tables of a source whose days a run is asked for: reports, and of kinds of the star their facts."""
    if run.asset_selection:
        names = {key.path[-1] for key in run.asset_selection if key.path[0] == source.name}
    elif run.job_name == load_job_name(source):
        names = set(source.chosen_tables)
    else:
        names = {each.asset_name for each in source.custom_reports if run.job_name == report_job_name(source, each)}
    facts = {kind.facts.name for kind in kinds_of(names)}
    return (source.reports.keys() & names) | facts


def reserve_of(run: DagsterRun, source: Source) -> int:
    """The points of the day that a run must leave: for scheduled loads, who may have what the others leave."""
    if LEAVES_POINTS in run.tags:
        return int(run.tags[LEAVES_POINTS])
    return 0 if "dagster/schedule_name" in run.tags else source.day_points.reserve


def asked_at(run: DagsterRun) -> datetime | None:
    """When a command began the run; None for one that a schedule, a sensor or the UI launched."""
    return datetime.fromisoformat(run.tags[ASKED_AT]) if ASKED_AT in run.tags else None


def note_what_is_asked(config: Config, run: DagsterRun, warehouse: Warehouse, now: datetime) -> None:
    """Note the days of a run as waiting for it; a run that continues has only those that wait already."""
    period = period_of(run)
    if period is None:
        return
    with warehouse.begin() as connection:
        for source in config.sources:
            if not (tables := tables_of(run, source)):
                continue
            if CONTINUES in run.tags:
                take_over(connection, source.account_id, tables, *period, run.run_id)
            else:
                expect(connection, source.account_id, tables, *period, run.run_id, now)
