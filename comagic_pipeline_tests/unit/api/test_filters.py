"""Filters in words: what cannot be understood and where, and the trees that go to the API."""

import json
import time
from datetime import UTC
from typing import Any

import msgspec
import pytest

from comagic_pipeline.api.filters.parser import (
    MAX_NESTING,
    MAX_PARTS,
    FilterError,
    all_of,
    parse_filter,
)
from comagic_pipeline.api.rows import RowDecoder
from comagic_pipeline.catalog import methods

CALLS, COMMUNICATIONS, CHATS = (methods()[f"get.{name}_report"] for name in ("calls", "communications", "chats"))
STATISTICS, DEALS = methods()["get.campaign_daily_stat"], methods()["get.deals"]
SECRET = "79161234567"
ROW = b'[{"id": 1, "start_time": "2026-01-02 03:04:05", "utm_term": "%s"}]'


def is_(field: str, operator: str, value: Any) -> dict[str, Any]:
    """A condition of the API."""
    return {"field": field, "operator": operator, "value": value}


def both(*filters: Any) -> dict[str, Any]:
    """All of these."""
    return {"filters": list(filters), "condition": "and"}


def either(*filters: Any) -> dict[str, Any]:
    """Any of these."""
    return {"filters": list(filters), "condition": "or"}


# What cannot be understood

WRONG = [
    ("", 1, "expected a column, found the end"),
    ("direction", 10, "expected is, not, in, like, =, !=, <, <=, > or >=, found the end"),
    ("direction = 'in' direction", 18, "expected and, or, or the end, found a word"),
    ("direction = 'in' and", 21, "expected a column, found the end"),
    ("(direction = 'in'", 18, "expected ')', found the end"),
    ("direction = 'in')", 17, "expected and, or, or the end, found ')'"),
    ("not direction == 'in'", 16, "expected a text in single quotes, as direction holds it, found '='"),
    ("directon = 'in'", 1, "calls_report, character 1: calls_report has no such column; did you mean direction?"),
    ("is_lost = true or xyzzy = 1", 19, "calls_report has no such column"),
    ("null = 1", 1, "expected a column, found 'null'"),
    ("direction in 'in'", 14, "expected '(', found a text"),
    ("direction in ()", 15, "expected a text in single quotes, as direction holds it, found ')'"),
    ("direction in ('in' 'out')", 20, "expected ',', found a text"),
    ("direction in ('in', null)", 21, "nothing equals null: write direction is null, or is not null"),
    ("direction = null", 13, "nothing equals null: write direction is null, or is not null"),
    ("direction is 'in'", 14, "expected 'null', found a text"),
    ("direction not = 'in'", 15, "expected in or like, found '='"),
    ("direction > 'in'", 11, "> does not apply to direction, which holds a text in single quotes"),
    ("is_lost < true", 9, "< does not apply to is_lost, which holds true or false"),
    ("talk_duration like '1%'", 15, "like does not apply to talk_duration, which holds a whole number"),
    ("tags = 'vip'", 6, "tags is nested: only is null and is not null apply to it"),
    ("tags not in ('vip')", 6, "tags is nested: only is null and is not null apply to it"),
    ("is_lost = 1", 11, "expected true or false, as is_lost holds it, found a number"),
    (
        "talk_duration = 1.5",
        17,
        "expected a whole number of at most 64 bits, as talk_duration holds it, found a number",
    ),
    ("talk_duration = 9223372036854775808", 17, "expected a whole number of at most 64 bits"),
    (f"talk_duration = {'9' * 5000}", 17, "expected a whole number of at most 64 bits"),
    ("start_time > '2026-02-30'", 14, "expected a time, 'YYYY-MM-DD' or 'YYYY-MM-DD hh:mm:ss', as start_time holds it"),
    ("start_time > '20260203'", 14, "expected a time"),
    ("start_time > '2026-02-03T10:00:00'", 14, "expected a time"),
    ("start_time > '2026-02-03 10:00:00.5'", 14, "expected a time"),
    ("start_time > '2026-02-03 10:00:00+03:00'", 14, "expected a time"),
    ("start_time > 20260203", 14, "expected a time"),
    (
        "(" * (MAX_NESTING + 1) + "is_lost = true" + ")" * (MAX_NESTING + 1),
        MAX_NESTING + 2,
        f"more than {MAX_NESTING} parentheses stand in each other",
    ),
]


