"""What raw tables should hold: the rows of a sandbox's world, compared by their looks, without catalog and decoders."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse

Row = dict[str, Any]

OWN_COLUMNS = {"account_id", "customer_user_id", "loaded_at"}
TIME_COLUMNS = ("start_time", "date_time", "date")
"""The column that tells the day of a row: no report has two of them."""
DECIMALS_AS_TEXT = ("cost_sum",)
"""Money that the API writes as text (docs/decisions.md, "Types")."""
OF_A_DAY = ("get.ct_summary_report", "get.employee_stat")
OF_A_DAY_AND_SITE = ("get.ct_ac_summary_report",)


def days_between(first_day: date, last_day: date) -> list[date]:
    """The days of a period, both ends included."""
    return [first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)]


def api_rows(world: World, method: str, first_day: date, last_day: date) -> list[Row]:
    """The rows of a report that the API has for these days, with the day of each as `event_date`."""
    if method not in (*OF_A_DAY, *OF_A_DAY_AND_SITE):
        rows = world.rows(method, f"{first_day} 00:00:00", f"{last_day} 23:59:59")
        return [row | {"event_date": next(row[name] for name in TIME_COLUMNS if name in row)[:10]} for row in rows]
    sites = [{"site_id": row["id"]} for row in world.rows("get.sites")] if method in OF_A_DAY_AND_SITE else [{}]
    return [
        row | site | {"event_date": str(day)}
        for day in days_between(first_day, last_day)
        for site in sites
        for row in world.rows(method, f"{day} 00:00:00", f"{day} 23:59:59", **site)
    ]


def raw_rows(warehouse: Warehouse, table: str, account_id: int = 1, customer_user_id: int = 0) -> list[Row]:
    """The rows that an account has in a raw table, without the pipeline's own columns but `event_date`."""
    mine = {"account_id": account_id, "customer_user_id": customer_user_id}
    condition = " and ".join(f"{name} = :{name}" for name in mine)
    rows = query(warehouse, f"select * from comagic_raw.{table} where {condition}", **mine)
    return [{name: value for name, value in row.items() if name not in OWN_COLUMNS} for row in rows]


def query(warehouse: Warehouse, sql: str, **values: Any) -> list[Row]:
    """Rows of the warehouse."""
    with warehouse.connect() as connection:
        return [dict(row) for row in connection.execute(text(sql), values).mappings()]


def journal(warehouse: Warehouse, event: str) -> list[tuple[str, str]]:
    """Table and message of the journal's lines of an event, oldest first."""
    lines = query(
        warehouse, "select table_name, message from comagic_ops.journal where event = :event order by id", event=event
    )
    return [(line["table_name"], line["message"]) for line in lines]


def differences(raw: Iterable[Row], api: Iterable[Row]) -> list[str]:
    """Rows that are on one side only, all columns compared, rows that come several times by their number."""
    found, expected = Counter(map(_comparable, raw)), Counter(map(_comparable, api))
    extra, missing = sorted((found - expected).elements(), key=str), sorted((expected - found).elements(), key=str)
    if not extra and not missing:
        return []
    pairs = [pair for rows in zip(extra, missing, strict=False) for pair in zip(*rows, strict=False)]
    example = [f"{one} for {other}" for one, other in pairs if one != other]
    return [f"{len(extra)} rows too many, {len(missing)} missing", *(example[:3] or map(str, (extra + missing)[:1]))]


def _comparable(row: Row) -> tuple[Any, ...]:
    return tuple((name, *_looks(name, row[name])) for name in sorted(row))


def _looks(name: str, value: Any) -> tuple[str, Any]:
    """Kind and value: a number is no text and no boolean, moments and days are the text that the API writes."""
    match value:
        case None:
            return "null", None
        case bool():
            return "boolean", value
        case str() if name in DECIMALS_AS_TEXT:
            return "number", Decimal(value)
        case int() if name.endswith("phone_number"):
            # Digits, in practice as text even where the table says number (protocol.json, "conventions").
            return "text", str(value)
        case float():
            return "number", Decimal(str(value))
        case int() | Decimal():
            return "number", value
        case datetime():
            return "text", f"{value:%Y-%m-%d %H:%M:%S}"
        case date():
            return "text", value.isoformat()
        case list() | dict():
            return "json", json.dumps(value, sort_keys=True)
        case _:
            return "text", value
