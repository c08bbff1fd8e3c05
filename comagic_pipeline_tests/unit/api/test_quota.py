"""The points of a key: what the API tells of them, when to wait, when to stop, and what others may do meanwhile."""

import random
import threading
from collections import Counter
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from comagic_pipeline.api.errors import DayPointsSpentError
from comagic_pipeline.api.quota import Limits, ProcessBook, Quota, Request, Told, effective_reserve
from comagic_pipeline_tests.api_time import NOON, Time

ODD_NUMBERS: tuple[Any, ...] = ("many", "", [], {}, [1], float("inf"), float("nan"))
ODD_BLOCKS: tuple[Any, ...] = ({}, [], None, "12", 12, True, [{"day_limit": 1}])


@pytest.fixture
def time() -> Time:
    """A clock at noon."""
    return Time()


def quota_of(time: Time, reserve: int = 0, book: ProcessBook | None = None, *, insists: bool = False) -> Quota:
    """A quota whose sleep costs no time."""
    return Quota(reserve, time.now, time.sleep, book, insists=insists)


def ask(quota: Quota, **limits: int) -> None:
    """A request that succeeds at once; its answer tells these limits."""
    with quota.request("get.account") as told:
        told.limits, told.charged = Limits(**limits), True


def refused_until(quota: Quota) -> datetime:
    """Until when a request is not even sent."""
    with pytest.raises(DayPointsSpentError) as caught:
        ask(quota)
    return caught.value.until


class UnderWay:
    """A request that was sent and is not answered yet."""

    def __init__(self, quota: Quota) -> None:
        self._request: AbstractContextManager[Told] = quota.request("get.account")
        self.told = self._request.__enter__()

    def answered(self, **limits: int) -> None:
        """It succeeds; its answer tells these limits."""
        self.told.limits, self.told.charged = Limits(**limits), True
        self.ended()

    def ended(self) -> None:
        """It ends without an answer."""
        self._request.__exit__(None, None, None)


# --- what the API tells ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"day_limit": 3000, "day_remaining": 2999, "day_reset": 60}, Limits(3000, 2999, 60)),
        (
            {"minute_limit": "60", "minute_remaining": " 59 ", "minute_reset": "7.0"},
            Limits(None, None, None, 60, 59, 7),
        ),
        ({"minute_limit": 60.0, "minute_remaining": 59.9}, Limits(None, None, None, 60, 59)),
        (
            {"hour_limit": 100, "hour_remaining": 99, "hour_reset": 1},
            Limits(hour_limit=100, hour_remaining=99, hour_reset=1),
        ),
        ({"week_limit": 100, "week_remaining": 99, "week_reset": 1}, Limits()),
        ({"day_remaining": None, "minute_remaining": 0}, Limits(minute_remaining=0)),
        *(({"day_remaining": odd, "minute_remaining": 5}, Limits(minute_remaining=5)) for odd in ODD_NUMBERS),
        *((odd, Limits()) for odd in ODD_BLOCKS),
    ],
)
def test_limits_are_read_leniently(block: Any, expected: Limits) -> None:
    """Whatever the block of limits is, the numbers that can be read are read, and the others count as not told."""
    assert Limits.parse(block) == expected


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_requests_pass_while_points_are_left(time: Time) -> None:
    """Before anything is known, and while points are left, nothing waits."""
    quota = quota_of(time)
    ask(quota, day_remaining=2, hour_remaining=2, minute_remaining=2)
    ask(quota, day_remaining=1, hour_remaining=1, minute_remaining=1)
    ask(quota)
    assert time.slept == []


@pytest.mark.parametrize(
    ("told", "waited"),
    [
        ({"minute_remaining": 0, "minute_reset": 17}, 18),
        ({"minute_remaining": 0, "minute_reset": 0}, 1),
        ({"minute_remaining": 0, "minute_reset": -3}, 1),
        ({"minute_remaining": 0}, 60),
        ({"minute_remaining": -1}, 60),
        ({"hour_remaining": 0, "hour_reset": 900}, 901),
        ({"hour_remaining": 0}, 600),
        ({"hour_remaining": 0, "hour_reset": 900, "minute_remaining": 0, "minute_reset": 17}, 901),
        ({"hour_remaining": 5, "hour_reset": 900, "minute_remaining": 0, "minute_reset": 17}, 18),
    ],
)
def test_minute_and_hour_are_waited_out(time: Time, told: dict[str, int], waited: float) -> None:
    """Without points the next request waits for the end of minute and hour, and a second more, for it was rounded.

    Where no end is told a minute is waited, or ten of an hour.
    """
    quota = quota_of(time)
    ask(quota, **told)
    ask(quota)
    ask(quota)
    assert time.slept == [waited]


