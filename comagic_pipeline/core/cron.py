"""Cron schedules by cronsim. What is accepted here, Dagster accepts, and means the same moments by it.

Not croniter, which Dagster has a copy of: its import runs a program (`file`).
"""

import re
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_NAMED = {
    "@hourly": "0 * * * *",
    "@midnight": "0 0 * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@annually": "0 0 1 1 *",
    "@yearly": "0 0 1 1 *",
}
_PARTS = 5
"""Minute, hour, day of the month, month, weekday. Dagster knows no seconds and no years."""
_SOME_DAY = datetime(2026, 1, 1)  # noqa: DTZ001 - any day will do


def is_cron(schedule: str) -> bool:
    """Return whether Dagster can run this schedule: five parts, or a name such as @daily."""
    parts = _parts(schedule).lower().split()
    # What cronsim knows and Dagster does not: the last Friday, the last working day, a day that February never has.
    if len(parts) != _PARTS or re.search(r"\dl|w", parts[2] + " " + parts[4].replace("wed", "")):
        return False
    if parts[3] in ("2", "02", "feb") and parts[2] in ("30", "31"):
        return False
    try:
        next(CronSim(_parts(schedule), _SOME_DAY))
    except (CronSimError, StopIteration):
        return False
    return True


def ticks(schedule: str, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the moments (aware) of a schedule by the clock of `zone` that are later than `after`, without end."""
    return CronSim(_parts(schedule), after.astimezone(zone))


def _parts(schedule: str) -> str:
    return _NAMED.get(schedule.lower(), schedule)
