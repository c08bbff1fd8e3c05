"""What follows from what: a filter that is said to be within another never keeps a row that the other one drops."""

import random
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from comagic_pipeline.api.filters.parser import Filter, parse_filter
from comagic_pipeline.catalog import tables

CALLS = tables()["calls_report"]


def of(text: str) -> Filter:
    return parse_filter(text, CALLS)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("is_lost = true", "is_lost = true"),
        ("is_lost = true and direction = 'in'", "direction = 'in'"),
        ("direction = 'in' and is_lost = true", "is_lost = true and direction = 'in'"),
        ("direction = 'in'", "direction = 'in' or is_lost = true"),
        ("direction = 'in'", "direction in ('in', 'out')"),
        ("utm_source in ('a', 'b')", "utm_source in ('a', 'b', 'c')"),
        ("utm_source in ('a', 'b')", "utm_source != 'c'"),
        ("utm_source = 'yandex'", "utm_source like 'ya%'"),
        ("utm_source not in ('a', 'b')", "utm_source != 'a'"),
        ("talk_duration > 30", "talk_duration >= 30"),
        ("talk_duration >= 31", "talk_duration > 30"),
        ("talk_duration = 31", "talk_duration > 30"),
        ("talk_duration < 5", "talk_duration != 5"),
        ("talk_duration < 5", "talk_duration is not null"),
        ("not (is_lost = true or talk_duration < 5)", "talk_duration >= 5"),
        ("start_time >= '2026-03-02'", "start_time >= '2026-03-01'"),
        ("(is_lost = true and talk_duration > 5) or talk_duration > 9", "talk_duration > 5"),
        ("tags is not null", "tags is not null"),
        ("utm_source is null", "utm_source is null or is_lost = true"),
    ],
)
def test_what_follows_is_seen(narrow: str, wide: str) -> None:
    """The narrower filter is within the wider one, and every filter is within none at all."""
    assert of(narrow).is_within(of(wide))
    assert of(narrow).is_within(None)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("direction = 'in'", "is_lost = true"),
        ("direction = 'in' or is_lost = true", "direction = 'in'"),
        ("utm_source in ('a', 'c')", "utm_source in ('a', 'b')"),
        ("talk_duration >= 30", "talk_duration > 30"),
        ("talk_duration > 3", "talk_duration < 9"),
        ("utm_source is null", "utm_source != 'vk'"),
        ("utm_source != 'vk'", "utm_source is null or is_lost = true"),
        ("utm_source like 'y%'", "utm_source = 'yandex'"),
        ("utm_source != 'a'", "utm_source not in ('a', 'b')"),
    ],
)
def test_what_does_not_follow_is_not_claimed(narrow: str, wide: str) -> None:
    """There are rows that only the first one keeps."""
    assert not of(narrow).is_within(of(wide))


def random_filter(dice: random.Random, depth: int = 3) -> str:
    """An expression over three columns, of conditions of every kind."""
    if depth and dice.random() < 0.6:
        joint = dice.choice([" and ", " or "])
        parts = [random_filter(dice, depth - 1) for _ in range(dice.randint(2, 3))]
        return dice.choice(["", "not "]) + f"({joint.join(parts)})"
    numbers = [str(dice.randint(0, 3)) for _ in range(dice.randint(1, 3))]
    texts = [dice.choice(["'a'", "'ab'", "'b'"]) for _ in range(dice.randint(1, 3))]
    return dice.choice(
        [
            f"talk_duration {dice.choice(['=', '!=', '<', '<=', '>', '>='])} {numbers[0]}",
            f"talk_duration {dice.choice(['in', 'not in'])} ({', '.join(numbers)})",
            f"utm_source {dice.choice(['=', '!='])} {texts[0]}",
            f"utm_source {dice.choice(['in', 'not in'])} ({', '.join(texts)})",
            f"utm_source {dice.choice(['like', 'not like'])} " + dice.choice(["'a%'", "'%b'", "'_'"]),
            f"{dice.choice(['utm_source', 'talk_duration'])} is {dice.choice(['', 'not '])}null",
            f"is_lost = {dice.choice(['true', 'false'])}",
        ]
    )


def test_no_row_disproves_what_is_claimed() -> None:
    """Two thousand pairs of random filters, held against all rows that they could tell apart."""
    dice = random.Random("filters")
    values: list[Any] = list(product([None, 0, 1, 2, 3, 4], [None, "a", "ab", "b", "c"], [None, True, False]))
    rows: list[Any] = [SimpleNamespace(talk_duration=t, utm_source=u, is_lost=lost) for t, u, lost in values]
    claimed = 0
    for _ in range(2000):
        narrow = random_filter(dice, 2)
        wide = dice.choice([random_filter(dice, 2), f"{narrow} or {random_filter(dice, 1)}"])
        one, other = of(narrow), of(wide)
        if one.is_within(other):
            claimed += 1
            assert all(other.keeps(row) for row in rows if one.keeps(row)), (narrow, wide)
    assert claimed > 500


def test_many_parts_take_no_time() -> None:
    """Deep nesting once took for ever: every pair of parts was compared anew on each way to it."""
    deep = "is_lost = true"
    for number in range(45):
        deep = f"({deep} and talk_duration > {number}) or direction = 'x{number}'"
    assert of(deep).is_within(of(deep.replace("x44", "x44")))
    assert not of(deep).is_within(of("talk_duration > 44"))


def test_a_filter_names_its_columns() -> None:
    """What decides about a row, so that it is asked for."""
    assert of("not (is_lost = true and (tags is null or utm_source in ('a')))").columns == {
        "is_lost",
        "tags",
        "utm_source",
    }
