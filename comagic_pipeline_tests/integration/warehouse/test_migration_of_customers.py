"""Migration 0006 on a warehouse with data: the rows of agents get their customers, those of others stay as they are."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, insert, text
from sqlalchemy.schema import CreateSchema

from comagic_pipeline import catalog
from comagic_pipeline.catalog.table_names import DICTIONARIES, REPORTS
from comagic_pipeline.warehouse import migrations
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline.warehouse.migrations import alembic_config, is_current, upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.ops.pending_days import waiting_periods
from comagic_pipeline.warehouse.raw.tables import create_missing, raw_table
from comagic_pipeline.warehouse.star.build import Account, build
from comagic_pipeline.warehouse.star.kinds import KINDS
from comagic_pipeline_tests.integration.raw_reference import Row, query

METHODS = (*REPORTS, *DICTIONARIES)
DAYS = (date(2026, 1, 10), date(2026, 1, 11))
AGENT, OTHER = 1, 2
"""An agent of customers 101 and 102, and an account that is nobody's agent."""
LOADED = datetime(2026, 2, 1, tzinfo=UTC)
OLD_STAR = """
insert into "S".general_dates (full_date, year, quarter, quarter_label, month, month_label, week, weekday,
    weekday_label, day, hour, minute, date_hash, simple_date)
select day + interval '10 hours', 2026, 1, 'I', 1, 'Январь', 2, 1, 'Суббота', 10, 10, 0, 'hash', day
  from unnest(array[date '2026-01-10', date '2026-01-11']) as day;
insert into "S".general_clientids (clientid) values ('not available');
insert into "S".general_locations default values;
insert into "S".general_traffic default values;
insert into "S".general_sites default values;
insert into "S".comagic_campaigns (account_id, campaign_id, name)
select account_id, campaign_id, 'old' from unnest(array[1, 2]) as account_id, unnest(array[0, 10, 99]) as campaign_id;
"""
OLD_FACTS = """
insert into "S".comagic_{kind} (account_id, {key}{more})
select account_id, id{values} from unnest(array[1, 2]) as account_id, unnest(array[1, 2, 3, 9]) as id;
insert into "S".comagic_{kind}_facts (account_id, dates_id, clientids_id, locations_id, traffic_id, sites_id,
    {kind}_id, campaigns_id{measures})
select own.account_id,
       (select id from "S".general_dates where simple_date = date '2026-01-09' + least(own.{key}, 2)::int),
       1, 1, 1, 1, own.id, (
           select id from "S".comagic_campaigns as campaign
            where campaign.account_id = own.account_id
              and campaign.campaign_id = case own.{key} when 3 then 99 when 2 then 10 else 0 end
       ){zeros}
  from "S".comagic_{kind} as own;
"""
"""Rows 1 and 2 are both customers', 3 is that of 102 alone, and 9 has been deleted from raw."""


def old_facts(kind: Any) -> str:
    """The statements that fill a kind of the old star: columns that may not be empty get a value."""
    needed = [c for c in kind.dimension.columns if not c.nullable and c.name not in RESERVED and c.name != kind.key]
    measures = [c.name for c in kind.facts.columns if not c.nullable and c.name not in RESERVED and not c.foreign_keys]
    return OLD_FACTS.format(
        kind=kind.name,
        key=kind.key,
        more="".join(f", {column.name}" for column in needed),
        values="".join(", false" if column.name.startswith("is_") else ", 'x'" for column in needed),
        measures="".join(f", {name}" for name in measures),
        zeros=", 0" * len(measures),
    )


RESERVED = ("id", "account_id", "customer_user_id")


@pytest.fixture(params=[Schemas(), Schemas(raw="r", star="select", ops="ops_2")], ids=["usual names", "other names"])
def old(request: pytest.FixtureRequest, database_url: str) -> Iterator[Warehouse]:
    """A warehouse of the release before, with raw rows, a ledger and a star of every kind."""
    schemas: Schemas = request.param
    with Warehouse(database_url, schemas) as warehouse:
        with warehouse.begin() as connection:
            for schema in (schemas.raw, schemas.star, schemas.ops):
                connection.execute(CreateSchema(schema))
            command.upgrade(alembic_config(connection, warehouse), "0004")
            create_missing(connection, METHODS)
            fill_raw(connection, schemas)
            for statements in (OLD_STAR, *map(old_facts, KINDS)):
                connection.exec_driver_sql(statements.replace('"S"', f'"{schemas.star}"'))
        yield warehouse


def fill_raw(connection: Connection, schemas: Schemas) -> None:
    """Rows 1 and 2 of both customers, of whom 102 was loaded last; row 3 of 102; the other account's 1, 2 and 3."""
    owners = ((AGENT, 101, (1, 2), 0), (AGENT, 102, (1, 2, 3), 1), (OTHER, 0, (1, 2, 3), 0))
    campaigns = raw_table(catalog.tables()["campaigns"])
    for kind in KINDS:
        method = catalog.tables()[kind.report]
        ensure_months(connection, schemas.raw, method.table, *DAYS)
        for account_id, customer, ids, hours in owners:
            for number in ids:
                day = DAYS[min(number, 2) - 1]
                row: Row = {"account_id": account_id, "customer_user_id": customer, "event_date": day}
                row |= {"loaded_at": LOADED.replace(hour=hours), "id": number}
                row |= {method.key[0]: number, method.time_column or "": datetime(day.year, day.month, day.day, 10)}
                if "campaign_id" in {column.name for column in method.columns}:
                    row |= {"campaign_id": {2: 10, 3: 99}.get(number), "campaign_name": f"of {customer}"}
                connection.execute(insert(raw_table(method)).values(row))
    for account_id, customer, _, hours in owners:
        row = {"account_id": account_id, "customer_user_id": customer, "id": 10, "name": f"of {customer}"}
        connection.execute(insert(campaigns).values(row | {"loaded_at": LOADED.replace(hour=hours)}))
    lines = [
        {"account_id": account_id, "customer_user_id": customer, "table_name": kind.report, "day": day, "rows": 1}
        | {"points": 1, "seconds": 1, "run_id": "run", "loaded_at": LOADED}
        for account_id, customer, _, _ in owners
        for kind in KINDS
        for day in DAYS
    ]
    # The columns of this release: the ledger of the one before may have fewer.
    connection.execute(insert(ops.loaded_days), lines)


