"""Write a line of the journal for each load: its cost on success, its cause on failure.

Retries must not stack. The client retries transient errors for about a minute; Dagster retries nothing here; a later
run resumes pending days. A load's failure is final for this run, and records whether a later run should retry the
days.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    DagsterExecutionInterruptedError,
    Failure,
    OpExecutionContext,
)
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from comagic_pipeline.api.errors import ComagicError, DayPointsSpentError
from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import ConfigError, Source
from comagic_pipeline.dagster.runs import trigger_of
from comagic_pipeline.operations.failures import full_disk, note_unexpected
from comagic_pipeline.operations.next_steps import next_step
from comagic_pipeline.warehouse.changes import Changes
from comagic_pipeline.warehouse.copying import RowsRefusedError
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError, one_line
from comagic_pipeline.warehouse.errors import DiskFullError
from comagic_pipeline.warehouse.losses import Refusal
from comagic_pipeline.warehouse.ops import pending_days as waiting
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.reports.tables import StructureChangedError
from comagic_pipeline.warehouse.star.accounts import set_status

POINTS_SPENT_UNTIL = "points_spent_until"
"""Metadata of a failure that waits for points: the moment at which they are there again, ISO 8601."""

NEXT_STEP = "next_step"
"""Metadata of a failure: what a person does about it."""

SKIPPED = "skipped"
"""Metadata of a materialization of which nothing was asked: why the account has no access to the method."""

INTERRUPTED = DagsterExecutionInterruptedError.__name__
"""The message of a load that a person, or the end of the services, stopped."""
_STOPPED = "Nothing, if a person stopped it; else it goes on by itself while `up` runs."
_ACCEPT_LOSS = (
    "See whether the personal account shows the same; if the rows are really gone, load again with --accept-loss, or "
    "with accept_loss in the Launchpad."
)
_EXPECTED = (ComagicError, ConfigError, StructureChangedError, WarehouseError, SQLAlchemyError)
"""What may end a load without a mistake of ours: it becomes one line for a person."""
_NAMED = 20
"""How many days a message names."""
_MISTAKE = "This is a mistake of comagic_pipeline: please report it with the traceback."


@dataclass
class Entry:
    """What a load did, filled in while it goes on."""

    rows: int = 0
    changes: Changes = field(default_factory=Changes)
    points: int = 0
    warnings: list[str] = field(default_factory=list)
    skipped: str | None = None
    """Why the account cannot be asked at all: no component, no right. Nothing was written."""
    next_step: str | None = None
    """What a person does about that."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What a failure shows of what was done before it."""
    differences: str | None = None
    """What a comparison found, when it found something."""
    refused: list[Refusal] = field(default_factory=list)
    """Days, or the dictionary, that kept their rows because the answer would have removed too many."""

    @property
    def event(self) -> str:
        """How the load ended, when it did not fail."""
        if self.differences:
            return "different"
        return "skipped" if self.skipped else "refused" if self.refused else "done"

    @property
    def message(self) -> str | None:
        """What the journal says of a load that did not fail, where there is something to say."""
        return self.skipped or self.differences or (told_refused(self.refused) if self.refused else None)


def told_refused(refused: Sequence[Refusal]) -> str:
    """Return what is said of rows that were kept: how many, and how many the answer had."""
    days = sorted((each for each in refused if each.day), key=lambda each: (str(each.day), each.customer_user_id))
    if not days:
        rows, answer = sum(each.rows for each in refused), sum(each.answer_rows for each in refused)
        return f"the table keeps its {rows} rows because the answer, with {answer}, would remove too many of them"
    named = []
    for each in days[:_NAMED]:
        customer = f" of customer {each.customer_user_id}" if each.customer_user_id else ""
        named.append(f"{each.day}{customer} has {each.rows}, the answer {each.answer_rows}")
    if len(days) > _NAMED:
        named.append(f"{len(days) - _NAMED} more are in comagic_ops.loaded_days")
    text = f"{len({each.day for each in days})} days keep their rows because the answer would remove too many of them"
    return f"{text}: {'; '.join(named)}"


