"""Pages of long periods: what they cost, what stays in memory, and that counts are never stale."""

import tracemalloc
from datetime import UTC, date, datetime
from typing import Any

import pytest

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.paging import Page, read_page
from comagic_pipeline.sandbox.parameters import read_query
from comagic_pipeline.sandbox.settings import Settings
from comagic_pipeline.sandbox.world import World

LATER = datetime(2026, 1, 1, tzinfo=UTC)
MONTH = {"date_from": "2025-03-01 12:00:00", "date_till": "2025-03-31 11:59:59"}
CALLS, LEGS, MESSAGES = "get.calls_report", "get.call_legs_report", "get.chat_messages_report"
COMMUNICATIONS, VISITS = "get.communications_report", "get.visitor_sessions_report"
CHATS, GOALS, OFFLINE = "get.chats_report", "get.goals_report", "get.offline_messages_report"
TALKED = {"field": "is_talked", "operator": "=", "value": True}
Row = dict[str, Any]


class Diligent(World):
    """A world that notes the days it makes; each is made anew, for nothing stays in memory."""

    def __init__(self, calls_per_day: int = 20) -> None:
        super().__init__(calls_per_day=calls_per_day, now=lambda: LATER, cached_rows=0)
        self.days: set[date] = set()

    def made(self, maker: Any, day: date) -> list[Row]:
        """What the generators give."""
        self.days.add(day)
        return super().made(maker, day)


def page(world: World, method: str, **params: Any) -> Page:
    """A page of a month."""
    rules = specification.methods()[method]
    params = {"access_token": "", "limit": 10} | MONTH | params
    return read_page(world, rules, read_query(rules, params, Settings()), None)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (CALLS, {"sort": [{"field": "start_time"}]}),
        (CALLS, {"filter": {"field": "direction", "operator": "=", "value": "in"}}),
        (VISITS, {}),
        (LEGS, {"sort": [{"field": "start_time", "order": "desc"}]}),
        (LEGS, {"filter": TALKED}),
        (MESSAGES, {"date_till": "2025-03-30 11:59:59"}),
        (COMMUNICATIONS, {}),
    ],
)
def test_later_pages_make_their_own_days_only(method: str, params: Row) -> None:
    """A month of rows was made anew for each of its pages, for how many there are was not remembered."""
    world = Diligent()
    first = page(world, method, **params)
    world.days.clear()
    assert page(world, method, **params, offset=first.total_items // 2).total_items == first.total_items
    # The ends of the month, which are no whole days, and the days beside those of the page: rows are made of theirs.
    assert 0 < len(world.days) <= 5


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((method, {}) for method in (CALLS, CHATS, GOALS, VISITS, OFFLINE, COMMUNICATIONS)),
        (CALLS, {"include_ongoing_calls": True}),
        (OFFLINE, {"include_tech_offline_messages": True}),
    ],
)
def test_known_counts_are_right(method: str, options: Row) -> None:
    """Days that are counted without being made hold just that many rows, also in a tiny account.

    The first page of a large window of requests took minutes: all of its days were made to be counted.
    """
    for calls_per_day in (0, 1, 3, 40):
        world = Diligent(calls_per_day)
        sections = world.sections(method, "2025-03-02 00:00:00", "2025-03-09 23:59:59", options)
        counts = [section.count for section in sections]
        assert not world.days
        assert counts == [len(section.rows()) for section in sections]


def test_counts_follow_the_world_and_the_question() -> None:
    """A number of rows is remembered for one question, and until the world changes."""
    world = Diligent()
    usual, talked = (page(world, LEGS, **params).total_items for params in ({}, {"filter": TALKED}))
    assert talked == sum(row["is_talked"] for row in world.rows(LEGS, *MONTH.values())) < usual
    assert page(world, LEGS, date_till="2025-03-31 23:59:59").total_items > usual
    legs = page(world, LEGS).rows
    world.delete(CALLS, legs[0]["call_session_id"])
    assert page(world, LEGS).total_items < usual
    world.restore(CALLS, legs[0]["call_session_id"])
    assert page(world, LEGS).total_items == usual
    usual = page(world, OFFLINE).total_items
    assert page(world, OFFLINE, include_tech_offline_messages=True).total_items > usual


def test_counts_follow_the_clock() -> None:
    """The rows of a day that goes on are counted with each request."""
    world = Diligent()
    totals = []
    for hour in (6, 12, 18):
        world.now = lambda hour=hour: datetime(2025, 3, 20, hour, tzinfo=UTC)  # type: ignore[misc]
        totals.append(page(world, LEGS).total_items)
        assert totals[-1] == len(world.rows(LEGS, *MONTH.values()))
    assert totals == sorted(set(totals))


def test_memory_is_bounded() -> None:
    """Reading months leaves no more rows in memory than were allowed, whatever the report is made of."""

    def kept(cached_rows: int) -> int:
        world = World(calls_per_day=10, now=lambda: LATER, cached_rows=cached_rows)
        page(world, LEGS, limit=1)
        tracemalloc.start()
        total = page(world, LEGS, limit=1).total_items
        page(world, VISITS, limit=1, offset=3000)
        page(world, COMMUNICATIONS, limit=1, filter={"field": "site_id", "operator": "=", "value": 4501})
        assert total > 600
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    assert kept(cached_rows=100) < kept(cached_rows=100_000) / 5
