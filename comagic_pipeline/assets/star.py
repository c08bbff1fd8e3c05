"""Star assets: the mybi-compatible tables of calls, built together by SQL from the raw tables, free of points."""

import time
from collections.abc import Iterator
from datetime import date, timedelta

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, MaterializeResult, multi_asset
from dateutil.relativedelta import relativedelta

from comagic_pipeline.assets.days import DoneDays
from comagic_pipeline.assets.describe import asset_key, asset_spec
from comagic_pipeline.assets.journal import journaled
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.partitions import daily_partitions, days_of
from comagic_pipeline.resources import WarehouseResource
from comagic_pipeline.tables import DICTIONARIES, REPORTS
from comagic_pipeline.warehouse.star.build import Account, build
from comagic_pipeline.warehouse.star.tables import metadata as star

_ONE_PER_CALL = ("comagic_calls", "comagic_calls_facts")


def star_assets(source: Source, schemas: SchemaNames) -> AssetsDefinition:
    """The star of a source's calls: all tables in one transaction for each month of the period."""
    tables = {asset_key(source, table.name): table for table in star.sorted_tables}
    needs = [method.table for method in (*REPORTS, *DICTIONARIES)]

    @multi_asset(
        name=f"{source.name}_star",
        specs=[asset_spec(source, table, "star", schemas, needs) for table in tables.values()],
        partitions_def=daily_partitions(source),
        backfill_policy=BackfillPolicy.single_run(),
    )
    def calls_star(context: AssetExecutionContext, warehouse: WarehouseResource) -> Iterator[MaterializeResult[None]]:
        period = days_of(context.partition_time_window)
        done = DoneDays(context)
        with journaled(context, warehouse.get(), source, "star", period) as entry, done.reported():
            for first_day, last_day in _months(*period):
                started = time.monotonic()
                with warehouse.get().begin() as connection:
                    account = Account(source.account_id, source.name)
                    result = build(connection, warehouse.get().schemas, account, first_day, last_day)
                seconds = (time.monotonic() - started) / len(result.facts_per_day)
                for day, facts in result.facts_per_day.items():
                    for key, table in tables.items():
                        done.add(key, day, facts if table.name in _ONE_PER_CALL else None, seconds=round(seconds, 4))
                entry.rows += sum(result.facts_per_day.values())
                context.log.info(f"star: built from {first_day} to {last_day}")
        for key in tables:
            yield MaterializeResult(asset_key=key)

    return calls_star


def _months(first_day: date, last_day: date) -> Iterator[tuple[date, date]]:
    """The period cut at the ends of months: what one transaction holds does not grow with the period."""
    while first_day <= last_day:
        following = first_day.replace(day=1) + relativedelta(months=1)
        yield first_day, min(last_day, following - timedelta(days=1))
        first_day = following
