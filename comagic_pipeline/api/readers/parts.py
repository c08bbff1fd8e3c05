"""Read the parts of a window whose rows did not add up as a whole, down to a second.

A part in one page is proven by that page alone, whatever the order. Where the API's count always differs from the rows
that it returns, two equal readings are handed on as unproven, with the days that they are about.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from math import ceil
from typing import Any

from comagic_pipeline.api.errors import IncompleteAnswerError
from comagic_pipeline.api.readers.pages import Bound, Pages
from comagic_pipeline.api.readers.windows import DAY, Proven, rejected_of
from comagic_pipeline.api.requests import Answer, RowRequests
from comagic_pipeline.api.rows import Rejected, Row

_MOVES = 2  # how often pages of a report may not fit each other before only single pages are trusted
_PARTS = 1000  # the most parts of a period: a count may be wrong
_SORTED = 0.5  # how much more often than not rows must be in order; 0 is chance
_SAMPLE = 100  # how many rows tell the density of a stretch of a period
_TRIES = 4  # readings of a period that cannot be cut before the error goes to a person
HELD_PAGES = 4
"""How many pages of a period are held in memory until it adds up."""
_PART_PAGES = 2.75  # what the parts of a larger day should hold: just under whole pages, for they differ
_FILLED = 0.95  # how much of a page a part should fill, for parts differ

Known = Mapping[Any, datetime]
"""The moments of the rows of an earlier reading, by what tells them apart."""


@dataclass(frozen=True)
class Reading:
    """The rows of a period as the API handed them out; it counts `difference` more of them.

    A reading is `confirmed` when an earlier one had the same rows.
    """

    start: datetime
    end: datetime
    rows: Mapping[Any, Row]
    rejected: list[Rejected] = field(default_factory=list)
    doubles: Sequence[Row] = ()
    difference: int = 0
    confirmed: bool = False

    @property
    def days(self) -> int:
        """The number of days that the period touches."""
        return ((self.end - timedelta(microseconds=1)).date() - self.start.date()).days + 1


class PartReader:
    """Reads parts of the windows of one report; they cannot be cut shorter than `shortest`.

    `is_shuffled` is True when pages of one window turned out to have no order in common: then only single pages are
    trusted.
    """

    def __init__(self, requests: RowRequests, max_offset: int, shortest: timedelta) -> None:
        self._requests, self._max_offset, self._shortest = requests, max_offset, shortest
        self.bound = Bound(requests)
        self.is_shuffled = False
        self._moves = 0

    def note(self, pages: Pages) -> None:
        """Remember how pages behave that did not add up."""
        self._moves += pages.has_moved
        # Where rows move again and again, pages by offset do not fit either, whatever the reason is.
        self.is_shuffled |= pages.is_shuffled or self._moves > _MOVES

    def looks_shuffled(self, rows: Sequence[Row]) -> bool:
        """Return whether rows are in no order at all: neither of time nor of their keys.

        A guess that saves points: pages by offset are of no use where every answer has another order.
        """
        if self.is_shuffled or len(rows) < 3:
            return self.is_shuffled
        times = list(map(self._requests.time, rows))
        orders = [times]
        if self._requests.method.is_key_unique:
            orders.append(list(self._requests.distinct(rows)))
        return not any(_is_mostly_sorted(values) for values in orders)

    def runs(
        self, start: datetime, end: datetime, answer: Answer | None = None, known: Known | None = None
    ) -> Iterator[Proven]:
        """Yield runs of rows of a period, proven or confirmed.

        `answer` is its first page, `known` an earlier reading. Raises IncompleteAnswerError, and as Client.call does.
        """
        answer = answer or self.bound.page(start, end)
        is_cut = known is None and end - start > self._shortest and self._is_shuffled_beyond_a_page(answer)
        reading = None if is_cut else self._read(start, end, answer, known)
        if reading is not None:
            yield from self._narrowed(reading)
        elif end - start > self._shortest:
            yield from self.parts(start, end, answer, answer.total, known)
        else:
            yield self._unsteady(start, end)

    def parts(
        self, start: datetime, end: datetime, answer: Answer, rows: int | None, known: Known | None = None
    ) -> Iterator[Proven]:
        """Yield runs of the parts of a period that has so many `rows`, of which `answer` is a page."""
        is_single = self.looks_shuffled(answer.rows)
        part_rows = (_FILLED if is_single else _PART_PAGES) * self._page_rows(answer)
        parts = min(max(2, ceil((rows or 0) / part_rows)), _PARTS)
        for begin, until in pairwise(self._edges(start, end, parts, answer.rows)):
            if self.is_shuffled and not is_single:
                rest = ceil((rows or 0) * ((end - begin) / (end - start)))
                yield from self.parts(begin, end, answer, rest, known)
                return
            inside = {key: at for key, at in known.items() if begin <= at < until} if known is not None else None
            yield from self.runs(begin, until, known=inside)

    def _is_shuffled_beyond_a_page(self, answer: Answer) -> bool:
        is_cut_off = (answer.is_full or self.is_shuffled) and (answer.total or 0) > answer.lines
        return is_cut_off and self.looks_shuffled(answer.rows)

    def _page_rows(self, answer: Answer) -> int:
        """Return how many rows a page has: pages may be shorter than asked for."""
        return answer.lines if 0 < answer.lines < (answer.total or 0) else self._requests.page_rows

    def _edges(self, start: datetime, end: datetime, parts: int, rows: Sequence[Row]) -> list[datetime]:
        """Cut a period so that its parts hold about as many rows, judged by some of them."""
        times = [at for at in map(self._requests.time, rows) if start <= at < end]
        units = (end - start) // self._shortest
        if _is_mostly_sorted(times):
            # The rows are of the beginning of the period: they tell nothing of the rest.
            cuts = {units * part // parts for part in range(1, parts)}
        else:
            cuts = {(moment - start) // self._shortest for moment in _quantiles(start, end, sorted(times), parts)}
        inside = sorted(cut for cut in cuts if 0 < cut < units) or [max(units // 2, 1)]
        return [start, *(start + cut * self._shortest for cut in inside), end]

    def _read(
        self, start: datetime, end: datetime, answer: Answer | None = None, known: Known | None = None
    ) -> Reading | None:
        """Read a period to its end; None when its pages do not fit each other or are too many."""
        pages = Pages(self._requests)
        rows: dict[Any, Row] = {}
        rejected: list[Rejected] = []
        answer = answer or self.bound.page(start, end)
        # The first count, or better what came before: a count may be wrong, and grow.
        is_too_long = (len(known) if known is not None else answer.total or 0) > self._most_rows(start, end, answer)
        while True:
            answer = answer or self.bound.page(start, end, pages.offset)
            rows |= pages.take(answer)
            rejected += answer.rejected
            self.bound.read(pages.rows)
            # Another page would show only that the rows end where they ended before.
            is_known = known is not None and pages.keys >= known.keys() and not pages.has_moved
            if pages.adds_up or (is_known and not answer.is_full) or (pages.is_ended and not pages.has_moved):
                return self._reading(start, end, rows, rejected, pages, confirmed=is_known)
            if not pages.may_go_on or is_too_long or pages.offset > self._max_offset:
                self.note(pages)
                return None
            answer = None

    def _reading(
        self,
        start: datetime,
        end: datetime,
        rows: Mapping[Any, Row],
        rejected: list[Rejected],
        pages: Pages,
        *,
        confirmed: bool,
    ) -> Reading:
        """Return a reading without the rows at its end: whether `date_till` belongs to a period is not documented."""
        time_of = self._requests.time
        inside = {key: row for key, row in rows.items() if time_of(row) < end}
        doubles = [row for row in pages.doubles if time_of(row) < end]
        difference = 0 if pages.total is None else pages.total - pages.lines
        if difference:
            self.bound.discredit()
        return Reading(start, end, inside, rejected, doubles, difference, confirmed)

    def _most_rows(self, start: datetime, end: datetime, answer: Answer) -> int:
        """Return how many rows of a period are worth to be read by offset."""
        if end - start <= self._shortest:
            return self._max_offset + self._requests.page_rows
        return self._page_rows(answer) if self.is_shuffled else HELD_PAGES * self._requests.page_rows

    def _narrowed(self, reading: Reading) -> Iterator[Proven]:
        """Yield runs of a reading: days that add up are proven, found by counting halves of the others."""
        middle = _middle(reading)
        if not reading.difference or middle is None or self.bound.narrowing <= 0:
            yield self._confirmed(reading)
            return
        first, second = self._halves(reading, middle)
        spent = self._requests.points
        again = self._read(first.start, first.end, known=_known(self._requests, first.rows))
        self.bound.narrowing -= self._requests.points - spent
        if again is None or again.rows.keys() != first.rows.keys():
            yield from self.runs(first.start, first.end)
            yield from self.runs(second.start, second.end)
            return
        rest = reading.difference - again.difference
        if abs(again.difference) + abs(rest) > abs(reading.difference):
            # The count does not add up over parts: it is not about any day.
            yield self._confirmed(replace(again, difference=reading.difference))
            yield self._confirmed(second)
            return
        yield from self._narrowed(again)
        yield from self._narrowed(replace(second, difference=rest))

    def _halves(self, reading: Reading, middle: datetime) -> tuple[Reading, Reading]:
        time_of = self._requests.time
        first = {key: row for key, row in reading.rows.items() if time_of(row) < middle}
        second = {key: row for key, row in reading.rows.items() if time_of(row) >= middle}
        doubles = reading.doubles
        return (
            replace(reading, end=middle, rows=first, doubles=[row for row in doubles if time_of(row) < middle]),
            replace(
                reading,
                start=middle,
                rows=second,
                rejected=[value for value in reading.rejected if value.day is None or value.day >= middle.date()],
                doubles=[row for row in doubles if time_of(row) >= middle],
            ),
        )

    def _confirmed(self, reading: Reading) -> Proven:
        """Return the run of a reading that adds up, or that a second one confirms: it has the same rows, or more."""
        for _ in range(_TRIES):
            if not reading.difference or reading.confirmed:
                return self._run(reading)
            again = self._read(reading.start, reading.end, known=_known(self._requests, reading.rows))
            if again and again.confirmed and again.difference:
                # The count of the longest period that was read is the nearest to the truth.
                again = replace(again, difference=reading.difference)
            reading = again or reading
        raise self._incomplete(reading.start, reading.end, len(reading.rows), reading.difference)

    def _unsteady(self, start: datetime, end: datetime) -> Proven:
        """Return the run of a period of several pages that cannot be cut and whose pages do not fit each other.

        Each reading adds the rows that it found, until they are as many as the API counts.
        """
        found: dict[Any, Row] = {}
        rejected: list[Rejected] = []
        difference = 0
        for _ in range(_TRIES):
            reading = self._read(start, end)
            if reading is not None:
                return self._confirmed(reading)
            pages, known, unstorable = Pages(self._requests), len(found), 0
            while not pages.is_ended and pages.offset <= self._max_offset:
                answer = self.bound.page(start, end, pages.offset)
                found |= pages.take(answer)
                rejected += answer.rejected
                unstorable += answer.counted - len(answer.rows)
                self.bound.read(len(found))
            difference = (pages.total or 0) - len(found) - unstorable
            if not difference or len(found) == known:
                pages.doubles = []
                return self._run(self._reading(start, end, found, rejected, pages, confirmed=True))
        raise self._incomplete(start, end, len(found), difference)

    def _run(self, reading: Reading) -> Proven:
        rows, time_of = list(reading.rows.values()), self._requests.time
        self.bound.complete(len(rows))
        differences = Counter(time_of(row).date() for row in reading.doubles)
        if reading.difference:
            first_day = reading.start.date()
            differences.update({first_day + number * DAY: reading.difference for number in range(reading.days)})
        return Proven(rows, reading.end, rejected_of(self._requests, rows, reading.rejected), differences)

    def _incomplete(self, start: datetime, end: datetime, read: int, difference: int) -> IncompleteAnswerError:
        return IncompleteAnswerError(
            f"{self._requests.method.name}: from {start} to {end} the API counts {read + difference} rows and hands "
            f"out {read}, and other ones each time. Days that do not add up were not written. Load them again later; "
            "if it stays so, ask the vendor's support"
        )


def _known(requests: RowRequests, rows: Mapping[Any, Row]) -> Known:
    return {key: requests.time(row) for key, row in rows.items()}


def _middle(reading: Reading) -> datetime | None:
    """Return the midnight in the middle of a period; None when it lies within a day."""
    if reading.days == 1:
        return None
    middle: date = reading.start.date() + (reading.days // 2) * DAY
    return datetime.combine(middle, time())


def _quantiles(start: datetime, end: datetime, times: Sequence[datetime], parts: int) -> Iterator[datetime]:
    """Yield the moments that cut a period into parts with about as many rows; `times` are those of some rows, sorted.

    Between every hundredth of them rows are taken to be spread evenly: fewer would tell more of chance than of density.
    """
    knots = [start, *times[_SAMPLE::_SAMPLE][: max(len(times) // _SAMPLE - 1, 0)], end]
    for part in range(1, parts):
        place = part * (len(knots) - 1) / parts
        before = knots[int(place)]
        yield before + (knots[int(place) + 1] - before) * (place % 1)


def _is_mostly_sorted(values: Sequence[Any]) -> bool:
    """Return whether values are mostly in order, upwards or downwards: neighbours, or those half of all apart.

    Neighbours alone tell too little: rows may come day by day, in no order within a day.
    """
    return any(_order(values, distance) > _SORTED for distance in {1, len(values) // 2} if distance) or len(values) < 3


def _order(values: Sequence[Any], distance: int) -> float:
    """Return how much more often than by chance values this far apart are in order: from 0 to 1."""
    pairs = list(zip(values, values[distance:], strict=False))
    upwards = sum(earlier <= later for earlier, later in pairs)
    return abs(2 * upwards / len(pairs) - 1) if pairs else 0
