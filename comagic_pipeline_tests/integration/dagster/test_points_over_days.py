"""A history that takes more points than a day has: it loads by itself over the days that it needs, at the least cost.

Time passes only where a test lets it: sandbox, client and sensor have one clock. Warehouse and instance are real.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from math import ceil

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, ExecuteInProcessResult, RunRequest
from dateutil.relativedelta import relativedelta

from comagic_pipeline.api.client import Client
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.automation.continuation import Continuation, next_run
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.resources import DataApi
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.api_client import open_client
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.pending_days import expect, take_over
from comagic_pipeline_tests.integration.raw_reference import days_between, query
from comagic_pipeline_tests.integration.runs import materialized

REPORTS = (
    "calls_report",
    "call_legs_report",
    "communications_report",
    "goals_report",
    "chats_report",
    "offline_messages_report",
    "visitor_sessions_report",
)
PAGE = 200
"""Rows a page of the account: few, so that a year takes many points and few seconds."""
TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=365)
LAST = TODAY - timedelta(days=1)
RECENT = TODAY - timedelta(days=40)


class Calendar:
    """A clock that only moves when it is told to, or when somebody waits."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """The clock."""
        return self.moment

    def sleep(self, seconds: float) -> None:
        """Time passes for whoever waits."""
        self.moment += timedelta(seconds=seconds)

    def next_day(self) -> None:
        """It is the next midnight in UTC, when the sandbox's day starts anew, and a minute more."""
        midnight = self.moment.replace(hour=0, minute=1, second=0, microsecond=0)
        self.moment = midnight + timedelta(days=1)


calendar = Calendar(datetime.now(UTC))


@pytest.fixture(autouse=True)
def _six_in_the_morning() -> None:
    """Every test begins in the morning of today."""
    calendar.moment = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(hours=6)


class CalendarApi(DataApi):
    """The Data API by the test's clock."""

    @contextmanager
    def client(self, source_name: str, reserve: int, warehouse: Warehouse, run: DagsterRun) -> Iterator[Client]:
        """A client that waits on the calendar."""
        source = load_config(self.config_file).source(source_name)
        with open_client(
            source, warehouse, run_id=run.run_id, reserve=reserve, clock=calendar.now, sleep=calendar.sleep
        ) as client:
            yield client


def execute(config: Config, instance: DagsterInstance, request: RunRequest) -> ExecuteInProcessResult:
    """Run what the sensor, or a person, asks for."""
    return (
        build_definitions(config, api=CalendarApi.of(config))
        .resolve_job_def("load_main")
        .execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=instance,
            asset_selection=list(request.asset_selection or []) or None,
            tags=request.tags,
            raise_on_error=False,
        )
    )


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account with 200 points a day."""
    world = World(calls_per_day=25, now=calendar.now, cached_rows=1_000_000)
    settings = Settings(day_limit=200, minute_limit=60, quirks=Quirks(short_pages=PAGE))
    with running_sandbox(world, settings) as sandbox:
        yield sandbox


@pytest.fixture
def config(project: Callable[..., Config], sandbox: Sandbox) -> Config:
    """A source with the seven reports and the star of calls."""
    tables = f"[{', '.join(REPORTS)}]"
    return project(base_url=sandbox.url, token=SANDBOX_TOKEN, start_date=str(FIRST), tables=tables)


@pytest.fixture
def instance(config: Config) -> Iterator[DagsterInstance]:
    """The instance as the commands open it."""
    with open_instance(config) as instance:
        yield instance


def least_points(sandbox: Sandbox) -> tuple[int, dict[str, int]]:
    """What the year costs at least, window by window from the newest day on, and the rows of each report."""
    points, rows = 0, dict.fromkeys(REPORTS, 0)
    for report in REPORTS:
        end = LAST + timedelta(days=1)
        while end > FIRST:
            start = max(FIRST, end - relativedelta(months=3))
            of_window = sandbox.world.rows(f"get.{report}", f"{start} 00:00:00", f"{end - timedelta(days=1)} 23:59:59")
            rows[report] += len(of_window)
            points += max(1, ceil(len(of_window) / PAGE))
            end = start
    return points, rows


class Account:
    """A source, its sandbox, and runs of it on the calendar."""

    def __init__(self, config: Config, instance: DagsterInstance, warehouse: Warehouse, sandbox: Sandbox) -> None:
        self.config, self.instance, self.warehouse, self.sandbox = config, instance, warehouse, sandbox
        self.spent_by_day: defaultdict[date, int] = defaultdict(int)
        self.continuations: list[Continuation] = []

    def execute(self, request: RunRequest) -> bool:
        """Run what is asked for; gives whether it succeeded."""
        spent = self.sandbox.points_spent
        result = execute(self.config, self.instance, request)
        self.spent_by_day[calendar.now().date()] += self.sandbox.points_spent - spent
        return result.success

    def load(self, first_day: date, last_day: date, *tables: str, **tags: str) -> bool:
        """Run the source's job as a person does, or with these tags."""
        selection = [AssetKey(["main", table]) for table in tables] or None
        span = {RANGE_START: str(first_day), RANGE_END: str(last_day)}
        return self.execute(RunRequest(asset_selection=selection, tags=span | tags))

    def look(self) -> Continuation | str:
        """What the sensor does at this moment."""
        return next_run(self.config, self.config.sources[0], self.instance, self.warehouse, calendar.now)

    def go_on_today(self) -> str:
        """Let the sensor begin runs for as long as it wants to; gives what it says at last."""
        for _ in range(100):
            found = self.look()
            if isinstance(found, str):
                return found
            self.continuations.append(found)
            self.execute(found.request)
        raise AssertionError("the sensor finds no end")

    def waiting(self) -> dict[str, int]:
        """How many days of each table wait."""
        rows = query(self.warehouse, "select table_name, count(*) as days from comagic_ops.waiting_days group by 1")
        return {row["table_name"]: row["days"] for row in rows}


