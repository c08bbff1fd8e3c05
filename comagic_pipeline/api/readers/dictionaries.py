"""Read whole dictionaries (campaigns, tags, ...) in pages, proven by the API's own count.

Pages overlap by a row, as those of reports do. If two equal readings have another number of rows than the API counts,
they are handed on with a warning. A list that is longer than pages reach is read in parts, by ranges of its ids.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from itertools import pairwise
from math import ceil
from typing import Any

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import IncompleteAnswerError, MethodUnavailableError
from comagic_pipeline.api.filters.parser import Tree, all_of
from comagic_pipeline.api.readers.pages import Pages
from comagic_pipeline.api.requests import MAX_OFFSET, PAGE_ROWS, Answer, RowRequests
from comagic_pipeline.api.rows import Rejected, Row
from comagic_pipeline.catalog import ColumnType, Method

TRIES = 4
"""How often a list that changes while it is read is read again; of one that is read in parts, each of these."""

_PART = 0.95  # of what pages reach: how much a part should hold, for the cuts are estimates

_LISTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    # Deleted statuses need a second request (methods.json, notes); days of the past still speak of them.
    "get.statuses": ({}, {"is_deleted": True}),
}
"""The parameters of the lists that make up a dictionary, where there are several."""


def lists_of(method: Method) -> tuple[Mapping[str, Any], ...]:
    """Return the parameters of the lists that make up a dictionary: each of them costs a point at least."""
    return _LISTS.get(method.name, ({},))


class DictionaryReader:
    """Reads one dictionary of one account; `params` go with every request (user_id, filter, ...).

    Pages have `page_rows` rows and reach as far as the offset `max_offset`.
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
        self.method = method
        self._client, self._zone, self._params = client, zone, {**(params or {})}
        self._page_rows, self._max_offset = page_rows, max_offset
        self._requests: list[RowRequests] = []
        self._alias_warnings: list[str] = []
        self._count = self.difference = 0
        """How many rows more than it hands out the API counts, in two equal readings."""

    @property
    def warnings(self) -> list[str]:
        """What a person should know though nothing failed, each once; may be asked for at any time."""
        found = [warning for requests in self._requests for warning in requests.warnings]
        return list(dict.fromkeys(self._alias_warnings + found + self._miscounted()))

    def _miscounted(self) -> list[str]:
        if not self.difference:
            return []
        return [
            f"{self.method.name}: the API counts {self._count + self.difference} rows and hands out {self._count}, "
            "in two equal readings; stored as they came"
        ]

    @property
    def left_out(self) -> frozenset[str]:
        """The columns that the API does not know: they are empty."""
        return frozenset().union(*(requests.left_out for requests in self._requests))

    @property
    def points(self) -> int:
        """The points spent so far, also on what failed."""
        return sum(requests.points for requests in self._requests)

    def read(self) -> tuple[list[Row], list[Rejected]]:
        """Return all rows, each key once, and what was rejected.

        A method that may not be called is tried under its alias, where the documentation gives one. Raises
        IncompleteAnswerError when the rows do not add up to the API's count after several tries, or are more than can
        be reached, and what Client.call raises.
        """
        try:
            return self._read(self.method)
        except MethodUnavailableError as error:
            if self.method.alias is None:
                raise
            try:
                found = self._read(replace(self.method, name=self.method.alias))
            except MethodUnavailableError as other:
                raise MethodUnavailableError(f"{error}; its other name: {other}") from other
        self._alias_warnings = [f"{self.method.name} cannot be called; read under its other name, {self.method.alias}"]
        return found

    def _read(self, method: Method) -> tuple[list[Row], list[Rejected]]:
        found = _Found()
        for options in lists_of(self.method):
            found.add(self._list(method, {**self._params, **options}))
        self.difference, self._count = found.difference, found.count
        # A value that was odd in two lists is told once.
        return list(found.rows.values()), list(dict.fromkeys(found.rejected))

    def _list(self, method: Method, params: dict[str, Any]) -> "_Found":
        # Pages of an ordered list do not shift; the key serves best where the API can sort by it.
        sortable = [column.name for column in method.columns if column.sortable and "sort" in method.parameters]
        sort = next((name for name in method.key if name in sortable), sortable[0] if sortable else None)

        def requests_for(conditions: tuple[Tree, ...]) -> RowRequests:
            tree = all_of(method, *conditions, params.get("filter"))
            narrowed = {**params, "filter": tree} if tree else params
            self._requests.append(RowRequests(self._client, method, self._zone, narrowed, sort, self._page_rows))
            return self._requests[-1]

        return _List(method, requests_for, self._page_rows, self._max_offset).read()


@dataclass
class _Found:
    """Rows by key and what was rejected; `unstorable` rows are counted by the API and cannot be kept."""

    rows: dict[Any, Row] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    unstorable: int = 0
    difference: int = 0
    """How many rows more than it hands out the API counts, in two equal readings."""

    @property
    def count(self) -> int:
        """How many rows the API handed out, each once."""
        return len(self.rows) + self.unstorable

    def add(self, other: "_Found") -> None:
        """Take in the rows of another list or part."""
        self.rows |= other.rows
        self.rejected += other.rejected
        self.unstorable += other.unstorable
        self.difference += other.difference


