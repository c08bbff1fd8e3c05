"""Input and expectation for the tests of the star: raw rows, and what they mean, in plain Python.

`expect` computes the star independently of the SQL; tests compare, they are not here.
"""

import hashlib
import random
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, Text
from sqlalchemy.dialects.postgresql import JSON

from comagic_pipeline import catalog
from comagic_pipeline.warehouse.raw import raw_table
from comagic_pipeline.warehouse.star import tables
from comagic_pipeline.warehouse.star.build import Account

Row = dict[str, Any]

JANUARY = (date(2026, 1, 1), date(2026, 1, 31))
MAIN = Account(1, "Главный «счёт»")
OTHER = Account(2, "Other")
LOADED = datetime.fromisoformat("2026-02-01 03:00:00+00:00")
LONG = "https://shop.example/?q=" + "длинный, 'путь'" * 60

CALLS = raw_table(catalog.tables()["calls_report"])
CAMPAIGNS = raw_table(catalog.tables()["campaigns"])
NOT_AVAILABLE = "not available"


def call(call_id: int, start: str, account: Account = MAIN, **columns: Any) -> Row:
    """A raw call of which everything but `columns` is NULL."""
    start_time = datetime.fromisoformat(start)
    given = {"account_id": account.account_id, "customer_user_id": 0, "loaded_at": LOADED, "id": call_id}
    return (
        dict.fromkeys(CALLS.columns.keys())
        | given
        | {
            "start_time": start_time,
            "event_date": start_time.date(),
            **columns,
        }
    )


def campaign(campaign_id: int, account: Account = MAIN, **columns: Any) -> Row:
    given = {"account_id": account.account_id, "customer_user_id": 0, "loaded_at": LOADED, "id": campaign_id}
    return dict.fromkeys(CAMPAIGNS.columns.keys()) | given | columns


def tag(tag_id: Any, name: Any = "Продажа", changed: str | None = None, kind: Any = "manual") -> Row:
    return {"tag_id": tag_id, "tag_name": name, "tag_type": kind, "tag_change_time": changed}


CAPTIONS = {
    "first": "Первое качественное обращение",
    "through": "Сквозное первое качественное обращение",
    "primary": "Первичное обращение",
    "secondary": "Повторное обращение",
    "lost": "Потерянное обращение",
    "target": "Целевое обращение",
    "off-target": "Нецелевое обращение",
    "quality": "Качественное обращение",
    "rest": "Повторное целевое обращение",
}
DURATIONS = [column.name for column in tables.comagic_calls_facts.columns if column.name.endswith("_duration")]
MONTHS = [
    "Январь", "Февраль", "Март", "Апрель", "Май", "Июнь", "Июль", "Август", "Сентябрь", "Октябрь", "Ноябрь", "Декабрь",
]  # fmt: skip
WEEKDAYS = ["Понедельник", "Вторник", "Среда", "Четверг", "Пятница", "Суббота", "Воскресенье"]
NO_DATE = datetime.fromisoformat("9999-12-31")


def cut(table: Table, **values: Any) -> dict[str, Any]:
    """The values as wide as the table's columns."""
    return {
        name: None if value is None else str(value)[: getattr(table.columns[name].type, "length", None)]
        for name, value in values.items()
    }


def hashed(*values: str | None) -> str:
    return hashlib.md5(",".join("None" if value is None else value for value in values).encode()).hexdigest()


def expect_fact(raw: Row) -> Row:
    """A fact with the values of its dimensions instead of their keys."""
    own = {"direction": raw["direction"], "finish_reason": raw["finish_reason"], "call_source": raw["source"]}
    return {
        "account_id": raw["account_id"],
        "call_id": raw["id"],
        "full_date": raw["start_time"].replace(microsecond=0),
        "campaign_id": raw["campaign_id"] or 0,
        "is_lost": bool(raw["is_lost"]),
        **cut(tables.general_clientids, clientid=first_given(raw["ua_client_id"], raw["ym_client_id"], NOT_AVAILABLE)),
        **cut(
            tables.general_locations,
            country=raw["visitor_country"],
            region=raw["visitor_region"],
            city=raw["visitor_city"],
        ),
        **cut(
            tables.general_traffic,
            source=raw["utm_source"],
            medium=raw["utm_medium"],
            campaign=raw["utm_campaign"],
            content=raw["utm_content"],
            keyword=raw["utm_term"],
            landing_page=raw["entrance_page"],
        ),
        **cut(tables.general_sites, domain=raw["site_domain_name"]),
        **cut(
            tables.comagic_calls,
            **{name: first_given(value, "unknown") for name, value in own.items()},
            visitor_device=first_given(raw["visitor_device"], "unknown"),
            **{name: raw[name] for name in ("contact_phone_number", "virtual_phone_number", "channel", "referrer")},
            **{name: raw[name] for name in ("visitor_id", "visitor_session_id")},
        ),
        **{name: raw[name] or 0 for name in DURATIONS},
    }


