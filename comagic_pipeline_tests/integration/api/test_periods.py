"""Complete periods over real HTTP: what is handed on equals what the API has, at the cost that was promised."""

import random
import ssl
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from math import ceil
from time import monotonic, sleep
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from dateutil.relativedelta import relativedelta

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.errors import (
    DayPointsSpentError,
    PeriodTooLongError,
    TransientError,
    UnexpectedParameterError,
)
from comagic_pipeline.api.readers.periods import PeriodReader
from comagic_pipeline.api.readers.windows import TRIES, DaysComplete, Discarded, Rows, Step
from comagic_pipeline.catalog import ColumnType, Method, methods
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.paging import read_page
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import Section, World

CALLS = methods()["get.calls_report"]
# Few columns: that all of them are decoded is tested elsewhere.
NARROW = replace(CALLS, columns=tuple(map(CALLS.column, ("id", "start_time", "finish_time", "talk_duration", "tags"))))
UNSORTABLE = replace(NARROW, columns=tuple(replace(column, sortable=False) for column in NARROW.columns))
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MOSCOW = ZoneInfo("Europe/Moscow")
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 10)
DAY = timedelta(days=1)
PAGE = 20
TLS = ssl.create_default_context()  # one for all: making it takes longer than a test


class Calls(World):
    """The calls of an account, each put at its second by a test, which may take it away again."""

    def __init__(self) -> None:
        super().__init__(calls_per_day=0, now=lambda: NOW)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget all calls, and begin anew with another series of random numbers."""
        self.random = random.Random(seed)
        self.calls: dict[int, dict[str, Any]] = {}
        self._last_id = 100

    def sections(self, _: str, date_from: str | None, date_till: str | None, __: Any) -> list[Section]:
        """What the sandbox asks for: the calls of a period."""
        first, last = date_from or "", date_till or ""
        rows = [row for row in list(self.calls.values()) if first <= row["start_time"] <= last]
        return [Section(lambda: rows)]

    def put(self, moment: datetime, **columns: Any) -> int:
        """Add a call."""
        self._last_id += self.random.choice((1, 7))
        self.calls[self._last_id] = {"id": self._last_id, "start_time": str(moment), "tags": [{"tag_id": 1}]} | columns
        return self._last_id

    def scatter(self, count: int, first: date = FIRST, last: date = LAST, odd: float = 0.4) -> None:
        """Add calls anywhere in the days, many at midnight, just before it, or at a second that others share."""
        for _ in range(count):
            self.put(self.moment(first, last, odd))

    def store_by_day(self) -> None:
        """Let rows come day by day where nobody sorts them, in no order within a day."""
        self.calls = dict(sorted(self.calls.items(), key=lambda item: item[1]["start_time"][:10]))

    def moment(self, first: date = FIRST, last: date = LAST, odd: float = 0.4) -> datetime:
        """A second in the days."""
        day = first + self.random.randrange((last - first).days + 1) * DAY
        if self.random.random() < odd:
            return datetime.combine(day, self.random.choice((time(), time(23, 59, 59), time(12), time(12, 0, 1))))
        return datetime.combine(day, time()) + timedelta(seconds=self.random.randrange(86_400))

    def by_day(self, first: date = FIRST, last: date = LAST) -> dict[date, Counter[int]]:
        """The ids of each day, as the account has them now."""
        days: dict[date, Counter[int]] = {day: Counter() for day in days_between(first, last)}
        for identifier, row in self.calls.items():
            day = date.fromisoformat(row["start_time"][:10])
            if day in days:
                days[day][identifier] += 1
        return days


class Store:
    """Keeps days as the warehouse does: what a day held goes when it is written anew, and it counts when complete."""

    def __init__(self) -> None:
        self.days: dict[date, list[Any]] = {}
        self.rejected: dict[date | None, list[Any]] = {}
        self.completed: Counter[date] = Counter()
        self.points = 0
        self.differences: dict[date, int] = {}
        self.open: dict[date, list[Any]] = {}

    def take(self, steps: Iterator[Step]) -> "Store":
        """Apply steps until they end or fail."""
        for step in steps:
            if isinstance(step, Discarded):
                self.open = {}
                continue
            days = days_between(step.first_day, step.last_day)
            match step:
                case Rows():
                    for day in days:
                        if day not in self.open:
                            self.open[day], self.rejected[day] = [], []
                    for row in step.rows:
                        assert step.first_day <= row.start_time.date() <= step.last_day  # type: ignore[attr-defined]
                        self.open[row.start_time.date()].append(row)  # type: ignore[attr-defined]
                    for value in step.rejected:
                        self.rejected.setdefault(value.day or step.first_day, []).append(value)
                case DaysComplete():
                    assert set(self.open) == set(days)
                    self.days |= self.open
                    self.open = {}
                    self.completed.update(days)
                    self.differences = {day: rows for day, rows in self.differences.items() if day not in days}
                    self.differences |= step.differences
                    self.points += step.points
        return self

    @property
    def ids(self) -> dict[date, Counter[int]]:
        """The ids of each complete day."""
        return {day: Counter(row.id for row in rows) for day, rows in self.days.items()}


def days_between(first: date, last: date) -> list[date]:
    """The days, both included."""
    return [first + number * DAY for number in range((last - first).days + 1)]


class Api:
    """A sandbox of `calls`, and readers of it that wait for nobody."""

    def __init__(self, sandbox: Sandbox, calls: Calls) -> None:
        self.sandbox, self.calls = sandbox, calls
        self.client = Client(sandbox.url, Token(SANDBOX_TOKEN), sleep=lambda _: None, verify=TLS)

    def reset(self, seed: int = 0, **settings: Any) -> None:
        """An account without calls, a sandbox without memory; keywords are settings."""
        self.calls.reset(seed)
        self.sandbox.requests.clear()
        self.sandbox.faults.clear()
        self.sandbox.before_request = None
        # The client remembers columns that were refused.
        self.client.left_out.clear()
        settings = {"minute_limit": 10**6, "day_limit": 10**6} | settings
        vars(self.sandbox.settings).update(vars(Settings(**settings)))

    def reader(self, method: Method = NARROW, **options: Any) -> PeriodReader:
        """A reader with small pages."""
        sizes = {"page_rows": PAGE, "max_offset": 10 * PAGE}
        return PeriodReader(self.client, method, MOSCOW, **(sizes | options))

    @property
    def asked(self) -> list[str]:
        """The first and the last moment of each request."""
        return [f"{record.params['date_from']} {record.params['date_till']}" for record in self.sandbox.requests]

    def load(self, method: Method = NARROW, **options: Any) -> "Store":
        """Read the usual period."""
        return Store().take(self.reader(method, **options).read(FIRST, LAST))

    def before(self, change: Callable[[int, dict[str, Any]], Any]) -> None:
        """Call this before each request with its number, from 1 on, and its parameters."""
        numbers = count(1)

        def hook(_: str, params: dict[str, Any]) -> None:
            change(next(numbers), params)

        self.sandbox.before_request = hook


@pytest.fixture(scope="module")
def running() -> Iterator[Api]:
    """One sandbox for the module."""
    calls = Calls()
    with running_sandbox(calls, Settings()) as sandbox:
        api = Api(sandbox, calls)
        with api.client:
            yield api


@pytest.fixture
def api(running: Api) -> Api:
    """The sandbox without calls, faults or memory."""
    running.reset()
    return running


@pytest.fixture
def start() -> Iterator[Callable[[World], Api]]:
    """Starts sandboxes of other worlds."""
    with ExitStack() as stack:

        def start(world: World) -> Api:
            api = Api(stack.enter_context(running_sandbox(world, Settings())), Calls())
            api.reset()
            stack.enter_context(api.client)
            return api

        yield start


def windows(first: date, last: date, **length: int) -> list[tuple[date, date]]:
    """The windows of a period, the newest first, each as long as the API allows: 3 months."""
    found = []
    while first <= last:
        start = next(day for day in days_between(first, last) if day + relativedelta(**length) > last)  # type: ignore[arg-type]
        found.append((start, last))
        last = start - DAY
    return found


# --- nothing changes meanwhile ---------------------------------------------------------------------------------------

SIZES = (0, 1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1, 5 * PAGE, 15 * PAGE)


@pytest.mark.parametrize("unstable_order", [False, True])
@pytest.mark.parametrize("date_till_inclusive", [False, True])
@pytest.mark.parametrize("rows", SIZES)
def test_all_rows_come_once(api: Api, unstable_order: bool, date_till_inclusive: bool, rows: int) -> None:
    """Whatever the number of rows, and whether date_till belongs to the period or not, each comes on its day, once."""
    for method in (NARROW, UNSORTABLE):
        api.reset(rows, unstable_order=unstable_order, date_till_inclusive=date_till_inclusive)
        api.calls.scatter(rows)
        for day in (FIRST - DAY, LAST + DAY):  # beside the period: the last second before and the first one after
            for second in (time(), time(23, 59, 59)):
                api.calls.put(datetime.combine(day, second))
        spent = api.sandbox.points_spent
        reader = api.reader(method)
        store = Store().take(reader.read(FIRST, LAST))
        assert store.ids == api.calls.by_day()
        assert set(store.completed.values()) == {1}
        assert not reader.warnings
        assert store.points == reader.points == api.sandbox.points_spent - spent


def test_clock_changes(api: Api) -> None:
    """A period with both clock changes of a year and a leap day: wall time is all there is, and no day is lost."""
    first, last = date(2023, 12, 20), date(2024, 12, 31)
    for day in days_between(first, last):
        for hour in (0, 1, 2, 3, 23):
            api.calls.put(datetime.combine(day, time(hour, 30)))
    for zone in ("Europe/Berlin", "America/New_York"):
        reader = PeriodReader(api.client, NARROW, ZoneInfo(zone), page_rows=200, max_offset=2000)
        store = Store().take(reader.read(first, last))
        assert store.ids == api.calls.by_day(first, last)
        assert date(2024, 2, 29) in store.days


def test_all_columns(start: Callable[[World], Api]) -> None:
    """All columns of all rows of a page are what the world holds, nested ones included."""
    api = start(World(calls_per_day=50, now=lambda: NOW))
    store = api.load(CALLS, page_rows=100)
    expected = api.sandbox.world.rows(CALLS.name, f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
    found = {row.id: msgspec.structs.asdict(row) for rows in store.days.values() for row in rows}
    assert len(found) == len(expected) > 300
    for row in expected:
        for name, value in row.items():
            read = found[row["id"]][name]
            if isinstance(read, msgspec.Raw):
                assert msgspec.json.decode(read) == value
            else:
                assert (str(read) if isinstance(read, datetime) else read) == value or float(read) == float(value)


@pytest.mark.parametrize("method", [NARROW, UNSORTABLE], ids=["ordered", "unordered"])
@pytest.mark.parametrize("short", [3, 4, 7, PAGE - 1])
def test_short_pages(api: Api, method: Method, short: int) -> None:
    """An API whose pages are shorter than asked for is read to the end."""
    api.reset(short, quirks=Quirks(short_pages=short))
    api.calls.scatter(150, odd=0)
    assert api.load(method).ids == api.calls.by_day()


def test_a_day_larger_than_a_page(api: Api) -> None:
    """A day of many pages comes in parts of a few pages, and is complete once."""
    api.calls.scatter(15 * PAGE, FIRST + DAY, FIRST + DAY, odd=0.05)
    api.calls.scatter(30)
    steps = list(api.reader().read(FIRST, LAST))
    store = Store().take(iter(steps))
    assert store.ids == api.calls.by_day()
    assert set(store.completed.values()) == {1}
    assert max(len(step.rows) for step in steps if isinstance(step, Rows)) <= 3 * PAGE


@pytest.mark.parametrize("before", [0, 1, 2, 30])
@pytest.mark.parametrize("rows", [PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
def test_a_second_larger_than_a_page(api: Api, before: int, rows: int) -> None:
    """A page with one row before its last second was asked for again and again, and that row came twice."""
    api.calls.scatter(before, FIRST, FIRST, odd=0)
    api.calls.scatter(40, FIRST + 2 * DAY, LAST)
    for _ in range(rows):
        api.calls.put(datetime.combine(FIRST + DAY, time(12)))
    store = api.load()
    assert store.ids == api.calls.by_day()
    assert set(store.completed.values()) == {1}


def test_a_change_before_a_large_second(api: Api) -> None:
    """Rows that were handed on came twice when a page did not fit and the order was given up soon after."""
    api.calls.scatter(36, FIRST, FIRST, odd=0)
    for _ in range(2 * PAGE):
        api.calls.put(datetime.combine(FIRST + DAY, time(12)))
    waiting = sorted(call["start_time"] for call in api.calls.calls.values())[25]
    api.before(lambda number, _: number == 3 and api.calls.put(datetime.fromisoformat(waiting)))
    reader = api.reader()
    assert Store().take(reader.read(FIRST, LAST)).ids == api.calls.by_day()
    assert "share the time" in reader.warnings[0]


def test_an_api_that_does_not_sort(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the API ignores the sort, the rows are read all the same, with a warning."""
    monkeypatch.setattr("comagic_pipeline.sandbox.paging._ordered", lambda rows, *_: rows)
    api.calls.scatter(170)
    reader = api.reader()
    assert Store().take(reader.read(FIRST, LAST)).ids == api.calls.by_day()
    assert "do not come in the order of time; read without order" in reader.warnings[0]


