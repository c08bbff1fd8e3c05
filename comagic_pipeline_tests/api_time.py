"""Time for tests of the API client: it passes only when somebody sleeps."""

from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


class Time:
    """A clock that stands at noon until `sleep` or `pass_by` moves it; `slept` remembers the seconds of each sleep."""

    def __init__(self) -> None:
        self.moment = NOON
        self.slept: list[float] = []

    def now(self) -> datetime:
        """The clock."""
        return self.moment

    def sleep(self, seconds: float) -> None:
        """Let time pass, and remember how much."""
        self.slept.append(seconds)
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += timedelta(seconds=seconds)
