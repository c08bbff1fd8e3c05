"""Lists that stand alone: the account, its campaigns, tags and custom fields. One function per method."""

from collections.abc import Mapping
from random import Random
from typing import Any

from comagic_pipeline.sandbox.rows import texts
from comagic_pipeline.sandbox.rows.cast import OFFICE_PHONE_NUMBER, Campaign, Cast
from comagic_pipeline.sandbox.rows.ids import pick
from comagic_pipeline.sandbox.specification import Row

_UTM = ("source", "medium", "campaign", "term", "content", "referrer", "expid")
_RESERVATIONS = ("5m", "15m", "1h", "1d", "1w")


def account(cast: Cast) -> list[Row]:
    """get.account: one row."""
    return [{"app_id": cast.app_id, "name": 'ООО "Пример"', "timezone": cast.timezone}]


def campaigns(cast: Cast) -> list[Row]:
    """get.campaigns: the built-in one, hand-made and integrated ones; not those that were deleted."""
    return [_campaign(cast, campaign) for campaign in cast.campaigns if not campaign.deleted]


def tags(cast: Cast) -> list[Row]:
    """get.tags: all columns, also those of the page for settings."""
    return [
        {
            "id": tag.id,
            "name": tag.name,
            "is_system": index == 0,
            "rating": pick(range(40), tag.id),
            "is_auto": index % 2 == 1,
            "state": ("active", "not_active", "off", None)[index % 4],
            "creation_datetime": f"2022-0{1 + index % 9}-01 12:00:00",
            "color": f"#{pick(range(16**6), tag.id, 1):06x}",
            "condition": {"type": "call", "duration": 30} if index % 2 == 1 else {},
        }
        for index, tag in enumerate(cast.tags)
    ]


def asked_tags(rows: list[Row], options: Mapping[str, Any]) -> list[Row]:
    """Ratings and states are told on demand."""
    if options.get("is_include_rating"):
        return rows
    return [row | {"rating": None, "state": None} for row in rows]


def offline_message_user_fields(_: Cast) -> list[Row]:
    """get.offline_message_user_fields."""
    return [
        {"ext_id": "window_size", "name": "Размер окна", "data_type": "string"},
        {"ext_id": "windows", "name": 'Сколько окон, "шт."', "data_type": "numeric"},
    ]


def _campaign(cast: Cast, campaign: Campaign) -> Row:
    random = Random(f"{cast.seed}/campaign/{campaign.id}")  # noqa: S311 - rows, not secrets
    index, engine = campaign.index, campaign.engine
    kind = "system" if index == 0 else "integrated" if engine else "basic"
    row: Row = {
        "id": campaign.id,
        "name": campaign.name,
        "description": (None, "весна", "", 'Строка 1\nСтрока 2 "в кавычках" \\ 50% 🎯')[index % 4],
        "status": "inactive" if index % 5 == 4 else "active",
        "creation_time": f"{2021 + index % 4}-{1 + index % 12:02}-15 10:00:{index % 60:02}",
        "campaign_conditions": {"group_conditions": [{"conditions": _conditions(campaign)}]},
        "engine": engine,
        "type": kind,
        "costs": 0 if kind == "system" else int(random.random() * 10_000_000) / 100,
        "cost_ratio": 1.18 if index % 3 == 1 else 1,
        "cost_ratio_operator": "multiply" if index % 3 == 1 else "wo_changes",
        "site_id": campaign.site.id,
        "site_domain_name": campaign.site.domain,
        "site_blocks": [] if kind == "system" else _site_blocks(campaign),
        "dynamic_call_tracking": {}
        if kind == "system"
        else {
            "reservation_time": _RESERVATIONS[index % len(_RESERVATIONS)],
            "count_virtual_numbers": 5,
            "count_visits": 120 + index,
            "coverage_visitors": 92.5,
        },
    }
    row |= {f"static_utm_{name}": None for name in _UTM}
    if kind == "basic":
        row |= {"static_utm_source": campaign.source.utm_source, "static_utm_medium": campaign.source.utm_medium}
    if kind == "system":
        row["campaign_conditions"] = {}
    if kind == "integrated":
        del row["campaign_conditions"]  # Absent, says the page; its sample shows {} for the built-in one.
    return row


def _conditions(campaign: Campaign) -> list[Row]:
    return [
        {"type": "include", "campaign_parameter": "utm_campaign", "value": f"campaign_{campaign.id}", "operator": "="},
        {"type": "exclude", "campaign_parameter": "search_query", "value": "^(бесплатно|даром)\\s", "operator": "~"},
    ]


def _site_blocks(campaign: Campaign) -> list[Row]:
    return [
        {
            "site_block_id": campaign.site.id * 10 + index,
            "site_block_name": name,
            "phone_number_type": "call_tracking",
            "phone_number_id": campaign.site.first_phone_number_id + index,
            "phone_number": campaign.site.phone_numbers[index],
            "redirection_phone_number_id": 89501,
            "redirection_phone_number": OFFICE_PHONE_NUMBER,
            "dynamic_call_tracking_enabled": index == 0,
        }
        for index, name in enumerate(texts.SITE_BLOCKS)
    ]
