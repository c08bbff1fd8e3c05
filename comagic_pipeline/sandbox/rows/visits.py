"""The visitor side of a contact: where the visitor came from, with what device, by which campaign.

Calls, chats, offline messages and goals share these columns.
"""

from collections.abc import Iterable
from random import Random

from comagic_pipeline.sandbox.rows import texts
from comagic_pipeline.sandbox.rows.cast import Campaign, Cast, Source
from comagic_pipeline.sandbox.specification import Row

_VISITORS = 1_000_000
_FIRST_VISITOR_ID = 9_000_000_000
_FIRST_PERSON_ID = 8_000_000_000
_DEVICES = ("desktop", "desktop", "mobile", "mobile", "mobile", "tablet", "other")
WITHOUT_VISIT: Row = {"visit_other_campaign": False, "visitor_custom_properties": [], "segments": []}


class Visits:
    """Begins the rows of a report: all its ``columns``, of which those of the visit are filled.

    Takes its luck from one stream of random numbers.
    """

    def __init__(self, cast: Cast, random: Random, columns: Iterable[str]) -> None:
        self._cast = cast
        self._random = random.random
        self._first_visitor_id = cast.id_offset + _FIRST_VISITOR_ID
        self._first_person_id = cast.id_offset + _FIRST_PERSON_ID
        self._without_visit = dict.fromkeys(columns) | WITHOUT_VISIT
        self._of_campaign = [self._without_visit | _attribution(campaign) for campaign in cast.campaigns]

    def without_visit(self) -> Row:
        """Return a contact without a visit: the built-in campaign or none at all, everything else empty."""
        row = self._without_visit.copy()
        if self._random() < 0.5:
            row["campaign_id"] = self._cast.no_campaign_id
            row["campaign_name"] = texts.NO_CAMPAIGN_NAME
        return row

    def visit(self, session_id: int) -> tuple[Campaign, Row]:
        """Return a contact that happened during a visit, and the campaign that brought the visitor."""
        random = self._random
        campaigns = self._cast.campaigns
        index = int(random() * len(campaigns))
        campaign, source = campaigns[index], campaigns[index].source
        # Squared: some visitors come back often, most once.
        visitor = int(random() ** 2 * _VISITORS)
        visits_count = 1 + visitor % 4
        luck = random()
        page = f"https://{campaign.site.domain}{texts.PAGES[int(random() * len(texts.PAGES))]}"
        query = texts.SEARCH_QUERIES[int(random() * len(texts.SEARCH_QUERIES))] if source.search_engine else None
        content = texts.AD_CONTENTS[int(random() * len(texts.AD_CONTENTS))] if source.utm_source else None
        _, region, city, country, _ = texts.CITIES[int(random() * len(texts.CITIES))]
        first_campaign = campaign if visits_count == 1 else campaigns[visitor % len(campaigns)]
        row = self._of_campaign[index].copy()
        row["communication_number"] = 1 + visitor % 3
        row["communication_page_url"] = page
        row["entrance_page"] = f"{page}?utm_source={source.utm_source}{_long_tail(luck)}" if source.utm_source else page
        row["ua_client_id"] = f"{111_111_111 + visitor}.{1_700_000_000 + visitor}"
        row["ym_client_id"] = f"17400000001{visitor:08}"
        row["search_query"] = query
        row["utm_content"] = row["eq_utm_content"] = content
        row["utm_term"] = row["eq_utm_term"] = query if source.utm_source else None
        if source.referrer_domain:
            row["referrer"] = (
                f"https://{source.referrer_domain}/search/?text=%D0%BE%D0%BA%D0%BD%D0%B0{_long_tail(luck)}"
            )
        if source.click_id:
            row[source.click_id] = f"{1_000_000_000_000_000_000 + int(luck * 1e15)}"
        row["visitor_id"] = self._first_visitor_id + visitor
        row["person_id"] = self._first_person_id + visitor // 2
        row["visitor_session_id"] = session_id
        row["visits_count"] = visits_count
        row["visitor_type"] = "Не заполнен" if luck < 0.01 else "Новый" if visits_count == 1 else "Вернувшийся"
        row["visitor_first_campaign_id"] = first_campaign.id
        row["visitor_first_campaign_name"] = first_campaign.name
        row["visit_other_campaign"] = first_campaign is not campaign
        row["visitor_city"] = city
        row["visitor_region"] = region
        row["visitor_country"] = country
        row["visitor_device"] = _DEVICES[visitor % len(_DEVICES)]
        if luck > 0.8:
            row["visitor_custom_properties"] = [
                {"property_name": "plan", "property_value": "basic"},
                {"property_name": 'Имя "ключа"', "property_value": None if luck > 0.9 else "знач\\ение\n🪟"},
            ]
            row["segments"] = [
                {"segment_id": segment.id, "segment_name": segment.name}
                for segment in self._cast.segments[: 1 + visitor % len(self._cast.segments)]
            ]
        elif luck > 0.78:
            row["openstat_ad"] = "12345"
            row["openstat_campaign"] = "окна;весна"
            row["openstat_service"] = "direct.yandex.ru"
            row["openstat_source"] = "yandex.ru:premium"
        return campaign, row


def source_columns(source: Source) -> Row:
    """Return a traffic source as all reports but that of goals tell it."""
    return {
        "source_id": source.id,
        "source_name": source.name,
        "source_new": source.group,
        "channel_new": source.channel_name,
        "channel_code": source.channel_code,
    }


def _attribution(campaign: Campaign) -> Row:
    """Return what every visit of a campaign has in common."""
    source = campaign.source
    row: Row = {
        "campaign_id": campaign.id,
        "campaign_name": campaign.name,
        "channel": source.legacy_channel,
        "search_engine": source.search_engine,
        "referrer_domain": source.referrer_domain,
        **source_columns(source),
        "utm_source": source.utm_source,
        "utm_medium": source.utm_medium,
        "utm_campaign": f"campaign_{campaign.id}" if source.utm_source else None,
    }
    row |= {f"eq_{name}": value for name, value in row.items() if name.startswith("utm_")}
    if source.engine:
        row |= {"eq_utm_referrer": source.referrer_domain, "eq_utm_expid": f"exp-{campaign.id}"}
    return row


def _long_tail(luck: float) -> str:
    """Make one address in 50 longer than 256 characters and one in 100 longer than 2000."""
    return "&tail=" + "%D1%8F" * (400 if luck < 0.01 else 50) if luck < 0.03 else ""
