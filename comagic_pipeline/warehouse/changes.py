"""What a load changes: rows added, updated and deleted, counted by comparing the rows that go with those that come.

Where rows are replaced, deleting them keeps their keys and a hash of their values aside; before the commit these are
compared with what stands there then. Where nothing stood before, nothing is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Label,
    MetaData,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.schema import CreateTable, DropTable

_LOOKS = "the looks"
"""Name of the hash of a row's values: no column has a name with spaces."""


@dataclass(frozen=True)
class Changes:
    """Rows of a table, or of several; rows that stay as they are count as none of the three."""

    added: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(self.added + other.added, self.updated + other.updated, self.deleted + other.deleted)


@dataclass(frozen=True)
class Replaced:
    """A table of which rows are replaced in a transaction, and what tells one row from another.

    Rows without a `key` are told apart by all of their values: one that changes counts as one deleted and one added.
    `not_compared` are columns that change with every load.
    """

    table: Table
    key: Sequence[str]
    not_compared: Sequence[str] = ("loaded_at",)

    def take_away(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Delete rows; may be called for several parts of the table."""
        gone = self._gone
        connection.execute(CreateTable(gone, if_not_exists=True))
        deleted = delete(self.table).where(which).returning(*self._compared).cte("deleted")
        connection.execute(insert(gone).from_select(gone.columns.keys(), select(*deleted.c)))

    def changes(self, connection: Connection, which: ColumnElement[bool]) -> Changes:
        """Compare the rows that stand there now with those that were taken away of the same parts."""
        gone = self._gone
        if connection.scalar(select(literal_column("1")).select_from(gone).limit(1)) is None:
            added = connection.scalar(select(func.count()).select_from(self.table).where(which))
            found = Changes(added or 0)
        else:
            here = select(*self._compared).where(which)
            query = _count_by_key(here, gone, self.key) if self.key else _count_by_looks(here, gone)
            found = Changes(*connection.execute(query).one())
        connection.execute(DropTable(gone))
        return found

    @property
    def _compared(self) -> list[ColumnElement[Any]]:
        names = [column.name for column in self.table.columns if column.name not in (*self.key, *self.not_compared)]
        values = func.row(*(self.table.c[name] for name in names))
        looks: Label[Any] = func.hash_record_extended(values, 0, type_=BigInteger).label(_LOOKS)
        return [*(self.table.c[name] for name in self.key), looks]

    @property
    def _gone(self) -> Table:
        keys = [Column(name, self.table.c[name].type) for name in self.key]
        columns = [*keys, Column(_LOOKS, BigInteger)]
        name = f"gone of {self.table.name}"[:63]
        return Table(name, MetaData(), *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DROP")


def _count_by_key(rows: Select[Any], gone: Table, key: Sequence[str]) -> Select[Any]:
    here = rows.subquery("here")
    both = here.join(gone, and_(*(here.c[name] == gone.c[name] for name in key)), full=True)
    is_here, was_there = here.c[_LOOKS].is_not(None), gone.c[_LOOKS].is_not(None)
    counted: tuple[ColumnElement[Any], ...] = (
        func.count().filter(~was_there),
        func.count().filter(is_here, was_there, here.c[_LOOKS] != gone.c[_LOOKS]),
        func.count().filter(~is_here),
    )
    return select(*counted).select_from(both)


def _count_by_looks(rows: Select[Any], gone: Table) -> Select[Any]:
    here = rows.subquery("rows")
    now = select(here.c[_LOOKS], func.count().label("times")).group_by(here.c[_LOOKS]).subquery("now")
    then = select(gone.c[_LOOKS], func.count().label("times")).group_by(gone.c[_LOOKS]).subquery("then")
    more = func.coalesce(now.c.times, 0) - func.coalesce(then.c.times, 0)
    counted: tuple[ColumnElement[Any], ...] = (
        func.sum(func.greatest(more, 0)),
        literal_column("0"),
        func.sum(func.greatest(-more, 0)),
    )
    return select(*counted).select_from(now.join(then, now.c[_LOOKS] == then.c[_LOOKS], full=True))
