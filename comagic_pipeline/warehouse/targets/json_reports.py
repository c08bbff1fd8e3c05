"""The table `comagic_reports` as a target: a row of a custom report is a JSON text, as in a mybi connect warehouse.

Rows are numbered within their day by time and key, so that the same rows get the same numbers however they came. Rows
that are right already are not touched: a second load writes nothing, and ids are stable.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    CursorResult,
    Date,
    FromClause,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    column,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy import (
    Sequence as DatabaseSequence,
)
from sqlalchemy.schema import CreateTable

from comagic_pipeline.warehouse.changes import (
    DAY,
    IDENTITY,
    VALUES,
    Changes,
    Compared,
    aside,
    by_values,
    unmatched,
)
from comagic_pipeline.warehouse.copying import copy_rows
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.months import ensure_months
from comagic_pipeline.warehouse.targets import Account, RejectedValue, Removed

metadata = MetaData(schema="star")

_ids = DatabaseSequence("comagic_reports_id_seq", metadata=metadata, data_type=Integer)


def _column(name: str, kind: Any, label_ru: str, comment: str, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, comment=comment, info={"label_ru": label_ru}, **options)


comagic_reports = Table(
    "comagic_reports",
    metadata,
    # No identity: until PostgreSQL 17 tables with partitions had none.
    _column(
        "id",
        Integer,
        "Идентификатор записи",
        "Surrogate key, stable over reloads",
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
    PrimaryKeyConstraint("id", "simple_date", name="comagic_reports_pkey"),
    Index(
        "comagic_reports_key",
        "processor_id",
        "simple_date",
        "account_id",
        "customer_user_id",
        "row_id",
        unique=True,
    ),
    comment="Rows of custom reports without a structure of their own",
    info={"label_ru": "Выгруженные отчеты"},
    postgresql_partition_by="RANGE (simple_date)",
)
"""Columns, types and labels are mybi's; the customer is ours, behind them."""

_gone = aside(comagic_reports.name, [Column(IDENTITY, BigInteger)])
_COLUMNS = {"simple_date": "date", "moment": "timestamp", "row_key": "text", "row_data": "text"}


