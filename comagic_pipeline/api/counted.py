"""Rows in no order that could be asked for: a window is complete when as many were read as the API counts.

Distinct rows are counted, so that is a proof whatever the order of the pages. Rows are handed on as they come and are
void when they do not add up; the window is then cut into shorter ones, down to a second. Behind the largest offset a
window is begun anew with the latest day met: when the rows before that day and the API's count from it on make up the
count of all, the days before it are complete. Where rows come day by day, as they are stored, little is read twice.

What cannot be seen: rows vanishing while as many or more arrive, between two pages of one window.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time
from itertools import pairwise
from math import ceil
from typing import Any

from comagic_pipeline.api.requests import Answer, RowRequests
from comagic_pipeline.api.rows import Rejected, Row
from comagic_pipeline.api.windows import (
    DAY,
    SECOND,
    TRIES,
    DaysComplete,
    Discarded,
    Proven,
    Rows,
    Step,
    Window,
    incomplete,
    rejected_of,
)
from comagic_pipeline.catalog import ColumnType

_HELD_PAGES = 4  # what of a day is held in memory until it adds up
_PART_PAGES = 2.75  # what the parts of a larger day should hold: just under whole pages, for they differ
_FILLED = 0.95  # how much of its reach a shorter window should use, for days differ


class CountedRows:
    """Reads windows of one report without order, each through `days`; remembers how its pages behave.

    `points` gives those spent since it was last asked. Pages reach as far as the offset `max_offset`.
    """

    def __init__(self, requests: RowRequests, max_offset: int) -> None:
        self._requests, self._max_offset = requests, max_offset
        self._page_rows, self._reach = requests.page_rows, max_offset + requests.page_rows
        method = requests.method
        is_daily = method.time_column is not None and method.column(method.time_column).type is ColumnType.DATE
        self._shortest = DAY if is_daily else SECOND
        self._is_shuffled = False
        """True when pages of one window turned out to overlap at random: only single pages can be trusted then."""

    def days(self, first_day: date, last_day: date, answer: Answer | None = None) -> Iterator[Step]:
        """All rows of these days, both included; `answer` is their first page, where it was read already.

        Raises IncompleteAnswerError after several tries, and what Client.call raises.
        """
        window = Window(self._requests.time, first_day, last_day, self._page_rows)
        if first_day == last_day:
            answer = answer or self._requests.page_of_period(window.start, window.end)
            self._requests.quota.require(self._further_pages(answer))
        if first_day == last_day or self._is_shuffled:
            yield from window.days(self._runs(window.start, window.end, answer), self._requests.take_points)
            return
        pages = _Pages(window, self._requests)
        with ThreadPoolExecutor(1, thread_name_prefix="fetch") as fetcher:
            answer = answer or self._requests.page_of_period(window.start, window.end)
            pages.take(answer)
            is_useless = self._is_too_large(window, pages, answer)
            if not pages.is_complete and not is_useless and (days := self._affordable_days(window, answer)) is not None:
                if days:
                    yield from self.days(last_day - (days - 1) * DAY, last_day)
                self._requests.quota.require(self._further_pages(answer))
            while not is_useless and pages.may_go_on and pages.read <= self._max_offset:
                page = fetcher.submit(self._requests.page_of_period, window.start, window.end, pages.read)
                yield from pages.handed_on()
                answer = page.result()
                pages.take(answer)
        if pages.is_complete:
            yield from pages.handed_on()
            yield DaysComplete(first_day, last_day, self._requests.take_points())
            return
        if not is_useless and pages.may_go_on and first_day < pages.latest_day and answer.total is not None:
            middle = pages.latest_day
            following = self._requests.page_of_period(datetime.combine(middle, time()), window.end)
            if following.total is not None and pages.count_before_latest_day + following.total == answer.total:
                yield from pages.handed_on(middle - DAY)
                yield DaysComplete(first_day, middle - DAY, self._requests.take_points())
                del pages  # the keys of these days, which would be held until the last day is read
                yield from self.days(middle, last_day, following)
                return
        yield Discarded()
        self._is_shuffled |= pages.are_shuffled
        if self._is_shuffled:
            runs = self._parts(window.start, window.end, answer.total)
            yield from window.days(runs, self._requests.take_points)
            return
        days = (last_day - first_day).days + 1
        parts = min(days, max(2, ceil((answer.total or 0) / (_FILLED * self._reach))))
        edges = [first_day + days * part // parts * DAY for part in range(parts + 1)]
        for begin, end in pairwise(edges):
            yield from self.days(begin, end - DAY)

    def _further_pages(self, answer: Answer) -> int:
        """How many more pages may be needed to make complete what begins with this page."""
        if answer.total is None or not answer.counted:
            return 0
        return ceil(min(answer.total, self._reach) / answer.counted) - 1

    def _affordable_days(self, window: Window, answer: Answer) -> int | None:
        """How many of the window's days, the newest, the day's points reach for; None when they reach for all."""
        left = self._requests.quota.left()
        if left is None or left >= self._further_pages(answer):
            return None
        days = (window.last_day - window.first_day).days + 1
        return min(int(left * answer.counted * _FILLED * days / (answer.total or 1)), days - 1)

    def _is_too_large(self, window: Window, pages: "_Pages", answer: Answer) -> bool:
        """True when the first page shows that reading on is of no use."""
        total = answer.total or 0
        if total <= self._reach:
            return False
        days = (window.last_day - window.first_day).days + 1
        return (pages.latest_day - window.first_day).days > 2 * days * answer.counted / total + 1

    def _runs(self, start: datetime, end: datetime, answer: Answer | None = None) -> Iterator[Proven]:
        """Runs of rows of a day that each add up as a whole; periods that do not are read in parts, down to a second.

        `answer` is the first page, where it was read already.
        """
        is_shortest = end - start <= self._shortest
        pages = 1 if self._is_shuffled else _HELD_PAGES
        most = self._reach if is_shortest else pages * self._page_rows
        for _ in range(TRIES if is_shortest else 1):
            rows: dict[Any, Row] = {}
            rejected: list[Rejected] = []
            totals: set[int | None] = set()
            read = unstorable = 0
            while True:
                answer = answer or self._requests.page_of_period(start, end, read)
                totals.add(answer.total)
                rows.update(self._requests.distinct(answer.rows))
                rejected += answer.rejected
                read += answer.counted
                unstorable += answer.counted - len(answer.rows)
                counted, total, is_full, answer = answer.counted, answer.total, answer.is_full, None
                if len(totals) == 1 and (len(rows) + unstorable == total or (total is None and not is_full)):
                    inside = [row for row in rows.values() if self._requests.time(row) < end]
                    yield Proven.of(self._requests, inside, end, rejected)
                    return
                if not counted or len(totals) > 1 or (total or 0) > most or read > self._max_offset:
                    break
        if is_shortest:
            raise incomplete(self._requests, start, end, len(rows), total)
        yield from self._parts(start, end, total)

    def _parts(self, start: datetime, end: datetime, total: int | None) -> Iterator[Proven]:
        """Runs of the parts of a period that holds `total` rows."""
        pages = _FILLED if self._is_shuffled else _PART_PAGES
        parts = max(2, ceil((total or 0) / (pages * self._page_rows)))
        length = max((end - start) // (parts * self._shortest), 1) * self._shortest
        while start < end:
            part_end = start + length if end - start >= 2 * length else end
            yield from self._runs(start, part_end)
            start = part_end


class _Pages:
    """The pages of a window of several days, each of their rows once. `read` rows came, of which `distinct` differ.

    Rows of the latest day met wait, so that the days before it can be complete without it.
    """

    def __init__(self, window: Window, requests: RowRequests) -> None:
        self.read = self.distinct = 0
        self.latest_day = window.first_day
        self.is_complete = False
        self.may_go_on = True
        self.are_shuffled = False
        self._window, self._requests = window, requests
        self._seen: set[Any] = set()
        self._total: int | None = None
        self._waiting: list[Row] = []
        self._rejected: list[Rejected] = []
        self._waiting_of_latest_day = 0

    @property
    def count_before_latest_day(self) -> int:
        """How many rows were met of the days before the latest."""
        return self.distinct - self._waiting_of_latest_day

    def take(self, answer: Answer) -> None:
        """Take in the next page."""
        window, time_of = self._window, self._requests.time
        fresh = {key: row for key, row in self._requests.distinct(answer.rows).items() if key not in self._seen}
        self._seen |= fresh.keys()
        self.distinct += len(fresh) + answer.counted - len(answer.rows)
        comes_twice = self.distinct < self.read + answer.counted
        # Rows that arrive behind what was read are read and counted; where rows vanish, others move up and are missed.
        has_shrunk = self._total is not None and (answer.total is None or answer.total < self._total)
        self.are_shuffled = comes_twice and self.read > 0 and answer.total == self._total
        self.read, self._total = self.read + answer.counted, answer.total
        is_counted = self.distinct == answer.total or (answer.total is None and not answer.is_full)
        self.is_complete = is_counted and not has_shrunk
        self.may_go_on = not (self.is_complete or has_shrunk or comes_twice) and answer.counted > 0

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

    def handed_on(self, last_day: date | None = None) -> Iterator[Rows]:
        """The rows that wait no longer: all when complete, else those before the latest day."""
        if self.is_complete:
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
