"""Rows of get.visitor_sessions_report: the visits of a day, what was done in them, and who by."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from operator import itemgetter
from typing import Any

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.rows import calls, chats, goals, offline_messages, texts
from comagic_pipeline.sandbox.rows.cast import Ad, Campaign, Cast
from comagic_pipeline.sandbox.rows.day_visits import LONGEST, visits
from comagic_pipeline.sandbox.rows.days import Days, later, seconds_between
from comagic_pipeline.sandbox.rows.ids import luck, pick
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.visitor_sessions_report"

_BROWSERS = (("Chrome", "122.0"), ("YaBrowser", "24.1"), ("Safari", "17.3"), ("Firefox", "123.0"))
_SYSTEMS = {
    "desktop": ("Windows", "10"),
    "mobile": ("Android", "14"),
    "tablet": ("iPadOS", "17.3"),
    "other": (None, None),
}
_SCREENS = {"desktop": "1920x1080", "mobile": "412x915", "tablet": "820x1180", "other": None}
_CONTACTS = (
    # report, its column of time, days after the visit: only a call can follow on the next day
    (calls.METHOD, "start_time", 0),
    (calls.METHOD, "start_time", 1),
    (chats.METHOD, "date_time", 0),
    (offline_messages.METHOD, "date_time", 0),
    (goals.METHOD, "date_time", 0),
)


def rows(days: Days, day: date) -> list[Row]:
    """Return the visits that begin on a day, with the contacts that the other reports show for them now."""
    contacts: defaultdict[int, list[Row]] = defaultdict(list)
    for method, time_column, days_after in _CONTACTS:
        for row in days.shown(method, day + timedelta(days=days_after)):
            if row["visitor_session_id"] is not None and row["communication_id"] is not None:
                contacts[row["visitor_session_id"]].append(
                    {
                        "communication_type": row["communication_type"],
                        "communication_id": row["communication_id"],
                        "communication_date_time": row[time_column],
                    }
                )
    columns = list(specification.methods()[METHOD].columns)
    values = itemgetter(*columns)
    return [
        _visit(days.cast, dict(zip(columns, values(visit), strict=True)), visit, contacts)
        for visit in days.made(visits, day)
    ]


def as_of(rows: list[Row], now: str, _: Mapping[str, Any]) -> list[Row]:
    """Return a visit that goes on is shown with what was done by now."""
    may_go_on = later(now, -LONGEST)
    return [row if row["date_time"] < may_go_on else _so_far(row, now) for row in rows]


def ad_of_visit(campaign: Campaign, visitor_id: int) -> Ad | None:
    """Return the ad that a visitor came by, if the campaign has any."""
    return campaign.ads[visitor_id % len(campaign.ads)] if campaign.ads else None


def _visit(cast: Cast, row: Row, visit: Row, contacts: Mapping[int, list[Row]]) -> Row:
    """Fill in what contacts do not tell of a visit."""
    session_id: int = visit["visitor_session_id"]
    visitor_id: int = visit["visitor_id"]
    campaign = cast.campaigns_by_id[visit["campaign_id"]]
    device: str = visit["visitor_device"]
    hits = _hits(visit)
    row["hits"] = hits
    row["hits_count"] = len(hits)
    row["exit_page"] = hits[-1]["hit_url"]
    row["communications"] = contacts.get(session_id, [])
    row["engine"] = campaign.engine
    row["integrated_campaign_data"] = _integrated(campaign, visit)
    row["visitor_ip_address"] = f"198.51.{visitor_id % 256}.{visitor_id // 256 % 256}"
    row["visitor_browser_name"], row["visitor_browser_version"] = _BROWSERS[visitor_id % len(_BROWSERS)]
    row["visitor_os_name"], row["visitor_os_version"] = _SYSTEMS[device]
    row["visitor_screen"] = _SCREENS[device]
    row["visitor_provider"] = ("ПАО «Ростелеком»", "MTS PJSC", None)[visitor_id % 3]
    row["visitor_language"] = "ru-RU" if visitor_id % 9 else "en-US"
    if visitor_id % 50 == 0:
        row["cm_id"] = f"{visitor_id:x}.{session_id:x}"
        row["ext_id"] = f"visit/{session_id}"
    if row["visitor_type"] == "Не заполнен":
        row["visitor_type"] = None  # The list of words of this report has no such one.
    return row


def _hits(visit: Row) -> list[Row]:
    session_id, duration = visit["visitor_session_id"], visit["duration"]
    count = 1 + int(luck(session_id, 2) ** 2 * 6)
    part = duration // count
    return [
        {
            "hit_time": later(visit["date_time"], part * index),
            "hit_duration": str(part if index < count - 1 else duration - part * index),
            "hit_url": f"https://{visit['site_domain_name']}{pick(texts.PAGES, session_id, index)}"
            if index
            else visit["entrance_page"],
        }
        for index in range(count)
    ]


def _integrated(campaign: Campaign, visit: Row) -> Row:
    ad = ad_of_visit(campaign, visit["visitor_id"])
    if ad is None:
        return {}
    is_yandex = campaign.engine == "yandex.direct"
    return {
        "adv_system": campaign.engine,
        "ext_campaign_id": campaign.ext_id,
        "ext_campaign_name": campaign.ext_name,
        "keyword_id": str(ad.keyword_id),
        "keyword": ad.keyword,
        "current_banner_id": ad.banner_id,
        "old_banner_ids": list(ad.old_banner_ids),
        "banner_id": ad.banner_id,
        "banner_name": ad.banner_name,
        "group_id": ad.group_id,
        "group_name": ad.group_name,
        "auditory_id": None,
        "auditory_name": None,
        "placement_name": None if is_yandex else "search",
        "yandex_placement_type": "search" if is_yandex else None,
        "campaign_type": "TEXT_CAMPAIGN",
        "device_type": visit["visitor_device"],
        "position_type": "premium",
        "yandex_region_id": 213 if is_yandex else None,
        "yandex_region_name": "Москва" if is_yandex else None,
        "yandex_region_type": "city" if is_yandex else None,
    }


def _so_far(row: Row, now: str) -> Row:
    if later(row["date_time"], row["duration"] or 0) <= now:
        return row
    hits = [hit for hit in row["hits"] or [] if hit["hit_time"] <= now]
    return row | {
        "duration": seconds_between(row["date_time"], now),
        "hits": hits,
        "hits_count": len(hits),
        "exit_page": hits[-1]["hit_url"] if hits else None,
    }
