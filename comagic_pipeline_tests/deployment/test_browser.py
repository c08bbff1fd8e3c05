"""What a user sees of a backfill in the UI, in a real browser, on the real services of `comagic-pipeline up`."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import text

from comagic_pipeline.catalog.table_names import SHARED_STAR, STAR_OF_KIND
from comagic_pipeline.config import Config
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.deployment.browser import Browser, require_chromium
from comagic_pipeline_tests.deployment.services import BACKFILL_PATIENCE, Services
from comagic_pipeline_tests.integration.raw_reference import api_rows, differences, query, raw_rows

CALLS = "get.calls_report"
TABLES = ("calls_report", *SHARED_STAR, *STAR_OF_KIND["calls"])
CHECKED = {"calls_report": "rows_equal_ledger", "comagic_calls_facts": "facts_equal_raw"}
"""A check of what a run has loaded, by table."""


def test_a_backfill_ends_without_a_red_mark(
    project: Callable[..., Config], warehouse: Warehouse, tmp_path: Path
) -> None:
    """After a load that fails midway the days that it left are red, no others; after a backfill by clicks nothing is.

    At the end a row is lost, and its check is red: a test that cannot see red would prove nothing.
    """
    require_chromium()
    today = datetime.now(ZoneInfo("Europe/Moscow")).date()
    # All days of the source but today, which a schedule may load meanwhile.
    days = [today - timedelta(days=number) for number in range(6, 0, -1)]
    settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=50))
    with running_sandbox(World(calls_per_day=20), settings) as api:
        config = project(base_url=api.url, token=SANDBOX_TOKEN, start_date=days[0])
        api.faults.add(Fault(kind="error", method=CALLS, mnemonic="account_inactive", after=2))
        with (
            Services(config.path.parent) as services,
            Browser(f"http://127.0.0.1:{services.port}", tmp_path) as browser,
        ):
            browser.open(f"/runs/{services.launch_run('main', days[0], days[-1])}")
            browser.wait(lambda: "Failure" in browser.text().splitlines())
            assert_the_days_left_are_red(browser, warehouse, set(map(str, days)))
            browser.materialize("main", TABLES, days)
            browser.wait(lambda: browser.backfill_status() in ("Succeeded", "Failed", "Canceled"), BACKFILL_PATIENCE)
            assert browser.backfill_status() == "Succeeded"
            assert browser.marked("red") == []
            for table, check in CHECKED.items():
                assert_the_days_are_green(browser, table, set(map(str, days)))
                assert_checks_are_right(browser, table, check)
            assert_no_table_is_red(browser)
            assert_rows_are_there(warehouse, api.world, days)
            assert_a_lost_row_is_red(browser, warehouse, days[0])


def assert_the_days_left_are_red(browser: Browser, warehouse: Warehouse, days: set[str]) -> None:
    """The days that the load had stored are green, the others red; so is the table in the lists of all tables."""
    stored = query(warehouse, "select distinct event_date::text from comagic_raw.calls_report")
    loaded = days & {row["event_date"] for row in stored}
    assert loaded
    assert loaded != days
    browser.open("/assets/main/calls_report?view=partitions")
    browser.wait(lambda: loaded <= set(browser.marked("green")))
    assert days & set(browser.marked("red")) == days - loaded
    for path in ("/assets", "/asset-groups"):
        browser.open(path)
        browser.wait(lambda: browser.marked("red"))


def assert_the_days_are_green(browser: Browser, table: str, days: set[str]) -> None:
    """All days of the backfill are materialized, none has failed."""
    browser.open(f"/assets/main/{table}?view=partitions")
    browser.wait(lambda: set(browser.marked("green")) >= days)
    assert "Failed (0)" in browser.text().splitlines()
    assert browser.marked("red") == []


def assert_checks_are_right(browser: Browser, table: str, check: str) -> None:
    """No check of the table has failed or could not be executed; one of them passed for sure."""
    browser.open(f"/assets/main/{table}?view=checks")
    browser.wait(lambda: check in browser.checks())
    assert browser.checks()[check] == "Succeeded"
    assert set(browser.checks().values()) <= {"Succeeded", "Not evaluated"}
    assert browser.marked("red") == []


def assert_no_table_is_red(browser: Browser) -> None:
    """Nothing is red in the catalog and in the graph; both show for a moment what they remember of before."""
    browser.open("/assets")
    browser.wait(lambda: sum(line.endswith(" partitions") for line in browser.text().splitlines()) == len(TABLES))
    browser.wait(lambda: browser.marked("red") == [])
    browser.open("/asset-groups")
    browser.wait(lambda: "main_star" in browser.text() and "fetching statuses" not in browser.text())
    browser.wait(lambda: browser.marked("red") == [])


def assert_rows_are_there(warehouse: Warehouse, world: World, days: list[date]) -> None:
    """The warehouse has the calls of these days as the account has them, and a fact for each."""
    expected = api_rows(world, CALLS, days[0], days[-1])
    assert expected
    loaded = [row for row in raw_rows(warehouse, "calls_report") if row["event_date"] in days]
    assert differences(loaded, expected) == []
    facts = """select count(*) from comagic.comagic_calls_facts as facts
        join comagic.general_dates as dates on dates.id = facts.dates_id where dates.simple_date = any(:days)"""
    assert query(warehouse, facts, days=days) == [{"count": len(expected)}]


def assert_a_lost_row_is_red(browser: Browser, warehouse: Warehouse, day: date) -> None:
    """A row goes behind the project's back: the page that had nothing red shows it, when its checks are executed."""
    one = "select min(id) from comagic_raw.calls_report where event_date = :day"
    with warehouse.begin() as connection:
        connection.execute(text(f"delete from comagic_raw.calls_report where id = ({one})"), {"day": day})
    browser.open("/assets/main/calls_report?view=checks")
    browser.click("//button[normalize-space() = 'Execute all']")
    browser.wait(lambda: browser.checks().get("rows_equal_ledger") == "Failed")
    assert browser.marked("red")
