"""Reports that are asked for site by site or day by day: steps of whole days, at a point for each question."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.errors import DayPointsSpentError, MethodUnavailableError, PermanentError
from comagic_pipeline.api.readers.by_day import SummaryReader
from comagic_pipeline.api.readers.by_site import SiteReader
from comagic_pipeline.api.readers.report import ReportReader, report_reader
from comagic_pipeline.api.readers.windows import DaysComplete, Discarded, Rows, Step
from comagic_pipeline.catalog import methods
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.integration.raw_reference import Row, api_rows, days_between, differences

STAT, BY_CAMPAIGN, BY_SITE = "get.campaign_daily_stat", "get.ct_ac_summary_report", "get.ct_summary_report"
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 10)
MOSCOW = ZoneInfo("Europe/Moscow")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small account that counts its statistics, which come 25 a page."""
    world = World(calls_per_day=3, campaigns=20, now=lambda: datetime(2026, 9, 1, tzinfo=UTC))
    settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=25, bare_list=False))
    with running_sandbox(world, settings) as sandbox:
        yield sandbox


Open = Callable[..., ReportReader]


@pytest.fixture
def reader(sandbox: Sandbox) -> Iterator[Open]:
    """Opens the reader of a report for all sites of the account, or for some."""
    with ExitStack() as stack:
        client = stack.enter_context(Client(sandbox.url, Token(SANDBOX_TOKEN)))

        def make(method: str, sites: list[int] | None = None) -> ReportReader:
            known = [row["id"] for row in sandbox.world.rows("get.sites")]
            return report_reader(client, methods()[method], MOSCOW, {}, lambda: known if sites is None else sites)

        yield make


class Store:
    """What a warehouse does with steps: rows of days that are complete replace what the days held."""

    def __init__(self) -> None:
        self.days: dict[date, list[Row]] = {}
        self.points = 0
        self._waiting: list[tuple[Rows, list[Row]]] = []

    def take(self, steps: Iterator[Step]) -> "Store":
        """Take all steps; raises what they raise."""
        for step in steps:
            match step:
                case Rows():
                    self._waiting.append((step, [_plain(row) for row in step.rows]))
                case Discarded():
                    self._waiting.clear()
                case DaysComplete(first_day, last_day, points):
                    self.points += points
                    days = days_between(first_day, last_day)
                    self.days |= {day: [] for day in days}
                    for part, rows in self._waiting:
                        assert first_day <= part.first_day <= part.last_day <= last_day
                        for row in rows:
                            day = row.get("date") or part.first_day
                            self.days[day].append(row | {"event_date": day})
                    self._waiting.clear()
        assert not self._waiting
        return self

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [row for rows in self.days.values() for row in rows]


def _plain(row: Any) -> Row:
    values = msgspec.structs.asdict(row)
    return {k: msgspec.json.decode(v) if isinstance(v, msgspec.Raw) else v for k, v in values.items()}


@pytest.mark.parametrize("method", [STAT, BY_CAMPAIGN, BY_SITE])
def test_days_are_whole_when_all_sites_are(sandbox: Sandbox, reader: Open, method: str) -> None:
    """The rows of all sites under their days; what the days say they cost is what was charged."""
    opened = reader(method)
    assert isinstance(opened, SiteReader if method == STAT else SummaryReader)
    store = Store().take(opened.read(FIRST, LAST))
    days = days_between(FIRST, LAST)
    assert list(store.days) == (days if method == STAT else days[::-1])
    assert differences(store.rows, api_rows(sandbox.world, method, FIRST, LAST)) == []
    assert store.points == opened.points == sandbox.points_spent
    assert opened.warnings == []


def test_short_pages_of_a_bare_list(sandbox: Sandbox, reader: Callable[..., ReportReader]) -> None:
    """A page shorter than was asked for passed for the last where the answer tells no count: the rest was lost."""
    sandbox.settings.quirks.bare_list = None
    for short in (7, 25, None):
        sandbox.settings.quirks.short_pages = short
        store = Store().take(reader(STAT).read(FIRST, LAST))
        assert differences(store.rows, api_rows(sandbox.world, STAT, FIRST, LAST)) == []


@pytest.mark.parametrize("longest", [None, 30])
def test_long_periods_of_all_sites_end_together(sandbox: Sandbox, reader: Open, longest: int | None) -> None:
    """Windows are as long as the API allows, the newest first and the same for every site; that is found out once."""
    sandbox.settings.longest_period_days = longest
    sandbox.settings.quirks.short_pages = None
    last = date(2026, 7, 15)
    ends = []
    store = Store()

    def noted(steps: Iterator[Step]) -> Iterator[Step]:
        for step in steps:
            if isinstance(step, DaysComplete):
                ends.append(step.last_day)
            yield step

    store.take(noted(reader(STAT).read(FIRST, last)))
    months, parts = [last, date(2026, 4, 15)], [last - timedelta(days=30 * number) for number in range(5)]
    assert ends == (months if longest is None else parts)
    assert differences(store.rows, api_rows(sandbox.world, STAT, FIRST, last)) == []
    sites = len(sandbox.world.rows("get.sites"))
    assert store.points == sandbox.points_spent == sites * len(ends)
    refused = Counter(request.params["site_id"] for request in sandbox.requests if not request.points)
    assert sum(refused.values()) <= 4 * sites


