"""Rows of get.chats_report and get.chat_messages_report: chats on the site and in messengers, and what was said."""

from collections.abc import Mapping
from datetime import date, timedelta
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

METHOD = "get.chats_report"
MESSAGES_METHOD = "get.chat_messages_report"

_IDS = Ids(100_000_000_000)
_COMMUNICATION_IDS = Ids(600_000_000_000)
_MESSAGES_AT_MOST = 32
_PER_CALL = 0.3
_PRICE_LIST = {
    "size": 20480,
    "type": "file",
    "file_url": "https://files.example/price.pdf",
    "file_name": "Прайс «Окна».pdf",
    "mime_type": "application/pdf",
}
_STATUSES = ("succeed", "succeed", "succeed", "succeed", "lost", "refused")


def count(days: Days, day: date) -> int:
    """Return how many chats begin on a day."""
    return round(calls.count(days, day) * _PER_CALL)


def rows(days: Days, day: date) -> list[Row]:
    """Return the chats that begin on a day: one in four in a messenger, without a visit."""
    chat_id, communication_id = _IDS.of_day(days.cast, day), _COMMUNICATION_IDS.of_day(days.cast, day)
    columns = list(specification.methods()[METHOD].columns)
    day_visits = days.made(visits, day)
    made = []
    for number in range(count(days, day)):
        if number % 4 == 3:
            row = _in_messenger(days.cast, chat_id(number), columns)
            # The first of them begins shortly before midnight: its messages belong to two days.
            row["date_time"] = moment(day, 86_390 if number == 3 else luck(chat_id(number)) * 86_400)
        else:
            row = contact(day_visits, number, 7, columns, salt=3)
            _put_channel(row, days.cast, 0)
        _fill(row, days.cast, chat_id(number))
        row["id"], row["communication_id"] = chat_id(number), communication_id(number)
        made.append(row | marks(days.cast, row["id"], later(row["date_time"], int(row["duration"]))))
    return made


def communication_id(cast: Cast, day: date, number: int) -> int:
    """Return the communication id of the chat with a number on a day, without making it."""
    return _COMMUNICATION_IDS.of_day(cast, day)(number)


def as_of(rows: list[Row], now: str, _: Mapping[str, Any]) -> list[Row]:
    """Return a chat that goes on is active, has no end yet and the messages that were sent by now."""
    return [row if _has_ended(row, now) else _so_far(row, now) for row in rows]


def messages(days: Days, day: date) -> list[Row]:
    """Return the messages that were sent on a day, in the order of time, some in chats that began the day before."""
    sent = [
        message
        for chat_day in (day - timedelta(days=1), day)
        for chat in days.shown(METHOD, chat_day)
        for message in _messages(chat)
        if message["date_time"][:10] == str(day)
    ]
    return sorted(sent, key=lambda row: (row["date_time"], row["id"]))


def asked_messages(rows: list[Row], _: str, options: Mapping[str, Any]) -> list[Row]:
    """Return the messages of the chats that were asked for; all of them if none were."""
    chat_ids = _asked_chats(options)
    return [row for row in rows if row["chat_id"] in chat_ids] if chat_ids else rows


def days_of_messages(cast: Cast, options: Mapping[str, Any], _: str) -> set[date]:
    """Return the days on which the chats that were asked for can have messages."""
    begun = {day for chat_id in _asked_chats(options) if (day := _IDS.day(cast, chat_id))}
    return begun | {day + timedelta(days=1) for day in begun}


def _asked_chats(options: Mapping[str, Any]) -> set[int]:
    return {*options.get("chat_ids", []), *([options["chat_id"]] if "chat_id" in options else [])}


def _in_messenger(cast: Cast, chat_id: int, columns: list[str]) -> Row:
    """Return a chat without a visit: nothing is known of the visitor but the name in the messenger."""
    row: Row = dict.fromkeys(columns) | WITHOUT_VISIT
    row["campaign_id"], row["campaign_name"] = cast.no_campaign_id, texts.NO_CAMPAIGN_NAME
    site = pick(cast.sites, chat_id, 1)
    row["site_id"], row["site_domain_name"] = site.id, site.domain
    row["chat_user_id"] = str(chat_id % 10**9)
    row["chat_username"] = f"user_{chat_id % 1000}" if chat_id % 3 else None
    _put_channel(row, cast, 1 + int(luck(chat_id, 2) * (len(cast.chat_channels) - 1)))
    if row["chat_channel_type"] == "avito":
        row["chat_ad_url"] = f"https://avito.example/ads/{chat_id % 10**9}"
    return row


