"""What a load will take: windows, pages, sites, customers and days, counted by hand."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from comagic_pipeline.api.quota import Allowance
from comagic_pipeline.catalog.table_names import DICTIONARIES, REPORTS, STAR, default_tables
from comagic_pipeline.cli.plan import PlanSummary
from comagic_pipeline.config import Setting, Source
from comagic_pipeline.operations.points.plan import (
    Plan,
    TablePlan,
    Volumes,
    done_on,
    nightly_points,
    normal_day_points,
    plan_load,
    points_until_reset,
)
from comagic_pipeline_tests.api_time import NOON

CALLS, VISITS, MESSAGES = "calls_report", "visitor_sessions_report", "chat_messages_report"
OF_SITE, OF_DAY, OF_DAY_AND_SITE = "campaign_daily_stat", "employee_stat", "ct_ac_summary_report"
ALONE = (0,)
"""The customers of an account that is nobody's agent."""
YEAR = date(2026, 1, 1), date(2026, 12, 31)
MARCH = date(2026, 3, 1), date(2026, 3, 31)


def source(**values: Any) -> Source:
    """A source whose history begins with the year."""
    known = {"name": "main", "account_id": 1, "base_url": Setting("sandbox"), "token": Setting("x")}
    return Source(**{**known, "start_date": YEAR[0], **values})


def planned(volumes: Volumes, table: str, first_day: date = YEAR[0], last_day: date = YEAR[1]) -> TablePlan:
    """The plan of one table."""
    (line,) = plan_load(source(), volumes, first_day, last_day, [table]).tables
    return line


@pytest.mark.parametrize(
    ("first_day", "last_day", "rows_a_day", "points"),
    [
        (*YEAR, 0, 4),  # a look into each quarter
        (*YEAR, 100, 4),  # 9200 rows in the longest
        (*YEAR, 111, 1 + 2 + 2 + 2),  # 9990, 10 101 and twice 10 212
        (*YEAR, 3000, 27 + 28 + 28 + 28),
        (date(2024, 1, 1), date(2026, 12, 31), 1, 12),
        (date(2026, 3, 1), date(2026, 3, 25), 400, 1),
        (date(2026, 3, 1), date(2026, 3, 25), 400.04, 2),
        (date(2026, 3, 1), date(2026, 3, 1), 10_001, 2),
        (date(2026, 3, 1), date(2026, 5, 31), 1, 1),
        (date(2026, 2, 28), date(2026, 5, 31), 1, 2),
        (date(2026, 2, 28), date(2026, 5, 30), 1, 2),  # February has no 31st: three months from its end are too few
        (date(2025, 12, 1), date(2026, 2, 28), 1, 1),
        (date(2025, 11, 30), date(2026, 2, 28), 1, 2),
    ],
)
def test_a_report_takes_a_point_for_each_page_of_its_windows(
    first_day: date, last_day: date, rows_a_day: float, points: int
) -> None:
    """Windows of three months, counted from the newest day; 10 000 rows a point, one at least for each."""
    days = (last_day - first_day).days + 1
    line = planned(Volumes(ALONE, {(CALLS, 0): rows_a_day}), CALLS, first_day, last_day)
    assert line == TablePlan(CALLS, days, round(days * rows_a_day), points)


def test_messages_take_windows_of_thirty_days() -> None:
    """A report with a limit of its own has windows of that length."""
    assert planned(Volumes(ALONE, {(MESSAGES, 0): 1}), MESSAGES).points == 13
    assert planned(Volumes(ALONE, {(MESSAGES, 0): 1}), MESSAGES, date(2026, 3, 2), date(2026, 3, 31)).points == 1
    assert planned(Volumes(ALONE, {(MESSAGES, 0): 1}), MESSAGES, *MARCH).points == 2


def test_without_rows_to_judge_by_the_least_is_told() -> None:
    """A report of which nothing is known has no rows in the plan, a point for each window, and may cost more."""
    assert planned(Volumes(ALONE), CALLS) == TablePlan(CALLS, 365, None, 4, is_least=True)
    plan = plan_load(source(), Volumes(ALONE, {(CALLS, 0): 10}), *YEAR, [CALLS, VISITS])
    assert (plan.rows, plan.points, plan.is_least) == (3650, 8, True)


def test_each_site_is_asked_for() -> None:
    """Sites share the rows; a site without rows takes a point too. Where they are not known there is one at least."""
    of_sites = {("sites", 0): 3}
    assert planned(Volumes(ALONE, {(OF_SITE, 0): 10}, of_sites), OF_SITE).points == 3 * 4
    # 36 800 rows in a quarter of 92 days, 12 267 for each site.
    assert planned(Volumes(ALONE, {(OF_SITE, 0): 400}, of_sites), OF_SITE, date(2026, 7, 1)).points == 3 * 2 * 2
    assert planned(Volumes(ALONE, {}, of_sites), OF_SITE) == TablePlan(OF_SITE, 365, None, 12, is_least=True)
    assert planned(Volumes(ALONE, {(OF_SITE, 0): 10}), OF_SITE) == TablePlan(OF_SITE, 365, 3650, 4, is_least=True)
    assert planned(Volumes(ALONE, {(OF_SITE, 0): 0}, {("sites", 0): 0}), OF_SITE).points == 0


