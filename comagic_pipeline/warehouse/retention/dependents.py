"""Find what people built on our tables: views, foreign keys, functions. It is named and never dropped.

The server's own message names neither the objects nor a fix, and comes only after the attempt.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of somebody's table. `join` compares its rows, `referencing`, with those that are `referenced`.

    Names are quoted. `cascades` when the rows that refer to a deleted one are deleted or changed with it.
    """

    name: str
    table: str
    join: str
    cascades: bool


def dependents(connection: Connection, table: str) -> list[str]:
    """Return what hinders the drop of a table, given by its quoted name, or of one of its partitions.

    Kind and name of each.

    Foreign keys of a parent table are left out: whether they hinder is a question of rows (`foreign_keys`).
    """
    return list(connection.scalars(_dependents, {"table": table}))


def foreign_keys(connection: Connection, tables: Collection[str], own: Collection[str] = ()) -> list[ForeignKey]:
    """Return the foreign keys that refer to tables, given by their quoted names, except those of our `own` tables."""
    found = connection.execute(_foreign_keys, {"tables": [*tables], "own": [*own]})
    return [ForeignKey(row.name, row.referencing, row.join, row.cascades) for row in found]


def joined(objects: Sequence[str], most: int = 5) -> str:
    """Return the objects as a part of a sentence; of many the first ones."""
    more = f" and {len(objects) - most} more" if len(objects) > most else ""
    return ", ".join(objects[:most]) + more


_dependents = text(
    """
with family as (
    select to_regclass(:table)::oid as oid
    union
    select relid::oid from pg_partition_tree(to_regclass(:table))
), targets as (
    select 'pg_class'::regclass::oid as classid, oid as objid from family
    union all
    select 'pg_type'::regclass, type.oid
      from family
      join pg_type as type on type.typrelid = family.oid
    union all
    select 'pg_type'::regclass, type.typarray
      from family
      join pg_type as type on type.typrelid = family.oid
), found as (
    select distinct dependency.classid, dependency.objid,
           case when dependency.classid = 'pg_class'::regclass then dependency.objsubid else 0 end as objsubid
      from pg_depend as dependency
      join targets on targets.classid = dependency.refclassid and targets.objid = dependency.refobjid
     where dependency.deptype = 'n'
)
select distinct
       case when view.relkind = 'v' then format('view %I.%I', schema.nspname, view.relname)
            when view.relkind = 'm' then format('materialized view %I.%I', schema.nspname, view.relname)
            when foreign_key.oid is not null then format(
                'foreign key %I of %s', foreign_key.conname, foreign_key.conrelid::regclass
            )
            else (
                select object.type || ' ' || object.identity
                  from pg_identify_object(found.classid, found.objid, found.objsubid) as object
            )
       end
  from found
  left join pg_rewrite as rule on found.classid = 'pg_rewrite'::regclass and rule.oid = found.objid
  left join pg_class as view on view.oid = rule.ev_class
  left join pg_namespace as schema on schema.oid = view.relnamespace
  left join pg_constraint as foreign_key
    on found.classid = 'pg_constraint'::regclass and foreign_key.oid = found.objid
 where (found.classid <> 'pg_class'::regclass or found.objid not in (select oid from family))
   and (rule.oid is null or rule.ev_class not in (select oid from family))
   and (
       foreign_key.oid is null
       or foreign_key.conparentid = 0 and foreign_key.conrelid not in (select oid from family)
   )
 order by 1
""".replace("::", r"\:\:")
)

_foreign_keys = text(
    """
select format('%I', conname) as name, conrelid::regclass::text as referencing,
       confdeltype in ('c', 'n', 'd') as cascades,
       (
           select string_agg(
                      format('referencing.%I = referenced.%I', its_column.attname, our_column.attname), ' and '
                  )
             from unnest(conkey, confkey) as pair (its, ours)
             join pg_attribute as its_column on its_column.attrelid = conrelid and its_column.attnum = its
             join pg_attribute as our_column on our_column.attrelid = confrelid and our_column.attnum = ours
       ) as join
  from pg_constraint
 where contype = 'f' and conparentid = 0
   and confrelid in (select to_regclass(name) from unnest(cast(:tables as text[])) as name)
   and conrelid not in (
       select to_regclass(name) from unnest(cast(:own as text[])) as name where to_regclass(name) is not null
   )
 order by 2, 1
""".replace("::", r"\:\:")
)
