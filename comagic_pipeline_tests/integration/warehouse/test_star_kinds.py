"""The star of every kind on a real PostgreSQL, against plain Python over the rows of the sandbox."""

import random
import threading
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, create_engine, delete, insert, select, text

from comagic_pipeline import catalog
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.star.build import Account, BuildResult, Changes, build
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.kinds import KINDS
from comagic_pipeline_tests.integration.star_reference import (
    LOADED,
    MAIN,
    OTHER,
    OWNER,
    READINGS,
    Key,
    Reading,
    Row,
    by_text,
    expect_children_of,
    expect_facts_of,
    key_of,
    made_odd,
    raw_rows,
    tables,
)

DAYS = (date(2026, 3, 30), date(2026, 4, 1))
NOW = datetime(2026, 5, 1, tzinfo=UTC)
SHARED_KEYS = ("general_dates", "general_clientids", "general_locations", "general_traffic", "general_sites")

each_reading = pytest.mark.parametrize("reading", READINGS, ids=lambda reading: reading.kind.name)


def rows_of(reading: Reading, calls_per_day: int = 20) -> list[Row]:
    """Three days, over the end of a month, of two accounts: half of the rows as the API gives them, half odd."""
    dice = random.Random(3)
    rows = []
    for seed, account in enumerate((MAIN, OTHER)):
        world = World(seed, calls_per_day, campaigns=5, now=lambda: NOW)
        found = raw_rows(reading, world, account, DAYS)
        rows += dice.sample(found, min(len(found), 200))
    return [made_odd(reading, row, dice) if dice.random() < 0.5 else row for row in rows]


def load(connection: Connection, reading: Reading, rows: Iterable[Row]) -> None:
    """Put raw rows in place of those that are there."""
    connection.execute(delete(reading.raw))
    connection.execute(insert(reading.raw), list(rows))


def build_both(connection: Connection, kind: Kind, days: tuple[date, date] = DAYS) -> list[BuildResult]:
    """Build the days of both accounts."""
    return [build(connection, Schemas(), account, kind, *days) for account in (MAIN, OTHER)]


def facts_of(connection: Connection, kind: Kind) -> dict[Key, Row]:
    """The facts in the form of `expect_facts_of`. Inner joins: a key without its member would lose a row."""
    own, facts, campaigns = kind.dimension, kind.facts, tables.comagic_campaigns
    joined = facts.join(own)
    for name in SHARED_KEYS:
        joined = joined.join(vars(tables)[name])
    joined = joined.join(
        campaigns,
        (campaigns.c.id == facts.c.campaigns_id)
        & (campaigns.c.account_id == facts.c.account_id)
        & (campaigns.c.customer_user_id == facts.c.customer_user_id)
        & (own.c.customer_user_id == facts.c.customer_user_id),
    )
    values = [
        tables.general_dates.c.full_date,
        tables.general_clientids.c.clientid,
        *(tables.general_locations.c[name] for name in ("country", "region", "city")),
        *(tables.general_traffic.c[n] for n in ("source", "medium", "campaign", "content", "keyword", "landing_page")),
        tables.general_sites.c.domain,
        campaigns.c.campaign_id,
        *(c.label(f"own_{c.name}") for c in own.columns if c.name not in OWNER),
        *(c.label(f"measure_{c.name}") for c in facts.columns if not c.foreign_keys and c.name not in OWNER),
    ]
    key = (facts.c.account_id, facts.c.customer_user_id, own.c[kind.key])
    rows = connection.execute(select(*key, *values).select_from(joined))
    return {(row[0], row[1], row[2]): dict(zip(list(rows.keys())[3:], row[3:], strict=True)) for row in rows}


def children_of(connection: Connection, kind: Kind) -> dict[str, list[tuple[Any, ...]]]:
    """The child rows in the form of `expect_children_of`."""
    own = kind.dimension
    found = {}
    for child in kind.children:
        values = [column for column in child.columns if column.name not in ("id", "account_id", kind.owner)]
        rows = connection.execute(
            select(own.c.customer_user_id, child.c.account_id, own.c[kind.key], *values)
            .select_from(child.join(own))
            .where(child.c.account_id == own.c.account_id)
        )
        found[kind.array(child)] = by_text(tuple(row) for row in rows)
    return found


def ids_of(connection: Connection, kind: Kind) -> dict[Key, tuple[int, int]]:
    """The surrogate ids of each row in the own dimension and the facts."""
    own, facts = kind.dimension, kind.facts
    key = (own.c.account_id, own.c.customer_user_id, own.c[kind.key])
    rows = connection.execute(select(*key, own.c.id, facts.c.id).select_from(own.join(facts)))
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}


