"""Every method of the made-up account: its rows are as documented, agree with each other, and never change."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import pytest

from comagic_pipeline.sandbox.world import World

METHODS = {
    method["name"]: method
    for method in json.loads((files("comagic_pipeline") / "catalog" / "methods.json").read_bytes())["methods"]
    if method["group"] != "report_constructor"
}
WITH_PERIOD = [name for name, method in METHODS.items() if any(p["name"] == "date_from" for p in method["params"])]
LATER = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, LAST = "2025-03-02", "2025-03-09"
"""A Sunday and the Sunday after it."""
PERIOD = (f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
CALLS, LEGS, CHATS = "get.calls_report", "get.call_legs_report", "get.chats_report"
CHARGES, MESSAGES, GOALS = "get.financial_call_legs_report", "get.chat_messages_report", "get.goals_report"
VISITS, OFFLINE, STAT = "get.visitor_sessions_report", "get.offline_messages_report", "get.campaign_daily_stat"
COMMUNICATIONS, DEALS = "get.communications_report", "get.deals_history"
TYPES: dict[str, Any] = {"number": (int, float), "boolean": bool, "array": list, "object": dict}
FORMATS = {"YYYY-MM-DD hh:mm:ss": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD": r"\d{4}-\d\d-\d\d"}
Row = dict[str, Any]


def world(now: datetime = LATER, **options: Any) -> World:
    return World(now=lambda: now, **{"calls_per_day": 60, "customers": 2} | options)


def rows_of(a_world: World, method: str, *period: str, **options: Any) -> list[Row]:
    """The rows of a method, in the period if the method has one."""
    return a_world.rows(method, *(period or PERIOD) if method in WITH_PERIOD else (), **options)


@cache
def shared_rows(method: str) -> list[Row]:
    """The rows of a method in the world that most tests look at; made once. Technical and deleted rows included."""
    options: Row = {}
    if method == OFFLINE:
        options = {"include_tech_offline_messages": True}
    if method == "get.tags":
        options = {"is_include_rating": True}
    if method == "get.ct_ac_summary_report":
        options = {"site_id": 4501}
    rows = rows_of(SHARED, method, **options)
    return rows + (rows_of(SHARED, method, is_deleted=True) if method == "get.statuses" else [])


SHARED = world()


def by(rows: list[Row], column: str) -> dict[Any, list[Row]]:
    grouped: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row[column]].append(row)
    return grouped


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# As documented


def check_value(value: Any, column: Row, place: str) -> None:
    """A value is null or has the type, the form, the words and the inner columns of the catalog."""
    if value is None:
        return
    kind = column["type"]
    assert isinstance(value, TYPES.get(kind, str)), (place, value)
    assert isinstance(value, bool) == (kind == "boolean"), (place, value)
    if kind == "iso8601":
        assert re.fullmatch(FORMATS[column["format"]], value), (place, value)
    if column.get("enum") and place != f"{CHARGES}.source":
        assert value in column["enum"], (place, value)
    if kind == "array":
        for item in value:
            check_item(item, column, place)
    if kind == "object" and column.get("children") and value != {}:
        check_children(value, column, place)


def check_item(item: Any, column: Row, place: str) -> None:
    if column.get("children"):
        check_children(item, column, place)
    elif column.get("items_enum"):
        assert item in column["items_enum"], (place, item)
    elif column["items"] in ("string", "number"):
        assert isinstance(item, {"string": str, "number": int}[column["items"]]), (place, item)


def check_children(value: Row, column: Row, place: str) -> None:
    assert value.keys() == {child["name"] for child in column["children"]}, (place, value)
    for child in column["children"]:
        check_value(value[child["name"]], child, f"{place}.{child['name']}")


@pytest.mark.parametrize("method", METHODS)
def test_rows_have_the_columns_and_types_of_the_catalog(method: str) -> None:
    """All columns are there, down to the innermost, and hold null or what the catalog names."""
    rows = shared_rows(method)
    assert rows
    columns = {column["name"]: column for column in METHODS[method]["fields"]}
    for row in rows:
        # Integrated campaigns have no conditions at all, says their page.
        absent = columns.keys() - row.keys()
        assert absent in (set(), {"campaign_conditions"} if row.get("type") == "integrated" else set())
        for name, value in row.items():
            check_value(value, columns[name], f"{method}.{name}")
            assert value is not None or columns[name]["type"] != "array" or name == "static_parameters", (method, name)


NEVER_FILLED = {
    "get.campaigns": {f"static_utm_{name}" for name in ("campaign", "term", "content", "referrer", "expid")},
    "get.sites": {"child_customer_id"},
    "get.virtual_numbers": {"child_customer_id"},
    "get.customers": {
        "description", "monthly_base_notify_limit", "monthly_calls_limit", "monthly_calls_notify_limit",
        "monthly_calls_notify_emails", "daily_calls_limit", "daily_calls_notify_limit", "daily_calls_notify_emails",
    },
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_columns_are_filled_somewhere(method: str) -> None:
    """No column is empty in all rows, but for a few of settings that this account does not use."""
    rows = shared_rows(method)
    names = {column["name"] for column in METHODS[method]["fields"]}
    empty = {name for name in names if all(row.get(name) in (None, [], {}) for row in rows)}
    assert empty == NEVER_FILLED.get(method, set())


@pytest.mark.parametrize("method", METHODS)
def test_keys_are_unique(method: str) -> None:
    """No two rows have one key, whether of one day or of several."""
    rows = shared_rows(method)
    names = [name for name in METHODS[method]["loader_hints"]["primary_key"] if name in rows[0]]
    assert len({tuple(row[name] for name in names) for row in rows}) == len(rows)


@pytest.mark.parametrize("method", [CALLS, LEGS, CHARGES, VISITS, CHATS, MESSAGES, OFFLINE, GOALS, COMMUNICATIONS])
def test_every_day_has_rows_at_its_ends(method: str) -> None:
    """Each day of each report has rows at 00:00:00 and 23:59:59; where contacts happen, several share a second."""
    seconds = Counter(row[METHODS[method]["loader_hints"]["time_field"]] for row in shared_rows(method))
    days = {second[:10] for second in seconds}
    assert len(days) == 8
    assert all(seconds[f"{day} 00:00:00"] and seconds[f"{day} 23:59:59"] for day in days)
    assert method == VISITS or {second[:10] for second, count in seconds.items() if count > 1} == days


@pytest.mark.parametrize("method", [name for name in WITH_PERIOD if METHODS[name]["loader_hints"]["time_field"]])
def test_rows_lie_in_their_period(method: str) -> None:
    """A period holds just the rows whose time is in it: two halves of a day make the whole, a day is a whole date."""
    time_column = METHODS[method]["loader_hints"]["time_field"]
    whole = rows_of(SHARED, method, "2025-03-04 00:00:00", "2025-03-04 23:59:59")
    morning = rows_of(SHARED, method, "2025-03-04 00:00:00", "2025-03-04 11:59:59")
    evening = rows_of(SHARED, method, "2025-03-04 12:00:00", "2025-03-04 23:59:59")
    assert {row[time_column][:10] for row in whole} == {"2025-03-04"}
    if method == STAT:
        assert morning == evening == whole
    else:
        assert len(morning) + len(evening) == len(whole)
        assert all(row[time_column] < "2025-03-04 12:00:00" for row in morning)
        assert all(row[time_column] >= "2025-03-04 12:00:00" for row in evening)


# Links

LINKS = [
    # from, path of the ids, to, column
    (CALLS, "visitor_session_id", VISITS, "id"),
    (CALLS, "communication_id", COMMUNICATIONS, "id"),
    (CALLS, "employees.employee_id", "get.employees", "id"),
    (CALLS, "tags.tag_id", "get.tags", "id"),
    (CALLS, "virtual_phone_number", "get.virtual_numbers", "virtual_phone_number"),
    (CALLS, "scenario_id", "get.scenarios", "id"),
    (CALLS, "contact_id", "get.contacts", "id"),
    (CALLS, "site_id", "get.sites", "id"),
    (LEGS, "call_session_id", CALLS, "id"),
    (LEGS, "employee_id", "get.employees", "id"),
    (LEGS, "employee_phone_number", "get.employees", "phone_numbers.phone_number"),
    (LEGS, "scenario_id", "get.scenarios", "id"),
    (LEGS, "action_id", "get.scenarios", "operations.id"),
    (LEGS, "group_id", "get.group_employees", "id"),
    (LEGS, "contact_id", "get.contacts", "id"),
    (LEGS, "virtual_phone_number", "get.virtual_numbers", "virtual_phone_number"),
    (CHARGES, "leg_id", LEGS, "id"),
    (CHARGES, "call_session_id", CALLS, "id"),
    (VISITS, "communications.communication_id", COMMUNICATIONS, "id"),
    (VISITS, "campaign_id", "get.campaigns", "id"),
    (VISITS, "site_id", "get.sites", "id"),
    (VISITS, "segments.segment_id", "get.segments", "id"),
    (VISITS, "source_id", "get.sources", "id"),
    (VISITS, "source_new", "get.sources_groups", "name"),
    (VISITS, "channel_new", "get.sources_channels", "name"),
    (VISITS, "channel_code", "get.sources_channels", "mnemonic"),
    (CHATS, "communication_id", COMMUNICATIONS, "id"),
    (CHATS, "visitor_session_id", VISITS, "id"),
    (CHATS, "chat_channel_id", "get.chat_channels", "id"),
    (CHATS, "employee_id", "get.employees", "id"),
    (CHATS, "tags.tag_id", "get.tags", "id"),
    (CHATS, "tags.tag_employee_id", "get.employees", "id"),
    (CHATS, "site_id", "get.sites", "id"),
    (MESSAGES, "chat_id", CHATS, "id"),
    (MESSAGES, "channel_id", "get.chat_channels", "id"),
    (MESSAGES, "employee_id", "get.employees", "id"),
    (OFFLINE, "communication_id", COMMUNICATIONS, "id"),
    (OFFLINE, "visitor_session_id", VISITS, "id"),
    (OFFLINE, "employee_id", "get.employees", "id"),
    (OFFLINE, "group_id", "get.group_employees", "id"),
    (OFFLINE, "site_id", "get.sites", "id"),
    (GOALS, "communication_id", COMMUNICATIONS, "id"),
    (GOALS, "visitor_session_id", VISITS, "id"),
    (COMMUNICATIONS, "visitor_session_id", VISITS, "id"),
    (COMMUNICATIONS, "campaign_id", "get.campaigns", "id"),
    (COMMUNICATIONS, "visitor_first_campaign_id", "get.campaigns", "id"),
    (COMMUNICATIONS, "source_id", "get.sources", "id"),
    (STAT, "session_ids", VISITS, "id"),
    (STAT, "communications.communication_id", COMMUNICATIONS, "id"),
    (STAT, "campaign_id", "get.campaigns", "id"),
    (STAT, "site_id", "get.sites", "id"),
    ("get.ct_ac_summary_report", "ac_id", "get.campaigns", "id"),
    ("get.ct_summary_report", "site_id", "get.sites", "id"),
    ("get.employee_stat", "id", "get.employees", "id"),
    ("get.employee_stat", "groups.group_id", "get.group_employees", "id"),
    ("get.campaigns", "site_id", "get.sites", "id"),
    ("get.campaigns", "site_blocks.site_block_id", "get.site_blocks", "id"),
    ("get.campaigns", "site_blocks.phone_number_id", "get.virtual_numbers", "id"),
    ("get.sites", "default_scenario.scenario_id", "get.scenarios", "id"),
    ("get.sites", "site_blocks.site_block_id", "get.site_blocks", "id"),
    ("get.sites", "parent_id", "get.sites", "id"),
    ("get.site_blocks", "site_id", "get.sites", "id"),
    ("get.site_blocks", "phone_numbers.phone_number_id", "get.virtual_numbers", "id"),
    ("get.site_blocks", "phone_numbers.campaign_id", "get.campaigns", "id"),
    ("get.employees", "status_id", "get.statuses", "id"),
    ("get.employees", "groups.group_id", "get.group_employees", "id"),
    ("get.employees", "coach.coach_id", "get.employees", "id"),
    ("get.employees", "operator.operator_position_id", "get.employee_positions", "id"),
    ("get.employees", "operator.operator_sites.site_id", "get.sites", "id"),
    ("get.group_employees", "members.employee_id", "get.employees", "id"),
    ("get.group_employees", "phone_numbers.employee_phone_number_id", "get.employees", "phone_numbers.phone_id"),
    ("get.virtual_numbers", "campaigns.campaign_id", "get.campaigns", "id"),
    ("get.virtual_numbers", "campaigns.site_blocks.site_block_id", "get.site_blocks", "id"),
    ("get.virtual_numbers", "scenarios.scenario_id", "get.scenarios", "id"),
    ("get.sip_lines", "employee_id", "get.employees", "id"),
    ("get.sip_lines", "virtual_phone_number", "get.virtual_numbers", "virtual_phone_number"),
    ("get.scenarios", "virtual_phone_numbers", "get.virtual_numbers", "virtual_phone_number"),
    ("get.scenarios", "campaigns.campaign_id", "get.campaigns", "id"),
    ("get.segments", "site_id", "get.sites", "id"),
    ("get.contacts", "personal_manager_id", "get.employees", "id"),
    ("get.contacts", "organization_id", "get.contact_organizations", "id"),
    ("get.contacts", "groups.group_id", "get.group_contacts", "id"),
    ("get.group_contacts", "members.contact_id", "get.contacts", "id"),
    ("get.sources", "group_id", "get.sources_groups", "id"),
    ("get.sources", "channel_id", "get.sources_channels", "id"),
    ("get.sources_groups", "channel_id", "get.sources_channels", "id"),
    ("get.sources_channels", "default_source_id", "get.sources", "id"),
    ("get.chat_channels", "group_id", "get.group_employees", "id"),
    ("get.chat_channels", "employee_id", "get.employees", "id"),
    ("get.customer_users", "customer_id", "get.customers", "id"),
    (DEALS, "main_contact_ext_id", "get.deal_contacts", "ext_id"),
    (DEALS, "contact_ext_ids", "get.deal_contacts", "ext_id"),
    (DEALS, "employee_ext_id", "get.deal_employees", "ext_id"),
    (DEALS, "sales_funnel_ext_id", "get.sales_funnel", "ext_id"),
    (DEALS, "stage_ext_id", "get.sales_funnel", "stages.stage_ext_id"),
]
DELETED_CAMPAIGNS = {77012, 77013}


def values(row: Any, path: str) -> Iterator[Any]:
    """What a dotted path leads to, in objects and in all items of arrays; nulls left out."""
    name, _, rest = path.partition(".")
    value = row.get(name)
    for item in value if isinstance(value, list) else [value]:
        if rest and item:
            yield from values(item, rest)
        elif not rest and item is not None:
            yield item


@pytest.mark.parametrize(("method", "path", "target", "column"), LINKS, ids=[f"{link[0]}.{link[1]}" for link in LINKS])
def test_links_lead_somewhere(method: str, path: str, target: str, column: str) -> None:
    """Every id that points to another report or list is there, but for two campaigns that were deleted."""
    known = {value for row in shared_rows(target) for value in values(row, column)}
    rows = shared_rows(method)
    if target in (VISITS, CALLS, CHATS, LEGS):
        # What belongs to the day before the period begins with its second day.
        time_column = METHODS[method]["loader_hints"]["time_field"]
        rows = [row for row in rows if row[time_column][:10] > FIRST]
    if method == VISITS and target == COMMUNICATIONS:
        rows = [row for row in rows if row["date_time"][:10] < LAST]
    ids = {value for row in rows for value in values(row, path)}
    assert ids
    assert ids - known <= (DELETED_CAMPAIGNS if target == "get.campaigns" else set())


def test_deleted_campaigns_are_still_spoken_of() -> None:
    """Reports name campaigns that the list no longer has."""
    for method in (VISITS, COMMUNICATIONS, STAT):
        assert {row["campaign_id"] for row in shared_rows(method)} >= DELETED_CAMPAIGNS


def test_a_call_after_midnight_belongs_to_a_visit_before_it() -> None:
    """Some visits begin on the day before their call, none begins after a contact in it or ends before."""
    visits = {row["id"]: row for row in shared_rows(VISITS)}
    crossing = 0
    for row in shared_rows(COMMUNICATIONS):
        visit = visits.get(row["visitor_session_id"])
        if visit is None:
            assert row["visitor_session_id"] is None or row["date_time"][:10] == FIRST
            continue
        start = moment(visit["date_time"])
        assert start <= moment(row["date_time"]) <= start + timedelta(seconds=visit["duration"])
        crossing += visit["date_time"][:10] < row["date_time"][:10]
    assert crossing > 0


def test_contacts_share_the_attribution_of_their_visit() -> None:
    """Columns that a visit and its contacts have in common hold the same, in every report."""
    visits = {row["id"]: row for row in shared_rows(VISITS)}
    own = {"id", "date_time", "duration", "ext_id", "communications", "visitor_type"}
    for method in (CALLS, CHATS, OFFLINE, GOALS, COMMUNICATIONS):
        common = {column["name"] for column in METHODS[method]["fields"]} & visits[next(iter(visits))].keys() - own
        compared = 0
        for row in shared_rows(method):
            if visit := visits.get(row["visitor_session_id"]):
                assert {name: row[name] for name in common} == {name: visit[name] for name in common}
                compared += 1
        assert compared > 50
        assert {"campaign_id", "site_id", "visitor_id", "utm_source"} <= common


def test_communications_are_all_contacts() -> None:
    """Their ids, times, tags and deals are those of the four reports; technical messages are no contacts."""
    time_columns = {CALLS: "start_time", CHATS: "date_time", OFFLINE: "date_time", GOALS: "date_time"}
    expected = {
        (row["communication_type"], row["communication_id"]): (row[time_column], row["tags"], row["sale_cost"])
        for method, time_column in time_columns.items()
        for row in shared_rows(method)
        if row["communication_id"] is not None
    }
    rows = shared_rows(COMMUNICATIONS)
    assert {
        (row["communication_type"], row["id"]): (row["date_time"], row["tags"], row["sale_cost"]) for row in rows
    } == expected
    assert len(rows) == len(expected)
    technical = [row for row in shared_rows(OFFLINE) if row["communication_id"] is None]
    assert len(technical) >= 8
    assert len(rows_of(SHARED, OFFLINE)) == len(shared_rows(OFFLINE)) - len(technical)


def test_visits_list_their_contacts() -> None:
    """``communications`` of the visits are the communications of the period that name them."""
    listed = {
        (row["id"], item["communication_type"], item["communication_id"], item["communication_date_time"])
        for row in shared_rows(VISITS)
        for item in row["communications"]
        if item["communication_date_time"][:10] <= LAST
    }
    starts = {row["id"] for row in shared_rows(VISITS)}
    assert listed == {
        (row["visitor_session_id"], row["communication_type"], row["id"], row["date_time"])
        for row in shared_rows(COMMUNICATIONS)
        if row["visitor_session_id"] in starts
    }
    assert max(len(row["communications"]) for row in shared_rows(VISITS)) > 1


def test_goals_take_their_source_from_the_communications() -> None:
    """The report of goals has no sources; their communications have that of the visit."""
    visits = {row["id"]: row for row in shared_rows(VISITS)}
    goals = [row for row in shared_rows(COMMUNICATIONS) if row["communication_type"] == "goal"]
    assert "source_id" not in shared_rows(GOALS)[0]
    assert all(
        row["source_id"] == visits[row["visitor_session_id"]]["source_id"]
        for row in goals
        if row["visitor_session_id"] in visits
    )


def test_legs_fit_their_call() -> None:
    """The subscriber's leg spans waiting and talk, those of the employees share the talk, all lie within the call."""
    legs = by(shared_rows(LEGS), "call_session_id")
    for call in shared_rows(CALLS):
        own = [leg for leg in legs[call["id"]] if not leg["is_operator"]]
        rung = [leg for leg in legs[call["id"]] if leg["is_operator"]]
        if call["start_time"] > f"{LAST} 23:50:00":
            continue  # Legs may begin after the period.
        assert [leg["total_duration"] for leg in own] == [call["wait_duration"] + call["talk_duration"]]
        assert sum(leg["duration"] for leg in rung) == call["talk_duration"]
        assert [leg["employee_id"] for leg in rung] == [employee["employee_id"] for employee in call["employees"]]
        for leg in own + rung:
            start = moment(leg["start_time"])
            end = start + timedelta(seconds=leg["total_duration"])
            assert moment(call["start_time"]) <= start <= end <= moment(call["finish_time"])
            assert (leg["duration"] > 0) == leg["is_talked"] or not leg["is_operator"]
            if leg["connect_time"] is not None:
                assert moment(leg["connect_time"]) + timedelta(seconds=leg["duration"]) == end
            else:
                assert leg["duration"] == 0


