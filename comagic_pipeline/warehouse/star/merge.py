"""Merge rows of a temporary table into a table of the star; only rows that differ are written.

A row keeps its id as long as its key, the columns of the constraint `<table>_key`, stays. No SQL of a kind is here.
"""

from sqlalchemy import (
    ColumnElement,
    Delete,
    Insert,
    Table,
    TableClause,
    Update,
    and_,
    column,
    delete,
    exists,
    insert,
    literal,
    select,
    table,
    tuple_,
    update,
)

from comagic_pipeline.warehouse.star.kind import unique_columns


def value_columns(target: Table) -> list[str]:
    """Return the columns that rows bring along: all but the surrogate id and the account."""
    return [each.name for each in target.columns if each.name not in ("id", "account_id")]


def update_changed(target: Table, source: str, account_id: int) -> Update:
    """Change the rows of the account whose values differ from those of `source`."""
    new = _temporary(source, target)
    names = [name for name in value_columns(target) if name not in unique_columns(target)]
    differs = tuple_(*(target.c[name] for name in names)).is_distinct_from(tuple_(*(new.c[name] for name in names)))
    return (
        update(target).values({name: new.c[name] for name in names}).where(_is_same(target, new, account_id), differs)
    )


def insert_missing(target: Table, source: str, account_id: int) -> Insert:
    """Add the rows of `source` that are not there."""
    new, names = _temporary(source, target), value_columns(target)
    is_there = exists().where(_is_same(target, new, account_id)).correlate(new)
    rows = select(literal(account_id), *(new.c[name] for name in names)).where(~is_there)
    return insert(target).from_select(["account_id", *names], rows)


def delete_gone(target: Table, source: str, owners: str, owner: str, account_id: int) -> Delete:
    """Delete the rows that `source` has no more, of those whose `owner` the temporary table `owners` holds."""
    new, owning = _temporary(source, target), table(owners, column(owner))
    is_there = exists().where(_is_same(target, new, account_id)).correlate(target)
    return delete(target).where(target.c[owner] == owning.c[owner], ~is_there)


def delete_owned(target: Table, owners: str, owner: str) -> Delete:
    """Delete the rows whose owner the temporary table `owners` holds, or which are the owners themselves."""
    owning = table(owners, column(owner))
    return delete(target).where(target.c.get(owner, target.c.id) == owning.c[owner])


def _temporary(name: str, target: Table) -> TableClause:
    return table(name, *(column(each.name, each.type) for each in target.columns))


def _is_same(target: Table, new: TableClause, account_id: int) -> ColumnElement[bool]:
    values = {"account_id": literal(account_id)}
    return and_(*(target.c[name] == values.get(name, new.c[name]) for name in unique_columns(target)))
