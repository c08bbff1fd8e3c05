"""Lists about the people of the account: employees, their groups, positions, statuses, SIP lines, chat channels."""

from collections.abc import Mapping
from typing import Any

from comagic_pipeline.sandbox.rows import texts
from comagic_pipeline.sandbox.rows.cast import OFFICE_PHONE_NUMBER, USER_LOGIN, Cast, Named, Person
from comagic_pipeline.sandbox.specification import Row

_BOTH_WAYS = ["in", "out"]


def employees(cast: Cast) -> list[Row]:
    """get.employees: the last one is in no group and has nothing set up."""
    return [_employee(cast, index, employee) for index, employee in enumerate(cast.employees)]


def group_employees(cast: Cast) -> list[Row]:
    """get.group_employees."""
    rows = []
    for index, group in enumerate(cast.groups):
        members = [employee for employee in cast.employees if cast.group_of(employee.id) is group]
        rows.append(
            {
                "id": group.id,
                "name": group.name,
                "members": [_person(member) for member in members],
                "phone_numbers": [
                    {
                        "employee_phone_number": OFFICE_PHONE_NUMBER,
                        "employee_phone_number_id": _phone_id(member),
                        **_person(member),
                        "available": True,
                    }
                    for member in members
                ],
                "group_phone_number": str(700 + index) if index < 2 else None,
                "queue_enabled": index == 0,
                "channels_count": 5,
            }
        )
    return rows


def employee_positions(cast: Cast) -> list[Row]:
    """get.employee_positions."""
    return [{"id": position.id, "name": position.name} for position in _positions(cast)]


def statuses(cast: Cast) -> list[Row]:
    """get.statuses: built-in and custom ones, and those that were deleted."""
    return [
        {
            "id": status.id,
            "name": status.name,
            "mnemonic": status.mnemonic,
            "description": "Учёба" if status.mnemonic is None else None,
            "color": f"#{index * 0x1B2C3D % 16**6:06x}",
            "is_deleted": status.is_deleted,
            "in_external_allowed_call_directions": _BOTH_WAYS if index == 0 else [],
            "in_internal_allowed_call_directions": _BOTH_WAYS if index < 2 else [],
            "out_external_allowed_call_directions": _BOTH_WAYS if index < 3 else [],
            "out_internal_allowed_call_directions": _BOTH_WAYS,
            "allowed_phone_protocols": ["PSTN", "SIP", "SIP_TRUNK", "FMC"] if index == 0 else [],
            "is_select_allowed": status.mnemonic != "unknown",
            "is_worktime": index in (0, 5, 7),
            "is_auto_out_calls_ready": status.mnemonic == "auto_out_call",
        }
        for index, status in enumerate(cast.statuses)
    ]


def asked_statuses(rows: list[Row], options: Mapping[str, Any]) -> list[Row]:
    """Return those in use, or on demand those that were deleted."""
    return [row for row in rows if bool(row["is_deleted"]) == options.get("is_deleted", False)]


def sip_lines(cast: Cast) -> list[Row]:
    """get.sip_lines: one for each employee; every other takes calls only."""
    return [
        {
            "id": employee.id - cast.employees[0].id + 63001 + cast.customer * 1_000_000,
            "phone_number": f"00{employee.id % 100_000:05}",
            "type": "in" if index % 2 else "in_out",
            "channels_count": 1,
            "dial_time": 60,
            "billing_state": "manual_lock" if index == 3 else "active",
            "physical_state": "Не зарегистрирован" if index % 2 else "Зарегистрирован",
            "virtual_phone_number": None if index % 2 else cast.sites[0].phone_numbers[2],
            "status": "inactive" if index % 2 else "active",
            "employee_id": employee.id,
            "employee_full_name": employee.full_name,
            "ip_addresses": [] if index % 2 else [{"date_time": "2025-03-03 08:55:00", "ip": f"192.0.2.{20 + index}"}],
        }
        for index, employee in enumerate(cast.employees)
    ]


def chat_channels(cast: Cast) -> list[Row]:
    """get.chat_channels: assigned to a group, to an employee or to nobody; deleted ones are listed too."""
    rows = []
    for index, channel in enumerate(cast.chat_channels):
        group = cast.groups[0] if index == 0 else None
        employee = cast.employees[index] if index in (1, 2) else None
        rows.append(
            {
                "id": channel.id,
                "name": channel.name,
                "type": channel.type,
                "status": channel.status,
                "group_id": group.id if group else None,
                "group_name": group.name if group else None,
                "employee_id": employee.id if employee else None,
                "employee_full_name": employee.full_name if employee else None,
                "channel_external_id": f"{channel.type}_{channel.id}" if index else None,
            }
        )
    return rows


def _employee(cast: Cast, index: int, employee: Person) -> Row:
    group = cast.group_of(employee.id)
    status = cast.statuses[index % len(cast.statuses[:-1])]
    coach = cast.employees[0] if index == 1 else None
    row: Row = {
        "id": employee.id,
        "login": USER_LOGIN if index == 0 else None,
        **employee.name_columns,
        "status": status.mnemonic,
        "status_id": status.id,
        "calls_available": True,
        "allowed_in_call_types": ["internal", "external"],
        "in_external_allowed_call_directions": _BOTH_WAYS,
        "in_internal_allowed_call_directions": _BOTH_WAYS,
        "allowed_out_call_types": ["internal", "external"],
        "out_external_allowed_call_directions": _BOTH_WAYS if index != 2 else ["out"],
        "out_internal_allowed_call_directions": _BOTH_WAYS,
        "email": f"employee{index}@example.test" if index % 4 else None,
        "call_recording": ("all", "in", "out", "off")[index % 4],
        "schedule_id": 31 if index % 2 else None,
        "schedule_name": "Пн–Пт 9:00–18:00" if index % 2 else None,
        "coach": {"coach_full_name": coach.full_name, "coach_id": coach.id, "coach_always_enabled": False}
        if coach
        else {},
        "groups": [{"group_id": group.id, "group_name": group.name}] if group else [],
        "phone_numbers": [],
        "extension": {},
        "operator": {},
    }
    if group:
        row["phone_numbers"] = [
            {
                "phone_id": _phone_id(employee),
                "phone_number": OFFICE_PHONE_NUMBER,
                "channels_count": 1,
                "dial_time": 60,
                "status": "active",
            }
        ]
        row["extension"] = {
            "extension_phone_number": str(101 + index),
            "extension_voice_mail_enabled": False,
            "extension_queue_enabled": True,
        }
        row["operator"] = _operator(cast, index, employee)
    return row


def _operator(cast: Cast, index: int, employee: Person) -> Row:
    position = _positions(cast)[index % 2]
    return {
        "operator_display_name": employee.name_columns["first_name"],
        "operator_login": f"operator{index}",
        "operator_position_id": position.id,
        "operator_position_name": position.name,
        "operator_offline_message_enabled": True,
        "operator_invite_to_chat_enabled": index % 2 == 0,
        "operator_chat_enabled": True,
        "operator_chats_available": index != 3,
        "operator_sites": [
            {"site_id": site.id, "site_domain_name": site.domain} for site in cast.sites[: 1 + index % 3]
        ],
    }


def _positions(cast: Cast) -> list[Named]:
    return [Named(cast.customer * 1_000_000 + 11 + index, name) for index, name in enumerate(texts.POSITIONS)]


def _phone_id(employee: Person) -> int:
    return employee.id + 2000


def _person(employee: Person) -> Row:
    return {"employee_id": employee.id, "employee_full_name": employee.full_name}