def test_days_of_a_site_that_change_while_it_is_read_come_as_they_are(sandbox: Sandbox, reader: Open) -> None:
    """A row that vanishes from the first day and one that arrives there, while pages of the same site are read."""
    site = sandbox.world.rows("get.sites")[1]["id"]
    row = next(row for row in sandbox.world.rows(STAT, f"{FIRST} 00:00:00", f"{FIRST} 23:59:59", site_id=site))
    asked = 0

    def change(_: str, params: Row) -> None:
        nonlocal asked
        asked += params["site_id"] == site
        if params["site_id"] == site and asked == 4:
            for number in range(3):
                sandbox.world.add(STAT, row | {"campaign_id": 5 + number, "campaign_ext_id": None})

    sandbox.before_request = change
    store = Store().take(reader(STAT).read(FIRST, LAST))
    assert asked > 4
    assert differences(store.rows, api_rows(sandbox.world, STAT, FIRST, LAST)) == []


@pytest.mark.parametrize("method", [STAT, BY_CAMPAIGN])
def test_no_site_is_no_row_and_no_point(sandbox: Sandbox, reader: Open, method: str) -> None:
    """All days are complete and empty."""
    store = Store().take(reader(method, []).read(FIRST, LAST))
    assert store.days == {day: [] for day in days_between(FIRST, LAST)}
    assert not sandbox.requests


@pytest.mark.parametrize(("method", "column"), [(STAT, "keyword"), (BY_CAMPAIGN, "dt_ratio"), (BY_SITE, "dt_ratio")])
def test_a_column_that_is_unknown_for_every_site_is_told_once(
    sandbox: Sandbox, reader: Open, method: str, column: str
) -> None:
    """Each request finds it out anew, and a person reads of it once."""
    sandbox.settings.quirks.forgotten_columns = frozenset({column})
    opened = reader(method)
    rows = Store().take(opened.read(FIRST, LAST)).rows
    expected = [row | {column: None} for row in api_rows(sandbox.world, method, FIRST, LAST)]
    assert differences(rows, expected) == []
    assert opened.warnings == [f"{method}: the API does not know {column} any more; left empty"]


@pytest.mark.parametrize("method", [STAT, BY_CAMPAIGN])
def test_days_before_a_failure_are_whole(sandbox: Sandbox, reader: Open, method: str) -> None:
    """A site that fails leaves no half of a day; the points of the others are told all the same."""
    sandbox.settings.quirks.short_pages = None
    sandbox.faults.add(Fault(kind="error", method=method, mnemonic="account_inactive", after=5, times=100))
    store, opened = Store(), reader(method)
    last = date(2026, 7, 15)
    with pytest.raises(PermanentError, match="account_inactive"):
        store.take(opened.read(FIRST, last))
    done = list(store.days)
    # Three sites: five requests are the newest window or day of all of them, and a part of the next.
    assert done == (days_between(date(2026, 4, 16), last) if method == STAT else [last])
    assert differences(store.rows, api_rows(sandbox.world, method, done[0], done[-1])) == []
    assert opened.points == sandbox.points_spent == 5


@pytest.mark.parametrize(("method", "cost"), [(STAT, 3), (BY_CAMPAIGN, 3), (BY_SITE, 1)])
def test_days_that_the_points_do_not_reach_for_are_not_begun(
    sandbox: Sandbox, reader: Open, method: str, cost: int
) -> None:
    """Part of the sites of a day is worth nothing: the points that would have bought it are kept, whole days stay."""
    sandbox.settings.quirks = Quirks(bare_list=False)
    sandbox.settings.day_limit = 3 * cost - 1
    store, opened = Store(), reader(method)
    last = date(2026, 9, 1)
    with pytest.raises(DayPointsSpentError, match=f"{cost} are needed for days"):
        store.take(opened.read(FIRST, last))
    # Two windows of three months, or two days.
    first_done = date(2026, 3, 2) if method == STAT else last - timedelta(days=1)
    assert sorted(store.days) == days_between(first_done, last)
    assert differences(store.rows, api_rows(sandbox.world, method, first_done, last)) == []
    assert opened.points == store.points == sandbox.points_spent == 2 * cost
    assert [request.outcome for request in sandbox.requests] == ["ok"] * (2 * cost)


def test_a_report_that_is_refused_says_so(sandbox: Sandbox, reader: Open) -> None:
    """What the account may not ask for is its own kind of error, at no point."""
    sandbox.settings.refused_methods = {STAT: "forbidden", BY_SITE: "method_component_disabled"}
    for method in (STAT, BY_SITE):
        with pytest.raises(MethodUnavailableError):
            Store().take(reader(method).read(FIRST, LAST))
    assert sandbox.points_spent == 0