def test_sums_of_days_take_a_point_for_each_day_whatever_their_rows() -> None:
    """And for each site, where they need one; so their points are certain before their rows are known."""
    assert planned(Volumes(ALONE), OF_DAY) == TablePlan(OF_DAY, 365, None, 365)
    assert planned(Volumes(ALONE, {(OF_DAY, 0): 9}), OF_DAY) == TablePlan(OF_DAY, 365, 9 * 365, 365)
    assert planned(Volumes(ALONE, {}, {("sites", 0): 3}), OF_DAY_AND_SITE, *MARCH).points == 3 * 31


@pytest.mark.parametrize(
    ("table", "rows", "points"),
    [("tags", None, 1), ("tags", 10_000, 1), ("contacts", 10_001, 2), ("statuses", None, 2), ("statuses", 9, 2)],
)
def test_a_dictionary_takes_a_point_for_each_page(table: str, rows: int | None, points: int) -> None:
    """One at least, statuses two: deleted ones are a list of their own. Days do not matter."""
    volumes = Volumes(ALONE, {}, {} if rows is None else {(table, 0): rows})
    assert planned(volumes, table) == TablePlan(table, None, rows, points)


def test_an_agent_pays_for_each_customer() -> None:
    """Each customer has windows and pages of its own; one of whom nothing is known is taken to be like the others."""
    volumes = Volumes(
        (11, 12, 13),
        {(CALLS, 11): 100, (CALLS, 12): 300, (OF_SITE, 11): 1},
        {("sites", 11): 2, ("sites", 13): 4, ("tags", 11): 10_001, ("tags", 12): 5, ("tags", 13): 5}
        | {("customers", 0): 3},
    )
    # A quarter of 92 days: 9200, 27 600 and (like the average) 18 400 rows.
    quarter = date(2026, 10, 1), date(2026, 12, 31)
    assert planned(volumes, CALLS, *quarter) == TablePlan(CALLS, 92, 92 * 600, 1 + 3 + 2)
    assert planned(volumes, OF_SITE, *quarter) == TablePlan(OF_SITE, 92, 3 * 92, 2 + 3 + 4)
    assert planned(volumes, "tags") == TablePlan("tags", None, 10_011, 2 + 1 + 1)
    assert planned(volumes, "customers") == TablePlan("customers", None, 3, 1)


def test_an_agent_of_unknown_customers_has_one_at_least() -> None:
    """Nothing is certain then but the agent's own lists."""
    unknown = Volumes(())
    assert planned(unknown, CALLS) == TablePlan(CALLS, 365, None, 4, is_least=True)
    assert planned(unknown, OF_DAY) == TablePlan(OF_DAY, 365, None, 365, is_least=True)
    assert planned(unknown, "tags") == TablePlan("tags", None, None, 1, is_least=True)
    assert planned(unknown, "customer_users") == TablePlan("customer_users", None, None, 1)


def test_what_the_account_has_no_access_to_costs_nothing() -> None:
    """A refusal is free."""
    volumes = Volumes(ALONE, {(CALLS, 0): 1}, skipped=frozenset({CALLS, "tags"}))
    assert planned(volumes, CALLS) == TablePlan(CALLS, 365, None, 0, is_skipped=True)
    assert planned(volumes, "tags") == TablePlan("tags", None, None, 0, is_skipped=True)


def test_the_plan_of_a_source_has_its_tables_and_the_star_is_free() -> None:
    """Without a choice every raw table of the source stands in the plan; star tables do not."""
    plan = plan_load(source(), Volumes(ALONE), *MARCH)
    raw = [method.table for method in (*REPORTS, *DICTIONARIES)]
    assert [line.table for line in plan.tables] == [name for name in raw if name in default_tables(is_agent=False)]
    assert plan_load(source(), Volumes(ALONE), *MARCH, STAR).points == 0


RESET = NOON + timedelta(hours=6)
"""18:00 in UTC, 21:00 in Moscow on the 15th of January."""


@pytest.mark.parametrize(
    ("points", "limit", "remaining", "reserve", "expected"),
    [
        (0, 200, 0, 50, date(2026, 1, 15)),
        (100, 200, 150, 50, date(2026, 1, 15)),
        # The reset is on the same date.
        (101, 200, 150, 50, date(2026, 1, 15)),
        (100 + 150, 200, 150, 50, date(2026, 1, 15)),
        (100 + 151, 200, 150, 50, date(2026, 1, 16)),
        (100 + 10 * 150, 200, 150, 50, date(2026, 1, 24)),
        # Points below the reserve are not spent, and are not owed.
        (150, 200, 20, 50, date(2026, 1, 15)),
        (151, 200, 20, 50, date(2026, 1, 16)),
        # A reserve that leaves nothing is half of the limit.
        (100 + 200, 200, 200, 500, date(2026, 1, 16)),
        (1, 1, 0, 300, date(2026, 1, 15)),
        # What the API does not tell.
        (1, 200, None, 50, None),
        (1, None, 51, 50, date(2026, 1, 15)),
        (2, None, 51, 50, None),
        (1, 0, 0, 50, None),
    ],
)
def test_the_day_when_a_load_is_done(
    points: int, limit: int | None, remaining: int | None, reserve: int, expected: date | None
) -> None:
    """What today leaves above the reserve, then as much as each day leaves above it, beginning with the reset."""
    day = Allowance(limit, remaining, RESET)
    assert done_on(points, day, reserve, source(), NOON) == expected


