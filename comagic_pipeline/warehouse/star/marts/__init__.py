"""Marts: views over the star that answer what analysts ask every time. Each is a SELECT in the file of its name.

A file that names `{kind}` is repeated for every kind of facts that has what else it names, such as `{tags}`. Columns
are declared here, with their Russian names; a test compares them with the SELECT.
"""

from importlib.resources import files

from sqlalchemy import BigInteger, Boolean, Connection, Date, DateTime, Integer, MetaData, Numeric, String, Table, Text

from comagic_pipeline.warehouse.engine import Schemas
from comagic_pipeline.warehouse.star.declaration import account_id, column, customer_user_id, table
from comagic_pipeline.warehouse.star.kinds import KINDS
from comagic_pipeline.warehouse.star.replace_view import drop_others, replace_view
from comagic_pipeline.warehouse.star.template import (
    fill,
    is_filled_by,
    names_of_kind,
    names_of_schemas,
)

metadata = MetaData(schema="star")

_day = ("simple_date", Date, "Дата")
_kind = ("kind", Text, "Вид обращения", "calls, chats, offline_messages or goals")
_source = ("source", String(256), "Источник")
_medium = ("medium", String(256), "Канал")
_communications = ("communications", BigInteger, "Обращений", "Communications")
_target = ("target_communications", BigInteger, "Целевых обращений", "Those with the attribute target")

mart_unique_callers = table(
    "mart_unique_callers",
    "Уникальные звонящие",
    "One row per number that called in on a day, of each customer",
    account_id(),
    column(*_day, "Day of the calls"),
    column("phone_number", String(32), "Номер звонящего", "contact_phone_number of the calls"),
    column("first_call_time", DateTime, "Первый звонок дня", "Start of its first call of the day, wall time"),
    column("calls", BigInteger, "Звонков", "Incoming calls"),
    column("lost_calls", BigInteger, "Потерянных звонков", "Those that were missed"),
    column("talk_duration", BigInteger, "Длительность разговоров", "Seconds of all of them"),
    column(*_source, "utm_source of the first call of the day"),
    column(*_medium, "utm_medium of the first call of the day"),
    customer_user_id(),
    metadata=metadata,
)

mart_unique_callers_by_traffic = table(
    "mart_unique_callers_by_traffic",
    "Звонящие по источникам",
    "One row per day, source and medium: a caller counts once a day, under the traffic of the day's first call",
    account_id(),
    column(*_day, "Day of the calls"),
    column(*_source, "utm_source"),
    column(*_medium, "utm_medium"),
    column("unique_callers", BigInteger, "Уникальных звонящих", "Numbers that called in"),
    column("calls", Numeric, "Звонков", "Their incoming calls"),
    column("lost_calls", Numeric, "Потерянных звонков", "Those that were missed"),
    customer_user_id(),
    metadata=metadata,
)

mart_communications = table(
    "mart_communications",
    "Обращения по источникам",
    "One row per day, kind, source and medium; a communication counts once",
    account_id(),
    column(*_day, "Day of the communications"),
    column(*_kind),
    column(*_source, "utm_source"),
    column(*_medium, "utm_medium"),
    column(*_communications),
    column(*_target),
    customer_user_id(),
    metadata=metadata,
)

mart_communications_by_tag = table(
    "mart_communications_by_tag",
    "Обращения по тегам",
    "One row per day, kind, tag, source and medium; a communication counts under each of its tags",
    account_id(),
    column(*_day, "Day of the communications"),
    column(*_kind),
    column("tag_id", BigInteger, "Идентификатор тега", "Tag id in the API"),
    column("tag_name", Text, "Название тега", "Name of the tag"),
    column(*_source, "utm_source"),
    column(*_medium, "utm_medium"),
    column(*_communications),
    column(*_target),
    customer_user_id(),
    metadata=metadata,
)

