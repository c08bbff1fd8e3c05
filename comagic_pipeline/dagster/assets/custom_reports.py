"""Assets of custom reports, with a partition for each day."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    MaterializeResult,
    TableColumn,
    TableSchema,
    multi_asset,
)

from comagic_pipeline.catalog.table_names import needed_by
from comagic_pipeline.config import Config, SchemaNames, Source
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.dagster.assets.describe import OWNER, asset_key, columns_of
from comagic_pipeline.dagster.loads.journal import SKIPPED
from comagic_pipeline.dagster.loads.protection import LoadConfig
from comagic_pipeline.dagster.loads.report_load import ReportLoad, Wanted
from comagic_pipeline.dagster.partitions import daily_partitions, days_of
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource
from comagic_pipeline.dagster.runs import table_step
from comagic_pipeline.operations.report_target import target_of
from comagic_pipeline.operations.views import make_views
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.reports.tables import prepare, sql_table

GROUP = "custom_reports"


def custom_report_asset(configuration: Config, source: Source, report: CustomReport) -> AssetsDefinition:
    """Return the asset of a custom report of a source: its days are replaced in all of its tables at once."""

    @multi_asset(
        name=table_step(source, report.asset_name),
        specs=[_spec(source, report, configuration.warehouse.schemas)],
        partitions_def=daily_partitions(source),
        backfill_policy=BackfillPolicy.single_run(),
        pool=source.pool,
    )
    def custom_report(
        context: AssetExecutionContext, config: LoadConfig, api: DataApi, warehouse: WarehouseResource
    ) -> MaterializeResult[None]:
        load = ReportLoad(context, api, warehouse, source, wanted(source, report), context.asset_key, config)
        entry = load.load(days_of(context.partition_time_window), partial(prepared, configuration, report))
        return MaterializeResult(metadata={SKIPPED: entry.skipped} if entry.skipped else {})

    return custom_report


def wanted(source: Source, report: CustomReport) -> Wanted:
    """Return what is loaded of a custom report of a source."""
    return Wanted(report.asked, report.filter, target_of(report, source.zone), custom=report)


def prepared(config: Config, report: CustomReport, warehouse: Warehouse) -> Sequence[str]:
    """Make the tables of the report, and views of them, ready; gives lines for people, raises StructureChangedError."""
    with warehouse.begin() as connection:
        found = prepare(connection, report.home)
    lines = [f"custom report {report.name!r}: {line}" for line in found.lines]
    return [*lines, *make_views(config, warehouse)] if found.is_changed else lines


def _spec(source: Source, report: CustomReport, schemas: SchemaNames) -> AssetSpec:
    home = report.home
    needs = set(needed_by(report.method.table, is_agent=source.is_agent))
    if report.reads_raw:
        needs.add(report.method.table)
    shown: dict[str, Any] = {
        "dagster/table_name": f"{schemas.star}.{home.table_names[0]}",
        "dagster/column_schema": TableSchema(
            columns_of(sql_table(home.tables[0]))
            if home.tables
            else [
                TableColumn(name, "json", report.method.column(name).description, tags={"in": "row_data"})
                for name in report.fields
            ]
        ),
        "comagic/processor_id": report.processor_id,
        "comagic/tables": ", ".join(f"{schemas.star}.{name}" for name in home.table_names),
        "comagic/report": report.method.table,
        "comagic/fields": ", ".join(report.fields),
    }
    return AssetSpec(
        asset_key(source, report.asset_name),
        deps=[AssetDep(asset_key(source, name)) for name in sorted(needs & source.chosen_tables)],
        description=f"{report.name}: {_what(report)} of {report.method.table}. {report.method.description}",
        group_name=GROUP,
        kinds={"postgres", "comagic"},
        owners=[OWNER],
        metadata=shown,
    )


def _what(report: CustomReport) -> str:
    rows = f"{len(report.fields)} fields"
    return rows if report.home.tables else f"{rows}, as JSON in comagic_reports under the number {report.processor_id},"
