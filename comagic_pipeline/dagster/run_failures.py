"""Why a run failed, in one line, from its events.

Dagster wraps an exception several times; the innermost one explains the failure.
"""

import re
from collections.abc import Sequence

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, ExecuteInProcessResult
from dagster_shared.error import SerializableErrorInfo

from comagic_pipeline.operations.failures import shortened
from comagic_pipeline.warehouse.errors import DiskFullError

_CLASS = re.compile(r"^(?P<own>comagic_pipeline\.)?(?:\w+\.)*(?P<name>\w+): ")
"""The class before a message, with its modules. The messages of our own errors are sentences that need none."""


def failure_message(result: ExecuteInProcessResult) -> str | None:
    """Return why a run in this process failed, in one line; None when it did not."""
    if result.success:
        return None
    return _of_events(result.all_events) or "the run failed without a reason: see it in the UI"


def failure_of_run(instance: DagsterInstance, run_id: str) -> str | None:
    """Return why a run failed, in one line, from its events; None where they do not tell."""
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    events = [log.dagster_event for log in instance.all_logs(run_id, of_type=kinds)]
    return _of_events([event for event in events if event])


def _of_events(events: Sequence[DagsterEvent]) -> str | None:
    # Later steps may fail for the same reason.
    for event in events:
        if event.event_type is DagsterEventType.STEP_FAILURE:
            failure = event.step_failure_data.user_failure_data
            if failure and failure.description:
                return " ".join(failure.description.split())
            if event.step_failure_data.error:
                return _innermost(event.step_failure_data.error)
    for event in events:
        if event.event_type is DagsterEventType.RUN_FAILURE:
            # A run that others report as failed has no data.
            error = event.job_failure_data.error if event.event_specific_data else None
            return _innermost(error) if error else shortened(event.message or "")
    return None


def _innermost(error: SerializableErrorInfo) -> str:
    # What the database said of a full disk does not name the disk.
    while error.cls_name != DiskFullError.__name__ and (inner := error.cause or error.context):
        error = inner
    # Further lines of a database error show the row.
    first_line = next(iter(error.message.strip().splitlines()), error.cls_name or "")
    return shortened(_CLASS.sub(lambda match: "" if match["own"] else f"{match['name']}: ", first_line))
