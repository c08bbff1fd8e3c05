"""Raw assets of reports: a partition for each day, a run for any number of days, windows as long as the API allows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, MaterializeResult, multi_asset

from comagic_pipeline.api.reports import report_reader
from comagic_pipeline.api.windows import DaysComplete, Discarded, Rows
from comagic_pipeline.asked import CONTINUES, reserve_of
from comagic_pipeline.assets.customers import Customers
from comagic_pipeline.assets.days import DoneDays
from comagic_pipeline.assets.describe import asset_spec
from comagic_pipeline.assets.journal import SKIPPED, journaled
from comagic_pipeline.catalog import Method
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.partitions import daily_partitions, days_of
from comagic_pipeline.resources import DataApi, WarehouseResource
from comagic_pipeline.tables import facts_of, needed_by
from comagic_pipeline.warehouse.load import Account, DayLoad
from comagic_pipeline.warehouse.raw import raw_table
from comagic_pipeline.warehouse.waiting import expect_of_customers, strike_off, waiting_days_of


def report_asset(source: Source, method: Method, schemas: SchemaNames) -> AssetsDefinition:
    """The asset of a report of a source: its days are replaced in the raw table, whole days at a time."""
    chosen = source.filter(method.table)
    facts = facts_of(method.table, source.chosen_tables)

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
        run_id = context.run.run_id
        done = DoneDays(context)
        with (
            journaled(context, warehouse.get(), source, method.table, period) as entry,
            done.reported(),
            api.client(source.name, reserve_of(context.run, source), warehouse.get(), run_id) as client,
        ):
            customers = Customers(source, method, client, warehouse.get(), entry)
            done.customers = len(customers.accounts)
            user_ids = [account.customer_user_id for account in customers.accounts]
            with warehouse.get().begin() as connection:
                expect_of_customers(
                    connection, source.account_id, method.table, user_ids, period, run_id, datetime.now(UTC)
                )

            def load(account: Account, params: Mapping[str, Any]) -> None:
                if chosen and chosen.tree:
                    params = {**params, "filter": chosen.tree}
                reader = report_reader(client, method, source.zone, params, lambda: customers.site_ids(account))
                try:
                    with DayLoad(warehouse.get(), method, account, run_id, facts=facts) as days:
                        for step in (step for part in asked(account) for step in reader.read(*part)):
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

            def asked(account: Account) -> Sequence[tuple[date, date]]:
                """What to read for an account, the newest days first."""
                if CONTINUES not in context.run.tags:
                    return [period]
                with warehouse.get().connect() as connection:
                    ids = (account.account_id, account.customer_user_id)
                    return waiting_days_of(connection, *ids, method.table, *period)[::-1]

            def skip(account: Account) -> None:
                done.customers -= 1
                with warehouse.get().begin() as connection:
                    strike_off(connection, account.account_id, account.customer_user_id, method.table, *period)

            customers.load_each(load, skip)
        # What is given here stands with every day.
        return MaterializeResult(metadata={SKIPPED: entry.skipped} if entry.skipped else {})

    return report