def test_charges_are_those_of_connected_legs() -> None:
    """Each connected leg is charged once, by the minute begun; legs of employees who did not answer are not."""
    legs = {leg["id"]: leg for leg in shared_rows(LEGS) if leg["connect_time"]}
    charges = {row["leg_id"]: row for row in shared_rows(CHARGES)}
    assert charges.keys() == legs.keys()
    assert len(charges) < len(shared_rows(LEGS))
    for row in charges.values():
        assert row["duration"] == legs[row["leg_id"]]["duration"]
        assert 0 <= row["chargeable_duration"] - row["duration"] < 60
        assert row["total_charge"] == pytest.approx(row["cost_per_minute"] * row["chargeable_duration"] / 60)


def test_a_leg_has_several_charges_on_demand() -> None:
    """A leg that costs several minutes has a charge for each, even equal ones: together they make the usual one."""
    several = by(rows_of(world(several_charges=True), CHARGES), "leg_id")
    usual = by(shared_rows(CHARGES), "leg_id")
    assert several.keys() == usual.keys()
    for leg_id, (charge,) in usual.items():
        parts = several[leg_id]
        assert len(parts) == (charge["chargeable_duration"] // 60 if charge["total_charge"] else 1)
        for column in ("chargeable_duration", "total_charge", "bonuses_charge"):
            assert sum(part[column] for part in parts) == pytest.approx(charge[column])
        assert {part["start_time"] for part in parts} == {charge["start_time"]}
    assert max(map(len, several.values())) > 3


def test_messages_belong_to_their_chat() -> None:
    """A chat has as many messages as it says, from its first second on and within its duration, in its channel."""
    messages = by(shared_rows(MESSAGES), "chat_id")
    for chat in shared_rows(CHATS):
        own = messages[chat["id"]]
        end = moment(chat["date_time"]) + timedelta(seconds=int(chat["duration"]))
        if end >= moment(f"{LAST} 23:59:59"):
            continue
        assert len(own) == chat["messages_count"]
        assert sum(row["source"] == "operator" for row in own) == chat["employee_messages_count"]
        assert own[0]["date_time"] == chat["date_time"]
        assert all(moment(row["date_time"]) <= end for row in own)
        assert {row["channel_id"] for row in own} == {chat["chat_channel_id"]}
        assert {row["employee_id"] for row in own} <= {chat["employee_id"], None}
    times = [row["date_time"] for row in shared_rows(MESSAGES)]
    assert times == sorted(times)


def test_messages_of_chats_come_without_a_period() -> None:
    """Chats asked for by id have all their messages, from whatever days; together with a period, those within it."""
    chats = by(shared_rows(MESSAGES), "chat_id")
    over_midnight = next(chat for chat, rows in chats.items() if len({row["date_time"][:10] for row in rows}) == 2)
    other = [chat for chat in chats if chat != over_midnight][len(chats) // 2]
    assert SHARED.rows(MESSAGES, chat_id=over_midnight) == chats[over_midnight]
    both = SHARED.rows(MESSAGES, chat_ids=[over_midnight, other])
    assert {row["id"] for row in both} == {row["id"] for row in chats[over_midnight] + chats[other]}
    first_day = chats[over_midnight][0]["date_time"][:10]
    period = (f"{first_day} 00:00:00", f"{first_day} 23:59:59")
    assert SHARED.rows(MESSAGES, *period, chat_id=over_midnight) == [
        row for row in chats[over_midnight] if row["date_time"][:10] == first_day
    ]
    assert SHARED.rows(MESSAGES, chat_id=5) == []


def test_campaign_days_sum_up_visits_and_contacts() -> None:
    """Counts and ids of a day of a campaign are those of its visits and communications."""
    rows = shared_rows(STAT)
    counts: dict[str, dict[Any, str]] = {
        VISITS: {None: "visits_count"},
        COMMUNICATIONS: {kind: f"{kind}s_count" for kind in ("call", "chat", "goal", "offline_message")},
    }
    for report, columns in counts.items():
        expected = Counter(
            (row["date_time"][:10], row["site_id"], row["campaign_id"], columns[row.get("communication_type")])
            for row in shared_rows(report)
            if row["campaign_id"] is not None
        )
        got: Counter[Any] = Counter()
        for row in rows:
            for column in columns.values():
                got[row["date"], row["site_id"], row["campaign_id"], column] += row[column]
        assert +got == expected
    visits = {row["id"]: row for row in shared_rows(VISITS)}
    ids = [session_id for row in rows for session_id in row["session_ids"]]
    assert sorted(ids) == sorted(visits)
    for row in rows:
        assert len(row["session_ids"]) == row["visits_count"]
        ads = {visits[i]["integrated_campaign_data"].get("current_banner_id") for i in row["session_ids"]}
        assert ads <= {row["current_banner_id"]}
    assert {row["engine"] for row in rows} == {None, "yandex.direct", "google.adwords", "vk.ads"}
    assert rows_of(SHARED, STAT, site_id=4502) == [row for row in rows if row["site_id"] == 4502]


def test_summaries_count_dynamic_calls() -> None:
    """Sites and campaigns have as many calls with dynamic numbers as the report of calls."""
    calls = [row for row in shared_rows(CALLS) if row["source"] == "dynamic_call_tracking"]
    for site in shared_rows("get.ct_summary_report"):
        own = [row for row in calls if row["site_id"] == site["site_id"]]
        assert site["calls_count"] == len(own) > 0
        assert site["non_session_calls_count"] == sum(row["visitor_session_id"] is None for row in own)
    for campaign in rows_of(SHARED, "get.ct_ac_summary_report", site_id=4501):
        own = [row for row in calls if (row["site_id"], row["campaign_id"]) == (4501, campaign["ac_id"])]
        assert campaign["calls_count"] == len(own)


def test_statuses_of_employees_fill_the_period() -> None:
    """By id, the seconds of all statuses make the period as far as it is over; by code, built-in ones only."""
    now = datetime(2025, 3, 4, 9, tzinfo=UTC)  # noon in Moscow
    period = ("2025-03-03 00:00:00", "2025-03-05 00:00:00")
    statuses = {str(row["id"]): row["mnemonic"] for row in shared_rows("get.statuses")}
    by_id = rows_of(world(now), "get.employee_stat", *period, only_default_statuses_in_stats=False)
    by_code = rows_of(world(now), "get.employee_stat", *period)
    for whole, row in zip(by_id, by_code, strict=True):
        assert sum(whole["status_stats"].values()) == 36 * 3600
        assert row["status_stats"] == {
            statuses[key]: seconds for key, seconds in whole["status_stats"].items() if statuses[key]
        }
    assert "9" in by_id[0]["status_stats"]  # a status that was deleted


def test_deals_begin_with_communications() -> None:
    """Deals name calls and chats that the communications of these days have; some name none."""
    known = {(row["communication_type"], row["id"]) for row in shared_rows(COMMUNICATIONS)}
    deals = [row for row in shared_rows(DEALS) if FIRST < row["created_date_time"][:10] <= LAST]
    named = {(row["communication_type"], row["communication_id"]) for row in deals}
    assert named - {(None, None)} <= known
    assert {kind for kind, _ in named} == {"call", "chat", None}
    stages = by(deals, "ext_id")
    assert {len(rows) for rows in stages.values()} == {4}
    for rows in stages.values():
        times = [row["modified_stage_date_time"] for row in rows]
        assert times == sorted(times)
        assert times[-1] == rows[-1]["closed_date_time"]


# Time and changes


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name]["loader_hints"]["time_field"]])
def test_nothing_is_shown_before_it_begins(method: str) -> None:
    """At noon, Moscow time, a day holds its morning; tomorrow does not exist."""
    time_column = METHODS[method]["loader_hints"]["time_field"]
    noon = world(datetime(2025, 3, 4, 9, tzinfo=UTC))
    rows = rows_of(noon, method, "2025-03-04 00:00:00", "2025-03-06 23:59:59")
    assert rows
    assert max(row[time_column] for row in rows) <= "2025-03-04 12:00:00"
    keys = METHODS[method]["loader_hints"]["primary_key"]
    later = {tuple(row[key] for key in keys) for row in shared_rows(method)}
    assert {tuple(row[key] for key in keys) for row in rows if row[time_column] >= FIRST} <= later


