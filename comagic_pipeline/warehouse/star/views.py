"""Views with Russian names over tables and marts, and the role for analysts, which may read them and nothing else.

They follow mybi: `<prefix> <caption>`, columns by their Russian labels, facts without their id and with the day at the
end, dimensions and children without hashes. The views have a schema of their own, so that a list of tables shows
nothing else and the role needs no right to another schema.
"""

from collections.abc import Iterable

import psycopg.errors
from sqlalchemy import Column, Connection, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from comagic_pipeline.catalog.table_names import DEFAULT_VIEWS_PREFIX
from comagic_pipeline.warehouse.engine import Schemas, one_line
from comagic_pipeline.warehouse.reports.json_target import comagic_reports
from comagic_pipeline.warehouse.star.kinds import KINDS
from comagic_pipeline.warehouse.star.marts import MARTS
from comagic_pipeline.warehouse.star.replace_view import (
    drop_others,
    escaped,
    lock_definitions,
    replace_view,
)
from comagic_pipeline.warehouse.star.shared import general_dates
from comagic_pipeline.warehouse.star.tables import metadata
from comagic_pipeline.warehouse.star.template import quoted

READER = "comagic_reader"
"""The role of analysts. It cannot log in: grant it to those who can."""
GENERAL_PREFIX = "SHD"
"""Before those of the general_* tables: mybi's."""
_LONGEST_NAME = 63
"""Bytes of an identifier; a Russian letter takes two."""


def views_schema(schemas: Schemas) -> str:
    """Return the schema of the Russian views: that of the star with `_views` behind."""
    return f"{schemas.star[: _LONGEST_NAME - len('_views')]}_views"


def create_views(
    connection: Connection, schemas: Schemas, prefix: str = DEFAULT_VIEWS_PREFIX, reports: Iterable[Table] = ()
) -> list[str]:
    """Make the Russian views and let the reader read them, in the caller's transaction; what is right is not touched.

    `reports` are the tables of custom reports: their views have their own names and columns, behind the prefix.

    Several processes may do so at once. Views of another prefix, or of tables that are no more, are dropped; what other
    people made is left alone. Gives a line for each thing that is not as it should be: a name that PostgreSQL would
    have cut, a view that had to stay, a role that this database user may not create.
    """
    lock_definitions(connection)
    schema = views_schema(schemas)
    if connection.scalar(text("select to_regnamespace(quote_ident(:schema))"), {"schema": schema}) is None:
        connection.execute(CreateSchema(schema))
    tables = [*metadata.sorted_tables, comagic_reports, *MARTS, *reports]
    captions = [f"{_prefix(table, prefix)} {table.info['label_ru']}" for table in tables]
    names = unique_names(captions)
    warnings = [
        f"view {caption!r} is called {name!r}: PostgreSQL's names end after {_LONGEST_NAME} bytes; shorten the prefix"
        for caption, name in zip(captions, names, strict=True)
        if name != caption
    ]
    warnings += drop_others(connection, schema, names)
    made = []
    for table, name in zip(tables, names, strict=True):
        query = _query(schemas, table)
        if left := replace_view(connection, schema, name, query, f"{_family(table)}: {table.comment}"):
            warnings.append(left)
        else:
            made.append(name)
    return warnings + _let_read(connection, schema, made)


def unique_names(labels: Iterable[str]) -> list[str]:
    """Return the labels as PostgreSQL cuts them, after 63 bytes.

    Of those that are then alike the later ones get a number.
    """
    names: list[str] = []
    for label in labels:
        name, number = _cut(label, _LONGEST_NAME), 1
        while name in names:
            number += 1
            name = _cut(label, _LONGEST_NAME - len(f" {number}")) + f" {number}"
        names.append(name)
    return names


def _cut(label: str, length: int) -> str:
    """Return the first bytes of a label, no letter of it halved."""
    return label.encode()[:length].decode(errors="ignore")


def _prefix(table: Table, prefix: str) -> str:
    return GENERAL_PREFIX if table.name.startswith("general_") else prefix


def _query(schemas: Schemas, table: Table) -> str:
    shown = [("this", column) for column in table.columns if _is_shown(column)]
    source = f"{quoted(schemas.star, table.name)} as this"
    if table in {kind.facts for kind in KINDS}:
        # The day stands where mybi has it: behind its columns, and so before the customer.
        shown = [*shown[1:-1], ("date", general_dates.c.simple_date), shown[-1]]
        source += f" join {quoted(schemas.star, general_dates.name)} as date on date.id = this.dates_id"
    labels = unique_names(column.info["label_ru"] for _, column in shown)
    columns = [
        f"{alias}.{quoted(column.name)} as {quoted(label)}"
        for (alias, column), label in zip(shown, labels, strict=True)
    ]
    return f"select {', '.join(columns)} from {source}"  # noqa: S608 - quoted names


def _is_shown(column: Column[object]) -> bool:
    is_of_star = column.table.metadata is metadata
    return column.info.get("label_ru") is not None and not (is_of_star and column.name.endswith("_hash"))


def _family(table: Table) -> str:
    """Return what the comment of a view begins with: by that it is known as one of ours."""
    return str(table.info.get("family", table.name))


def _let_read(connection: Connection, schema: str, names: list[str]) -> list[str]:
    """Let the reader use the schema and select from the views."""
    wanted = {"role": READER, "schema": schema, "views": [quoted(schema, name) for name in names]}
    try:
        with connection.begin_nested():
            if connection.scalar(text("select to_regrole(:role)"), wanted) is None:
                _create_role(connection)
            if not connection.scalar(text("select has_schema_privilege(:role, :schema, 'usage')"), wanted):
                connection.execute(text(f"grant usage on schema {quoted(schema)} to {READER}"))
            for view in connection.scalars(_unreadable, wanted).all():
                connection.execute(text(f"grant select on {escaped(view)} to {READER}"))
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        return [f"role {READER} cannot be set up ({one_line(error)}): let an administrator run CREATE ROLE {READER}"]
    return []


def _create_role(connection: Connection) -> None:
    """Roles are those of the whole server: another database may create it at the same moment."""
    try:
        with connection.begin_nested():
            connection.execute(text(f"create role {READER} nologin"))
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.DuplicateObject | psycopg.errors.UniqueViolation):
            raise


_unreadable = text(
    "select view from unnest(cast(:views as text[])) as view"
    " where to_regclass(view) is not null and not has_table_privilege(:role, view, 'select')"
)
