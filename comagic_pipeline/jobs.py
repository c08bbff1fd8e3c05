"""Jobs: what an operator runs. Backfills are launched from the asset pages instead: jobs make a run for each day."""

from dagster import AssetSelection, JobDefinition, OpExecutionContext, define_asset_job, job, op
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from comagic_pipeline.config import Source
from comagic_pipeline.resources import WarehouseResource
from comagic_pipeline.warehouse.waiting import forget


def load_job(source: Source) -> UnresolvedAssetJobDefinition:
    """Load the tables of a source and build its star, for a day or a range of days."""
    return define_asset_job(
        f"load_{source.name}",
        selection=AssetSelection.key_prefixes([source.name]),
        description=f"Loads days of {source.name} from the Data API and builds the star of them.",
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