def test_time_that_passed_counts(time: Time) -> None:
    """Only what is left of the minute is waited for."""
    quota = quota_of(time)
    ask(quota, minute_remaining=0, minute_reset=17)
    time.pass_by(10)
    ask(quota)
    assert time.slept == [8]


def test_a_new_minute_has_all_its_points(time: Time) -> None:
    """When the minute is over its limit is known, though no answer has told of the new one yet."""
    quota = quota_of(time)
    ask(quota, minute_limit=3, minute_remaining=0, minute_reset=10)
    for _ in range(3):
        ask(quota)
    assert time.slept == [11]
    # Nobody said when this minute ends: a whole one is waited for.
    ask(quota)
    assert time.slept == [11, 60]


# --- the day ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reserve", "limit", "left", "stops"),
    [
        (0, {}, 1, False),
        (0, {}, 0, True),
        (300, {}, 301, False),
        (300, {}, 300, True),
        (300, {"day_limit": 3000}, 301, False),
        (300, {"day_limit": 3000}, 300, True),
        (300, {"day_limit": 200}, 101, False),
        (300, {"day_limit": 200}, 100, True),
    ],
)
def test_the_day_stops_at_the_reserve(time: Time, reserve: int, limit: dict[str, int], left: int, stops: bool) -> None:
    """Requests stop when the day's points are down to the reserve, not one earlier, and say until when."""
    quota = quota_of(time, reserve)
    ask(quota, day_remaining=left, day_reset=3600, **limit)
    time.pass_by(60)
    if stops:
        with pytest.raises(DayPointsSpentError, match=f"spent .{left or 'none'} left.* 2026-01-15 13:00 UTC") as caught:
            ask(quota)
        assert caught.value.until == NOON + timedelta(hours=1, seconds=1)
        assert quota.points_spent == 1
        time.moment = caught.value.until
    ask(quota)
    assert time.slept == []


@pytest.mark.parametrize(
    ("reserve", "limit", "expected"),
    [(300, None, 300), (300, 3000, 300), (300, 600, 300), (300, 599, 299), (300, 200, 100), (0, 200, 0), (5, 0, 0)],
)
def test_the_reserve_is_at_most_half_of_the_day(reserve: int, limit: int | None, expected: int) -> None:
    """An account with few points a day goes on too, though its reserve was set for one with many."""
    assert effective_reserve(reserve, limit) == expected


def test_an_unknown_end_of_the_day(time: Time) -> None:
    """Where the API does not say when the day ends, an hour is waited before the next request may try."""
    quota = quota_of(time)
    ask(quota, day_remaining=0)
    assert refused_until(quota) == NOON + timedelta(hours=1)
    time.pass_by(3600)
    ask(quota)


def test_a_day_that_ends_at_another_hour(time: Time) -> None:
    """The end of the day is what was said last, be it earlier or later than was said before."""
    quota = quota_of(time)
    for hours in (12, 2, 5):
        ask(quota, day_remaining=4, day_reset=hours * 3600)
        time.pass_by(600)
    ask(quota, day_remaining=0, day_reset=3 * 3600)
    assert refused_until(quota) == NOON + timedelta(minutes=30, hours=3, seconds=1)


def test_a_new_day_has_all_its_points(time: Time) -> None:
    """When the day is over its limit, and so what may be spent, is known before the first answer."""
    quota = quota_of(time, reserve=10)
    ask(quota, day_limit=100, day_remaining=10, day_reset=3600)
    assert quota.left() == 0
    time.pass_by(3601)
    assert quota.left() == 90


def test_one_that_insists_asks_all_the_same(time: Time) -> None:
    """Points may have been bought: who insists is not held back by the day, but waits for the minute as others do."""
    book = ProcessBook()
    quota, insisting = quota_of(time, 5, book), quota_of(time, 5, book, insists=True)
    ask(quota, day_limit=100, day_remaining=0, day_reset=3600, minute_remaining=0, minute_reset=30)
    refused_until(quota)
    ask(insisting, day_limit=1100, day_remaining=999, day_reset=3570)
    assert time.slept == [31]
    assert quota.left() == 994
    ask(quota)


