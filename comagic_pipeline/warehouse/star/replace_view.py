"""Create, replace or drop views only where their definition differs.

A view of ours is recognized by its comment, `<table>: <what a row is>`; views of other people are left alone.
"""

import re
from collections.abc import Collection

import psycopg.errors
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from comagic_pipeline.warehouse.engine import one_line
from comagic_pipeline.warehouse.retention.dependents import dependents, joined
from comagic_pipeline.warehouse.star.template import quoted

_OURS = re.compile(r"(general|comagic|mart)_\w+: ")


def lock_definitions(connection: Connection) -> None:
    """Wait for others who change tables or views of this database; they wait until this transaction ends."""
    connection.execute(text("select pg_advisory_xact_lock(hashtextextended('comagic_pipeline upgrade', 0))"))


def replace_view(connection: Connection, schema: str, name: str, query: str, comment: str) -> str | None:
    """Make a view be what `query` says, in the caller's transaction; one that is already so is not touched.

    `query` is SQL for `sqlalchemy.text`. Where PostgreSQL cannot replace a view, because columns went or changed their
    type, it is dropped first, with the views of ours that are made of it. Return a line for people when the view was
    left as it is, because another of that name is not ours, views of other people are made of it, or the server
    refuses it for whatever reason; else None.
    """
    view = quoted(schema, name)
    try:
        with connection.begin_nested():
            return _replace(connection, view, query, comment)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return f"{view} could not be made and was left as it is: {one_line(error)}"


def _replace(connection: Connection, view: str, query: str, comment: str) -> str | None:
    connection.execute(text(f"create or replace temporary view candidate as {query}"))
    definition = connection.scalar(text("select pg_get_viewdef('pg_temp.candidate'::regclass)"))
    connection.execute(text("drop view pg_temp.candidate"))
    present = connection.execute(_one, {"view": view}).one_or_none()
    if present is not None and not _OURS.match(present.comment or ""):
        return f"{view} is not the pipeline's and was left alone: drop or rename it"
    if present is not None and (present.definition, present.comment) == (definition, comment):
        return None
    create = text(f"create or replace view {escaped(view)} as {query}")
    try:
        with connection.begin_nested():
            connection.execute(create)
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.InvalidTableDefinition):
            raise
        if left := drop_view(connection, view):
            return left
        connection.execute(create)
    literal = connection.scalar(text("select quote_literal(:comment)"), {"comment": comment})
    connection.execute(text(f"comment on view {escaped(view)} is {escaped(str(literal))}"))
    return None


def drop_others(connection: Connection, schema: str, wanted: Collection[str]) -> list[str]:
    """Drop the views of ours in a schema that are not among the wanted; gives a line for each that had to stay."""
    present = connection.execute(_all, {"schema": schema}).all()
    others = [each.view for each in present if each.name not in wanted and _OURS.match(each.comment or "")]
    return [left for view in others if (left := drop_view(connection, view)) is not None]


def drop_view(connection: Connection, view: str) -> str | None:
    """Drop a view, given by its quoted name, and the views of ours that are made of it, all or none.

    Return a line for people when it had to stay, because views of others are made of it or the server refuses it.
    """
    try:
        with connection.begin_nested():
            _drop(connection, view)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        if isinstance(error.orig, psycopg.errors.DependentObjectsStillExist):
            others = joined((error.orig.diag.message_detail or "").splitlines())
            return f"{view} was left as it is, because others are made of it ({others}): drop those"
        return f"{view} was left as it is: {one_line(error)}"
    return None


def drop_views_of(connection: Connection, table: str) -> str | None:
    """Drop the views of ours that are made of a table, given by its quoted name: they are made again after a change.

    Gives a line for people when something of others is made of it or of a partition of it.
    """
    for made_of_it in connection.execute(_made_of, {"view": table}).all():
        if _OURS.match(made_of_it.comment or "") and (left := drop_view(connection, made_of_it.view)):
            return left
    if others := dependents(connection, table):
        return f"{table} is needed by {joined(others)}: drop that"
    return None


def _drop(connection: Connection, view: str) -> None:
    for made_of_it in connection.execute(_made_of, {"view": view}).all():
        if _OURS.match(made_of_it.comment or ""):
            _drop(connection, made_of_it.view)
    # One of them may have been made of another and be gone.
    connection.execute(text(f"drop view if exists {escaped(view)}"))


def escaped(sql: str) -> str:
    """Return SQL whose colons are no bound values."""
    return sql.replace(":", r"\:")


_VIEW = """
select view.relname as name, format('%I.%I', schema.nspname, view.relname) as view,
       obj_description(view.oid, 'pg_class') as comment
  from pg_class as view
  join pg_namespace as schema on schema.oid = view.relnamespace
 where view.relkind = 'v' and {condition}
 order by view.relname
"""
_MADE_OF = """
view.oid <> to_regclass(:view)
   and view.oid in (
       select rule.ev_class
         from pg_depend as dependency
         join pg_rewrite as rule on rule.oid = dependency.objid
        where dependency.classid = 'pg_rewrite'::regclass and dependency.refobjid = to_regclass(:view)
   )
"""
_one = text(
    "select pg_get_viewdef(oid) as definition, obj_description(oid, 'pg_class') as comment"
    " from pg_class where oid = to_regclass(:view)"
)
_all = text(_VIEW.format(condition="schema.nspname = :schema"))
_made_of = text(_VIEW.format(condition=_MADE_OF))
