"""Alert on current problems: once when they appear, once when they are resolved.

Causes are derived from state (journal, points, check results, run records), not from events, so a restart loses
nothing. Sent causes are stored in `comagic_ops.alerts`. To add a cause, write a function that yields `Alert`s and list
it in `look`. Messages are sent by `operations/notifier.py`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import groupby

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    DagsterInstance,
    DagsterRunStatus,
    RunsFilter,
)

from comagic_pipeline.api.quota import DAY_SPENT
from comagic_pipeline.config import Config, ConfigError, Source
from comagic_pipeline.dagster.checks import all_days_loaded, points_suffice
from comagic_pipeline.dagster.loads.journal import INTERRUPTED
from comagic_pipeline.dagster.private_names import AssetCheckExecutionRecordStatus, PartitionKeyFilter
from comagic_pipeline.dagster.run_failures import failure_of_run
from comagic_pipeline.operations.api_client import source_key
from comagic_pipeline.operations.notifier import Kind, Message, Post
from comagic_pipeline.operations.points.shared_quota import known_points
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import alerts as book
from comagic_pipeline.warehouse.ops.alerts import Alert
from comagic_pipeline.warehouse.star.accounts import REMEMBERED

_NAMED = 5
"""How many tables a message names."""
_RUNS = 100
"""How many failed runs are looked at, the latest."""
_OF_TABLE = re.compile(r"^(customer \d+: )?(get|login)\.\w+: |\d+")
"""What differs in the messages of one and the same error: the method at the beginning, numbers."""


@dataclass(frozen=True)
class Told:
    """What a look came to: how many causes go on, and how many messages were sent."""

    causes: int
    sent: int
    failed: Sequence[str]
    """Addresses that did not take a message, by their scheme."""


def look(
    config: Config,
    instance: DagsterInstance,
    warehouse: Warehouse,
    checks: Iterable[AssetCheckKey],
    post: Post,
    now: datetime,
) -> Told:
    """Find what is wrong, tell people what they do not know, and tell them what is over."""
    seen = [
        *(cause for source in config.sources for cause in _of_source(source, warehouse, now)),
        *(cause for source in config.sources for cause in _refused(source, warehouse, now)),
        *_failed_runs(instance, warehouse, now),
    ]
    seen += _red_checks(instance, checks, {cause.cause for cause in seen}, _failing(config, warehouse, now))
    with warehouse.begin() as connection:
        book.note(connection, seen, now)
        new, over = book.untold(connection), book.over(connection, seen)
    sent, failed = 0, dict.fromkeys(post.mend())
    for found, kind, moment in ((new, Kind.WRONG, "told_at"), (over, Kind.OVER, "recovered_at")):
        for group, alerts in groupby(sorted(found, key=_group), key=_group):
            told = list(alerts)
            refused = post.send(_message(group, told, kind, now))
            failed |= dict.fromkeys(refused.addresses)
            if refused.by_all:
                continue  # the next look tries again
            sent += 1
            with warehouse.begin() as connection:
                book.mark(connection, [alert.cause for alert in told], **{moment: now})
    return Told(len(seen), sent, list(failed))


def _group(alert: Alert) -> str:
    """Return causes whose words go into one message: red checks of a source with one name."""
    parts = alert.cause.split("\n")
    return "\n".join([*parts[:2], parts[-1]]) if parts[0] == "check" else alert.cause


def _message(group: str, told: Sequence[Alert], kind: Kind, now: datetime) -> Message:
    title = told[0].message.partition("\n")[0] if len(told) == 1 else f"{_title(group)}: {len(told)} tables"
    lines = [line for alert in told[:_NAMED] for line in alert.message.split("\n")[0 if len(told) > 1 else 1 :]]
    if len(told) > _NAMED:
        lines.append(f"... and {len(told) - _NAMED} more")
    if kind is Kind.OVER:
        title = f"Over: {title}"
        moments = [alert.told_at for alert in told if alert.told_at]
        since = f"It was told at {min(moments):%Y-%m-%d %H:%M} UTC. " if moments else ""
        lines = [f"{since}Over since {now:%Y-%m-%d %H:%M} UTC.", *(lines if len(told) > 1 else ())]
    return Message(kind, title, "\n".join(lines))


def _title(group: str) -> str:
    _, source, check = group.split("\n")
    return f"{source}: the check {check} is red"


def _of_source(source: Source, warehouse: Warehouse, now: datetime) -> Iterator[Alert]:
    """Failures of tables that say the same as one cause; the day's points as another."""
    with warehouse.connect() as connection:
        failures = book.unmended_failures(connection, source.account_id, now - REMEMBERED)
    alike: dict[str, list[tuple[str, str, str | None]]] = {}
    for failure in failures:
        table, message, step = failure
        if message != INTERRUPTED:
            words = DAY_SPENT if message.startswith(DAY_SPENT) else _OF_TABLE.sub("", message)
            alike.setdefault(words, []).append((table, message, step))
    for words, lines in alike.items():
        if words == DAY_SPENT:
            if _are_points_spent(source, warehouse, now):
                message, step = lines[-1][1:]
                yield Alert(
                    f"points\n{source.name}",
                    source.account_id,
                    f"{source.name}: the day's points are spent\n{message}\n{step}",
                )
            continue
        tables = [line[0] for line in lines]
        named = ", ".join(tables[:_NAMED]) + (f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else "")
        message, step = lines[0][1:]
        what = f"{source.name}: {len(tables)} tables failed" if len(tables) > 1 else f"{source.name}: {named} failed"
        text = "\n".join(filter(None, [what, f"Tables: {named}", message, step]))
        digest = sha256(words.encode()).hexdigest()[:16]
        yield Alert(f"failed\n{source.name}\n{digest}", source.account_id, text)


