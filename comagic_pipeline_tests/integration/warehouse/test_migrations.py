"""Migrations: what they make is what is declared, for everyone, however often and by however many at once."""

import dataclasses
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, Table, inspect, make_url, text

from comagic_pipeline.catalog.table_names import DICTIONARIES, REPORTS
from comagic_pipeline.warehouse.engine import Schemas, Warehouse, WarehouseError
from comagic_pipeline.warehouse.migrations import is_current, upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.raw.tables import raw_table
from comagic_pipeline.warehouse.star import tables as star

METHODS = (*REPORTS, *DICTIONARIES)
OTHER_NAMES = Schemas(raw="r", star="select", ops="ops_2")
"""Names that need quotes or look like nothing in particular."""


def differences(warehouse: Warehouse, declared: Collection[Table], schema: str) -> list[Any]:
    """What Alembic would change so that a schema of the database equals the declared tables."""
    target = MetaData()
    names = {table.name for table in declared}
    real_name = dataclasses.asdict(warehouse.schemas)[schema]
    for table in declared:
        table.to_metadata(target, schema=real_name, referred_schema_fn=lambda *_: real_name)

    def is_ours(name: str | None, kind: str, _: Any) -> bool:
        # Monthly partitions and Alembic's own table are made elsewhere.
        return (kind != "schema" or name == real_name) and (kind != "table" or name in names)

    with warehouse.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_schemas": True,
            "include_name": is_ours,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), target))


def contents(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Every column of every table of the warehouse, with type, default and description."""
    with warehouse.connect() as connection:
        rows = connection.execute(
            text(
                "select table_schema, table_name, column_name, data_type, is_nullable, column_default,"
                " col_description(format('%I.%I', table_schema, table_name)::regclass, ordinal_position)"
                " from information_schema.columns where table_schema in (:raw, :star, :ops) order by 1, 2, 3"
            ),
            dataclasses.asdict(warehouse.schemas),
        )
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("schemas", [Schemas(), OTHER_NAMES], ids=["usual names", "other names"])
def test_an_upgraded_database_has_what_is_declared(database_url: str, schemas: Schemas) -> None:
    """From empty to the declared tables, types, defaults, keys and indexes; a second upgrade changes nothing."""
    with Warehouse(database_url, schemas) as warehouse:
        assert not is_current(warehouse)
        upgrade(warehouse, METHODS)
        assert is_current(warehouse)
        assert differences(warehouse, ops.metadata.sorted_tables, "ops") == []
        assert differences(warehouse, star.metadata.sorted_tables, "star") == []
        assert differences(warehouse, declared_raw_tables(), "raw") == []
        first = contents(warehouse)
        upgrade(warehouse, METHODS)
        assert contents(warehouse) == first
        with warehouse.connect() as connection:
            made = set(inspect(connection).get_schema_names()) - {"information_schema", "public"}
            assert made == set(dataclasses.asdict(schemas).values())
            assert inspect(connection).get_table_names("public") == []


def declared_raw_tables() -> list[Table]:
    """The raw tables that the catalog asks for."""
    return [raw_table(method) for method in METHODS]


def test_a_difference_would_be_found(warehouse: Warehouse) -> None:
    """The comparison of these tests sees a lost column, a changed type and a lost index."""
    with warehouse.begin() as connection:
        connection.execute(text("alter table comagic_ops.journal drop column message"))
        connection.execute(text("alter table comagic_ops.journal alter column seconds type numeric"))
        connection.execute(text("drop index comagic_ops.journal_idx_1"))
    assert len(differences(warehouse, ops.metadata.sorted_tables, "ops")) == 3


def test_four_at_once_upgrade_one_database(database_url: str) -> None:
    """Processes that start together do not get into each other's way."""
    warehouses = [Warehouse(database_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda warehouse: upgrade(warehouse, METHODS), warehouses))
    assert is_current(warehouses[0])
    assert differences(warehouses[0], ops.metadata.sorted_tables, "ops") == []
    for warehouse in warehouses:
        warehouse.close()


def test_a_newer_database_is_refused_in_one_line(warehouse: Warehouse) -> None:
    """An older version of the project touches nothing and says why."""
    with warehouse.begin() as connection:
        connection.execute(text("update comagic_ops.alembic_version set version_num = '9999'"))
    with pytest.raises(WarehouseError, match=r"9999.*a newer version of the project made it") as caught:
        upgrade(warehouse, METHODS)
    assert "\n" not in str(caught.value)
    assert not is_current(warehouse)


def test_a_role_without_rights_gets_one_line(warehouse: Warehouse, warehouse_url: str) -> None:
    """Who may not create schemas is told so; who may use what an owner made needs no more rights than that."""
    url = make_url(warehouse_url)
    role = f"reader_{url.database}"
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(False), autocommit=True) as connection:
        connection.execute(f"create role {role} login")
        try:
            with (
                Warehouse(url.set(username=role).render_as_string(False), OTHER_NAMES) as other,
                pytest.raises(WarehouseError, match="cannot create schemas and tables: permission denied") as caught,
            ):
                upgrade(other, METHODS)
            assert "\n" not in str(caught.value)
            for schema in dataclasses.asdict(warehouse.schemas).values():
                connection.execute(f"grant usage on schema {schema} to {role}")
                connection.execute(f"grant select on all tables in schema {schema} to {role}")
            with Warehouse(url.set(username=role).render_as_string(False)) as other:
                upgrade(other, METHODS)
        finally:
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")