# --- what changes meanwhile ------------------------------------------------------------------------------------------

ROWS = 160  # eight pages and more


@pytest.mark.parametrize("unstable_order", [False, True])
@pytest.mark.parametrize("kind", ["arrive", "vanish"])
@pytest.mark.parametrize("seed", range(12))
def test_changes_anywhere(api: Api, seed: int, kind: str, unstable_order: bool) -> None:
    """Calls come or go anywhere between any two pages: the days that are stored are what the API has in the end."""
    api.reset(seed, unstable_order=unstable_order, date_till_inclusive=seed % 2 == 0)
    api.calls.scatter(ROWS, odd=seed % 3 * 0.2)
    moments = set(api.calls.random.sample(range(2, 9), 1 + seed % 3))

    def change(number: int, params: dict[str, Any]) -> None:
        if number in moments and params["date_till"] == f"{LAST + DAY} 00:00:00":
            for _ in range(api.calls.random.choice((1, 1, 2, 5))):
                if kind == "arrive":
                    api.calls.put(api.calls.moment())
                else:
                    del api.calls.calls[api.calls.random.choice(list(api.calls.calls))]

    api.before(change)
    store = api.load(max_offset=1000)
    assert store.ids == api.calls.by_day()


@pytest.mark.parametrize("unstable_order", [False, True])
@pytest.mark.parametrize("kind", ["arrive", "vanish"])
@pytest.mark.parametrize("seed", range(6))
def test_changes_in_an_unordered_report(api: Api, seed: int, kind: str, unstable_order: bool) -> None:
    """A report that cannot be sorted is read in parts that did not change while they were read."""
    api.reset(seed, unstable_order=unstable_order)
    api.calls.scatter(ROWS, odd=0)

    def change(number: int, params: dict[str, Any]) -> None:
        # Inside the window that is read: what changes in a part that is done is as if it changed after the load.
        inside = [key for key, row in api.calls.calls.items() if params["date_from"] < row["start_time"]]
        inside = [key for key in inside if api.calls.calls[key]["start_time"] < params["date_till"]]
        if number in (2, 5, 7, 8) and inside and params["offset"]:
            key = api.calls.random.choice(inside)
            if kind == "arrive":
                api.calls.put(datetime.fromisoformat(api.calls.calls[key]["start_time"]))
            else:
                del api.calls.calls[key]

    api.before(change)
    assert api.load(UNSORTABLE).ids == api.calls.by_day()