def _refused(source: Source, warehouse: Warehouse, now: datetime) -> Iterator[Alert]:
    """Yield tables that kept rows which their last load would have removed; of days of reports the check tells."""
    with warehouse.connect() as connection:
        refused = book.refused_loads(connection, source.account_id, now - REMEMBERED)
    for table, message, step in refused:
        if table not in source.reports:
            text = "\n".join(filter(None, [f"{source.name}: a load of {table} was refused", message, step]))
            yield Alert(f"refused\n{source.name}\n{table}", source.account_id, text)


def _are_points_spent(source: Source, warehouse: Warehouse, now: datetime) -> bool:
    """Return whether the day's points are still spent; True where nobody can tell."""
    try:
        day = known_points(warehouse, source_key(source), now).allowances["day"]
    except ConfigError:
        return True
    return day.resets_at is not None and day.resets_at > now


def _failing(config: Config, warehouse: Warehouse, now: datetime) -> set[tuple[str, ...]]:
    """Return the assets whose last load failed."""
    with warehouse.connect() as connection:
        return {
            (source.name, failure[0])
            for source in config.sources
            for failure in book.unmended_failures(connection, source.account_id, now - REMEMBERED)
        }


def _red_checks(
    instance: DagsterInstance, checks: Iterable[AssetCheckKey], causes: set[str], failing: set[tuple[str, ...]]
) -> Iterator[Alert]:
    """Yield failed checks, except those that only repeat a cause already reported: a failed load, no points left."""
    keys = list(checks)
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    partitions: dict[AssetCheckKey, list[str]] = {}
    for info in instance.event_log_storage.get_asset_check_partition_info(keys):
        if info.partition_key and info.latest_execution_status is AssetCheckExecutionRecordStatus.FAILED:
            partitions.setdefault(info.check_key, []).append(info.partition_key)
    for key in keys:
        path = tuple(key.asset_key.path)
        source = path[0]
        if key.name == all_days_loaded.NAME and path in failing:
            continue
        if key.name == points_suffice.NAME and f"points\n{source}" in causes:
            continue
        record = latest.get(key)
        red = sorted(partitions.get(key, ()))
        if not red and (record is None or record.status is not AssetCheckExecutionRecordStatus.FAILED):
            continue
        if red and (record is None or record.partition not in red):
            record = instance.event_log_storage.get_latest_asset_check_execution_by_key(
                [key], PartitionKeyFilter(key=red[-1])
            ).get(key)
        evaluation = record.evaluation if record else None
        yield _red_check(source, key, evaluation, red)


def _red_check(source: str, key: AssetCheckKey, evaluation: AssetCheckEvaluation | None, red: Sequence[str]) -> Alert:
    severity = (evaluation.severity if evaluation else AssetCheckSeverity.ERROR).value
    days = f" on {len(red)} days, from {red[0]} to {red[-1]}" if red else ""
    title = f"{key.asset_key.path[-1]}: the check {key.name} of {source} is red ({severity}){days}"
    said = (evaluation.description if evaluation else None) or ""
    cause = "\n".join(["check", *key.asset_key.path, key.name])
    return Alert(cause, None, "\n".join(filter(None, [title, said])))


def _failed_runs(instance: DagsterInstance, warehouse: Warehouse, now: datetime) -> Iterator[Alert]:
    """Jobs whose last run failed without a line of the journal: before it came to load, or its process died."""
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=now - REMEMBERED)
    runs = instance.get_runs(failed, limit=_RUNS)
    with warehouse.connect() as connection:
        known = book.journaled_runs(connection, [run.run_id for run in runs])
    jobs: set[str] = set()
    for run in runs:  # the latest first
        if run.job_name in jobs:
            continue
        jobs.add(run.job_name)
        ended = RunsFilter(
            job_name=run.job_name,
            statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE],
            updated_after=now - REMEMBERED,
        )
        (last,) = instance.get_runs(ended, limit=1)
        if last.run_id != run.run_id or run.run_id in known:
            continue
        reason = failure_of_run(instance, run.run_id) or ""
        title = f"A run of {run.job_name} failed before it could say why in the journal"
        yield Alert(f"run\n{run.job_name}", None, f"{title}\nRun {run.run_id}. {reason} See the run for what happened.")
