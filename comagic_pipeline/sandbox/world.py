"""A made-up account: rows of any day of any year, the same for one seed, and the changes that tests make to them.

Knows the methods by ``rows.served`` alone, and nothing of requests, pages or points.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from threading import RLock
from typing import Any, cast
from zoneinfo import ZoneInfo

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.rows.cast import Cast
from comagic_pipeline.sandbox.rows.days import Maker
from comagic_pipeline.sandbox.rows.served import LISTS, REPORTS, SUMMARIES, is_served
from comagic_pipeline.sandbox.specification import Row

Key = Any
"""The value of a row's key column; a tuple where the key has several columns."""

_BEGINNING, _END = "0001-01-01 00:00:00", "9999-12-31 23:59:59"


class Section:
    """Rows that stand together, a day of a report.

    ``rows`` makes them, in no particular order and anew with each call: a long period need not be held in memory. How
    many there are is found in ``counts`` or remembered there, by ``key``; without one they may still change.
    """

    def __init__(
        self, rows: Callable[[], list[Row]], key: tuple[Hashable, ...] = (), counts: dict[Hashable, int] | None = None
    ) -> None:
        self.rows = rows
        self._key = key
        self._counts = {} if counts is None else counts

    @cached_property
    def count(self) -> int:
        """How many rows there are."""
        if not self._key:
            return len(self.rows())
        if self._key not in self._counts:
            self._counts[self._key] = len(self.rows())
        return self._counts[self._key]

    def filtered(self, matches: Callable[[Row], bool], condition: str) -> "Section":
        """Return the rows that pass a test; equal ``condition`` mean equal tests."""
        key = (*self._key, condition) if self._key else ()
        return Section(lambda: list(filter(matches, self.rows())), key, self._counts)


@dataclass
class _Changes:
    """What was done to the rows of a method after they were made.

    ``deleted`` tells how many rows had been added by then: those that are added later stand.
    """

    added: list[Row] = field(default_factory=list)
    changed: dict[Key, Row] = field(default_factory=dict)
    deleted: dict[Key, int] = field(default_factory=dict)


