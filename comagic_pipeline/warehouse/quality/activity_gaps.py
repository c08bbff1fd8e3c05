"""How rows come, as the warehouse remembers it: silences between rows, and rows of closed days. No judgement here."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, func, select, text

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.tables import loaded_days

WEEKS = 8
"""How far back the rhythm is looked for."""


@dataclass(frozen=True)
class Silence:
    """From one row to the next, by the account's wall time."""

    begin: datetime
    end: datetime


@dataclass(frozen=True)
class DayRows:
    """A loaded day with its rows, of all customers, and when the first of them was loaded last."""

    day: date
    rows: int
    loaded_at: datetime


def recent_days(
    connection: Connection, account_id: int, names: Collection[str], since: date
) -> dict[str, list[DayRows]]:
    """Return what the ledger says of each of these tables from a day on, oldest first."""
    columns = loaded_days.c
    query = (
        select(
            columns.table_name,
            columns.day,
            func.sum(columns.rows).label("rows"),
            func.min(columns.loaded_at).label("loaded_at"),
        )
        .where(columns.account_id == account_id, columns.table_name.in_(names), columns.day >= since)
        .group_by(columns.table_name, columns.day)
        .order_by(columns.day)
    )
    found: dict[str, list[DayRows]] = {}
    for row in connection.execute(query):
        found.setdefault(row.table_name, []).append(DayRows(row.day, int(row.rows), row.loaded_at))
    return found


def silences(
    connection: Connection, warehouse: Warehouse, account_id: int, method: Method, moment: datetime
) -> tuple[datetime | None, list[Silence]]:
    """Return the time of the last row up to a moment (wall time), and the longest silence of each of the last weeks.

    Of a week counts what touched the hour of the moment, on its day of the week.
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    statement = _SILENCES.format(raw=warehouse.quote("raw", method.table), moment=quote(method.time_column or ""))
    hour = moment.replace(minute=0, second=0, microsecond=0)
    values = {
        "account_id": account_id,
        # A silence that touched the first of the hours may have begun days before.
        "first_day": (hour - timedelta(weeks=WEEKS + 1)).date(),
        "last_day": moment.date(),
        "moment": moment,
        "hours": [hour - timedelta(weeks=number) for number in range(1, WEEKS + 1)],
    }
    rows = connection.execute(text(statement), values).all()
    last = rows[0].last if rows else None
    return last, [Silence(row.begins, row.ends) for row in rows if row.begins is not None]


_SILENCES = """
with held as materialized (
    select {moment} as moment
      from {raw}
     where account_id = :account_id and event_date between :first_day and :last_day and {moment} <= :moment
),
silence as (
    select moment as begins, lead(moment) over (order by moment) as ends from held
)
select last.moment as last, longest.begins, longest.ends
  from (select max(moment) as moment from held) as last
  left join (
      select distinct on (hour) hour, begins, ends
        from unnest(cast(:hours as timestamp[])) as hour
        join silence on begins < hour + interval '1 hour' and ends > hour
       order by hour, ends - begins desc
  ) as longest on true
 order by longest.begins
"""
