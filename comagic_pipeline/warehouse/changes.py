"""Compare the rows that a load replaces with those that it writes, day by day.

When the rows of a day are deleted, their place in the table, their key and a hash of their values are kept aside;
before the commit they are compared with the new rows. A day that had no rows is not compared. The old rows themselves
are not copied: until the commit every other connection still sees them (`previous_rows`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Date,
    FromClause,
    Label,
    MetaData,
    Select,
    Subquery,
    Table,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import OID
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import UserDefinedType

PARTITION, PLACE, DAY, IDENTITY, VALUES = "the partition", "the place", "the day", "the identity", "the values"
"""Columns of the rows that are kept aside: no column of ours or of a user has a name with spaces."""


class _Tid(UserDefinedType[str]):
    """The place of a row in its partition."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the name of the type."""
        return "tid"


@dataclass(frozen=True)
class Changes:
    """Rows of a table, or of several; rows that stay as they are count as none of the three."""

    added: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(self.added + other.added, self.updated + other.updated, self.deleted + other.deleted)


@dataclass(frozen=True)
class Compared:
    """The changes of a day, the rows that it had `before`, and how many of those have no successor: `vanished`."""

    changes: Changes = Changes()
    before: int = 0
    vanished: int = 0

    def joined(self, other: "Compared") -> "Compared":
        """Return the comparison of a day in two tables: changes of both, the loss of the one that loses more."""
        worse = max(self, other, key=lambda each: each.vanished / max(each.before, 1))
        return Compared(self.changes + other.changes, worse.before, worse.vanished)


@dataclass(frozen=True)
class Replaced:
    """A table of which rows are replaced in a transaction, and what tells one row from another.

    Where the key is not unique, one row that changes counts as one deleted and one added; it vanishes when fewer rows
    with its key come than went, or, without any key, when the day gets fewer rows. `day` is the column of the day; None
    for a table that is replaced as a whole. `not_compared` are columns that change with every load.
    """

    table: Table
    key: Sequence[str]
    is_unique: bool
    day: str | None
    not_compared: Sequence[str] = ("loaded_at",)

    def take_away(self, connection: Connection, which: ColumnElement[bool]) -> None:
        """Delete rows; may be called for several parts of the table."""
        self.create_aside(connection)
        place: list[Label[Any]] = [
            literal_column("tableoid").label(PARTITION),
            literal_column("ctid").label(PLACE),
        ]
        deleted = delete(self.table).where(which).returning(*place, *self._compared).cte("deleted")
        connection.execute(insert(self.gone).from_select(self.gone.columns.keys(), select(*deleted.c)))

    def create_aside(self, connection: Connection) -> None:
        """Create the temporary table of the rows that go; it ends with the transaction."""
        connection.execute(CreateTable(self.gone, if_not_exists=True))

    def compare(self, connection: Connection, which: ColumnElement[bool]) -> dict[date | None, Compared]:
        """Compare the rows that are there now with those that were taken away of the same parts, by day."""
        if connection.scalar(select(literal_column("1")).select_from(self.gone).limit(1)) is None:
            added = connection.scalar(select(func.count()).select_from(self.table).where(which))
            return {None: Compared(Changes(added or 0))}
        here = select(*self._compared).where(which).subquery("here")
        query = self._by_key(here) if self.is_unique else by_values(here, self.gone)
        return {
            day: Compared(Changes(added, updated, deleted), before, vanished)
            for day, added, updated, deleted, before, vanished in connection.execute(query)
        }

    def vanished(self, which: ColumnElement[bool], days: Collection[date | None]) -> Select[Any]:
        """Select partition and place of the rows of these days that were taken away and have no successor."""
        here, gone = select(*self._compared).where(which).subquery("here"), self.gone
        if not self.is_unique:
            return unmatched(here, gone, days, is_bounded=bool(self.key))
        return select(gone.c[PARTITION], gone.c[PLACE]).where(
            among(gone, days), ~exists().where(self._same(here, gone))
        )

    @property
    def gone(self) -> Table:
        """The temporary table of the rows that were taken away."""
        keys = [Column(name, self.table.c[name].type) for name in self.key]
        identity = keys if self.is_unique else [Column(IDENTITY, BigInteger)]
        return aside(self.table.name, identity)

    @property
    def _compared(self) -> list[ColumnElement[Any]]:
        columns = self.table.c
        day: ColumnElement[Any] = columns[self.day] if self.day else sql_cast(null(), Date)
        names = [each.name for each in columns if each.name not in (*self.key, *self.not_compared)]
        identity = [columns[name] for name in self.key] if self.is_unique else [self._identity.label(IDENTITY)]
        # The key is part of the values where it is not compared itself.
        compared = names if self.is_unique else [*self.key, *names]
        return [day.label(DAY), *identity, _hash([columns[name] for name in compared]).label(VALUES)]

    @property
    def _identity(self) -> ColumnElement[Any]:
        return _hash([self.table.c[name] for name in self.key]) if self.key else literal(0, BigInteger)

    def _same(self, here: FromClause, gone: FromClause) -> ColumnElement[bool]:
        names = [*([DAY] if self.day else []), *self.key]
        return and_(*(here.c[name] == gone.c[name] for name in names))

    def _by_key(self, here: Subquery) -> Select[Any]:
        gone = self.gone
        is_here, was_there = here.c[VALUES].is_not(None), gone.c[VALUES].is_not(None)
        deleted = func.count().filter(~is_here)
        day = func.coalesce(here.c[DAY], gone.c[DAY])
        both = here.join(gone, self._same(here, gone), full=True)
        counted: tuple[ColumnElement[Any], ...] = (
            func.count().filter(~was_there),
            func.count().filter(is_here, was_there, here.c[VALUES] != gone.c[VALUES]),
            deleted,
            func.count(gone.c[VALUES]),
            deleted,
        )
        return select(day, *counted).select_from(both).group_by(day)


