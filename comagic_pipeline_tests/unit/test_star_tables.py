"""The star's Table objects against the description of a mybi connect warehouse (mybi_schema.json, a verbatim copy)."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import UniqueConstraint

from comagic_pipeline.warehouse.star.tables import metadata

MYBI: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("mybi_schema.json").read_text("utf-8"))["tables"]
TABLES = metadata.sorted_tables

each_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def type_name(column: Any) -> str:
    compiled = column.type.compile(postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    return str(compiled).replace(" without time zone", "").replace(", ", ",")


def test_the_tables_of_calls_are_there() -> None:
    """The star of calls is the facts, what belongs to a call, the campaigns, and the shared dimensions."""
    shared = {name for name, mybi in MYBI.items() if mybi["kind"] == "shared_dim"}
    calls = {name for name in MYBI if name.startswith(("comagic_calls", "comagic_campaigns"))}
    assert {table.name for table in TABLES} == shared | calls


@each_table
def test_columns_are_those_of_mybi(table: Table) -> None:
    """Names, order, types, nullability and Russian labels are mybi's."""
    ours = [(c.name, type_name(c), c.nullable, c.info["label_ru"]) for c in table.columns]
    mybi = [
        (name, column["type"], column["nullable"], column["label_ru"])
        for name, column in MYBI[table.name]["columns"].items()
    ]
    assert ours == mybi


@each_table
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
def test_everything_is_described(table: Table) -> None:
    """Tables and columns carry an English comment; the table's Russian label is mybi's name of its view."""
    assert table.info["label_ru"] == MYBI[table.name]["human_name_ru"]
    assert table.comment
    assert all(column.comment for column in table.columns)


@each_table
def test_ids_are_identity_columns(table: Table) -> None:
    """The database gives the ids."""
    assert table.columns["id"].identity is not None