class World:
    """The rows of one account, or of an agent and the accounts of its ``customers``.

    ``now`` is the clock, an aware datetime; what begins later does not exist yet. ``several_charges`` splits what a
    call leg costs into several rows, for the docs do not say that there is but one. ``cached_rows`` bounds the memory:
    9 KB a row at most. ``customer`` is the ordinal of a customer, whose ids lie apart from those of others; leave it to
    the agent. Every method is safe to call from several threads.
    """

    def __init__(
        self,
        seed: int = 1,
        calls_per_day: int = 300,
        campaigns: int = 12,
        timezone: str = "Europe/Moscow",
        *,
        nul_characters: bool = False,
        several_charges: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        cached_rows: int = 100_000,
        customers: int = 0,
        customer: int = 0,
    ) -> None:
        self.cast = Cast(seed, campaigns, timezone, nul_characters=nul_characters, customer=customer)
        self.now = now
        self.calls_per_day = calls_per_day
        self.several_charges = several_charges
        accounts = [
            World(
                seed + number, calls_per_day, campaigns, timezone, nul_characters=nul_characters,
                several_charges=several_charges, now=now, cached_rows=cached_rows // customers, customer=number,
            )
            for number in range(1, customers + 1)
        ]  # fmt: skip
        self.customers = {account.cast.customer_id: account for account in accounts}
        """The account of each customer of an agent, by its id; empty for an account that is nobody's agent."""
        self.cast.customers = [account.cast for account in accounts]
        self._zone = ZoneInfo(timezone)
        self._cached_rows = cached_rows
        self._days: OrderedDict[tuple[Maker, date], list[Row]] = OrderedDict()
        self._rows_in_days = 0
        self._counts: dict[Hashable, int] = {}
        self._changes: dict[str, _Changes] = {}
        self._lock = RLock()

    def rows(
        self, method: str, date_from: str | None = None, date_till: str | None = None, **options: Any
    ) -> list[Row]:
        """Return what the API has for a period now, all columns, no paging.

        Both ends included, ``YYYY-MM-DD hh:mm:ss``.

        ``options`` are the parameters that only this method has.
        """
        return [dict(row) for section in self.sections(method, date_from, date_till, options) for row in section.rows()]

    def sections(
        self, method: str, date_from: str | None, date_till: str | None, options: Mapping[str, Any]
    ) -> list[Section]:
        """Return the rows of a period day by day, in the order of time; one section for what has no days."""
        if method in LISTS:
            listing = LISTS[method]
            return [Section(lambda: listing.asked(self._changed(method, listing.rows(self.cast)), options))]
        now = self._now()
        if method in REPORTS and date_from is None and (days_of := REPORTS[method].days) is not None:
            days = sorted(days_of(self.cast, options, now) | self._days_of_added(method))
            return [self._section(method, day, _BEGINNING, _END, now, options) for day in days]
        if date_from is None or date_till is None:
            raise ValueError(f"{method} needs date_from and date_till")
        end = min(date_till, now)
        if method in SUMMARIES:
            summary = SUMMARIES[method]
            return [Section(lambda: self._changed(method, summary(self, date_from, end, options)))]
        first, last = date.fromisoformat(date_from[:10]), date.fromisoformat(end[:10])
        days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
        return [self._section(method, day, date_from, date_till, now, options) for day in days]

    def made(self, maker: Maker, day: date) -> list[Row]:
        """Return the rows of a day as a generator made them, from the cache if they are there. Not to be changed."""
        with self._lock:
            rows = self._days.pop((maker, day), None)
            if rows is None:
                rows = maker(self, day)
                self._rows_in_days += len(rows)
            self._days[maker, day] = rows
            while len(self._days) > 1 and self._rows_in_days > self._cached_rows:
                _, dropped = self._days.popitem(last=False)
                self._rows_in_days -= len(dropped)
            return rows

    def shown(self, method: str, day: date) -> list[Row]:
        """Return the rows of a day that a report shows now, with the changes made to them. Not to be changed."""
        return self._period(method, day, f"{day} 00:00:00", f"{day} 23:59:59", self._now(), {})

    def between(self, method: str, date_from: str, date_till: str) -> list[Row]:
        """Return the rows of a period that a report shows now, with the changes made to them. Not to be changed."""
        return [row for section in self.sections(method, date_from, date_till, {}) for row in section.rows()]

    def add(self, method: str, row: Row) -> None:
        """Add a row; columns that it leaves out are null. It must hold the key and, in a report, the time column.

        Rows made of others follow: a call that is added, changed or deleted is so among the communications too.
        """
        rules = specification.methods()[method]
        needed = {name for name in rules.key if name not in row}
        if rules.time_column is not None and row.get(rules.time_column) is None:
            needed.add(rules.time_column)
        if needed:
            raise ValueError(f"a row for {method} needs {', '.join(sorted(needed))}")
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
        """Delete the row with this key, whatever day it is of. Another may be added under the key."""
        with self._lock:
            changes = self._changes_of(method)
            changes.deleted[key] = len(changes.added)

    def restore(self, method: str, key: Key) -> None:
        """Let a deleted row come back as it was; raises ValueError for one that was not deleted."""
        with self._lock:
            if self._changes_of(method).deleted.pop(key, None) is None:
                raise ValueError(f"no row of {method} with the key {key!r} was deleted")

    def _now(self) -> str:
        return str(self.now().astimezone(self._zone).replace(microsecond=0, tzinfo=None))

    def _section(
        self, method: str, day: date, date_from: str, date_till: str, now: str, options: Mapping[str, Any]
    ) -> Section:
        report = REPORTS[method]
        begin, end = max(date_from, f"{day} 00:00:00"), min(date_till, f"{day} 23:59:59")
        key: tuple[Hashable, ...] = (method, begin, end, repr(options)) if day < _settled(now) else ()
        is_whole = begin.endswith("00:00:00") and end.endswith("23:59:59")
        is_changed = bool(self._changes) if report.is_derived else method in self._changes
        if key and report.count is not None and is_whole and not is_changed:
            self._counts[key] = report.count(self, day, options)
        return Section(lambda: self._period(method, day, begin, end, now, options), key, self._counts)

    def _period(
        self, method: str, day: date, date_from: str, date_till: str, now: str, options: Mapping[str, Any]
    ) -> list[Row]:
        """Return the rows of a day that lie in the period and can be seen now."""
        report, time_column = REPORTS[method], _time_column(method)
        end = min(date_till, now)
        with self._lock:
            # What is made of rows that still change cannot be kept.
            is_kept = not report.is_derived or day < _settled(now)
            rows = self._changed(method, self.made(report.rows, day) if is_kept else report.rows(self, day), day)
        # A day without a time begins with its first second: the bounds are cut to its length.
        length = len(rows[0][time_column]) if rows else 0
        begin, end = date_from[:length], end[:length]
        return report.as_of([row for row in rows if begin <= row[time_column] <= end], now, options)

    def _days_of_added(self, method: str) -> set[date]:
        changes = self._changes.get(method, _Changes())
        return {date.fromisoformat(row[_time_column(method)][:10]) for row in changes.added}

    def _changes_of(self, method: str) -> _Changes:
        """Return the changes of a method, about to grow: what was made or counted with those of before is forgotten."""
        if not is_served(method):
            raise ValueError(f"the sandbox does not serve {method}")
        derived = {report.rows for report in REPORTS.values() if report.is_derived}
        for maker, day in [key for key in self._days if key[0] in derived]:
            self._rows_in_days -= len(self._days.pop((maker, day)))
        # Not emptied: a request that is being answered keeps the one it has.
        self._counts = {}
        return self._changes.setdefault(method, _Changes())

    def _changed(self, method: str, rows: list[Row], day: date | None = None) -> list[Row]:
        """Return rows after the changes that were made to them, with those added on the day."""
        with self._lock:
            changes = self._changes.get(method)
            if changes is None:
                return rows
            rules = specification.methods()[method]
            numbered = [(-1, row) for row in rows]
            numbered += [
                (number, row)
                for number, row in enumerate(changes.added)
                if day is None or rules.time_column is None or row[rules.time_column][:10] == str(day)
            ]
            changed = []
            for number, row in numbered:
                key = row[rules.key[0]] if len(rules.key) == 1 else tuple(row[name] for name in rules.key)
                if number >= changes.deleted.get(key, -1):
                    changed.append(row | changes.changed[key] if key in changes.changed else row)
            return changed


def _settled(now: str) -> date:
    """Return the first day whose rows may still change by themselves.

    Yesterday, for all that begins ends within a day.
    """
    return date.fromisoformat(now[:10]) - timedelta(days=1)


def _time_column(method: str) -> str:
    return cast("str", specification.methods()[method].time_column)