def aside(name: str, identity: Sequence[Column[Any]]) -> Table:
    """Return the temporary table for rows of a table that go: place, day, what tells them apart, hash of the values."""
    columns: list[Column[Any]] = [Column(PARTITION, OID), Column(PLACE, _Tid), Column(DAY, Date)]
    columns += [*identity, Column(VALUES, BigInteger)]
    # Bytes of an identifier; names of users may have letters of two.
    name = f"gone of {name}".encode()[:63].decode(errors="ignore")
    return Table(name, MetaData(), *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DROP")


def by_values(here: FromClause, gone: FromClause) -> Select[Any]:
    """Count by day what changed where the key is not unique: rows are told apart by all of their values."""
    both = union_all(
        select(here.c[DAY], here.c[IDENTITY], here.c[VALUES], literal(1).label("now"), literal(0).label("then")),
        select(gone.c[DAY], gone.c[IDENTITY], gone.c[VALUES], literal(0), literal(1)),
    ).subquery("both_of_them")
    now, then = func.sum(both.c.now), func.sum(both.c.then)
    alike = (
        select(both.c[DAY], both.c[IDENTITY], now.label("now"), then.label("then"))
        .group_by(both.c[DAY], both.c[IDENTITY], both.c[VALUES])
        .subquery("alike")
    )
    of_identity = (
        select(
            alike.c[DAY],
            func.sum(func.greatest(alike.c.now - alike.c.then, 0)).label("added"),
            func.sum(func.greatest(alike.c.then - alike.c.now, 0)).label("deleted"),
            func.sum(alike.c.then).label("before"),
            func.greatest(func.sum(alike.c.then) - func.sum(alike.c.now), 0).label("vanished"),
        )
        .group_by(alike.c[DAY], alike.c[IDENTITY])
        .subquery("of_identity")
    )
    columns = of_identity.c
    totals = [_whole(func.sum(columns[name])) for name in ("added", "deleted", "before", "vanished")]
    return select(columns[DAY], totals[0], literal(0), *totals[1:]).group_by(columns[DAY])


def unmatched(here: FromClause, gone: FromClause, days: Collection[date | None], *, is_bounded: bool) -> Select[Any]:
    """Select partition and place of the rows of these days that have no equal row now and vanished.

    That is as many of an identity as it has fewer rows now, where `is_bounded`; else all of them on days with fewer
    rows: nobody can tell which of them only changed.
    """
    alike, identity = (DAY, IDENTITY, VALUES), (DAY, IDENTITY)
    number = func.row_number().over(partition_by=[gone.c[name] for name in alike]).label("number")
    then = select(gone, number).where(among(gone, days)).subquery("then_alike")
    now = _counted(here, alike, "now_alike")
    place = [then.c[name] for name in (PARTITION, PLACE, *identity)]
    rank = func.row_number().over(partition_by=[then.c[name] for name in identity]).label("number")
    left = (
        select(*place, rank)
        .select_from(then.outerjoin(now, _equal(now, then, alike)))
        .where(then.c.number > func.coalesce(now.c.times, 0))
        .subquery("left_over")
    )
    total_then, total_now = _counted(gone, identity, "total_then"), _counted(here, identity, "total_now")
    fewer = total_then.c.times - func.coalesce(total_now.c.times, 0)
    totals = left.join(total_then, _equal(total_then, left, identity))
    totals = totals.outerjoin(total_now, _equal(total_now, left, identity))
    bound = left.c.number <= fewer if is_bounded else fewer > 0
    return select(left.c[PARTITION], left.c[PLACE]).select_from(totals).where(bound)


def among(rows: FromClause, days: Collection[date | None]) -> ColumnElement[bool]:
    """Return the condition that rows are of these days; None stands for rows of no day."""
    named = [day for day in days if day is not None]
    found = rows.c[DAY].in_(named)
    return found | rows.c[DAY].is_(None) if None in days else found


def _counted(rows: FromClause, names: Sequence[str], alias: str) -> Subquery:
    columns = [rows.c[name] for name in names]
    return select(*columns, func.count().label("times")).group_by(*columns).subquery(alias)


def _equal(rows: FromClause, others: FromClause, names: Sequence[str]) -> ColumnElement[bool]:
    return and_(*(rows.c[name] == others.c[name] for name in names))


def _whole(number: ColumnElement[Any]) -> ColumnElement[int]:
    return sql_cast(number, BigInteger)


def _hash(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[int]:
    return func.hash_record_extended(func.row(*columns), 0, type_=BigInteger)
