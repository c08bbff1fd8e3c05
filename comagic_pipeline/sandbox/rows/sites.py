"""Lists about the sites of the account: blocks, virtual numbers, scenarios of calls, segments of visitors."""

from comagic_pipeline.sandbox.rows import texts
from comagic_pipeline.sandbox.rows.cast import OFFICE_PHONE_NUMBER, Campaign, Cast, Scenario, Site
from comagic_pipeline.sandbox.specification import Row

_CATEGORIES = ("usual", "bronze", "silver", "gold", "platinum")
_NUMBER_TYPES = ("dynamic_call_tracking", "call_tracking", "va")
_INTEGRATIONS = ("yandex.direct", "yandex.metrika", "google.analytics", "google.adwords", "vk.ads", "mytarget.ads")


def sites(cast: Cast) -> list[Row]:
    """get.sites: the last site is a child of the first."""
    return [
        {
            "id": site.id,
            "domain_name": site.domain,
            "name": ("Магазин", "Окна «Мечта»", None)[index % 3],
            "default_phone_number": OFFICE_PHONE_NUMBER,
            "default_scenario": {} if index == 1 else _scenario(cast.scenarios[0]),
            "app_key": f"app-key-{cast.app_id}",
            "site_key": f"site-key-{site.id}",
            "is_editable": True,
            "creation_date": f"202{1 + index}-01-15 10:00:00",
            "target_call_min_duration": 30,
            "track_subdomains": index == 0,
            "cookie_lifetime": 90,
            "campaign_lifetime": 90,
            "sales_enabled": index == 0,
            "second_communication_period": (1, 3, 7)[index % 3],
            "services_enabled": True,
            "replacement_dynamical_block_enabled": False,
            "is_support_web_directory": False,
            "widget_link": {"enabled": index == 0, "text": "Мы на связи" if index == 0 else None, "url": None},
            "state": ("work", "new", "error")[index % 3],
            "industry_id": 12,
            "industry_name": "Строительство",
            "child_customer_id": None,
            "show_visitor_id": {
                "enabled": False,
                "element_id_value": None,
                "message": None,
                "length_visitor_id": "6",
            },
            "site_blocks": [_block(site, block) for block in range(len(texts.SITE_BLOCKS))],
            "connected_integrations": [] if index == 1 else list(_INTEGRATIONS[: 2 + 4 * index]),
            "parent_id": cast.sites[0].id if index == len(cast.sites) - 1 else None,
        }
        for index, site in enumerate(cast.sites)
    ]


def site_blocks(cast: Cast) -> list[Row]:
    """get.site_blocks: the header and the footer of each site."""
    return [
        {
            "id": _block(site, block)["site_block_id"],
            "name": name,
            "site_id": site.id,
            "site_domain_name": site.domain,
            "templates": [
                {
                    "template_id": 10 * site.id + block,
                    "template_type": "text",
                    "element_attribute": "class",
                    "element_attribute_value": "phone",
                    "phone_number_template": "+{country} ({city}) {phone}",
                    "phone_number_mask": "###-##-##",
                }
            ]
            if block == 0
            else [],
            "phone_numbers": [
                {
                    "phone_number": site.phone_numbers[block],
                    "phone_number_id": site.first_phone_number_id + block,
                    "campaign_id": campaign.id,
                    "campaign_name": campaign.name,
                    "image_url": None if block == 0 else f"https://{site.domain}/phone.png",
                }
                for campaign in _campaigns(cast, site)
            ],
        }
        for site in cast.sites
        for block, name in enumerate(texts.SITE_BLOCKS)
    ]


def virtual_numbers(cast: Cast) -> list[Row]:
    """get.virtual_numbers: of every site the first two are used by its campaigns, the first scenario takes all."""
    return [
        {
            "id": site.first_phone_number_id + index,
            "child_customer_id": None,
            "virtual_phone_number": number,
            "redirection_phone_number": "78005550100" if index == 3 else None,
            "activation_date": f"2021-0{1 + index}-01 00:00:00",
            "status": "cleaning" if index == 4 else "active",
            "category": _CATEGORIES[index],
            "type": _NUMBER_TYPES[min(index, 2)],
            "comment": "визитки, 100%" if index == 2 else None,
            "name": "Офис" if index == 2 else None,
            "campaigns": [_campaign_of_number(campaign, index) for campaign in _campaigns(cast, site)]
            if index < len(texts.SITE_BLOCKS)
            else [],
            "scenarios": [
                {**_scenario(cast.scenarios[0]), "call_processing_rule_id": 10 * site.id + index, "is_active": True}
            ]
            if index < 4
            else [],
        }
        for site in cast.sites
        for index, number in enumerate(site.phone_numbers)
    ]


def scenarios(cast: Cast) -> list[Row]:
    """get.scenarios: the first takes all numbers that are in use."""
    return [
        {
            "id": scenario.id,
            "name": scenario.name,
            "virtual_phone_numbers": [number for site in cast.sites for number in site.phone_numbers[:4]]
            if index == 0
            else [],
            "sites": [_site(site) for number, site in enumerate(cast.sites) if number != 1] if index == 0 else [],
            "campaigns": [
                {**_site(site), "campaign_id": campaign.id, "campaign_name": campaign.name}
                for site in cast.sites
                for campaign in _campaigns(cast, site)
            ]
            if index == 0
            else [],
            "operations": scenario.operations,
        }
        for index, scenario in enumerate(cast.scenarios)
    ]


def segments(cast: Cast) -> list[Row]:
    """get.segments: one of each site."""
    return [
        {
            "id": segment.id,
            "name": segment.name,
            "description": (None, "два визита и больше", "")[index % 3],
            "site_id": site.id,
            "site_domain_name": site.domain,
            "segments_conditions": {
                "group_conditions": [
                    {
                        "conditions": [
                            {"type": "include", "segment_parameter": "page_url", "value": "/price", "operator": "sub"},
                            {"type": "exclude", "segment_parameter": "city", "value": "^Тв\\w+", "operator": "~"},
                        ]
                    }
                ]
            },
        }
        for index, (segment, site) in enumerate(zip(cast.segments, cast.sites, strict=True))
    ]


def _campaigns(cast: Cast, site: Site) -> list[Campaign]:
    """Return the listed campaigns of a site that show numbers in its blocks."""
    return [
        campaign for campaign in cast.campaigns if campaign.index and campaign.site is site and not campaign.deleted
    ]


def _campaign_of_number(campaign: Campaign, block: int) -> Row:
    return {
        "campaign_id": campaign.id,
        "campaign_name": campaign.name,
        **_site(campaign.site),
        "site_blocks": [{**_block(campaign.site, block), "is_tracking": True}],
    }


def _block(site: Site, block: int) -> Row:
    return {"site_block_id": site.id * 10 + block, "site_block_name": texts.SITE_BLOCKS[block]}


def _site(site: Site) -> Row:
    return {"site_id": site.id, "site_domain_name": site.domain}


def _scenario(scenario: Scenario) -> Row:
    return {"scenario_id": scenario.id, "scenario_name": scenario.name}