mart_tag_changes = table(
    "mart_tag_changes",
    "Изменения тегов",
    "One row per day, kind, tag and who put it; of a tag that was put twice the API tells the last time",
    account_id(),
    column(*_day, "Day on which the tags were put"),
    column(*_kind),
    column("tag_id", BigInteger, "Идентификатор тега", "Tag id in the API"),
    column("tag_name", Text, "Название тега", "Name of the tag"),
    column("tag_type", String(8), "Тип тега", "manual or auto"),
    column("user_login", String(128), "Логин пользователя", "User who put it; empty when nobody did"),
    column("employee_id", BigInteger, "Идентификатор сотрудника", "Employee who put it; empty when nobody did"),
    column("employee_full_name", Text, "Имя сотрудника", "Name of that employee"),
    column("tags", BigInteger, "Проставлено тегов", "How many communications got the tag"),
    customer_user_id(),
    metadata=metadata,
)

mart_freshness = table(
    "mart_freshness",
    "Свежесть данных",
    "One row per kind that was ever loaded, of each customer",
    account_id(),
    column("kind", Text, "Вид данных", "calls, chats, visitor_sessions, ..."),
    column("last_loaded_day", Date, "Последний загруженный день", "The latest day that raw holds"),
    column("last_day_rows", Numeric, "Строк за последний день", "Rows that the API gave for that day"),
    column("last_day_loaded_at", DateTime(timezone=True), "Время загрузки", "When that day was loaded"),
    column("last_fact_time", DateTime, "Последнее событие", "Latest time of a fact of the star, wall time"),
    column("last_day_facts", Integer, "Фактов за последний день", "Facts that the star holds of that day"),
    customer_user_id(),
    metadata=metadata,
)

mart_points = table(
    "mart_points",
    "Расход баллов",
    "One row per day and table for which points of the API were spent",
    account_id(),
    column("day", Date, "Дата", "Day of the requests, in the account's time zone"),
    column("table_name", Text, "Таблица", "Raw table that was asked for, or the method where it has none"),
    column("runs", BigInteger, "Запусков", "Runs that asked; a command that is no run counts as none"),
    column("points", BigInteger, "Потрачено баллов", "Successful requests: each costs a point"),
    metadata=metadata,
)

mart_reconciliation = table(
    "mart_reconciliation",
    "Сверка с CoMagic",
    "One row per day and report that was compared with CoMagic",
    account_id(),
    column("simple_date", Date, "Дата", "Day that was compared"),
    column("table_name", Text, "Таблица", "Raw table that was compared"),
    column("is_equal", Boolean, "Совпадает", "Whether warehouse and API said the same"),
    column("mode", Text, "Способ сверки", "quick, sampled or full"),
    column("checked_at", DateTime(timezone=True), "Время сверки", "When it was compared last"),
    column("reloads", Integer, "Перезагрузок", "How often it was loaded again because it differed, in a row"),
    column("differences", BigInteger, "Расхождений", "Differences found in raw"),
    column("calls_difference", BigInteger, "Расхождение звонков", "Calls of the warehouse less those of the API"),
    column("waiting_difference", BigInteger, "Расхождение ожидания", "Seconds of waiting, likewise"),
    column("talking_difference", BigInteger, "Расхождение разговоров", "Seconds of talking, likewise"),
    metadata=metadata,
)

MARTS: tuple[Table, ...] = tuple(each for each in vars().values() if isinstance(each, Table))
"""Every mart. One that is made of another stands after it."""


def create_marts(connection: Connection, schemas: Schemas) -> list[str]:
    """Make the marts be what their files say, and drop those that are no more; what is right is not touched.

    Gives a line for each mart that had to stay as it was, because views of other people are made of it.
    """
    left: list[str | None] = [*drop_others(connection, schemas.star, {mart.name for mart in MARTS})]
    for mart in MARTS:
        query = mart_query(mart, schemas)
        left.append(replace_view(connection, schemas.star, mart.name, query, f"{mart.name}: {mart.comment}"))
    return [line for line in left if line]


def mart_query(mart: Table, schemas: Schemas) -> str:
    """Return the SELECT of a mart, over all the kinds that it is about."""
    sql = files(__package__).joinpath(f"{mart.name}.sql").read_text(encoding="utf-8")
    names = names_of_schemas(schemas)
    if "{kind}" not in sql:
        return fill(sql, names)
    of_kinds = [names | names_of_kind(kind) for kind in KINDS]
    return "\nunion all\n".join(fill(sql, names) for names in of_kinds if is_filled_by(sql, names))
