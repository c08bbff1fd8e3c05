"""Read complete periods of a report at the least cost in points: which windows to request.

A window is the period of one request, at most 3 months. Its rows come in pages of up to 10 000, one point each. Rows
are stored when they are proven: exactly as many were read as the API counts. Where answers can be sorted by time,
`ordered` reads them, else `counted`. Days of an ordered window that changed after they were read are read again here.
"""

from collections.abc import Generator, Iterator, Mapping
from datetime import date, datetime, tzinfo
from typing import Any

from dateutil.relativedelta import relativedelta

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import (
    HistoryLimitError,
    IncompleteAnswerError,
    PeriodEndRefusedError,
    PeriodTooLongError,
)
from comagic_pipeline.api.quota import Clock, utc_now
from comagic_pipeline.api.readers.counted import CountedRows
from comagic_pipeline.api.readers.ordered import (
    MiscountedError,
    SinglePageError,
    UnorderedError,
    ordered_runs,
)
from comagic_pipeline.api.readers.pages import Bound
from comagic_pipeline.api.readers.windows import (
    DAY,
    LONGEST_PERIOD,
    Discarded,
    Step,
    Window,
    longest_until,
)
from comagic_pipeline.api.requests import MAX_OFFSET, PAGE_ROWS, Answer, RowRequests, UncountedPages
from comagic_pipeline.api.rows import Row
from comagic_pipeline.catalog import Method

_PERIOD_LIMITS: tuple[relativedelta, ...] = (
    # The documentation gives 3 months in one place and 90 days in another. A refusal is free: begin with the longest.
    LONGEST_PERIOD,
    *(relativedelta(days=days) for days in (90, 89, 60, 30, 14, 7, 3, 1)),
)


