"""Monthly partitions: a day is replaced, or a month dropped, at a cost that does not grow with the table."""

from datetime import date

from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection, text


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
