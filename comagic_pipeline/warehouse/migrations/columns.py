"""Columns and names, for revisions: Alembic's own statements do not translate the placeholders of schemas."""

import sqlalchemy as sa
from alembic import op


def add_column(table: str, column: str, kind: str, comment: str, schema: str = "ops") -> None:
    """Add a column, of a type in SQL, to a table; `schema` is a placeholder."""
    quote = op.get_bind().dialect.identifier_preparer.quote_identifier
    op.execute(f"alter table {qualified(table, schema)} add column {quote(column)} {kind}")
    describe_column(table, column, comment, schema)


def describe_column(table: str, column: str, comment: str, schema: str = "ops") -> None:
    """Say what a column holds; `schema` is a placeholder."""
    described: sa.Column[str] = sa.Column(column, comment=comment)
    sa.Table(table, sa.MetaData(schema=schema), described)
    op.execute(sa.schema.SetColumnComment(described))


def qualified(table: str, schema: str) -> str:
    """The quoted name of a table; `schema` is a placeholder."""
    connection = op.get_bind()
    quote = connection.dialect.identifier_preparer.quote_identifier
    return f"{quote(connection.get_execution_options()['schema_translate_map'][schema])}.{quote(table)}"
