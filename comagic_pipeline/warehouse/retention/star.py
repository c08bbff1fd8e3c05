"""Delete months of the star: the facts of a kind, its dimension and its children."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, Table, TextClause, column, delete, func, select, table, text

from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.retention.dependents import ForeignKey, foreign_keys
from comagic_pipeline.warehouse.star.build import lock_star
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.merge import delete_owned
from comagic_pipeline.warehouse.star.tables import metadata
from comagic_pipeline.warehouse.star.template import fill, names_of_kind, names_of_schemas

Period = tuple[date, date]
"""Days in a row, by the first and the last of them."""


@dataclass(frozen=True)
class Facts:
    """A kind of the star: its facts, its dimension and its children. What kinds or accounts share stays."""

    warehouse: Warehouse
    account_id: int
    kind: Kind

    def months(self, connection: Connection, horizon: date) -> set[date]:
        """Return the months of the account's facts, and of the days that wait to be built."""
        days = connection.scalars(
            self._filled(_MONTHS), {"account_id": self.account_id, "horizon": horizon, "facts": self.kind.facts.name}
        )
        return set(days)

    @property
    def names(self) -> Collection[str]:
        """Its assets."""
        return [target.name for target in self.kind.tables]

    def obstacles(self, connection: Connection, period: Period) -> list[str]:
        """Return the foreign keys of other people whose rows refer to a row of these days and hold it fast."""
        own = [self._quoted(target) for target in metadata.sorted_tables]
        keys = {target: foreign_keys(connection, [self._quoted(target)], own) for target in self._tables}
        if not any(keys.values()):
            return []
        self._find(connection, period)
        found = [
            f"rows of {key.table} refer to rows of {self._quoted(target)} (foreign key {key.name}): delete those rows, "
            "or drop the foreign key"
            for target in self._tables
            for key in keys[target]
            if not key.cascades and connection.scalar(text(self._is_referenced(target, key)))
        ]
        connection.execute(text("drop table outdated"))
        return found

    def _is_referenced(self, target: Table, key: ForeignKey) -> str:
        owner = self.kind.owner
        return (
            f"select exists (select from {key.table} as referencing"  # noqa: S608 - quoted names
            f" join {self._quoted(target)} as referenced on {key.join}"
            f" join outdated on outdated.{owner} = referenced.{owner if owner in target.c else 'id'})"
        )

    def count(self, connection: Connection, period: Period) -> dict[str, int]:
        """Return rows of days, both included."""
        self._find(connection, period)
        owner = self.kind.owner
        outdated = table("outdated", column(owner))
        counted = {}
        for target in self._tables:
            mine = target.c.get(owner, target.c.id).in_(select(outdated))
            counted[self._shown(target.name)] = connection.scalar(select(func.count()).where(mine)) or 0
        return counted

    def delete(self, connection: Connection, period: Period) -> tuple[dict[str, int], list[str]]:
        """Delete the facts of days, both included, and what belongs to them alone."""
        lock_star(connection, self.warehouse.schemas)
        self._find(connection, period)
        rows = {}
        for target in self._tables:
            deleted = connection.execute(delete_owned(target, "outdated", self.kind.owner))
            rows[self._shown(target.name)] = deleted.rowcount
        connection.execute(text("drop table outdated"))
        for book, name in ((ops.waiting_days, self.kind.facts.name), (ops.reconciliation, self.kind.report)):
            mine = (book.c.account_id == self.account_id) & (book.c.table_name == name) & book.c.day.between(*period)
            if book is ops.reconciliation:
                mine &= book.c.layer == "star"
            connection.execute(delete(book).where(mine))
        return rows, []

    @property
    def _tables(self) -> Sequence[Table]:
        return (*self.kind.children, self.kind.facts, self.kind.dimension)

    def _find(self, connection: Connection, period: Period) -> None:
        values = {"account_id": self.account_id, "first_day": period[0], "last_day": period[1]}
        connection.execute(self._filled(_FIND), values)
        connection.execute(text("analyze outdated"))

    def _filled(self, statement: str) -> TextClause:
        return text(fill(statement, names_of_schemas(self.warehouse.schemas) | names_of_kind(self.kind)))

    def _quoted(self, target: Table) -> str:
        return self.warehouse.quote("star", target.name)

    def _shown(self, table_name: str) -> str:
        return f"{self.warehouse.schemas.star}.{table_name}"


_MONTHS = """
select distinct cast(date_trunc('month', date.simple_date) as date)
  from {star}.{facts} as fact
  join {star}.general_dates as date on date.id = fact.dates_id
 where fact.account_id = :account_id and date.simple_date < :horizon
union
select distinct cast(date_trunc('month', day) as date)
  from {ops}.waiting_days
 where account_id = :account_id and table_name = :facts and day < :horizon
"""
_FIND = """
create temporary table outdated on commit drop as
select fact.{owner}
  from {star}.general_dates as date
  join {star}.{facts} as fact on fact.dates_id = date.id
 where date.simple_date between :first_day and :last_day and fact.account_id = :account_id
"""
