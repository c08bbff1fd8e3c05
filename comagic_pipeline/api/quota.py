"""Rate limiting for one API key. All processes that use the key share one record of its remaining points.

A successful request costs one point; every answer may tell the remaining points (protocol.json, "limits"). The last
answer is the truth; each request in flight may have cost a point that no answer has counted yet. The record is stored
where all processes see it (`Book`); the decisions are made here.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from comagic_pipeline.api.errors import DayPointsSpentError

DAY_SPENT = "the day's points are spent"
"""How the error begins that says so."""

Clock = Callable[[], datetime]
Sleep = Callable[[float], None]
Span = Literal["day", "hour", "minute"]

SPANS: dict[Span, timedelta] = {
    "day": timedelta(hours=1),
    "hour": timedelta(minutes=10),
    "minute": timedelta(minutes=1),
}
"""The spans of time that have a limit, longest first, and after which time to ask again when their points are spent and
no reset is told: a refused request is free. protocol.json: "60 s if unknown"; an hour's limit was seen in samples of
newer methods."""
_LENGTHS: dict[Span, timedelta] = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}
"""How long the spans are: no reset lies further ahead, whatever the API told or a clock that was ahead wrote."""
_ROUNDING = timedelta(seconds=1)
"""Seconds to the reset come as a whole number, and nobody says whether it was rounded up or down."""
_LOST_AFTER = timedelta(minutes=2)
"""A request without an answer for so long is that of a process that died, or its loss is only a refusal."""
_UNDER_WAY_PAUSE = 0.2
"""Seconds until the next look whether requests under way have left a point."""
_MENTIONED = 1.0
"""Seconds from which on a wait is worth a line in the log."""
_LARGEST = 2**31 - 1
"""The largest number of points or seconds that is kept, that of PostgreSQL's integer."""

_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the present moment, aware."""
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
    hour_limit: int | None = None
    hour_remaining: int | None = None
    hour_reset: int | None = None

    @classmethod
    def parse(cls, block: Any) -> "Limits":
        """Read the block leniently: it may be absent, empty, or hold numbers as text."""
        if not isinstance(block, dict):
            return cls()
        return cls(**{name: _whole(block.get(name)) for name in cls.__dataclass_fields__})

    def of(self, span: Span) -> tuple[int | None, int | None, int | None]:
        """Limit, remaining and reset of a span."""
        limit, remaining, reset = (getattr(self, f"{span}_{name}") for name in ("limit", "remaining", "reset"))
        return limit, remaining, reset


def _whole(value: Any) -> int | None:
    try:
        return None if value is None else max(-_LARGEST, min(int(float(value)), _LARGEST))
    except (TypeError, ValueError, OverflowError):
        return None


def until_reset(span: Span, seconds: int) -> timedelta:
    """Return the time until a span begins again, from the seconds that the API tells.

    Not longer than the span itself.
    """
    return min(timedelta(seconds=max(seconds, 0)), _LENGTHS[span]) + _ROUNDING


@dataclass
class Allowance:
    """The points of a span of time: allowed, left, when it starts anew and when it did (aware). None: not told."""

    limit: int | None = None
    remaining: int | None = None
    resets_at: datetime | None = None
    began_at: datetime | None = None

    def renew(self, span: Span, now: datetime) -> None:
        """Forget what was spent when the span is over, and times that a clock which was ahead wrote."""
        if self.resets_at is not None:
            self.resets_at = min(self.resets_at, now + _LENGTHS[span] + _ROUNDING)
        if self.began_at is not None and self.began_at > now:
            self.began_at = None
        if self.resets_at is not None and now >= self.resets_at:
            self.remaining, self.resets_at, self.began_at = self.limit, None, self.resets_at

    def count_point(self, span: Span, now: datetime) -> None:
        """Count a point that an answer cost without telling what is left."""
        if self.remaining is not None:
            self.remaining -= 1
            self.guess_reset(span, now)

    def guess_reset(self, span: Span, now: datetime) -> None:
        """Assume an end of the span where none is known."""
        if self.resets_at is None or self.resets_at <= now:
            self.resets_at = now + (_LENGTHS if self.remaining else SPANS)[span]

    def learn(self, span: Span, limits: Limits, request: "Request", overlap: int, now: datetime) -> None:
        """Take in what the answer to a request told, beside which `overlap` others were answered or are under way."""
        limit, remaining, reset = limits.of(span)
        if reset is not None and self.began_at and request.sent_at + until_reset(span, reset) <= self.began_at:
            return  # it is about the span before, though it came in this one
        if remaining is not None:
            # Answers overtake each other: one that tells of a few points more may only be late. One that tells of many
            # more, or of another limit, says that points were bought or the span has started anew.
            is_late = self.remaining is not None and self.remaining < remaining <= self.remaining + overlap
            if not is_late or limit not in (None, self.limit):
                self.remaining = remaining
            if reset is not None:
                self.resets_at = now + until_reset(span, reset)
            else:
                if not remaining:
                    self.resets_at = None  # whatever was assumed: it is worth asking again soon
                self.guess_reset(span, now)
        if limit is not None:
            self.limit = limit


@dataclass(frozen=True)
class Request:
    """A request under way; `answers` is how many the book knew when it was sent."""

    method: str
    sent_at: datetime
    answers: int


@dataclass
class Known:
    """A page of the book: what is known of a key's points, and the requests under way by their ticket.

    `spent` are the methods of the requests that were charged since the page was opened.
    """

    allowances: dict[Span, Allowance] = field(default_factory=lambda: {span: Allowance() for span in SPANS})
    answers: int = 0
    told_at: datetime | None = None
    under_way: dict[str, Request] = field(default_factory=dict)
    spent: list[str] = field(default_factory=list)

    def renew(self, now: datetime) -> None:
        """Forget what time has settled: spans that are over, requests whose process died."""
        for span, allowance in self.allowances.items():
            allowance.renew(span, now)
        if self.told_at is not None and self.told_at > now + _LOST_AFTER:
            self.told_at = None  # by a clock that was ahead
        lost = [ticket for ticket, request in self.under_way.items() if abs(now - request.sent_at) > _LOST_AFTER]
        for ticket in lost:
            del self.under_way[ticket]


class Book(Protocol):
    """Where what is known of a key's points is kept."""

    def open(self) -> AbstractContextManager[Known]:
        """Return the page of the key, for nobody else while the block lasts; what is changed in it is kept."""