class PeriodReader:
    """Reads periods of one report for one account; `params` go with every request (user_id, filter, ...).

    `zone` is the account's. `warnings` holds what a person should know though nothing failed. Pages of `page_rows` rows
    reach as far as the offset `max_offset`. `uncounted` is shared by readers whose answers tell no count alike. `clock`
    gives aware datetimes.
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
        clock: Clock = utc_now,
    ) -> None:
        if method.time_column is None or not method.has_period:
            raise ValueError(f"{method.name} has no period: it is a dictionary")
        self.method = method
        self._is_ordered = method.is_time_sortable
        sort = method.time_column if self._is_ordered else None
        self._requests = RowRequests(client, method, zone, params, sort, page_rows, uncounted)
        self._page_rows, self._max_offset = page_rows, max_offset
        self._zone, self._clock = zone, clock
        self._given_day: date | None = None
        self._bound = Bound(self._requests)
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
        """Return the day that a row belongs to."""
        return self._time(row).date()

    def read(self, first_day: date, last_day: date) -> Iterator[Step]:
        """Read all rows of these days, both included, window by window, the newest first.

        Yields Rows and DaysComplete; the runs of days make up the period. Days that changed while their window was read
        come once more at its end. Discarded takes back Rows whose days are not complete. The next page is fetched while
        the caller works.
        Raises IncompleteAnswerError, after all other windows, when rows of a window do not add up and differ from
        reading to reading, HistoryLimitError when the API does not give the first of the days, and what Client.call
        raises; days that were complete before stay so. Reports without order, of which only whole windows are complete,
        do not begin what the day's points do not reach for: DayPointsSpentError.
        """
        failures = []
        while first_day <= last_day:
            try:
                last_day = (yield from self.read_window(first_day, last_day)) - DAY
            except IncompleteAnswerError as error:
                yield Discarded()
                failures.append(error)
                last_day = self._start_day(first_day, last_day) - DAY
        if failures:
            raise failures[0]

    def read_window(self, first_day: date, last_day: date) -> Generator[Step, None, date]:
        """Read as `read` does, but only the newest window, as long as the API allows; returns its first day."""
        while True:
            start_day = self._start_day(first_day, last_day)
            try:
                yield from self._window(start_day, last_day)
            except PeriodTooLongError as error:
                if len(self._limits) == 1:
                    raise self._history_limit(error, last_day) from error
                del self._limits[0]
            except PeriodEndRefusedError:
                if self._requests.latest is not None or start_day > self._today():
                    raise
                self._requests.latest = self._now()
            else:
                self._given_day = start_day
                return start_day

    def _start_day(self, first_day: date, last_day: date) -> date:
        return max(first_day, longest_until(last_day, self._limits[0]))

    def _now(self) -> datetime:
        """Return the account's wall time, to the second."""
        return self._clock().astimezone(self._zone).replace(tzinfo=None, microsecond=0)

    def _today(self) -> date:
        return self._now().date()

    def _history_limit(self, error: PeriodTooLongError, refused_day: date) -> PeriodTooLongError:
        """Return the error for a single day that is too long a period: the API gives no days as old as this one."""
        given_day = self._given_day
        if given_day is None or given_day <= refused_day:
            given_day = self._first_given_day(refused_day)
        return error if given_day is None else HistoryLimitError(self.method.name, given_day)

    def _first_given_day(self, refused_day: date) -> date | None:
        """Find the first day that the API gives after one that it refuses, by halves; None when it gives none.

        A refusal is free, a day that is given costs a point.
        """
        refused, given = refused_day, self._today()
        if refused >= given or not self._gives(given):
            return None
        while (given - refused).days > 1:
            middle = refused + (given - refused) // 2
            refused, given = (refused, middle) if self._gives(middle) else (middle, given)
        return given

    def _gives(self, day: date) -> bool:
        window = Window(self._time, day, day, self._page_rows)
        try:
            self._requests.page_of_period(window.start, window.end)
        except PeriodTooLongError:
            return False
        return True

    def _window(self, first_day: date, last_day: date) -> Iterator[Step]:
        window = Window(self._time, first_day, last_day, self._page_rows)
        self._bound = Bound(self._requests)
        self._counted.begin(self._bound)
        yield from self._rows_of(window)
        if window.changed_through:
            yield from self._compare(window, first_day, window.changed_through)

    def _rows_of(self, window: Window) -> Iterator[Step]:
        if not self._is_ordered:
            yield from self._counted.days(window.first_day, window.last_day)
            return
        try:
            runs = ordered_runs(self._requests, self._bound, window, self._max_offset)
            yield from window.days(runs, self._requests.take_points)
        except SinglePageError as error:
            yield from self._counted.days(window.first_day, window.last_day, error.answer)
        except UnorderedError as error:
            self.warnings.append(f"{self.method.name}: {error}; read without order from {window.day}, at more points")
            yield Discarded()
            yield from self._counted.days(window.day, window.last_day)
            if isinstance(error, MiscountedError) and window.day > window.first_day:
                # The days before were proven by their ranks alone: the API's count is perhaps about one of them.
                window.changed_through, window.is_miscounted = window.day - DAY, True

    def _compare(self, window: Window, first_day: date, last_day: date, answer: Answer | None = None) -> Iterator[Step]:
        """Yield days that changed after they were read: find them by counting halves, read only those again.

        `answer` is the last page of the days, where it was read already.
        """
        part = Window(self._time, first_day, last_day, self._page_rows)
        answer = answer or self._last_page(window, part)
        if answer and not self._difference(window, part, answer):
            return
        if answer and answer.is_whole and window.count(first_day, last_day) <= self._page_rows:
            yield from self._counted.days(first_day, last_day, answer)
        elif first_day == last_day:
            yield from self._rows_of(part)
        else:
            middle = first_day + (last_day - first_day) // 2
            halves = [(first_day, middle), (middle + DAY, last_day)]
            parts = [Window(self._time, *half, self._page_rows) for half in halves]
            answers = [self._last_page(window, half) for half in parts]
            if window.is_miscounted and answer and all(answers):
                pairs = zip(parts, answers, strict=True)
                differences = [abs(self._difference(window, half, found)) for half, found in pairs if found]
                if sum(differences) > abs(self._difference(window, part, answer)):
                    return  # the count does not add up over parts: it is not about any day
            for half, found in zip(halves, answers, strict=True):
                yield from self._compare(window, *half, found)

    def _last_page(self, window: Window, part: Window) -> Answer | None:
        """Return the page with the last row that is known of some days; None when offsets do not reach it.

        That row shows whether it still is the last: the API's own count cannot, because whether it includes the
        midnight that closes the period is not documented.
        """
        offset = self._known_offset(window, part)
        return self._bound.page(part.start, part.end, offset) if offset <= self._max_offset else None

    def _known_offset(self, window: Window, part: Window) -> int:
        known = window.count(part.first_day, part.last_day)
        return known - 1 if known > self._page_rows else 0

    def _difference(self, window: Window, part: Window, answer: Answer) -> int:
        """Return how many rows more than are known some days have, by a page with the last of them."""
        beyond = sum(self._time(row) >= part.end for row in answer.rows)
        offset, known = self._known_offset(window, part), window.count(part.first_day, part.last_day)
        handed_out = offset + answer.lines - beyond - known
        return handed_out or (answer.total or 0) - beyond - known


def longest_windows(method: Method, first_day: date, last_day: date) -> Iterator[tuple[date, date]]:
    """Yield the windows that a report of these days, both included, takes at least.

    The newest first, as they are read.
    """
    while first_day <= last_day:
        start_day = max(first_day, longest_until(last_day, _longest(method)))
        yield start_day, last_day
        last_day = start_day - DAY


def _longest(method: Method) -> relativedelta:
    """Return the longest window that the documentation gives a report."""
    if method.time_column is None:
        return relativedelta(days=1)  # its rows sum up the window
    return LONGEST_PERIOD if method.max_days in (None, 90) else relativedelta(days=method.max_days or 0)


def _shorter(limit: relativedelta, other: relativedelta) -> bool:
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - any moment serves to compare two lengths
    return bool(start + limit < start + other)
