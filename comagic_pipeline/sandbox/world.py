"""A made-up account: rows of any day of any year, the same for one seed, and the changes that tests make to them.

To serve another method, write its generator (see ``calls`` and ``dictionaries``) and list it in ``REPORTS`` or
``LISTS``. Nothing here knows of requests, pages or points.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from threading import RLock
from typing import Any, cast
from zoneinfo import ZoneInfo

from comagic_pipeline.sandbox import calls, dictionaries, specification
from comagic_pipeline.sandbox.cast import Cast
from comagic_pipeline.sandbox.specification import Row

Key = Any
"""The value of a row's key column; a tuple where the key has several columns."""


@dataclass(frozen=True)
class Report:
    """How the rows of a method with a period are made.

    ``rows`` and ``count`` take the cast, the day and the number of calls a day; ``as_of`` shows the rows as they look
    at a moment (wall time, as text), by the parameters of the request.
    """

    rows: Callable[[Cast, date, int], list[Row]]
    count: Callable[[Cast, date, int], int]
    as_of: Callable[[list[Row], str, Mapping[str, Any]], list[Row]]


REPORTS: dict[str, Report] = {
    calls.METHOD: Report(calls.rows, calls.count, calls.as_of),
}
LISTS: dict[str, Callable[[Cast], list[Row]]] = {
    "get.account": dictionaries.account,
    "get.campaigns": dictionaries.campaigns,
}


class Section:
    """Rows that stand together, a day of a report: their number may be known before they are made."""

    def __init__(self, make: Callable[[], list[Row]], count: int | None = None) -> None:
        self._make = make
        self._count = count

    @cached_property
    def rows(self) -> list[Row]:
        """The rows, in no particular order."""
        return self._make()

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.rows) if self._count is None else self._count


@dataclass
class _Changes:
    """What was done to the rows of a method after they were made."""

    added: list[Row] = field(default_factory=list)
    changed: dict[Key, Row] = field(default_factory=dict)
    deleted: set[Key] = field(default_factory=set)


class World:
    """The rows of one account.

    ``now`` is the clock, an aware datetime; what begins later does not exist yet. ``cached_rows`` bounds the memory:
    5 KB a row. Every method is safe to call from several threads.
    """

    def __init__(
        self,
        seed: int = 1,
        calls_per_day: int = 300,
        campaigns: int = 12,
        timezone: str = "Europe/Moscow",
        *,
        nul_characters: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        cached_rows: int = 100_000,
    ) -> None:
        self.cast = Cast(seed, campaigns, timezone, nul_characters=nul_characters)
        self.now = now
        self._calls_per_day = calls_per_day
        self._zone = ZoneInfo(timezone)
        self._cached_rows = cached_rows
        self._days: OrderedDict[tuple[str, date], list[Row]] = OrderedDict()
        self._changes: dict[str, _Changes] = {}
        self._lock = RLock()

    def rows(
        self,
        method: str,
        date_from: str | None = None,
        date_till: str | None = None,
        *,
        include_ongoing_calls: bool = False,
    ) -> list[Row]:
        """What the API has for a period now, all columns, no paging: both ends included, ``YYYY-MM-DD hh:mm:ss``."""
        options = {"include_ongoing_calls": include_ongoing_calls}
        return [dict(row) for section in self.sections(method, date_from, date_till, options) for row in section.rows]

    def sections(
        self, method: str, date_from: str | None, date_till: str | None, options: Mapping[str, Any]
    ) -> list[Section]:
        """The rows of a period day by day, in the order of time; one section for a list without a period."""
        if method in LISTS:
            return [Section(lambda: self._changed(method, LISTS[method](self.cast)))]
        if date_from is None or date_till is None:
            raise ValueError(f"{method} needs date_from and date_till")
        now = str(self.now().astimezone(self._zone).replace(microsecond=0, tzinfo=None))
        first, last = date.fromisoformat(date_from[:10]), date.fromisoformat(min(date_till, now)[:10])
        # A call lasts less than a day: what began before yesterday has ended.
        settled = date.fromisoformat(now[:10]) - timedelta(days=1)
        sections = []
        for day in (first + timedelta(days=offset) for offset in range((last - first).days + 1)):
            is_whole = date_from <= f"{day} 00:00:00" and f"{day} 23:59:59" <= date_till
            is_known = is_whole and day < settled and method not in self._changes
            sections.append(
                Section(
                    lambda day=day: self._period(method, day, date_from, date_till, now, options),  # type: ignore[misc]
                    REPORTS[method].count(self.cast, day, self._calls_per_day) if is_known else None,
                )
            )
        return sections

    def add(self, method: str, row: Row) -> None:
        """Add a row; columns that it leaves out are null. It must hold the key and, in a report, the time column."""
        rules = specification.methods()[method]
        for name in [*rules.key, *([rules.time_column] if rules.time_column else [])]:
            if row.get(name) is None:
                raise ValueError(f"a row for {method} needs {name}")
        with self._lock:
            self._changes_of(method).added.append(dict.fromkeys(rules.columns) | row)

    def change(self, method: str, key: Key, columns: Row) -> None:
        """Change columns of the row with this key, whatever day it is of; not its time, which says where it stands."""
        rules = specification.methods()[method]
        if rules.time_column in columns or not columns.keys().isdisjoint(rules.key):
            raise ValueError(f"the key and the time of a row of {method} cannot change: delete it and add another")
        with self._lock:
            self._changes_of(method).changed.setdefault(key, {}).update(columns)

    def delete(self, method: str, key: Key) -> None:
        """Delete the row with this key, whatever day it is of."""
        with self._lock:
            self._changes_of(method).deleted.add(key)

    def _period(
        self, method: str, day: date, date_from: str, date_till: str, now: str, options: Mapping[str, Any]
    ) -> list[Row]:
        """The rows of a day that lie in the period and can be seen now."""
        time_column = cast("str", specification.methods()[method].time_column)
        with self._lock:
            rows = self._changed(method, self._day(method, day), day)
        return REPORTS[method].as_of([row for row in rows if date_from <= row[time_column] <= date_till], now, options)

    def _day(self, method: str, day: date) -> list[Row]:
        """The rows of a day as they were made, from the cache if they are there."""
        rows = self._days.pop((method, day), None)
        if rows is None:
            rows = REPORTS[method].rows(self.cast, day, self._calls_per_day)
        self._days[method, day] = rows
        while len(self._days) > 1 and sum(map(len, self._days.values())) > self._cached_rows:
            self._days.popitem(last=False)
        return rows

    def _changes_of(self, method: str) -> _Changes:
        if method not in REPORTS and method not in LISTS:
            raise ValueError(f"the sandbox does not serve {method}")
        return self._changes.setdefault(method, _Changes())

    def _changed(self, method: str, rows: list[Row], day: date | None = None) -> list[Row]:
        """Rows after the changes that were made to them, with those added on the day."""
        with self._lock:
            changes = self._changes.get(method)
            if changes is None:
                return rows
            rules = specification.methods()[method]
            added: Iterable[Row] = changes.added
            if day is not None and rules.time_column is not None:
                added = [row for row in added if row[rules.time_column][:10] == str(day)]
            changed = []
            for row in (*rows, *added):
                key = row[rules.key[0]] if len(rules.key) == 1 else tuple(row[name] for name in rules.key)
                if key not in changes.deleted:
                    changed.append(row | changes.changed[key] if key in changes.changed else row)
            return changed
