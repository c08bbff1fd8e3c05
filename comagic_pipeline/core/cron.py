"""Cron schedules by croniter, which Dagster uses too: what is accepted here, Dagster accepts."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from croniter import croniter

_PARTS = 5
"""Minute, hour, day of the month, month, weekday. Dagster knows no seconds and no years."""


def is_cron(schedule: str) -> bool:
    """Return whether Dagster can run this schedule."""
    if not croniter.is_valid(schedule):
        return False
    expanded, *_ = croniter.expand(schedule)
    # Dagster refuses a day that no February has.
    never_comes = expanded[3] == [2] and expanded[2] in ([30], [31])
    return len(expanded) == _PARTS and not never_comes


def ticks(schedule: str, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the moments (aware) of a schedule by the clock of `zone` that are later than `after`, without end.

    In the hour that a change of the clock repeats, a schedule of one hour comes twice; Dagster runs it once.
    """
    iterator = croniter(schedule, after.astimezone(zone))
    while True:
        yield iterator.get_next(datetime)
