"""Input and expectation for the tests of the star: raw rows, and what they mean, in plain Python.

`expect` computes the star independently of the SQL; tests compare, they are not here.
"""

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from types import SimpleNamespace
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, Numeric, String, Table, Text
from sqlalchemy.dialects.postgresql import JSON

from comagic_pipeline import catalog
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.raw.tables import raw_table
from comagic_pipeline.warehouse.star.build import Account
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.kinds import KINDS
from comagic_pipeline.warehouse.star.tables import metadata

Row = dict[str, Any]
Key = tuple[int, int, int]
"""Account, customer and id of a row."""

OWNER = ("id", "account_id", "customer_user_id")
"""Columns that a row of the star has besides what the API says."""

tables = SimpleNamespace(**{table.name: table for table in metadata.sorted_tables})
"""The star's tables by name."""

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


def tag(tag_id: Any, name: Any = "Продажа", changed: Any = None, kind: Any = "manual", **author: Any) -> Row:
    return {"tag_id": tag_id, "tag_name": name, "tag_type": kind, "tag_change_time": changed, **author}


def employee(employee_id: Any, name: Any = "Анна", answered: Any = False, talked: Any = False) -> Row:
    return {
        "employee_id": employee_id,
        "employee_full_name": name,
        "is_answered": answered,
        "is_talked": talked,
    }


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
        "customer_user_id": raw["customer_user_id"],
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


def expect_tags(raw: Row, key: str = "id") -> list[tuple[Any, ...]]:
    latest: dict[int, tuple[str, int, Row]] = {}
    for position, item in enumerate(items(raw["tags"])):
        tag_id = number(item.get("tag_id")) if isinstance(item, dict) else None
        if tag_id is None:
            continue
        put = (item.get("tag_change_time") or "", position, item)
        if tag_id not in latest or put[:2] > latest[tag_id][:2]:
            latest[tag_id] = put
    return [
        (raw["account_id"], raw[key], tag_id, first_given(item.get("tag_name"), "unknown")[:128],
         first_given(item.get("tag_type"), "unknown")[:8], moment(item.get("tag_change_time")),
         number(item.get("tag_user_id")), shortened(item.get("tag_user_login"), 128),
         number(item.get("tag_employee_id")), shortened(item.get("tag_employee_full_name"), 256))
        for tag_id, (_, _, item) in latest.items()
    ]  # fmt: skip


def expect_attributes(raw: Row, key: str = "id") -> list[tuple[Any, ...]]:
    flags = sorted((item for item in items(raw["attributes"]) if isinstance(item, str)), reverse=True)
    codes = {item[:16]: item for item in flags}
    return [(raw["account_id"], raw[key], short, CAPTIONS.get(code, code)[:128]) for short, code in codes.items()]


def expect_employees(raw: Row) -> list[tuple[Any, ...]]:
    listed: dict[int, list[Row]] = {}
    for item in items(raw["employees"]):
        employee_id = number(item.get("employee_id")) if isinstance(item, dict) else None
        if employee_id is not None:
            listed.setdefault(employee_id, []).append(item)
    rating = tables.comagic_calls_employees.c.rating
    rated = first_given(raw["last_talked_employee_id"], raw["last_answered_employee_id"], "nobody")
    return [
        (raw["account_id"], raw["id"], employee_id,
         max((e["employee_full_name"] for e in entries if e["employee_full_name"]), default="unknown")[:256],
         any(e["is_answered"] is True for e in entries), any(e["is_talked"] is True for e in entries),
         fitted(rating, raw["last_answered_employee_rating"] if employee_id == rated else None))
        for employee_id, entries in listed.items()
    ]  # fmt: skip


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def number(value: Any) -> int | None:
    """A whole number, also as text; nothing else."""
    digits = str(value).removeprefix("-") if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(value) if digits.isdecimal() else None


def moment(value: Any) -> datetime | None:
    try:
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError):
        return None


