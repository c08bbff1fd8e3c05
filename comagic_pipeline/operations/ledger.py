"""The load log of a source: which days of its reports are loaded. It outranks what Dagster shows."""

from datetime import date, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from comagic_pipeline.catalog import tables
from comagic_pipeline.config import Source
from comagic_pipeline.operations.customers import user_ids
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.raw.tables import stored_rows
from comagic_pipeline.warehouse.retention.days import retained_from


def complete_days(source: Source, connection: Connection) -> dict[str, dict[date, Any]]:
    """Return what the ledger has of each report of a source, by day: rows, points, seconds, run_ids.

    Days of an agent's source that some of its customers lack are left out.
    """
    customer_users = partial(stored_rows, connection, tables()["customer_users"], source.account_id, 0)
    customers = user_ids(source, partial(customer_users, ("id", "customer_id")))
    ledger = ops.loaded_days.c
    totals = [func.sum(ledger[name]).label(name) for name in ("rows", "points", "seconds")]
    loaded = (
        select(ledger.table_name, ledger.day, *totals, func.array_agg(ledger.run_id).label("run_ids"))
        .where(ledger.account_id == source.account_id, ledger.day >= source.start_date)
        .where(ledger.table_name.in_([*source.reports]))
        .where(ledger.customer_user_id.in_(customers))
        .group_by(ledger.table_name, ledger.day)
        .having(func.count() == len(customers))
    )
    found: dict[str, dict[date, Any]] = {}
    for row in connection.execute(loaded):
        found.setdefault(row.table_name, {})[row.day] = row
    return found


def held_days(source: Source, connection: Connection) -> dict[str, set[str]]:
    """Return the days, as YYYY-MM-DD, that the ledger has of each report of a source, of whatever customers."""
    ledger = ops.loaded_days.c
    query = select(ledger.table_name, ledger.day).distinct().where(ledger.account_id == source.account_id)
    found: dict[str, set[str]] = {}
    for table, day in connection.execute(query.where(ledger.table_name.in_([*source.reports]))):
        found.setdefault(table, set()).add(day.isoformat())
    return found


def gone_days(connection: Connection, source: Source, report: str, period: tuple[date, date]) -> list[date]:
    """Return the days of a period (ends included) that retention has deleted and nobody has loaded again."""
    first_kept = retained_from(connection, source.account_id, "raw")
    if first_kept is None or first_kept <= period[0]:
        return []
    loaded = complete_days(source, connection).get(report, {})
    days = (min(period[1] + timedelta(days=1), first_kept) - period[0]).days
    old = (period[0] + timedelta(days=number) for number in range(days))
    return [day for day in old if day not in loaded]
