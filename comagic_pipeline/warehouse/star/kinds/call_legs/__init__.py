"""Call legs: the connections that a call is made of. A leg finds its call by source, customer and call_id."""

from sqlalchemy import BigInteger, Boolean, DateTime, Integer, Numeric, String

from comagic_pipeline.warehouse.star.declaration import column, surrogate_id
from comagic_pipeline.warehouse.star.kind import Kind, dimension_table, facts_table

comagic_call_legs = dimension_table(
    "comagic_call_legs",
    "Параметры плеч звонков",
    "A call leg's own parameters; comagic_calls joins on account_id, customer_user_id and call_id",
    surrogate_id("Идентификатор плеча"),
    column("leg_id", BigInteger, "Внутренний идентификатор плеча", "Leg id in the API"),
    column("call_id", BigInteger, "Внутренний идентификатор звонка", "Call session id in the API", nullable=True),
    column("direction", String(16), "Направление плеча", "in or out, may differ from the call's", nullable=True),
    column("finish_reason", String(128), "Причина окончания плеча", "API code", nullable=True),
    column("is_operator", Boolean, "Плечо сотрудника", "The leg is on the operator's side", nullable=True),
    column("is_transferred", Boolean, "Переведен", "The leg came from a transfer", nullable=True),
    column("is_coach", Boolean, "Плечо тренера", "The leg of a coach who listens in", nullable=True),
    column("is_failed", Boolean, "Неуспешное плечо", "is_failed of the API, whose docs contradict it", nullable=True),
    column("is_talked", Boolean, "Был разговор", "A talk took place on the leg", nullable=True),
    column("connect_time", DateTime, "Время соединения", "When the leg was picked up, wall time", nullable=True),
    column("calling_phone_number", String(32), "Кто звонил", "Number that called", nullable=True),
    column("called_phone_number", String(32), "Кому звонили", "Number that was called", nullable=True),
    column("contact_phone_number", String(32), "Номер контакта", "Subscriber's number", nullable=True),
    column("virtual_phone_number", String(32), "Виртуальный номер", "Tracking number", nullable=True),
    column("employee_id", BigInteger, "Идентификатор сотрудника", "Employee who was called", nullable=True),
    column("employee_full_name", String(256), "Имя сотрудника", "Name of that employee", nullable=True),
    column("group_id", BigInteger, "Идентификатор группы", "Employee group of the routing", nullable=True),
    column("group_name", String(256), "Название группы", "Name of that group", nullable=True),
    column("scenario_id", BigInteger, "Идентификатор сценария", "Scenario id in the API", nullable=True),
    column("scenario_name", String(256), "Название сценария", "Name of the scenario", nullable=True),
    column("action_name", String(256), "Операция сценария", "Operation that created the leg", nullable=True),
)

comagic_call_legs_facts = facts_table(
    "Плечи звонков",
    "One row per call leg; only its date is known of the shared dimensions, the others are those of its call",
    comagic_call_legs,
    column("duration", Integer, "Длительность разговора", "Seconds from pick-up to the end", nullable=True),
    column("total_duration", Integer, "Общая длительность плеча", "Seconds of the whole leg", nullable=True),
    column("employee_rating", Numeric(18, 2), "Оценка сотрудника", "Mark given during wrap-up", nullable=True),
)

KIND = Kind(dimension=comagic_call_legs, facts=comagic_call_legs_facts)