@dataclass(frozen=True)
class JsonReportTarget:
    """The rows of one custom report in `comagic_reports`.

    `day` gives the day of a row, None for a report that tells no time; `place` what orders the rows of a day: time, or
    None, and key; `json` the text of a row. `key` are the fields that tell rows apart, where the texts hold them.
    """

    name: str
    processor_id: int
    day: Callable[[Any], date | None]
    place: Callable[[Any], tuple[datetime | None, str]]
    json: Callable[[Any], str]
    key: Sequence[str] = ()

    def day_of(self, row: Any) -> date | None:
        """The day of a row."""
        return self.day(row)

    def make_room(self, connection: Connection, warehouse: Warehouse, first_day: date, last_day: date) -> None:
        """The monthly partitions of these days."""
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
    ) -> Iterable[RejectedValue]:
        """COPY the rows aside."""
        values = ((day, *self.place(row), self.json(row)) for row, day in zip(rows, days, strict=True))
        copy_rows(connection, warehouse, "pg_temp.incoming_rows", [*_COLUMNS], [*_COLUMNS.values()], values)
        return ()

    def compare(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        days: Sequence[date],  # noqa: ARG002
        loaded_at: datetime,  # noqa: ARG002
    ) -> Mapping[date | None, Compared]:
        """Number the rows and compare them with those of the table, which are not touched yet."""
        for statement in _NUMBER:
            connection.execute(text(statement))
        counted: Iterable[Any] = self._execute(connection, warehouse, account, _COMPARE)
        found: dict[date | None, Compared] = {
            day: Compared(Changes(added, updated, deleted), before) for day, added, updated, deleted, before in counted
        }
        connection.execute(CreateTable(_gone, if_not_exists=True))
        # A number within the day says nothing of which rows went: these are found by their values.
        changed = [day for day, each in found.items() if each.changes.updated or each.changes.deleted]
        if changed:
            self._execute(connection, warehouse, account, _SET_ASIDE, days=changed)
            for day, _, _, _, _, vanished in connection.execute(by_values(self._here, _gone)):
                if day in changed:
                    found[day] = replace(found[day], vanished=vanished)
        return found

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
            places = unmatched(self._here, _gone, days, is_bounded=bool(self.key))
            removed.keep(connection, comagic_reports, places, days, "simple_date", ("row_id",))
        for statement in _MERGE:
            self._execute(connection, warehouse, account, statement)
        connection.execute(text(_END))

    def _execute(
        self, connection: Connection, warehouse: Warehouse, account: Account, statement: str, **values: Any
    ) -> CursorResult[Any]:
        names = _NAMES | {
            "reports": warehouse.quote("star", comagic_reports.name),
            "gone": connection.dialect.identifier_preparer.quote_identifier(_gone.name),
            "identity": self._identity.format(row="report"),
        }
        values |= account.values | {"processor_id": self.processor_id}
        return connection.execute(text(statement.format(**names)), values)

    @property
    def _identity(self) -> str:
        """SQL for the hash of a row's key; one and the same for all rows where the texts do not hold the key."""
        if not self.key:
            return "cast(0 as bigint)"
        # Names of fields are the catalog's.
        fields = ", ".join(f"cast({{row}}.row_data as json) ->> '{name}'" for name in self.key)
        return f"hash_record_extended(row({fields}), 0)"

    @property
    def _here(self) -> FromClause:
        """The rows that come, as `changes` takes them."""
        return (
            select(
                column("simple_date", Date).label(DAY),
                literal_column(self._identity.format(row="numbered_rows"), BigInteger).label(IDENTITY),
                literal_column("hashtextextended(row_data, 0)", BigInteger).label(VALUES),
            )
            .select_from(table("numbered_rows"))
            .subquery("here")
        )


_BEGIN = (
    "create temporary table if not exists incoming_days (simple_date date) on commit drop",
    "create temporary table if not exists incoming_rows"
    ' (simple_date date, moment timestamp, row_key text collate "C", row_data text collate "C") on commit drop',
)
_NOTE_DAYS = "insert into incoming_days select unnest(cast(:days as date[]))"
_NUMBER = (
    """
    create temporary table numbered_rows on commit drop as
    select simple_date, row_data, cast(row_number() over day as int) as row_id
      from incoming_rows
    window day as (partition by simple_date order by moment, row_key, row_data)
    """,
    "analyze numbered_rows",
)
_COMPARE = """
select coalesce(held.simple_date, incoming.simple_date) as day,
       count(*) filter (where held.row_id is null),
       count(*) filter (where held.row_data <> incoming.row_data),
       count(*) filter (where incoming.row_id is null),
       count(held.row_id)
  from (
      select simple_date, row_id, row_data
        from {reports} as report
       where {mine} and simple_date in (select simple_date from incoming_days)
  ) as held
  full join numbered_rows as incoming on incoming.simple_date = held.simple_date and incoming.row_id = held.row_id
 group by day
"""
_SET_ASIDE = """
insert into {gone}
select report.tableoid, report.ctid, report.simple_date, {identity}, hashtextextended(report.row_data, 0)
  from {reports} as report
 where {mine} and report.simple_date = any(:days)
"""
_MERGE = (
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
    insert into {reports} (account_id, customer_user_id, processor_id, simple_date, row_id, row_data)
    select :account_id, :customer_user_id, :processor_id, simple_date, row_id, row_data
      from numbered_rows as incoming
     where not exists (select from {reports} as report where {mine} and {same})
    """,
)
_NAMES = {
    "mine": "report.processor_id = :processor_id and report.account_id = :account_id"
    " and report.customer_user_id = :customer_user_id",
    "same": "report.simple_date = incoming.simple_date and report.row_id = incoming.row_id",
}
_END = "drop table incoming_days, incoming_rows, numbered_rows"
