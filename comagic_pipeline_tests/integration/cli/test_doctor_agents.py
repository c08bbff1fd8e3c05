"""`doctor` of an agent's source: its customers are asked for one by one, their time zones compared, points bounded."""

from comagic_pipeline.cli.doctor import MOST_CUSTOMERS, examine
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.integration.agents import NOW, Agent, OpenAgent

TABLES = ("calls_report",)


def found(agent: Agent) -> tuple[list[str], list[str]]:
    """The lines about the source: those that are ok, those that are not."""
    ok: list[str] = []
    wrong: list[str] = []
    is_well = examine(
        agent.config, lambda line: (ok if line.ok else wrong).append(line.text) if "main" in line.check else None
    )
    assert is_well == (not wrong)
    return ok, wrong


def asked(agent: Agent) -> list[tuple[str, int | None]]:
    """Methods and users of the requests so far, which are forgotten."""
    requests: list[tuple[str, int | None]] = [
        (request.method, (request.params or {}).get("user_id")) for request in agent.sandbox.requests
    ]
    agent.sandbox.requests.clear()
    return requests


def move(agent: Agent, user: int, timezone: str) -> None:
    """The account of a user's customer is in another time zone."""
    customers = agent.sandbox.world.customers
    number = user - 2800
    customer = next(id for id, world in customers.items() if world is agent.customers[user])  # noqa: A001
    customers[customer] = World(number, calls_per_day=4, timezone=timezone, now=lambda: NOW, customer=number)


def test_the_accounts_of_an_agents_customers_are_asked_for(open_agent: OpenAgent) -> None:
    """doctor asked for the agent's own account, which needs a customer, and failed for ever."""
    agent = open_agent(TABLES, customers=3)
    ok, wrong = found(agent)
    assert wrong == []
    assert any("3 customer(s)" in line for line in ok)
    assert any("points left today" in line for line in ok)
    assert asked(agent) == [("get.customer_users", None), *(("get.account", user) for user in agent.customers)]


def test_time_zones_of_customers_are_compared(open_agent: OpenAgent) -> None:
    """A line for each zone that is not the source's: one customer needs a source of its own, all another setting."""
    agent = open_agent(TABLES, customers=3)
    move(agent, 2802, "Asia/Omsk")
    _, (line,) = found(agent)
    assert "customer(s) 2802 is Asia/Omsk, the config says Europe/Moscow" in line
    assert "a source of their own, with user_ids: [2802] and timezone: Asia/Omsk" in line
    move(agent, 2801, "Asia/Omsk")
    move(agent, 2803, "Asia/Omsk")
    _, (line,) = found(agent)
    assert line.startswith("the time zone of customer(s) 2801, 2802, 2803 is Asia/Omsk")
    assert line.endswith("set timezone: Asia/Omsk")


def test_a_refused_customer_is_a_line_and_the_others_are_compared(open_agent: OpenAgent) -> None:
    """Of customers that are named one is refused, one is nobody's, one is in another zone: a line for each."""
    agent = open_agent(TABLES, "[2801, 2802, 2803, 99]", customers=4)
    agent.sandbox.settings.refused_users = {2802}
    # Who names users needs no right to the list of them.
    agent.sandbox.settings.refused_methods = {"get.customer_users": "forbidden"}
    move(agent, 2803, "Asia/Omsk")
    ok, wrong = found(agent)
    assert [line.split(":")[0] for line in wrong] == [
        "customer 2802",
        "customer 99",
        "the time zone of customer(s) 2803 is Asia/Omsk, the config says Europe/Moscow",
    ]
    assert "forbidden" in wrong[0]
    assert any("the key works" in line for line in ok)


def test_many_customers_cost_a_bounded_number_of_points(open_agent: OpenAgent) -> None:
    """Each get.account costs a point: some are asked for, and the line says how many are not."""
    agent = open_agent(TABLES, customers=MOST_CUSTOMERS + 3)
    ok, wrong = found(agent)
    assert wrong == []
    assert agent.sandbox.points_spent == MOST_CUSTOMERS + 1
    assert any("3 more were not asked" in line for line in ok)


def test_no_customers_and_no_agent_are_each_a_line(open_agent: OpenAgent) -> None:
    """An agent without customers; the key of an account that is no agent's; an agent's key without user_ids."""
    agent = open_agent(TABLES, customers=2)
    for user in list(agent.customers):
        agent.sandbox.world.delete("get.customer_users", user)
    _, wrong = found(agent)
    assert wrong == [
        "user_ids: all, but get.customer_users lists no customers: give the agent's user the right to them"
    ]
    alone = open_agent(TABLES, customers=0)
    _, (line,) = found(alone)
    assert "method_not_found" in line
    assert line.endswith("take user_ids out if the key is no agent's")
    agent = open_agent(TABLES, "null", customers=2)
    _, (line,) = found(agent)
    assert line.endswith("the key belongs to an agent: name its customers in user_ids")


def test_two_users_of_one_customer_are_found(open_agent: OpenAgent) -> None:
    """They see the same rows: named both, all of them would be loaded and counted twice."""
    agent = open_agent(TABLES, "[2801, 2802, 2803]", customers=3)
    (first, second, _) = agent.sandbox.world.rows("get.customer_users")
    agent.sandbox.world.change("get.customer_users", second["id"], {"customer_id": first["customer_id"]})
    _, (line,) = found(agent)
    assert line == (
        f"user_ids: users 2801, 2802 belong to one customer, {first['customer_id']}, and see the same rows:"
        " name one of them"
    )
