"""Checks with a result for each day, so that the UI shows which days are right.

Dagster stores one result without a day for a run over several days, and then shows all of them as skipped (tried on
1.13.27). So each day gets an evaluation of its own, tied to its latest materialization: without that Dagster does not
show the result of a day.
"""

import warnings
from collections.abc import Iterable
from datetime import date

from dagster import (
    AssetCheckKey,
    AssetCheckSpec,
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    PreviewWarning,
)

from comagic_pipeline.config import Source
from comagic_pipeline.dagster.partitions import daily_partitions
from comagic_pipeline.dagster.private_names import (
    AssetCheckEvaluationTargetMaterializationData,
    AssetCheckExecutionRecordStatus,
)


def daily_check(source: Source, key: AssetKey, name: str, description: str) -> AssetCheckSpec:
    """Return the spec of a check with a result for each day of the source."""
    with warnings.catch_warnings():
        # Partitions of checks are a preview of Dagster.
        warnings.simplefilter("ignore", PreviewWarning)
        return AssetCheckSpec(name, asset=key, partitions_def=daily_partitions(source), description=description)


def latest_materializations(
    instance: DagsterInstance, key: AssetKey, days: Iterable[date]
) -> dict[date, AssetCheckEvaluationTargetMaterializationData]:
    """Return what the results of these days of an asset are about; days that were never materialized are left out."""
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, {day.isoformat() for day in days}
    )
    if not latest:
        return {}
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=key, storage_ids=list(latest.values())), limit=len(latest)
    ).records
    return {
        date.fromisoformat(str(record.partition_key)): AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for record in records
    }


def failed_or_planned_days(instance: DagsterInstance, key: AssetCheckKey, days: Iterable[date]) -> set[date]:
    """Return those of the days whose latest record of a check is no good result; days without a record are left out."""
    found = instance.event_log_storage.get_asset_check_partition_info(
        [key], partition_keys=[day.isoformat() for day in days]
    )
    return {
        date.fromisoformat(each.partition_key)
        for each in found
        if each.partition_key and each.latest_execution_status != AssetCheckExecutionRecordStatus.SUCCEEDED
    }