def _put_channel(row: Row, cast: Cast, index: int) -> None:
    channel = cast.chat_channels[index]
    row["chat_channel_id"], row["chat_channel_type"], row["chat_channel_name"] = channel.id, channel.type, channel.name


def _fill(row: Row, cast: Cast, chat_id: int) -> None:
    row["status"] = status = pick(_STATUSES, chat_id, 5)
    is_answered = status == "succeed"
    employee = pick(cast.employees, chat_id, 6) if is_answered else None
    duration = 20 + int(luck(chat_id, 7) ** 2 * 3000)
    row["communication_type"] = "chat"
    row["initiator"] = pick(("visitor", "visitor", "autoinvite", "operator", "chatbot"), chat_id, 8)
    row["duration"] = str(duration)  # Seconds as text, says the table.
    row["answer_time"] = int(luck(chat_id, 9) * 20) if is_answered else None
    row["messages_count"] = 2 + int(luck(chat_id, 10) ** 2 * 20) if is_answered else 1
    row["employee_messages_count"] = row["messages_count"] // 2
    row["is_group_chat"] = is_group_chat = luck(chat_id, 11) < 0.03
    row["visitor_ids"] = [row["visitor_id"]] if is_group_chat and row["visitor_id"] else []
    row["is_transfer"] = is_answered and luck(chat_id, 12) < 0.1
    row["release_cause"] = pick(("closed_by_timeout", "closed_by_operator", "closed_by_visitor"), chat_id, 13)
    row["employee_id"] = employee.id if employee else None
    row["employee_full_name"] = employee.full_name if employee else None
    row["employee_raiting"] = 1 + chat_id % 5 if is_answered and chat_id % 3 == 0 else None
    row["visitor_phone_number"] = 79_000_000_000 + int(luck(chat_id, 14) * 1e9) if chat_id % 4 == 0 else None
    if row["visitor_id"] is not None:
        row["visitor_profile_url"] = f"https://app.comagic.ru/visitors/{row['visitor_id']}"
    if luck(chat_id, 15) < 0.03:
        row["ext_id"] = f"chat/{chat_id}"


def _has_ended(row: Row, now: str) -> bool:
    return later(row["date_time"], int(row["duration"] or 0)) <= now


def _so_far(row: Row, now: str) -> Row:
    sent = [message for message in _messages(row) if message["date_time"] <= now]
    return row | {
        "status": "active",
        "duration": None,
        "release_cause": None,
        "messages_count": len(sent),
        "employee_messages_count": sum(message["source"] == "operator" for message in sent),
    }


def _messages(chat: Row) -> list[Row]:
    """Return the messages of a chat, spread over its time: the visitor and the employee take turns."""
    count, duration = chat["messages_count"] or 0, int(chat["duration"] or 0)
    return [_message(chat, number, duration * number // count) for number in range(min(count, _MESSAGES_AT_MOST))]


def _message(chat: Row, number: int, second: int) -> Row:
    message_id = chat["id"] * _MESSAGES_AT_MOST + number
    is_operator = number % 2 == 1
    is_invitation = number == 0 and chat["initiator"] in ("autoinvite", "chatbot")
    return {
        "id": message_id,
        "chat_id": chat["id"],
        "channel_id": chat["chat_channel_id"],
        "channel_type": chat["chat_channel_type"],
        "date_time": later(chat["date_time"], second),
        "is_group_chat": chat["is_group_chat"],
        "visitor_id": chat["visitor_id"],
        "text": pick((*texts.MESSAGES, *texts.COMMENTS), message_id),
        "source": "operator" if is_operator else chat["initiator"] if is_invitation else "visitor",
        "resource": _PRICE_LIST if is_operator and message_id % 5 == 0 else {},
        "employee_id": chat["employee_id"] if is_operator else None,
        "employee_full_name": chat["employee_full_name"] if is_operator else None,
    }
