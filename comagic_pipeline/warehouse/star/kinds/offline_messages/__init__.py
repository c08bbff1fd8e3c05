"""Offline messages: requests left in forms on a site. Text, name and address of who wrote stay in raw."""

from sqlalchemy import BigInteger, DateTime, Integer, String

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

comagic_offline_messages = dimension_table(
    "comagic_offline_messages",
    "Параметры заявок",
    "An offline message's own parameters",
    surrogate_id("Идентификатор заявки"),
    column("offline_message_id", BigInteger, "Внутренний идентификатор заявки", "Offline message id in the API"),
    column("communication_id", BigInteger, "Идентификатор обращения", "Communication id in the API", nullable=True),
    column("status", String(16), "Статус заявки", "processing, processed, not_processed", nullable=True),
    column("process_time", DateTime, "Время обработки", "When it was marked as handled, wall time", nullable=True),
    column("form_type", String(32), "Тип формы", "Kind of form, in Russian", nullable=True),
    column("form_name", String(256), "Название формы", "Name that the site gave", nullable=True),
    column("group_id", BigInteger, "Идентификатор группы", "Employee group the visitor chose", nullable=True),
    column("group_name", String(256), "Название группы", "Name of that group", nullable=True),
    column("employee_id", BigInteger, "Идентификатор сотрудника", "Employee who handled it", nullable=True),
    column("employee_full_name", String(256), "Имя сотрудника", "Name of that employee", nullable=True),
    column("visitor_phone_number", String(32), "Номер посетителя", "Number left in the form", nullable=True),
    *communication_columns(),
    *visitor_columns(),
    *source_columns(),
)

comagic_offline_messages_tags = tags_table("Теги заявок", comagic_offline_messages)

comagic_offline_messages_attributes = attributes_table("Атрибуты заявок", comagic_offline_messages)

comagic_offline_messages_facts = facts_table(
    "Заявки",
    "One row per offline message",
    comagic_offline_messages,
    column("process_duration", Integer, "Длительность обработки", "Seconds; empty until handled", nullable=True),
    sale_cost(),
)

KIND = Kind(
    dimension=comagic_offline_messages,
    facts=comagic_offline_messages_facts,
    children=(comagic_offline_messages_tags, comagic_offline_messages_attributes),
)
