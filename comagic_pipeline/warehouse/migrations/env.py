"""Run by Alembic over the connection that it is given: it applies revisions, or compares with the declared tables."""

from typing import Any

from alembic import context

from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.star import tables as star

attributes = context.config.attributes
declared = [ops.metadata, star.metadata]


def is_declared(name: str | None, kind: str, parents: Any) -> bool:
    """Leave out monthly partitions, raw tables and Alembic's own table, which no revision makes."""
    if kind == "schema":
        return name in ("ops", "star")
    return kind != "table" or any(f"{parents['schema_name']}.{name}" in metadata.tables for metadata in declared)


context.configure(
    connection=attributes["connection"],
    target_metadata=declared,
    version_table_schema=attributes["version_table_schema"],
    compare_type=True,
    include_schemas=True,
    include_name=is_declared,
)
context.run_migrations()
