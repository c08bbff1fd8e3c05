"""Choose the reader of a report by how the report can be asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, tzinfo
from typing import Any, Protocol

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.readers.by_day import SummaryReader
from comagic_pipeline.api.readers.by_site import SiteReader
from comagic_pipeline.api.readers.periods import PeriodReader
from comagic_pipeline.api.readers.windows import Step
from comagic_pipeline.catalog import Method


class ReportReader(Protocol):
    """Reads periods of a report for one account."""

    @property
    def warnings(self) -> list[str]:
        """What a person should know though nothing failed."""

    @property
    def left_out(self) -> frozenset[str]:
        """The columns that the API does not know: they are empty."""

    @property
    def points(self) -> int:
        """The points spent so far."""

    def read(self, first_day: date, last_day: date) -> Iterator[Step]:
        """Read all rows of these days, both included."""


def report_reader(
    client: Client,
    method: Method,
    zone: tzinfo,
    params: Mapping[str, Any],
    sites: Callable[[], Sequence[int]],
) -> ReportReader:
    """Return the reader of a report; `params` go with every request.

    `sites` is asked only where a report needs a site.
    """
    if method.time_column is None:
        return SummaryReader(client, method, zone, params, sites() if method.needs_site else None)
    if method.needs_site:
        return SiteReader(client, method, zone, params, sites())
    return PeriodReader(client, method, zone, params)
