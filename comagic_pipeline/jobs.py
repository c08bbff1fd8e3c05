"""Jobs: what an operator runs. Backfills are launched from the asset pages instead: jobs make a run for each day."""

from dagster import AssetSelection, JobDefinition, OpExecutionContext, define_asset_job, job, op
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from comagic_pipeline.asked import load_job_name, report_job_name
from comagic_pipeline.assets.describe import asset_key
from comagic_pipeline.config import Source
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.resources import WarehouseResource
from comagic_pipeline.warehouse.waiting import forget


def load_job(source: Source) -> UnresolvedAssetJobDefinition:
    """Load the tables of a source and build its star, for a day or a range of days."""
    custom = [asset_key(source, report.asset_name) for report in source.custom_reports]
    return define_asset_job(
        load_job_name(source),
        selection=AssetSelection.key_prefixes([source.name]) - AssetSelection.assets(*custom),
        description=f"Loads days of {source.name} from the Data API and builds the star of them.",
    )


def report_job(source: Source, report: CustomReport) -> UnresolvedAssetJobDefinition:
    """Load days of a custom report."""
    return define_asset_job(
        report_job_name(source, report),
        selection=AssetSelection.assets(asset_key(source, report.asset_name)),
        description=f"Loads days of the custom report {report.name}.",
    )


def continuation_job(source: Source) -> UnresolvedAssetJobDefinition:
    """What the sensor of a source begins: whatever waits of its tables and custom reports."""
    return define_asset_job(
        f"continue_{source.name}",
        selection=AssetSelection.key_prefixes([source.name]),
        description=f"What the sensor continue_{source.name} runs for days that wait. To load days yourself, launch "
        f"a backfill of the assets, or {load_job_name(source)}.",
    )


def forget_job(source: Source) -> JobDefinition:
    """Give up all days of a source that wait to be loaded."""

    @op(name=f"forget_waiting_days_of_{source.name}")
    def forget_waiting_days(context: OpExecutionContext, warehouse: WarehouseResource) -> None:
        with warehouse.get().begin() as connection:
            days = forget(connection, source.account_id)
        context.log.info(f"{days} days of tables do not wait any more")

    @job(
        name=f"forget_{source.name}",
        description=f"Gives up the days of {source.name} that wait for points or for the end of an outage. "
        "They stay missing until they are loaded by hand.",
    )
    def forget_all() -> None:
        forget_waiting_days()

    return forget_all
