"""Request one page of rows: all columns of a method, decoded and counted. Readers decide which pages."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, tzinfo
from operator import attrgetter
from typing import Any

import msgspec

from comagic_pipeline.api.client import Answer as RawAnswer
from comagic_pipeline.api.client import Client
from comagic_pipeline.api.columns import AskedColumns
from comagic_pipeline.api.errors import ComagicError, MethodUnavailableError
from comagic_pipeline.api.rows import Rejected, Row, RowDecoder
from comagic_pipeline.catalog import ColumnType, Method

PAGE_ROWS = 10_000
"""The largest page (protocol.json, "paging")."""
MAX_OFFSET = 100_000
"""The largest offset (protocol.json, "paging"); rows behind it are reached by another window."""


@dataclass(frozen=True)
class Answer:
    """A page of rows with what is needed to prove that pages add up.

    `total` is the API's count of all rows that match, None where it does not count. `lines` is the number of rows in
    this answer, those that cannot be stored and those that come twice included; `counted` is the number of distinct
    ones. In a plain answer every row can be stored and none comes twice, so that positions in `rows` are positions in
    the window. Behind a full answer there may be more rows, where the API does not count them. `doubles` are the rows
    that came once more, `first` and `last` tell the row at either end of the answer from all others.
    """

    rows: list[Row]
    rejected: list[Rejected]
    total: int | None
    counted: int
    is_plain: bool
    is_full: bool
    lines: int = 0
    doubles: Sequence[Row] = ()
    first: Any = None
    last: Any = None

    @property
    def is_whole(self) -> bool:
        """True when this answer alone holds all rows that match: a proof in itself.

        One answer cannot have shifted while it was read, so that a row that it holds twice is counted twice.
        """
        return self.lines == self.total or (self.total is None and not self.is_full)


class UncountedPages:
    """How long a page may be and still be the last, where answers tell no count.

    Pages shorter than was asked for were met before the end (docs/decisions.md, "Short pages"). A page is therefore
    taken for the last when another at least as long was: the page behind it was empty. Share one where the answers are
    alike.
    """

    def __init__(self) -> None:
        self._longest_last = self._latest = 0

    def is_last(self, rows: int) -> bool:
        """Take in the number of rows of the next page; true when no page follows it."""
        if not rows:
            self._longest_last = max(self._longest_last, self._latest)
        self._latest = rows
        return rows <= self._longest_last


class RowRequests:
    """Asks for rows of one method for one account; `params` go with every request (user_id, filter, ...).

    A column that the API refuses is left out from then on, with a line in `warnings`; the client remembers it.
    `points` counts successful requests. `label` gives a row's key as text, and `time`, for a report, the moment that a
    period applies to. Pages have `page_rows` rows; `uncounted` is for reports whose answers tell no count. `quota` is
    the client's.
    """

    def __init__(
        self,
        client: Client,
        method: Method,
        zone: tzinfo,
        params: Mapping[str, Any] | None = None,
        sort: str | None = None,
        page_rows: int = PAGE_ROWS,
        uncounted: UncountedPages | None = None,
    ) -> None:
        self.method = method
        self._uncounted = uncounted or UncountedPages()
        self.warnings: list[str] = []
        self.points = self._points_told = 0
        self.latest: datetime | None = None
        """The latest moment that a period may end at, where the API refuses those in the future."""
        self.page_rows = page_rows
        self.quota = client.quota
        self._client = client
        self._decoder = RowDecoder(method, zone, params)
        self._columns = AskedColumns(method, client.left_out[method.name, (params or {}).get("user_id")])
        self._fixed: dict[str, Any] = {**(params or {})}
        if "limit" in method.parameters:
            self._fixed["limit"] = page_rows
        if sort:
            self._fixed["sort"] = [{"field": sort, "order": "asc"}]
        self._key: Callable[[Row], Any] = attrgetter(*method.key)
        self.label = self._decoder.label
        self.time = _time_of(method)

    @property
    def left_out(self) -> frozenset[str]:
        """The columns that the API refuses: they are empty."""
        return self._columns.left_out

    def take_points(self) -> int:
        """Return the points spent since this was last asked."""
        points, self._points_told = self.points - self._points_told, self.points
        return points

    def distinct(self, rows: Iterable[Row]) -> dict[Any, Row]:
        """Return rows of one answer by what tells them apart: the last of those that share a key.

        Where a key is not surely unique all values count, and rows that are equal in all of them by their number.
        """
        if self.method.is_key_unique:
            return {self._key(row): row for row in rows}
        times: Counter[Any] = Counter()
        found = {}
        for row in rows:
            values = msgspec.json.encode(row)
            times[values] += 1
            found[values, times[values]] = row
        return found

    def page(self, offset: int = 0) -> Answer:
        """Return the page of a dictionary that begins at this row."""
        return self._ask({"offset": offset} if offset else {})

    def page_of_period(self, start: datetime, end: datetime, offset: int = 0) -> Answer:
        """Return the page of a report's window that begins at this row; the window ends at, or just before, `end`.

        Whether `date_till` belongs to the period is not documented. Rows at `end` itself may come or not; rows
        outside of the period otherwise are rejected, never stored under a day they were not asked for.
        """
        till = min(end, self.latest or end)
        if till < start:
            return Answer([], [], 0, 0, is_plain=True, is_full=False)
        answer = self._ask({"date_from": _text(start), "date_till": _text(till), "offset": offset})
        inside = [row for row in answer.rows if start <= self.time(row) <= end]
        if len(inside) == len(answer.rows):
            return answer
        outside = [
            Rejected(self.label(row), None, None, _text(self.time(row)), f"not between {start} and {end}, as asked")
            for row in answer.rows
            if not start <= self.time(row) <= end
        ]
        return replace(answer, rows=inside, rejected=answer.rejected + outside, is_plain=False)

    def _call(self, params: Mapping[str, Any]) -> RawAnswer:
        answer = self._client.call(self.method.name, {**self._fixed, **params})
        self.points += 1
        return answer

    def _ask(self, params: dict[str, Any]) -> Answer:
        if "fields" in self.method.parameters:
            answer = self._ask_for_columns(params)
            self.warnings += [line for line in self._columns.warnings if line not in self.warnings]
        else:
            answer = self._call(params)
        page = self._decoder.decode(answer.data)
        distinct = self.distinct(page.rows)
        unstorable = sum(rejected.column is None for rejected in page.rejected)
        is_plain = not unstorable and len(distinct) == len(page.rows)
        rows = page.rows if is_plain else list(distinct.values())
        counted = len(distinct) + unstorable
        is_full = len(page.rows) + unstorable >= self.page_rows
        if answer.total_items is None and self.method.has_period:
            is_full = not self._uncounted.is_last(counted)
        return Answer(
            rows,
            page.rejected,
            answer.total_items,
            counted,
            is_plain,
            is_full,
            lines=len(page.rows) + unstorable,
            doubles=() if is_plain else self._doubles(page.rows),
            first=self._identity(page.rows[0]) if page.rows else None,
            last=self._identity(page.rows[-1]) if page.rows else None,
        )

    def _identity(self, row: Row) -> Any:
        return self._key(row) if self.method.is_key_unique else msgspec.json.encode(row)

    def _doubles(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows that share a key with an earlier one of the same answer."""
        if not self.method.is_key_unique:
            return []
        keys: set[Any] = set()
        return [row for row in rows if self._key(row) in keys or keys.add(self._key(row))]  # type: ignore[func-returns-value]

    def _ask_for_columns(self, params: Mapping[str, Any]) -> RawAnswer:
        others = {*self._fixed, *params}
        try:
            return self._columns.ask(lambda names: self._call_for(names, params), others)
        except MethodUnavailableError as refusal:
            # A component may be needed for a parameter alone. A request that is refused costs no point.
            locked = [name for names in self._unlocking(self._columns.names).values() for name in names]
            if not locked:
                raise
            self._columns.leave_out(locked, f"{self.method.name}: {', '.join(locked)} left empty: {refusal}")
            return self._columns.ask(lambda names: self._call_for(names, params), others)

    def _call_for(self, names: Sequence[str], params: Mapping[str, Any]) -> RawAnswer:
        unlocking = self._unlocking(names)
        try:
            return self._call({**params, **dict.fromkeys(unlocking, True), "fields": [*names]})
        except ComagicError as error:
            # A parameter that is refused is left out together with its columns; where the error names none, those are
            # suspected first of which the component is known to be optional.
            is_of_component = error.mnemonic == "parameter_component_disabled" and not error.names
            refused = unlocking if is_of_component else error.names & unlocking.keys()
            error.names |= {column for name in refused for column in unlocking[name]}
            raise

    def _unlocking(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the parameters to send so that columns are filled, each with these columns (methods.json)."""
        found: dict[str, list[str]] = {}
        for column in self.method.columns:
            if column.unlocked_by and column.name in names:
                found.setdefault(column.unlocked_by, []).append(column.name)
        return found


def _time_of(method: Method) -> Callable[[Row], datetime]:
    value = attrgetter(method.time_column or method.key[0])
    if method.time_column and method.column(method.time_column).type is ColumnType.DATE:
        return lambda row: datetime.combine(value(row), time())
    return value


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
