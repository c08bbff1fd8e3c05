"""Register runs that cannot report themselves: queued, never started, killed or timed out.

A run registers its days as pending when it opens the warehouse, and writes to the journal when a load ends. For runs
that did not get so far, both are derived here from Dagster's run records. The continuation sensor calls this every 30
seconds, and every command that loads does too. What happens to pending days is decided in `continuation`. Runs that a
person cancelled are left alone.
"""

import time
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from itertools import product

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter
from sqlalchemy import Connection, func, select

from comagic_pipeline.config import Config, Source
from comagic_pipeline.dagster.resources import run_lock
from comagic_pipeline.dagster.runs import (
    CONTINUES,
    NOTED,
    note_what_is_asked,
    period_of,
    tables_of,
    trigger_of,
)
from comagic_pipeline.operations.next_steps import BY_ITSELF
from comagic_pipeline.warehouse.engine import Warehouse, try_lock
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.ops.pending_days import FAILED, expect, periods
from comagic_pipeline.warehouse.star.accounts import set_status

JOURNALED = "comagic/journaled"
"""The tag of a run that ended without a word and is in the journal since."""
LAUNCH_TIMEOUT = timedelta(minutes=30)
"""A run that was created so long ago and is not in the queue will not be launched: its creator is gone.

As long as `run_monitoring.start_timeout_seconds` of dagster.yaml: 819 planned events took 149 s on a busy machine.
"""

_NOT_BEGUN = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING)
_LOOKED_BACK = timedelta(days=7)
"""How old a failure may be that is still looked at."""
_LOCK_SECONDS = 30.0
"""A run that began so recently may not have taken its lock yet."""
_FAILURE_REASON = "dagster/failure_reason"
"""The tag with Dagster's reason for a failure."""
_BY_ITSELF, _INTERRUPTED = "STEP_FAILURE", "UNEXPECTED_TERMINATION"
"""The values of that tag for a run whose steps failed, and for one that was told to stop: their loads wrote why."""
_FROM_OUTSIDE = "This run has been marked as failed from outside the execution context."
"""Dagster's message of failures whose reason stands in the engine event before them (1.13)."""
_TELLING = {DagsterEventType.ENGINE_EVENT, DagsterEventType.RUN_FAILURE}
_LONGEST_REASON = 300
_DAY = timedelta(days=1)

GONE = "the process of this run is gone; what it committed stays"
NEVER_LAUNCHED = "the run was created and never launched"


def dead_runs(
    instance: DagsterInstance, warehouse: Warehouse, clock: Callable[[], float] = time.time
) -> list[tuple[DagsterRun, str]]:
    """Return the runs that Dagster takes for alive and whose process is gone, each with the reason.

    `clock` gives seconds since 1970.
    """
    found = []
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        has_begun = record.start_time is not None and clock() - record.start_time > _LOCK_SECONDS
        if has_begun and not warehouse.is_held(run_lock(record.dagster_run.run_id)):
            found.append((record.dagster_run, GONE))
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED])):
        if clock() - _created_at(record).timestamp() > LAUNCH_TIMEOUT.total_seconds():
            found.append((record.dagster_run, NEVER_LAUNCHED))
    return found


def note_silent_runs(config: Config, instance: DagsterInstance, warehouse: Warehouse, now: datetime) -> None:
    """Note the days of runs that have not begun as waiting, and write failures without a word to the journal."""
    for record in instance.get_run_records(RunsFilter(statuses=list(_NOT_BEGUN))):
        if NOTED not in record.dagster_run.tags:
            _note_before_it_begins(config, instance, warehouse, record.dagster_run, now)
    for record in silent_failures(instance, now):
        _write_to_journal(config, instance, warehouse, record, now)


def silent_failures(instance: DagsterInstance, now: datetime) -> list[RunRecord]:
    """Return the runs that failed without a word of their own and are not in the journal yet; `now` is aware."""
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=now - _LOOKED_BACK)
    found = []
    for record in instance.get_run_records(failed):
        tags = record.dagster_run.tags
        if tags.get(_FAILURE_REASON) != _BY_ITSELF and JOURNALED not in tags:
            found.append(record)
    return found


def _note_before_it_begins(
    config: Config, instance: DagsterInstance, warehouse: Warehouse, run: DagsterRun, now: datetime
) -> None:
    if CONTINUES in run.tags:
        return  # its days wait already
    with warehouse.begin() as connection:
        # While this is held the run waits at its very beginning, before it notes its days itself and loads the first.
        if not try_lock(connection, run_lock(run.run_id)):
            return
        current = instance.get_run_by_id(run.run_id)
        if current and current.status in _NOT_BEGUN:
            note_what_is_asked(config, run, instance, warehouse, now)