def first_given(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def expect_tags(raw: Row) -> list[tuple[Any, ...]]:
    latest: dict[int, tuple[str, int, Row]] = {}
    for position, item in enumerate(raw["tags"] if isinstance(raw["tags"], list) else []):
        if not isinstance(item, dict) or not str(item.get("tag_id")).lstrip("-").isdigit():
            continue
        put = (item.get("tag_change_time") or "", position, item)
        tag_id = int(item["tag_id"])
        if tag_id not in latest or put[:2] > latest[tag_id][:2]:
            latest[tag_id] = put
    return [
        (raw["account_id"], raw["id"], tag_id, first_given(item.get("tag_name"), "unknown")[:128],
         first_given(item.get("tag_type"), "unknown")[:8])
        for tag_id, (_, _, item) in latest.items()
    ]  # fmt: skip


def expect_attributes(raw: Row) -> list[tuple[Any, ...]]:
    items = raw["attributes"] if isinstance(raw["attributes"], list) else []
    codes = {item[:16]: item for item in sorted((i for i in items if isinstance(i, str)), reverse=True)}
    return [(raw["account_id"], raw["id"], short, CAPTIONS.get(code, code)[:128]) for short, code in codes.items()]


def expect_campaigns(calls: list[Row], campaigns: list[Row]) -> dict[tuple[int, int], tuple[Any, ...]]:
    names = ("name", "description", "campaign_type", "engine", "status", "cost_ratio_operator")
    found: dict[tuple[int, int], tuple[Any, ...]] = {}
    for raw in sorted(calls, key=lambda row: (row["campaign_name"] is not None, row["start_time"], row["id"])):
        name = cut(tables.comagic_campaigns, name=raw["campaign_name"] if raw["campaign_id"] else None)
        found[raw["account_id"], raw["campaign_id"] or 0] = (name["name"], None, None, None, None, None, None, None)
    for raw in campaigns:
        values = cut(tables.comagic_campaigns, **{name: raw[name.removeprefix("campaign_")] for name in names})
        found[raw["account_id"], raw["id"]] = (*values.values(), raw["costs"], raw["cost_ratio"])
    return found


def expect_date(full_date: datetime) -> Row:
    quarter = (full_date.month + 2) // 3
    return {
        "full_date": full_date,
        "year": full_date.year,
        "quarter": quarter,
        "quarter_label": ("I", "II", "III", "IV")[quarter - 1],
        "month": full_date.month,
        "month_label": MONTHS[full_date.month - 1],
        "week": full_date.isocalendar().week,
        "weekday": full_date.isoweekday(),
        "weekday_label": WEEKDAYS[full_date.weekday()],
        "day": full_date.day,
        "hour": full_date.hour,
        "minute": full_date.minute,
        "date_hash": hashlib.md5(str(full_date).encode()).hexdigest(),
        "simple_date": full_date.date(),
        "time_zone": 0,
    }


def expect(calls: list[Row], campaigns: list[Row]) -> dict[str, Any]:
    """The whole star in values: facts, children and campaigns by account, dimensions without their ids."""
    by_load = sorted(calls, key=lambda row: (row["loaded_at"], row["event_date"]))
    latest = list({(row["account_id"], row["id"]): row for row in by_load}.values())
    facts = [expect_fact(raw) for raw in latest]
    traffic = {
        tuple(fact[n] for n in ("source", "medium", "campaign", "content", "keyword", "landing_page")) for fact in facts
    }
    places = {tuple(fact[n] for n in ("country", "region", "city")) for fact in facts}
    return {
        "facts": sorted(facts, key=lambda fact: (fact["account_id"], fact["call_id"])),
        "tags": sorted(row for raw in latest for row in expect_tags(raw)),
        "attributes": sorted(row for raw in latest for row in expect_attributes(raw)),
        "campaigns": expect_campaigns(latest, campaigns),
        "traffic": by_text((None, *values, hashed(None, *values)) for values in traffic),
        "locations": by_text(
            (None, country, None, region, city, None, None, hashed(None, country, None, region, city, None, None))
            for country, region, city in places
        ),
        "sites": by_text((domain, None) for domain in {fact["domain"] for fact in facts}),
        "clientids": by_text((client, None, None, None) for client in {fact["clientid"] for fact in facts}),
        "dates": [expect_date(full_date) for full_date in sorted({fact["full_date"] for fact in facts} | {NO_DATE})],
    }


def by_text(rows: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in rows), key=repr)


