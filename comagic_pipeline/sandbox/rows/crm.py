"""What comes from a CRM: the history of deals, and the lists that its rows point to."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from comagic_pipeline.sandbox.rows import calls, chats, texts
from comagic_pipeline.sandbox.rows.cast import Cast
from comagic_pipeline.sandbox.rows.days import Days, moment
from comagic_pipeline.sandbox.rows.ids import luck, pick
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.deals_history"

_CONNECTED_ON = date(2025, 1, 1)
"""The day since when deals are known."""
_DEALS_A_DAY = 3
_DAYS_OF_STAGES = (0, 0, 3, 8)
"""How many days after its beginning a deal enters each stage of the funnel; the last of them closes it."""
_FUNNEL = "1"


def deals_history(days: Days, day: date) -> list[Row]:
    """Return the stages that deals entered on a day."""
    return [
        _stage(days, begun, number, stage)
        for stage, days_later in enumerate(_DAYS_OF_STAGES)
        if (begun := day - timedelta(days=days_later)) >= _CONNECTED_ON
        for number in range(_DEALS_A_DAY)
    ]


def as_of(rows: list[Row], now: str, _: Mapping[str, Any]) -> list[Row]:
    """Return a deal that is closed later is open so far."""
    return [
        row | {"closed_date_time": None, "revenue": None} if (row["closed_date_time"] or "") > now else row
        for row in rows
    ]


def days_of_history(_: Cast, __: Mapping[str, Any], now: str) -> set[date]:
    """Return all days since the CRM was connected: the list has no period."""
    count = (date.fromisoformat(now[:10]) - _CONNECTED_ON).days + 1
    return {_CONNECTED_ON + timedelta(days=offset) for offset in range(count)}


def sales_funnel(_: Cast) -> list[Row]:
    """get.sales_funnel."""
    stages = [
        {"stage_ext_id": str(1 + index), "stage_name": name, "stage_status": status, "stage_order": 1 + index}
        for index, (name, status) in enumerate(texts.DEAL_STAGES)
    ]
    return [
        {"ext_id": _FUNNEL, "name": "Розница", "stages": stages},
        {"ext_id": "2", "name": 'Опт "Юг"', "stages": []},
    ]


def deal_contacts(_: Cast) -> list[Row]:
    """get.deal_contacts: ids are those of the CRM; two CRMs may give the same one."""
    return [
        {
            "ext_id": f"contact-{index}",
            "name": f"{texts.LAST_NAMES[index % len(texts.LAST_NAMES)]}, окна" if index % 5 else None,
            "created_date_time": f"2024-12-{1 + index:02} 10:00:00",
            "phone_numbers": [f"7916{index:07}"] if index % 3 else [],
            "emails": [f"buyer{index}@example.test"] if index % 2 else [],
            "component": component,
        }
        for component, indexes in (("amocrm", range(20)), ("bitrix", range(2)))
        for index in indexes
    ]


def deal_employees(_: Cast) -> list[Row]:
    """get.deal_employees."""
    return [{"ext_id": f"manager-{index}", "name": name} for index, name in enumerate(texts.FIRST_NAMES)]


def deal_user_fields(_: Cast) -> list[Row]:
    """get.deal_user_fields."""
    return [
        {"ext_id": "area", "name": "Площадь, м²", "data_type": "numeric"},
        {"ext_id": "comment", "name": "Комментарий", "data_type": "string"},
    ]


def lead_funnel_stages(cast: Cast) -> list[Row]:
    """get.lead_funnel_stages."""
    return [
        {
            "id": cast.customer * 1_000_000 + 801 + index,
            "component": "amocrm",
            "ext_id": f"lead-{1 + index}",
            "name": name,
            "type": status,
            "order": 10 * (1 + index),
        }
        for index, (name, status) in enumerate(texts.DEAL_STAGES)
    ]


def lead_user_fields(_: Cast) -> list[Row]:
    """get.lead_user_fields."""
    return [{"ext_id": "budget", "name": "Бюджет, ₽", "data_type": "numeric"}]


def _stage(days: Days, begun: date, number: int, stage: int) -> Row:
    deal_id = (begun - _CONNECTED_ON).days * _DEALS_A_DAY + number
    communication_type, communication_id = _communication(days, begun, number)
    # After the calls that deals are tied to.
    hour = 13 * 3600 + int(luck(deal_id) * 3600)
    contact = f"contact-{deal_id % 20}"
    is_won = luck(deal_id, 1) < 0.6
    is_last = stage == len(_DAYS_OF_STAGES) - 1
    return {
        "ext_id": f"deal-{deal_id}",
        "name": f"{pick(texts.LAST_NAMES, deal_id)}, {pick(texts.KEYWORDS, deal_id)}",
        "created_date_time": moment(begun, hour),
        "closed_date_time": moment(begun + timedelta(days=_DAYS_OF_STAGES[-1]), hour + 3600),
        "modified_stage_date_time": moment(begun + timedelta(days=_DAYS_OF_STAGES[stage]), hour + 1200 * stage),
        "contact_ext_ids": [contact, "contact-0"] if deal_id % 7 == 1 else [contact],
        "tag_ext_ids": ["vip"] if deal_id % 5 == 0 else [],
        "main_contact_ext_id": contact,
        "employee_ext_id": f"manager-{deal_id % len(texts.FIRST_NAMES)}",
        "revenue": int(luck(deal_id, 2) * 10_000_000) / 100 if is_won else 0,
        "sales_funnel_ext_id": _FUNNEL,
        "stage_ext_id": str(stage + 2 if is_last and not is_won else stage + 1),
        "comments": pick(texts.COMMENTS, deal_id, 3 + stage) if stage else None,
        "source": "calltracking" if communication_type else None,
        "is_generated": stage == 1 and deal_id % 4 == 0,
        "communication_id": communication_id,
        "communication_type": communication_type,
    }


def _communication(days: Days, day: date, number: int) -> tuple[str | None, int | None]:
    """Return what a deal began with: a call at noon, a chat of the day before, or nothing that is known here."""
    if number == 0 and calls.count(days, day) > calls.CALL_AT_NOON:
        return "call", calls.communication_ids(days.cast, day)(calls.CALL_AT_NOON)
    day_before = day - timedelta(days=1)
    if number == 1 and chats.count(days, day_before):
        return "chat", chats.communication_id(days.cast, day_before, 0)
    return None, None
