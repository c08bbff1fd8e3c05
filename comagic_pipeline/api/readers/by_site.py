"""Read reports site by site: a day is complete when all of its sites are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, tzinfo
from typing import Any

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.readers.periods import PeriodReader
from comagic_pipeline.api.readers.windows import DAY, DaysComplete, Discarded, Rows, Step
from comagic_pipeline.api.requests import UncountedPages
from comagic_pipeline.api.rows import Rejected, Row
from comagic_pipeline.catalog import Method


class SiteReader:
    """Reads periods of a report for each of the `sites` (ids); `params` go with every request.

    The rows of one site and window are held in memory. `warnings` and `points` are those of all sites.
    """

    def __init__(
        self, client: Client, method: Method, zone: tzinfo, params: Mapping[str, Any], sites: Sequence[int]
    ) -> None:
        self._quota = client.quota
        uncounted = UncountedPages()
        self._readers = [
            PeriodReader(client, method, zone, {**params, "site_id": site}, uncounted=uncounted) for site in sites
        ]

    @property
    def warnings(self) -> list[str]:
        """What a person should know though nothing failed, each once."""
        return list(dict.fromkeys(warning for reader in self._readers for warning in reader.warnings))

    @property
    def left_out(self) -> frozenset[str]:
        """The columns that the API does not know: they are empty."""
        return frozenset().union(*(reader.left_out for reader in self._readers))

    @property
    def points(self) -> int:
        """The points spent so far."""
        return sum(reader.points for reader in self._readers)

    def read(self, first_day: date, last_day: date) -> Iterator[Step]:
        """Read all rows of these days, both included, as PeriodReader does; raises what it raises."""
        while first_day <= last_day:
            # A day is complete with the last of its sites: fewer points would be spent in vain.
            self._quota.require(len(self._readers))
            told, start_day = self.points, first_day
            differences: Counter[date] = Counter()
            for number, reader in enumerate(self._readers):
                # The first finds out how long a window may be.
                read = reader.read if number else reader.read_window
                rows, rejected, start_day, of_site = _gathered(reader, read(start_day, last_day))
                differences.update(of_site)
                yield Rows(start_day, last_day, rows, rejected)
            if not self._readers:
                yield Rows(start_day, last_day, [], [])
            yield DaysComplete(start_day, last_day, self.points - told, dict(differences))
            last_day = start_day - DAY


def _gathered(reader: PeriodReader, steps: Iterator[Step]) -> tuple[list[Row], list[Rejected], date, dict[date, int]]:
    """Return the rows of a site, the rejected ones, the first day, and the rows missing from unproven days.

    Days that come again replace what they held.
    """
    rows: list[Row] = []
    rejected: list[Rejected] = []
    waiting: list[Rows] = []
    differences: dict[date, int] = {}
    start_day = date.max
    for step in steps:
        match step:
            case Rows():
                waiting.append(step)
            case Discarded():
                waiting = []
            case DaysComplete(first_day, last_day):
                kept = {day: more for day, more in differences.items() if not first_day <= day <= last_day}
                differences = {**kept, **step.differences}
                rows = [row for row in rows if not first_day <= reader.day_of(row) <= last_day]
                rows += [row for part in waiting for row in part.rows]
                rejected += [value for part in waiting for value in part.rejected]
                waiting, start_day = [], min(start_day, first_day)
    return rows, rejected, start_day, differences
