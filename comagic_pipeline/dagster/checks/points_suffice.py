"""The check `points_suffice` of a source: the remaining points cover what the schedules will spend today.

It belongs to the asset `points_spent`, which no run materializes: the table grows with every request.
"""

from dataclasses import dataclass
from datetime import datetime

from dagster import AssetCheckSpec, AssetSpec

from comagic_pipeline.api.quota import Allowance, utc_now
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.dagster.assets.describe import asset_key, asset_spec
from comagic_pipeline.dagster.checks.finding import Finding, Look
from comagic_pipeline.operations.api_client import source_key
from comagic_pipeline.operations.points.plan import (
    known_volumes,
    normal_day_points,
    points_until_reset,
)
from comagic_pipeline.operations.points.shared_quota import known_points
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.tables import points_spent

NAME = "points_suffice"


@dataclass(frozen=True)
class Forecast:
    """What scheduled loads take on a normal day and until the points start anew, and what there is for them."""

    day: Allowance
    normal_day: int
    until_reset: int

    @property
    def passed(self) -> bool:
        """True when it fits, or the API does not tell."""
        fits_today = self.day.remaining is None or self.until_reset <= self.day.remaining
        return fits_today and (self.day.limit is None or self.normal_day <= self.day.limit)

    @property
    def description(self) -> str:
        """What a person should know."""
        if self.day.limit is not None and self.normal_day > self.day.limit:
            return (
                f"A normal day's loads take {self.normal_day} points, the account has {self.day.limit} a day: "
                "choose fewer tables, or buy points."
            )
        if not self.passed:
            return (
                f"The scheduled loads will take {self.until_reset} points until the points start anew, "
                f"{self.day.remaining} are left: hourly loads are left out for the nightly one."
            )
        left = "unknown" if self.day.remaining is None else self.day.remaining
        return f"A normal day's loads take {self.normal_day} points; {left} are left today."

    @property
    def metadata(self) -> dict[str, int]:
        """Figures for the UI's plots."""
        told = {"day_limit": self.day.limit, "points_left": self.day.remaining}
        known = {name: value for name, value in told.items() if value is not None}
        return known | {"normal_day": self.normal_day, "until_reset": self.until_reset}

    def finding(self, source: Source) -> Finding:
        """As the check tells it."""
        return Finding(asset_key(source, points_spent.name), NAME, self.passed, self.description, self.metadata)


def forecast(source: Source, warehouse: Warehouse, now: datetime) -> Forecast:
    """Return the forecast at this moment (aware), without a request.

    Raises ConfigError when the key cannot be looked up.
    """
    day = today(source, now)
    volumes = known_volumes(warehouse, source, day, day)
    allowance = known_points(warehouse, source_key(source), now).allowances["day"]
    until_reset = points_until_reset(source, volumes, now, allowance.resets_at) if allowance.resets_at else 0
    return Forecast(allowance, normal_day_points(source, volumes, day), until_reset)


def points_asset(source: Source, schemas: SchemaNames) -> AssetSpec:
    """Return the asset that the check stands with: what each run spent, counted with every request."""
    return asset_spec(source, points_spent, "ops", schemas)


def points_suffice(source: Source) -> Look:
    """Return the check of a source."""
    key = asset_key(source, points_spent.name)
    description = "What the schedules will ask for fits into the points that are left."
    return Look(
        [AssetCheckSpec(NAME, asset=key, description=description)],
        lambda warehouse, _: [forecast(source, warehouse, utc_now()).finding(source)],
    )
