"""Names of Dagster that it does not publish, each with the reason why there is no other way (Dagster 1.13).

Only this module imports from `dagster._…`, so that a new release of Dagster is checked in one place. Before you add a
name, look for a published one, or for another library.
"""
# ruff: noqa: I001 - in groups, each under its reason

# The types of what `define_asset_job` returns and `Definitions` takes as resources: our functions pass them on.
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as UnresolvedAssetJobDefinition,
)
from dagster._config.pythonic_config import ConfigurableResourceFactory as ConfigurableResourceFactory

# A check's result names the materialization that it is about; otherwise Dagster reads all of them to find it.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as AssetCheckEvaluationTargetMaterializationData,
)

# The latest results of a check by day: the published API has them of the whole check only.
from dagster._core.event_api import PartitionKeyFilter as PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus as AssetCheckExecutionRecordStatus,
)

# Old events and days that are no longer kept are deleted: the published API deletes all of an asset or nothing.
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as AssetCheckExecutionsTable
from dagster._core.storage.event_log.schema import AssetKeyTable as AssetKeyTable
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage as SqlEventLogStorage

# A storage of our own (`event_storage`): its base class and the form of its configuration.
from dagster._core.storage.config import PostgresStorageConfig as PostgresStorageConfig
from dagster._core.storage.event_log import EventLogStorage as EventLogStorage
from dagster._serdes import ConfigurableClassData as ConfigurableClassData
