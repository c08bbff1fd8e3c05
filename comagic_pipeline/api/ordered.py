"""Rows in the order of time: pages that overlap by one row prove each other, at no point more than they cost anyway.

The edge is the time of the last row of a page; the next page begins one row before the edge. If its first row lies
before the edge and its second does not, then as many rows lie before the edge as were read: none arrived or vanished
there, and the days before it are complete. Rows that arrive behind the edge do no harm. Where the overlap does not
fit, reading goes back to the last edge that did. If that does not fit any more, rows before it changed: the rest is
read from there, and the window remembers which days perhaps changed.

What cannot be seen: as many rows arriving as vanishing between two pages, and changes behind the window's last request
or, in windows larger than the offset reaches, before the moment that reading went on from.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from comagic_pipeline.api.errors import DayPointsSpentError
from comagic_pipeline.api.requests import Answer, RowRequests
from comagic_pipeline.api.rows import Row
from comagic_pipeline.api.windows import TRIES, Proven, Window, incomplete


class UnorderedError(Exception):
    """The rows do not come in the order that was asked for, or more share one second than a page holds."""


class UncountedError(UnorderedError):
    """The API does not count the rows of the window, so that nothing can be proven of their ranks."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("rows are not counted")
        self.answer = answer


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


def ordered_runs(requests: RowRequests, window: Window, max_offset: int) -> Iterator[Proven]:
    """Runs of rows in the order of time, each proven by the page that follows it.

    Raises UncountedError with the first page, UnorderedError, IncompleteAnswerError after several tries, and what
    Client.call raises.
    """
    time_of, tries = requests.time, TRIES
    place = proven = _Place(window.start, 0, window.start)
    waiting = Proven([], window.start)
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as fetcher:

        def fetch() -> Future[Answer]:
            return fetcher.submit(requests.page_of_period, place.base, window.end, place.offset)

        page = fetch()
        while True:
            try:
                answer = page.result()
            except DayPointsSpentError:
                # Its front is proven, and the rest is of one answer: what was paid for is kept.
                yield waiting
                raise
            if not place.rank and answer.is_whole and (answer.total or 0) >= place.following:
                yield waiting
                yield Proven.of(requests, answer.rows, window.end, answer.rejected)
                return
            if answer.total is None and place.base == window.start and not place.rank:
                raise UncountedError(answer)
            rows, total = _in_order(requests, answer)
            read = place.offset + len(rows)
            overlap = sum(time_of(row) < place.edge for row in rows[:2])
            fits = overlap == place.overlap and total >= max(read, place.following)
            rows = rows[place.overlap :]
            if fits and read == total:
                yield waiting
                yield Proven.of(requests, rows, window.end, answer.rejected)
                return
            edge = time_of(rows[-1]) if rows else place.edge
            before = [row for row in rows if time_of(row) < edge]
            if fits and before:
                if place.edge > proven.edge:
                    tries = TRIES
                proof, waiting, proven = waiting, Proven.of(requests, before, edge, answer.rejected), place
                place = _Place(place.base, place.rank + len(before), edge)
                if place.offset > max_offset:
                    place = _Place(edge, 0, edge, following=total - place.rank)
                page = fetch()
                yield proof
            elif fits and answer.is_full:
                raise UnorderedError(f"over {requests.page_rows} rows share the time {edge}")
            else:
                tries -= 1
                if not tries:
                    raise incomplete(requests, window.start, window.end, read, total)
                if place == proven:
                    window.changed_through = proven.edge.date() if proven.edge > window.start else None
                    proven = _Place(proven.edge, 0, proven.edge)
                place, waiting = proven, Proven([], proven.edge)
                page = fetch()


def _in_order(requests: RowRequests, answer: Answer) -> tuple[list[Row], int]:
    if answer.total is None or not answer.is_plain:
        raise UnorderedError("rows come twice, cannot be stored or are not counted")
    times = [requests.time(row) for row in answer.rows]
    if any(later < earlier for earlier, later in pairwise(times)):
        raise UnorderedError("rows do not come in the order of time")
    return answer.rows, answer.total