@dataclass(frozen=True)
class _Ids:
    """A range of ids: from `first` up to, but without, `end`; None is no bound."""

    first: int | None = None
    end: int | None = None

    def __contains__(self, identifier: int) -> bool:
        return (self.first is None or self.first <= identifier) and (self.end is None or identifier < self.end)

    def conditions(self, column: str | None) -> Iterator[Tree]:
        """Yield the range in the words of the API; one without bounds needs no column."""
        if self.first is not None:
            yield {"field": column, "operator": ">=", "value": self.first}
        if self.end is not None:
            yield {"field": column, "operator": "<", "value": self.end}


class _TooLongError(Exception):
    """More rows than pages reach; `total` is the API's count."""

    def __init__(self, total: int | None) -> None:
        super().__init__(total)
        self.total = total


class _List:
    """One list; `requests_for` gives the requests for what conditions let through."""

    def __init__(
        self, method: Method, requests_for: Callable[[tuple[Tree, ...]], RowRequests], page_rows: int, max_offset: int
    ) -> None:
        self._method, self._requests_for = method, requests_for
        self._max_offset, self._reach = max_offset, max_offset + page_rows
        column = method.column(method.key[0])
        is_id = column.filterable and column.type is ColumnType.INTEGER and len(method.key) == 1
        self._id = column.name if is_id and method.is_key_unique else None

    def read(self) -> _Found:
        """Return all rows; those of a list that is read in parts are all that stood in each part when it was read."""
        requests = self._requests_for(())
        try:
            return self._pages(requests, _Ids())
        except _TooLongError as error:
            before = error.total
        found = self._parts(requests, _Ids(), before)
        if before not in (None, found.count):
            # Rows come and go while the parts are read. More must not be missing than the API's own count moved by.
            after = requests.page().total or 0
            if not min(before or 0, after) <= found.count <= max(before or 0, after):
                raise self._incomplete(f"counts {after} rows and hands out {found.count} in parts")
        return found

    def _part(self, ids: _Ids) -> _Found:
        requests = self._requests_for(tuple(ids.conditions(self._id)))
        try:
            return self._pages(requests, ids)
        except _TooLongError as error:
            return self._parts(requests, ids, error.total)

    def _parts(self, requests: RowRequests, ids: _Ids, total: int | None) -> _Found:
        """Return the rows of a range in parts.

        Cut by the ids of a page from its middle, which serves in any order of rows.
        """
        if self._id is None:
            raise self._incomplete(f"counts {total} rows, pages reach {self._reach} and no id tells the rest apart")
        middle = self._max_offset if total is None else min(total // 2, self._max_offset)
        known = sorted({getattr(row, self._id) for row in self._page(requests, ids, middle).rows})
        if len(known) < 2:
            raise self._incomplete(f"counts {total} rows and hands out {len(known)} from the middle of them")
        parts = min(max(2, ceil((total or 0) / (_PART * self._reach))), len(known))
        cuts = [known[len(known) * number // parts] for number in range(1, parts)]
        found = _Found()
        for first, end in pairwise([ids.first, *cuts, ids.end]):
            found.add(self._part(_Ids(first, end)))
        return found

    def _pages(self, requests: RowRequests, ids: _Ids) -> _Found:
        """Return all rows of a range, read page by page until they add up or two readings are equal."""
        before: AbstractSet[Any] | None = None
        for _ in range(TRIES):
            found, pages = self._reading(requests, ids, before)
            if pages.adds_up:
                # A row that stands twice in one answer is counted twice.
                found.difference = len(pages.doubles)
                return found
            if not pages.has_moved:
                if before is not None and pages.keys >= before:
                    found.difference = (pages.total or 0) - pages.lines + len(pages.doubles)
                    return found
                before = pages.keys
        raise self._incomplete(f"counts {pages.total} rows and hands out {found.count}, try after try ({TRIES})")

    def _reading(self, requests: RowRequests, ids: _Ids, before: AbstractSet[Any] | None) -> tuple[_Found, Pages]:
        """Read a range once, until it adds up, or its end or a page that does not fit; `before` ended there once."""
        found, pages = _Found(), Pages(requests)
        while True:
            answer = self._page(requests, ids, pages.offset)
            found.add(_Found(pages.take(answer), answer.rejected, answer.counted - len(answer.rows)))
            is_known = before is not None and pages.keys >= before and not answer.is_full
            if is_known or not pages.may_go_on:
                return found, pages
            if (answer.total or 0) > self._reach or pages.offset > self._max_offset:
                raise _TooLongError(answer.total)

    def _page(self, requests: RowRequests, ids: _Ids, offset: int) -> Answer:
        answer = requests.page(offset)
        if self._id and not all(getattr(row, self._id) in ids for row in answer.rows):
            raise self._incomplete(f"does not apply the filter by {self._id}")
        return answer

    def _incomplete(self, what: str) -> IncompleteAnswerError:
        return IncompleteAnswerError(
            f"{self._method.name}: the API {what}; nothing was written. Load it again later; if it stays so, leave the "
            "table out and ask the vendor's support"
        )
