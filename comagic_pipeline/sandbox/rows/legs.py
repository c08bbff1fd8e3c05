"""Rows of get.call_legs_report and get.financial_call_legs_report: the connections of calls, and what they cost."""

from datetime import date, timedelta
from typing import Any

from comagic_pipeline.sandbox.rows import calls, texts
from comagic_pipeline.sandbox.rows.cast import OFFICE_PHONE_NUMBER, Cast
from comagic_pipeline.sandbox.rows.days import Days, later
from comagic_pipeline.sandbox.rows.ids import luck, pick
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.call_legs_report"
FINANCIAL_METHOD = "get.financial_call_legs_report"

_LEGS_AT_MOST = 8
_OUTGOING_IN_CHARGES = ("consultant", "sitephone")
_SECONDS_OF_A_CHARGE = 60


def rows(days: Days, day: date) -> list[Row]:
    """Return the legs that begin on a day, of the calls that have ended.

    That of the subscriber, one for each employee rung.

    A call that a test added without its durations has none.
    """
    return [
        leg
        for call in _calls_around(days, day)
        if call["total_duration"] is not None
        for leg in _legs(days.cast, call)
        if leg["start_time"][:10] == str(day)
    ]


def charges(days: Days, day: date) -> list[Row]:
    """Return what the legs of a day cost: a row for each that was connected, on demand several."""
    sources = {call["id"]: call["source"] for call in _calls_around(days, day)}
    made = [_charge(leg, sources.get(leg["call_session_id"])) for leg in days.shown(METHOD, day) if leg["connect_time"]]
    return [part for charge in made for part in _parts(charge)] if days.several_charges else made


def _calls_around(days: Days, day: date) -> list[Row]:
    """Return the calls whose legs may begin on a day: a call shortly before midnight is put through after it."""
    return [*days.shown(calls.METHOD, day - timedelta(days=1)), *days.shown(calls.METHOD, day)]


def _legs(cast: Cast, call: Row) -> list[Row]:
    wait, talk = call["wait_duration"], call["talk_duration"]
    rung = call["employees"] or []
    talkers = [employee for employee in rung if employee["is_talked"]]
    legs = [_subscriber_leg(call)]
    ring_at = wait * 3 // 10
    connect_at, remaining = wait, talk
    for number, employee in enumerate(rung, start=1):
        leg = _operator_leg(cast, call, number, employee)
        if employee in talkers:
            is_last = employee is talkers[-1]
            duration = remaining if is_last else remaining * 6 // 10
            # Who takes a call over is connected at once.
            begin = ring_at if number == 1 else connect_at
            leg |= {
                "start_time": later(call["start_time"], begin),
                "connect_time": later(call["start_time"], connect_at),
                "duration": duration,
                "total_duration": connect_at - begin + duration,
                "finish_reason": "operator_answer" if is_last else "transfer_disconnects",
                "is_transfered": number > 1,
                "employee_rating": call["last_answered_employee_rating"] if is_last else None,
                "release_cause_code": 16,
                "release_cause_description": "Normal call clearing",
                "is_failed": False,
                "is_talked": True,
            }
            if number == 1:
                leg |= {"call_records": call["call_records"], "wav_call_records": call["wav_call_records"]}
            connect_at, remaining = connect_at + duration, remaining - duration
        else:
            leg["start_time"] = later(call["start_time"], ring_at)
            leg["total_duration"] = wait - ring_at
            leg["finish_reason"] = (
                "another_operator_answer"
                if talkers
                else pick(("operator_not_responsible", "operator_busy"), call["id"], number)
            )
        leg["finish_reason_description"] = texts.FINISH_REASONS[leg["finish_reason"]]
        legs.append(leg)
    return legs


def _leg(call: Row, number: int) -> Row:
    return {
        "id": call["id"] * _LEGS_AT_MOST + number,
        "call_session_id": call["id"],
        "call_records": [],
        "wav_call_records": [],
        "virtual_phone_number": call["virtual_phone_number"],
        "scenario_id": call["scenario_id"],
        "scenario_name": call["scenario_name"],
        "contact_id": call["contact_id"],
        "contact_full_name": call["contact_full_name"],
        "contact_phone_number": call["contact_phone_number"],
    }