@contextmanager
def journaled(
    context: AssetExecutionContext | OpExecutionContext | AssetCheckExecutionContext,
    warehouse: Warehouse,
    source: Source,
    table: str,
    period: tuple[date, date] | None = None,
) -> Iterator[Entry]:
    """Record the load inside the block; its expected errors become a Failure with one line for a person.

    Days of the period that it did not come to wait for another run, if another one may do better.
    """
    started, entry = time.monotonic(), Entry()

    def record(event: str, message: str | None = None, error: BaseException | None = None) -> None:
        if entry.refused and event != "refused":
            entry.warnings.append(told_refused(entry.refused))
        seconds = time.monotonic() - started
        with warehouse.begin() as connection:
            if period:
                _settle(connection, source.account_id, table, context.run.run_id, period, error)
            if event == "skipped":
                context.log.warning(message)
                if ops.is_skipped(connection, source.account_id, table):
                    return  # said once
            write = partial(
                ops.record,
                connection,
                account_id=source.account_id,
                run_id=context.run.run_id,
                table_name=table,
                period=period,
                trigger=trigger_of(context.run),
            )
            for warning in entry.warnings:
                context.log.warning(warning)
                write(event="warning", message=warning)
            counts = {"rows": entry.rows, "points": entry.points, **asdict(entry.changes)}
            write(event=event, **counts, seconds=seconds, message=message, next_step=entry.next_step)
            set_status(connection, source.account_id)

    try:
        yield entry
    except Exception as raised:
        error = full_disk(raised) or raised
        if isinstance(error, _EXPECTED):
            message, entry.next_step = one_line(error), next_step(error, source.zone)
        else:
            message, entry.next_step = note_unexpected(error), _MISTAKE
            context.log.error(message, exc_info=error)
        # When it is the warehouse that failed, the journal is out of reach too.
        with suppress(WarehouseError, SQLAlchemyError):
            record("failed", message, error)
        metadata = entry.metadata | ({NEXT_STEP: entry.next_step} if entry.next_step else {})
        if isinstance(error, DayPointsSpentError):
            metadata[POINTS_SPENT_UNTIL] = error.until.isoformat()
        # The database's own words may show a row, which is personal data: no log gets them.
        cause = None if isinstance(error, SQLAlchemyError | DiskFullError) else error
        raise Failure(
            f"{source.name}/{table}{_days(period)}: {message}", metadata=metadata, allow_retries=False
        ) from cause
    except BaseException as error:
        # A person, or the end of the services, stopped it.
        entry.next_step = _STOPPED
        with suppress(WarehouseError, SQLAlchemyError):
            record("failed", type(error).__name__, error)
        raise
    if entry.event == "refused":
        entry.next_step = _ACCEPT_LOSS
        context.log.warning(f"{told_refused(entry.refused)}. {_ACCEPT_LOSS}")
    record(entry.event, entry.message)


def _days(period: tuple[date, date] | None) -> str:
    return f" {period[0]} to {period[1]}" if period else ""


def _settle(
    connection: Connection,
    account_id: int,
    table: str,
    run_id: str,
    period: tuple[date, date],
    error: BaseException | None,
) -> None:
    """Record whether the days that the run did not load are to be tried again."""
    match error:
        case DayPointsSpentError():
            waiting.leave_for_points(connection, account_id, table, error.until)
        case RowsRefusedError():
            # The API's answer is at fault, and would cost its points again.
            waiting.forget(connection, account_id, [table], *period, run_id=run_id)
        case WarehouseError() | SQLAlchemyError() | ComagicError(may_pass=True):
            waiting.leave_for_later(connection, account_id, table, run_id, utc_now())
        case None | Exception():
            # Nothing is left, or it is for a person to act first.
            waiting.forget(connection, account_id, [table], *period, run_id=run_id)
        case _:
            pass  # interrupted: whether by a person or by the end of the services is for others to say