def test_days_are_those_of_the_account() -> None:
    """The date is that of the account's clock at the reset; an end that nobody tells is a day away."""
    day = Allowance(200, 0, datetime(2026, 1, 16, 0, tzinfo=UTC))
    assert done_on(1, day, 0, source(), NOON) == date(2026, 1, 16)
    assert done_on(1, day, 0, source(timezone="America/New_York"), NOON) == date(2026, 1, 15)
    assert done_on(1, Allowance(200, 0, None), 0, source(), NOON) == date(2026, 1, 16)


FORECAST = source(tables=[CALLS, MESSAGES, OF_SITE, OF_DAY, "tags", "comagic_calls_facts"], refresh_days=7)
"""Campaigns come along for the star, sites for the statistics of sites."""
KNOWN = Volumes(ALONE, {(CALLS, 0): 2000, (MESSAGES, 0): 12_000, (OF_SITE, 0): 5, (OF_DAY, 0): 9}, {("sites", 0): 3})
NIGHTLY = 2 + 10 + 3 + 8 + 3
"""16 000 calls, 96 000 messages, three sites, eight days of sums, three dictionaries."""
HOURLY = 1 + 2
DAY = date(2026, 3, 10)


def test_a_normal_day() -> None:
    """The nightly load of a week and today, with all that needs sites and days; the hourly loads of today 24 times."""
    assert nightly_points(FORECAST, KNOWN, DAY) == NIGHTLY
    assert normal_day_points(FORECAST, KNOWN, DAY) == NIGHTLY + 24 * HOURLY


def test_a_normal_day_at_the_beginning_of_the_history() -> None:
    """No day before the start date is asked for: of the first day 2000 calls, 12 000 messages and one sum."""
    assert nightly_points(FORECAST, KNOWN, YEAR[0]) == 1 + 2 + 3 + 1 + 3
    assert normal_day_points(FORECAST, KNOWN, YEAR[0]) == 10 + 24 * HOURLY


def test_dictionaries_alone_are_loaded_at_night() -> None:
    """A source of dictionaries has no hourly load."""
    assert normal_day_points(source(tables=["tags", "statuses"]), Volumes(ALONE), DAY) == 1 + 2


@pytest.mark.parametrize(
    ("now", "resets_at", "nightly", "hourly"),
    [
        ("2026-03-10T12:00:00+03:00", "2026-03-11T03:00:00+03:00", 0, 15),
        ("2026-03-10T12:00:00+03:00", "2026-03-11T04:30:00+03:00", 1, 17),
        ("2026-03-10T12:00:00+03:00", "2026-03-10T12:05:00+03:00", 0, 0),
        ("2026-03-10T12:10:00+03:00", "2026-03-10T14:00:00+03:00", 0, 1),  # the one that begins now is not counted
        ("2026-03-10T12:09:59.9+03:00", "2026-03-10T14:00:00+03:00", 0, 2),
        ("2026-03-10T09:00:00+00:00", "2026-03-11T00:00:00+00:00", 0, 15),
    ],
)
def test_what_is_spent_until_the_reset(now: str, resets_at: str, nightly: int, hourly: int) -> None:
    """Ticks between the two moments, by the account's clock."""
    moments = datetime.fromisoformat(now), datetime.fromisoformat(resets_at)
    assert points_until_reset(FORECAST, KNOWN, *moments) == nightly * NIGHTLY + hourly * HOURLY
    assert points_until_reset(FORECAST, KNOWN, *moments, names=["nightly"]) == nightly * NIGHTLY


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 5, 1), 24)])
def test_days_of_23_and_25_hours(day: date, hours: int) -> None:
    """Hourly loads are as many as the day has hours."""
    in_berlin = source(tables=[CALLS], timezone="Europe/Berlin")
    assert normal_day_points(in_berlin, Volumes(ALONE, {(CALLS, 0): 100}), day) == 1 + hours


def test_a_summary_of_a_day_that_has_begun_is_json() -> None:
    """After the first reset `load --plan --json` failed: the moment when the day began was no JSON."""
    noon = datetime(2026, 3, 20, 12, tzinfo=UTC)
    day = Allowance(3000, 2000, noon + timedelta(hours=12), began_at=noon - timedelta(hours=12))
    plan = Plan("main", noon.date(), noon.date(), ())
    summary = PlanSummary(plan, day, 300, noon.date(), noon.date(), points_spent=0, not_asked=None)
    assert json.loads(json.dumps(summary.as_json()))["day_points"] == {
        "limit": 3000,
        "remaining": 2000,
        "resets_at": "2026-03-21T00:00:00+00:00",
        "reserve": 300,
    }
