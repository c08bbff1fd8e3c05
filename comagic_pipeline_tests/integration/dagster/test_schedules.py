"""Schedules and partitions by the account's clock: midnight, summer time, the first day of the history."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    build_schedule_context,
)
from dagster._utils.schedules import schedule_execution_time_iterator

from comagic_pipeline.catalog.table_names import SHARED_STAR, STAR_OF_KIND
from comagic_pipeline.config import Config, parse_config
from comagic_pipeline.dagster.partitions import daily_partitions
from comagic_pipeline.definitions import build_definitions


def configured(**source: str) -> Config:
    """A config of one source."""
    values = {"name": "main", "account_id": "1", "base_url": "sandbox", "token": "x", "start_date": "2026-01-01"}
    lines = [f"  {key}: {value}" for key, value in (values | source).items()]
    return parse_config("sources:\n-\n" + "\n".join(lines), Path("comagic.yaml"))


def schedule(config: Config, when: str) -> ScheduleDefinition:
    """The nightly or hourly schedule of the source."""
    return build_definitions(config).get_repository_def().get_schedule_def(f"load_main_{when}")


def tick(config: Config, when: str, moment: str) -> RunRequest:
    """What a schedule asks for at a moment, given with its offset from UTC."""
    tick_time = datetime.fromisoformat(moment)
    with (
        DagsterInstance.ephemeral() as instance,
        build_schedule_context(instance, scheduled_execution_time=tick_time) as context,
    ):
        (request,) = schedule(config, when).evaluate_tick(context).run_requests or []
        return request


def days(request: RunRequest) -> tuple[str, str]:
    """The first and the last day that a run is asked to load."""
    tags = request.tags
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def test_what_runs_when() -> None:
    """Nightly everything; hourly neither dictionaries nor reports that take a request for each site or day."""
    tables = "[calls_report, goals_report, campaign_daily_stat, employee_stat, tags, comagic_chats_tags]"
    assert tick(configured(tables=tables), "nightly", "2026-03-02T04:30:00+03:00").asset_selection is None
    selection = tick(configured(tables=tables), "hourly", "2026-03-02T00:10:00+03:00").asset_selection or []
    hourly = {"calls_report", "goals_report", "chats_report", *SHARED_STAR, *STAR_OF_KIND["chats"]}
    assert {key.path[-1] for key in selection} == hourly


@pytest.mark.parametrize(
    ("moment", "today"),
    [
        ("2026-03-01T20:59:59+00:00", "2026-03-01"),  # one second before midnight in Moscow
        ("2026-03-01T21:00:00+00:00", "2026-03-02"),
        ("2026-03-02T00:10:00+03:00", "2026-03-02"),
        ("2026-03-01T23:10:00+03:00", "2026-03-01"),
    ],
)
def test_hourly_loads_the_day_that_it_is_in_moscow(moment: str, today: str) -> None:
    """The hourly run loads today by the account's clock, whatever the date in UTC is."""
    assert days(tick(configured(), "hourly", moment)) == (today, today)


@pytest.mark.parametrize(
    ("moment", "today"),
    [
        ("2026-03-29T00:10:00+01:00", "2026-03-29"),  # the night when Berlin's clocks go forward
        ("2026-03-29T03:10:00+02:00", "2026-03-29"),
        ("2026-03-29T23:59:00+02:00", "2026-03-29"),
        ("2026-03-29T22:00:00+00:00", "2026-03-30"),  # midnight is at 22:00 UTC from then on, at 23:00 before
        ("2026-03-28T22:00:00+00:00", "2026-03-28"),
        ("2026-10-25T02:10:00+02:00", "2026-10-25"),  # the hour that comes twice
        ("2026-10-25T02:10:00+01:00", "2026-10-25"),
        ("2026-10-25T22:59:00+00:00", "2026-10-25"),
        ("2026-10-25T23:00:00+00:00", "2026-10-26"),
    ],
)
def test_hourly_through_summer_time(moment: str, today: str) -> None:
    """Days of 23 and 25 hours begin and end at midnight of the wall clock."""
    assert days(tick(configured(timezone="Europe/Berlin"), "hourly", moment)) == (today, today)


def test_nightly_loads_the_last_days_and_today() -> None:
    """The nightly run loads `refresh_days` past days and today, across the ends of months."""
    request = tick(configured(refresh_days="7"), "nightly", "2026-03-03T04:30:00+03:00")
    assert days(request) == ("2026-02-24", "2026-03-03")


