"""When rhythm and volume are unusual: plain numbers and a passed-in time, no database."""

from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import AssetCheckSeverity, AssetKey

from comagic_pipeline.dagster.checks.finding import Finding, figures
from comagic_pipeline.dagster.checks.recent_rows import rhythm
from comagic_pipeline.dagster.checks.usual_volume import Volume, volume
from comagic_pipeline.warehouse.quality.activity_gaps import DayRows, Silence

NOON = datetime(2026, 3, 4, 12)
"""A Wednesday."""
DAYS = frozenset(NOON.date() - timedelta(days=number) for number in range(64))


def silences(hours: float, weeks: int = 8, begin: float = 0.5) -> list[Silence]:
    """A silence of so many hours on each of the last Wednesdays, begun so many hours before noon."""
    moments = [NOON - timedelta(weeks=number, hours=begin) for number in range(1, weeks + 1)]
    return [Silence(moment, moment + timedelta(hours=hours)) for moment in moments]


def hours_ago(hours: float) -> datetime:
    return NOON - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("usual", "silent", "passed"),
    [
        (0.1, 1.9, True),  # two hours are no news, however busy the hour is
        (0.1, 2.1, False),
        (5, 9.9, True),
        (5, 10.1, False),
    ],
)
def test_twice_the_usual_silence_and_two_hours(usual: float, silent: float, passed: bool) -> None:
    """Whichever is longer."""
    assert rhythm(NOON, hours_ago(silent), silences(usual), DAYS).passed is passed


def test_the_longest_silence_of_the_weeks_counts() -> None:
    """One week that was silent for long makes that usual."""
    found = [*silences(0.1, weeks=7), Silence(hours_ago(24 * 56 + 6), hours_ago(24 * 56 - 1))]
    told = rhythm(NOON, hours_ago(13.9), found, DAYS)
    assert told.accepted == timedelta(hours=14)
    assert told.passed


def test_fewer_than_three_weeks_are_not_enough() -> None:
    """Nothing is said then, and the description says why."""
    told = rhythm(NOON, hours_ago(100), silences(0.1, weeks=2), DAYS)
    assert told.passed
    assert told.accepted is None
    assert "Not enough history" in told.description
    assert not rhythm(NOON, hours_ago(100), silences(0.1, weeks=3), DAYS).passed


def test_weeks_with_days_that_are_not_loaded_do_not_count() -> None:
    """A silence that reaches into such a day may have been none."""
    found = silences(30, weeks=4)
    assert rhythm(NOON, hours_ago(50), found, DAYS).accepted == timedelta(hours=60)
    missing = {date(2026, 2, 26), date(2026, 2, 19)}
    assert rhythm(NOON, hours_ago(50), found, DAYS - missing).accepted is None


def test_a_silence_begins_with_what_is_loaded() -> None:
    """Before the days that are loaded without a gap there may have been rows."""
    loaded = DAYS - {date(2026, 3, 2)}
    assert rhythm(NOON, hours_ago(100), silences(0.1), loaded).silence == timedelta(hours=36)
    assert rhythm(NOON, None, silences(0.1), {NOON.date()}).silence == timedelta(hours=12)


def rows_of(*numbers: int, last: date = date(2026, 3, 3)) -> list[DayRows]:
    """Tuesdays up to the last one, with these rows; Mondays before them that have another number."""
    found = []
    for number, rows in enumerate(numbers):
        day = last - timedelta(weeks=len(numbers) - 1 - number)
        found += [DayRows(day - timedelta(days=1), 999, NOON.replace(tzinfo=UTC))]
        found += [DayRows(day, rows, NOON.replace(tzinfo=UTC))]
    return found


def judged(*numbers: int) -> Volume:
    """The last of these days beside the others."""
    told = volume(rows_of(*numbers))
    assert told is not None
    return told


def test_a_day_is_compared_with_its_weekday() -> None:
    """With the last eight of it, and not with itself."""
    told = judged(1, 100, 101, 102, 103, 104, 105, 106, 107, 108)
    assert (told.day, told.rows, list(told.others)) == (date(2026, 3, 3), 108, [100, 101, 102, 103, 104, 105, 106, 107])


@pytest.mark.parametrize(
    ("others", "low", "high"),
    [
        ([280, 290, 300, 310, 320], 195, 405),  # a tenth of the middle
        ([200, 250, 300, 350, 400], 300 - 3.5 * 74.13, 300 + 3.5 * 74.13),  # the deviation, 1.4826 * 50
        ([20, 20, 20, 20], 20 - 3.5 * 20**0.5, 20 + 3.5 * 20**0.5),  # the root: no deviation is not certainty
        ([0, 0, 0, 0], 0, 3.5),
        ([300, 300, 300, 300, 3000], 195, 405),  # one odd week does not widen the range
    ],
)
def test_the_range_is_that_of_the_middle_and_its_deviation(others: list[int], low: float, high: float) -> None:
    """Robust against odd weeks, and not too sure of few of them."""
    bounds = judged(*others, 0).bounds
    assert bounds == pytest.approx((low, high))


@pytest.mark.parametrize(("rows", "passed"), [(195, True), (194, False), (405, True), (406, False), (30, False)])
def test_a_day_outside_of_the_range(rows: int, passed: bool) -> None:
    """Too few and too many alike; the figures are told."""
    told = judged(280, 290, 300, 310, 320, rows)
    assert told.passed is passed
    assert told.metadata == {
        "day": "2026-03-03", "rows": rows, "known_days": 5, "usual": 300, "lower_bound": 195.0, "upper_bound": 405.0
    }  # fmt: skip


def test_fewer_than_four_days_are_not_enough() -> None:
    """Nothing is said then, and the description says why."""
    told = judged(300, 300, 300, 1)
    assert told.passed
    assert "Not enough history" in told.description
    assert not judged(300, 300, 300, 300, 1).passed
    assert volume([]) is None


def test_an_evaluation_carries_all_that_was_found() -> None:
    """It is the same in a run and outside of one."""
    told = Finding(AssetKey("a"), "check", False, "what", {"count": 1}, AssetCheckSeverity.ERROR).evaluation()
    assert (told.asset_key, told.check_name, told.passed) == (AssetKey("a"), "check", False)
    assert (told.description, told.severity) == ("what", AssetCheckSeverity.ERROR)
    assert told.metadata["count"].value == 1


def test_the_first_days_are_named() -> None:
    """Five of them, oldest first; all are counted."""
    days = [(date(2026, 3, number), "wrong") for number in (7, 1, 2, 3, 4, 5, 6)]
    told = figures(days, wrong_days=len(days))
    assert told["wrong_days"] == 7
    assert told["first_days"] == "; ".join(f"2026-03-0{number}: wrong" for number in range(1, 6))
    assert figures([], wrong_days=0) == {"wrong_days": 0}
