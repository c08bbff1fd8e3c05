"""Rows of get.campaign_daily_stat: a day of a campaign, or of each ad of an integrated one, summed up."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from comagic_pipeline.sandbox.rows import communications, visitor_sessions
from comagic_pipeline.sandbox.rows.cast import Ad, Campaign, Site
from comagic_pipeline.sandbox.rows.days import Days
from comagic_pipeline.sandbox.rows.ids import luck
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.campaign_daily_stat"

_COSTS = ("cost_sum", "shows_count", "clicks_count")
_COSTS_ARRIVE_AT = "10:00:00"
_CURRENCIES = {"yandex.direct": "RUB", "google.adwords": "USD", "vk.ads": "RUB"}
_Place = tuple[int | None, int | None, Ad | None]
"""Site, campaign, ad."""


def rows(days: Days, day: date) -> list[Row]:
    """Return a day of all sites.

    Campaigns with a visit or a contact, and all ads, for they cost money without one too.
    """
    sessions: defaultdict[_Place, list[int]] = defaultdict(list)
    contacts: defaultdict[_Place, list[Row]] = defaultdict(list)
    for visit in days.shown(visitor_sessions.METHOD, day):
        sessions[_place(days, visit)].append(visit["id"])
    for contact in days.shown(communications.METHOD, day):
        contacts[_place(days, contact)].append(contact)
    ads = {(campaign.site.id, campaign.id, ad) for campaign in days.cast.campaigns for ad in campaign.ads}
    places = sessions.keys() | contacts.keys() | ads
    sites = {site.id: site for site in days.cast.sites}
    stat = [
        _row(day, sites[site_id], days.cast.campaigns_by_id[campaign_id], ad, sessions, contacts)
        for site_id, campaign_id, ad in places
        if site_id in sites and campaign_id in days.cast.campaigns_by_id
    ]
    return sorted(stat, key=lambda row: (row["site_id"], row["campaign_id"], row["current_banner_id"] or 0))


def as_of(rows: list[Row], now: str, options: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the site asked for; what ads cost on a day arrives the next morning."""
    site_id = options.get("site_id")
    return [
        row | dict.fromkeys(_COSTS) if now < _arrival_of_costs(row) else row
        for row in rows
        if site_id is None or row["site_id"] == site_id
    ]


def _arrival_of_costs(row: Row) -> str:
    return f"{date.fromisoformat(row['date']) + timedelta(days=1)} {_COSTS_ARRIVE_AT}"


def _place(days: Days, row: Row) -> _Place:
    campaign = days.cast.campaigns_by_id.get(row["campaign_id"])
    ad = visitor_sessions.ad_of_visit(campaign, row["visitor_id"]) if campaign and row["visitor_id"] else None
    return row["site_id"], row["campaign_id"], ad


def _row(
    day: date,
    site: Site,
    campaign: Campaign,
    ad: Ad | None,
    sessions: Mapping[_Place, list[int]],
    contacts: Mapping[_Place, list[Row]],
) -> Row:
    place = (site.id, campaign.id, ad)
    session_ids, place_contacts = sessions.get(place, []), contacts.get(place, [])
    counts = Counter(contact["communication_type"] for contact in place_contacts)
    return {
        "date": str(day),
        "site_id": site.id,
        "site_domain_name": site.domain,
        "campaign_id": campaign.id,
        "campaign_name": campaign.name,
        "engine": campaign.engine,
        "campaign_ext_id": campaign.ext_id,
        "campaign_ext_name": campaign.ext_name,
        **_ad_columns(day, campaign, ad, len(session_ids)),
        "chats_count": counts["chat"],
        "calls_count": counts["call"],
        "goals_count": counts["goal"],
        "offline_messages_count": counts["offline_message"],
        "visits_count": len(session_ids),
        "session_ids": session_ids,
        "source_id": campaign.source.id if campaign.index else None,
        "source_name": campaign.source.name if campaign.index else None,
        "communications": [
            {
                "communication_type": contact["communication_type"],
                "communication_id": contact["id"],
                "attributes": contact["attributes"],
                "tags": contact["tags"],
            }
            for contact in place_contacts
        ],
    }


def _ad_columns(day: date, campaign: Campaign, ad: Ad | None, visits: int) -> Row:
    if ad is None or campaign.engine is None:
        return dict.fromkeys(_AD_COLUMNS) | {"old_banner_ids": []}
    clicks = visits + int(luck(ad.banner_id, day.toordinal()) * 5)
    return {
        "banner_group_id": str(ad.group_id),
        "banner_group_name": ad.group_name,
        "keyword_id": str(ad.keyword_id),
        "keyword": ad.keyword,
        "cost_sum": f"{clicks * (20 + 30 * luck(ad.banner_id, -day.toordinal())):.2f}",
        "shows_count": clicks * 23 + ad.banner_id % 17,
        "clicks_count": clicks,
        "current_banner_id": ad.banner_id,
        "current_banner_name": ad.banner_name,
        "old_banner_ids": list(ad.old_banner_ids),
        "daily_budget": 5000,
        "weekly_budget": 30000.5 if campaign.engine == "google.adwords" else None,
        "currency": _CURRENCIES[campaign.engine],
    }


_AD_COLUMNS = (
    "banner_group_id", "banner_group_name", "keyword_id", "keyword", "cost_sum", "shows_count", "clicks_count",
    "current_banner_id", "current_banner_name", "daily_budget", "weekly_budget", "currency",
)  # fmt: skip
