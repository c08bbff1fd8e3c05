"""Visitor sessions: visits of a site. The IP address and the provider of a visitor stay in raw."""

from sqlalchemy import BigInteger, Integer, String, Text

from comagic_pipeline.warehouse.star.declaration import column, surrogate_id
from comagic_pipeline.warehouse.star.kind import (
    Kind,
    dimension_table,
    facts_table,
    source_columns,
    visitor_columns,
)

comagic_visitor_sessions = dimension_table(
    "comagic_visitor_sessions",
    "Параметры сессий посетителей",
    "A visitor session's own parameters",
    surrogate_id("Идентификатор сессии"),
    column("visitor_session_id", BigInteger, "Идентификатор сессии посетителя", "Visitor session id in the API"),
    *visitor_columns(),
    *source_columns(),
    column("engine", String(32), "Рекламная платформа", "Platform of an integrated campaign", nullable=True),
    column("exit_page", Text, "Страница выхода", "Last page of the visit", nullable=True),
    column("gclid", String(256), "Метка gclid", "Google click id", nullable=True),
    column("yclid", String(256), "Метка yclid", "Yandex click id", nullable=True),
    column("browser_name", String(64), "Браузер", "Browser", nullable=True),
    column("os_name", String(64), "Операционная система", "Operating system", nullable=True),
    column("screen", String(32), "Разрешение экрана", "Screen resolution", nullable=True),
    column("language", String(32), "Язык устройства", "Locale of the device", nullable=True),
)

comagic_visitor_sessions_facts = facts_table(
    "Сессии посетителей",
    "One row per visitor session",
    comagic_visitor_sessions,
    column("duration", Integer, "Длительность сессии", "Seconds; those of an open visit grow", nullable=True),
    column("hits_count", Integer, "Просмотрено страниц", "Pages seen", nullable=True),
    column("communications_count", Integer, "Количество обращений", "Communications made in it", nullable=True),
)

KIND = Kind(dimension=comagic_visitor_sessions, facts=comagic_visitor_sessions_facts)
