"""An API that contradicts itself, over real HTTP: reading ends, within its points, and days that add up do not suffer.

The server here answers as a test says: rows that stand twice, wrong counts, pages in another order each time, rows
that come and go between two pages, limits of history.
"""

import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.errors import HistoryLimitError, IncompleteAnswerError, PeriodTooLongError
from comagic_pipeline.api.readers.dictionaries import DictionaryReader
from comagic_pipeline.api.readers.periods import PeriodReader
from comagic_pipeline.catalog import Method, methods
from comagic_pipeline_tests.integration.api.test_periods import Store, days_between
from comagic_pipeline_tests.integration.api_server import Server, refusal, success

METHODS = {
    name: replace(method, columns=tuple(map(method.column, sorted(method.required_columns))))
    for name, method in methods().items()
    if name in ("get.calls_report", "get.chats_report", "get.visitor_sessions_report", "get.goals_report",
                "get.offline_messages_report")
}  # fmt: skip
CALLS, VISITS = METHODS["get.calls_report"], METHODS["get.visitor_sessions_report"]
MOSCOW = ZoneInfo("Europe/Moscow")
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 23)
DAY = timedelta(days=1)
PAGE = 100
TLS = ssl.create_default_context()
Row = dict[str, Any]


class OddApi:
    """An account of one report. `change` is called before each request with its number; `answer` makes of a page what
    is handed out, `refuse` tells which requests are refused; `order` is what pages are cut from.
    """

    def __init__(self, server: Server) -> None:
        self.rows: list[Row] = []
        self.asked: list[dict[str, Any]] = []
        self.points = 0
        self.order: Callable[[list[Row]], list[Row]] = list
        self.change: Callable[[int], None] = lambda _: None
        self.total: Callable[[int], int] = lambda total: total
        self.data: Callable[[list[Row]], Any] = lambda page: page
        self.refuse: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        server.reply = self._reply
        self.url = server.url

    def fill(self, method: Method, count: int, first: date = FIRST, last: date = LAST) -> None:
        """Add so many rows, spread evenly over the days, in the order of time."""
        self.method, self._names = method, sorted(method.required_columns)
        start = datetime.combine(first, time(0, 1))
        step = (datetime.combine(last + DAY, time()) - start) / max(count, 1)
        for number in range(count):
            self.rows.append(self.row(number + 1, start + number * step))

    def row(self, identifier: int, moment: datetime) -> Row:
        """A row of the report."""
        return {
            name: moment.strftime("%Y-%m-%d %H:%M:%S") if name == self.method.time_column else identifier
            for name in self._names
        }

    def by_day(self, first: date = FIRST, last: date = LAST) -> dict[date, Counter[int]]:
        """The ids of each day, as the account has them now."""
        days: dict[date, Counter[int]] = {day: Counter() for day in days_between(first, last)}
        for row in self.rows:
            days[date.fromisoformat(row[self.method.time_column or ""][:10])][row[self.method.key[-1]]] = 1
        return days

    def _reply(self, sent: dict[str, Any]) -> bytes:
        params = sent["params"]
        self.asked.append(params)
        self.change(len(self.asked))
        if (error := self.refuse(params)) is not None:
            return refusal(sent, error)
        self.points += 1
        column = self.method.time_column or ""
        rows = [row for row in self.rows if params["date_from"] <= row[column] <= params["date_till"]]
        if params.get("sort"):
            rows.sort(key=lambda row: row[column])
        rows = self.order(rows)
        page = rows[params["offset"] : params["offset"] + params["limit"]]
        return success(sent, self.data(page), total_items=self.total(len(rows)))


@pytest.fixture
def odd() -> Iterator[OddApi]:
    """An account without rows."""
    server = Server()
    yield OddApi(server)
    server.stop()


