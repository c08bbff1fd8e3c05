"""Read rows that cannot be sorted: a window is complete when as many rows were read as the API counts.

Pages overlap by a row, so that a row that moves between two of them is seen. A small window is held until it adds up.
Rows of a larger one are handed on as they come, and discarded if they do not add up. Beyond the largest offset a window
begins again with the latest day read: when the rows before that day and the API's count from it on make up the count of
all, the days before it are complete. What does not add up is read in parts (`parts`).

Not detected: a row deleted and a row inserted, both before the end of what was read; the rows are then those of the
moment at which their page was requested.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time
from itertools import pairwise
from math import ceil
from typing import Any, cast

from comagic_pipeline.api.readers.pages import Bound, Pages
from comagic_pipeline.api.readers.parts import HELD_PAGES, PartReader
from comagic_pipeline.api.readers.windows import (
    DAY,
    SECOND,
    DaysComplete,
    Discarded,
    Rows,
    Step,
    Window,
    rejected_of,
)
from comagic_pipeline.api.requests import Answer, RowRequests
from comagic_pipeline.api.rows import Rejected, Row
from comagic_pipeline.catalog import ColumnType

_FILLED = 0.95  # how much of its reach a shorter window should use, for days differ


class CountedRows:
    """Reads windows of one report without order, each through `days`; remembers how its pages behave.

    Pages reach as far as the offset `max_offset`.
    """

    def __init__(self, requests: RowRequests, max_offset: int) -> None:
        self._requests, self._max_offset = requests, max_offset
        self._page_rows, self._reach = requests.page_rows, max_offset + requests.page_rows
        method = requests.method
        is_daily = method.time_column is not None and method.column(method.time_column).type is ColumnType.DATE
        self._parts = PartReader(requests, max_offset, DAY if is_daily else SECOND)

    def begin(self, bound: Bound) -> None:
        """Begin a window that may cost no more than `bound` allows."""
        self._parts.bound = bound

    def days(self, first_day: date, last_day: date, answer: Answer | None = None) -> Iterator[Step]:
        """Yield all rows of these days, both included; `answer` is their first page, where it was read already.

        Raises IncompleteAnswerError when rows do not add up and no two readings are equal, or when the window costs
        too many points, and what Client.call raises.
        """
        window = Window(self._requests.time, first_day, last_day, self._page_rows)
        answer = answer or self._parts.bound.page(window.start, window.end)
        self._parts.bound.see(answer)
        if first_day < last_day and (days := self._affordable_days(window, answer)) is not None:
            if days:
                yield from self.days(last_day - (days - 1) * DAY, last_day)
            self._requests.quota.require(self._further_pages(answer))
        elif first_day == last_day:
            self._requests.quota.require(self._further_pages(answer))
        if first_day == last_day or self._is_held(answer):
            yield from window.days(self._parts.runs(window.start, window.end, answer), self._requests.take_points)
        elif self._parts.looks_shuffled(answer.rows):
            runs = self._parts.parts(window.start, window.end, answer, answer.total)
            yield from window.days(runs, self._requests.take_points)
        else:
            yield from self._streamed(window, answer)

    def _is_held(self, answer: Answer) -> bool:
        """Return whether a window is small enough to hold its rows until they add up."""
        return answer.is_whole or (answer.total is not None and answer.total <= HELD_PAGES * self._page_rows)

    def _streamed(self, window: Window, answer: Answer) -> Iterator[Step]:
        """Hand on the rows of a window as they come."""
        first_day, last_day = window.first_day, window.last_day
        pages, first_page = _WindowPages(window, self._requests), answer
        with ThreadPoolExecutor(1, thread_name_prefix="fetch") as fetcher:
            pages.take(answer)
            is_useless = self._is_too_large(window, pages, answer)
            while not is_useless and pages.may_go_on and pages.offset <= self._max_offset:
                page = fetcher.submit(self._parts.bound.page, window.start, window.end, pages.offset)
                yield from pages.handed_on()
                answer = page.result()
                pages.take(answer)
                self._parts.bound.read(pages.rows)
        if pages.adds_up:
            yield from pages.handed_on()
            yield pages.complete(last_day)
            self._parts.bound.complete(pages.rows)
            return
        if not is_useless and pages.may_go_on and first_day < pages.latest_day and answer.total is not None:
            middle = pages.latest_day
            following = self._parts.bound.page(datetime.combine(middle, time()), window.end)
            if following.total is not None and pages.count_before_latest_day + following.total == answer.total:
                yield from pages.handed_on(middle - DAY)
                yield pages.complete(middle - DAY)
                self._parts.bound.complete(pages.count_before_latest_day)
                del pages  # the keys of these days, which would be held until the last day is read
                yield from self.days(middle, last_day, following)
                return
        yield Discarded()
        self._parts.note(pages)
        if is_useless or pages.may_go_on:
            yield from self._shorter(window, answer.total)
            return
        # Rows that ended before the API's count, or behind it, are confirmed or not by reading them in parts.
        known, rows = (None, answer.total) if pages.has_moved else (pages.moments, pages.lines)
        del pages
        runs = self._parts.parts(window.start, window.end, first_page, rows, known)
        yield from window.days(runs, self._requests.take_points)

    def _shorter(self, window: Window, total: int | None) -> Iterator[Step]:
        """Read a window in shorter ones, as long as pages reach."""
        days = (window.last_day - window.first_day).days + 1
        parts = min(days, max(2, ceil((total or 0) / (_FILLED * self._reach))))
        edges = [window.first_day + days * part // parts * DAY for part in range(parts + 1)]
        for begin, end in pairwise(edges):
            yield from self.days(begin, end - DAY)

    def _further_pages(self, answer: Answer) -> int:
        """Return how many more pages may be needed to make complete what begins with this page."""
        if answer.total is None or not answer.lines or answer.is_whole:
            return 0
        # Each page after the first begins with a row of the page before it.
        return ceil((min(answer.total, self._reach) - answer.lines) / max(answer.lines - 1, 1))

    def _affordable_days(self, window: Window, answer: Answer) -> int | None:
        """Return how many of the window's days, the newest, the day's points reach for.

        None when they reach for all.
        """
        left = self._requests.quota.left()
        if left is None or left >= self._further_pages(answer):
            return None
        days = (window.last_day - window.first_day).days + 1
        return min(int(left * answer.lines * _FILLED * days / (answer.total or 1)), days - 1)

    def _is_too_large(self, window: Window, pages: "_WindowPages", answer: Answer) -> bool:
        """Return whether the first page shows that reading on is of no use."""
        total = answer.total or 0
        if total <= self._reach:
            return False
        days = (window.last_day - window.first_day).days + 1
        return (pages.latest_day - window.first_day).days > 2 * days * answer.lines / total + 1


class _WindowPages(Pages):
    """The pages of a window of several days, with rows that wait until the days before the latest are all there.

    Rows of the latest day met wait, so that the days before it can be complete without it.
    """

    def __init__(self, window: Window, requests: RowRequests) -> None:
        super().__init__(requests)
        self.latest_day = window.first_day
        self._window, self._requests = window, requests
        self._waiting: list[Row] = []
        self._rejected: list[Rejected] = []
        self._waiting_of_latest_day = 0

    @property
    def count_before_latest_day(self) -> int:
        """How many rows were met of the days before the latest."""
        return self.lines - self._waiting_of_latest_day

    def take(self, answer: Answer) -> dict[Any, Row]:
        """Take in the next page."""
        window, time_of = self._window, self._requests.time
        fresh = super().take(answer)
        rows = [row for row in fresh.values() if time_of(row) < window.end]
        self._rejected += rejected_of(self._requests, rows, answer.rejected)
        self._waiting += rows
        days = [time_of(row).date() for row in rows]
        latest_day = max(days, default=self.latest_day)
        if latest_day > self.latest_day:
            self.latest_day, self._waiting_of_latest_day = latest_day, 0
        self._waiting_of_latest_day += days.count(self.latest_day)
        # A row at the midnight that closes the window is counted with the latest days.
        self._waiting_of_latest_day += len(fresh) - len(rows)
        return fresh

    @property
    def moments(self) -> Mapping[Any, datetime]:
        """The times of the rows, by what tells them apart."""
        return cast(Mapping[Any, datetime], self._moments)

    def _moments_of(self, rows: dict[Any, Row]) -> dict[Any, datetime | None]:
        return {key: self._requests.time(row) for key, row in rows.items()}

    def complete(self, last_day: date) -> DaysComplete:
        """Return the step that closes the days up to this one; rows that came twice in one answer are unproven."""
        days = Counter(self._requests.time(row).date() for row in self.doubles)
        differences = {day: rows for day, rows in days.items() if day <= last_day}
        return DaysComplete(self._window.first_day, last_day, self._requests.take_points(), differences)

    def handed_on(self, last_day: date | None = None) -> Iterator[Rows]:
        """Yield the rows that wait no longer: all when complete, else those before the latest day."""
        if self.adds_up:
            last_day = self._window.last_day
        last_day = min(last_day or self.latest_day - DAY, self._window.last_day)
        if last_day < self._window.first_day:
            return
        time_of = self._requests.time
        due = [row for row in self._waiting if time_of(row).date() <= last_day]
        self._waiting = [row for row in self._waiting if time_of(row).date() > last_day]
        rejected = [value for value in self._rejected if value.day is None or value.day <= last_day]
        self._rejected = [value for value in self._rejected if value.day is not None and value.day > last_day]
        yield Rows(self._window.first_day, last_day, due, rejected)
