"""Reports that sum up a whole period: numbers of call tracking by campaign and by site, the statuses of employees.

They are made of the rows that the other reports show, so that the sums agree with them.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from comagic_pipeline.sandbox.rows import calls
from comagic_pipeline.sandbox.rows.cast import Cast, Person, Site, Status
from comagic_pipeline.sandbox.rows.days import Days, moment, seconds_between
from comagic_pipeline.sandbox.specification import Row

# The source of calls that these reports count.
_TRACKED = "dynamic_call_tracking"


def by_campaign(days: Days, date_from: str, date_till: str, options: Mapping[str, Any]) -> list[Row]:
    """get.ct_ac_summary_report: the campaigns of a site; that of visitors without one stands for the reserve pool."""
    tracked = _tracked(days, date_from, date_till)
    rows = []
    for site in days.cast.sites:
        if options.get("site_id", site.id) != site.id:
            continue
        for campaign in days.cast.campaigns:
            if campaign.deleted or (campaign.index and campaign.site is not site):
                continue
            own = [call for call in tracked if call["site_id"] == site.id and call["campaign_id"] == campaign.id]
            is_dynamic = campaign.index > 0
            rows.append(
                {
                    "ac_id": campaign.id,
                    "ac_name": campaign.name,
                    "is_reserve_pool": not is_dynamic,
                    "is_dynamic": is_dynamic,
                    "is_static": not is_dynamic,
                    **_counts(site, own),
                }
            )
    return rows


def by_site(days: Days, date_from: str, date_till: str, _: Mapping[str, Any]) -> list[Row]:
    """get.ct_summary_report: all sites."""
    tracked = _tracked(days, date_from, date_till)
    return [
        {
            "site_id": site.id,
            "site_domain": site.domain,
            "reserve_numbers_count": 1,
            **_counts(site, [call for call in tracked if call["site_id"] == site.id]),
        }
        for site in days.cast.sites
    ]


def employee_statuses(days: Days, date_from: str, date_till: str, options: Mapping[str, Any]) -> list[Row]:
    """get.employee_stat: seconds of each status within the period, as far as it is over.

    The docs give the keys: codes, which only built-in statuses have, or on demand the ids of all, in JSON as text.
    """
    by_id = options.get("only_default_statuses_in_stats") is False
    rows = []
    for employee in days.cast.employees:
        seconds: dict[str, int] = {}
        for status, start, end in _parts(days.cast, employee, date_from[:10], date_till[:10]):
            key = str(status.id) if by_id else status.mnemonic
            length = seconds_between(max(start, date_from), min(end, date_till))
            if key is not None and length > 0:
                seconds[key] = seconds.get(key, 0) + length
        group = days.cast.group_of(employee.id)
        rows.append(
            {
                "id": employee.id,
                **employee.name_columns,
                "status_stats": seconds,
                "groups": [{"group_id": group.id, "group_name": group.name}] if group else [],
            }
        )
    return rows


def _tracked(days: Days, date_from: str, date_till: str) -> list[Row]:
    return [call for call in days.between(calls.METHOD, date_from, date_till) if call["source"] == _TRACKED]


def _counts(site: Site, tracked: list[Row]) -> Row:
    without_visit = sum(call["visitor_session_id"] is None for call in tracked)
    with_visit = len(tracked) - without_visit
    return {
        "active_numbers_count": len(site.phone_numbers),
        "dt_ratio": round(100 * with_visit / len(tracked), 1) if tracked else 0,
        "non_session_calls_count": without_visit,
        "calls_count": len(tracked),
    }


def _parts(cast: Cast, employee: Person, first: str, last: str) -> Iterator[tuple[Status, str, str]]:
    """Yield what an employee did from when till when, over some days: at weekends nothing."""
    day = date.fromisoformat(first)
    while str(day) <= last:
        lunch = 13 * 3600 + employee.id % 7 * 300
        work = ((0, 4), (9 * 3600, 0), (lunch, 1), (lunch + 1800, 0), (15 * 3600, 7), (15 * 3600 + 1200, 8))
        plan = [*work, (16 * 3600, 2), (16 * 3600 + 600, 0), (18 * 3600, 4)] if day.weekday() < 5 else [(0, 4)]
        for (start, status), (end, _) in pairwise([*plan, (86_400, 0)]):
            yield cast.statuses[status], moment(day, start), moment(day, end)
        day += timedelta(days=1)