def shortened(value: str | None, width: int) -> str | None:
    return None if value is None else value[:width]


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
    newest = list({(row["account_id"], row["id"]): row for row in by_load}.values())
    facts = [expect_fact(raw) for raw in newest]
    traffic = {
        tuple(fact[n] for n in ("source", "medium", "campaign", "content", "keyword", "landing_page")) for fact in facts
    }
    places = {tuple(fact[n] for n in ("country", "region", "city")) for fact in facts}
    return {
        "facts": sorted(facts, key=lambda fact: (fact["account_id"], fact["call_id"])),
        "tags": by_text(row for raw in newest for row in expect_tags(raw)),
        "attributes": by_text(row for raw in newest for row in expect_attributes(raw)),
        "employees": by_text(row for raw in newest for row in expect_employees(raw)),
        "campaigns": expect_campaigns(newest, campaigns),
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
    [tag(n, changed=time) for n, time in enumerate(("2026-02-30 10:00:00", "99999-01-01 00:00:00", "soon", "", 7))],
    [tag(4, tag_user_id="7", tag_user_login=LONG), tag(6, tag_user_id={}, tag_employee_id=1.5)],
    [tag(7, tag_employee_id=-3, tag_employee_full_name="Анна 🙂")],
)  # fmt: skip
NASTY_ATTRIBUTES: tuple[Any, ...] = (
    None, [], {}, JSON.NULL, "first", [None, 1, {}, ["first"]], list(CAPTIONS), ["first", "first"], ["новый, 'код'"],
    ["a code longer than sixteen", "a code longer than seventeen"],
)  # fmt: skip
NASTY_EMPLOYEES: tuple[Any, ...] = (
    None, [], {}, JSON.NULL, 7, [None, "x", [], {}, employee(None), employee("x")],
    [employee(301, LONG, True, True), employee("302", None)],
    [employee(301, "A"), employee(301, "B", talked=True), employee(302, "B", answered="true", talked=1)],
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
            "employees": dice.choice(NASTY_EMPLOYEES),
            "last_talked_employee_id": dice.choice((None, None, 301)),
            "last_answered_employee_id": dice.choice((None, 301, 302)),
            "last_answered_employee_rating": dice.choice((None, Decimal("4.50"))),
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


@dataclass(frozen=True)
class Reading:
    """How the rows of a kind are read in Python: its raw table, and which raw columns bear other names in the star.

    A function in place of a name computes the value from the raw row.
    """

    kind: Kind
    time_column: str
    key: str = "id"
    renamed: dict[str, str | Callable[[Row], Any]] = field(default_factory=dict)
    has_visitor: bool = True

    @property
    def raw(self) -> Table:
        """The raw table of the report."""
        return raw_table(catalog.tables()[self.kind.report])

    def value(self, row: Row, column: Column[Any]) -> Any:
        """What the star holds of a raw row in a column of the own dimension or a measure."""
        source = self.renamed.get(column.name, self.key if column.name == self.kind.key else column.name)
        return fitted(column, source(row) if callable(source) else row[source])


def fitted(column: Column[Any], value: Any) -> Any:
    """The value as the column can hold it."""
    if isinstance(column.type, Boolean):
        return value if column.nullable or value is not None else False
    if isinstance(column.type, Text | String):
        value = value if value is not None or column.nullable else "unknown"
        return None if value is None else str(value)[: column.type.length]
    if isinstance(column.type, Numeric) and value is not None:
        is_stored = not value.is_nan() and abs(value) < 10**16
        return value.quantize(Decimal("0.01"), ROUND_HALF_UP) if is_stored else None
    if isinstance(column.type, BigInteger):
        return value
    if isinstance(column.type, Integer):
        value = 0 if value is None and not column.nullable else value
        return None if value is None else max(min(value, 2**31 - 1), 1 - 2**31)
    return value


def text_seconds(row: Row) -> int | None:
    """The duration of a chat, which the API documents as text."""
    digits = row["duration"] or ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def seconds_to_process(row: Row) -> int | None:
    return None if row["process_time"] is None else round((row["process_time"] - row["date_time"]).total_seconds())


KIND = {kind.name: kind for kind in KINDS}
READINGS = (
    Reading(KIND["calls"], "start_time", renamed={"call_source": "source"}),
    Reading(
        KIND["call_legs"],
        "start_time",
        renamed={"call_id": "call_session_id", "is_transferred": "is_transfered"},
        has_visitor=False,
    ),
    Reading(KIND["chats"], "date_time", renamed={"duration": text_seconds, "employee_rating": "employee_raiting"}),
    Reading(KIND["offline_messages"], "date_time", renamed={"process_duration": seconds_to_process}),
    Reading(
        KIND["goals"],
        "date_time",
        key="communication_id",
        renamed={"goal_id": "id", "goal_type": "type", "goal_source": "source"},
    ),
    Reading(
        KIND["visitor_sessions"],
        "date_time",
        renamed={
            "communications_count": lambda row: len(items(row["communications"])),
            "browser_name": "visitor_browser_name",
            "os_name": "visitor_os_name",
            "screen": "visitor_screen",
            "language": "visitor_language",
        },
    ),
)


def raw_rows(reading: Reading, world: World, account: Account, days: tuple[date, date]) -> list[Row]:
    """What the sandbox's account has in the report, as raw rows."""
    first_day, last_day = days
    rows = world.rows(f"get.{reading.kind.report}", f"{first_day} 00:00:00", f"{last_day} 23:59:59")
    return [
        {"account_id": account.account_id, "customer_user_id": 0, "loaded_at": LOADED}
        | {name: typed(reading.raw.columns[name], value) for name, value in row.items()}
        | {"event_date": date.fromisoformat(row[reading.time_column][:10])}
        for row in rows
    ]


def typed(column: Column[Any], value: Any) -> Any:
    """A value of JSON as the column of raw holds it."""
    if value is None or isinstance(column.type, JSON):
        return value
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, Numeric):
        return Decimal(str(value))
    return str(value) if isinstance(column.type, Text) else value


