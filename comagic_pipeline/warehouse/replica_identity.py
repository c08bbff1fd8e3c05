"""Replica identity of tables without a primary key: a publication of such a table would stop every DELETE.

PostgreSQL refuses to delete or update rows of a published table, or partition, that it cannot name to subscribers.
https://www.postgresql.org/docs/current/logical-replication-publication.html
"""

from collections.abc import Collection

from sqlalchemy import Connection, text

# A table that is attached as a partition has the key of its table, but not its replica identity.
_unidentified = text("""
select format('%I.%I', schema.nspname, class.relname)
  from pg_class as class
  join pg_namespace as schema on schema.oid = class.relnamespace
 where schema.nspname = any(:schemas)
   and (cast(:table_name as text) is null or class.relname = :table_name)
   and pg_has_role(class.relowner, 'usage')
   and class.relkind in ('r', 'p') and class.relpersistence = 'p'
   and (
       class.relreplident = 'n'
       or class.relreplident = 'd'
          and not exists (select from pg_index where indrelid = class.oid and indisprimary and indimmediate)
   )
 order by 1
""")


def identify_rows(connection: Connection, schemas: Collection[str], table_name: str | None = None) -> list[str]:
    """Let tables of schemas, by their names in the database, name their rows as a whole where they have no key.

    With `table_name` only tables of that name; never those of another owner. Gives the quoted names of the tables that
    were changed. In the caller's transaction; a table that is right already is not locked.
    """
    found = connection.scalars(_unidentified, {"schemas": [*schemas], "table_name": table_name}).all()
    for name in found:
        connection.execute(text(f"alter table {name} replica identity full".replace(":", r"\:")))
    return list(found)
