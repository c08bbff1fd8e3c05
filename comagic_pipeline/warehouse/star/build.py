"""Build the star of one kind, account and period from raw tables, by running the `.sql` files of the kind.

What a step does is in its file; here are the order of steps, the values and names put into them, and the count of
changes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    CursorResult,
    Executable,
    Integer,
    Numeric,
    String,
    Table,
    func,
    select,
    text,
)

from comagic_pipeline.warehouse.engine import Schemas
from comagic_pipeline.warehouse.star.kind import Kind, unique_columns
from comagic_pipeline.warehouse.star.merge import (
    delete_gone,
    delete_owned,
    insert_missing,
    update_changed,
    value_columns,
)
from comagic_pipeline.warehouse.star.shared import comagic_campaigns
from comagic_pipeline.warehouse.star.tables import SHARED
from comagic_pipeline.warehouse.star.template import fill, names_of_kind, names_of_schemas

_CHANGE = re.compile(r"^(insert into|update|delete from) \{star\}\.(\w+)", re.MULTILINE)
_TEMPORARY_TABLE = re.compile(r"^create temporary table (\w+)", re.MULTILINE)
_LARGEST_INTEGER = 2**31 - 1
_COUNTERS = {"insert into": "inserted", "update": "updated", "delete from": "deleted"}


@dataclass(frozen=True)
class Account:
    """A configured source: the id that every table carries, and its name."""

    account_id: int
    caption: str


@dataclass
class Changes:
    """Rows that a build wrote to one table."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class BuildResult:
    """What a build did: `changes` by table name, and the facts of the kind on every day of the period."""

    changes: dict[str, Changes]
    facts_per_day: dict[date, int]


def build(
    connection: Connection, schemas: Schemas, account: Account, kind: Kind, first_day: date, last_day: date
) -> BuildResult:
    """Make the star of `account` equal to the kind's report for the days from `first_day` to `last_day`, both included.

    Rows of an agent's customers are told apart by `customer_user_id`, as in raw.

    Needs the raw tables of the report and of campaigns, and no other. Runs in the caller's transaction, which must be
    READ COMMITTED (PostgreSQL's default), and leaves the commit to the caller. Rows that are right already are not
    touched, so ids are stable and a second build writes nothing. Builds take turns, each waiting until the one before
    has committed, because kinds and sources share the general_* dimensions. The planner's settings of `planner.sql`
    stay in force until the transaction ends.

    Raises ValueError when the period ends before it begins.
    """
    if last_day < first_day:
        raise ValueError(f"Cannot build the star: the period ends ({last_day}) before it begins ({first_day}).")
    lock_star(connection, schemas)
    steps = _Steps(connection, schemas, account, kind, first_day, last_day)
    steps.run("planner", "accounts", "period", "dimensions")
    steps.merge(comagic_campaigns, "campaigns")
    steps.run("deleted_campaigns")
    steps.merge(kind.dimension, "dimension")
    steps.merge(kind.facts, "facts", kind.key)
    for child in kind.children:
        steps.merge(child, kind.array(child), is_child=True)
    steps.run("vanished")
    for table in (*kind.children, kind.facts, kind.dimension):
        steps.delete_vanished(table)
    facts = steps.facts_per_day()
    steps.drop_temporary_tables()
    return BuildResult(steps.changes, {day: facts.get(day, 0) for day in _days(first_day, last_day)})