def made_odd(reading: Reading, row: Row, dice: random.Random) -> Row:
    """A raw row with odd values and NULLs where raw allows them; the key, the owner and the day stay."""
    odd: Row = {}
    for column in reading.raw.columns:
        if not column.nullable or column.name == "customer_user_id" or dice.random() < 0.5:
            continue
        if column.name in ("tags", "attributes", "employees"):
            odd[column.name] = dice.choice(
                {"tags": NASTY_TAGS, "attributes": NASTY_ATTRIBUTES, "employees": NASTY_EMPLOYEES}[column.name]
            )
        elif isinstance(column.type, JSON):
            odd[column.name] = dice.choice((None, JSON.NULL, {}, 7, "text", [None, 1, {}]))
        elif isinstance(column.type, DateTime):
            odd[column.name] = None
        elif isinstance(column.type, Boolean):
            odd[column.name] = dice.choice((None, True, False))
        elif isinstance(column.type, Numeric):
            odd[column.name] = dice.choice((None, Decimal("1e20"), Decimal("NaN"), Decimal("-7.125")))
        elif isinstance(column.type, Text):
            odd[column.name] = dice.choice((*NASTY_TEXT, "12", "99999999999", "1.5"))
        else:
            odd[column.name] = dice.choice((None, 2**40, -(2**40), 0))
    return row | odd


def latest(reading: Reading, rows: Iterable[Row]) -> list[Row]:
    """Of a customer's rows with one id the copy that was loaded last, on the latest day."""
    in_order = sorted(rows, key=lambda row: (row["loaded_at"], row["event_date"]))
    return list({key_of(reading, row): row for row in in_order}.values())


def key_of(reading: Reading, row: Row) -> Key:
    """What tells a row from all others."""
    return row["account_id"], row["customer_user_id"], row[reading.key]


def expect_facts_of(reading: Reading, rows: Iterable[Row]) -> dict[Key, Row]:
    """The facts by account, customer and id, with the values of their dimensions instead of keys."""
    kind = reading.kind
    own = [column for column in kind.dimension.columns if column.name not in OWNER]
    measures = [column for column in kind.facts.columns if not column.foreign_keys and column.name not in OWNER]
    return {
        key_of(reading, row): {
            "full_date": row[reading.time_column].replace(microsecond=0),
            "clientid": NOT_AVAILABLE,
            **dict.fromkeys(("country", "region", "city", "domain")),
            **dict.fromkeys(("source", "medium", "campaign", "content", "keyword", "landing_page")),
            "campaign_id": 0,
            **(visitor_of(row) if reading.has_visitor else {}),
            **{f"own_{column.name}": reading.value(row, column) for column in own},
            **{f"measure_{column.name}": reading.value(row, column) for column in measures},
        }
        for row in latest(reading, rows)
    }


def visitor_of(raw: Row) -> Row:
    """The values of the shared dimensions that a row of a report with visitors has."""
    return {
        "campaign_id": raw["campaign_id"] or 0,
        **cut(tables.general_clientids, clientid=first_given(raw["ua_client_id"], raw["ym_client_id"], NOT_AVAILABLE)),
        **cut(tables.general_locations, **{name: raw[f"visitor_{name}"] for name in ("country", "region", "city")}),
        **cut(
            tables.general_traffic,
            **{name: raw[f"utm_{name}"] for name in ("source", "medium", "campaign", "content")},
            keyword=raw["utm_term"],
            landing_page=raw["entrance_page"],
        ),
        **cut(tables.general_sites, domain=raw["site_domain_name"]),
    }


def expect_children_of(reading: Reading, rows: Iterable[Row]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each child table, with the customer, the account and the API's id of their owner in front."""
    of_array: dict[str, Callable[[Row], list[tuple[Any, ...]]]] = {
        "tags": lambda row: expect_tags(row, reading.key),
        "attributes": lambda row: expect_attributes(row, reading.key),
        "employees": expect_employees,
    }
    kind = reading.kind
    return {
        array: by_text(
            (row["customer_user_id"], *each) for row in latest(reading, rows) for each in of_array[array](row)
        )
        for array in map(kind.array, kind.children)
    }
