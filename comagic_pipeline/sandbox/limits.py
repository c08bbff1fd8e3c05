"""The points of the account: what was spent in this minute and this day, and how long until they start anew."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from comagic_pipeline.sandbox.errors import ApiError
from comagic_pipeline.sandbox.settings import Settings

Window = Literal["day", "minute"]
_LENGTHS: dict[Window, timedelta] = {"day": timedelta(days=1), "minute": timedelta(minutes=1)}


class Points:
    """Counts the points that successful requests cost.

    A minute starts with the minute of the clock, a day at midnight UTC (one client noted so, the docs do not say).
    """

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self.spent = 0
        """Points since the start."""
        self._settings = settings
        self._now = now
        self._windows: dict[Window, tuple[datetime, int]] = {}

    def charge(self, points: int) -> None:
        """Take points."""
        self.spent += points
        for window in _LENGTHS:
            start, spent = self._window(window)
            self._windows[window] = (start, spent + points)

    def check(self) -> None:
        """Raise ``limit_exceeded`` when the points of the day or the minute are used up."""
        for window in _LENGTHS:
            if self.limits()[f"{window}_remaining"] == 0:
                raise self.exceeded(window)

    def exceeded(self, window: Window) -> ApiError:
        """Return the error of a window whose points are used up."""
        return ApiError("limit_exceeded", limit_type=window, limit_max_value=self._limit(window))

    def limits(self, exceeded: Window | None = None) -> dict[str, int]:
        """``metadata.limits`` of an answer, resets in whole seconds; ``exceeded`` is shown as used up."""
        limits: dict[str, int] = {}
        for window, length in _LENGTHS.items():
            start, spent = self._window(window)
            limit = self._limit(window)
            limits[f"{window}_limit"] = limit
            limits[f"{window}_remaining"] = 0 if window == exceeded else max(limit - spent, 0)
            # Rounded up: a client that sleeps so long must find the new window open.
            limits[f"{window}_reset"] = -((self._now() - start - length) // timedelta(seconds=1))
        return limits

    def _limit(self, window: Window) -> int:
        return self._settings.day_limit if window == "day" else self._settings.minute_limit

    def _window(self, window: Window) -> tuple[datetime, int]:
        start = self._now().astimezone(UTC).replace(second=0, microsecond=0)
        if window == "day":
            start = start.replace(hour=0, minute=0)
        known_start, spent = self._windows.get(window, (start, 0))
        return (start, spent) if known_start == start else (start, 0)