def test_the_reports_of_today_agree() -> None:
    """In the midst of a day every contact of a visit, leg and message belongs to a row that is shown."""
    noon = world(datetime(2025, 3, 4, 9, tzinfo=UTC))
    period = ("2025-03-03 00:00:00", "2025-03-04 23:59:59")
    contacts = {row["id"] for row in rows_of(noon, COMMUNICATIONS, *period)}
    listed = {i for row in rows_of(noon, VISITS, *period) for i in values(row, "communications.communication_id")}
    assert listed
    assert listed <= contacts
    calls = {row["id"] for row in rows_of(noon, CALLS, *period)}
    assert {row["call_session_id"] for row in rows_of(noon, LEGS, "2025-03-04 00:01:00", period[1])} <= calls
    stat = rows_of(noon, STAT, "2025-03-04 00:00:00", "2025-03-04 23:59:59")
    assert sum(row["visits_count"] for row in stat) == len(
        rows_of(noon, VISITS, "2025-03-04 00:00:00", "2025-03-04 23:59:59")
    )


@pytest.mark.parametrize("method", [LEGS, CHARGES, VISITS, MESSAGES, COMMUNICATIONS, STAT])
def test_today_goes_on(method: str) -> None:
    """What is made of other reports grows with them while the day goes on, and is the same as if read for once."""
    a_world = world()
    for hour in (9, 15):
        now = datetime(2025, 3, 4, hour, tzinfo=UTC)
        a_world.now = lambda now=now: now  # type: ignore[misc]
        rows = rows_of(a_world, method, "2025-03-04 00:00:00", "2025-03-04 23:59:59")
        assert rows == rows_of(world(now), method, "2025-03-04 00:00:00", "2025-03-04 23:59:59")