class ProcessBook:
    """A book for one process, which ends with it."""

    def __init__(self) -> None:
        self._known = Known()
        self._lock = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[Known]:
        """Provide the only page."""
        with self._lock:
            yield self._known
            self._known.spent.clear()


@dataclass
class Told:
    """What came of a request: filled in while it goes on."""

    limits: Limits = Limits()
    charged: bool = False


class Quota:
    """Keeps a key within its limits: every request is made in a `request` block.

    `reserve` is the number of the day's points that must be left untouched. `clock` gives aware datetimes, `sleep`
    takes seconds. Safe to use from several threads, and, with a shared book, processes. `points_spent` is the number of
    points that its own requests cost. One that `insists` asks though the day's points are known to be spent: they may
    have been bought since, and a refused request is free. With `trusts_since` it asks, too, until the API has told
    since that moment (aware) that none are left.
    """

    def __init__(
        self,
        reserve: int = 0,
        clock: Clock = utc_now,
        sleep: Sleep = time.sleep,
        book: Book | None = None,
        *,
        insists: bool = False,
        trusts_since: datetime | None = None,
    ) -> None:
        self.reserve = reserve
        self._insists, self._trusts_since = insists, trusts_since
        self._clock = clock
        self._sleep = sleep
        self._book = book or ProcessBook()
        self.points_spent = 0

    @contextmanager
    def request(self, method: str) -> Iterator[Told]:
        """Wait until the limits let a request through, and take in what came of it when the block ends.

        Raises DayPointsSpentError when the day's points are down to the reserve: nothing was sent then.
        """
        (ticket, request), told = self._take(method), Told()
        try:
            yield told
        finally:
            self._settle(ticket, request, told)

    def left(self) -> int | None:
        """Return how many points may still be spent today, the reserve left out; None where the API does not tell."""
        with self._opened() as known:
            left = self._left(known)
            return None if left is None else max(0, left)

    def require(self, points: int) -> None:
        """Raise DayPointsSpentError when fewer points than that may still be spent today.

        For work that is worth nothing when it stops halfway: what would be spent on it is kept.
        """
        with self._opened() as known:
            left = self._left(known)
            until = known.allowances["day"].resets_at or self._clock() + SPANS["day"]
        if left is not None and left < points:
            raise self.day_spent(max(left, 0), until, f", {points} are needed for days that cannot be loaded in parts")

    def _left(self, known: Known) -> int | None:
        day = known.allowances["day"]
        if day.remaining is None or self._is_doubted(known):
            return None
        return day.remaining - len(known.under_way) - effective_reserve(self.reserve, day.limit)

    def day_spent(self, remaining: int | None, until: datetime, why: str = "") -> DayPointsSpentError:
        """Return the error that says that the day's points are gone and when they come back."""
        return DayPointsSpentError(
            f"{DAY_SPENT} ({remaining or 'none'} left{why}); "
            f"they start anew at {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC; if some were bought since, "
            "`comagic-pipeline doctor` asks anew",
            until,
        )

    def refused_until(self, span: Span, limits: Limits) -> datetime:
        """Return when a request may go through again, after one was refused because of a span's limit."""
        _, _, reset = limits.of(span)
        return self._clock() + (SPANS[span] if reset is None else until_reset(span, reset))

    @contextmanager
    def _opened(self) -> Iterator[Known]:
        with self._book.open() as known:
            known.renew(self._clock())
            yield known

    def _is_doubted(self, known: Known) -> bool:
        """Return whether it says that no points are left of the day, and the API is asked whether that is still so."""
        remaining, since = known.allowances["day"].remaining, self._trusts_since
        if remaining is None or remaining > 0 or since is None:
            return False
        return known.told_at is None or known.told_at < since

    def _take(self, method: str) -> tuple[str, Request]:
        while True:
            with self._opened() as known:
                now = self._clock()
                spent, pause, why = self._obstacle(known, now)
                if not spent and not pause:
                    ticket, request = secrets.token_hex(8), Request(method, now, known.answers)
                    known.under_way[ticket] = request
                    return ticket, request
            if spent:
                raise spent
            if pause >= _MENTIONED:
                _log.warning(f"{method}: waiting {pause:.0f} s because {why}")
            self._sleep(pause)

    def _obstacle(self, known: Known, now: datetime) -> tuple[DayPointsSpentError | None, float, str]:
        """Return what keeps a request from being sent.

        The day's points, or seconds to wait before the next look, and why.
        """
        pause, why = 0.0, ""
        for span, allowance in known.allowances.items():
            if allowance.remaining is None:
                continue
            if span == "day" and (self._insists or self._is_doubted(known)):
                continue
            untouched = effective_reserve(self.reserve, allowance.limit) if span == "day" else 0
            if allowance.remaining <= untouched:
                until = allowance.resets_at or now
                if span == "day":
                    kept = f", {untouched} are kept in reserve" if untouched else ""
                    return self.day_spent(allowance.remaining, until, kept), 0, ""
                if (seconds := (until - now).total_seconds()) > pause:
                    why = f"the points of the {span} are spent"
                pause = max(pause, seconds, _UNDER_WAY_PAUSE)
            elif allowance.remaining - len(known.under_way) <= untouched:
                pause = max(pause, _UNDER_WAY_PAUSE)
        return None, pause, why

    def _settle(self, ticket: str, request: Request, told: Told) -> None:
        with self._opened() as known:
            now = self._clock()
            known.under_way.pop(ticket, None)
            if told.charged and self._is_doubted(known):
                known.allowances["day"].remaining = None  # the API gave a point: how many are left is not known
            overlap = known.answers - request.answers + len(known.under_way)
            for span, allowance in known.allowances.items():
                if told.charged and told.limits.of(span)[1] is None:
                    allowance.count_point(span, now)
                allowance.learn(span, told.limits, request, overlap, now)
            known.answers += 1
            self.points_spent += told.charged
            if told.limits != Limits():
                known.told_at = now
            if told.charged:
                known.spent.append(request.method)


def effective_reserve(reserve: int, limit: int | None) -> int:
    """Return the points that are left untouched.

    At most half of the day's limit, for the rest of the work must go on too.
    """
    return reserve if limit is None else min(reserve, limit // 2)
