"""Check what the database must allow beyond a session: rights of the role, publications that permit deletes.

`doctor` calls this, because a load would find out late. What a session needs is checked with every connection.
"""

from collections.abc import Iterator
from dataclasses import asdict

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from comagic_pipeline.warehouse.engine import Warehouse, one_line
from comagic_pipeline.warehouse.retention.dependents import joined


def missing_requirements(warehouse: Warehouse) -> list[str]:
    """Return a sentence, with the fix, for each thing that the database does not allow.

    Needs a warehouse with its tables.
    """
    with warehouse.begin() as connection:
        return [*_missing_rights(connection, warehouse), *_refused_deletions(connection, warehouse)]


def _missing_rights(connection: Connection, warehouse: Warehouse) -> Iterator[str]:
    role, database, may_use_temporary_tables = connection.execute(_role).one()
    if not may_use_temporary_tables:
        yield (
            f"the role {role} may not make temporary tables, of which the star is built: GRANT TEMPORARY ON DATABASE "
            f"{database} TO {role}"
        )
    schemas = {"schemas": [*asdict(warehouse.schemas).values()]}
    for schema in connection.scalars(_closed_schemas, schemas):
        grant = f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"
        yield f"the role {role} may not make tables in the schema {schema}: {grant}"
    if tables := connection.scalars(_tables_of_others, schemas).all():
        yield (
            f"the role {role} is not the owner of {joined(tables)} and cannot add columns to them: ALTER TABLE … OWNER "
            f"TO {role}, or make it a member of the owner's role"
        )


def _refused_deletions(connection: Connection, warehouse: Warehouse) -> Iterator[str]:
    """Yield tables of publications whose rows cannot be named to subscribers.

    The server is asked, by a plan to delete.
    """
    if not connection.scalar(text("select exists (select from pg_publication)")):
        return
    for table in connection.scalars(_tables, {"schemas": [*asdict(warehouse.schemas).values()]}).all():
        try:
            with connection.begin_nested():
                connection.execute(text(f"explain delete from {table} where false".replace(":", r"\:")))  # noqa: S608 - a quoted name
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                continue  # that of the rights is told already
            yield (
                f"a publication keeps rows of {table} from being deleted ({one_line(error)}): ALTER TABLE {table} "
                "REPLICA IDENTITY FULL, or publish all of its columns and rows"
            )


_role = text("""
select quote_ident(current_user), quote_ident(current_database()),
       has_database_privilege(current_database(), 'temporary')
""")
_closed_schemas = text("""
select quote_ident(nspname)
  from pg_namespace
 where nspname = any(:schemas)
   and not (has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create'))
 order by 1
""")
_TABLES = """
select format('%I.%I', schema.nspname, class.relname)
  from pg_class as class
  join pg_namespace as schema on schema.oid = class.relnamespace
 where schema.nspname = any(:schemas) and {condition}
 order by 1
"""
_tables_of_others = text(
    _TABLES.format(condition="class.relkind in ('r', 'p') and not pg_has_role(class.relowner, 'usage')")
)
_tables = text(_TABLES.format(condition="class.relkind = 'r'"))
