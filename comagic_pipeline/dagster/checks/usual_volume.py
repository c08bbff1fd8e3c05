"""The check `usual_volume` of a report: the last closed day has about as many rows as that weekday usually has.

It reads the load log only. A day counts when it was loaded after its end.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import sqrt
from statistics import median

from dagster import AssetCheckSpec

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import end_of, today
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks.finding import Figures, Finding, Look
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.quality.activity_gaps import DayRows, recent_days

NAME = "usual_volume"
_COMPARED, _FEWEST = 8, 4
"""How many days of the same weekday a day is compared with, and how many are enough."""
_DESCRIPTION = (
    f"The last closed day has about as many rows as the {_COMPARED} loaded days of its weekday before it: within 3.5 "
    "times their usual deviation of the middle."
)
_WIDTH = 3.5
_TO_STANDARD_DEVIATION = 1.4826
"""Makes the median of absolute deviations what the standard deviation is, where numbers are spread evenly around."""
_SMALLEST_SHARE = 0.1
"""Less than this of the middle is never called unusual: a few weeks that happened to be alike prove no precision."""
_LOOKED_AT = timedelta(weeks=20)
"""Days of a weekday that are not loaded are made up for by older ones, up to here."""


@dataclass(frozen=True)
class Volume:
    """The rows of a day, and those of the days of its weekday before it."""

    day: date
    rows: int
    others: Sequence[int]

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The fewest and the most rows that are usual; None while too few days are known."""
        if len(self.others) < _FEWEST:
            return None
        middle = median(self.others)
        deviation = median([abs(rows - middle) for rows in self.others])
        # Rows that come by chance are spread by the root of their number, however alike a few weeks were.
        spread = max(_TO_STANDARD_DEVIATION * deviation, _SMALLEST_SHARE * middle, sqrt(middle), 1)
        return max(0, middle - _WIDTH * spread), middle + _WIDTH * spread

    @property
    def passed(self) -> bool:
        """True when the day is as usual, or nobody can tell."""
        return self.bounds is None or self.bounds[0] <= self.rows <= self.bounds[1]

    @property
    def description(self) -> str:
        """What a person should know."""
        if self.bounds is None:
            return f"Not enough history: of {_FEWEST} days of the weekday of {self.day} {len(self.others)} are known."
        low, high = self.bounds
        told = f"{self.day} has {self.rows} rows; usual for the weekday are {low:.0f} to {high:.0f}"
        return f"{told}." if self.passed else f"{told}: see whether the personal account shows the same, load it again."

    @property
    def metadata(self) -> Figures:
        """Figures for the UI's plots."""
        told: Figures = {
            "day": str(self.day),
            "rows": self.rows,
            "known_days": len(self.others),
        }
        if self.bounds is not None:
            low, high = self.bounds
            told |= {"usual": median(self.others), "lower_bound": round(low, 1), "upper_bound": round(high, 1)}
        return told


def volume(closed: Sequence[DayRows]) -> Volume | None:
    """Return the newest of the closed days of a report, oldest first, beside the last ones of its weekday."""
    if not closed:
        return None
    newest = closed[-1]
    others = [each.rows for each in closed[:-1] if each.day.weekday() == newest.day.weekday()]
    return Volume(newest.day, newest.rows, others[-_COMPARED:])


def found_volumes(source: Source, warehouse: Warehouse, now: datetime, names: Collection[str]) -> Iterator[Finding]:
    """Yield what is found of these reports of a source at this moment (aware)."""
    since = today(source, now) - _LOOKED_AT
    with warehouse.connect() as connection:
        ledger = recent_days(connection, source.account_id, names, since)
    for name in names:
        closed = [each for each in ledger.get(name, ()) if each.loaded_at >= end_of(source, each.day)]
        told = volume(closed)
        key = asset_key(source, name)
        if told is None:
            yield Finding(key, NAME, True, "No day is loaded that is over.")
        else:
            yield Finding(key, NAME, told.passed, told.description, told.metadata)


def usual_volume(source: Source, name: str) -> Look:
    """Return the check of a report of a source."""
    return Look(
        [AssetCheckSpec(NAME, asset=asset_key(source, name), description=_DESCRIPTION)],
        lambda warehouse, _: found_volumes(source, warehouse, utc_now(), [name]),
    )
