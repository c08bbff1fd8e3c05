"""Read rows in the order of time: pages that overlap by one row prove each other, at no extra points.

The edge is the time of the last row of a page; the next page begins one row before it. If the first row of that page
lies before the edge and its second does not, as many rows lie before the edge as were read: none was inserted or
deleted there, and the days before it are complete. Rows inserted behind the edge do no harm. Where the overlap does not
fit, reading returns to the last edge that did. If that does not fit either, rows before it changed: the rest is read
from there, and the window records the days that may have changed. Windows of one page, rows that do not add up in the
end, and windows that change with every page are left to `counted`.

Not detected: as many rows inserted as deleted before the edge, between two pages (no row is lost that was there all the
time), and changes after the window's last request or, in windows larger than the offset reaches, before the moment that
reading continued from.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from comagic_pipeline.api.errors import DayPointsSpentError
from comagic_pipeline.api.readers.pages import Bound
from comagic_pipeline.api.readers.windows import TRIES, Proven, Window
from comagic_pipeline.api.requests import Answer, RowRequests
from comagic_pipeline.api.rows import Row


class UnorderedError(Exception):
    """The rows do not come in the order that was asked for, or more share one second than a page holds."""


class SinglePageError(UnorderedError):
    """The first page proves nothing of its rows' ranks: none follows it, or the API does not count the rows."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("there are no pages to compare")
        self.answer = answer


class MiscountedError(UnorderedError):
    """The rows end before the API's count of them, or after it."""


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


def ordered_runs(requests: RowRequests, bound: Bound, window: Window, max_offset: int) -> Iterator[Proven]:
    """Yield runs of rows in the order of time, each proven by the page that follows it.

    Raises SinglePageError with the first page, MiscountedError, UnorderedError also when pages do not fit after several
    tries, IncompleteAnswerError when the window costs too many points, and what Client.call raises.
    """
    time_of, tries, failures, miscounts = requests.time, TRIES, 0, 0
    place = proven = _Place(window.start, 0, window.start)
    waiting = Proven([], window.start)
    short: Answer | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as fetcher:

        def fetch() -> Future[Answer]:
            return fetcher.submit(bound.page, place.base, window.end, place.offset)

        page = fetch()
        while True:
            try:
                answer = page.result()
            except DayPointsSpentError:
                # Its front is proven, and the rest is of one answer: what was paid for is kept.
                yield waiting
                raise
            if not place.rank and answer.is_whole and answer.is_plain and (answer.total or 0) >= place.following:
                yield waiting
                yield Proven.of(requests, answer.rows, window.end, answer.rejected)
                return
            is_first = place.base == window.start and not place.rank
            if is_first:
                if not _may_go_on(answer):
                    raise SinglePageError(answer)
                # Either the API counts more than it has, or its pages are short: the next one tells.
                short = answer if answer.lines < requests.page_rows else None
            rows, total = _in_order(requests, answer)
            read = place.offset + len(rows)
            overlap = sum(time_of(row) < place.edge for row in rows[:2])
            follows = overlap == place.overlap
            fits = follows and total >= max(read, place.following)
            rows = rows[place.overlap :]
            if short and place.rank:
                if follows and not rows:
                    raise SinglePageError(short)
                short = None
            bound.read(read - place.rank)
            if fits and read == total:
                yield waiting
                yield Proven.of(requests, rows, window.end, answer.rejected)
                return
            edge = time_of(rows[-1]) if rows else place.edge
            before = [row for row in rows if time_of(row) < edge]
            if fits and before:
                bound.complete(len(waiting.rows))
                if place.edge > proven.edge:
                    tries, miscounts = TRIES, 0
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
                failures += 1
                miscounts += follows
                if miscounts > 1:
                    raise MiscountedError(f"the API counts {total} rows and hands out {read}")
                if not tries or failures > TRIES + total / requests.page_rows / 2:
                    raise UnorderedError("rows change with every page")
                if place == proven:
                    window.changed_through = proven.edge.date() if proven.edge > window.start else None
                    proven = _Place(proven.edge, 0, proven.edge)
                place, waiting = proven, Proven([], proven.edge)
                page = fetch()


def _may_go_on(answer: Answer) -> bool:
    """Return whether more pages may follow the first one, so that they can prove each other."""
    return answer.total is not None and answer.is_plain and 0 < answer.lines < answer.total


def _in_order(requests: RowRequests, answer: Answer) -> tuple[list[Row], int]:
    if answer.total is None or not answer.is_plain:
        raise UnorderedError("rows come twice, cannot be stored or are not counted")
    times = [requests.time(row) for row in answer.rows]
    if any(later < earlier for earlier, later in pairwise(times)):
        raise UnorderedError("rows do not come in the order of time")
    return answer.rows, answer.total
