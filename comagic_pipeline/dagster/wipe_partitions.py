"""Remove single days from what Dagster shows: their events are deleted, so they read as missing.

Dagster wipes whole assets only. Its storage has no wipe of partitions (1.13: NotImplementedError), so the events are
deleted here, as that wipe would.
"""

from collections.abc import Collection, Iterable
from datetime import date

from dagster import AssetKey, DagsterInstance
from sqlalchemy import ColumnElement, Connection, and_, delete, func, not_, select, update

from comagic_pipeline.dagster.private_names import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
)


def forget_days_before(
    instance: DagsterInstance, key: AssetKey, day: date, kept: Iterable[tuple[date, date]] = ()
) -> int:
    """Forget the materializations, and the attempts, of an asset's days before this one; gives the number of events.

    Days of periods that are `kept` are not forgotten.
    Partitions are days as YYYY-MM-DD, which sort as texts; an event of no partition stays.
    """
    storage = storage_of(instance)
    events, checks = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c
    with storage.index_transaction() as connection:
        forgotten = _delete(connection, key, *(_before(each.partition, day, kept) for each in (events, checks)))
    if forgotten:
        # Else the days are remembered there.
        storage.wipe_asset_cached_status(key)
    return forgotten


def _before(partition: ColumnElement[str], day: date, kept: Iterable[tuple[date, date]]) -> ColumnElement[bool]:
    others = [not_(partition.between(first_day.isoformat(), last_day.isoformat())) for first_day, last_day in kept]
    return and_(partition < day.isoformat(), *others)


def newest_event(instance: DagsterInstance) -> int:
    """Return the number of the newest event that the storage holds; 0 where it holds none."""
    with storage_of(instance).index_connection() as connection:
        return connection.scalar(select(func.max(SqlEventLogStorageTable.c.id))) or 0


def forget_days(instance: DagsterInstance, key: AssetKey, days: Collection[str], before: int) -> None:
    """Forget what an asset's days, as YYYY-MM-DD, had happen to them up to the event with the number `before`."""
    storage = storage_of(instance)
    events, checks = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c
    with storage.index_transaction() as connection:
        old = events.partition.in_(days) & (events.id <= before)
        of_checks = checks.partition.in_(days) & (checks.evaluation_event_storage_id <= before)
        _delete(connection, key, old, of_checks)
        # The newest may be among them: without this copy of it Dagster looks for it among the events.
        mine = AssetKeyTable.c.asset_key == key.to_string()
        connection.execute(update(AssetKeyTable).where(mine).values(last_materialization=None))
    storage.wipe_asset_cached_status(key)


def _delete(
    connection: Connection, key: AssetKey, of_events: ColumnElement[bool], of_checks: ColumnElement[bool]
) -> int:
    deleted = 0
    for table, chosen in ((SqlEventLogStorageTable, of_events), (AssetCheckExecutionsTable, of_checks)):
        deleted += connection.execute(delete(table).where(table.c.asset_key == key.to_string(), chosen)).rowcount
    return deleted


def storage_of(instance: DagsterInstance) -> SqlEventLogStorage:
    """Return the tables of events and results."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)  # noqa: S101 - PostgreSQL in every mode
    return storage
