"""Checks of what a build of the star made of a report: a fact for each row, no orphaned keys.

A run checks the days that it builds; launched alone, the checks look at all days.
"""

from collections.abc import Iterator

from dagster import AssetCheckSeverity, AssetCheckSpec

from comagic_pipeline.config import Source
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks.finding import Finding, Look, Period, figures
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.quality.consistency import (
    facts_unlike_raw,
    kept_period,
    lonely_rows,
    orphans,
)
from comagic_pipeline.warehouse.star.kind import Kind

EQUAL, NO_ORPHANS = "facts_equal_raw", "no_orphan_keys"


def star_is_right(source: Source, kind: Kind) -> Look:
    """Return the checks of the facts of a kind."""
    key = asset_key(source, kind.facts.name)

    def find(warehouse: Warehouse, period: Period | None) -> Iterator[Finding]:
        account_id = source.account_id
        with warehouse.connect() as connection:
            days = kept_period(connection, account_id, ["raw", "star"], period)
            unlike = facts_unlike_raw(connection, warehouse, account_id, kind, days)
            lonely = lonely_rows(connection, warehouse, account_id, kind)
            hanging = orphans(connection, warehouse, account_id, kind)
        differ = f"{len(unlike)} days have other numbers of facts than {kind.report} has rows: build the star of them."
        yield Finding(
            key,
            EQUAL,
            not unlike,
            differ if unlike else f"Each day has a fact for each row of {kind.report}.",
            figures(
                [(each.day, f"{each.rows} facts, raw {each.expected}") for each in unlike], unlike_days=len(unlike)
            ),
            AssetCheckSeverity.ERROR,
        )
        found = [f"{count} rows of {place} point to nothing" for place, count in hanging.items()]
        found += [f"{lonely} rows of {kind.dimension.name} have no fact"] if lonely else []
        yield Finding(
            key,
            NO_ORPHANS,
            not found,
            f"{'; '.join(found)}: somebody changed the star by hand." if found else "All keys find their rows.",
            figures([], orphan_keys=sum(hanging.values()), rows_without_fact=lonely),
            AssetCheckSeverity.ERROR,
        )

    return Look(
        [
            AssetCheckSpec(
                EQUAL,
                asset=key,
                description=f"Each day has as many facts as {kind.report} has rows; days whose facts are due wait.",
            ),
            AssetCheckSpec(
                NO_ORPHANS,
                asset=key,
                description=f"Every row of {kind.dimension.name} has a fact. That keys of facts, tags, attributes and "
                "employees find their rows is the database's own guarantee: it is asked only of keys whose constraint "
                "somebody has dropped.",
            ),
        ],
        find,
    )
