"""Builds the star of one account and period from the raw tables, by running the `.sql` files beside this module.

What a step does is in its file; here are their order, the values bound to them, and the count of what they changed.
Creating the tables (`tables.py`) and loading raw are not here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files

from sqlalchemy import Connection, func, select, text

from comagic_pipeline.warehouse.engine import Schemas
from comagic_pipeline.warehouse.star.tables import metadata

STEPS = (
    "planner",
    "accounts",
    "period",
    "dimensions",
    "campaigns",
    "calls",
    "facts",
    "tags",
    "attributes",
    "vanished",
)

_CHANGE = re.compile(r"^(insert into|update|delete from) \{star\}\.(\w+)", re.MULTILINE)
_TEMPORARY_TABLE = re.compile(r"^create temporary table (\w+)", re.MULTILINE)
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
    """What a build did: `changes` by table name, and the rows of comagic_calls_facts on every day of the period."""

    changes: dict[str, Changes]
    facts_per_day: dict[date, int]


def build(connection: Connection, schemas: Schemas, account: Account, first_day: date, last_day: date) -> BuildResult:
    """Make the star of `account` equal to its raw tables for the days from `first_day` to `last_day`, both included.

    Runs in the caller's transaction, which must be READ COMMITTED (PostgreSQL's default), and leaves the commit to the
    caller. Rows that are right already are not touched, so ids are stable and a second build writes nothing. Builds
    take turns, each waiting until the one before has committed, because sources share the general_* dimensions. The
    planner's settings of `planner.sql` stay in force until the transaction ends.

    Raises ValueError when the period ends before it begins.
    """
    if last_day < first_day:
        raise ValueError(f"Cannot build the star: the period ends ({last_day}) before it begins ({first_day}).")
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"star {schemas.star}", 0))))
    values = {
        "account_id": account.account_id,
        "caption": account.caption,
        "first_day": first_day,
        "last_day": last_day,
    }
    quote = connection.dialect.identifier_preparer.quote_identifier
    changes = {table.name: Changes() for table in metadata.sorted_tables}
    temporary_tables = []
    for statement in _statements():
        sql = statement.replace("{raw}", quote(schemas.raw)).replace("{star}", quote(schemas.star))
        rows = connection.execute(text(sql), values).rowcount
        if change := _CHANGE.search(statement):
            counter, table = _COUNTERS[change[1]], changes[change[2]]
            setattr(table, counter, getattr(table, counter) + rows)
        temporary_tables += _TEMPORARY_TABLE.findall(statement)

    counted = connection.execute(text("select full_date::date, count(*) from period_calls group by 1"))
    facts: dict[date, int] = dict(counted.all())
    # They would go at the commit, but the caller may build another period before it.
    connection.execute(text(f"drop table {', '.join(temporary_tables)}"))
    return BuildResult(changes, {day: facts.get(day, 0) for day in _days(first_day, last_day)})


@cache
def _statements() -> list[str]:
    """The statements of all steps in order, with `{raw}` and `{star}` for the schemas."""
    folder = files(__package__)
    steps = [folder.joinpath(f"{step}.sql").read_text(encoding="utf-8") for step in STEPS]
    return [statement for step in steps for statement in re.split(r";\n", step) if statement.strip()]


def _days(first_day: date, last_day: date) -> Iterator[date]:
    return (first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1))
