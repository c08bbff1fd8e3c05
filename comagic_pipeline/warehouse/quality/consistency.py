"""Whether the warehouse agrees with itself: raw tables with the ledger, the star with raw. In SQL, without the API.

Days are those of a period, both ends included. What retention has deleted is nobody's mistake: `kept_period`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Table, func, select, text

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.tables import loaded_days, rejected_rows, retained_from
from comagic_pipeline.warehouse.reports.json_target import comagic_reports
from comagic_pipeline.warehouse.star.kind import Kind

Period = tuple[date, date]


@dataclass(frozen=True)
class UnlikeDay:
    """A day of which two places hold different numbers of rows."""

    day: date
    rows: int
    expected: int


def kept_period(connection: Connection, account_id: int, layers: Collection[str], period: Period | None) -> Period:
    """Return the days of a period, or of all time, that retention has left in all of these layers."""
    mine = (retained_from.c.account_id == account_id) & retained_from.c.layer.in_(layers)
    kept_from = connection.scalar(select(func.max(retained_from.c.first_day)).where(mine)) or date.min
    first_day, last_day = period or (date.min, date.max)
    return max(first_day, kept_from), last_day


def raw_unlike_ledger(
    connection: Connection, warehouse: Warehouse, account_id: int, method: Method, period: Period
) -> list[UnlikeDay]:
    """Return the days of which a raw table has another number of rows, of some customer, than the ledger says."""
    held = _HELD_IN_RAW.format(raw=warehouse.quote("raw", method.table))
    values = {"table_name": method.table}
    return _unlike_ledger(connection, warehouse, held, values, account_id, period)


def json_unlike_ledger(
    connection: Connection, warehouse: Warehouse, account_id: int, name: str, processor_id: int, period: Period
) -> list[UnlikeDay]:
    """Return the same of a custom report whose rows are JSON; `name` is that of its asset."""
    held = _HELD_AS_JSON.format(reports=warehouse.quote("star", comagic_reports.name))
    values = {"table_name": name, "processor_id": processor_id}
    return _unlike_ledger(connection, warehouse, held, values, account_id, period)


def repeated_keys(
    connection: Connection, warehouse: Warehouse, account_id: int, method: Method, period: Period
) -> dict[date, int]:
    """Return how many keys of rows stand on several of the days, by the first of those; within a day none does."""
    key = ", ".join(map(connection.dialect.identifier_preparer.quote_identifier, method.key))
    statement = _REPEATED_KEYS.format(raw=warehouse.quote("raw", method.table), key=key)
    found = connection.execute(text(statement), _values(account_id, period))
    return {row.day: row.keys for row in found}


def rejected_values(connection: Connection, account_id: int, name: str, period: Period) -> list[tuple[date, str, int]]:
    """Day, column (empty: the whole row) and number of the values of a table that did not fit, oldest first."""
    columns = rejected_rows.c
    mine = (columns.account_id == account_id) & (columns.table_name == name)
    column = func.coalesce(columns.column_name, "")
    query = (
        select(columns.event_date, column, func.count())
        .where(mine, columns.event_date.between(*period))
        .group_by(columns.event_date, column)
        .order_by(columns.event_date, column)
    )
    return [(day, name, count) for day, name, count in connection.execute(query)]


def columns_left_out(connection: Connection, account_id: int, name: str) -> tuple[date | None, list[str]]:
    """Return the newest loaded day of a table, and the columns that its rows lack.

    Of days loaded long ago nobody knows.
    """
    columns = loaded_days.c
    mine = (columns.account_id == account_id) & (columns.table_name == name)
    newest = select(func.max(columns.day)).where(mine).scalar_subquery()
    found = connection.execute(select(columns.day, columns.left_out).where(mine, columns.day == newest)).all()
    return (found[0].day if found else None), sorted({each for row in found for each in row.left_out or ()})


def facts_unlike_raw(
    connection: Connection, warehouse: Warehouse, account_id: int, kind: Kind, period: Period
) -> list[UnlikeDay]:
    """Return the days that have more or fewer facts than rows in raw.

    Days whose facts are due, and will come, left out.
    """
    statement = _FACTS_UNLIKE_RAW.format(
        raw=warehouse.quote("raw", kind.report),
        facts=warehouse.quote("star", kind.facts.name),
        dates=warehouse.quote("star", "general_dates"),
        waiting=warehouse.quote("ops", "waiting_days"),
    )
    values = _values(account_id, period) | {"facts_name": kind.facts.name}
    return [UnlikeDay(*row) for row in connection.execute(text(statement), values)]


def lonely_rows(connection: Connection, warehouse: Warehouse, account_id: int, kind: Kind) -> int:
    """Return how many rows of a kind's own dimension have no fact: the database does not forbid it."""
    names = {"owner": kind.owner, "dimension": warehouse.quote("star", kind.dimension.name)}
    statement = _LONELY_ROWS.format(**names, facts=warehouse.quote("star", kind.facts.name))
    return int(connection.scalar(text(statement), {"account_id": account_id}) or 0)


