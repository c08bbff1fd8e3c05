"""Run by Alembic: applies revisions over the connection that `upgrade` hands in, in its transaction."""

from alembic import context

from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.star import tables as star

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=[ops.metadata, star.metadata],
    version_table_schema=attributes["version_table_schema"],
    compare_type=True,
    include_schemas=False,
)
context.run_migrations()