@pytest.mark.parametrize(("text", "position", "message"), WRONG, ids=[text[:40] for text, *_ in WRONG])
def test_errors_say_where_and_what(text: str, position: int, message: str) -> None:
    """One line names the report, the position of the word that does not fit, and what was expected there."""
    with pytest.raises(FilterError) as caught:
        parse_filter(text, CALLS)
    assert str(caught.value).startswith(f"filter of calls_report, character {position}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"contact_phone_number = {SECRET}",
        f"contact_phone_number = p{SECRET}",
        f"contact_phone_number = '{SECRET}",
        f"contact_phone_number = '1' '{SECRET}'",
        f'contact_phone_number = "{SECRET}"',
        f"contact_phone_number = '1' or p{SECRET}",
        f"contact_phone_number = '1' p{SECRET}",
        f"contact_phone_number p{SECRET}",
        f"talk_duration = '{SECRET}'",
        f"talk_duration = {SECRET}.5",
        f"is_lost = {SECRET}",
        f"{SECRET} = contact_phone_number",
    ],
)
def test_errors_repeat_no_value(text: str) -> None:
    """A phone number that stands where it should not, quoted or not, is not in the message."""
    with pytest.raises(FilterError) as caught:
        parse_filter(text, CALLS)
    assert SECRET[:5] not in str(caught.value)


# Trees

TREES = [
    (CALLS, "direction = 'in'", is_("direction", "=", "in")),
    (CALLS, "DIRECTION <> 'it''s'", is_("direction", "!=", "it's")),
    (CALLS, "not is_lost = false", is_("is_lost", "!=", False)),
    (CALLS, "utm_source is null and not utm_medium is null",
     both(is_("utm_source", "=", None), is_("utm_medium", "!=", None))),
    # the API's in does not work everywhere; not (a or b) is not a and not b
    (CALLS, "site_id in (1, -2)", either(is_("site_id", "=", 1), is_("site_id", "=", -2))),
    (CALLS, "site_id not in (1, -2)", both(is_("site_id", "!=", 1), is_("site_id", "!=", -2))),
    (CALLS, "not (site_id in (1, 2) and is_lost = true)",
     either(both(is_("site_id", "!=", 1), is_("site_id", "!=", 2)), is_("is_lost", "!=", True))),
    (CALLS, "not (site_id < 5 or not site_id <= 9)", both(is_("site_id", ">=", 5), is_("site_id", "<=", 9))),
    (CALLS, "(site_id = 1 and site_id > 2) and (site_id < 3)",
     both(is_("site_id", "=", 1), is_("site_id", ">", 2), is_("site_id", "<", 3))),
    # what the API cannot do is left to the client: start_time is not filterable
    (CALLS, "start_time > '2026-01-01'", None),
    (CALLS, "start_time > '2026-01-01' and is_lost = true", is_("is_lost", "=", True)),
    (CALLS, "start_time > '2026-01-01' or is_lost = true", None),
    (CALLS, "tags is not null", None),
    # clients see a text where the documentation says number
    (CHATS, "visitor_phone_number = '79161234567'", None),
    # like: the API is told of % alone, an enum cannot be searched, not like is not known everywhere
    (CALLS, "utm_source like 'ya%'", is_("utm_source", "like", "ya%")),
    (CALLS, r"utm_source like '100\%_a\\%'", is_("utm_source", "like", "100%a%")),
    (CALLS, "utm_source not like 'ya%'", None),
    (CALLS, "direction like 'i%'", None),
    # times: a day more to either side, for whose wall time is meant is not documented
    (COMMUNICATIONS, "date_time >= '2026-03-01'", is_("date_time", ">=", "2026-02-28 00:00:00")),
    (COMMUNICATIONS, "date_time < '2026-03-01 10:20:30'", is_("date_time", "<=", "2026-03-02 10:20:30")),
    (COMMUNICATIONS, "date_time = '2026-03-01'",
     both(is_("date_time", ">=", "2026-02-28 00:00:00"), is_("date_time", "<=", "2026-03-02 00:00:00"))),
    (COMMUNICATIONS, "date_time != '2026-03-01'", None),
    (COMMUNICATIONS, "date_time > '0001-01-01'", is_("date_time", ">=", "0001-01-01 00:00:00")),
    (STATISTICS, "not date <= '2026-03-01'", is_("date", ">=", "2026-02-28")),
]  # fmt: skip