@pytest.fixture
def account(config: Config, instance: DagsterInstance, warehouse: Warehouse, sandbox: Sandbox) -> Account:
    """The account of the sandbox."""
    return Account(config, instance, warehouse, sandbox)


def test_a_year_of_seven_reports_with_two_hundred_points_a_day(account: Account, sandbox: Sandbox) -> None:
    """It completes by itself, newest days first, each window paid for once: at most 2 % above the least possible."""
    assert not account.load(FIRST, LAST)
    days = 1
    while account.go_on_today() != "no days wait":
        calendar.next_day()
        days += 1
    least, rows = least_points(sandbox)
    for report in REPORTS:
        (line,) = query(account.warehouse, f"select count(*) as rows from comagic_raw.{report}")
        assert line == {"rows": rows[report]}, report
        assert materialized(account.instance, report) == set(days_between(FIRST, LAST))
    (twice,) = query(
        account.warehouse,
        "select count(*) - count(distinct id) as rows from comagic_raw.visitor_sessions_report",
    )
    assert twice == {"rows": 0}
    # Pages overlap by a row, which takes a page more where rows fill the pages almost exactly.
    assert least <= sandbox.points_spent <= least * 1.03
    # Half of the points are left to scheduled loads: no more can be kept in reserve.
    assert max(account.spent_by_day.values()) <= 100
    assert days == ceil(sandbox.points_spent / 100)
    assert {request.outcome for request in sandbox.requests} == {"ok"}
    (told,) = query(account.warehouse, "select sum(points)::int as points from comagic_ops.points_spent")
    assert told == {"points": sandbox.points_spent}
    for report in REPORTS:
        ends = [found.last_day for found in account.continuations if report in found.reports]
        assert ends == sorted(ends, reverse=True), report


@pytest.fixture
def _few_points(sandbox: Sandbox) -> None:
    """Sixty points a day, so that forty days take several."""
    sandbox.settings.day_limit = 60


few_points = pytest.mark.usefixtures("_few_points")


@few_points
def test_the_nightly_load_runs_on_the_day_of_a_huge_backfill(account: Account) -> None:
    """The backfill takes what it may; the reserve is there for the scheduled load, which succeeds."""
    assert not account.load(RECENT, LAST)
    assert "wait until" in account.go_on_today()
    assert account.load(LAST - timedelta(days=6), LAST, **{"dagster/schedule_name": "load_main_nightly"})


@few_points
def test_points_that_were_bought_are_used(account: Account, sandbox: Sandbox) -> None:
    """Down to nothing: a quarter of an hour later the sensor asks, for free, and goes on when there are more."""
    assert not account.load(RECENT, LAST, "visitor_sessions_report")
    sandbox.settings.day_limit = sandbox.points_spent  # somebody else spends the rest
    account.load(LAST, LAST, "goals_report", **{"dagster/schedule_name": "load_main_hourly"})
    spent = sandbox.points_spent
    assert "wait until" in account.go_on_today()
    sandbox.settings.day_limit = 3000
    assert "wait until" in account.go_on_today()
    calendar.sleep(16 * 60)
    assert account.go_on_today() == "no days wait"
    assert sandbox.points_spent > spent
    assert account.waiting() == {}


