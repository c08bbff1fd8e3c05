"""Delete old events from Dagster's storage, so that it grows with the loaded days alone.

The latest materialization of each day and the latest result of each check stay, however old: the UI shows them. Dagster
itself deletes whole runs only, with the materializations of their days (docs/decisions.md, "Deleting old runs"). To
delete another kind of row, add a rule to `_RULES`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from dagster import DagsterInstance
from sqlalchemy import Connection, text

from comagic_pipeline.dagster.wipe_partitions import storage_of

KEPT = timedelta(days=7)
"""How long events of successful runs, and materializations and results of checks that later ones replace, are kept.

An hourly load of all tables stores 0.7 MB; the journal in the warehouse keeps what it did and cost.
"""
KEPT_FAILED = timedelta(days=30)
"""How long events of other runs are kept: somebody may still want to know what went wrong."""
_SETTLED = timedelta(days=1)
"""How long after its end a run is left alone altogether: backfills still count what it was to load."""
_AT_ONCE = 20_000  # rows of one transaction

_ENDED = """
    select run_id from runs
     where status in ('SUCCESS', 'FAILURE', 'CANCELED')
       and coalesce(end_time, extract(epoch from update_timestamp)) < :{moment}
"""
_OLD = f"""
    {_ENDED.format(moment="kept")} and status = 'SUCCESS'
    union all {_ENDED.format(moment="kept_failed")}
"""
_LATER_MATERIALIZATION = """exists (
    select from event_logs as later
     where later.asset_key = old.asset_key and later.dagster_event_type = 'ASSET_MATERIALIZATION' and later.id > old.id
       and (later.partition = old.partition or later.partition is null{condition})
)"""
_RESULTS = "'ASSET_MATERIALIZATION', 'ASSET_OBSERVATION', 'ASSET_CHECK_EVALUATION'"


@dataclass(frozen=True)
class _Rule:
    """Rows of a table to delete: `old` is the row; :kept, :kept_failed and :settled are seconds since 1970."""

    name: str
    table: str
    condition: str


_RULES = (
    # Of runs of other storages than ours, and of releases before it.
    _Rule("planned checks", "asset_check_executions", f"""
        old.execution_status = 'PLANNED' and old.run_id in ({_ENDED.format(moment="settled")})"""),
    _Rule("results of checks", "asset_check_executions", """
        old.evaluation_event_timestamp < to_timestamp(:kept) at time zone 'UTC' and exists (
            select from asset_check_executions as later
             where later.asset_key = old.asset_key and later.check_name = old.check_name and later.id > old.id
               and (later.partition = old.partition or later.partition is null and old.partition is null)
        )"""),
    _Rule("events of checks", "event_logs", f"""
        (old.dagster_event_type = 'ASSET_CHECK_EVALUATION' and old.timestamp < to_timestamp(:kept) at time zone 'UTC'
         and not exists (select from asset_check_executions as shown where shown.evaluation_event_storage_id = old.id))
        or old.dagster_event_type = 'ASSET_CHECK_EVALUATION_PLANNED'
        and old.run_id in ({_ENDED.format(moment="settled")})"""),
    # One without a later materialization is how the UI knows that the day failed. An asset without partitions has one
    # for each day of the run.
    _Rule("planned materializations", "event_logs", f"""
        old.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' and {_LATER_MATERIALIZATION.format(condition="")}
        and old.run_id in ({_ENDED.format(moment="settled")})"""),
    _Rule("materializations", "event_logs", f"""
        old.dagster_event_type in ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
        and old.timestamp < to_timestamp(:kept) at time zone 'UTC'
        and {_LATER_MATERIALIZATION.format(condition=" and old.partition is null")}"""),
    _Rule("other events", "event_logs", f"""
        (old.dagster_event_type is null
         or old.dagster_event_type not in ({_RESULTS}, 'ASSET_MATERIALIZATION_PLANNED'))
        and old.run_id in ({_OLD})"""),
)  # fmt: skip
_EMPTY_RUNS = text(f"""
    delete from runs where run_id in ({_OLD})
       and not exists (select from event_logs as event where event.run_id = runs.run_id)
 returning run_id
""")  # noqa: S608 - constants


def delete_old_events(instance: DagsterInstance, now: datetime) -> Iterator[tuple[str, int]]:
    """Delete what is old at this moment (aware); gives the number of rows of each kind as soon as they are gone."""
    ages = {"kept": KEPT, "kept_failed": KEPT_FAILED, "settled": _SETTLED}
    moments = {name: (now - age).timestamp() for name, age in ages.items()}
    storage = storage_of(instance)
    for rule in _RULES:
        deleted = 0
        while True:
            with storage.index_transaction() as connection:
                gone = _delete(connection, rule, moments)
            deleted += gone
            if gone < _AT_ONCE:
                break
        yield rule.name, deleted
    with storage.index_transaction() as connection:
        runs = connection.scalars(_EMPTY_RUNS, {name: moments[name] for name in ("kept", "kept_failed")}).all()
    for run_id in runs:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    yield "runs", len(runs)


def _delete(connection: Connection, rule: _Rule, moments: dict[str, float]) -> int:
    chosen = f"select old.id from {rule.table} as old where {rule.condition} limit {_AT_ONCE}"  # noqa: S608 - constants
    used = {name: value for name, value in moments.items() if re.search(rf":{name}\b", chosen)}
    return connection.execute(text(f"delete from {rule.table} where id in ({chosen})"), used).rowcount  # noqa: S608
