"""Read reports that sum up their period: a request for each day, and for each site where needed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, tzinfo
from typing import Any

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.readers.dictionaries import DictionaryReader
from comagic_pipeline.api.readers.windows import DAY, DaysComplete, Rows, Step
from comagic_pipeline.catalog import Method


class SummaryReader:
    """Reads the days of a report; `params` go with every request, `sites` are ids, None for a report of no site.

    `warnings`, `left_out` and `points` as of the other readers.
    """

    def __init__(
        self, client: Client, method: Method, zone: tzinfo, params: Mapping[str, Any], sites: Sequence[int] | None
    ) -> None:
        self.warnings: list[str] = []
        self.left_out: frozenset[str] = frozenset()
        self.points = 0
        self._client, self._method, self._zone = client, method, zone
        self._requests = [{**params}] if sites is None else [{**params, "site_id": site} for site in sites]

    def read(self, first_day: date, last_day: date) -> Iterator[Step]:
        """Read these days, both included, day by day, the newest first; raises what DictionaryReader.read raises."""
        day = last_day
        while day >= first_day:
            self._client.quota.require(len(self._requests))
            told, difference = self.points, 0
            if not self._requests:
                yield Rows(day, day, [], [])
            for params in self._requests:
                # Sums of the whole day: the midnight behind it belongs to the next one.
                period = {"date_from": f"{day} 00:00:00", "date_till": f"{day} 23:59:59"}
                reader = DictionaryReader(self._client, self._method, self._zone, params | period)
                try:
                    rows, rejected = reader.read()
                finally:
                    self.points += reader.points
                    self.left_out |= reader.left_out
                    self.warnings += [warning for warning in reader.warnings if warning not in self.warnings]
                difference += reader.difference
                yield Rows(day, day, rows, rejected)
            yield DaysComplete(day, day, self.points - told, {day: difference} if difference else {})
            day -= DAY
