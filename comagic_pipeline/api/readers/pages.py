"""Pages of one period: the proof that they add up, and the bound on what a window may cost.

Each page after the first begins with the last row of the page before it. If that row is another one, rows were inserted
or deleted in between, or the order is not stable. Which periods to request is decided in `counted` and `parts`.
"""

from collections.abc import Set as AbstractSet
from datetime import datetime
from math import ceil
from typing import Any

from comagic_pipeline.api.errors import IncompleteAnswerError
from comagic_pipeline.api.requests import Answer, RowRequests
from comagic_pipeline.api.rows import Row

SPARE_POINTS = 24
"""How many points a window may cost beyond twice the least, whatever the API does."""

_CREDIBLE = 10  # how many times as many rows as were read the API's count may claim


class Bound:
    """The bound on the points of one window, which is the period of the longest request.

    The least follows from the rows that were handed out and, as far as they make it credible, from the first
    `total_items`; and from the longest page, because pages may be shorter than asked for.
    """

    def __init__(self, requests: RowRequests) -> None:
        self._requests, self._points_before = requests, requests.points
        self._complete = self._most = 0
        self._longest, self._claimed = 1, -1
        self.narrowing = SPARE_POINTS // 2
        """How many points are left to find the days that do not add up."""

    def page(self, start: datetime, end: datetime, offset: int = 0) -> Answer:
        """Return a page of a report; raises IncompleteAnswerError when the window may cost no more points."""
        spent = self._requests.points - self._points_before
        rows = max(self._most, min(self._claimed, _CREDIBLE * self._most))
        # A page begins with the last row before the edge of the page before it, and rows of that edge come again.
        if spent >= SPARE_POINTS + 2 * max(ceil(rows / max(self._longest - 2, 1)), 1):
            raise IncompleteAnswerError(
                f"{self._requests.method.name}: from {start} to {end} the rows do not add up to the API's count, and "
                f"{spent} points were spent on them. Days that do not add up were not written. Load them again later; "
                "if it stays so, ask the vendor's support"
            )
        answer = self._requests.page_of_period(start, end, offset)
        self.see(answer)
        return answer

    def see(self, answer: Answer) -> None:
        """Take in an answer that another reader asked for."""
        self._longest = max(self._longest, answer.lines)
        if self._claimed < 0:
            self._claimed = answer.total or 0
            self.read(answer.counted)

    def discredit(self) -> None:
        """Forget the first count: rows ended before or behind it."""
        self._claimed = 0

    def read(self, rows: int) -> None:
        """Take in how many rows the present reading has, beside those that are complete."""
        self._most = max(self._most, self._complete + rows)

    def complete(self, rows: int) -> None:
        """Take in how many more rows are complete."""
        self._complete += rows
        self.read(0)


class Pages:
    """The pages of one period, taken in one by one.

    `rows` counts the distinct rows and `lines` the places that were read; `total` is the API's latest count. `doubles`
    are rows that stand twice in one answer.
    """

    def __init__(self, requests: RowRequests) -> None:
        self.rows = self.lines = 0
        self.total: int | None = None
        self.doubles: list[Row] = []
        self.adds_up = self.is_ended = self.has_moved = self.is_shuffled = False
        self._requests = requests
        self._moments: dict[Any, datetime | None] = {}
        self._last: Any = None
        self._overlap = 0

    @property
    def offset(self) -> int:
        """The place at which the next page begins: one row before the end of what was read."""
        return self.lines - self._overlap

    @property
    def keys(self) -> AbstractSet[Any]:
        """What tells the rows apart that were read."""
        return self._moments.keys()

    @property
    def may_go_on(self) -> bool:
        """True while another page can help."""
        return not (self.adds_up or self.is_ended or self.has_moved)

    def take(self, answer: Answer) -> dict[Any, Row]:
        """Take in the next page and return its rows that are new, by what tells them apart."""
        rows = self._requests.distinct(answer.rows)
        fresh = {key: row for key, row in rows.items() if key not in self._moments}
        repeats = len(rows) - len(fresh) - self._overlap
        fits = not self._overlap or answer.first == self._last
        # Rows that arrive behind what was read are read and counted; where rows vanish, others move up and are missed.
        has_shrunk = self.total is not None and (answer.total is None or answer.total < self.total)
        self.has_moved = has_shrunk or not fits or repeats > 0
        # Rows that came or went between two pages shift a few rows; pages in a new order repeat many.
        self.is_shuffled = not has_shrunk and repeats > max(2, answer.lines // 50)

        new_lines = answer.lines - self._overlap
        self._moments |= self._moments_of(fresh)
        self.rows += len(fresh)
        self.lines += new_lines
        self.total, self._last = answer.total, answer.last
        self.doubles += answer.doubles
        is_counted = self.lines == answer.total or (answer.total is None and not answer.is_full)
        self.adds_up = is_counted and not self.has_moved
        self.is_ended = new_lines <= 0 or (answer.total is not None and self.lines >= answer.total)
        # An overlap of the only row would ask for the same page; where nothing is counted, only an empty page ends.
        self._overlap = int(answer.lines > 1 and answer.total is not None)
        return fresh

    def _moments_of(self, rows: dict[Any, Row]) -> dict[Any, datetime | None]:
        """Return the times of rows, where a reader needs them, by what tells the rows apart."""
        return dict.fromkeys(rows)