def test_chats_and_visits_are_shown_as_far_as_they_are() -> None:
    """An open chat is active, has no end and counts the messages so far; a visit has the time and pages so far."""
    chat = max(shared_rows(CHATS), key=lambda row: int(row["duration"]))
    midst = moment(f"{chat['date_time']}+03:00") + timedelta(seconds=int(chat["duration"]) // 2)
    a_world = world(midst)
    day = (f"{chat['date_time'][:10]} 00:00:00", f"{chat['date_time'][:10]} 23:59:59")
    (shown,) = [row for row in rows_of(a_world, CHATS, *day) if row["id"] == chat["id"]]
    assert (shown["status"], shown["duration"], shown["release_cause"]) == ("active", None, None)
    assert shown["messages_count"] < chat["messages_count"]

    visit = max(shared_rows(VISITS), key=lambda row: row["hits_count"])
    a_world = world(moment(f"{visit['hits'][-1]['hit_time']}+03:00") - timedelta(seconds=1))
    day = (f"{visit['date_time'][:10]} 00:00:00", f"{visit['date_time'][:10]} 23:59:59")
    (shown,) = [row for row in rows_of(a_world, VISITS, *day) if row["id"] == visit["id"]]
    assert shown["hits"] == visit["hits"][:-1]
    assert shown["duration"] < visit["duration"]


def test_requests_and_costs_arrive_later() -> None:
    """A request waits until it is handled; what ads cost on a day is told on the next morning; deals close later."""
    message = next(row for row in shared_rows(OFFLINE) if row["process_time"])
    a_world = world(moment(f"{message['process_time']}+03:00") - timedelta(seconds=1))
    (shown,) = [row for row in rows_of(a_world, OFFLINE) if row["id"] == message["id"]]
    assert (shown["status"], shown["process_time"], shown["employee_id"]) == ("not_processed", None, None)

    ads = [row for row in rows_of(world(datetime(2025, 3, 5, 6, tzinfo=UTC)), STAT) if row["current_banner_id"]]
    without_costs = {row["date"] for row in ads if row["cost_sum"] is None}
    assert without_costs == {"2025-03-04", "2025-03-05"}

    deals = rows_of(world(datetime(2025, 3, 5, 6, tzinfo=UTC)), DEALS)
    assert all((row["closed_date_time"] or "") < "2025-03-05 09:00:01" for row in deals)
    assert any(row["closed_date_time"] is None and row["stage_ext_id"] == "3" for row in deals)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_changed(method: str) -> None:
    """Rows of any method can be deleted, restored and changed, by their key, and other rows stay as they were."""
    a_world = world(datetime(2025, 3, 9, tzinfo=UTC), calls_per_day=20)
    period = ("2025-03-04 00:00:00", "2025-03-04 23:59:59")
    before = rows_of(a_world, method, *period)
    names = [name for name in METHODS[method]["loader_hints"]["primary_key"] if name in before[0]]
    text = [column["name"] for column in METHODS[method]["fields"] if column["type"] == "string"][-1]

    def key(row: Row) -> Any:
        return row[names[0]] if len(names) == 1 else tuple(row[name] for name in names)

    changed, deleted = before[0], before[-1]
    if len(before) > 1:
        a_world.delete(method, key(deleted))
        assert rows_of(a_world, method, *period) == before[:-1]
        a_world.restore(method, key(deleted))
    assert rows_of(a_world, method, *period) == before
    a_world.delete(method, "no such key")
    if text not in names:
        a_world.change(method, key(changed), {text: "изменено"})
        assert rows_of(a_world, method, *period)[0] == changed | {text: "изменено"}


def test_rows_made_of_others_follow_their_changes() -> None:
    """A call that is retagged, deleted or added is so in the communications, legs, visits and sums."""
    a_world = world()
    day = ("2025-03-04 00:00:00", "2025-03-04 23:59:59")
    calls = [row for row in rows_of(a_world, CALLS, *day) if row["visitor_session_id"] is not None]
    before = len(rows_of(a_world, COMMUNICATIONS, *day))
    changed, deleted = calls[-1], calls[-2]
    a_world.change(CALLS, changed["id"], {"tags": []})
    a_world.delete(CALLS, deleted["id"])
    a_world.add(CALLS, {"id": 7, "start_time": day[0], "finish_time": day[0], "communication_id": 8})
    rows = {row["id"]: row for row in rows_of(a_world, COMMUNICATIONS, *day)}
    assert rows[changed["communication_id"]]["tags"] == []
    assert deleted["communication_id"] not in rows
    assert rows[8]["date_time"] == day[0]
    assert len(rows) == before
    assert deleted["id"] not in {row["call_session_id"] for row in rows_of(a_world, LEGS, *day)}
    visits = rows_of(a_world, VISITS, "2025-03-03 00:00:00", day[1])
    assert deleted["communication_id"] not in {i for v in visits for i in values(v, "communications.communication_id")}


# Always the same

CHECKSUMS = {
    "get.calls_report": "638764deeccd0456",
    "get.call_legs_report": "14b431db54fdd260",
    "get.visitor_sessions_report": "4a9b87a64fd10945",
    "get.chats_report": "b0965f87b52f9f5a",
    "get.chat_messages_report": "081bf76a0b4439a7",
    "get.offline_messages_report": "9635cc451b533d84",
    "get.communications_report": "b8cfe00b71d70c97",
    "get.goals_report": "27c998ac0ed898f8",
    "get.campaign_daily_stat": "f1d79fd351b36ced",
    "get.financial_call_legs_report": "4f123b2780eec9be",
    "get.ct_ac_summary_report": "12c2a0bdc16673ac",
    "get.ct_summary_report": "3133879195583405",
    "get.employee_stat": "c00dc467270d8d25",
    "get.chat_channels": "b0d8b29be882367a",
    "get.account": "6fed7e1591383faf",
    "get.campaigns": "d0aa72d1e3001609",
    "get.sites": "cdaaa0b6805a2e59",
    "get.site_blocks": "3f97d13e74c98d27",
    "get.tags": "26381b2046b30e0b",
    "get.employees": "fb54d80b22366e63",
    "get.group_employees": "87cd6fb589df7fb6",
    "get.employee_positions": "f6b92255c59cf417",
    "get.statuses": "51a6e6166877c6a4",
    "get.virtual_numbers": "f70e3ef0fb17046d",
    "get.sip_lines": "2008ca99f88b152c",
    "get.scenarios": "8df7a49ae2cb80f2",
    "get.segments": "7a4d01e0f20d6257",
    "get.contacts": "b867af9e1139929d",
    "get.group_contacts": "71f72760e24539c5",
    "get.contact_organizations": "9c664fc5b21636d1",
    "get.sources": "5aaf83cafc103b10",
    "get.sources_groups": "a1fc1501bd8dc201",
    "get.sources_channels": "7df5814a95cb6194",
    "get.offline_message_user_fields": "f7e857f88005dd47",
    "get.customer_users": "1c4c16f431268e0c",
    "get.customers": "2a02de759e559767",
    "get.deals_history": "7ac2643a1db77832",
    "get.sales_funnel": "1f2a8acb0638a631",
    "get.deal_contacts": "fdd1019709314a9a",
    "get.deal_employees": "b7dbbe148f643d9e",
    "get.deal_user_fields": "a340452eeb7beecc",
    "get.lead_funnel_stages": "9753ff9f3085db65",
    "get.lead_user_fields": "8bb84220b94c80f2",
}


@pytest.fixture(scope="module")
def pinned() -> World:
    """The world whose rows are pinned."""
    return world(datetime(2025, 3, 9, tzinfo=UTC))


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_the_same_in_every_process_and_python(pinned: World, method: str) -> None:
    """The rows of a day or a list of a seed never change: their checksums are pinned."""
    rows = rows_of(pinned, method, "2025-03-03 00:00:00", "2025-03-03 23:59:59")
    text = json.dumps(rows, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == CHECKSUMS[method]


@pytest.mark.parametrize("method", [name for name in WITH_PERIOD if METHODS[name]["loader_hints"]["time_field"]])
def test_a_day_does_not_depend_on_what_was_made_before(method: str) -> None:
    """A day alone, out of order, or from a cache too small for it is the same day."""
    small = world(cached_rows=1, calls_per_day=20)
    days = ["2024-02-29", "2025-03-03", "2025-03-04"]

    def read(a_world: World, day: str) -> list[Row]:
        return rows_of(a_world, method, f"{day} 00:00:00", f"{day} 23:59:59")

    alone = [read(world(calls_per_day=20), day) for day in days]
    assert alone == [read(small, day) for day in days[::-1]][::-1]


def test_ratios_to_calls() -> None:
    """For each call there are ten visits, two to three legs, a goal, a third of a chat and a fifth of a request."""
    calls = len(shared_rows(CALLS))
    for method, ratio in ((VISITS, 10), (LEGS, 2.7), (CHATS, 0.3), (OFFLINE, 0.22), (GOALS, 1)):
        assert len(shared_rows(method)) / calls == pytest.approx(ratio, rel=0.15), method


def test_customers_share_no_ids() -> None:
    """Rows and names of two customers have no id in common, even if one seed makes them alike."""
    agent, first, second = (world(calls_per_day=20, customers=0, customer=number) for number in range(3))
    day = ("2025-03-04 00:00:00", "2025-03-04 23:59:59")
    built_in = {"get.sources", "get.sources_groups", "get.sources_channels"}
    for method, rules in METHODS.items():
        key = rules["loader_hints"]["primary_key"][-1 if method == COMMUNICATIONS else 0]
        if method in built_in or not key.endswith("id") or "ext" in key or rules["group"] == "agent":
            continue
        ids = [{row[key] for row in rows_of(account, method, *day)} for account in (agent, first, second)]
        assert all(ids), method
        assert len(set.union(*ids)) == sum(map(len, ids)), method
    sites = [{number for site in account.cast.sites for number in site.phone_numbers} for account in (first, second)]
    assert sites[0].isdisjoint(sites[1])


def test_a_customer_is_the_same_however_many_there_are() -> None:
    """The second customer of two is the second of five: its seed and ids depend on its number alone."""
    day = ("2025-03-03 00:00:00", "2025-03-03 23:59:59")
    two, five = (world(customers=count).customers[18302].rows(CALLS, *day) for count in (2, 5))
    assert two == five


def test_days_without_calls_are_empty() -> None:
    """An account without calls has hardly a visit and no contact, and no method fails on it."""
    empty = world(calls_per_day=0, campaigns=1)
    assert {len(rows_of(empty, method)) for method in (CALLS, LEGS, CHATS, OFFLINE, GOALS, COMMUNICATIONS)} == {0}
    for method in METHODS:
        rows_of(empty, method)
    assert len(rows_of(empty, VISITS)) == (date.fromisoformat(LAST) - date.fromisoformat(FIRST)).days + 1
