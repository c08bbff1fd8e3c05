"""All tables of the star. Those of a kind are declared in its folder, those of all kinds in `shared`."""

from collections.abc import Collection

from sqlalchemy import Table

from comagic_pipeline.catalog import table_names
from comagic_pipeline.warehouse.star import shared
from comagic_pipeline.warehouse.star.declaration import metadata
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.kinds import KINDS

SHARED: tuple[Table, ...] = tuple(table for table in vars(shared).values() if isinstance(table, Table))
"""The tables that every kind helps to fill."""


def kinds_of(chosen: Collection[str]) -> list[Kind]:
    """Return the kinds of facts of which a star table is chosen."""
    return [kind for kind in KINDS if kind.name in table_names.kinds_of(chosen)]


def star_of(chosen: Collection[str]) -> dict[Kind, tuple[Table, ...]]:
    """Return the star tables of each chosen kind of facts; those that kinds share stand with the first."""
    kinds = kinds_of(chosen)
    return {kind: kind.tables if number else (*SHARED, *kind.tables) for number, kind in enumerate(kinds)}


__all__ = ["KINDS", "SHARED", "kinds_of", "metadata", "star_of"]