@pytest.mark.parametrize(("start_date", "first_day"), [("2026-03-01", "2026-03-01"), ("2026-03-03", "2026-03-03")])
def test_nightly_begins_at_the_start_date(start_date: str, first_day: str) -> None:
    """Days before the source's history are not asked for."""
    request = tick(configured(start_date=start_date), "nightly", "2026-03-03T04:30:00+03:00")
    assert days(request) == (first_day, "2026-03-03")


@pytest.mark.parametrize("when", ["nightly", "hourly"])
def test_run_keys_never_repeat(when: str) -> None:
    """Every tick has a key of its own, the two of a repeated hour included: Dagster would skip a key it has seen."""
    moments = [
        "2026-10-25T02:10:00+02:00",
        "2026-10-25T02:10:00+01:00",
        "2026-10-25T03:10:00+01:00",
        "2026-10-26T03:10:00+01:00",
    ]
    config = configured(timezone="Europe/Berlin")
    assert len({tick(config, when, moment).run_key for moment in moments}) == len(moments)


@pytest.mark.parametrize(
    ("when", "now", "ticks"),
    [
        ("nightly", "2026-03-28T12:00:00+01:00", ["2026-03-29T04:30:00+02:00", "2026-03-30T04:30:00+02:00"]),
        ("nightly", "2026-10-24T12:00:00+02:00", ["2026-10-25T04:30:00+01:00", "2026-10-26T04:30:00+01:00"]),
        ("hourly", "2026-03-29T01:30:00+01:00", ["2026-03-29T03:10:00+02:00", "2026-03-29T04:10:00+02:00"]),
        ("hourly", "2026-03-28T23:30:00+01:00", ["2026-03-29T00:10:00+01:00", "2026-03-29T01:10:00+01:00"]),
    ],
)
def test_schedules_tick_by_the_wall_clock(when: str, now: str, ticks: list[str]) -> None:
    """Ticks are at the wall time of the account, summer and winter."""
    plan = schedule(configured(timezone="Europe/Berlin"), when)
    start = datetime.fromisoformat(now).timestamp()
    times = schedule_execution_time_iterator(start, str(plan.cron_schedule), plan.execution_timezone)
    assert [next(times) for _ in ticks] == [datetime.fromisoformat(moment) for moment in ticks]


def test_schedules_are_on_by_default() -> None:
    """Nobody has to switch anything on."""
    for when in ("nightly", "hourly"):
        assert schedule(configured(), when).default_status == DefaultScheduleStatus.RUNNING


def test_requested_days_are_partitions() -> None:
    """What a tick asks for exists as partitions at the moment of the tick, today included."""
    moment = "2026-03-03T00:10:00+03:00"
    config = configured()
    keys = daily_partitions(config.sources[0]).get_partition_keys(current_time=datetime.fromisoformat(moment))
    for when in ("nightly", "hourly"):
        first_day, last_day = days(tick(config, when, moment))
        assert first_day in keys
        assert last_day == keys[-1] == "2026-03-03"


@pytest.mark.parametrize(
    ("timezone", "midnight"),
    [
        ("Europe/Moscow", "2026-03-02T21:00:00+00:00"),
        ("Europe/Berlin", "2026-03-02T23:00:00+00:00"),
        ("Asia/Kamchatka", "2026-03-02T12:00:00+00:00"),
        ("America/New_York", "2026-03-03T05:00:00+00:00"),
    ],
)
def test_a_day_becomes_a_partition_at_local_midnight(timezone: str, midnight: str) -> None:
    """The third of March is a partition from its first second on, and not a second earlier; the first day stays."""
    partitions = daily_partitions(configured(timezone=timezone, start_date="2026-02-27").sources[0])
    moment = datetime.fromisoformat(midnight)
    before = partitions.get_partition_keys(current_time=datetime.fromtimestamp(moment.timestamp() - 1, UTC))
    after = partitions.get_partition_keys(current_time=moment)
    assert before == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert after == [*before, "2026-03-03"]


def test_days_of_23_and_25_hours_are_one_partition_each() -> None:
    """Where clocks change, days are still as many as dates."""
    partitions = daily_partitions(configured(timezone="Europe/Berlin", start_date="2026-01-01").sources[0])
    keys = partitions.get_partition_keys(current_time=datetime(2026, 12, 31, 12, tzinfo=UTC))
    assert len(keys) == len(set(keys)) == 365