def most_points(rows: int, page_rows: int = PAGE) -> int:
    """What a window of so many rows may cost whatever the API does: twice the least and 24 points."""
    return 2 * max(ceil(rows / page_rows), 1) + 24


def every_half_hour(api: Api) -> None:
    """480 calls in ten days: each page ends at a moment that is known beforehand."""
    for number in range(480):
        api.calls.put(datetime.combine(FIRST, time(0, 15)) + number * timedelta(minutes=30))


# The third page holds calls 36 to 55; the last of them, the edge, begins at 03:45 on the second day.
@pytest.mark.parametrize(
    ("moment", "extra_points"),
    [
        ("2026-03-01 00:00:00", 8),  # handed on already: the changed days are looked for
        ("2026-03-01 10:00:00", 8),
        ("2026-03-01 23:59:59", 2),  # in the page that waits for its proof: that page again
        ("2026-03-02 00:00:00", 2),
        ("2026-03-02 03:44:59", 2),
        ("2026-03-02 03:45:00", 0),  # the edge and behind it: the next page has it
        ("2026-03-02 03:45:01", 0),
        ("2026-03-10 23:59:59", 0),
        ("2026-03-11 00:00:00", 0),  # beside the period, whether date_till belongs to it or not
        ("2026-02-28 23:59:59", 0),
    ],
)
@pytest.mark.parametrize("date_till_inclusive", [False, True])
@pytest.mark.parametrize("vanishes", [False, True])
def test_a_change_at_a_known_place(
    api: Api, moment: str, extra_points: int, date_till_inclusive: bool, vanishes: bool
) -> None:
    """One call more or less, wherever the reader stands, is noticed where it matters and costs few points."""
    api.reset(date_till_inclusive=date_till_inclusive)
    every_half_hour(api)
    undisturbed = api.load()
    calls = dict(api.calls.calls)
    victim = api.calls.put(datetime.fromisoformat(moment))
    if not vanishes:
        victim, api.calls.calls = 0, calls

    def change(number: int, _: dict[str, Any]) -> None:
        if number == 4:
            if vanishes:
                del api.calls.calls[victim]
            else:
                api.calls.put(datetime.fromisoformat(moment))

    api.before(change)
    store = api.load()
    assert store.ids == api.calls.by_day()
    assert store.points <= undisturbed.points + extra_points


