"""Monthly partitions: a day is replaced, or a month dropped, at a cost that does not grow with the table."""

from dataclasses import dataclass
from datetime import date, timedelta

from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection, text


@dataclass(frozen=True)
class Partition:
    """A partition of a table: its name, unquoted, and its days, both included."""

    name: str
    first_day: date
    last_day: date


def ensure_months(connection: Connection, schema: str, table_name: str, first_day: date, last_day: date) -> None:
    """Create the partitions of a table (`schema` as it is in the database) that these days need; commits nothing.

    A partition is made beside the table and then attached: that waits for no reader and no load. Several processes
    may do so at once.
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    table = f"{quote(schema)}.{quote(table_name)}"
    connection.execute(text("select pg_advisory_xact_lock(hashtextextended(:table, 0))"), {"table": f"months {table}"})
    month = first_day.replace(day=1)
    while month <= last_day:
        following = month + relativedelta(months=1)
        partition = f"{quote(schema)}.{quote(f'{table_name}_{month:%Y_%m}')}"
        if connection.scalar(text("select to_regclass(:name)"), {"name": partition}) is None:
            connection.execute(text(f"create table {partition} (like {table} including defaults)"))
            bounds = f"from ('{month}') to ('{following}')"
            connection.execute(text(f"alter table {table} attach partition {partition} for values {bounds}"))
        month = following


def stored_partitions(connection: Connection, schema: str, table_name: str) -> list[Partition]:
    """The partitions that a table has (`schema` as it is in the database), oldest first; none where it is not there."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    found = connection.execute(_stored, {"name": f"{quote(schema)}.{quote(table_name)}"})
    return [Partition(row.name, row.first_day, row.end - timedelta(days=1)) for row in found]


def drop_partition(connection: Connection, schema: str, table_name: str, partition: Partition) -> None:
    """Detach and drop a partition, whatever it holds: that takes as long for many rows as for few."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    table, part = (f"{quote(schema)}.{quote(name)}" for name in (table_name, partition.name))
    connection.execute(text(f"alter table {table} detach partition {part}"))
    connection.execute(text(f"drop table {part}"))


# What the server says of the bounds, not what the names say.
_stored = text(r"""
select part.relname as name, cast(bounds[1] as date) as first_day, cast(bounds[2] as date) as end
  from pg_inherits
  join pg_class as part on part.oid = inhrelid
 cross join lateral regexp_match(
           pg_get_expr(part.relpartbound, part.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)'
       ) as bounds
 where inhparent = to_regclass(:name) and bounds is not null
 order by 2
""")
