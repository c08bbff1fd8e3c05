"""Keys, groups, kinds, owners and columns of assets as the UI shows them."""

from collections.abc import Sequence
from typing import Literal

from dagster import AssetDep, AssetKey, AssetSpec, TableColumn, TableColumnConstraints, TableSchema
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from comagic_pipeline.config import SchemaNames, Source

OWNER = "team:comagic_pipeline"
_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


def asset_key(source: Source, table: str) -> AssetKey:
    """Return the key of a table of a source."""
    return AssetKey([source.name, table])


def columns_of(table: Table) -> list[TableColumn]:
    """Return the columns of a warehouse table, as the UI lists them."""
    return [
        TableColumn(
            column.name,
            column.type.compile(dialect=_POSTGRESQL).lower(),
            column.comment,
            TableColumnConstraints(nullable=bool(column.nullable)),
        )
        for column in table.columns
    ]


def asset_spec(
    source: Source, table: Table, layer: Literal["raw", "star", "ops"], schemas: SchemaNames, needs: Sequence[str] = ()
) -> AssetSpec:
    """Return the asset of a warehouse table: described by the table's own comments.

    `needs` are tables of the same source.
    """
    return AssetSpec(
        asset_key(source, table.name),
        deps=[AssetDep(asset_key(source, name)) for name in needs],
        description=table.comment,
        group_name=f"{source.name}_{layer}",
        kinds={"postgres", "comagic" if layer == "raw" else "sql"},
        owners=[OWNER],
        metadata={
            "dagster/column_schema": TableSchema(columns_of(table)),
            "dagster/table_name": f"{getattr(schemas, layer)}.{table.name}",
        },
    )
