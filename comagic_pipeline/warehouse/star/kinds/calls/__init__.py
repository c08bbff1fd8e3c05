"""Calls: the tables of mybi connect, exactly, and the employees of a call, which are ours."""

from sqlalchemy import BigInteger, Boolean, Index, Integer, Numeric, String, Text, UniqueConstraint

from comagic_pipeline.warehouse.star.declaration import account_id, column, key, surrogate_id, table
from comagic_pipeline.warehouse.star.kind import (
    Kind,
    attributes_table,
    dimension_table,
    facts_table,
    tags_table,
)

comagic_calls = dimension_table(
    "comagic_calls",
    "Параметры звонков",
    "A call session's own parameters",
    surrogate_id("Идентификатор звонка"),
    column("call_id", BigInteger, "Внутренний идентификатор звонка", "Call session id in the API"),
    column("finish_reason", String(128), "Причина окончания звонка", "API code; unknown when empty"),
    column("direction", String(16), "Направление звонка", "in or out; unknown when empty"),
    column("call_source", String(64), "Источник звонка", "API code of source; unknown when empty"),
    column("is_lost", Boolean, "Потерянный звонок", "Missed call; false when empty"),
    column("contact_phone_number", String(32), "Номер контакта", "Subscriber's number", nullable=True),
    column("virtual_phone_number", String(32), "Виртуальный номер", "Tracking number", nullable=True),
    column("visitor_id", String(32), "Идентификатор посетителя", "Visitor id in the API", nullable=True),
    column(
        "visitor_session_id",
        String(32),
        "Идентификатор сессии посетителя",
        "Visitor session id in the API",
        nullable=True,
    ),
    column(
        "visitor_device",
        String(16),
        "Устройство пользователя",
        "desktop, mobile, tablet, other; unknown when empty",
    ),
    column("channel", String(32), "Канал", "API code of the traffic channel", nullable=True),
    column("referrer", Text, "Источник перехода", "Full address the visit came from", nullable=True),
)

comagic_calls_tags = tags_table("Теги звонков", comagic_calls)

comagic_calls_attributes = attributes_table("Атрибуты звонков", comagic_calls)

comagic_calls_employees = table(
    "comagic_calls_employees",
    "Сотрудники звонков",
    "One row per employee who took part in a call",
    surrogate_id(),
    account_id(),
    key("calls_id", comagic_calls, "Идентификатор звонка", "The call"),
    column("employee_id", BigInteger, "Идентификатор сотрудника", "Employee id in the API"),
    column("name", String(256), "Имя сотрудника", "Name of the employee; unknown when empty"),
    column("is_answered", Boolean, "Принял звонок", "Picked up; false when empty"),
    column("is_talked", Boolean, "Разговаривал", "Talked; false when empty"),
    column("rating", Numeric(18, 2), "Оценка", "The subscriber's mark of who talked last", nullable=True),
    Index("comagic_calls_employees_idx_1", "account_id"),
    Index("comagic_calls_employees_idx_2", "employee_id"),
    UniqueConstraint("calls_id", "employee_id"),
)

comagic_calls_facts = facts_table(
    "Звонки",
    "One row per call session: keys of the dimensions and six durations",
    comagic_calls,
    column("wait_duration", Integer, "Длительность ожидания", "Seconds before the first talk"),
    column("total_wait_duration", Integer, "Полная длительность ожидания", "Seconds without talk"),
    column("talk_duration", Integer, "Длительность разговора", "Seconds from the first talk to wrap-up"),
    column("clean_talk_duration", Integer, "Чистая длительность разговора", "Seconds of actual talk"),
    column("total_duration", Integer, "Общая длительность звонка", "Seconds of the whole session"),
    column("postprocess_duration", Integer, "Длительность постобработки", "Seconds of wrap-up after the talk"),
)

KIND = Kind(
    dimension=comagic_calls,
    facts=comagic_calls_facts,
    children=(comagic_calls_tags, comagic_calls_attributes, comagic_calls_employees),
)
