"""The tables of the star, declared once: columns, keys, indexes, descriptions and the Russian labels for views.

Names, types and keys are those of a mybi connect warehouse, so that SQL, dbt models and dashboards written for it keep
working. The constraints called `<table>_key` are ours: they make "nothing is doubled" a law of the database.
How the tables are filled is in the `.sql` files beside this one.

The schema name `star` is a placeholder: translate it with
`connection.execution_options(schema_translate_map={"star": <real name>})`.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    schema="star",
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_key",
        "fk": "%(table_name)s_%(referred_table_name)s",
    },
)


def _table(name: str, label_ru: str, comment: str, *items: SchemaItem) -> Table:
    return Table(name, metadata, *items, comment=comment, info={"label_ru": label_ru})


def _column(
    name: str,
    kind: TypeEngine[Any] | type[TypeEngine[Any]],
    label_ru: str | None,
    comment: str,
    *constraints: SchemaItem,
    nullable: bool = False,
    default: str | None = None,
) -> Column[Any]:
    """A column that is NOT NULL unless said otherwise; `default` is an SQL expression."""
    return Column(
        name,
        kind,
        *constraints,
        nullable=nullable,
        server_default=None if default is None else text(default),
        comment=comment,
        info={"label_ru": label_ru},
    )


def _id(label_ru: str) -> Column[Any]:
    comment = "Surrogate key, stable over rebuilds"
    return Column("id", Integer, Identity(), primary_key=True, comment=comment, info={"label_ru": label_ru})


def _account_id() -> Column[Any]:
    return _column("account_id", Integer, "Идентификатор подключенного аккаунта", "Source, general_accounts.account_id")


def _key(name: str, target: Table, label_ru: str, comment: str) -> Column[Any]:
    return _column(name, Integer, label_ru, comment, ForeignKey(target.c.id))


general_accounts = _table(
    "general_accounts",
    "Параметры источников данных",
    "One row per configured source; every table joins it on account_id, not on id",
    _id("Идентификатор записи"),
    _account_id(),
    _column("caption", String(128), "Название источника", "Name of the source"),
    _column("service", String(64), "Сервис", "Display name of the service"),
    _column("enabled", Boolean, "Включен", "Whether the source is loaded"),
    _column("status", String(32), "Статус загрузки", "Outcome of the last load, in Russian", nullable=True),
    _column("interval_start", Date, "Дата начала интервала", "Earliest loaded day", nullable=True),
    _column("interval_end", Date, "Дата окончания интервала", "Latest loaded day", nullable=True),
    Index("general_accounts_idx_1", "account_id"),
    UniqueConstraint("account_id"),
)

general_dates = _table(
    "general_dates",
    "Параметры дат",
    "One row per distinct second that any fact uses, not a calendar; 9999-12-31 00:00:00 is the unknown date",
    _id("Идентификатор даты"),
    _column("full_date", DateTime, "Дата и время", "Wall time of the source, to the second"),
    _column("year", Integer, "Год", "Calendar year"),
    _column("quarter", Integer, "Номер квартала", "Quarter, 1 to 4"),
    _column("quarter_label", String(3), "Квартал", "Quarter as a Roman number"),
    _column("month", Integer, "Номер месяца", "Month, 1 to 12"),
    _column("month_label", String(10), "Месяц", "Russian name of the month"),
    _column("week", Integer, "Номер недели", "ISO week"),
    _column("weekday", Integer, "Номер дня недели", "Day of the week, Monday is 1"),
    _column("weekday_label", String(11), "День недели", "Russian name of the weekday"),
    _column("day", Integer, "День", "Day of the month"),
    _column("hour", Integer, "Час", "Hour, 0 to 23"),
    _column("minute", Integer, "Минута", "Minute, 0 to 59"),
    _column("date_hash", String(32), "Хеш-сумма записи", "md5 of full_date as YYYY-MM-DD HH:MM:SS"),
    _column("simple_date", Date, "Дата", "The day of full_date"),
    _column("time_zone", Integer, "Часовой пояс", "Always 0: full_date is wall time", default="0"),
    Index("general_dates_idx_1", "date_hash"),
    Index("general_dates_idx_3", "simple_date"),
    UniqueConstraint("full_date", name="general_dates_idx_2"),
)

general_clientids = _table(
    "general_clientids",
    "Параметры посетителей",
    "Web analytics ids of visitors; clientid 'not available' is the unknown visitor",
    _id("Идентификатор клиента"),
    _column("clientid", String(64), "Идентификатор посетителя сайта", "ua_client_id, else ym_client_id"),
    _column("userid", String(128), "Идентификатор пользователя", "Empty for this source", nullable=True),
    _column("phone", String(64), "Телефон клиента", "Empty for this source", nullable=True),
    _column("email", String(128), "e-mail клиента", "Empty for this source", nullable=True),
    Index("general_clientids_idx_1", "clientid"),
)

general_traffic = _table(
    "general_traffic",
    "Параметры трафика",
    "Where a visit came from; the row of NULLs is unknown traffic",
    _id("Идентификатор источника трафика"),
    _column("grouping", String(128), "Название группы", "Channel group; empty for this source", nullable=True),
    _column("source", String(256), "Источник", "utm_source", nullable=True),
    _column("medium", String(256), "Канал", "utm_medium", nullable=True),
    _column("campaign", String(256), "Кампания", "utm_campaign", nullable=True),
    _column("content", String(512), "Объявление", "utm_content", nullable=True),
    _column("keyword", String(256), "Ключевое слово", "utm_term", nullable=True),
    _column("landing_page", String(256), "Страница входа", "entrance_page", nullable=True),
    _column(
        "traffic_hash",
        String(32),
        "Хэш траффика",
        "md5 of the columns above joined by ',' with None for NULL; different rows may share it",
        nullable=True,
    ),
    Index("general_traffic_idx_1", "traffic_hash"),
)

general_sites = _table(
    "general_sites",
    "Параметры сайтов",
    "Sites; the row of NULLs is the unknown site",
    _id("Идентификатор сайта"),
    _column("domain", String(64), "Доменное имя", "site_domain_name", nullable=True),
    _column("description", String(256), "Описание", "Empty for this source", nullable=True),
    Index("general_sites_idx_1", "domain"),
)

general_locations = _table(
    "general_locations",
    "Параметры местоположений",
    "Where a visitor was; the row of NULLs is the unknown place",
    _id("Идентификатор местоположения"),
    _column("country_iso", String(8), "Код страны", "Empty for this source", nullable=True),
    _column("country", String(64), "Страна", "visitor_country", nullable=True),
    _column("region_iso", String(8), "Код региона", "Empty for this source", nullable=True),
    _column("region", String(128), "Регион", "visitor_region", nullable=True),
    _column("city", String(64), "Город", "visitor_city", nullable=True),
    _column("latitude", String(32), "Широта", "Empty for this source", nullable=True),
    _column("longitude", String(32), "Долгота", "Empty for this source", nullable=True),
    _column(
        "location_hash",
        String(32),
        None,
        "md5 of the columns above joined by ',' with None for NULL; different rows may share it",
        nullable=True,
    ),
    Index("general_locations_idx_1", "location_hash"),
)

comagic_campaigns = _table(
    "comagic_campaigns",
    "Параметры кампаний",
    "Advertising campaigns of get.campaigns and those that only calls remember; campaign_id 0 is no campaign",
    _id("Идентификатор кампании"),
    _account_id(),
    _column("campaign_id", BigInteger, "Внутренний идентификатор кампании", "id in the API"),
    _column("name", String(256), "Название кампании", "Name of the campaign", nullable=True),
    _column("description", String(256), "Описание кампании", "Description of the campaign", nullable=True),
    _column("campaign_type", String(16), "Тип кампании", "basic, system or integrated", nullable=True),
    _column("engine", String(16), "Платформа интегрированной кампании", "yandex.direct, ...", nullable=True),
    _column("status", String(16), "Статус", "active or inactive", nullable=True),
    _column("costs", Numeric(18, 2), "Расходы", "Costs as the API gives them", nullable=True),
    _column("cost_ratio", Numeric(18, 4), "Коэффициент расходов", "Factor applied to costs", nullable=True),
    _column(
        "cost_ratio_operator",
        String(16),
        "Оператор расчета расходов",
        "wo_changes, multiply or divide",
        nullable=True,
    ),
    Index("comagic_campaigns_idx_1", "account_id"),
    Index("comagic_campaigns_idx_2", "campaign_id"),
    UniqueConstraint("account_id", "campaign_id"),
)

comagic_calls = _table(
    "comagic_calls",
    "Параметры звонков",
    "A call session's own parameters",
    _id("Идентификатор звонка"),
    _account_id(),
    _column("call_id", BigInteger, "Внутренний идентификатор звонка", "Call session id in the API"),
    _column("finish_reason", String(128), "Причина окончания звонка", "API code; unknown when empty"),
    _column("direction", String(16), "Направление звонка", "in or out; unknown when empty"),
    _column("call_source", String(64), "Источник звонка", "API code of source; unknown when empty"),
    _column("is_lost", Boolean, "Потерянный звонок", "Missed call; false when empty"),
    _column("contact_phone_number", String(32), "Номер контакта", "Subscriber's number", nullable=True),
    _column("virtual_phone_number", String(32), "Виртуальный номер", "Tracking number", nullable=True),
    _column("visitor_id", String(32), "Идентификатор посетителя", "Visitor id in the API", nullable=True),
    _column(
        "visitor_session_id",
        String(32),
        "Идентификатор сессии посетителя",
        "Visitor session id in the API",
        nullable=True,
    ),
    _column(
        "visitor_device",
        String(16),
        "Устройство пользователя",
        "desktop, mobile, tablet, other; unknown when empty",
    ),
    _column("channel", String(32), "Канал", "API code of the traffic channel", nullable=True),
    _column("referrer", Text, "Источник перехода", "Full address the visit came from", nullable=True),
    Index("comagic_calls_idx_1", "account_id"),
    Index("comagic_calls_idx_2", "call_id"),
    UniqueConstraint("account_id", "call_id"),
)

comagic_calls_tags = _table(
    "comagic_calls_tags",
    "Теги звонков",
    "Tags of a call; a call with several tags multiplies in a grouping by tag",
    _id("Идентификатор записи"),
    _account_id(),
    _key("calls_id", comagic_calls, "Идентификатор звонка", "The call"),
    _column("tag_id", BigInteger, "Внутренний идентификатор тега", "Tag id in the API"),
    _column("name", String(128), "Название тега", "Name of the tag; unknown when empty"),
    _column("tag_type", String(8), "Тип тега", "auto or manual; unknown when empty"),
    Index("comagic_calls_tags_idx_1", "account_id"),
    Index("comagic_calls_tags_idx_2", "calls_id"),
    UniqueConstraint("account_id", "calls_id", "tag_id"),
)

comagic_calls_attributes = _table(
    "comagic_calls_attributes",
    "Атрибуты звонков",
    "Flags of a call; a row means that the flag is set",
    _id("Идентификатор записи"),
    _account_id(),
    _key("calls_id", comagic_calls, "Идентификатор звонка", "The call"),
    _column("attribute_id", String(16), "Внутренний идентификатор атрибута", "API code of the flag"),
    _column("name", String(128), "Название атрибута", "Russian caption of the flag"),
    Index("comagic_calls_attributes_idx_1", "account_id"),
    Index("comagic_calls_attributes_idx_2", "calls_id"),
    UniqueConstraint("calls_id", "attribute_id"),
)

comagic_calls_facts = _table(
    "comagic_calls_facts",
    "Звонки",
    "One row per call session: keys of the dimensions and six durations",
    _id("Идентификатор записи"),
    _account_id(),
    _key("dates_id", general_dates, "Идентификатор даты", "Start of the call"),
    _key("clientids_id", general_clientids, "Идентификатор клиента", "The visitor's web analytics id"),
    _key("locations_id", general_locations, "Идентификатор местоположения", "Where the visitor was"),
    _key("traffic_id", general_traffic, "Идентификатор источника трафика", "Where the visit came from"),
    _key("sites_id", general_sites, "Идентификатор сайта", "The site"),
    _key("calls_id", comagic_calls, "Идентификатор звонка", "The call's own parameters"),
    _key("campaigns_id", comagic_campaigns, "Идентификатор кампании", "The advertising campaign"),
    _column("wait_duration", Integer, "Длительность ожидания", "Seconds before the first talk"),
    _column("total_wait_duration", Integer, "Полная длительность ожидания", "Seconds without talk"),
    _column("talk_duration", Integer, "Длительность разговора", "Seconds from the first talk to wrap-up"),
    _column("clean_talk_duration", Integer, "Чистая длительность разговора", "Seconds of actual talk"),
    _column("total_duration", Integer, "Общая длительность звонка", "Seconds of the whole session"),
    _column("postprocess_duration", Integer, "Длительность постобработки", "Seconds of wrap-up after the talk"),
    Index("comagic_calls_facts_idx_1", "account_id"),
    Index("comagic_calls_facts_idx_2", "dates_id"),
    UniqueConstraint("calls_id"),
)
