"""Monthly partitions: replacing a day or dropping a month costs the same however large the table is."""

from dataclasses import dataclass
from datetime import date, timedelta

from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection, text

from comagic_pipeline.warehouse.errors import WarehouseError
from comagic_pipeline.warehouse.replica_identity import identify_rows


@dataclass(frozen=True)
class Partition:
    """A partition of a table: its name, unquoted, and its days, both included."""

    name: str
    first_day: date
    last_day: date


def ensure_months(connection: Connection, schema: str, table_name: str, first_day: date, last_day: date) -> None:
    """Create the partitions of a table (`schema` as it is in the database) that these days need; commits nothing.

    A partition is made beside the table and then attached: that waits for no reader and no load. Several processes
    may do so at once. Raises WarehouseError when there is another table of that name, such as a detached partition.
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    table = f"{quote(schema)}.{quote(table_name)}"
    connection.execute(text("select pg_advisory_xact_lock(hashtextextended(:table, 0))"), {"table": f"months {table}"})
    month = first_day.replace(day=1)
    while month <= last_day:
        following = month + relativedelta(months=1)
        partition = f"{quote(schema)}.{quote(f'{table_name}_{month:%Y_%m}')}"
        bounds = f"for values from ('{month}') to ('{following}')"
        is_attached = connection.scalar(_is_attached, {"table": table, "partition": partition})
        if is_attached is None:
            connection.execute(text(f"create table {partition} (like {table} including defaults)"))
            connection.execute(text(f"alter table {table} attach partition {partition} {bounds}"))
            identify_rows(connection, [schema], f"{table_name}_{month:%Y_%m}")
        elif not is_attached:
            raise WarehouseError(
                f"{partition} is there and is no partition of {table}, so {month:%Y-%m} cannot be loaded: attach it "
                f"(ALTER TABLE {table} ATTACH PARTITION {partition} {bounds.upper()}), rename it or drop it"
            )
        month = following


def stored_partitions(connection: Connection, schema: str, table_name: str) -> list[Partition]:
    """Return the partitions that a table has (`schema` as it is in the database), oldest first.

    None where it is not there.
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    found = connection.execute(_stored, {"name": f"{quote(schema)}.{quote(table_name)}"})
    return [Partition(row.name, row.first_day, row.end - timedelta(days=1)) for row in found]


def detached_partitions(connection: Connection, schema: str, table_name: str) -> list[Partition]:
    """Return tables that are named like partitions of a table and are none: somebody detached them. Oldest first."""
    found = connection.scalars(_detached, {"schema": schema, "table": table_name}).all()
    months = [date(int(name[-7:-3]), int(name[-2:]), 1) for name in found]
    following = [month + relativedelta(months=1) for month in months]
    return [
        Partition(name, month, end - timedelta(days=1))
        for name, month, end in zip(found, months, following, strict=True)
    ]


def drop_partition(connection: Connection, schema: str, table_name: str, partition: Partition) -> None:
    """Detach and drop a partition, whatever it holds: that takes as long for many rows as for few."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    table, part = (f"{quote(schema)}.{quote(name)}" for name in (table_name, partition.name))
    connection.execute(text(f"alter table {table} detach partition {part}"))
    connection.execute(text(f"drop table {part}"))


# Null where there is no such relation.
_is_attached = text("""
select exists (
           select from pg_inherits
            where inhrelid = found.oid and inhparent = to_regclass(:table) and not inhdetachpending
       )
  from to_regclass(:partition) as found (oid)
 where found.oid is not null
""")
# What the server says of the bounds, not what the names say.
_stored = text(r"""
select part.relname as name, cast(bounds[1] as date) as first_day, cast(bounds[2] as date) as end
  from pg_inherits
  join pg_class as part on part.oid = inhrelid
 cross join lateral regexp_match(
           pg_get_expr(part.relpartbound, part.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)'
       ) as bounds
 where inhparent = to_regclass(:name) and bounds is not null and not inhdetachpending
 order by 2
""")

_detached = text(r"""
select relname
  from pg_class
  join pg_namespace as schema on schema.oid = relnamespace
 where schema.nspname = :schema
   and starts_with(relname, :table || '_')
   and substr(relname, length(:table) + 2) ~ '^[1-9]\d{3}_(0[1-9]|1[0-2])$'
   and relkind in ('r', 'f')
   and not exists (select from pg_inherits where inhrelid = pg_class.oid and not inhdetachpending)
 order by 1
""")
