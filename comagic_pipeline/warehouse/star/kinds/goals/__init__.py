"""Goals: what visitors achieved on a site. An achievement is told by its communication, goal_id is the goal's own."""

from sqlalchemy import BigInteger, String

from comagic_pipeline.warehouse.star.declaration import column, surrogate_id
from comagic_pipeline.warehouse.star.kind import (
    Kind,
    attributes_table,
    communication_columns,
    dimension_table,
    facts_table,
    sale_cost,
    tags_table,
    visitor_columns,
)

comagic_goals = dimension_table(
    "comagic_goals",
    "Параметры достижений целей",
    "An achieved goal's own parameters",
    surrogate_id("Идентификатор достижения"),
    column("communication_id", BigInteger, "Идентификатор обращения", "Communication id in the API"),
    column("goal_id", BigInteger, "Идентификатор цели", "Goal id in the API", nullable=True),
    column("name", String(256), "Название цели", "Name of the goal", nullable=True),
    column("goal_type", String(32), "Тип цели", "click, link, time_on_page, ...", nullable=True),
    column("goal_source", String(32), "Система цели", "yandex.metrika, google.analytics, comagic", nullable=True),
    column("ext_id", String(128), "Внешний идентификатор цели", "Id in the outside system", nullable=True),
    *communication_columns(),
    *visitor_columns(),
)

comagic_goals_tags = tags_table("Теги достижений целей", comagic_goals)

comagic_goals_attributes = attributes_table("Атрибуты достижений целей", comagic_goals)

comagic_goals_facts = facts_table("Достижения целей", "One row per achieved goal", comagic_goals, sale_cost())

KIND = Kind(
    dimension=comagic_goals,
    facts=comagic_goals_facts,
    children=(comagic_goals_tags, comagic_goals_attributes),
)