@pytest.mark.parametrize(("method", "text", "tree"), TREES, ids=[text for _, text, _ in TREES])
def test_trees(method: Any, text: str, tree: Any) -> None:
    """The API is asked what it can surely answer, in operators that every method knows."""
    chosen = parse_filter(text, method)
    assert chosen.tree == tree
    assert chosen.text == text


def test_numbers_go_exactly_or_not_at_all() -> None:
    """A decimal is sent as the JSON number that is written; one that would be rounded on its way is not sent."""
    sent = json.loads(msgspec.json.encode(parse_filter("sale_cost >= 0.10", CALLS).tree))
    assert sent == is_("sale_cost", ">=", 0.1)
    assert parse_filter("sale_cost >= 12345678901234567.89", CALLS).tree is None
    assert parse_filter("sale_cost >= 5", CALLS).tree == is_("sale_cost", ">=", 5)


def test_deep_trees_become_weaker() -> None:
    """Groups deeper than the documentation shows are left out, in the way that lets more rows through, never fewer."""
    one, two, three, four, five = (is_("site_id", "=", number) for number in range(1, 6))
    deep = "site_id = 1 or (site_id = 2 and (site_id = 3 or (site_id = 4 and site_id = 5)))"
    assert parse_filter(deep, CALLS).tree == either(one, both(two, either(three, four)))
    opposite = "site_id = 1 and (site_id = 2 or (site_id = 3 and (site_id = 4 or site_id = 5)))"
    assert parse_filter(opposite, CALLS).tree == both(one, either(two, three))
    assert all_of(CALLS, parse_filter(deep, CALLS).tree, five) == both(either(one, two), five)
    # lists of the report constructor take two levels
    text = "not(deal_revenue = 1 and (deal_revenue = 2 or (deal_revenue = 3 and deal_revenue = 4)))"
    assert parse_filter(text, DEALS).tree == either(is_("deal_revenue", "!=", 1), is_("deal_revenue", "!=", 2))


def test_long_trees_become_weaker() -> None:
    """Of a long `and` the first parts are sent, of a long `or` nothing; the client does the rest."""
    numbers = ", ".join(map(str, range(MAX_PARTS + 1)))
    assert parse_filter(f"site_id in ({numbers})", CALLS).tree is None
    tree = parse_filter(f"site_id not in ({numbers})", CALLS).tree
    assert tree == both(*(is_("site_id", "!=", number) for number in range(MAX_PARTS)))
    assert all_of(CALLS) is None
    assert all_of(CALLS, None, is_("site_id", "=", 1), None) == is_("site_id", "=", 1)


def test_like_is_quick_on_long_texts() -> None:
    """A pattern with several % took time without end on a long address that it does not fit."""
    row = RowDecoder(CALLS, UTC).decode(msgspec.Raw(ROW % ("a" * 20_000).encode())).rows[0]
    start = time.monotonic()
    assert not parse_filter("utm_term like '%a%a%a%a%a%a_a%b'", CALLS).keeps(row)
    assert parse_filter("utm_term like 'a%a%a%a%a%a%a_a%a'", CALLS).keeps(row)
    assert time.monotonic() - start < 5
