"""Complete periods of a report at the least cost in points: which windows and pages to ask for, and the proof.

A window is the period of one request, at most 3 months. Its rows come in pages of up to 10 000, one point each. Rows
are handed on when they are proven: exactly as many were read as the API counts.

Where answers can be ordered by time, pages overlap by one row. The edge is the time of the last row of a page; the
next page begins one row before the edge. If its first row lies before the edge and its second does not, then as many
rows lie before the edge as were read: none arrived or vanished there, and the days before it are complete. Rows that
arrive behind the edge do no harm. Where the overlap does not fit, reading goes back to the last edge that did. If that
does not fit any more, rows before it changed: the rest is read from there, and then the changed days are looked for.
What cannot be seen: as many rows arriving as vanishing between two pages, and changes behind the window's last request
or, in windows larger than the offset reaches, before the moment that reading went on from.

Where answers cannot be ordered, a window counts as a whole, and one that does not add up is read in parts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from math import ceil
from typing import Any

from dateutil.relativedelta import relativedelta

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import IncompleteAnswerError, PeriodTooLongError
from comagic_pipeline.api.requests import MAX_OFFSET, PAGE_ROWS, Answer, RowRequests
from comagic_pipeline.api.rows import Rejected, Row
from comagic_pipeline.catalog import Method

TRIES = 8
"""How often the rows of a window that do not add up are read again before the error goes to a person."""

_UNORDERED_PAGES = 4  # an unordered window is held in memory until it adds up
_PART_PAGES = 2.75  # what its parts should hold where it is too large: just under whole pages, for days differ
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_GENERAL_LIMIT = relativedelta(months=3)
_PERIOD_LIMITS: tuple[relativedelta, ...] = (
    # The documentation gives 3 months in one place and 90 days in another. A refusal is free: begin with the longest.
    _GENERAL_LIMIT,
    *(relativedelta(days=days) for days in (90, 89, 60, 30, 14, 7, 3, 1)),
)


@dataclass(frozen=True)
class Rows:
    """Rows of the days from `first_day` to `last_day`, both included; perhaps not yet all of them."""

    first_day: date
    last_day: date
    rows: list[Row]
    rejected: list[Rejected]


@dataclass(frozen=True)
class DaysComplete:
    """All rows of these days, both included, were handed on: they may be stored. `points` were spent meanwhile."""

    first_day: date
    last_day: date
    points: int


Step = Rows | DaysComplete


@dataclass(frozen=True)
class _Proven:
    """Rows that are all there are between the last such run and the moment `until`, which is excluded."""

    rows: list[Row]
    until: datetime
    rejected: Sequence[Rejected] = ()


@dataclass(frozen=True)
class _Place:
    """Where a page begins: `rank` rows lie between the moment `base`, where its window begins, and `edge`.

    At least `following` rows must come with it and after it.
    """

    base: datetime
    rank: int
    edge: datetime
    following: int = 0

    @property
    def offset(self) -> int:
        """The number of the page's first row: the last before the edge, or the first of the window."""
        return max(self.rank - 1, 0)

    @property
    def overlap(self) -> int:
        """How many of the page's rows must lie before the edge."""
        return self.rank - self.offset


class _UnorderedError(Exception):
    """The rows do not come in the order that was asked for, or more share one second than a page holds."""


