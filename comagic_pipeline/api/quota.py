"""The points of an account: how many are left, when to wait, when to stop.

A successful request costs one point; every answer tells what is left (protocol.json, "limits"). The server's own
numbers are the truth that all processes with the same key share; this module only acts on the latest of them.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from comagic_pipeline.api.errors import DayPointsSpentError

Clock = Callable[[], datetime]
Sleep = Callable[[float], None]

# Used where the API does not say when a limit starts anew (protocol.json: "60 s if unknown").
UNKNOWN_MINUTE_RESET = 60.0
UNKNOWN_DAY_RESET = 3600.0


def utc_now() -> datetime:
    """The present moment, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Limits:
    """The limits block of an answer: points allowed, points left, seconds to the reset; None where it is silent."""

    day_limit: int | None = None
    day_remaining: int | None = None
    day_reset: int | None = None
    minute_limit: int | None = None
    minute_remaining: int | None = None
    minute_reset: int | None = None

    @classmethod
    def parse(cls, block: Any) -> "Limits":
        """Read the block leniently: it may be absent, empty, or hold numbers as text."""
        if not isinstance(block, dict):
            return cls()
        return cls(**{name: _whole(block.get(name)) for name in cls.__dataclass_fields__})


def _whole(value: Any) -> int | None:
    try:
        return None if value is None else int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


class Quota:
    """Keeps one key within its limits: `take` before each request, `update` after each answer.

    `reserve` is the number of the day's points that must be left untouched. `clock` gives aware datetimes, `sleep`
    takes seconds. Safe to use from several threads.
    """

    def __init__(self, reserve: int = 0, clock: Clock = utc_now, sleep: Sleep = time.sleep) -> None:
        self.reserve = reserve
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._limits = Limits()
        self._seen_at = clock()
        self.points_spent = 0

    @property
    def limits(self) -> Limits:
        """The limits of the latest answer that told them."""
        return self._limits

    def take(self) -> None:
        """Wait until the minute's limit lets a request through.

        Raises DayPointsSpentError when the day's points are down to the reserve: nothing was sent then.
        """
        limits, age = self._limits, (self._clock() - self._seen_at).total_seconds()
        if limits.day_remaining is not None and limits.day_remaining <= self.reserve:
            reset = UNKNOWN_DAY_RESET if limits.day_reset is None else limits.day_reset
            if age < reset:
                raise self.day_spent(reset - age)
        if limits.minute_remaining is not None and limits.minute_remaining <= 0:
            reset = UNKNOWN_MINUTE_RESET if limits.minute_reset is None else limits.minute_reset
            self.wait(reset - age)

    def wait(self, seconds: float) -> None:
        """Sleep so long, if it is any time at all."""
        if seconds > 0:
            self._sleep(seconds)

    def update(self, limits: Limits, *, charged: bool) -> None:
        """Take in what an answer told; `charged` when it was a success and so cost a point."""
        with self._lock:
            self.points_spent += charged
            if limits != Limits():
                self._limits, self._seen_at = limits, self._clock()

    def day_spent(self, reset: float | None) -> DayPointsSpentError:
        """The error that says that the day's points are gone and when they come back."""
        seconds = UNKNOWN_DAY_RESET if reset is None else reset
        until = self._clock() + timedelta(seconds=seconds)
        left = self._limits.day_remaining
        kept = f", {self.reserve} are kept in reserve" if self.reserve else ""
        return DayPointsSpentError(
            f"the day's points are spent ({left if left is not None else 'none'} left{kept}); "
            f"they start anew at {until:%Y-%m-%d %H:%M} UTC",
            until,
        )
