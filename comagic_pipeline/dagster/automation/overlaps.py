"""Warn a person who launches a load about days that another run is loading, or is about to load.

Both runs load the days, one after the other, and both spend points. Runs of schedules and sensors get no warning: they
repeat days on purpose. Nothing is prevented here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from sqlalchemy import func, select

from comagic_pipeline.config import Config, Source
from comagic_pipeline.dagster.runs import (
    CONTINUES,
    NOTED,
    UNFINISHED,
    is_by_hand,
    period_of,
    tables_of,
    trigger_of,
)
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import tables as ops

_BACKFILL = "dagster/backfill"
"""The tag of a run of a backfill: which one."""
_NAMED_TABLES = 3
"""How many tables a message names."""


@dataclass(frozen=True)
class Overlap:
    """Days that another run has to load as well: the first and the last of them, and their reports."""

    run: DagsterRun
    first_day: date
    last_day: date
    tables: tuple[str, ...]

    @property
    def message(self) -> str:
        """Return one line that names the days, the other run and what to do."""
        days = f"{self.first_day} to {self.last_day}"
        tables = ", ".join(self.tables[:_NAMED_TABLES])
        if len(self.tables) > _NAMED_TABLES:
            tables += f" and {len(self.tables) - _NAMED_TABLES} more"
        state = "started" if self.run.status is DagsterRunStatus.STARTED else "not started yet"
        return (
            f"{days} of {tables}: run {self.run.run_id} ({trigger_of(self.run)}, {state}) loads them too; both runs "
            "spend points on them, so cancel one of the two to spend them once"
        )


def note_overlaps(config: Config, run: DagsterRun, instance: DagsterInstance, warehouse: Warehouse) -> list[str]:
    """Write the overlaps of a run that a person launched to the journal, and return a line for each of them.

    Call it before the days of the run are registered as waiting for it.
    """
    period, messages = period_of(run), []
    if period is None or not is_by_hand(run):
        return []
    for source in config.sources:
        tables = tables_of(run, source, instance)
        for overlap in overlaps(source, period, tables, instance, warehouse, own_run=run):
            messages.append(overlap.message)
            with warehouse.begin() as connection:
                for table in overlap.tables:
                    ops.record(
                        connection,
                        account_id=source.account_id,
                        run_id=run.run_id,
                        event="warning",
                        table_name=table,
                        period=(overlap.first_day, overlap.last_day),
                        message=overlap.message,
                        trigger=trigger_of(run),
                    )
    return messages


def overlaps(
    source: Source,
    period: tuple[date, date],
    tables: Collection[str],
    instance: DagsterInstance,
    warehouse: Warehouse,
    own_run: DagsterRun | None = None,
) -> list[Overlap]:
    """Return what unfinished runs have to load of these days (both included) and reports, oldest run first.

    Runs of the same backfill as `own_run` are left out, because Dagster gives each its own days.
    """
    reports = source.reports.keys() & set(tables)
    own_backfill = own_run.tags.get(_BACKFILL) if own_run else None
    found = []
    for run in reversed(instance.get_runs(RunsFilter(statuses=list(UNFINISHED)))):
        is_own = own_run is not None and run.run_id == own_run.run_id
        if is_own or (own_backfill and run.tags.get(_BACKFILL) == own_backfill):
            continue
        days = _days_to_load(run, source, period, instance, warehouse)
        if shared := reports & days.keys():
            first_day, last_day = min(days[name][0] for name in shared), max(days[name][1] for name in shared)
            found.append(Overlap(run, first_day, last_day, tuple(sorted(shared))))
    return found


def _days_to_load(
    run: DagsterRun, source: Source, period: tuple[date, date], instance: DagsterInstance, warehouse: Warehouse
) -> dict[str, tuple[date, date]]:
    """Return the first and the last day within `period` that a run has still to load, by table."""
    of_run = period_of(run)
    if of_run is None or of_run[0] > period[1] or of_run[1] < period[0]:
        return {}
    first_day, last_day = max(of_run[0], period[0]), min(of_run[1], period[1])
    tables = tables_of(run, source, instance)
    if NOTED not in run.tags and CONTINUES not in run.tags:
        return dict.fromkeys(tables, (first_day, last_day))
    # The days that wait for the run are those that it has not loaded yet.
    waiting = ops.waiting_days.c
    mine = (waiting.account_id == source.account_id) & waiting.table_name.in_(tables)
    if NOTED in run.tags:
        mine &= waiting.run_id == run.run_id
    query = select(waiting.table_name, func.min(waiting.day), func.max(waiting.day))
    query = query.where(mine, waiting.day.between(first_day, last_day)).group_by(waiting.table_name)
    with warehouse.connect() as connection:
        return {table: (first, last) for table, first, last in connection.execute(query)}