NASTY_TEXT = (
    None,
    "",
    "a",
    "a,b",
    "b",
    "None",
    'it\'s "quoted"',
    "tab\tand\nline",
    "🙂 эмодзи",
    "back\\slash",
    " a ",
    "%s :x {raw}",
    LONG,
)
NASTY_TAGS: tuple[Any, ...] = (
    None, [], {}, JSON.NULL, "text", 7, [None, 1, "x", [], {}], [{"tag_name": "no id"}],
    [tag(None), tag("x"), tag(1.5)],
    [tag(1), tag(-2, "it's 🙂", kind=None)], [tag("62001", None)], [tag(5, LONG, kind="automatic")],
    [tag(1, "old", "2026-01-01 10:00:00"), tag(1, "new", "2026-01-02 09:00:00"), tag(1, "none")],
    [tag(3, "same", "2026-01-01 10:00:00"), tag(3, "later in the list", "2026-01-01 10:00:00")],
)  # fmt: skip
NASTY_ATTRIBUTES: tuple[Any, ...] = (
    None, [], {}, JSON.NULL, "first", [None, 1, {}, ["first"]], list(CAPTIONS), ["first", "first"], ["новый, 'код'"],
    ["a code longer than sixteen", "a code longer than seventeen"],
)  # fmt: skip
NASTY_COLUMNS = [
    column.name
    for column in CALLS.columns
    if isinstance(column.type, Text) and column.name not in ("ua_client_id", "ym_client_id")
]


def nasty_calls(account: Account, count: int = 400, seed: int = 7) -> list[Row]:
    """Calls of January with every kind of value that the API may give, and NULLs everywhere."""
    dice = random.Random(seed)
    rows = []
    for number in range(count):
        start = datetime.combine(JANUARY[0], time()) + timedelta(days=dice.randrange(31), seconds=dice.randrange(86400))
        columns: Row = {name: dice.choice(NASTY_TEXT) for name in NASTY_COLUMNS if dice.random() < 0.7}
        columns |= {name: dice.choice((None, 0, 1, 86400)) for name in DURATIONS}
        columns |= {
            "ua_client_id": dice.choice((None, None, "1.2", LONG)),
            "ym_client_id": dice.choice((None, "17", "not available")),
            "campaign_id": dice.choice((None, 0, -1, 77001, 77002)),
            "campaign_name": "Удалена 🙂",
            "visitor_id": dice.choice((None, 9_000_000_001)),
            "visitor_session_id": dice.choice((None, -1)),
            "is_lost": dice.choice((None, True, False)),
            "tags": dice.choice(NASTY_TAGS),
            "attributes": dice.choice(NASTY_ATTRIBUTES),
        }
        call_id = dice.choice((-1, 1)) * (3_331_000_000 + number)
        rows.append(call(call_id, f"{start}.{dice.randrange(10**6):06}", account, **columns))
    again = [replaced(row, days=1, source="again") for row in rows[:10] if row["event_date"] < JANUARY[1]]
    return rows + again


def replaced(row: Row, days: int, hours: int = 1, **columns: Any) -> Row:
    """The same call as a later load gave it, on a day `days` later."""
    start_time = row["start_time"] + timedelta(days=days)
    return (
        row
        | columns
        | {
            "start_time": start_time,
            "event_date": start_time.date(),
            "loaded_at": row["loaded_at"] + timedelta(hours=hours),
        }
    )


NASTY_CAMPAIGNS = [
    campaign(77001, name=LONG, description="it's", type="basic", engine="yandex.direct", status="active",
             costs=Decimal("1534.20"), cost_ratio=Decimal("1.5"), cost_ratio_operator="wo_changes"),
    campaign(-5),
    campaign(77001, OTHER, name="Another account's"),
]  # fmt: skip