@each_reading
def test_the_star_of_a_kind_follows_raw(database_url: str, reading: Reading) -> None:
    """Facts, own dimension and children are what raw says, at first and after rows changed, moved and vanished.

    No raw table is there but that of the report and campaigns. A second build writes nothing, ids stay with their rows.
    """
    kind, dice = reading.kind, random.Random(5)
    needed = [catalog.tables()[name] for name in (kind.report, "campaigns")]
    with Warehouse(database_url) as warehouse:
        upgrade(warehouse, needed)
        with warehouse.connect() as connection:
            ensure_months(connection, "comagic_raw", needed[0].table, *DAYS)
            rows = rows_of(reading)
            load(connection, reading, rows)
            results = build_both(connection, kind)
            assert facts_of(connection, kind) == expect_facts_of(reading, rows)
            assert children_of(connection, kind) == expect_children_of(reading, rows)
            assert all(len(found) > 10 for found in expect_children_of(reading, rows).values())
            assert sum(n for result in results for n in result.facts_per_day.values()) == len(rows) > 25
            ids = ids_of(connection, kind)
            days_of = {key: fact["full_date"].date() for key, fact in facts_of(connection, kind).items()}
            nothing = [dict.fromkeys(result.changes, Changes()) for result in results]
            assert [result.changes for result in build_both(connection, kind)] == nothing

            changed, doubled = [], set()
            for row in rows:
                fate = dice.choice(
                    ("stays", "stays", "changes", "moves", "is two customers'", "on two days", "vanishes")
                )
                if fate == "changes":
                    changed.append(made_odd(reading, row, dice))
                elif fate == "moves":
                    changed.append(moved(reading, row))
                elif fate == "is two customers'":
                    changed += [row, made_odd(reading, row, dice) | {"customer_user_id": 30}]
                    doubled.add(key_of(reading, row))
                elif fate == "on two days":
                    other = moved(reading, made_odd(reading, row, dice))
                    changed += [row, other | {"loaded_at": row["loaded_at"]}]
                elif fate == "stays":
                    changed.append(row)
            load(connection, reading, changed)
            days = [DAYS[0] + timedelta(days=number) for number in range(4)]
            for day in dice.sample(days, 4):
                build_both(connection, kind, (day, day))
            expected = expect_facts_of(reading, changed)
            assert facts_of(connection, kind) == expected
            assert children_of(connection, kind) == expect_children_of(reading, changed)
            still = ids_of(connection, kind)
            # A row that moved is a new one when the day that it left is built first.
            stayed = [key for key in still.keys() & ids.keys() if expected[key]["full_date"].date() == days_of[key]]
            assert {key: still[key] for key in stayed} == {key: ids[key] for key in stayed}
            own_rows = connection.scalar(text(f"select count(*) from comagic.{kind.dimension.name}"))
            assert own_rows == len(still)
            assert ids.keys() - still.keys()
            assert {(account_id, 30, number) for account_id, _, number in doubled} == still.keys() - ids.keys() != set()


def moved(reading: Reading, row: Row) -> Row:
    """The row as a later load gave it, a day later."""
    moment = row[reading.time_column] + timedelta(days=1)
    return row | {
        reading.time_column: moment,
        "event_date": moment.date(),
        "loaded_at": LOADED + timedelta(hours=1),
    }


def test_kinds_share_dimensions_without_doubling_them(warehouse: Warehouse) -> None:
    """All kinds of two accounts, built at once by twelve connections, wait for each other and never deadlock."""
    rows = {reading.kind.name: rows_of(reading, calls_per_day=12) for reading in READINGS}
    with warehouse.begin() as connection:
        for reading in READINGS:
            ensure_months(connection, "comagic_raw", reading.kind.report, *DAYS)
            load(connection, reading, rows[reading.kind.name])
    failures: list[BaseException] = []
    engine = create_engine(warehouse.url, pool_size=12).execution_options(schema_translate_map=asdict(Schemas()))
    jobs = [(kind, account) for kind in KINDS for account in (MAIN, OTHER)]
    start = threading.Barrier(len(jobs))

    def build_in_thread(kind: Kind, account: Account) -> None:
        try:
            with engine.begin() as connection:
                start.wait(timeout=20)
                build(connection, Schemas(), account, kind, *DAYS)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=build_in_thread, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    engine.dispose()
    assert failures == []
    with warehouse.connect() as connection:
        for reading in READINGS:
            assert facts_of(connection, reading.kind) == expect_facts_of(reading, rows[reading.kind.name])
        for name in SHARED_KEYS:
            table: Table = vars(tables)[name]
            values = [tuple(row)[1:] for row in connection.execute(select(table))]
            assert len(set(values)) == len(values), name
