"""The star's Table objects against the description of a mybi connect warehouse (mybi_schema.json, a verbatim copy)."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import UniqueConstraint

from comagic_pipeline.catalog.table_names import MARTS, SHARED_STAR, STAR_OF_KIND
from comagic_pipeline.warehouse.star import marts
from comagic_pipeline.warehouse.star.tables import KINDS, SHARED, metadata

MYBI: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("mybi_schema.json").read_text("utf-8"))["tables"]
TABLES = metadata.sorted_tables

EXTENDED = ("comagic_calls", "comagic_calls_facts", "comagic_calls_tags", "comagic_campaigns")
"""Tables of mybi that hold more columns of ours, after its own."""

each_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
each_mybi_table = pytest.mark.parametrize(
    "table", [table for table in TABLES if table.name in MYBI], ids=lambda table: table.name
)


def type_name(column: Any) -> str:
    compiled = column.type.compile(postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    return str(compiled).replace(" without time zone", "").replace(", ", ",")


def test_the_tables_of_mybi_are_there() -> None:
    """The shared dimensions and the star of calls with its campaigns; what else there is bears the name of a kind."""
    shared = {name for name, mybi in MYBI.items() if mybi["kind"] == "shared_dim"}
    calls = {name for name in MYBI if name.startswith(("comagic_calls", "comagic_campaigns"))}
    names = {table.name for table in TABLES}
    assert names & MYBI.keys() == shared | calls
    assert {table.name for table in SHARED} == shared | {"comagic_campaigns"}
    assert all(any(name.startswith(f"comagic_{kind.name}") for kind in KINDS) for name in names - MYBI.keys())


def test_every_table_belongs_to_one_kind_or_to_all() -> None:
    """No table is filled by two kinds, none by nobody."""
    owned = [table.name for kind in KINDS for table in kind.tables]
    assert sorted([*owned, *(table.name for table in SHARED)]) == sorted(table.name for table in TABLES)


def test_the_names_in_the_catalog_are_those_of_the_tables() -> None:
    """The configuration reads the names without SQLAlchemy, so they are declared apart from the columns."""
    assert {kind.name: tuple(table.name for table in kind.tables) for kind in KINDS} == STAR_OF_KIND
    assert tuple(table.name for table in SHARED) == SHARED_STAR
    assert tuple(mart.name for mart in marts.MARTS) == MARTS


@each_mybi_table
def test_columns_are_those_of_mybi(table: Table) -> None:
    """Names, order, types, nullability and Russian labels are mybi's; what we add stands behind.

    It may be empty or has a default: an INSERT that names mybi's columns works.
    """
    ours = [(c.name, type_name(c), c.nullable, c.info["label_ru"]) for c in table.columns]
    mybi = [
        (name, column["type"], column["nullable"], column["label_ru"])
        for name, column in MYBI[table.name]["columns"].items()
    ]
    assert ours[: len(mybi)] == mybi
    assert all(column.nullable or column.server_default for column in list(table.columns)[len(mybi) :])
    assert (len(ours) > len(mybi)) == (table.name in EXTENDED)


@each_mybi_table
def test_keys_are_those_of_mybi(table: Table) -> None:
    """Primary key, indexes and foreign keys are mybi's, with their names; unique constraints are mybi's or `_key`."""
    mybi = MYBI[table.name]
    unique = {
        constraint.name: [column.name for column in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    }
    foreign = {
        (constraint.name, constraint.column_keys[0], f"{constraint.referred_table.name}(id)")
        for constraint in table.foreign_key_constraints
    }
    assert [column.name for column in table.primary_key] == mybi["primary_key"]
    assert {index.name: [column.name for column in index.columns] for index in table.indexes} == {
        index["name"]: index["columns"] for index in mybi["indexes"]
    }
    assert foreign == {(key["name"], key["columns"][0], key["references"]) for key in mybi["foreign_keys"]}
    assert {name: columns for name, columns in unique.items() if name != f"{table.name}_key"} == {
        constraint["name"]: constraint["columns"] for constraint in mybi["unique"]
    }


@each_table
def test_keys_are_in_one_manner(table: Table) -> None:
    """Children and facts refer to surrogate ids, every key has an index, and no key may be empty."""
    keys = {constraint.column_keys[0] for constraint in table.foreign_key_constraints}
    assert not any(table.columns[name].nullable for name in keys)
    assert {"account_id"} <= {column.name for column in table.columns} or table.name.startswith("general_")
    assert all(len(str(constraint.name)) <= 63 for constraint in table.constraints)


@each_table
def test_everything_is_described(table: Table) -> None:
    """Tables and columns carry an English comment and a Russian label; cut as PostgreSQL cuts them, they differ."""
    assert table.info["label_ru"] == MYBI.get(table.name, {}).get("human_name_ru", table.info["label_ru"])
    assert table.comment
    assert all(column.comment for column in table.columns)
    labels = [column.info["label_ru"].encode()[:63] for column in table.columns if column.info["label_ru"]]
    assert len(set(labels)) == len(labels)


@each_table
def test_ids_are_identity_columns(table: Table) -> None:
    """The database gives the ids."""
    assert table.columns["id"].identity is not None
