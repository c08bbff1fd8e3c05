"""Columns of the books, for revisions: Alembic's own statements do not translate the placeholders of schemas."""

import sqlalchemy as sa
from alembic import op


def add_column(table: str, column: str, kind: str, comment: str) -> None:
    """Add a column, of a type in SQL, to a table of the books."""
    connection = op.get_bind()
    schema = connection.get_execution_options()["schema_translate_map"]["ops"]
    quote = connection.dialect.identifier_preparer.quote_identifier
    op.execute(f"alter table {quote(schema)}.{table} add column {quote(column)} {kind}")
    describe_column(table, column, comment)


def describe_column(table: str, column: str, comment: str) -> None:
    """Say what a column of the books holds."""
    described: sa.Column[str] = sa.Column(column, comment=comment)
    sa.Table(table, sa.MetaData(schema="ops"), described)
    op.execute(sa.schema.SetColumnComment(described))
