"""The table `comagic_reports` as a target: a row of a custom report is a JSON text, as in a mybi connect warehouse.

Rows are numbered within their day by time and key, so that the same rows get the same numbers however they came. A row
keeps its id as long as its key stays, whatever comes or goes beside it. Rows that are right already are not touched: a
second load writes nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Date,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TextClause,
    Uuid,
    text,
)
from sqlalchemy import (
    Sequence as DatabaseSequence,
)

from comagic_pipeline.catalog.table_names import JSON_REPORTS
from comagic_pipeline.warehouse.changes import PARTITION, PLACE, Changes, Compared
from comagic_pipeline.warehouse.copying import copy_rows
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.target import Account, RejectedRow, Removed, Written

metadata = MetaData(schema="star")

_ids = DatabaseSequence("comagic_reports_id_seq", metadata=metadata, data_type=Integer)


def _column(name: str, kind: Any, label_ru: str | None, comment: str, **options: Any) -> Column[Any]:
    options = {"nullable": False} | options
    return Column(name, kind, comment=comment, info={"label_ru": label_ru}, **options)


comagic_reports = Table(
    JSON_REPORTS,
    metadata,
    # No identity: until PostgreSQL 17 tables with partitions had none.
    _column(
        "id",
        Integer,
        "Идентификатор записи",
        "Surrogate key: that of a row's key, stable over reloads",
        server_default=_ids.next_value(),
        autoincrement=False,
    ),
    _column("account_id", Integer, "Идентификатор подключенного аккаунта", "Source, general_accounts.account_id"),
    _column("processor_id", Integer, "Идентификатор отчета", "Custom report, comagic_ops.custom_reports.processor_id"),
    _column("simple_date", Date, "Дата отчета", "Day of the row"),
    _column("row_id", Integer, "Идентификатор строки", "Number of the row within its day, by time and key"),
    _column("row_data", Text, "Содержимое строки", "The wanted fields as JSON"),
    _column(
        "customer_user_id", BigInteger, "Идентификатор клиента", "Customer of an agent, else 0", server_default="0"
    ),
    _column("row_key", Uuid, None, "Hash of the row's key; empty until its day is loaded again", nullable=True),
    PrimaryKeyConstraint("id", "simple_date", name="comagic_reports_pkey"),
    Index(
        "comagic_reports_key",
        "processor_id",
        "simple_date",
        "account_id",
        "customer_user_id",
        "row_key",
        unique=True,
    ),
    comment="Rows of custom reports without a structure of their own",
    info={"label_ru": "Выгруженные отчеты"},
    postgresql_partition_by="RANGE (simple_date)",
)
"""Columns, types and labels are mybi's; the customer and the key are ours, behind them."""

_COLUMNS = {"simple_date": "date", "moment": "timestamp", "row_key": "text", "row_data": "text"}