@few_points
def test_a_day_that_starts_anew_later_than_was_told(account: Account, sandbox: Sandbox) -> None:
    """Whoever else uses the key may have spent the new day's points first: it waits for the next one."""
    assert not account.load(RECENT, LAST, "visitor_sessions_report")
    left = account.waiting()
    calendar.next_day()
    sandbox.settings.day_limit = 0
    assert "wait until" in account.go_on_today()
    assert account.waiting() == left
    sandbox.settings.day_limit = 3000
    calendar.next_day()
    assert account.go_on_today() == "no days wait"


def test_limits_that_the_api_does_not_tell(account: Account, sandbox: Sandbox) -> None:
    """Nothing is known before a request is refused; then an hour passes before the next try, until all is loaded."""
    sandbox.settings.quirks.empty_limits = True
    sandbox.settings.day_limit = 40
    first_day = LAST - timedelta(days=39)
    assert not account.load(first_day, LAST, "visitor_sessions_report", "goals_report")
    for _ in range(24 * 5):
        if account.go_on_today() == "no days wait":
            break
        calendar.sleep(3601)
    assert account.waiting() == {}
    assert materialized(account.instance, "visitor_sessions_report") == set(days_between(first_day, LAST))


def test_what_fails_again_and_again_is_given_up(account: Account, sandbox: Sandbox) -> None:
    """Pauses grow from try to try, and after the sixth the sensor leaves it to a person; other tables go on."""
    sandbox.faults.add(Fault(kind="error", mnemonic="internal_error", method="get.goals_report", times=10_000))
    first_day = LAST - timedelta(days=3)
    assert not account.load(first_day, LAST, "goals_report", "chats_report")
    assert set(account.waiting()) == {"goals_report"}
    tries = []
    for hour in range(48):
        before = len(account.continuations)
        said = account.go_on_today()
        if len(account.continuations) > before:
            tries.append(hour)
        calendar.sleep(3600)
    assert "failed too often" in said
    assert len(tries) <= 6
    sandbox.faults.clear()
    assert account.load(first_day, LAST, "goals_report")
    assert account.go_on_today() == "no days wait"


@few_points
def test_a_mistake_that_a_person_must_mend_is_not_tried_again(account: Account, sandbox: Sandbox) -> None:
    """A key that is refused leaves nothing behind that would go on by itself."""
    sandbox.settings.tokens[SANDBOX_TOKEN] = "blocked"
    assert not account.load(RECENT, LAST, "goals_report")
    assert account.go_on_today() == "no days wait"


@few_points
def test_a_cancelled_run_gives_up_its_days(account: Account) -> None:
    """Who cancels the run that goes on does not want the rest; days of other runs still wait."""
    assert not account.load(RECENT, LAST, "visitor_sessions_report")
    calendar.next_day()
    found = account.look()
    assert isinstance(found, Continuation)
    run = account.instance.create_run_for_job(
        build_definitions(account.config).resolve_job_def("load_main"), tags=found.request.tags
    )
    with account.warehouse.begin() as connection:
        take_over(connection, 1, ["visitor_sessions_report"], found.first_day, found.last_day, run.run_id)
    waits = account.waiting()["visitor_sessions_report"]
    assert "goes on" in str(account.look())
    account.instance.report_run_canceled(run)
    account.look()
    given_up = (found.last_day - found.first_day).days + 1
    assert account.waiting() == ({"visitor_sessions_report": waits - given_up} if waits > given_up else {})


@few_points
def test_what_the_configuration_has_no_more_does_not_wait(account: Account) -> None:
    """Days of tables that were taken out, and days before a later start, were asked for by every tick, in vain."""
    assert not account.load(RECENT, LAST, "visitor_sessions_report", "goals_report")
    with account.warehouse.begin() as connection:
        expect(connection, 1, ["deals_report"], RECENT, LAST, "a run", calendar.now())
        expect(
            connection,
            1,
            ["goals_report"],
            FIRST - timedelta(days=9),
            FIRST - timedelta(days=1),
            "a run",
            calendar.now(),
        )
    calendar.next_day()
    found = account.look()
    assert isinstance(found, Continuation)
    assert found.first_day >= FIRST
    assert "deals_report" not in account.waiting()
    (early,) = query(account.warehouse, f"select count(*) as days from comagic_ops.waiting_days where day < '{FIRST}'")
    assert early == {"days": 0}
