"""Cron schedules against Dagster, which runs them: both accept the same texts and mean the same moments."""

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from dagster._utils.schedules import is_valid_cron_schedule, schedule_execution_time_iterator

from comagic_pipeline.core.cron import is_cron, ticks

GOOD = (
    "30 5 * * *",
    "0 * * * *",
    "@daily",
    "*/7 8-20 * * 1-5",
    "15 2 * * *",
    "0 0 1 * *",
    "0 12 * * mon",
    "0 12 * * wed",
    "0 0 L * *",
    "0 0 29 2 *",
)
BAD = (
    "",
    "0 5 * *",
    "0 5 * * * *",
    "61 * * * *",
    "0 0 30 2 *",
    "nightly",
    "0 5 * * 8",
    "0 0 * * 5L",
    "0 0 LW * *",
    "0 0 31 2 1",
)


@pytest.mark.parametrize("schedule", [*GOOD, *BAD])
def test_dagster_accepts_what_the_configuration_accepts(schedule: str) -> None:
    """A schedule that only one of them accepts would stop all definitions, or be refused without need."""
    assert is_cron(schedule) == is_valid_cron_schedule(schedule) == (schedule in GOOD)


@pytest.mark.parametrize("schedule", GOOD)
@pytest.mark.parametrize("zone", ["Europe/Moscow", "Europe/Berlin"])
@pytest.mark.parametrize("after", [datetime(2026, 3, 28, 20, tzinfo=UTC), datetime(2026, 10, 24, 20, tzinfo=UTC)])
def test_moments_are_those_of_dagster(schedule: str, zone: str, after: datetime) -> None:
    """The points that scheduled loads need are counted by them, also on the nights when the clock is changed."""
    expected = (tick for tick in schedule_execution_time_iterator(after.timestamp(), schedule, zone) if tick > after)
    found = ticks(schedule, after, ZoneInfo(zone))
    assert list(islice(found, 40)) == list(islice(expected, 40))
