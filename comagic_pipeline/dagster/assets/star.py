"""Assets of the star: the tables of one kind of facts, built together by SQL, at no points."""

import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, MaterializeResult, multi_asset
from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection, Table

from comagic_pipeline.catalog.table_names import needed_by
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.dagster.assets.describe import asset_key, asset_spec
from comagic_pipeline.dagster.loads.days import DoneDays
from comagic_pipeline.dagster.loads.journal import journaled
from comagic_pipeline.dagster.partitions import daily_partitions, days_of
from comagic_pipeline.dagster.resources import WarehouseResource
from comagic_pipeline.dagster.runs import star_step
from comagic_pipeline.operations.ledger import gone_days, held_days
from comagic_pipeline.warehouse.changes import Changes
from comagic_pipeline.warehouse.ops.pending_days import periods, strike_off
from comagic_pipeline.warehouse.ops.tables import is_skipped
from comagic_pipeline.warehouse.star.build import Account, build
from comagic_pipeline.warehouse.star.kind import Kind


def star_assets(source: Source, kind: Kind, shown: Sequence[Table], schemas: SchemaNames) -> AssetsDefinition:
    """Return the star of a kind of a source: all its tables in one transaction for each month of the period.

    `shown` are the tables of its assets: tables that kinds share are filled by all of them and shown with one.
    """
    tables = {asset_key(source, table.name): table for table in shown}
    needs = needed_by(kind.facts.name, is_agent=source.is_agent)
    one_row_per_fact = (kind.dimension.name, kind.facts.name)

    @multi_asset(
        name=star_step(source, kind),
        specs=[asset_spec(source, table, "star", schemas, needs) for table in tables.values()],
        partitions_def=daily_partitions(source),
        backfill_policy=BackfillPolicy.single_run(),
    )
    def star(context: AssetExecutionContext, warehouse: WarehouseResource) -> Iterator[MaterializeResult[None]]:
        period = days_of(context.partition_time_window)
        done = DoneDays(context)
        with journaled(context, warehouse.get(), source, kind.facts.name, period) as entry, done.reported():
            with warehouse.get().begin() as connection:
                gone = gone_days(connection, source, kind.report, period)
                for first_day, last_day in periods(gone):
                    strike_off(connection, source.account_id, 0, kind.facts.name, first_day, last_day)
                    entry.warnings.append(_left_alone(kind, first_day, last_day))
                kept = [day for day in _days(*period) if day not in gone]
                entry.warnings += _without_rows(connection, source, kind, kept)
            for first_day, last_day in (month for part in periods(kept) for month in _months(*part)):
                started = time.monotonic()
                with warehouse.get().begin() as connection:
                    # First: days that change while this goes on are due again.
                    strike_off(connection, source.account_id, 0, kind.facts.name, first_day, last_day)
                    account = Account(source.account_id, source.name)
                    result = build(connection, warehouse.get().schemas, account, kind, first_day, last_day)
                seconds = (time.monotonic() - started) / len(result.facts_per_day)
                for day, facts in result.facts_per_day.items():
                    for key, table in tables.items():
                        done.add(key, day, facts if table.name in one_row_per_fact else None, seconds=round(seconds, 4))
                entry.rows += sum(result.facts_per_day.values())
                for changes in result.changes.values():
                    entry.changes += Changes(changes.inserted, changes.updated, changes.deleted)
                context.log.info(f"{kind.facts.name}: built from {first_day} to {last_day}")
        for key in tables:
            yield MaterializeResult(asset_key=key)

    return star


def _left_alone(kind: Kind, first_day: date, last_day: date) -> str:
    return (
        f"{first_day} to {last_day}: retention has deleted these days of {kind.report}; what the star has of them is "
        "left as it is"
    )


def _without_rows(connection: Connection, source: Source, kind: Kind, days: Sequence[date]) -> Iterator[str]:
    """Yield a line for each period whose report is not loaded: its star has no rows."""
    if is_skipped(connection, source.account_id, kind.report):
        return
    held = held_days(source, connection).get(kind.report, set())
    for first_day, last_day in periods([day for day in days if day.isoformat() not in held]):
        yield f"{first_day} to {last_day}: {kind.report} is not loaded, so the star of these days is empty: load it too"


def _days(first_day: date, last_day: date) -> list[date]:
    return [first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)]


def _months(first_day: date, last_day: date) -> Iterator[tuple[date, date]]:
    """Yield the period cut at the ends of months: what one transaction holds does not grow with the period."""
    while first_day <= last_day:
        following = first_day.replace(day=1) + relativedelta(months=1)
        yield first_day, min(last_day, following - timedelta(days=1))
        first_day = following