def test_calls_that_come_in_all_the_time(api: Api) -> None:
    """Calls that begin while the period is read, one before every page, cost nothing but the pages they fill."""
    every_half_hour(api)
    tail = (datetime.combine(LAST, time(23, 50)) + number * timedelta(seconds=1) for number in count())
    undisturbed = api.load().points
    api.before(lambda *_: api.calls.put(next(tail)))
    store = api.load()
    assert store.ids == api.calls.by_day()
    assert store.points <= undisturbed + 2


def test_days_that_changed_come_once_more(api: Api) -> None:
    """Only the part of the period that changed is read and handed on again, after all days came once."""
    api.calls.scatter(1000, odd=0)
    api.before(lambda number, _: number == 40 and api.calls.put(datetime.combine(FIRST + DAY, time(13))))
    store = api.load(max_offset=10_000)
    assert store.ids == api.calls.by_day()
    again = {day for day, times in store.completed.items() if times > 1}
    assert FIRST + DAY in again
    assert len(again) <= 2


def test_the_largest_offset(api: Api) -> None:
    """Behind the largest offset the reader goes on from a later moment; no request asks for more than is allowed."""
    api.reset(unstable_order=True)
    api.calls.scatter(2000, odd=0.05)
    store = api.load(max_offset=100)
    assert store.ids == api.calls.by_day()
    assert max(record.params["offset"] for record in api.sandbox.requests) <= 100
    assert len(api.sandbox.requests) < 2000 / (PAGE - 5)


@pytest.mark.parametrize("vanishes", [False, True])
def test_changes_around_the_largest_offset(api: Api, vanishes: bool) -> None:
    """A call that comes or goes behind the edge just when the window is changed leaves the result right."""
    every_half_hour(api)
    windows = {f"{FIRST} 00:00:00"}

    def change(_: int, params: dict[str, Any]) -> None:
        if params["date_from"] not in windows:
            windows.add(params["date_from"])
            if vanishes:
                api.calls.calls.popitem()
            else:
                api.calls.put(api.calls.moment(LAST, LAST))

    api.before(change)
    assert api.load(max_offset=100).ids == api.calls.by_day()


