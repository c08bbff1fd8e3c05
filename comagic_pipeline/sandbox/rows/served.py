"""Which generator makes the rows of which method: the place to list another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from comagic_pipeline.sandbox.rows import (
    calls,
    campaign_statistics,
    chats,
    communications,
    contacts,
    crm,
    customers,
    day_visits,
    dictionaries,
    employees,
    goals,
    legs,
    offline_messages,
    sites,
    sources,
    summaries,
    visitor_sessions,
)
from comagic_pipeline.sandbox.rows.cast import Cast
from comagic_pipeline.sandbox.rows.days import Days, Maker
from comagic_pipeline.sandbox.specification import Row

Options = Mapping[str, Any]
"""The parameters of a request."""


@dataclass(frozen=True)
class Report:
    """How the rows of a method are made day by day."""

    rows: Maker
    as_of: Callable[[list[Row], str, Options], list[Row]] = lambda rows, _now, _options: rows
    """Rows, begun by a moment (wall time), as they look at it, and what is left of them by the parameters."""
    count: Callable[[Days, date, Options], int] | None = None
    """How many rows a day has that is over, by the parameters; None: only making them tells."""
    is_derived: bool = False
    """Whether the rows are made of those that other reports show, changes included."""
    days: Callable[[Cast, Options, str], set[date]] | None = None
    """The days of a request without a period, where the method allows one."""


@dataclass(frozen=True)
class Listing:
    """How the rows of a list without a period are made, and what is left of them by the parameters."""

    rows: Callable[[Cast], list[Row]]
    asked: Callable[[list[Row], Options], list[Row]] = lambda rows, _options: rows


Summary = Callable[[Days, str, str, Options], list[Row]]
"""Makes the rows that sum up a period, from a moment till another."""


def _whatever_is_asked(count: Callable[[Days, date], int]) -> Callable[[Days, date, Options], int]:
    return lambda days, day, _options: count(days, day)


REPORTS: dict[str, Report] = {
    calls.METHOD: Report(calls.rows, calls.as_of, _whatever_is_asked(calls.count)),
    legs.METHOD: Report(legs.rows, is_derived=True),
    legs.FINANCIAL_METHOD: Report(legs.charges, is_derived=True),
    visitor_sessions.METHOD: Report(
        visitor_sessions.rows, visitor_sessions.as_of, _whatever_is_asked(day_visits.count), is_derived=True
    ),
    chats.METHOD: Report(chats.rows, chats.as_of, _whatever_is_asked(chats.count)),
    chats.MESSAGES_METHOD: Report(chats.messages, chats.asked_messages, is_derived=True, days=chats.days_of_messages),
    offline_messages.METHOD: Report(offline_messages.rows, offline_messages.as_of, offline_messages.count_asked),
    goals.METHOD: Report(goals.rows, count=_whatever_is_asked(goals.count)),
    communications.METHOD: Report(communications.rows, count=_whatever_is_asked(communications.count), is_derived=True),
    campaign_statistics.METHOD: Report(campaign_statistics.rows, campaign_statistics.as_of, is_derived=True),
    crm.METHOD: Report(crm.deals_history, crm.as_of, days=crm.days_of_history),
}
SUMMARIES: dict[str, Summary] = {
    "get.ct_ac_summary_report": summaries.by_campaign,
    "get.ct_summary_report": summaries.by_site,
    "get.employee_stat": summaries.employee_statuses,
}
LISTS: dict[str, Listing] = {
    "get.account": Listing(dictionaries.account),
    "get.campaigns": Listing(dictionaries.campaigns),
    "get.sites": Listing(sites.sites),
    "get.site_blocks": Listing(sites.site_blocks),
    "get.tags": Listing(dictionaries.tags, dictionaries.asked_tags),
    "get.employees": Listing(employees.employees),
    "get.group_employees": Listing(employees.group_employees),
    "get.employee_positions": Listing(employees.employee_positions),
    "get.statuses": Listing(employees.statuses, employees.asked_statuses),
    "get.virtual_numbers": Listing(sites.virtual_numbers),
    "get.sip_lines": Listing(employees.sip_lines),
    "get.scenarios": Listing(sites.scenarios),
    "get.segments": Listing(sites.segments),
    "get.contacts": Listing(contacts.contacts),
    "get.group_contacts": Listing(contacts.group_contacts),
    "get.contact_organizations": Listing(contacts.contact_organizations),
    "get.sources": Listing(sources.sources),
    "get.sources_groups": Listing(sources.sources_groups),
    "get.sources_channels": Listing(sources.sources_channels),
    "get.chat_channels": Listing(employees.chat_channels),
    "get.offline_message_user_fields": Listing(dictionaries.offline_message_user_fields),
    "get.customers": Listing(customers.customers),
    "get.customer_users": Listing(customers.customer_users),
    "get.sales_funnel": Listing(crm.sales_funnel),
    "get.deal_contacts": Listing(crm.deal_contacts),
    "get.deal_employees": Listing(crm.deal_employees),
    "get.deal_user_fields": Listing(crm.deal_user_fields),
    "get.lead_funnel_stages": Listing(crm.lead_funnel_stages),
    "get.lead_user_fields": Listing(crm.lead_user_fields),
}


def is_served(method: str) -> bool:
    """Return whether the sandbox has rows for a method."""
    return method in REPORTS or method in SUMMARIES or method in LISTS
