"""Chats on the site and in messengers."""

from sqlalchemy import BigInteger, Boolean, Integer, Numeric, String

from comagic_pipeline.warehouse.star.declaration import column, surrogate_id
from comagic_pipeline.warehouse.star.kind import (
    Kind,
    attributes_table,
    communication_columns,
    dimension_table,
    facts_table,
    sale_cost,
    source_columns,
    tags_table,
    visitor_columns,
)

comagic_chats = dimension_table(
    "comagic_chats",
    "Параметры чатов",
    "A chat's own parameters",
    surrogate_id("Идентификатор чата"),
    column("chat_id", BigInteger, "Внутренний идентификатор чата", "Chat id in the API"),
    column("communication_id", BigInteger, "Идентификатор обращения", "Communication id in the API", nullable=True),
    column("status", String(16), "Статус чата", "new, active, lost, succeed, refused", nullable=True),
    column("initiator", String(16), "Инициатор", "operator, visitor, autoinvite, ...", nullable=True),
    column("release_cause", String(64), "Причина окончания чата", "API code", nullable=True),
    column("chat_channel_id", BigInteger, "Идентификатор канала чата", "chat_channels.id of raw", nullable=True),
    column("chat_channel_type", String(32), "Тип канала чата", "comagic, telegram, ...", nullable=True),
    column("chat_channel_name", String(256), "Название канала чата", "Name of the channel", nullable=True),
    column("is_group_chat", Boolean, "Групповой чат", "A group chat", nullable=True),
    column("is_transfer", Boolean, "Передан", "Handed over to another employee", nullable=True),
    column("employee_id", BigInteger, "Идентификатор сотрудника", "Employee id in the API", nullable=True),
    column("employee_full_name", String(256), "Имя сотрудника", "Name of that employee", nullable=True),
    column("visitor_phone_number", String(32), "Номер посетителя", "Number left in the chat", nullable=True),
    *communication_columns(),
    *visitor_columns(),
    *source_columns(),
)

comagic_chats_tags = tags_table("Теги чатов", comagic_chats)

comagic_chats_attributes = attributes_table("Атрибуты чатов", comagic_chats)

comagic_chats_facts = facts_table(
    "Чаты",
    "One row per chat",
    comagic_chats,
    column("duration", Integer, "Длительность чата", "Seconds; those of an open chat grow", nullable=True),
    column("answer_time", Integer, "Время до ответа", "Seconds; empty without an answer", nullable=True),
    column("messages_count", Integer, "Количество сообщений", "Messages of the chat", nullable=True),
    column("employee_messages_count", Integer, "Сообщений сотрудника", "Messages of the employee", nullable=True),
    column("employee_rating", Numeric(18, 2), "Оценка сотрудника", "Mark of the employee", nullable=True),
    sale_cost(),
)

KIND = Kind(
    dimension=comagic_chats,
    facts=comagic_chats_facts,
    children=(comagic_chats_tags, comagic_chats_attributes),
)
