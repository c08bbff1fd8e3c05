"""Rows of get.offline_messages_report: requests left in the forms of the sites, and how they are handled."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.rows import calls, texts
from comagic_pipeline.sandbox.rows.cast import Cast
from comagic_pipeline.sandbox.rows.day_visits import contact, visits
from comagic_pipeline.sandbox.rows.days import Days, later, moment
from comagic_pipeline.sandbox.rows.ids import Ids, luck, pick
from comagic_pipeline.sandbox.rows.marks import marks
from comagic_pipeline.sandbox.rows.visits import WITHOUT_VISIT
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.offline_messages_report"

_IDS = Ids(200_000_000_000)
_COMMUNICATION_IDS = Ids(700_000_000_000)
_PER_CALL = 0.2
_TECHNICAL_PER_CALL = 0.02
_ON_DEMAND = "include_tech_offline_messages"
_HANDLING = ("process_time", "employee_id", "employee_full_name", "employee_answer_message", "employee_comment")


def count(days: Days, day: date) -> int:
    """Return how many requests come in on a day, technical ones left aside."""
    return round(calls.count(days, day) * _PER_CALL)


def count_asked(days: Days, day: date, options: Mapping[str, Any]) -> int:
    """Return how many requests of a day are shown, those that come on demand included."""
    return count(days, day) + (_technical(days, day) if options.get(_ON_DEMAND) else 0)


def rows(days: Days, day: date) -> list[Row]:
    """Return the requests of a day, one in five uploaded and without a visit.

    Then technical ones, which are no contacts.
    """
    message_id, communication_id = _IDS.of_day(days.cast, day), _COMMUNICATION_IDS.of_day(days.cast, day)
    columns = list(specification.methods()[METHOD].columns)
    day_visits, contacts = days.made(visits, day), count(days, day)
    made = []
    for number in range(contacts + _technical(days, day)):
        if number % 5 == 4 or number >= contacts:
            row = _without_visit(days.cast, day, message_id(number), columns)
        else:
            row = contact(day_visits, number, 9, columns, salt=4)
        row["id"] = message_id(number)
        _fill(row, days.cast, row["id"])
        if number < contacts:
            row["communication_id"] = communication_id(number)
            row |= marks(days.cast, row["id"], row["date_time"])
        else:
            row["text"] = "Техническое сообщение"
            row["tags"], row["attributes"] = [], []
        made.append(row)
    return made


def as_of(rows: list[Row], now: str, options: Mapping[str, Any]) -> list[Row]:
    """Return a request that is handled later waits so far; technical ones come on demand."""
    if not options.get(_ON_DEMAND):
        rows = [row for row in rows if row["communication_id"] is not None]
    return [row if (row["process_time"] or "") <= now else row | _WAITING for row in rows]


_WAITING: Row = dict.fromkeys(_HANDLING) | {"status": "not_processed"}


def _technical(days: Days, day: date) -> int:
    return 1 + round(calls.count(days, day) * _TECHNICAL_PER_CALL) if count(days, day) else 0


def _without_visit(cast: Cast, day: date, message_id: int, columns: list[str]) -> Row:
    site = pick(cast.sites, message_id)
    row: Row = dict.fromkeys(columns) | WITHOUT_VISIT
    row["date_time"] = moment(day, luck(message_id, 1) * 86_400)
    row["site_id"], row["site_domain_name"] = site.id, site.domain
    row["campaign_id"], row["campaign_name"] = cast.no_campaign_id, texts.NO_CAMPAIGN_NAME
    row["ext_id"] = f"crm/{message_id}"
    return row


def _fill(row: Row, cast: Cast, message_id: int) -> None:
    is_uploaded = row["visitor_session_id"] is None
    row["communication_type"] = "offline_message"
    row["text"] = pick(cast.comments, message_id, 2)
    row["properties"] = pick(cast.comments, message_id, 3) if luck(message_id, 4) < 0.3 else None
    row["is_agree_to_process_personal_data"] = True
    row["is_agree_to_mailing"] = luck(message_id, 5) < 0.4
    row["form_type"] = "DataAPI" if is_uploaded else pick(("Пользовательская", "Стандартная"), message_id, 6)
    row["form_name"] = pick(("Замер", 'Форма "Заказать"', None), message_id, 7)
    row["visitor_phone_number"] = 79_000_000_000 + int(luck(message_id, 8) * 1e9)
    row["visitor_email"] = f"visitor{message_id % 1000}@example.test" if luck(message_id, 9) < 0.5 else None
    row["visitor_name"] = pick((*texts.FIRST_NAMES, None), message_id, 10)
    if luck(message_id, 11) < 0.3:
        group = pick(cast.groups, message_id, 12)
        row["group_id"], row["group_name"] = group.id, group.name
    row["status"] = pick(("processed", "processed", "processing", "not_processed"), message_id, 13)
    if row["status"] != "not_processed":
        employee = pick(cast.employees, message_id, 14)
        row["employee_id"], row["employee_full_name"] = employee.id, employee.full_name
    if row["status"] == "processed":
        row["process_time"] = later(row["date_time"], 60 + luck(message_id, 15) ** 3 * 72_000)
        row["employee_answer_message"] = pick(texts.MESSAGES, message_id, 16) if luck(message_id, 17) < 0.5 else None
        row["employee_comment"] = pick((None, "дубль", "не дозвонился"), message_id, 18)