@dataclass(frozen=True)
class JsonReportTarget:
    """The rows of one custom report in `comagic_reports`.

    `day` gives the day of a row, None for a report that tells no time; `place` what orders the rows of a day: time, or
    None, and key; `json` the text of a row.
    """

    name: str
    processor_id: int
    day: Callable[[Any], date | None]
    place: Callable[[Any], tuple[datetime | None, str]]
    json: Callable[[Any], str]

    def day_of(self, row: Any) -> date | None:
        """Return the day of a row."""
        return self.day(row)

    def make_room(self, connection: Connection, warehouse: Warehouse, first_day: date, last_day: date) -> None:
        """Make the monthly partitions of these days."""
        ensure_months(connection, warehouse.schemas.star, comagic_reports.name, first_day, last_day)

    def empty(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:  # noqa: ARG002 - the shape of a target
        """Note the days: what of them is no more is deleted at the end."""
        for statement in _BEGIN:
            connection.execute(text(statement))
        connection.execute(text(_NOTE_DAYS), {"days": list(days)})

    def write(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,  # noqa: ARG002
        rows: Sequence[Any],
        days: Sequence[date],
        loaded_at: datetime,  # noqa: ARG002
    ) -> Written:
        """COPY the rows aside."""

        def values() -> Iterable[tuple[Any, ...]]:
            return ((day, *self.place(row), self.json(row)) for row, day in zip(rows, days, strict=True))

        names, types = [*_COLUMNS], [*_COLUMNS.values()]
        refused = copy_rows(connection, warehouse, "pg_temp.incoming_rows", names, types, values)
        rejected = [RejectedRow.of(row, names, (), ["row_key"], "simple_date", row.reason) for row in refused]
        return Written(rejected, Counter(row.values[0] for row in refused))

    def compare(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        days: Sequence[date],  # noqa: ARG002
        loaded_at: datetime,  # noqa: ARG002
    ) -> Mapping[date | None, Compared]:
        """Compare the rows, numbered now, with those of the table, which are not touched yet."""
        for statement in _NUMBER:
            connection.execute(text(statement))
        counted = connection.execute(self._statement(warehouse, account, _COMPARE))
        return {
            day: Compared(Changes(added, updated, deleted), before, deleted)
            for day, added, updated, deleted, before in counted
        }

    def put_back(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:  # noqa: ARG002
        """Leave the days out of what the end does."""
        for name in ("incoming_days", "numbered_rows"):
            connection.execute(text(f"delete from {name} where simple_date = any(:days)"), {"days": list(days)})  # noqa: S608 - constants

    def finish(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        days: Sequence[date],
        removed: Removed | None,
    ) -> None:
        """Make the table's days equal to the rows."""
        if removed:
            places = self._statement(warehouse, account, _VANISHED)
            removed.keep(connection, comagic_reports, places, days, "simple_date", ("row_id",))
        for statement in _MERGE:
            connection.execute(self._statement(warehouse, account, statement))
        connection.execute(text(_END))

    def _statement(self, warehouse: Warehouse, account: Account, statement: str) -> TextClause:
        names = _NAMES | {"reports": warehouse.quote("star", comagic_reports.name)}
        # A name of a schema may hold a colon.
        names["reports"] = names["reports"].replace(":", r"\:")
        values = account.values | {"processor_id": self.processor_id}
        return text(statement.format(**names)).bindparams(**values)


_BEGIN = (
    "create temporary table if not exists incoming_days (simple_date date) on commit drop",
    "create temporary table if not exists incoming_rows"
    ' (simple_date date, moment timestamp, row_key text collate "C", row_data text collate "C") on commit drop',
)
_NOTE_DAYS = "insert into incoming_days select unnest(cast(:days as date[]))"
_NUMBER = (
    """
    create temporary table numbered_rows on commit drop as
    select simple_date, row_data, cast(row_number() over day as int) as row_id,
           -- Rows of a report without a unique key are told apart by their number among those that share it.
           cast(md5(concat_ws(' ', row_number() over same, row_key)) as uuid) as row_key
      from incoming_rows
    window day as (partition by simple_date order by moment, row_key, row_data),
           same as (partition by simple_date, row_key order by moment, row_data)
    """,
    "analyze numbered_rows",
)
# Rows of an earlier release have no key: for the last time they are known by their number.
_HELD = """
      select report.simple_date, coalesce(report.row_key, numbered.row_key) as row_key, report.row_id, report.row_data,
             report.tableoid as partition, report.ctid as place
        from {reports} as report
        left join numbered_rows as numbered
          on report.row_key is null
         and numbered.simple_date = report.simple_date and numbered.row_id = report.row_id
       where {mine} and report.simple_date in (select simple_date from incoming_days)
"""
_COMPARE = f"""
select coalesce(held.simple_date, incoming.simple_date) as day,
       count(*) filter (where held.row_id is null),
       count(*) filter (where held.row_data <> incoming.row_data),
       count(*) filter (where incoming.row_id is null),
       count(held.row_id)
  from ({_HELD}) as held
  full join numbered_rows as incoming on incoming.simple_date = held.simple_date and incoming.row_key = held.row_key
 group by day
"""  # noqa: S608 - constants
_VANISHED = f"""
select held.partition as "{PARTITION}", held.place as "{PLACE}"
  from ({_HELD}) as held
 where not exists (
           select from numbered_rows as incoming
            where incoming.simple_date = held.simple_date and incoming.row_key = held.row_key
       )
"""  # noqa: S608 - constants
_MERGE = (
    """
    update {reports} as report set row_key = incoming.row_key
      from numbered_rows as incoming
     where {mine} and report.row_key is null
       and report.simple_date = incoming.simple_date and report.row_id = incoming.row_id
    """,
    """
    delete from {reports} as report
     where {mine} and simple_date in (select simple_date from incoming_days)
       and not exists (select from numbered_rows as incoming where {same})
    """,
    """
    update {reports} as report set row_data = incoming.row_data
      from numbered_rows as incoming
     where {mine} and {same} and report.row_data <> incoming.row_data
    """,
    """
    update {reports} as report set row_id = incoming.row_id
      from numbered_rows as incoming
     where {mine} and {same} and report.row_id <> incoming.row_id
    """,
    """
    insert into {reports} (account_id, customer_user_id, processor_id, simple_date, row_id, row_data, row_key)
    select :account_id, :customer_user_id, :processor_id, simple_date, row_id, row_data, row_key
      from numbered_rows as incoming
     where not exists (select from {reports} as report where {mine} and {same})
    """,
)
_NAMES = {
    "mine": "report.processor_id = :processor_id and report.account_id = :account_id"
    " and report.customer_user_id = :customer_user_id",
    "same": "report.simple_date = incoming.simple_date and report.row_key = incoming.row_key",
}
_END = "drop table incoming_days, incoming_rows, numbered_rows"