@pytest.mark.parametrize("damaged", range(1, 31))
def test_a_page_with_a_hole(api: Api, monkeypatch: pytest.MonkeyPatch, damaged: int) -> None:
    """A row that is missing inside of one answer is noticed by the next, wherever that stands, and read after all."""
    every_half_hour(api)
    numbers = count(1)

    def with_a_hole(*question: Any) -> Any:
        page = read_page(*question)
        return replace(page, rows=page.rows[:7] + page.rows[8:]) if next(numbers) == damaged else page

    monkeypatch.setattr("comagic_pipeline.sandbox.service.read_page", with_a_hole)
    assert api.load(max_offset=100).ids == api.calls.by_day()


def test_many_changes_in_a_long_period(api: Api) -> None:
    """Changes that each would be overcome ended a long period once there were as many as there are tries for one."""
    every_half_hour(api)
    waiting: list[datetime] = []

    def change(number: int, params: dict[str, Any]) -> None:
        calls = sorted(call["start_time"] for call in api.calls.calls.values())
        # Of the whole window: what changes in a part that is done is as if it changed after the load.
        is_whole = params["date_from"] == f"{FIRST} 00:00:00" and params["date_till"] == f"{LAST + DAY} 00:00:00"
        if is_whole and number % 3 == 0 and params["offset"] and params["offset"] + 1 < len(calls):
            waiting.append(datetime.fromisoformat(calls[params["offset"]]))
            api.calls.put(waiting[-1])

    api.before(change)
    reader = api.reader(max_offset=1000)
    assert Store().take(reader.read(FIRST, LAST)).ids == api.calls.by_day()
    assert len(waiting) > 2 * TRIES
    assert reader.points <= most_points(len(api.calls.calls))


# --- what never adds up ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [NARROW, UNSORTABLE], ids=["ordered", "unordered"])
@pytest.mark.parametrize("off", [-3, 1, 50])
def test_an_api_that_miscounts(api: Api, monkeypatch: pytest.MonkeyPatch, method: Method, off: int) -> None:
    """A count that is wrong for good stopped a source: what two equal readings confirm is handed on as unproven."""

    def miscounted(*question: Any) -> Any:
        page = read_page(*question)
        return replace(page, total_items=max(page.total_items + off, 0))

    monkeypatch.setattr("comagic_pipeline.sandbox.service.read_page", miscounted)
    every_half_hour(api)
    reader = api.reader(method)
    store = Store().take(reader.read(FIRST, LAST))
    assert store.ids == api.calls.by_day()
    assert store.differences[LAST] % off == 0 < store.differences[LAST] // off
    assert reader.points <= most_points(480)


def test_a_period_that_never_stands_still(api: Api) -> None:
    """Where calls arrive in the waiting page before every request, days are read in single pages, each of a moment."""
    every_half_hour(api)
    moments = (time(1, minute, second) for minute in range(60) for second in range(60))
    api.before(lambda *_: api.calls.put(datetime.combine(FIRST + DAY, next(moments))))
    before = api.calls.by_day()
    reader = api.reader()
    store = Store().take(reader.read(FIRST, LAST))
    assert not store.differences
    for day, ids in before.items():
        assert ids <= store.ids[day] <= api.calls.by_day()[day]
    assert reader.points <= most_points(480)


# --- faults, limits, lengths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [NARROW, UNSORTABLE], ids=["ordered", "unordered"])
@pytest.mark.parametrize("seed", range(3))
def test_faults_cost_no_point(api: Api, seed: int, method: Method) -> None:
    """A third of the requests fail in all kinds of ways: the rows are all there and not one point more is spent."""
    api.calls.scatter(ROWS)
    undisturbed = api.load(method).points
    kinds = ("http_status", "error", "broken_body", "truncated_body", "closed_early", "reset")
    for kind in kinds:
        api.sandbox.faults.add(Fault(kind=kind, probability=0.08, times=1000))  # type: ignore[arg-type]
    for _ in range(seed):
        api.sandbox.faults.take("")  # another series of accidents
    api.sandbox.requests.clear()
    store = api.load(method)
    assert store.ids == api.calls.by_day()
    assert store.points == undisturbed
    assert len(api.sandbox.requests) > undisturbed


def test_days_that_are_done_stay_done(api: Api) -> None:
    """When a page fails for good, or the points run out, the days before it have been handed on, no others."""
    every_half_hour(api)
    api.sandbox.faults.add(Fault(kind="http_status", after=10, times=1000))
    store = Store()
    with pytest.raises(TransientError, match="HTTP 503"):
        store.take(api.reader().read(FIRST, LAST))
    # Ten pages hold about 180 calls, 48 a day: three days and the beginning of the fourth.
    assert list(store.days) == days_between(FIRST, FIRST + 2 * DAY)
    assert {day: api.calls.by_day()[day] for day in store.days} == store.ids