def test_a_person_asks_once_whether_points_were_bought(time: Time) -> None:
    """`load` refused unasked while the record said that no points are left; a refusal is believed by the whole run."""
    book = ProcessBook()
    ask(quota_of(time, book=book), day_limit=3000, day_remaining=0, day_reset=3600)
    time.pass_by(60)
    person, other = (Quota(0, time.now, time.sleep, book, trusts_since=time.now()) for _ in range(2))
    person.require(3)
    assert person.left() is None
    with person.request("get.account") as told:
        told.limits = Limits(day_remaining=0, day_reset=3500)
    refused_until(person)
    refused_until(other)
    time.pass_by(60)
    later = Quota(0, time.now, time.sleep, book, trusts_since=time.now())
    ask(later, day_limit=3000, day_remaining=999)
    assert later.left() == 999


@pytest.mark.parametrize("reset", [99_999_999_999, 10**40, "99999999999", 1e300, -5, float("nan"), "soon", None])
def test_no_wait_is_longer_than_its_span(time: Time, reset: Any) -> None:
    """A day_reset of 99999999999 stopped a source until the year 5195."""
    for span, longest in (("minute", 61), ("hour", 3601)):
        quota, before = quota_of(time), sum(time.slept)
        with quota.request("get.account") as told:
            told.limits, told.charged = Limits.parse({f"{span}_remaining": 0, f"{span}_reset": reset}), True
        ask(quota)
        assert sum(time.slept) - before <= longest
    with quota.request("get.account") as told:
        told.limits, told.charged = Limits.parse({"day_remaining": 0, "day_reset": reset}), True
    assert refused_until(quota) <= time.now() + timedelta(days=1, seconds=1)


