"""Assets of reports: a partition for each day; one run may load any number of days."""

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, MaterializeResult, multi_asset

from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog.table_names import facts_of, needed_by
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.dagster.assets.describe import asset_spec
from comagic_pipeline.dagster.loads.journal import SKIPPED
from comagic_pipeline.dagster.loads.protection import LoadConfig
from comagic_pipeline.dagster.loads.report_load import ReportLoad, Wanted
from comagic_pipeline.dagster.partitions import daily_partitions, days_of
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource
from comagic_pipeline.dagster.runs import table_step
from comagic_pipeline.warehouse.raw.tables import raw_table
from comagic_pipeline.warehouse.raw.target import RawTarget


def report_asset(source: Source, method: Method, schemas: SchemaNames) -> AssetsDefinition:
    """Return the asset of a report of a source: its days are replaced in the raw table, whole days at a time."""
    wanted = Wanted(
        method, source.filter(method.table), RawTarget(method), facts_of(method.table, source.chosen_tables)
    )

    @multi_asset(
        name=table_step(source, method.table),
        specs=[
            asset_spec(source, raw_table(method), "raw", schemas, needed_by(method.table, is_agent=source.is_agent))
        ],
        partitions_def=daily_partitions(source),
        # One run may take a year: its windows are as long as the API allows, which costs the fewest points.
        backfill_policy=BackfillPolicy.single_run(),
        pool=source.pool,
    )
    def report(
        context: AssetExecutionContext, config: LoadConfig, api: DataApi, warehouse: WarehouseResource
    ) -> MaterializeResult[None]:
        load = ReportLoad(context, api, warehouse, source, wanted, context.asset_key, config)
        entry = load.load(days_of(context.partition_time_window))
        # What is given here stands with every day.
        return MaterializeResult(metadata={SKIPPED: entry.skipped} if entry.skipped else {})

    return report
