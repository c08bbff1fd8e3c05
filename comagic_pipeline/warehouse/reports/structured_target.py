"""The target of structured reports: a day of all tables of a report is replaced at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, text

from comagic_pipeline.warehouse.changes import Compared, Replaced
from comagic_pipeline.warehouse.copying import COPY_TYPES, copy_rows
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.previous_rows import put_back
from comagic_pipeline.warehouse.reports.declaration import OWN_COLUMNS, ReportTable
from comagic_pipeline.warehouse.reports.tables import sql_table
from comagic_pipeline.warehouse.target import Account, RejectedRow, RejectedValue, Removed, Written

RowsOf = Callable[[Sequence[Any], Sequence[date], list[RejectedValue]], Iterator[tuple[Any, ...]]]
"""Rows of a report and their days as tuples of a table: the day, then its columns. Adds what does not fit to a list."""


@dataclass(frozen=True)
class StructuredTarget:
    """The tables of one custom report, each with what makes its rows; `day` gives the day of a row of the report."""

    name: str
    processor_id: int
    day: Callable[[Any], date | None]
    tables: Sequence[tuple[ReportTable, RowsOf]]

    def day_of(self, row: Any) -> date | None:
        """Return the day of a row."""
        return self.day(row)

    def make_room(self, connection: Connection, warehouse: Warehouse, first_day: date, last_day: date) -> None:
        """Make the monthly partitions of these days."""
        for table, _ in self.tables:
            ensure_months(connection, warehouse.schemas.star, table.name, first_day, last_day)

    def empty(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:
        """Delete the days."""
        for number, (declared, _) in enumerate(self.tables):
            _replaced(declared).take_away(connection, _which(declared, account, days))
            if declared.may_repeat:
                target = warehouse.quote("star", declared.name)
                create = f"create temporary table if not exists {_aside(number)} (like {target}) on commit drop"
                connection.execute(text(create))

    def write(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        rows: Sequence[Any],
        days: Sequence[date],
        loaded_at: datetime,
    ) -> Written:
        """COPY the rows of each table: aside, where its key may not tell them apart."""
        rejected: list[RejectedValue] = []
        owner = (account.account_id, account.customer_user_id, self.processor_id)
        for number, (table, rows_of) in enumerate(self.tables):
            target = _aside(number) if table.may_repeat else warehouse.quote("star", table.name)
            columns = sql_table(table).columns.keys()
            types = ["int4", "int8", "int4", "date", *(COPY_TYPES[column.type] for column in table.columns)]
            unfit: list[RejectedValue] = []

            def values(rows_of: RowsOf = rows_of, unfit: list[RejectedValue] = unfit) -> Iterable[tuple[Any, ...]]:
                unfit.clear()
                return ((*owner, *row, loaded_at) for row in rows_of(rows, days, unfit))

            refused = copy_rows(connection, warehouse, target, columns, [*types, "timestamptz"], values)
            repeated = f"{_repeated(table)}; the one that came first is kept"
            rejected += unfit
            rejected += [
                RejectedRow.of(row, columns, OWN_COLUMNS, table.key, "simple_date", repeated) for row in refused
            ]
        return Written(rejected)

    def compare(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        days: Sequence[date],
        loaded_at: datetime,
    ) -> Mapping[date | None, Compared]:
        """Of the rows that share a key keep one, always the same, reject the others, then compare each table."""
        self._keep_one_of_each_key(connection, warehouse, account, loaded_at)
        found: dict[date | None, Compared] = {}
        for table, _ in self.tables:
            for day, compared in _replaced(table).compare(connection, _which(table, account, days)).items():
                found[day] = found.get(day, Compared()).joined(compared)
        return found

    def put_back(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:
        """Put back the rows of the days in all tables."""
        for table, _ in self.tables:
            put_back(connection, warehouse, sql_table(table), _which(table, account, days))

    def finish(
        self,
        connection: Connection,
        warehouse: Warehouse,  # noqa: ARG002
        account: Account,
        days: Sequence[date],
        removed: Removed | None,
    ) -> None:
        """Keep what the days lose in any of the tables."""
        if removed is None:
            return
        for table, _ in self.tables:
            places = _replaced(table).vanished(_which(table, account, days), days)
            removed.keep(connection, sql_table(table), places, days, "simple_date", table.key)

    def _keep_one_of_each_key(
        self, connection: Connection, warehouse: Warehouse, account: Account, loaded_at: datetime
    ) -> None:
        quote = connection.dialect.identifier_preparer.quote_identifier
        for number, (table, _) in enumerate(self.tables):
            if not table.may_repeat:
                continue
            names = {
                "aside": _aside(number),
                "target": warehouse.quote("star", table.name),
                "rejected": warehouse.quote("ops", "rejected_rows"),
                "key": ", ".join(map(quote, table.key)),
                "columns": ", ".join(map(quote, sql_table(table).columns.keys())),
            }
            values = account.values | {
                "table_name": self.name,
                "loaded_at": loaded_at,
                "reason": f"{_repeated(table)}; the first in the order of their texts is kept",
                "not_compared": [*OWN_COLUMNS],
            }
            for statement in (_KEEP_ONE, _REJECT_OTHERS):
                connection.execute(text((_NUMBERED + statement).format(**names)), values)
            connection.execute(text(f"drop table {_aside(number)}"))


def _which(table: ReportTable, account: Account, days: Sequence[date]) -> ColumnElement[bool]:
    columns = sql_table(table).c
    mine = (columns.account_id == account.account_id) & (columns.customer_user_id == account.customer_user_id)
    return mine & columns.simple_date.in_(days)


def _replaced(table: ReportTable) -> Replaced:
    return Replaced(sql_table(table), table.key, bool(table.key), "simple_date")


def _repeated(table: ReportTable) -> str:
    return f"another row of the day has the same key ({', '.join(table.key)}) in {table.name}"


def _aside(number: int) -> str:
    return f"pg_temp.incoming_{number}"


# No column of a user has a name with spaces.
_NUMBERED = """
with numbered as (
    select incoming.*, to_jsonb(incoming) - cast(:not_compared as text[]) as "the row",
           row_number() over (
               partition by simple_date, {key}
               order by cast(to_jsonb(incoming) - cast(:not_compared as text[]) as text) collate "C"
           ) as "number of the row"
      from {aside} as incoming
)
"""
_KEEP_ONE = """
insert into {target} ({columns}) select {columns} from numbered where "number of the row" = 1
"""
_REJECT_OTHERS = """
insert into {rejected} (account_id, customer_user_id, table_name, event_date, row_key, value, reason, loaded_at)
select :account_id, :customer_user_id, :table_name, simple_date, concat_ws(', ', {key}), cast("the row" as text),
       :reason, :loaded_at
  from numbered where "number of the row" > 1
"""