def test_a_clock_that_was_ahead(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    """Case 08: times that a clock wrote which was ahead were waited for, for hours, without a word."""
    book, ahead = ProcessBook(), NOON + timedelta(days=60)
    with book.open() as known:
        known.told_at, known.allowances["minute"].remaining = ahead, 0
        known.allowances["minute"].resets_at = known.allowances["minute"].began_at = ahead
        known.under_way["lost"] = Request("get.account", ahead, 0)
    ask(quota_of(time, book=book), minute_remaining=7, minute_reset=9)
    assert time.slept == [61]
    assert "get.account: waiting 61 s because the points of the minute are spent" in caplog.text
    with book.open() as known:
        assert (known.under_way, known.allowances["minute"].remaining) == ({}, 7)


# --- limits that are late, vanish or jump ----------------------------------------------------------------------------


def test_answers_without_limits(time: Time) -> None:
    """Limits that were told stay true when the next answers tell none: their points are counted."""
    quota = quota_of(time)
    ask(quota, day_remaining=5, day_reset=3600, minute_remaining=2, minute_reset=17)
    UnderWay(quota).ended()
    ask(quota)
    ask(quota)
    assert (time.slept, quota.left(), quota.points_spent) == ([], 3, 3)
    ask(quota)
    assert (time.slept, quota.left(), quota.points_spent) == ([18], 2, 4)
    ask(quota)
    ask(quota)
    assert refused_until(quota) == NOON + timedelta(hours=1, seconds=1)
    assert quota.points_spent == 6


def test_limits_that_vanish_for_days(time: Time) -> None:
    """An API that told its limits once is kept within them ever after; where a day begins has to be guessed then."""
    quota = quota_of(time)
    ask(quota, day_limit=10, day_remaining=0, day_reset=3600)
    time.pass_by(3601)
    for _ in range(10):
        ask(quota)
    began_at = time.now()
    assert refused_until(quota) == began_at + timedelta(days=1)
    time.pass_by(23 * 3600)
    assert refused_until(quota) == began_at + timedelta(days=1)
    time.pass_by(3600)
    ask(quota)


def test_points_that_only_we_count_come_back(time: Time) -> None:
    """Down to the reserve, with nobody telling when the day ends, no load ever began again: no end was assumed."""
    quota = quota_of(time, reserve=5)
    ask(quota, day_limit=10, day_remaining=0, day_reset=3600)
    time.pass_by(3601)
    for _ in range(5):
        ask(quota)
    assert quota.left() == 0
    time.pass_by(24 * 3600)
    assert quota.left() == 5


def test_limits_of_one_span_alone(time: Time) -> None:
    """An answer that tells of the minute alone cost a point of the day too."""
    quota = quota_of(time)
    ask(quota, day_remaining=10)
    ask(quota, minute_remaining=50)
    assert quota.left() == 9


def test_a_late_answer(time: Time) -> None:
    """An answer that was overtaken by another tells of points that the other one knows to be spent."""
    quota = quota_of(time)
    ask(quota, day_remaining=10, minute_remaining=10)
    early, late, latest = UnderWay(quota), UnderWay(quota), UnderWay(quota)
    latest.answered(day_remaining=7, minute_remaining=7)
    assert quota.left() == 7 - 2
    early.answered(day_remaining=9, minute_remaining=9)
    assert quota.left() == 7 - 1
    late.answered(day_remaining=8, minute_remaining=8)
    assert quota.left() == 7
    ask(quota, day_remaining=6, minute_remaining=6)
    assert quota.left() == 6


def test_an_answer_about_the_minute_before(time: Time) -> None:
    """An answer that comes when a new minute has begun already says nothing about that: neither points nor end."""
    quota = quota_of(time)
    ask(quota, minute_limit=10, minute_remaining=5, minute_reset=2)
    slow, slower = UnderWay(quota), UnderWay(quota)
    time.pass_by(4)
    ask(quota, minute_limit=10, minute_remaining=2, minute_reset=57)
    slow.answered(minute_limit=10, minute_remaining=4, minute_reset=1)
    time.pass_by(3)
    slower.answered(minute_limit=10, minute_remaining=3, minute_reset=0)
    for _ in range(2):
        ask(quota)
    assert time.slept == []
    ask(quota)
    assert time.now() == NOON + timedelta(seconds=4 + 57 + 1)


@pytest.mark.parametrize(("before", "after"), [(3, 500), (3, 4), (0, 1), (500, 20)])
def test_points_that_were_bought_or_spent_by_others(time: Time, before: int, after: int) -> None:
    """What is told of a request that nothing overtook is true, be it more or less than was told before."""
    quota = quota_of(time, insists=True)
    ask(quota, day_limit=3000, day_remaining=before)
    ask(quota, day_limit=3000, day_remaining=after)
    assert quota.left() == after


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"day_limit": 3000, "day_remaining": 11}, 10),  # late: before the request that overtook it
        ({"day_limit": 3000, "day_remaining": 12}, 12),  # more than one request can have cost
        ({"day_limit": 3001, "day_remaining": 11}, 11),  # another limit
        ({"day_limit": 3000, "day_remaining": 2}, 2),  # somebody else spent them
    ],
)
def test_points_that_were_bought_while_answers_overtake_each_other(time: Time, told: dict[str, int], left: int) -> None:
    """A late answer is told from one that says that points were bought by how many there are, and by their limit."""
    quota = quota_of(time)
    ask(quota, day_limit=3000, day_remaining=12)
    late, quick = UnderWay(quota), UnderWay(quota)
    quick.answered(day_limit=3000, day_remaining=10)
    late.answered(**told)
    assert quota.left() == left


def test_a_limit_that_falls(time: Time) -> None:
    """The reserve and the next day follow the limit that was told last."""
    quota = quota_of(time, reserve=100)
    ask(quota, day_limit=3000, day_remaining=1000, day_reset=60)
    assert quota.left() == 900
    ask(quota, day_limit=150, day_remaining=149, day_reset=60)
    assert quota.left() == 149 - 75
    time.pass_by(61)
    assert quota.left() == 150 - 75


# --- requests under way ----------------------------------------------------------------------------------------------