def test_the_newest_windows_come_first(api: Api) -> None:
    """What a failure leaves of a long period is its newest windows: those that people look at."""
    first, last = date(2025, 8, 1), date(2026, 5, 31)
    api.calls.scatter(50, first, last, odd=0)
    api.sandbox.faults.add(Fault(kind="http_status", after=2, times=1000))
    store = Store()
    with pytest.raises(TransientError):
        store.take(api.reader(page_rows=1000).read(first, last))
    assert list(store.days) == [
        *days_between(date(2026, 3, 1), last),
        *days_between(date(2025, 12, 1), date(2026, 2, 28)),
    ]
    assert store.ids == api.calls.by_day(date(2025, 12, 1), last)


@pytest.fixture
def with_points(api: Api) -> Iterator[Callable[..., PeriodReader]]:
    """Opens a reader in an account with so many points a day, of which none is spent yet."""
    with ExitStack() as stack:

        def with_points(points: int, method: Method = NARROW) -> PeriodReader:
            api.reset(day_limit=points)
            api.sandbox._service.points._windows.clear()
            client = stack.enter_context(Client(api.sandbox.url, Token(SANDBOX_TOKEN), verify=TLS))
            return PeriodReader(client, method, MOSCOW, page_rows=PAGE, max_offset=100 * PAGE)

        yield with_points


@pytest.mark.parametrize("points", [10, 11])
def test_the_points_of_the_day_run_out(api: Api, with_points: Callable[..., PeriodReader], points: int) -> None:
    """The last point of the day buys rows that are still handed on, though no page follows that would prove them."""
    reader, store = with_points(points), Store()
    every_half_hour(api)
    with pytest.raises(DayPointsSpentError):
        store.take(reader.read(FIRST, LAST))
    assert [record.outcome for record in api.sandbox.requests] == ["ok"] * points
    # Each page has the last but one row of the page before it once more, and is whole but for its last row.
    whole_days = (20 + 18 * (points - 1) - 1) // 48
    assert list(store.days) == days_between(FIRST, FIRST + (whole_days - 1) * DAY)
    assert {day: api.calls.by_day()[day] for day in store.days} == store.ids


def test_points_that_do_not_reach_for_an_unordered_window(api: Api, with_points: Callable[..., PeriodReader]) -> None:
    """Part of the pages of an unordered window proves nothing: only as many of its newest days are read as can be."""
    reader, store = with_points(13, UNSORTABLE), Store()
    every_half_hour(api)
    with pytest.raises(DayPointsSpentError, match="25 are needed for days that cannot be loaded in parts"):
        store.take(reader.read(FIRST, LAST))
    # A page tells that 25 more are needed, each with a row of the page before it. Twelve hold four days of 48 calls.
    assert list(store.days) == days_between(LAST - 3 * DAY, LAST)
    assert {day: api.calls.by_day()[day] for day in store.days} == store.ids
    assert [record.outcome for record in api.sandbox.requests] == ["ok"] * (2 + ceil((4 * 48 - PAGE) / (PAGE - 1)))


def test_points_that_do_not_reach_for_an_unordered_day(api: Api, with_points: Callable[..., PeriodReader]) -> None:
    """One page shows that a day is larger than the day's points reach for: nothing more is spent on it."""
    reader, store = with_points(9, UNSORTABLE), Store()
    api.calls.scatter(10 * PAGE, LAST, LAST, odd=0)
    with pytest.raises(DayPointsSpentError, match="8 left, 10 are needed"):
        store.take(reader.read(LAST, LAST))
    assert (store.days, len(api.sandbox.requests)) == ({}, 1)


@pytest.mark.parametrize("longest", [None, 90, 89, 60, 31, 30, 7, 1])
def test_the_longest_period(api: Api, longest: int | None) -> None:
    """The longest window that the API allows is found at no cost, and asked for from then on."""
    api.reset(longest_period_days=longest)
    first, last = date(2023, 11, 30), date(2024, 3, 31)
    for day in days_between(first, last):
        api.calls.put(datetime.combine(day, time()))
        api.calls.put(datetime.combine(day, time(23, 59, 59)))
    spent = api.sandbox.points_spent
    reader = api.reader(page_rows=1000)
    store = Store().take(reader.read(first, last))
    assert store.ids == api.calls.by_day(first, last)
    allowed = {None: {"months": 3}, 31: {"days": 30}}.get(longest) or {"days": longest or 0}
    expected = [f"{start} 00:00:00 {end + DAY} 00:00:00" for start, end in windows(first, last, **allowed)]
    assert [asked for asked, record in zip(api.asked, api.sandbox.requests, strict=True) if record.points] == expected
    assert store.points == len(expected) == api.sandbox.points_spent - spent
    assert sum(not record.points for record in api.sandbox.requests) <= 8


def test_no_period_is_short_enough(api: Api) -> None:
    """An API that refuses even a day says so itself."""
    api.sandbox.faults.add(Fault(kind="error", mnemonic="date_interval_limit_reached", times=1000))
    with pytest.raises(PeriodTooLongError, match="3 months"):
        api.load()
    assert len(api.sandbox.requests) < 12