def orphans(connection: Connection, warehouse: Warehouse, account_id: int, kind: Kind) -> dict[str, int]:
    """Return how many rows point to nothing, by table and column, where the database does not see to it that none does.

    It does as long as it has the foreign key: what somebody dropped, or made without a look at the rows, is counted.
    """
    found = {}
    tables = (kind.facts, *kind.children)
    guarded = _guarded(connection, warehouse, tables)
    for table in tables:
        for column in table.columns:
            for target in (each.column.table for each in column.foreign_keys):
                if (table.name, column.name) in guarded:
                    continue
                names = {"rows": warehouse.quote("star", table.name), "target": warehouse.quote("star", target.name)}
                statement = _ORPHANS.format(**names, column=column.name)
                count = int(connection.scalar(text(statement), {"account_id": account_id}) or 0)
                if count:
                    found[f"{table.name}.{column.name}"] = count
    return found


def _guarded(connection: Connection, warehouse: Warehouse, tables: Collection[Table]) -> set[tuple[str, str]]:
    """Table and column of the keys whose rows the database guarantees."""
    values = {"schema": warehouse.schemas.star, "tables": [table.name for table in tables]}
    return {(row.table_name, row.column_name) for row in connection.execute(text(_GUARDED), values)}


def _unlike_ledger(
    connection: Connection,
    warehouse: Warehouse,
    held: str,
    values: Mapping[str, Any],
    account_id: int,
    period: Period,
) -> list[UnlikeDay]:
    statement = _UNLIKE_LEDGER.format(held=held, ledger=warehouse.quote("ops", "loaded_days"))
    found = connection.execute(text(statement), {**_values(account_id, period), **values})
    return [UnlikeDay(*row) for row in found]


def _values(account_id: int, period: Period) -> dict[str, Any]:
    return {"account_id": account_id, "first_day": period[0], "last_day": period[1]}


_HELD_IN_RAW = """
    select event_date as day, customer_user_id, count(*) as rows
      from {raw}
     where account_id = :account_id and event_date between :first_day and :last_day
     group by event_date, customer_user_id
"""
_HELD_AS_JSON = """
    select simple_date as day, customer_user_id, count(*) as rows
      from {reports}
     where processor_id = :processor_id and account_id = :account_id
       and simple_date between :first_day and :last_day
     group by simple_date, customer_user_id
"""
# One statement sees rows and ledger as one transaction left them, whatever is loaded meanwhile.
_UNLIKE_LEDGER = """
with held as ({held}),
ledger as (
    select day, customer_user_id, rows
      from {ledger}
     where account_id = :account_id and table_name = :table_name and day between :first_day and :last_day
)
select day, sum(coalesce(held.rows, 0))::bigint as rows, sum(coalesce(ledger.rows, 0))::bigint as expected
  from held full join ledger using (day, customer_user_id)
 where coalesce(held.rows, 0) <> coalesce(ledger.rows, 0)
 group by day
 order by day
"""
_REPEATED_KEYS = """
select day, count(*) as keys
  from (
      select min(event_date) as day
        from {raw}
       where account_id = :account_id and event_date between :first_day and :last_day
       group by customer_user_id, {key}
      having count(*) > 1
  ) as repeated
 group by day
 order by day
"""
_FACTS_UNLIKE_RAW = """
with held as (
    select event_date as day, customer_user_id, count(*) as rows
      from {raw}
     where account_id = :account_id and event_date between :first_day and :last_day
     group by event_date, customer_user_id
),
facts as (
    select date.simple_date as day, fact.customer_user_id, count(*) as rows
      from {dates} as date
      join {facts} as fact on fact.dates_id = date.id
     where fact.account_id = :account_id and date.simple_date between :first_day and :last_day
     group by date.simple_date, fact.customer_user_id
)
select day, sum(coalesce(facts.rows, 0))::bigint as rows, sum(coalesce(held.rows, 0))::bigint as expected
  from held full join facts using (day, customer_user_id)
 where coalesce(facts.rows, 0) <> coalesce(held.rows, 0)
   and day not in (select day from {waiting} where account_id = :account_id and table_name = :facts_name)
 group by day
 order by day
"""
_LONELY_ROWS = """
select count(*)
  from {dimension} as own
 where account_id = :account_id and not exists (select from {facts} as fact where fact.{owner} = own.id)
"""
_ORPHANS = """
select count(*)
  from {rows} as row
 where account_id = :account_id and not exists (select from {target} as target where target.id = row.{column})
"""
_GUARDED = """
select relation.relname as table_name, attribute.attname as column_name
  from pg_constraint as guard
  join pg_class as relation on relation.oid = guard.conrelid
  join pg_namespace as place on place.oid = relation.relnamespace
  join pg_attribute as attribute on attribute.attrelid = relation.oid and guard.conkey = array[attribute.attnum]
 where guard.contype = 'f' and guard.convalidated
   and place.nspname = :schema and relation.relname = any(:tables)
"""