def lock_star(connection: Connection, schemas: Schemas) -> None:
    """Wait for others that change the star, and let them wait until the caller's transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"star {schemas.star}", 0))))


class _Steps:
    """Runs the steps of one build and counts what they change."""

    def __init__(
        self, connection: Connection, schemas: Schemas, account: Account, kind: Kind, first_day: date, last_day: date
    ) -> None:
        self.changes = {table.name: Changes() for table in (*SHARED, *kind.tables)}
        self._connection = connection
        self._options = {"schema_translate_map": {"star": schemas.star}, "preserve_rowcount": True}
        self._kind = kind
        self._values: dict[str, Any] = {
            "account_id": account.account_id,
            "caption": account.caption,
            "first_day": first_day,
            "last_day": last_day,
        }
        self._names = {
            **names_of_schemas(schemas),
            **names_of_kind(kind),
            "measures": ", ".join(column.name for column in kind.facts.columns if _is_measure(column)),
            "rows": self._sql("rows"),
            "visitor": self._sql("visitor").strip(),
        }
        self._temporary_tables: list[str] = []

    def run(self, *steps: str) -> None:
        """Run the statements of files."""
        for statement in (each for step in steps for each in re.split(r";\n", self._sql(step)) if each.strip()):
            rows = self._execute(statement).rowcount
            if change := _CHANGE.search(statement):
                self._count(change[2], _COUNTERS[change[1]], rows)
            self._temporary_tables += _TEMPORARY_TABLE.findall(statement)

    def merge(self, target: Table, step: str, *extra: str, is_child: bool = False) -> None:
        """Make a table equal to the SELECT of a file, whose values are cut to the widths of the columns.

        `extra` columns are kept in the temporary table `new_<step>`. Of a child table rows are deleted too.
        """
        new = f"new_{step}"
        columns = ", ".join([*extra, *(_fitted(target.columns[name]) for name in value_columns(target))])
        rows = f"select {columns} from ({self._sql(step)}) as {new}"  # noqa: S608 - names of declared columns
        self._execute(f"create temporary table {new} on commit drop as {rows}")
        self._temporary_tables.append(new)
        keys = [name for name in unique_columns(target) if name != "account_id"]
        # Keys alone: statistics of long texts cost more than they are worth.
        self._execute(f"analyze {new} ({', '.join([*extra, *keys])})")
        account_id = self._values["account_id"]
        if is_child:
            self._change(target, "deleted", delete_gone(target, new, "new_facts", self._kind.owner, account_id))
        self._change(target, "updated", update_changed(target, new, account_id))
        self._change(target, "inserted", insert_missing(target, new, account_id))

    def delete_vanished(self, target: Table) -> None:
        """Delete what `vanished.sql` found, or what belongs to it."""
        self._change(target, "deleted", delete_owned(target, "vanished", self._kind.owner))

    def facts_per_day(self) -> dict[date, int]:
        """Return the rows of every day that has some."""
        counted = self._execute("select full_date::date as day, count(*) as facts from period_rows group by 1")
        return {row.day: row.facts for row in counted}

    def drop_temporary_tables(self) -> None:
        """They would go at the commit, but the caller may build another period before it."""
        self._execute(f"drop table {', '.join(self._temporary_tables)}")

    def _sql(self, step: str) -> str:
        return _sql(self._kind.name, step)

    def _execute(self, statement: str) -> CursorResult[Any]:
        return self._connection.execute(text(fill(statement, self._names)), self._values)

    def _change(self, target: Table, counter: str, statement: Executable) -> None:
        result = cast(CursorResult[Any], self._connection.execute(statement, execution_options=self._options))
        self._count(target.name, counter, result.rowcount)

    def _count(self, table: str, counter: str, rows: int) -> None:
        changes = self.changes[table]
        setattr(changes, counter, getattr(changes, counter) + rows)


@cache
def _sql(kind: str, step: str) -> str:
    """Return the text of a step's file: the kind's own, else the one that all kinds share."""
    folder = files(__package__)
    own = folder.joinpath("kinds", kind, f"{step}.sql")
    return (own if own.is_file() else folder.joinpath("shared", f"{step}.sql")).read_text(encoding="utf-8")


def _is_measure(column: Column[Any]) -> bool:
    return not column.foreign_keys and column.name not in ("id", "account_id", "customer_user_id")


def _fitted(column: Column[Any]) -> str:
    """Return the expression for a value of a column: cut to what it can hold, for one odd value must not stop a day.

    Where the API gives NULL, a NOT NULL column gets 0, false or 'unknown': an empty string would look like an answer,
    and 'unknown' is none of the API's codes.
    """
    value, default = column.name, None
    if isinstance(column.type, String) and column.type.length:
        value, default = f"left({column.name}::text, {column.type.length})", "'unknown'"
    elif isinstance(column.type, Boolean):
        default = "false"
    elif isinstance(column.type, Integer) and not isinstance(column.type, BigInteger) and not column.foreign_keys:
        # Not by least(), which takes NULL for the largest.
        # Nor by abs(): the smallest bigint has none, and fails the build.
        within = f"{column.name} between -{_LARGEST_INTEGER} and {_LARGEST_INTEGER} then {column.name}"
        value, default = f"(case when {within} else sign({column.name}) * {_LARGEST_INTEGER} end)::integer", "0"
    elif isinstance(column.type, Numeric):
        scale = column.type.scale or 0
        whole_digits = (column.type.precision or 0) - scale
        value = f"case when abs({column.name}) < 1e{whole_digits} - 1 then round({column.name}, {scale}) end"
    fitted = value if column.nullable or default is None else f"coalesce({value}, {default})"
    return f"{fitted} as {column.name}"


def _days(first_day: date, last_day: date) -> Iterator[date]:
    return (first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1))