def _write_to_journal(
    config: Config, instance: DagsterInstance, warehouse: Warehouse, record: RunRecord, now: datetime
) -> None:
    """Write a line for each table that the run did not come to the end of, and let its days wait."""
    run = record.dagster_run
    with warehouse.begin() as connection:
        # Sensors of several sources may come at the same moment.
        if not try_lock(connection, run_lock(run.run_id)):
            return
        period, reason = period_of(run), _reason(instance, record)
        for source in config.sources:
            if period is None or not (tables := tables_of(run, source, instance)):
                continue
            if NOTED not in run.tags and CONTINUES not in run.tags:
                _expect(connection, source, tables, period, run.run_id, _created_at(record), now)
            ended = _ended_tables(connection, source.account_id, run.run_id)
            if run.tags.get(_FAILURE_REASON) == _INTERRUPTED and FAILED in ended.values():
                continue
            for table in sorted(tables - ended.keys()):
                if not ops.is_skipped(connection, source.account_id, table):
                    _record(connection, source, run, table, period, reason)
            set_status(connection, source.account_id)
    instance.add_run_tags(run.run_id, {JOURNALED: "yes"})


def _expect(
    connection: Connection,
    source: Source,
    tables: Collection[str],
    period: tuple[date, date],
    run_id: str,
    created_at: datetime,
    now: datetime,
) -> None:
    """Note the days of a run that never began as waiting, except those that a later run has loaded."""
    ledger = ops.loaded_days.c
    mine = (ledger.account_id == source.account_id) & ledger.table_name.in_(tables) & ledger.day.between(*period)
    query = select(ledger.table_name, ledger.day).where(mine, ledger.loaded_at >= created_at)
    loaded = {(table, day) for table, day in connection.execute(query)}
    days = [period[0] + number * _DAY for number in range((period[1] - period[0]).days + 1)]
    missing: dict[str, list[date]] = {}
    for table, day in product(tables, days):
        if (table, day) not in loaded:
            missing.setdefault(table, []).append(day)
    for table, left in missing.items():
        for part in periods(left):
            expect(connection, source.account_id, [table], *part, run_id, now)


def _ended_tables(connection: Connection, account_id: int, run_id: str) -> dict[str, str]:
    """Return the tables whose end is in the journal already, with what it says: done, skipped or failed."""
    lines = ops.journal.c
    mine = (lines.account_id == account_id) & (lines.run_id == run_id) & (lines.event != "warning")
    found = connection.execute(select(lines.table_name, lines.event).where(mine))
    return {line.table_name: line.event for line in found}


def _record(
    connection: Connection, source: Source, run: DagsterRun, table: str, period: tuple[date, date], reason: str
) -> None:
    """Write the failure of one table, with the rows that the run had committed and the points that it had spent."""
    ledger, spent = ops.loaded_days.c, ops.points_spent.c
    sums = []
    for columns, total in ((ledger, ledger.rows), (spent, spent.points)):
        mine = (columns.account_id == source.account_id) & (columns.table_name == table)
        sums.append(select(func.coalesce(func.sum(total), 0)).where(mine, columns.run_id == run.run_id))
    rows, points = (int(connection.scalar(each) or 0) for each in sums)
    ops.record(
        connection,
        account_id=source.account_id,
        run_id=run.run_id,
        event="failed",
        table_name=table,
        period=period,
        rows=rows,
        points=points,
        message=reason,
        trigger=trigger_of(run),
        next_step=BY_ITSELF,
    )


def _reason(instance: DagsterInstance, record: RunRecord) -> str:
    """Return why the run failed, in one line, as Dagster or we wrote it when the run was marked."""
    run = record.dagster_run
    text = ""
    for entry in instance.get_records_for_run(run.run_id, of_type=_TELLING).records:
        event = entry.event_log_entry.dagster_event
        if event and event.message and not event.message.startswith(_FROM_OUTSIDE):
            text = " ".join(event.message.split())
        if event and event.event_type is DagsterEventType.RUN_FAILURE:
            break  # what follows is about the end of processes
    began = "the run did not begin" if record.start_time is None else "the run ended without a word"
    return f"{began}: {text[:_LONGEST_REASON] or 'Dagster gives no reason'}"


def _created_at(record: RunRecord) -> datetime:
    """Return when the run was created; Dagster's storage gives the moment in UTC, without a zone."""
    moment = record.create_timestamp
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
