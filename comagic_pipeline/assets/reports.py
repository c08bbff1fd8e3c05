"""Raw assets of reports: a partition for each day, a run for any number of days, windows as long as the API allows."""

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, MaterializeResult, multi_asset

from comagic_pipeline.api.periods import PeriodReader
from comagic_pipeline.api.windows import DaysComplete, Discarded, Rows
from comagic_pipeline.assets.days import DoneDays
from comagic_pipeline.assets.describe import asset_spec
from comagic_pipeline.assets.journal import journaled
from comagic_pipeline.catalog import Method
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.partitions import daily_partitions, days_of
from comagic_pipeline.resources import DataApi, WarehouseResource
from comagic_pipeline.warehouse.load import Account, DayLoad
from comagic_pipeline.warehouse.raw import raw_table


def report_asset(source: Source, method: Method, schemas: SchemaNames) -> AssetsDefinition:
    """The asset of a report of a source: its days are replaced in the raw table, whole days at a time."""

    @multi_asset(
        name=f"{source.name}_{method.table}",
        specs=[asset_spec(source, raw_table(method), "raw", schemas)],
        partitions_def=daily_partitions(source),
        # One run may take a year: its windows are as long as the API allows, which costs the fewest points.
        backfill_policy=BackfillPolicy.single_run(),
        pool=source.pool,
    )
    def report(context: AssetExecutionContext, api: DataApi, warehouse: WarehouseResource) -> MaterializeResult[None]:
        period = days_of(context.partition_time_window)
        # Scheduled loads may use the points that backfills must leave.
        reserve = 0 if "dagster/schedule_name" in context.run.tags else source.day_points.reserve
        done = DoneDays(context)
        with (
            journaled(context, warehouse.get(), source, method.table, period) as entry,
            done.reported(),
            api.client(source.name, reserve) as client,
            DayLoad(warehouse.get(), method, Account(source.account_id), context.run.run_id) as load,
        ):
            reader = PeriodReader(client, method, source.zone)
            for step in reader.read(*period):
                entry.points = reader.points
                match step:
                    case Rows():
                        load.write(step.first_day, step.last_day, step.rows, step.rejected)
                    case Discarded():
                        load.discard()
                    case DaysComplete():
                        for day in load.complete(step.first_day, step.last_day, step.points):
                            done.add(context.asset_key, day.day, day.rows, points=day.points, seconds=day.seconds)
                        entry.rows = done.rows(context.asset_key)
                        context.log.info(f"{method.table}: complete from {step.first_day} to {step.last_day}")
            entry.warnings += reader.warnings
        # Metadata given here would stand with every day.
        return MaterializeResult()

    return report
