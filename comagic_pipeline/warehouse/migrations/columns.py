"""Change columns in migrations: Alembic's own statements do not translate the placeholders of schemas."""

import sqlalchemy as sa
from alembic import op


def schema_name(placeholder: str) -> str:
    """Return the name of the schema that a placeholder (raw, star, ops) stands for in this warehouse, unquoted."""
    name: str = op.get_bind().get_execution_options()["schema_translate_map"][placeholder]
    return name


def real_schema(placeholder: str) -> str:
    """Return the same name, quoted."""
    return op.get_bind().dialect.identifier_preparer.quote_identifier(schema_name(placeholder))


def add_column(table: str, column: str, kind: str, comment: str, schema: str = "ops") -> None:
    """Add a column, of a type in SQL, to a table of a schema, given by its placeholder."""
    quote = op.get_bind().dialect.identifier_preparer.quote_identifier
    op.execute(f"alter table {qualified(table, schema)} add column {quote(column)} {kind}")
    describe_column(table, column, comment, schema)


def describe_column(table: str, column: str, comment: str, schema: str = "ops") -> None:
    """Set the comment of a column of a table of a schema, given by its placeholder."""
    described: sa.Column[str] = sa.Column(column, comment=comment)
    sa.Table(table, sa.MetaData(schema=schema), described)
    op.execute(sa.schema.SetColumnComment(described))


def qualified(table: str, schema: str) -> str:
    """Return the quoted name of a table of a schema, given by its placeholder."""
    return f"{real_schema(schema)}.{op.get_bind().dialect.identifier_preparer.quote_identifier(table)}"
