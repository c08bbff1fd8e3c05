"""Tables that every kind helps to fill: the dimensions of mybi connect, sources, campaigns."""

from sqlalchemy import BigInteger, Boolean, Date, DateTime, Index, Integer, Numeric, String, UniqueConstraint

from comagic_pipeline.warehouse.star.declaration import (
    account_id,
    column,
    customer_user_id,
    surrogate_id,
    table,
)

general_accounts = table(
    "general_accounts",
    "Параметры источников данных",
    "One row per configured source; every table joins it on account_id, not on id",
    surrogate_id(),
    account_id(),
    column("caption", String(128), "Название источника", "Name of the source"),
    column("service", String(64), "Сервис", "Display name of the service"),
    column("enabled", Boolean, "Включен", "Whether the source is loaded"),
    column("status", String(32), "Статус загрузки", "Outcome of the last load, in Russian", nullable=True),
    column("interval_start", Date, "Дата начала интервала", "Earliest loaded day", nullable=True),
    column("interval_end", Date, "Дата окончания интервала", "Latest loaded day", nullable=True),
    Index("general_accounts_idx_1", "account_id"),
    UniqueConstraint("account_id"),
)

general_dates = table(
    "general_dates",
    "Параметры дат",
    "One row per distinct second that any fact uses, not a calendar; 9999-12-31 00:00:00 is the unknown date",
    surrogate_id("Идентификатор даты"),
    column("full_date", DateTime, "Дата и время", "Wall time of the source, to the second"),
    column("year", Integer, "Год", "Calendar year"),
    column("quarter", Integer, "Номер квартала", "Quarter, 1 to 4"),
    column("quarter_label", String(3), "Квартал", "Quarter as a Roman number"),
    column("month", Integer, "Номер месяца", "Month, 1 to 12"),
    column("month_label", String(10), "Месяц", "Russian name of the month"),
    column("week", Integer, "Номер недели", "ISO week"),
    column("weekday", Integer, "Номер дня недели", "Day of the week, Monday is 1"),
    column("weekday_label", String(11), "День недели", "Russian name of the weekday"),
    column("day", Integer, "День", "Day of the month"),
    column("hour", Integer, "Час", "Hour, 0 to 23"),
    column("minute", Integer, "Минута", "Minute, 0 to 59"),
    column("date_hash", String(32), "Хеш-сумма записи", "md5 of full_date as YYYY-MM-DD HH:MM:SS"),
    column("simple_date", Date, "Дата", "The day of full_date"),
    column("time_zone", Integer, "Часовой пояс", "Always 0: full_date is wall time", default="0"),
    Index("general_dates_idx_1", "date_hash"),
    Index("general_dates_idx_3", "simple_date"),
    UniqueConstraint("full_date", name="general_dates_idx_2"),
)

general_clientids = table(
    "general_clientids",
    "Параметры посетителей",
    "Web analytics ids of visitors; clientid 'not available' is the unknown visitor",
    surrogate_id("Идентификатор клиента"),
    column("clientid", String(64), "Идентификатор посетителя сайта", "ua_client_id, else ym_client_id"),
    column("userid", String(128), "Идентификатор пользователя", "Empty for this source", nullable=True),
    column("phone", String(64), "Телефон клиента", "Empty for this source", nullable=True),
    column("email", String(128), "e-mail клиента", "Empty for this source", nullable=True),
    Index("general_clientids_idx_1", "clientid"),
)

general_traffic = table(
    "general_traffic",
    "Параметры трафика",
    "Where a visit came from; the row of NULLs is unknown traffic",
    surrogate_id("Идентификатор источника трафика"),
    column("grouping", String(128), "Название группы", "Channel group; empty for this source", nullable=True),
    column("source", String(256), "Источник", "utm_source", nullable=True),
    column("medium", String(256), "Канал", "utm_medium", nullable=True),
    column("campaign", String(256), "Кампания", "utm_campaign", nullable=True),
    column("content", String(512), "Объявление", "utm_content", nullable=True),
    column("keyword", String(256), "Ключевое слово", "utm_term", nullable=True),
    column("landing_page", String(256), "Страница входа", "entrance_page", nullable=True),
    column(
        "traffic_hash",
        String(32),
        "Хэш траффика",
        "md5 of the columns above joined by ',' with None for NULL; different rows may share it",
        nullable=True,
    ),
    Index("general_traffic_idx_1", "traffic_hash"),
)

general_sites = table(
    "general_sites",
    "Параметры сайтов",
    "Sites; the row of NULLs is the unknown site",
    surrogate_id("Идентификатор сайта"),
    column("domain", String(64), "Доменное имя", "site_domain_name", nullable=True),
    column("description", String(256), "Описание", "Empty for this source", nullable=True),
    Index("general_sites_idx_1", "domain"),
)

general_locations = table(
    "general_locations",
    "Параметры местоположений",
    "Where a visitor was; the row of NULLs is the unknown place",
    surrogate_id("Идентификатор местоположения"),
    column("country_iso", String(8), "Код страны", "Empty for this source", nullable=True),
    column("country", String(64), "Страна", "visitor_country", nullable=True),
    column("region_iso", String(8), "Код региона", "Empty for this source", nullable=True),
    column("region", String(128), "Регион", "visitor_region", nullable=True),
    column("city", String(64), "Город", "visitor_city", nullable=True),
    column("latitude", String(32), "Широта", "Empty for this source", nullable=True),
    column("longitude", String(32), "Долгота", "Empty for this source", nullable=True),
    column(
        "location_hash",
        String(32),
        None,
        "md5 of the columns above joined by ',' with None for NULL; different rows may share it",
        nullable=True,
    ),
    Index("general_locations_idx_1", "location_hash"),
)

comagic_campaigns = table(
    "comagic_campaigns",
    "Параметры кампаний",
    "Advertising campaigns of get.campaigns and those that only calls remember; campaign_id 0 is no campaign",
    surrogate_id("Идентификатор кампании"),
    account_id(),
    column("campaign_id", BigInteger, "Внутренний идентификатор кампании", "id in the API"),
    column("name", String(256), "Название кампании", "Name of the campaign", nullable=True),
    column("description", String(256), "Описание кампании", "Description of the campaign", nullable=True),
    column("campaign_type", String(16), "Тип кампании", "basic, system or integrated", nullable=True),
    column("engine", String(16), "Платформа интегрированной кампании", "yandex.direct, ...", nullable=True),
    column("status", String(16), "Статус", "active or inactive", nullable=True),
    column("costs", Numeric(18, 2), "Расходы", "Costs as the API gives them", nullable=True),
    column("cost_ratio", Numeric(18, 4), "Коэффициент расходов", "Factor applied to costs", nullable=True),
    column(
        "cost_ratio_operator",
        String(16),
        "Оператор расчета расходов",
        "wo_changes, multiply or divide",
        nullable=True,
    ),
    customer_user_id(),
    Index("comagic_campaigns_idx_1", "account_id"),
    Index("comagic_campaigns_idx_2", "campaign_id"),
    UniqueConstraint("account_id", "customer_user_id", "campaign_id"),
)
