"""Backfills launched as the UI launches them, over GraphQL, on the real services of `comagic-pipeline up`.

Dagster's daemon looks at backfills every 30 seconds, so all of them go on at once, on two sources of one project.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import Any

import pytest
from sqlalchemy import text

from comagic_pipeline.catalog.table_names import SHARED_STAR, STAR_OF_KIND
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.deployment.services import Services

STAR_OF_CALLS = (*SHARED_STAR, *STAR_OF_KIND["calls"])
ASSETS = ("calls_report", "campaigns", *STAR_OF_CALLS)

CALLS = "get.calls_report"
YEAR = [date(2025, 1, 1) + timedelta(days=number) for number in range(365)]
MONTH = YEAR[:30]
QUARTERS = [[day for day in YEAR if (day.month - 1) // 3 == quarter] for quarter in range(4)]
"""The windows that the API allows: three months each."""
DATABASE = "backfill"

PROJECT = """
warehouse:
  url: {warehouse}
sources:
  - {{name: whole, account_id: 1, base_url: "{whole}", token: {token}, start_date: 2025-01-01,
     tables: [comagic_calls_facts]}}
  - {{name: torn, account_id: 2, base_url: "{torn}", token: {token}, start_date: 2025-01-01,
     tables: [comagic_calls_facts]}}
