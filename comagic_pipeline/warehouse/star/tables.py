"""All tables of the star. Those of a kind are declared in its folder, those of all kinds in `shared`."""

from sqlalchemy import Table

from comagic_pipeline.warehouse.star import shared
from comagic_pipeline.warehouse.star.declaration import metadata
from comagic_pipeline.warehouse.star.kinds import KINDS

SHARED: tuple[Table, ...] = tuple(table for table in vars(shared).values() if isinstance(table, Table))
"""The tables that every kind helps to fill."""

__all__ = ["KINDS", "SHARED", "metadata"]
