"""Jobs: what an operator runs. Backfills are launched from the asset pages instead: jobs make a run for each day."""

from dagster import AssetSelection, define_asset_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from comagic_pipeline.config import Source


def load_job(source: Source) -> UnresolvedAssetJobDefinition:
    """Load the tables of a source and build its star, for a day or a range of days."""
    return define_asset_job(
        f"load_{source.name}",
        selection=AssetSelection.key_prefixes([source.name]),
        description=f"Loads days of {source.name} from the Data API and builds the star of them.",
    )