"""


@dataclass
class Backfills:
    """What happened: a year without trouble, a month with a failure midway, and the second try of that month."""

    services: Services
    warehouse: Warehouse
    whole: Sandbox
    torn: Sandbox
    year: Any
    failed: Any
    green_after_failure: dict[str, set[date]]
    retried: Any
    retry_requests: list[dict[str, Any]]

    def rows_per_day(self, account_id: int) -> dict[date, int]:
        """The calls that the warehouse has of each day of the year and before it."""
        query = text("select event_date, count(*) from comagic_raw.calls_report where account_id = :id group by 1")
        with self.warehouse.connect() as connection:
            days = dict(map(tuple, connection.execute(query, {"id": account_id})))
        return {day: rows for day, rows in days.items() if day <= YEAR[-1]}

    def green(self, source: str, table: str) -> set[date]:
        """The green days of the year and before it: at ten past the hour a schedule loads today beside the tests."""
        return {day for day in self.services.green(source, table) if day <= YEAR[-1]}


@pytest.fixture(scope="module")
def backfills(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedServer) -> Iterator[Backfills]:
    """Two sources, `up`, the year of one and the torn month of the other at the same time, and the retry."""
    folder = tmp_path_factory.mktemp("backfill")
    server.ensure_database(DATABASE, synchronous_commit=False)
    storage = {STORAGE_VARIABLE: server.url(DATABASE, "psycopg2")}
    with (
        running_sandbox(World(calls_per_day=40), Settings(minute_limit=10_000)) as whole,
        running_sandbox(World(calls_per_day=20), Settings(minute_limit=10_000, quirks=Quirks(short_pages=100))) as torn,
        Warehouse(server.url(DATABASE)) as warehouse,
    ):
        addresses = {"warehouse": server.url(DATABASE), "whole": whole.url, "torn": torn.url, "token": SANDBOX_TOKEN}
        (folder / "comagic.yaml").write_text(PROJECT.format(**addresses))
        torn.faults.add(Fault(kind="error", method=CALLS, mnemonic="account_inactive", after=4))
        with Services(folder, **storage) as services:
            month = services.launch_backfill("torn", ASSETS, MONTH)
            year = services.launch_backfill("whole", ASSETS, YEAR)
            failed = services.finished_backfill(month)
            green = {table: services.green("torn", table) - {date.today()} for table in ASSETS if table != "campaigns"}
            torn.requests.clear()
            retried = services.finished_backfill(services.retry_backfill(month))
            requests = [request.params | {"method": request.method} for request in torn.requests]
            requests = [request for request in requests if request.get("date_from", "") <= f"{YEAR[-1]} 23:59:59"]
            finished = services.finished_backfill(year)
            yield Backfills(services, warehouse, whole, torn, finished, failed, green, retried, requests)


def counts(backfill: Any) -> dict[str, tuple[int, int, int]]:
    """Partitions of each table: asked for, materialized, failed."""
    statuses = [status for status in backfill["assetBackfillData"]["assetBackfillStatuses"] if status]
    names = ("numPartitionsTargeted", "numPartitionsMaterialized", "numPartitionsFailed")
    return {status["assetKey"]["path"][-1]: tuple(status[name] for name in names) for status in statuses}


def test_a_year_is_few_runs_and_365_green_days(backfills: Backfills) -> None:
    """At most five runs materialize all 365 days of raw and of every star table."""
    assert backfills.year["status"] == "COMPLETED_SUCCESS"
    assert len(backfills.year["runs"]) <= 5
    assert counts(backfills.year) == dict.fromkeys(("calls_report", *STAR_OF_CALLS), (365, 365, 0))
    for table in ("calls_report", *STAR_OF_CALLS):
        assert backfills.green("whole", table) == set(YEAR), table


def test_a_year_is_loaded_whole(backfills: Backfills) -> None:
    """Every day has as many calls in the warehouse as the account has."""
    calls = backfills.whole.world.rows(CALLS, f"{YEAR[0]} 00:00:00", f"{YEAR[-1]} 23:59:59")
    expected = {str(day): 0 for day in YEAR}
    for call in calls:
        expected[call["start_time"][:10]] += 1
    assert {str(day): rows for day, rows in backfills.rows_per_day(1).items()} == expected


def test_a_year_costs_no_more_points_than_it_must(backfills: Backfills) -> None:
    """A point for each 10 000 calls of three months, one more for each three months, and one for the campaigns."""
    rows = backfills.rows_per_day(1)
    pages = sum(ceil(sum(rows[day] for day in quarter) / 10_000) + 1 for quarter in QUARTERS)
    assert 0 < backfills.whole.points_spent <= pages + 1


def test_days_before_a_failure_stay_green(backfills: Backfills) -> None:
    """The account is disabled after four pages: the days of these are green, the backfill counts the others failed."""
    done = backfills.green_after_failure["calls_report"]
    assert backfills.failed["status"] == "COMPLETED_FAILED"
    assert done == set(MONTH[: len(done)])
    assert 10 <= len(done) < 20  # four pages of 100 calls, 20 a day
    assert set(counts(backfills.failed).values()) == {(30, len(done), 30 - len(done))}


def test_the_star_is_built_of_the_days_that_came(backfills: Backfills) -> None:
    """The star is claimed for exactly the days that raw has."""
    assert set(map(frozenset, backfills.green_after_failure.values())) == {
        frozenset(backfills.green_after_failure["calls_report"])
    }


def test_reexecution_asks_only_for_the_other_days(backfills: Backfills) -> None:
    """The second try reads from the first missing day on, spends points on nothing else, and completes everything."""
    first_missing = MONTH[len(backfills.green_after_failure["calls_report"])]
    assert {request["method"] for request in backfills.retry_requests} == {CALLS}
    assert min(request["date_from"] for request in backfills.retry_requests) == f"{first_missing} 00:00:00"
    missing = (MONTH[-1] - first_missing).days + 1
    assert backfills.retried["status"] == "COMPLETED_SUCCESS"
    assert set(counts(backfills.retried).values()) == {(missing, missing, 0)}
    for table in ("calls_report", *STAR_OF_CALLS):
        assert backfills.green("torn", table) == set(MONTH), table
    assert backfills.rows_per_day(2).keys() == set(MONTH)


def test_schedules_are_on(backfills: Backfills) -> None:
    """Nobody has to switch the nightly and the hourly load on, nor the comparison, nor housekeeping."""
    selector = {"repositoryName": "__repository__", "repositoryLocationName": "comagic_pipeline"}
    query = """query($selector: RepositorySelector!) { schedulesOrError(repositorySelector: $selector) {
        ... on Schedules { results { name scheduleState { status } } } } }"""
    schedules = backfills.services.query(query, selector=selector)["results"]
    assert {schedule["name"]: schedule["scheduleState"]["status"] for schedule in schedules} == {
        f"{job}_{source}_{when}": "RUNNING"
        for source in ("whole", "torn")
        for job, when in (("load", "nightly"), ("load", "hourly"), ("reconcile", "schedule"))
    } | {"housekeeping_schedule": "RUNNING"}


def test_pages_of_the_ui_load(backfills: Backfills) -> None:
    """The web server hands out its pages."""
    for path in ("/", "/assets/whole/calls_report?view=partitions", "/runs/backfills", "/locations"):
        page = backfills.services.page(path)
        assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html"), path