class Nudged(Time):
    """Time in which something happens when the clock has come to a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[tuple[datetime, Any]] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        super().sleep(seconds)
        for moment, happen in [entry for entry in self.due if entry[0] <= self.moment]:
            self.due.remove((moment, happen))
            happen()


@pytest.mark.parametrize("span", ["minute", "hour"])
def test_the_last_point_is_waited_for_while_it_is_under_way(span: str) -> None:
    """A request under way may take the last point: the next one is sent when it is known not to have taken it."""
    time = Nudged()
    quota = quota_of(time)
    ask(quota, **{f"{span}_remaining": 1, f"{span}_reset": 3000})
    first = UnderWay(quota)
    time.due.append((NOON + timedelta(seconds=7), first.ended))
    ask(quota)
    assert 7 <= sum(time.slept) <= 7.5


def test_the_last_point_that_was_taken(time: Time) -> None:
    """The point under way is taken: the next request waits for the end of the minute, not a second longer."""
    time = Nudged()
    quota = quota_of(time)
    ask(quota, minute_remaining=1, minute_reset=30)
    first = UnderWay(quota)
    time.due.append((NOON + timedelta(seconds=7), lambda: first.answered(minute_remaining=0, minute_reset=23)))
    ask(quota)
    assert time.now() == NOON + timedelta(seconds=31)


def test_points_of_the_day_under_way(time: Time) -> None:
    """The day is not given up while a request under way may leave a point; once it is known, it is."""
    time = Nudged()
    quota = quota_of(time, reserve=10)
    ask(quota, day_remaining=12, day_reset=3600)
    first, second = UnderWay(quota), UnderWay(quota)
    assert quota.left() == 0
    time.due += [
        (NOON + timedelta(seconds=3), lambda: first.answered(day_remaining=11, day_reset=3597)),
        (NOON + timedelta(seconds=5), lambda: second.answered(day_remaining=10, day_reset=3595)),
    ]
    assert refused_until(quota) == NOON + timedelta(hours=1, seconds=1)
    assert 5 <= sum(time.slept) <= 5.5


def test_a_request_that_never_ends(time: Time) -> None:
    """A request of a process that died holds its point for two minutes, and no longer."""
    quota = quota_of(time)
    ask(quota, day_remaining=1)
    dead = UnderWay(quota)
    ask(quota)
    assert timedelta(minutes=2) <= time.now() - NOON <= timedelta(minutes=2, seconds=1)
    del dead


def test_an_answer_after_its_request_was_given_up(time: Time) -> None:
    """An answer that comes after minutes is taken in all the same: what it tells is new, and its point was spent."""
    quota = quota_of(time)
    slow = UnderWay(quota)
    time.pass_by(500)
    ask(quota, day_remaining=20)
    slow.answered(day_remaining=8)
    assert (quota.left(), quota.points_spent) == (8, 2)


def test_a_request_that_fails(time: Time) -> None:
    """An error ends the request: it is raised, no point is counted, and nothing is under way any more."""
    quota = quota_of(time)
    ask(quota, day_remaining=1)
    with pytest.raises(RuntimeError, match="no answer"), quota.request("get.account"):
        raise RuntimeError("no answer")
    ask(quota)
    assert (time.slept, quota.points_spent) == ([], 2)


def test_nothing_is_held_back_before_anything_is_known(time: Time) -> None:
    """Of an API that tells no limits any number of requests may be under way."""
    quota = quota_of(time)
    under_way = [UnderWay(quota) for _ in range(5)]
    ask(quota)
    assert (time.slept, quota.left(), len(under_way)) == ([], None, 5)


# --- what work can be begun ------------------------------------------------------------------------------------------


def test_what_is_left(time: Time) -> None:
    """Points may be spent that are neither in reserve nor under way; none where too few are left, unknown stays so."""
    quota = quota_of(time, reserve=10)
    assert quota.left() is None
    ask(quota, minute_remaining=5)
    assert quota.left() is None
    ask(quota, day_remaining=15, day_limit=3000)
    assert quota.left() == 5
    with quota.request("get.account"):
        assert quota.left() == 4
    ask(quota, day_remaining=3)
    assert quota.left() == 0


def test_work_that_points_do_not_reach_for_is_not_begun(time: Time) -> None:
    """`require` raises when fewer points are left than are needed, says so, and spends none."""
    quota = quota_of(time, reserve=10)
    quota.require(10**9)
    ask(quota, day_remaining=15, day_limit=3000, day_reset=3600)
    for points in (0, 1, 5):
        quota.require(points)
    with pytest.raises(DayPointsSpentError, match="5 left, 6 are needed for days that cannot be loaded") as caught:
        quota.require(6)
    assert caught.value.until == NOON + timedelta(hours=1, seconds=1)
    assert quota.points_spent == 1
    time.moment = caught.value.until
    quota.require(2990)
    with pytest.raises(DayPointsSpentError) as caught:
        quota.require(2991)
    # Nothing is known of the new day's end.
    assert caught.value.until == time.now() + timedelta(hours=1)


# --- many at once ----------------------------------------------------------------------------------------------------


def test_quotas_with_one_book_know_the_same(time: Time) -> None:
    """What one hears all know, each with its own reserve, and each counts its own points."""
    book = ProcessBook()
    backfill, nightly = quota_of(time, 10, book), quota_of(time, 0, book)
    ask(nightly, day_remaining=10, day_reset=3600)
    refused_until(backfill)
    ask(nightly, day_remaining=9, day_reset=3600)
    assert (backfill.left(), nightly.left()) == (0, 9)
    assert (backfill.points_spent, nightly.points_spent) == (0, 2)


def test_threads_do_not_disturb_each_other() -> None:
    """No point is lost when threads share a quota."""
    quota = Quota()

    def work() -> None:
        for _ in range(500):
            ask(quota, day_remaining=10**6)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert quota.points_spent == 4000


class _WaitError(Exception):
    """A request may not be sent yet."""


@dataclass
class _Sent:
    """A request of the simulation: sent, then answered by the API, then heard of."""

    request: AbstractContextManager[Told]
    told: Told
    at: datetime
    is_answered: bool = False


class _Api:
    """An API that counts points by the clock's minute and the day, and says what is left as the sandbox does."""

    def __init__(self, time: Time, day_limit: int, minute_limit: int) -> None:
        self._time = time
        self._limits = {"day": day_limit, "minute": minute_limit}
        self.refused = 0
        self.spent: Counter[datetime] = Counter()

    def answer(self, told: Told) -> None:
        """What it says to a request, and whether that costs a point."""
        now = self._time.now()
        minute = now.replace(second=0, microsecond=0)
        starts = {"day": minute.replace(hour=0, minute=0), "minute": minute}
        spent = {
            span: sum(points for at, points in self.spent.items() if at >= start) for span, start in starts.items()
        }
        if any(spent[span] >= limit for span, limit in self._limits.items()):
            self.refused += 1
            return
        self.spent[minute] += 1
        limits: dict[str, int] = {}
        for span, length in (("day", timedelta(days=1)), ("minute", timedelta(minutes=1))):
            limits[f"{span}_limit"] = self._limits[span]
            limits[f"{span}_remaining"] = self._limits[span] - spent[span] - 1
            # Rounded down, the worse case.
            limits[f"{span}_reset"] = (starts[span] + length - now) // timedelta(seconds=1)
        told.limits, told.charged = Limits(**limits), True


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_refused_whatever_overtakes_what(seed: int) -> None:
    """Many send at once; answers come in any order, up to 20 s late, across the end of a minute: none is a refusal.

    And what may be spent is spent: the day ends with the reserve left, to the point.
    """
    chance, time = random.Random(seed), Time()
    time.moment = datetime(2026, 1, 15, 12, 0, chance.randrange(60), chance.randrange(10**6), tzinfo=UTC)
    api = _Api(time, day_limit=120, minute_limit=chance.choice((3, 10, 30)))
    book, reserve = ProcessBook(), chance.choice((0, 7, 50))

    def wait(seconds: float) -> None:
        raise _WaitError(seconds)

    quotas = [Quota(reserve, time.now, wait, book) for _ in range(4)]
    under_way: list[_Sent] = []

    def answer(sent: _Sent) -> None:
        api.answer(sent.told)
        sent.is_answered = True

    def hear(sent: _Sent) -> None:
        under_way.remove(sent)
        sent.request.__exit__(None, None, None)

    def send(quota: Quota) -> None:
        request = quota.request("get.account")
        try:
            under_way.append(_Sent(request, request.__enter__(), time.now()))
        except _WaitError as error:
            if not under_way:
                time.pass_by(error.args[0])

    def step() -> None:
        time.pass_by(chance.choice((0, 0, 0.05, 0.3, 2)))
        if under_way and time.now() - under_way[0].at > timedelta(seconds=20):
            # No answer takes longer.
            if not under_way[0].is_answered:
                answer(under_way[0])
            hear(under_way[0])
        silent = [sent for sent in under_way if not sent.is_answered]
        heard = [sent for sent in under_way if sent.is_answered]
        match chance.choice(("send", "send", "answer", "answer", "hear")):
            case "answer" if silent:
                answer(chance.choice(silent))
            case "hear" if heard:
                hear(chance.choice(heard))
            case "send" if len(under_way) < 12:
                send(chance.choice(quotas))

    with quotas[0].request("get.account") as told:
        api.answer(told)  # until something is known, nothing can be kept
    with suppress(DayPointsSpentError):
        while True:
            step()
    for sent in list(under_way):
        hear(sent)
    assert api.refused == 0
    assert sum(api.spent.values()) == 120 - reserve
    assert {quota.left() for quota in quotas} == {0}
