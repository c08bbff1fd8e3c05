"""Raw assets of reports: a partition for each day, a run for any number of days, windows as long as the API allows."""

from collections.abc import Mapping
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, MaterializeResult, multi_asset

from comagic_pipeline.api.reports import report_reader
from comagic_pipeline.api.windows import DaysComplete, Discarded, Rows
from comagic_pipeline.assets.customers import Customers
from comagic_pipeline.assets.days import DoneDays
from comagic_pipeline.assets.describe import asset_spec
from comagic_pipeline.assets.journal import SKIPPED, journaled
from comagic_pipeline.catalog import Method
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.partitions import daily_partitions, days_of
from comagic_pipeline.resources import DataApi, WarehouseResource
from comagic_pipeline.tables import needed_by
from comagic_pipeline.warehouse.load import Account, DayLoad
from comagic_pipeline.warehouse.raw import raw_table


def report_asset(source: Source, method: Method, schemas: SchemaNames) -> AssetsDefinition:
    """The asset of a report of a source: its days are replaced in the raw table, whole days at a time."""
    chosen = source.filter(method.table)

    @multi_asset(
        name=f"{source.name}_{method.table}",
        specs=[
            asset_spec(source, raw_table(method), "raw", schemas, needed_by(method.table, is_agent=source.is_agent))
        ],
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
        ):
            customers = Customers(source, method, client, warehouse.get(), entry)
            done.customers = len(customers.accounts)

            def load(account: Account, params: Mapping[str, Any]) -> None:
                if chosen and chosen.tree:
                    params = {**params, "filter": chosen.tree}
                reader = report_reader(client, method, source.zone, params, lambda: customers.site_ids(account))
                try:
                    with DayLoad(warehouse.get(), method, account, context.run.run_id) as days:
                        for step in reader.read(*period):
                            match step:
                                case Rows(first_day, last_day, rows, rejected):
                                    wanted = list(filter(chosen.keeps, rows)) if chosen else rows
                                    days.write(first_day, last_day, wanted, rejected)
                                case Discarded():
                                    days.discard()
                                case DaysComplete(first_day, last_day, points):
                                    for day in days.complete(first_day, last_day, points):
                                        costs = {"points": day.points, "seconds": day.seconds}
                                        done.add(
                                            context.asset_key, day.day, day.rows, account.customer_user_id, **costs
                                        )
                                    context.log.info(f"{method.table}: complete from {first_day} to {last_day}")
                finally:
                    entry.points += reader.points
                    entry.warnings += reader.warnings
                    entry.rows = done.rows(context.asset_key)

            def skip() -> None:
                done.customers -= 1

            customers.load_each(load, skip)
        # What is given here stands with every day.
        return MaterializeResult(metadata={SKIPPED: entry.skipped} if entry.skipped else {})

    return report