@pytest.fixture
def client(odd: OddApi) -> Iterator[Client]:
    """A client of the account that waits for nobody."""
    with ExitStack() as stack:
        yield stack.enter_context(Client(odd.url, Token("secret-key"), sleep=lambda _: None, verify=TLS))


def read(
    client: Client, odd: OddApi, first: date = FIRST, last: date = LAST, now: datetime | None = None, **sizes: int
) -> Store:
    """Read days of the account; its clock stands at `now`."""
    clock = {"clock": lambda: now} if now else {}
    sizes = {"page_rows": PAGE, "max_offset": 10 * PAGE} | sizes
    reader = PeriodReader(client, odd.method, MOSCOW, **sizes, **clock)  # type: ignore[arg-type]
    return IdStore(odd.method).take(reader.read(first, last))


class IdStore(Store):
    """A store of rows of any report."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self._method = method

    def take(self, steps: Iterator[Any]) -> "IdStore":
        """Apply steps; rows are known by their time as calls are."""

        def timed() -> Iterator[Any]:
            for step in steps:
                if hasattr(step, "rows"):
                    yield replace(step, rows=[_Timed(row, self._method) for row in step.rows])
                else:
                    yield step

        super().take(timed())
        return self


class _Timed:
    def __init__(self, row: Any, method: Method) -> None:
        self.id, self.start_time = getattr(row, method.key[-1]), getattr(row, method.time_column or "")


def most_points(rows: int) -> int:
    """What a window may cost, whatever the API does."""
    return 2 * max(ceil(rows / (PAGE - 2)), 1) + 24


def move(odd: OddApi, at: int, vanishes: int = 10) -> Callable[[int], None]:
    """Let a row vanish and one arrive at the end before this request."""

    def change(number: int) -> None:
        if number == at:
            del odd.rows[vanishes]
            odd.rows.append(odd.row(10**6, datetime.combine(LAST, time(23, 59, 59))))

    return change


@pytest.mark.parametrize("name", METHODS)
def test_a_row_moves_from_one_page_to_the_one_before(odd: OddApi, client: Client, name: str) -> None:
    """A row was lost and the load said done when one vanished and one arrived between two pages."""
    odd.fill(METHODS[name], 10_400)
    odd.change = move(odd, 2)
    store = read(client, odd, page_rows=10_000, max_offset=100_000)
    assert store.ids == odd.by_day()
    assert odd.points <= 5


def test_an_overlap_costs_nothing(odd: OddApi, client: Client) -> None:
    """Two pages cost two points, whether or not their rows can be sorted."""
    for method in (CALLS, VISITS):
        odd.rows, odd.points = [], 0
        odd.fill(method, 10_400)
        assert read(client, odd, page_rows=10_000, max_offset=100_000).ids == odd.by_day()
        assert odd.points == 2


@pytest.mark.parametrize("rows", [1_040, 5_400])
def test_pages_in_another_order_each_time(odd: OddApi, client: Client, rows: int) -> None:
    """Pages that come in a new order in every answer cost 7 points for 2: now the least and one."""
    page_rows, random = 1_000, Random(1)
    odd.fill(VISITS, rows)
    odd.order = lambda rows: random.sample(rows, len(rows))
    store = read(client, odd, page_rows=page_rows, max_offset=10 * page_rows)
    assert store.ids == odd.by_day()
    assert not store.differences
    assert odd.points == ceil(rows / page_rows) + 1


@pytest.mark.parametrize("method", [CALLS, VISITS], ids=["ordered", "unordered"])
def test_a_row_that_stands_twice(odd: OddApi, client: Client, method: Method) -> None:
    """One row twice in an answer stopped a source, for 95 points: it is one point, and only its day is unproven."""
    odd.fill(method, 23)
    odd.rows.append(odd.rows[5])
    store = read(client, odd)
    assert store.ids == odd.by_day()
    assert store.differences == {FIRST + 5 * DAY: 1}
    assert odd.points == 1


@pytest.mark.parametrize("method", [CALLS, VISITS], ids=["ordered", "unordered"])
@pytest.mark.parametrize("rows", [23, 1_040])
def test_a_row_that_stands_twice_in_different_pages(odd: OddApi, client: Client, method: Method, rows: int) -> None:
    """The second line of a row comes pages later, or beside it: its day is unproven, all days are stored."""
    odd.fill(method, rows)
    odd.rows.append(odd.rows[5])
    store = read(client, odd)
    assert store.ids == odd.by_day()
    assert store.differences == {date.fromisoformat(odd.rows[5][method.time_column or ""][:10]): 1}
    assert odd.points <= most_points(rows)


@pytest.mark.parametrize("method", [CALLS, VISITS], ids=["ordered", "unordered"])
@pytest.mark.parametrize("rows", [0, 1, 23, 250, 1_040])
@pytest.mark.parametrize("off", [-1, 1, 7])
def test_a_count_that_is_wrong_for_good(odd: OddApi, client: Client, method: Method, rows: int, off: int) -> None:
    """A total that is one too high, whatever is asked, stopped a source: two equal readings are stored."""
    odd.fill(method, rows)
    odd.total = lambda total: max(total + off, 0)
    store = read(client, odd)
    assert store.ids == odd.by_day()
    assert bool(store.differences) == (rows > 0 or off > 0)
    assert odd.points <= most_points(rows)


@pytest.mark.parametrize("method", [CALLS, VISITS], ids=["ordered", "unordered"])
@pytest.mark.parametrize("rows", [23, 1_040])
@pytest.mark.parametrize("day", [0, 5, 11, 22])
def test_a_row_that_is_counted_and_never_comes(
    odd: OddApi, client: Client, method: Method, rows: int, day: int
) -> None:
    """Days that add up do not suffer for one that does not: only that one is unproven."""
    odd.fill(method, rows)
    moment = f"{FIRST + day * DAY} 12:34:56"

    def total(known: int) -> int:
        asked = odd.asked[-1]
        return known + bool(asked["date_from"] <= moment <= asked["date_till"])

    odd.total = total
    store = read(client, odd)
    assert store.ids == odd.by_day()
    assert store.differences == {FIRST + day * DAY: 1}
    assert odd.points <= (12 if rows == 23 else most_points(rows))


@pytest.mark.parametrize("data", [{}, None, []])
def test_no_rows(odd: OddApi, client: Client, data: Any) -> None:
    """An empty object instead of rows was read as a row that cannot be stored, page after page."""
    odd.fill(CALLS, 0)
    odd.data = lambda _: data
    assert read(client, odd).ids == odd.by_day()
    assert odd.points == 1


@pytest.mark.parametrize("method", [CALLS, VISITS], ids=["ordered", "unordered"])
@pytest.mark.parametrize("rows", [23, 940])
@pytest.mark.parametrize("kind", ["empty", "first page only", "one row only", "growing total", "growing count of rows"])
def test_reading_always_ends(odd: OddApi, client: Client, method: Method, rows: int, kind: str) -> None:
    """Whatever the API answers, a window costs at most twice the least and 24 points."""
    odd.fill(method, rows)
    if kind == "empty":
        odd.data = lambda _: []
    elif kind == "first page only":
        odd.order = lambda rows: rows[:PAGE] * 20
    elif kind == "one row only":
        odd.data = lambda page: page[:1] * len(page)
    elif kind == "growing total":
        odd.total = lambda total: total + 100 * len(odd.asked)
    else:
        moments = iter(range(10**6, 10**7))
        odd.change = lambda _: odd.rows.insert(5, odd.row(next(moments), datetime.combine(FIRST, time(12))))
    before = odd.by_day()
    try:
        store = read(client, odd)
    except IncompleteAnswerError:
        assert kind in ("empty", "first page only", "one row only")
    else:
        if kind.startswith("growing"):
            assert all(ids <= store.ids[day] for day, ids in before.items())
    assert odd.points <= most_points(20 * PAGE if kind == "first page only" else rows)


def refused_before(moment: str) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    """Refuse periods that begin before a moment, as if they were too long."""
    error = {"code": -32602, "message": "Max value of requested date interval is 3 months",
             "data": {"mnemonic": "date_interval_limit_reached"}}  # fmt: skip
    return lambda params: error if params["date_from"] < moment else None


@pytest.mark.parametrize("first_given", [date(2026, 8, 26), date(2026, 8, 30), date(2026, 11, 20), date(2026, 7, 3)])
def test_the_api_gives_no_older_days(odd: OddApi, client: Client, first_given: date) -> None:
    """A limit of history was taken for an old version of this program; now it names the first day that is given."""
    first, last = date(2026, 5, 1), date(2026, 11, 24)
    odd.fill(CALLS, 300, first, last)
    odd.refuse = refused_before(f"{first_given - DAY} 22:00:00")
    store = IdStore(CALLS)
    reader = PeriodReader(client, CALLS, MOSCOW)
    message = f"gives no days before {first_given}: set start_date"
    with pytest.raises(HistoryLimitError, match=message):
        store.take(reader.read(first, last))
    assert sorted(store.days) == days_between(first_given, last)


def test_all_days_that_are_asked_for_are_too_old(odd: OddApi, client: Client) -> None:
    """Where no day that was asked for is given, the first that is given is looked for, until today."""
    odd.fill(CALLS, 300, date(2026, 5, 1), date(2026, 11, 24))
    odd.refuse = refused_before("2026-08-25 22:00:00")
    with pytest.raises(HistoryLimitError, match="before 2026-08-26: set start_date"):
        read(client, odd, date(2026, 5, 1), date(2026, 5, 31), datetime(2026, 11, 25, 9, tzinfo=UTC))
    assert odd.points <= 9
    odd.refuse = refused_before("9999")
    with pytest.raises(PeriodTooLongError, match="3 months"):
        read(client, odd, date(2026, 5, 1), date(2026, 5, 31), datetime(2026, 11, 25, 9, tzinfo=UTC))


@pytest.mark.parametrize("method", [CALLS, VISITS], ids=["ordered", "unordered"])
def test_the_end_of_today_is_refused(odd: OddApi, client: Client, method: Method) -> None:
    """An API that refuses a date_till in the future got nothing loaded, today or past: it is asked until now."""
    odd.fill(method, 1_040)
    now = datetime.combine(LAST, time(23, 30))
    odd.rows = [row for row in odd.rows if row[method.time_column or ""] <= str(now)]
    error = {"code": -32602, "message": "Invalid parameter value",
             "data": {"mnemonic": "invalid_parameter_value", "field": "date_till"}}  # fmt: skip
    odd.refuse = lambda params: error if params["date_till"] > str(now) else None
    assert read(client, odd, now=now.replace(tzinfo=MOSCOW)).ids == odd.by_day()


@pytest.mark.parametrize(("total", "points"), [(2, 3), (0, 2)])
def test_a_dictionary_that_is_miscounted(total: int, points: int) -> None:
    """A dictionary of which the API counts one row more was never stored, and no star was built."""
    server = Server()
    server.reply = lambda sent: success(sent, [{"id": 10}][sent["params"].get("offset", 0) :], total_items=total)
    try:
        with Client(server.url, Token("secret-key"), sleep=lambda _: None, verify=TLS) as client:
            reader = DictionaryReader(client, methods()["get.campaigns"], MOSCOW)
            rows, _ = reader.read()
    finally:
        server.stop()
    assert [row.id for row in rows] == [10]  # type: ignore[attr-defined]
    assert reader.warnings == [
        f"get.campaigns: the API counts {total} rows and hands out 1, in two equal readings; stored as they came"
    ]
    assert len(server.requests) == reader.points == points
