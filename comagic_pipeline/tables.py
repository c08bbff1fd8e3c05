"""Which tables a source can load, by layer, and what each needs. What they hold is in the catalog and the star."""

from collections.abc import Collection

from comagic_pipeline.catalog import Method, tables
from comagic_pipeline.warehouse.star.tables import metadata as star

REPORTS: tuple[Method, ...] = tuple(tables()[name] for name in ("calls_report",))
"""Methods with a period: raw assets with a partition for each day."""
DICTIONARIES: tuple[Method, ...] = tuple(tables()[name] for name in ("campaigns",))
"""Methods without one: raw assets that are replaced whole."""
STAR: tuple[str, ...] = tuple(table.name for table in star.sorted_tables)
"""The star tables. They are built together: they share one transaction and need all raw tables above."""

TABLE_NAMES: tuple[str, ...] = (*(method.table for method in (*REPORTS, *DICTIONARIES)), *STAR)


def with_what_they_need(chosen: Collection[str]) -> frozenset[str]:
    """The chosen tables and those that they are built from and with."""
    return frozenset(TABLE_NAMES if set(chosen) & set(STAR) else chosen)
