"""Complete periods of a report at the least cost in points: which windows to ask for.

A window is the period of one request, at most 3 months. Its rows come in pages of up to 10 000, one point each. Rows
are stored when they are proven: exactly as many were read as the API counts. Where answers can be ordered by time,
`ordered` reads them, else `counted`. Days of an ordered window that changed after they were read are looked for here.
"""

from collections.abc import Generator, Iterator, Mapping
from datetime import date, datetime, tzinfo
from typing import Any

from dateutil.relativedelta import relativedelta

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.counted import CountedRows
from comagic_pipeline.api.errors import PeriodTooLongError
from comagic_pipeline.api.ordered import UncountedError, UnorderedError, ordered_runs
from comagic_pipeline.api.requests import MAX_OFFSET, PAGE_ROWS, RowRequests, UncountedPages
from comagic_pipeline.api.rows import Row
from comagic_pipeline.api.windows import (
    DAY,
    LONGEST_PERIOD,
    DaysComplete,
    Discarded,
    Rows,
    Step,
    Window,
    longest_until,
)
from comagic_pipeline.catalog import Method

_PERIOD_LIMITS: tuple[relativedelta, ...] = (
    # The documentation gives 3 months in one place and 90 days in another. A refusal is free: begin with the longest.
    LONGEST_PERIOD,
    *(relativedelta(days=days) for days in (90, 89, 60, 30, 14, 7, 3, 1)),
)


class PeriodReader:
    """Reads periods of one report for one account; `params` go with every request (user_id, filter, ...).

    `zone` is the account's. `warnings` holds what a person should know though nothing failed. Pages of `page_rows` rows
    reach as far as the offset `max_offset`. `uncounted` is shared by readers whose answers tell no count alike.
    """

    def __init__(
        self,
        client: Client,
        method: Method,
        zone: tzinfo,
        params: Mapping[str, Any] | None = None,
        *,
        page_rows: int = PAGE_ROWS,
        max_offset: int = MAX_OFFSET,
        uncounted: UncountedPages | None = None,
    ) -> None:
        if method.time_column is None or not method.has_period:
            raise ValueError(f"{method.name} has no period: it is a dictionary")
        self.method = method
        self._is_ordered = method.is_time_sortable
        sort = method.time_column if self._is_ordered else None
        self._requests = RowRequests(client, method, zone, params, sort, page_rows, uncounted)
        self._page_rows, self._max_offset = page_rows, max_offset
        self._time = self._requests.time
        longest = _longest(method)
        is_own = longest != LONGEST_PERIOD
        self._limits = [longest] if is_own else []
        self._limits += [limit for limit in _PERIOD_LIMITS if not is_own or _shorter(limit, longest)]
        self._counted = CountedRows(self._requests, max_offset)

    @property
    def warnings(self) -> list[str]:
        """What a person should know though nothing failed."""
        return self._requests.warnings

    @property
    def left_out(self) -> frozenset[str]:
        """The columns that the API does not know: they are empty."""
        return self._requests.left_out

    @property
    def points(self) -> int:
        """The points spent so far."""
        return self._requests.points

    def day_of(self, row: Row) -> date:
        """The day that a row belongs to."""
        return self._time(row).date()

    def read(self, first_day: date, last_day: date) -> Iterator[Step]:
        """Read all rows of these days, both included, window by window, the newest first.

        Yields Rows and DaysComplete; the runs of days make up the period. Days that changed while their window was read
        come once more at its end. Discarded takes back Rows whose days are not complete. The next page is fetched while
        the caller works.
        Raises IncompleteAnswerError with both numbers when rows do not add up after several tries, and what
        Client.call raises; days that were complete before stay so. Reports without order, of which only whole windows
        are complete, do not begin what the day's points do not reach for: DayPointsSpentError.
        """
        while first_day <= last_day:
            last_day = (yield from self.read_window(first_day, last_day)) - DAY

    def read_window(self, first_day: date, last_day: date) -> Generator[Step, None, date]:
        """Read as `read` does, but only the newest window, as long as the API allows; returns its first day."""
        while True:
            start_day = max(first_day, longest_until(last_day, self._limits[0]))
            try:
                yield from self._window(start_day, last_day)
            except PeriodTooLongError:
                if len(self._limits) == 1:
                    raise
                del self._limits[0]
            else:
                return start_day

    def _window(self, first_day: date, last_day: date) -> Iterator[Step]:
        window = Window(self._time, first_day, last_day, self._page_rows)
        yield from self._rows_of(window)
        if window.changed_through:
            yield from self._compare(window, first_day, window.changed_through)

    def _rows_of(self, window: Window) -> Iterator[Step]:
        if not self._is_ordered:
            yield from self._counted.days(window.first_day, window.last_day)
            return
        try:
            runs = ordered_runs(self._requests, window, self._max_offset)
            yield from window.days(runs, self._requests.take_points)
        except UncountedError as error:
            yield from self._counted.days(window.first_day, window.last_day, error.answer)
        except UnorderedError as error:
            self.warnings.append(f"{self.method.name}: {error}; read without order from {window.day}, at more points")
            yield Discarded()
            yield from self._counted.days(window.day, window.last_day)

    def _compare(self, window: Window, first_day: date, last_day: date) -> Iterator[Step]:
        """Days that changed after they were read: find them by counting halves, read only those again."""
        part = Window(self._time, first_day, last_day, self._page_rows)
        known = window.count(first_day, last_day)
        # The last row that is known shows whether it still is the last: the API's own count cannot, for whether it
        # takes in the midnight that closes the period is not documented.
        offset = known - 1 if known > self._page_rows else 0
        if offset <= self._max_offset:
            answer = self._requests.page_of_period(part.start, part.end, offset)
            rows = [row for row in answer.rows if self._time(row) < part.end]
            if offset + answer.counted == answer.total and offset + len(rows) == known:
                return
            if not offset and answer.is_whole:
                yield Rows(first_day, last_day, rows, answer.rejected)
                yield DaysComplete(first_day, last_day, self._requests.take_points())
                return
        if first_day < last_day:
            middle = first_day + (last_day - first_day) // 2
            yield from self._compare(window, first_day, middle)
            yield from self._compare(window, middle + DAY, last_day)
        else:
            yield from self._rows_of(part)


def longest_windows(method: Method, first_day: date, last_day: date) -> Iterator[tuple[date, date]]:
    """The windows that a report of these days, both included, takes at least: the newest first, as they are read."""
    while first_day <= last_day:
        start_day = max(first_day, longest_until(last_day, _longest(method)))
        yield start_day, last_day
        last_day = start_day - DAY


def _longest(method: Method) -> relativedelta:
    """The longest window that the documentation gives a report."""
    if method.time_column is None:
        return relativedelta(days=1)  # its rows sum up the window
    return LONGEST_PERIOD if method.max_days in (None, 90) else relativedelta(days=method.max_days or 0)


def _shorter(limit: relativedelta, other: relativedelta) -> bool:
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - any moment serves to compare two lengths
    return bool(start + limit < start + other)
