"""How many rows a load will bring, judged by what is loaded: rows a day of reports, rows of dictionaries."""

from collections.abc import Collection, Iterable
from datetime import date

from sqlalchemy import func, literal, select, text, union_all

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.tables import journal
from comagic_pipeline.warehouse.raw.tables import raw_table

NEAREST_DAYS = 28
"""How many loaded days tell the density: four weeks, for days of the week differ."""

OfCustomer = tuple[str, int]
"""A table and a customer of an agent, else 0."""


def rows_a_day(
    warehouse: Warehouse,
    account_id: int,
    timezone: str,
    tables: Collection[str],
    customers: Collection[int],
    first_day: date,
    last_day: date,
) -> dict[OfCustomer, float]:
    """Return rows a day of reports, on average over the loaded days nearest to a period; none where no day is loaded.

    A day counts when it was loaded after its end, by the clock of the account's `timezone` (an IANA name).
    """
    query = text(_NEAREST.format(loaded_days=warehouse.quote("ops", "loaded_days"), most=NEAREST_DAYS))
    values = {
        "account_id": account_id,
        "timezone": timezone,
        "tables": list(tables),
        "customers": list(customers),
        "first_day": first_day,
        "last_day": last_day,
    }
    with warehouse.connect() as connection:
        found = connection.execute(query, values)
        return {(row.table_name, row.customer_user_id): float(row.rows_a_day) for row in found}


def dictionary_rows(warehouse: Warehouse, account_id: int, methods: Iterable[Method]) -> dict[OfCustomer, int]:
    """Return how many rows the warehouse has of dictionaries; none where it has no row."""
    counts = [
        select(literal(method.table).label("table_name"), table.c.customer_user_id, func.count().label("rows"))
        .where(table.c.account_id == account_id)
        .group_by(table.c.customer_user_id)
        for method in methods
        for table in (raw_table(method),)
    ]
    if not counts:
        return {}
    with warehouse.connect() as connection:
        return {(name, customer): rows for name, customer, rows in connection.execute(union_all(*counts))}


def skipped_tables(warehouse: Warehouse, account_id: int) -> frozenset[str]:
    """Return the tables of which the journal says last that the account has no access to them."""
    columns = journal.c
    said = (columns.account_id == account_id) & (columns.event != "warning")
    last = select(func.max(columns.id)).where(said).group_by(columns.table_name)
    skipped = select(columns.table_name).where(columns.id.in_(last), columns.event == "skipped")
    with warehouse.connect() as connection:
        return frozenset(connection.scalars(skipped))


# No more days are looked at, on each side of the period and within it, than can be among the nearest.
_LOADED = """
    select day, rows
      from {{loaded_days}} as loaded
     where loaded.account_id = :account_id
       and loaded.customer_user_id = asked.customer_user_id
       and loaded.table_name = asked.table_name
       and loaded.loaded_at at time zone cast(:timezone as text) >= loaded.day + 1
       and day {condition}
     order by day {order}
     limit {{most}}
"""
_NEAREST = f"""
select asked.table_name, asked.customer_user_id, avg(nearest.rows) as rows_a_day
  from (
      select table_name, customer_user_id
        from unnest(cast(:tables as text[])) as table_name
       cross join unnest(cast(:customers as bigint[])) as customer_user_id
  ) as asked
 cross join lateral (
     select rows
       from (
           ({_LOADED.format(condition="between :first_day and :last_day", order="desc")})
           union all
           ({_LOADED.format(condition="< :first_day", order="desc")})
           union all
           ({_LOADED.format(condition="> :last_day", order="asc")})
       ) as loaded
      order by greatest(:first_day - day, day - :last_day, 0), day desc
      limit {{most}}
 ) as nearest
 group by asked.table_name, asked.customer_user_id
"""  # noqa: S608 - constants