def _subscriber_leg(call: Row) -> Row:
    subscriber, number = call["contact_phone_number"], call["virtual_phone_number"]
    is_incoming = call["direction"] == "in"
    reason = call["finish_reason"] if call["finish_reason"] in texts.FINISH_REASONS else "subscriber_disconnects"
    total = call["wait_duration"] + call["talk_duration"]
    return _leg(call, 0) | {
        "start_time": call["start_time"],
        "connect_time": later(call["start_time"], 1),
        "duration": total - 1,
        "total_duration": total,
        "finish_reason": reason,
        "finish_reason_description": texts.FINISH_REASONS[reason],
        "calling_phone_number": subscriber if is_incoming else number,
        "called_phone_number": number if is_incoming else subscriber,
        "direction": call["direction"],
        "is_transfered": False,
        "is_operator": False,
        "employee_id": None,
        "employee_full_name": None,
        "employee_phone_number": None,
        "employee_rating": None,
        "is_coach": False,
        "release_cause_code": 16,
        "release_cause_description": "Normal call clearing",
        "is_failed": False,
        "is_talked": not call["is_lost"],
        "action_id": None,
        "action_name": None,
        "group_id": None,
        "group_name": None,
    }


def _operator_leg(cast: Cast, call: Row, number: int, employee: Row) -> Row:
    """Return the leg of an employee who was rung in vain; what is different for one who talked is put in later."""
    operations: list[dict[str, Any]] = call["scenario_operations"] or []
    action = operations[number % len(operations)] if operations else {}
    group = cast.group_of(employee["employee_id"])
    return _leg(call, number) | {
        "connect_time": None,
        "duration": 0,
        "calling_phone_number": call["contact_phone_number"],
        "called_phone_number": OFFICE_PHONE_NUMBER,
        "direction": "out",
        "is_transfered": False,
        "is_operator": True,
        "employee_id": employee["employee_id"],
        "employee_full_name": employee["employee_full_name"],
        "employee_phone_number": OFFICE_PHONE_NUMBER,
        "employee_rating": None,
        "is_coach": number == 3 and luck(call["id"]) < 0.3,
        "release_cause_code": 19,
        "release_cause_description": "No answer from user",
        "is_failed": True,
        "is_talked": False,
        "action_id": action.get("id"),
        "action_name": action.get("name"),
        "group_id": group.id if group else None,
        "group_name": group.name if group else None,
    }


def _charge(leg: Row, source: str | None) -> Row:
    # The list of sources of this report is shorter than that of calls: the others are served all the same.
    is_paid = leg["is_operator"] or leg["direction"] == "out"
    price = pick((1.5, 2.25, 3), leg["id"]) if is_paid else 0
    minutes = -(-leg["duration"] // _SECONDS_OF_A_CHARGE)
    return {
        "start_time": leg["start_time"],
        "direction": "out" if source in _OUTGOING_IN_CHARGES else leg["direction"],
        "source": source,
        "call_session_id": leg["call_session_id"],
        "leg_id": leg["id"],
        "calling_phone_number": leg["calling_phone_number"],
        "called_phone_number": leg["called_phone_number"],
        "duration": leg["duration"],
        "chargeable_duration": minutes * _SECONDS_OF_A_CHARGE,
        "direction_type": _direction_type(leg["contact_phone_number"]),
        "cost_per_minute": price,
        "total_charge": round(price * minutes, 2),
        "bonuses_charge": price if luck(leg["id"], 1) < 0.05 else 0,
    }


def _parts(charge: Row) -> list[Row]:
    """Return a charge of several minutes as one for each of them: all alike, but that the first takes the bonuses."""
    minutes = charge["chargeable_duration"] // _SECONDS_OF_A_CHARGE
    if not charge["total_charge"] or minutes < 2:
        return [charge]
    minute = charge | {"chargeable_duration": _SECONDS_OF_A_CHARGE, "total_charge": charge["cost_per_minute"]}
    return [minute, *[minute | {"bonuses_charge": 0}] * (minutes - 1)]


def _direction_type(phone_number: str | None) -> str:
    if phone_number and not phone_number.startswith("7"):
        return "international"
    return "mobile" if phone_number and phone_number.startswith("79") else "local"
