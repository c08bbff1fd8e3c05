"""What Dagster shows of days that are no more: their events go, and the partitions read as missing again.

Dagster offers to wipe whole assets only: with the days that are kept, their plots and the results of their checks.
Its storage has no per-partition wipe (1.13: NotImplementedError), so the events are deleted here, as that would.
"""

from collections.abc import Iterable
from datetime import date

from dagster import AssetKey, DagsterInstance
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import delete, not_


def forget_days_before(
    instance: DagsterInstance, key: AssetKey, day: date, kept: Iterable[tuple[date, date]] = ()
) -> int:
    """Forget the materializations, and the attempts, of an asset's days before this one; gives the number of events.

    Days of periods that are `kept` are not forgotten.
    Partitions are days as YYYY-MM-DD, which sort as texts; an event of no partition stays.
    """
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)  # noqa: S101 - PostgreSQL in every mode
    with storage.index_transaction() as connection:
        forgotten = 0
        for events in (SqlEventLogStorageTable, AssetCheckExecutionsTable):
            mine = (events.c.asset_key == key.to_string()) & (events.c.partition < day.isoformat())
            for first_day, last_day in kept:
                mine &= not_(events.c.partition.between(first_day.isoformat(), last_day.isoformat()))
            forgotten += connection.execute(delete(events).where(mine)).rowcount
    if forgotten:
        # Else the days are remembered there.
        storage.wipe_asset_cached_status(key)
    return forgotten