def star_rows(warehouse: Warehouse, table: str, account_id: int) -> list[Row]:
    """All columns of an account's rows, and which version of each there is."""
    name = warehouse.quote("star", table)
    return query(warehouse, f"select ctid::text, * from {name} where account_id = :id order by id", id=account_id)


TABLES = ("comagic_campaigns", *(table.name for kind in KINDS for table in (kind.dimension, kind.facts)))


def test_agents_rows_get_their_customers(old: Warehouse) -> None:
    """Of a row that two customers shared the one that was loaded last; facts and campaigns follow; no row is lost.

    Days of all kinds wait to be built, at no points; built, every customer has its rows, and a second build and a
    second upgrade write nothing.
    """
    before = {table: star_rows(old, table, OTHER) for table in TABLES}
    ids = {table: [row["id"] for row in star_rows(old, table, AGENT)] for table in TABLES}
    upgrade(old, METHODS)
    assert is_current(old)
    for table in TABLES:
        # No other version of a row: nothing was rewritten.
        assert star_rows(old, table, OTHER) == [row | {"customer_user_id": 0} for row in before[table]], table
        assert [row["id"] for row in star_rows(old, table, AGENT)] == ids[table], table
    for kind in KINDS:
        owned = {row[kind.key]: row["customer_user_id"] for row in star_rows(old, kind.dimension.name, AGENT)}
        assert owned == {1: 102, 2: 102, 3: 102, 9: 0}, kind.name
        own = {row["id"]: row["customer_user_id"] for row in star_rows(old, kind.dimension.name, AGENT)}
        facts = star_rows(old, kind.facts.name, AGENT)
        assert all(fact["customer_user_id"] == own[fact[kind.owner]] for fact in facts), kind.name
    campaigns = {row["campaign_id"]: row["customer_user_id"] for row in star_rows(old, "comagic_campaigns", AGENT)}
    assert campaigns == {0: 102, 10: 102, 99: 102}
    with old.connect() as connection:
        waiting = [(p.table_name, p.first_day, p.last_day, p.tries) for p in waiting_periods(connection, AGENT)]
        assert sorted(waiting) == sorted((kind.facts.name, *DAYS, 0) for kind in KINDS)
        assert waiting_periods(connection, OTHER) == []
    with old.begin() as connection:
        for kind in KINDS:
            build(connection, old.schemas, Account(AGENT, "main"), kind, *DAYS)
    for kind in KINDS:
        rows = star_rows(old, kind.dimension.name, AGENT)
        owned_keys = sorted((row["customer_user_id"], row[kind.key]) for row in rows)
        assert owned_keys == [(101, 1), (101, 2), (102, 1), (102, 2), (102, 3)], kind.name
        # Rows that were there keep their ids.
        assert [row["id"] for row in rows if row["customer_user_id"] == 102] == ids[kind.dimension.name][:3], kind.name
    names = {(r["customer_user_id"], r["campaign_id"]): r["name"] for r in star_rows(old, "comagic_campaigns", AGENT)}
    assert names[101, 10] == "of 101"
    assert names[102, 10] == "of 102"
    assert names.keys() == {(101, 0), (101, 10), (102, 0), (102, 10), (102, 99)}
    last = {table: star_rows(old, table, AGENT) for table in TABLES}
    with old.begin() as connection:
        for kind in KINDS:
            build(connection, old.schemas, Account(AGENT, "main"), kind, *DAYS)
    upgrade(old, METHODS)
    assert {table: star_rows(old, table, AGENT) for table in TABLES} == last


def test_an_upgrade_that_fails_changes_nothing(old: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns, keys, customers and waiting days come together or not at all."""
    before = {table: star_rows(old, table, AGENT) for table in TABLES}

    def fail(*_: Any) -> list[str]:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "create_marts", fail)
        with pytest.raises(RuntimeError):
            upgrade(old, METHODS)
    assert {table: star_rows(old, table, AGENT) for table in TABLES} == before
    version = query(old, f"select version_num from {old.quote('ops', 'alembic_version')}")
    assert version == [{"version_num": "0004"}]
    assert query(old, f"select * from {old.quote('ops', 'waiting_days')}") == []
    upgrade(old, METHODS)
    assert is_current(old)


def test_a_warehouse_without_raw_tables_and_agents_is_upgraded(database_url: str) -> None:
    """Raw tables are made after the migrations: that of a warehouse of the first release may lack some, or all."""
    with Warehouse(database_url) as warehouse:
        with warehouse.begin() as connection:
            for schema in ("comagic_raw", "comagic", "comagic_ops"):
                connection.execute(CreateSchema(schema))
            command.upgrade(alembic_config(connection, warehouse), "0004")
            connection.execute(
                text(
                    "insert into comagic_ops.loaded_days (account_id, customer_user_id, table_name, day, rows, points,"
                    " seconds, run_id, loaded_at) values (1, 101, 'calls_report', '2026-01-10', 0, 1, 1, 'run', now())"
                )
            )
        upgrade(warehouse, METHODS)
        assert is_current(warehouse)
        assert query(warehouse, "select * from comagic_ops.waiting_days") == []