@pytest.mark.parametrize("schemas", [Schemas(), OTHER_NAMES], ids=["usual names", "other names"])
def test_a_column_that_the_catalog_gained_is_added(database_url: str, schemas: Schemas) -> None:
    """Rows that are there keep their values and get null; partitions get the column too."""
    method = REPORTS[0]
    with Warehouse(database_url, schemas) as warehouse:
        upgrade(warehouse, METHODS)
        name = warehouse.quote("raw", method.table)
        month = warehouse.quote("raw", f"{method.table}_2026_01")
        with warehouse.begin() as connection:
            connection.execute(
                text(f"create table {month} partition of {name} for values from ('2026-01-01') to ('2026-02-01')")
            )
            connection.execute(
                text(
                    f"insert into {name} (account_id, id, start_time, event_date, loaded_at)"
                    " values (1, 7, '2026-01-02', '2026-01-02', now())"
                )
            )
            # As a catalog made it that lacked the column.
            connection.execute(text(f"alter table {name} drop column visitor_city"))
        upgrade(warehouse, METHODS)
        assert differences(warehouse, declared_raw_tables(), "raw") == []
        with warehouse.connect() as connection:
            assert connection.execute(text(f"select id, visitor_city from {name}")).all() == [(7, None)]
        described = [column for column in contents(warehouse) if column[1:3] == (method.table, "visitor_city")]
        assert described[0][3] == "text"
        assert described[0][6] == method.column("visitor_city").description


def test_rows_of_published_tables_can_be_deleted(warehouse: Warehouse) -> None:
    """With a publication for all tables, reports without a unique key were never loaded again: no replica identity."""
    with warehouse.begin() as connection:
        ensure_months(connection, "comagic_raw", "campaign_daily_stat", date(2026, 1, 5), date(2026, 2, 1))
        connection.execute(text("create table comagic.of_a_report (n int)"))
        # As tables were before.
        for table in ("campaign_daily_stat_2026_02", "campaign_daily_stat", "financial_call_legs_report"):
            connection.execute(text(f"alter table comagic_raw.{table} replica identity default"))
        connection.execute(text("create publication everything for all tables"))
    assert upgrade(warehouse, METHODS) == []
    with warehouse.begin() as connection:
        ensure_months(connection, "comagic_raw", "financial_call_legs_report", date(2026, 1, 5), date(2026, 2, 1))
        ensure_months(connection, "comagic_raw", "calls_report", date(2026, 1, 5), date(2026, 1, 5))
        tables = connection.scalars(
            text(
                "select oid::regclass::text from pg_class where relkind = 'r' and relnamespace::regnamespace::text"
                " in ('comagic_raw', 'comagic', 'comagic_ops')".replace("::", r"\:\:")
            )
        ).all()
        assert {f"comagic_raw.campaign_daily_stat_2026_0{month}" for month in (1, 2)} < set(tables)
        for table in tables:
            connection.execute(text(f"delete from {table} where false"))


def test_a_detached_month_is_named(warehouse: Warehouse) -> None:
    """A day of a month that somebody detached ended with `no partition of relation found for row`."""
    day = date(2026, 1, 5)
    with warehouse.begin() as connection:
        ensure_months(connection, "comagic_raw", "calls_report", day, day)
        connection.execute(
            text("alter table comagic_raw.calls_report detach partition comagic_raw.calls_report_2026_01")
        )
    with (
        warehouse.begin() as connection,
        pytest.raises(WarehouseError, match=r"2026_01. is there and is no partition .* attach it \(ALTER"),
    ):
        ensure_months(connection, "comagic_raw", "calls_report", day, day)