def test_a_method_with_a_limit_of_its_own(api: Api) -> None:
    """A method whose periods are documented to be shorter is asked for those at once."""
    for number in range(60):
        api.calls.put(datetime.combine(FIRST + number * DAY, time(9)))
    reader = api.reader(replace(NARROW, max_days=30), page_rows=1000)
    store = Store().take(reader.read(FIRST, FIRST + 59 * DAY))
    assert store.ids == api.calls.by_day(FIRST, FIRST + 59 * DAY)
    assert store.points == len(api.sandbox.requests) == 2


def test_an_empty_period(api: Api) -> None:
    """A period without calls costs a point, and its days are complete and empty; a period of no days costs none."""
    store = Store().take(api.reader().read(FIRST, LAST))
    assert store.ids == {day: Counter() for day in days_between(FIRST, LAST)}
    assert store.points == 1
    assert list(api.reader().read(LAST, FIRST)) == []


def test_a_dictionary_has_no_period(api: Api) -> None:
    """Asking for a period of a dictionary is a mistake of ours."""
    with pytest.raises(ValueError, match="it is a dictionary"):
        PeriodReader(api.client, methods()["get.campaigns"], MOSCOW)


# --- what the API no longer knows, and what does not fit -------------------------------------------------------------


def test_a_forgotten_column(api: Api) -> None:
    """A column that the API does not know any more is left empty, with one warning, at no cost."""
    api.reset(quirks=Quirks(forgotten_columns=frozenset({"tags", "talk_duration"})))
    api.calls.scatter(60)
    reader = api.reader()
    store = Store().take(reader.read(FIRST, LAST))
    assert store.ids == api.calls.by_day()
    assert sorted(reader.warnings) == [
        f"get.calls_report: the API does not know {name} any more; left empty" for name in ("tags", "talk_duration")
    ]
    assert store.points == sum(record.points for record in api.sandbox.requests)
    assert [record.outcome for record in api.sandbox.requests][:3] == ["unexpected_parameters"] * 2 + ["ok"]


@pytest.mark.parametrize("name", ["id", "start_time"])
def test_a_forgotten_key(api: Api, name: str) -> None:
    """Without its key or its time a row has no place: the error of the API stands."""
    api.reset(quirks=Quirks(forgotten_columns=frozenset({name})))
    with pytest.raises(UnexpectedParameterError):
        api.load()
    assert len(api.sandbox.requests) == 1


def test_rejected_values_belong_to_their_day(api: Api) -> None:
    """Values that do not fit came twice at the edge of a page, or went with a day whose rows were still to come."""
    api.calls.scatter(ROWS, odd=0)
    api.calls.scatter(ROWS, FIRST - DAY, LAST + DAY, odd=1)
    for row in api.calls.calls.values():
        row["talk_duration"] = f"long {row['id']}"
    for method in (NARROW, UNSORTABLE):
        store = api.load(method)
        assert store.ids == api.calls.by_day()
        assert {day: Counter(int(value.key) for value in values) for day, values in store.rejected.items()} == store.ids
        assert {value.value for value in store.rejected[FIRST]} == {f'"long {row.id}"' for row in store.days[FIRST]}


def test_a_row_that_cannot_be_stored(api: Api) -> None:
    """A row without a key stops nothing: it is counted and rejected, the others are stored."""
    api.calls.scatter(ROWS)
    row = api.calls.calls[api.calls.put(datetime.combine(FIRST + DAY, time(12)))]
    row["id"] = None
    expected = api.calls.by_day()
    reader = api.reader()
    store = Store().take(reader.read(FIRST, LAST))
    del next(iter(day for day in [expected[FIRST + DAY]]))[next(k for k, r in api.calls.calls.items() if r is row)]
    assert store.ids == expected
    assert [(value.column, value.reason) for value in store.rejected[FIRST + DAY]] == [(None, "the row has no id")]


# --- cost, memory, threads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [9_999, 10_000, 10_001, 29_000])
def test_the_cost_of_a_window(api: Api, rows: int) -> None:
    """Three months cost the pages they fill and hardly more, with pages as large as the API's."""
    first, last = date(2026, 1, 1), date(2026, 3, 31)
    api.calls.scatter(rows, first, last, odd=0)
    reader = api.reader(page_rows=10_000, max_offset=100_000)
    store = Store().take(reader.read(first, last))
    assert store.ids == api.calls.by_day(first, last)
    assert reader.points == ceil(rows / 10_000)


def test_the_cost_of_a_large_window(api: Api) -> None:
    """A window of thirty times what a page holds, far behind the largest offset, costs at most two pages more."""
    first, last = date(2026, 1, 1), date(2026, 3, 31)
    api.calls.scatter(15_000, first, last, odd=0)
    reader = api.reader(page_rows=500, max_offset=5000)
    store = Store().take(reader.read(first, last))
    assert store.ids == api.calls.by_day(first, last)
    assert reader.points <= 30 + 1