class PeriodReader:
    """Reads periods of one report for one account; `params` go with every request (user_id, filter, ...).

    `zone` is the account's. `warnings` holds what a person should know though nothing failed. Pages of `page_rows` rows
    reach as far as the offset `max_offset`.
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
    ) -> None:
        if method.time_column is None or not method.has_period:
            raise ValueError(f"{method.name} has no period: it is a dictionary")
        self.method = method
        self._is_ordered = method.is_time_sortable
        sort = method.time_column if self._is_ordered else None
        self._requests = RowRequests(client, method, zone, params, sort, page_rows)
        self._page_rows, self._max_offset = page_rows, max_offset
        self._time = self._requests.time
        own_limit = None if method.max_days in (None, 90) else relativedelta(days=method.max_days or 0)
        self._limits = [own_limit] if own_limit else []
        self._limits += [limit for limit in _PERIOD_LIMITS if own_limit is None or _shorter(limit, own_limit)]
        self._points_told = 0

    @property
    def warnings(self) -> list[str]:
        """What a person should know though nothing failed."""
        return self._requests.warnings

    @property
    def points(self) -> int:
        """The points spent so far."""
        return self._requests.points

    def read(self, first_day: date, last_day: date) -> Iterator[Step]:
        """Read all rows of these days, both included.

        Yields Rows and DaysComplete; the runs of days follow each other and make up the period. Days that changed
        while the period was read come once more at the end. The next page is fetched while the caller works.
        Raises IncompleteAnswerError with both numbers when rows do not add up after several tries, and what
        Client.call raises; days that were complete before stay so.
        """
        while first_day <= last_day:
            end_day = min(last_day, (datetime.combine(first_day, time()) + self._limits[0]).date() - _DAY)
            try:
                yield from self._window(first_day, end_day)
            except PeriodTooLongError:
                if len(self._limits) == 1:
                    raise
                del self._limits[0]
                continue
            first_day = end_day + _DAY

    def _window(self, first_day: date, last_day: date) -> Iterator[Step]:
        window = _Window(self._time, first_day, last_day, self._page_rows)
        yield from window.days(self._proven(window), self._take_points)
        if window.changed_through:
            yield from self._compare(window, first_day, window.changed_through)

    def _take_points(self) -> int:
        """The points spent since this was last asked."""
        points, self._points_told = self.points - self._points_told, self.points
        return points

    def _proven(self, window: "_Window") -> Iterator[_Proven]:
        start = window.start
        if self._is_ordered:
            try:
                for run in self._ordered(window):
                    yield run
                    start = run.until
                return
            except _UnorderedError as error:
                self.warnings.append(f"{self.method.name}: {error}; read without order from {start}, at more points")
        yield from self._unordered(start, window.end)

    def _ordered(self, window: "_Window") -> Iterator[_Proven]:
        """Runs of rows in the order of time, each proven by the page that follows it."""
        tries = TRIES
        place = proven = _Place(window.start, 0, window.start)
        waiting = _Proven([], window.start)
        with ThreadPoolExecutor(1, thread_name_prefix="fetch") as fetcher:

            def fetch() -> Future[Answer]:
                return fetcher.submit(self._requests.page_of_period, place.base, window.end, place.offset)

            page = fetch()
            while True:
                answer = page.result()
                rows, total = self._in_order(answer)
                read = place.offset + len(rows)
                overlap = sum(self._time(row) < place.edge for row in rows[:2])
                fits = overlap == place.overlap and total >= max(read, place.following)
                rows = rows[place.overlap :]
                if fits and read == total:
                    yield waiting
                    yield self._run(rows, window.end, answer.rejected)
                    return
                edge = self._time(rows[-1]) if rows else place.edge
                before = [row for row in rows if self._time(row) < edge]
                if fits and before:
                    if place.edge > proven.edge:
                        tries = TRIES
                    proof, waiting, proven = waiting, self._run(before, edge, answer.rejected), place
                    place = _Place(place.base, place.rank + len(before), edge)
                    if place.offset > self._max_offset:
                        place = _Place(edge, 0, edge, following=total - place.rank)
                    page = fetch()
                    yield proof
                elif fits and answer.is_full:
                    raise _UnorderedError(f"over {self._page_rows} rows share the second {edge}")
                else:
                    tries -= 1
                    if not tries:
                        raise self._incomplete(window.start, window.end, read, total)
                    if place == proven:
                        window.changed_through = proven.edge.date() if proven.edge > window.start else None
                        proven = _Place(proven.edge, 0, proven.edge)
                    place, waiting = proven, _Proven([], proven.edge)
                    page = fetch()

    def _run(self, rows: list[Row], until: datetime, rejected: list[Rejected]) -> _Proven:
        """A run with what was rejected of its rows: the other rows of their pages come once more, and so does that."""
        if rejected:
            labels = set(map(self._requests.label, rows))
            rejected = [value for value in rejected if value.column is None or value.key in labels]
        return _Proven(rows, until, rejected)

    def _in_order(self, answer: Answer) -> tuple[list[Row], int]:
        if answer.total is None or not answer.is_plain:
            raise _UnorderedError("rows come twice, cannot be stored or are not counted")
        times = [self._time(row) for row in answer.rows]
        if any(later < earlier for earlier, later in pairwise(times)):
            raise _UnorderedError("rows do not come in the order of time")
        return answer.rows, answer.total

    def _unordered(self, start: datetime, end: datetime) -> Iterator[_Proven]:
        """Runs of rows that each add up as a whole; windows that do not are read in parts, down to a second."""
        is_second = end - start <= _SECOND
        for _ in range(TRIES if is_second else 1):
            most = self._max_offset + self._page_rows if is_second else _UNORDERED_PAGES * self._page_rows
            rows: dict[Any, Row] = {}
            rejected: list[Rejected] = []
            read, totals, is_complete = 0, set(), False
            while not is_complete:
                answer = self._requests.page_of_period(start, end, read)
                totals.add(answer.total)
                rows.update(self._requests.distinct(answer.rows))
                rejected += answer.rejected
                read += answer.counted
                unstorable = sum(value.column is None for value in rejected)
                is_complete = len(totals) == 1 and (
                    len(rows) + unstorable == answer.total or (answer.total is None and not answer.is_full)
                )
                if not answer.counted or len(totals) > 1 or (answer.total or 0) > most or read > self._max_offset:
                    break
            if is_complete:
                yield self._run([row for row in rows.values() if self._time(row) < end], end, rejected)
                return
            if not is_second:
                parts = max(2, ceil((answer.total or 0) / (_PART_PAGES * self._page_rows)))
                length = max((end - start) // (parts * _SECOND), 1) * _SECOND
                while start < end:
                    part_end = start + length if end - start >= 2 * length else end
                    yield from self._unordered(start, part_end)
                    start = part_end
                return
        raise self._incomplete(start, end, len(rows), answer.total)

    def _compare(self, window: "_Window", first_day: date, last_day: date) -> Iterator[Step]:
        """Days that changed after they were read: find them by counting halves, read only those again."""
        part = _Window(self._time, first_day, last_day, self._page_rows)
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
                yield DaysComplete(first_day, last_day, self._take_points())
                return
        if first_day < last_day:
            middle = first_day + (last_day - first_day) // 2
            yield from self._compare(window, first_day, middle)
            yield from self._compare(window, middle + _DAY, last_day)
        else:
            yield from part.days(self._proven(part), self._take_points)

    def _incomplete(self, start: datetime, end: datetime, read: int, total: int | None) -> IncompleteAnswerError:
        return IncompleteAnswerError(
            f"{self.method.name}: from {start} to {end} the API counts {total} rows and hands out {read}, try after "
            f"try ({TRIES}). Days that do not add up were not written. Load them again later; if it stays so, ask "
            "the vendor's support"
        )


class _Window:
    """Sorts proven rows into days and counts them.

    `changed_through` is the last of the days that perhaps changed after they were proven; None when none did.
    """

    def __init__(self, time_of: Callable[[Row], datetime], first_day: date, last_day: date, page_rows: int) -> None:
        self.first_day, self.last_day = first_day, last_day
        self.start, self.end = datetime.combine(first_day, time()), datetime.combine(last_day + _DAY, time())
        self.changed_through: date | None = None
        self._time = time_of
        self._page_rows = page_rows
        self._rows_of_day: Counter[date] = Counter()

    def count(self, first_day: date, last_day: date) -> int:
        """How many rows these days had when they were proven."""
        return sum(rows for day, rows in self._rows_of_day.items() if first_day <= day <= last_day)

    def days(self, runs: Iterator[_Proven], take_points: Callable[[], int]) -> Iterator[Step]:
        """Turn runs of proven rows into whole days; a day larger than a page is handed on in parts."""
        day = self.first_day  # the first day that is not complete
        held: list[Row] = []
        rejected: list[Rejected] = []
        for run in runs:
            rows = [row for row in run.rows if self._time(row) < self.end]
            self._rows_of_day.update(self._time(row).date() for row in rows)
            held += rows
            rejected += run.rejected
            midnight = datetime.combine(run.until.date(), time())
            if midnight.date() > day:
                last_day = midnight.date() - _DAY
                due = [value for value in rejected if value.day is None or value.day <= last_day]
                yield Rows(day, last_day, [row for row in held if self._time(row) < midnight], due)
                yield DaysComplete(day, last_day, take_points())
                day = midnight.date()
                held = [row for row in held if self._time(row) >= midnight]
                rejected = [value for value in rejected if value.day is not None and value.day >= day]
            if len(held) > self._page_rows:
                yield Rows(day, day, held, rejected)
                held, rejected = [], []


def _shorter(limit: relativedelta, other: relativedelta) -> bool:
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - any moment serves to compare two lengths
    return bool(start + limit < start + other)
