"""The points of an account: what the API tells of them, when to wait and when to stop."""

from datetime import timedelta
from typing import Any

import pytest

from comagic_pipeline.api.errors import DayPointsSpentError
from comagic_pipeline.api.quota import Limits, Quota
from comagic_pipeline_tests.api_time import NOON, Time

ODD_NUMBERS: tuple[Any, ...] = ("many", "", [], {}, [1], float("inf"), float("nan"))
ODD_BLOCKS: tuple[Any, ...] = ({}, [], None, "12", 12, True, [{"day_limit": 1}])


@pytest.fixture
def time() -> Time:
    """A clock at noon."""
    return Time()


def quota_of(time: Time, reserve: int = 0, **limits: int) -> Quota:
    """A quota to which an answer has just told these limits."""
    quota = Quota(reserve, clock=time.now, sleep=time.sleep)
    quota.update(Limits(**limits), charged=True)
    return quota


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"day_limit": 3000, "day_remaining": 2999, "day_reset": 60}, Limits(3000, 2999, 60)),
        (
            {"minute_limit": "60", "minute_remaining": " 59 ", "minute_reset": "7.0"},
            Limits(None, None, None, 60, 59, 7),
        ),
        ({"minute_limit": 60.0, "minute_remaining": 59.9}, Limits(None, None, None, 60, 59)),
        ({"hour_limit": 100, "hour_remaining": 99, "hour_reset": 1}, Limits()),
        ({"day_remaining": None, "minute_remaining": 0}, Limits(minute_remaining=0)),
        *(({"day_remaining": odd, "minute_remaining": 5}, Limits(minute_remaining=5)) for odd in ODD_NUMBERS),
        *((odd, Limits()) for odd in ODD_BLOCKS),
    ],
)
def test_limits_are_read_leniently(block: Any, expected: Limits) -> None:
    """Whatever the block of limits is, the numbers that can be read are read, and the others count as not told."""
    assert Limits.parse(block) == expected


def test_requests_pass_while_points_are_left(time: Time) -> None:
    """Before anything is known, and while points are left, nothing waits."""
    Quota(clock=time.now, sleep=time.sleep).take()
    quota_of(time, day_remaining=1, minute_remaining=1).take()
    assert time.slept == []


@pytest.mark.parametrize(("told", "waited"), [({"minute_reset": 17}, [17]), ({"minute_reset": 0}, []), ({}, [60])])
def test_the_minute_is_waited_out(time: Time, told: dict[str, int], waited: list[float]) -> None:
    """With no points left in the minute the next request waits for its end, 60 s where that is not told, and once."""
    quota = quota_of(time, minute_remaining=0, **told)
    quota.take()
    quota.take()
    assert time.slept == waited


def test_time_that_passed_counts(time: Time) -> None:
    """Only what is left of the minute is waited for."""
    quota = quota_of(time, minute_remaining=0, minute_reset=17)
    time.pass_by(10)
    quota.take()
    assert time.slept == [7]


@pytest.mark.parametrize(
    ("reserve", "left", "stops"), [(0, 1, False), (0, 0, True), (300, 301, False), (300, 300, True)]
)
def test_the_day_stops_at_the_reserve(time: Time, reserve: int, left: int, stops: bool) -> None:
    """Requests stop when the day's points are down to the reserve, not one earlier, and say until when."""
    quota = quota_of(time, reserve, day_remaining=left, day_reset=3600)
    time.pass_by(60)
    if stops:
        with pytest.raises(DayPointsSpentError, match=f"spent .{left} left.* 2026-01-15 13:00 UTC") as caught:
            quota.take()
        assert caught.value.until == NOON + timedelta(hours=1)
        time.pass_by(3540)
    quota.take()
    assert time.slept == []


def test_an_unknown_end_of_the_day(time: Time) -> None:
    """Where the API does not say when the day ends, an hour is waited before the next request may try."""
    quota = quota_of(time, day_remaining=0)
    with pytest.raises(DayPointsSpentError) as caught:
        quota.take()
    assert caught.value.until == NOON + timedelta(hours=1)
    time.pass_by(3600)
    quota.take()


def test_an_answer_without_limits_changes_nothing(time: Time) -> None:
    """Limits that were told stay true when the next answer tells none; its point is counted."""
    quota = quota_of(time, minute_remaining=0, minute_reset=17)
    quota.update(Limits(), charged=True)
    quota.update(Limits(), charged=False)
    quota.take()
    assert (time.slept, quota.points_spent) == ([17], 2)