@pytest.mark.parametrize("pages", [2.7, 11, 18, 30])
def test_the_cost_of_an_unordered_window(api: Api, pages: float) -> None:
    """A report that cannot be sorted, and comes day by day as it is stored, costs at most one point more than least.

    Each page after the first begins with a row of the page before it, so that pages filled exactly take one more.
    """
    first, last = date(2026, 1, 1), date(2026, 3, 31)
    api.calls.scatter(round(100 * pages), first, last, odd=0)
    api.calls.store_by_day()
    reader = api.reader(UNSORTABLE, page_rows=100, max_offset=1000)
    store = Store().take(reader.read(first, last))
    assert store.ids == api.calls.by_day(first, last)
    assert store.points == reader.points <= (ceil(pages) + (pages >= 11))


@pytest.mark.parametrize(("unstable_order", "most"), [(False, 1.15), (True, 1.6)])
def test_the_cost_of_disorder(api: Api, unstable_order: bool, most: float) -> None:
    """Rows in an order that has nothing to do with time cost some points more, pages that are mixed anew most."""
    first, last = date(2026, 1, 1), date(2026, 3, 31)
    api.reset(unstable_order=unstable_order)
    api.calls.scatter(3000, first, last, odd=0)
    reader = api.reader(UNSORTABLE, page_rows=100, max_offset=1000)
    store = Store().take(reader.read(first, last))
    assert store.ids == api.calls.by_day(first, last)
    assert reader.points <= most * 30 + 2


def test_rows_that_arrive_behind_an_unordered_window(api: Api) -> None:
    """A row that arrives behind what was read is read with the rest: at no point more."""
    api.calls.scatter(5 * PAGE - 5, odd=0)
    api.calls.store_by_day()
    api.before(lambda number, _: number == 3 and api.calls.put(datetime.combine(LAST, time(23, 59))))
    store = api.load(UNSORTABLE)
    assert store.ids == api.calls.by_day()
    assert store.points == 5


def test_a_report_of_days(api: Api) -> None:
    """A day of a report whose time is a date was searched for in hours and seconds that it does not have."""
    daily = replace(NARROW, columns=tuple(
        replace(column, type=ColumnType.DATE) if column.name == "start_time" else column for column in NARROW.columns
    ))  # fmt: skip
    days = days_between(FIRST, LAST)
    for number in range(ROWS):
        api.calls.put(datetime.combine(days[0 if number < 3 * PAGE else number % len(days)], time()))
    rows: dict[date, Counter[int]] = {day: Counter() for day in days}
    open_rows: list[Any] = []
    for step in api.reader(daily).read(FIRST, LAST):
        match step:
            case Rows():
                open_rows += step.rows
            case Discarded():
                open_rows = []
            case DaysComplete():
                for row in open_rows:
                    rows[row.start_time][row.id] += 1
                open_rows = []
    assert rows == api.calls.by_day()
    assert len(api.sandbox.requests) <= 2 * ROWS / PAGE


def test_the_cost_of_a_year(api: Api) -> None:
    """A year of 300 calls a day costs what its four windows fill, three pages each."""
    first, last = date(2025, 1, 1), date(2025, 12, 31)
    api.calls.scatter(365 * 300, first, last, odd=0)
    reader = api.reader(page_rows=10_000, max_offset=100_000)
    rows = sum(len(step.rows) for step in reader.read(first, last) if isinstance(step, Rows))
    assert rows == 365 * 300
    assert reader.points == len(api.sandbox.requests) == 12


def test_memory(api: Api) -> None:
    """However long the period is, only a few pages of rows are held at a time."""
    row, rows, page_rows = 4_000, 4_800, 100
    first, last = date(2026, 1, 1), date(2026, 3, 31)
    api.calls.scatter(rows, first, last, odd=0)
    for call in api.calls.calls.values():
        call["tags"] = ["x" * row]
    reader = api.reader(page_rows=page_rows, max_offset=1000)
    tracemalloc.start()
    try:
        read = sum(len(step.rows) for step in reader.read(first, last) if isinstance(step, Rows))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == rows
    # The sandbox makes its answers in the same process: some of these pages are its.
    assert peak < 12 * page_rows * row <= rows * row / 4


def test_the_next_page_comes_meanwhile(api: Api) -> None:
    """While the caller works on the rows of a page, the next one is fetched."""
    every_half_hour(api)
    steps = api.reader().read(FIRST, LAST)
    assert isinstance(next(steps), Rows)
    # Two pages are too many to hold, and the third proves them; the fourth is on its way while we do nothing.
    deadline = monotonic() + 5
    while len(api.sandbox.requests) < 4:
        assert monotonic() < deadline
        sleep(0.01)
    assert len(api.sandbox.requests) == 4


def test_a_consumer_that_fails(api: Api) -> None:
    """A failure of whoever takes the rows ends the reader's thread at once."""
    every_half_hour(api)
    threads = set(threading.enumerate())

    def consume() -> None:
        for step in api.reader().read(FIRST, LAST):
            if isinstance(step, DaysComplete):
                raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        consume()
    assert not [thread for thread in set(threading.enumerate()) - threads if thread.name.startswith("fetch")]
    assert len(api.sandbox.requests) < 8
    assert api.load().ids == api.calls.by_day()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]
