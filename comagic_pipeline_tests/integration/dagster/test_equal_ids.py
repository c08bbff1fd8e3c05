"""Two customers of an agent whose rows have equal ids and different values: the star holds both, each under its own."""

from typing import Any

import pytest

from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.integration.agents import FIRST, LAST, NOW, Agent, OpenAgent
from comagic_pipeline_tests.integration.raw_reference import Row, api_rows, journal, query
from comagic_pipeline_tests.integration.runs import failures
from comagic_pipeline_tests.integration.star_reference import (
    MAIN,
    READINGS,
    expect_children_of,
    expect_facts_of,
    raw_rows,
)
from comagic_pipeline_tests.integration.warehouse.test_star_kinds import children_of, facts_of

FACTS = tuple(kind.dimension.name + "_facts" for kind in (reading.kind for reading in READINGS))
ONE, OTHER = USERS = (2801, 2802)
CALLS = "get.calls_report"


@pytest.fixture
def twins(open_agent: OpenAgent) -> Agent:
    """An agent of two customers whose accounts have the same ids; a row of each report and each list differs."""
    agent = open_agent((*FACTS, "tags", "employees"), customers=2)
    customers = agent.sandbox.world.customers
    first, second = customers
    customers[second] = twin = World(2, calls_per_day=4, now=lambda: NOW, customer=1)
    assert all(agent.customers[ONE].rows(name) == twin.rows(name) for name in ("get.campaigns", "get.tags"))
    for reading in READINGS:
        rows = api_rows(customers[first], f"get.{reading.kind.report}", FIRST, LAST)
        changed = {"campaign_name": "of the other"} if reading.has_visitor else {"action_name": "of the other"}
        twin.change(f"get.{reading.kind.report}", rows[0][reading.key], changed | DIFFERS[reading.kind.name])
    for name in ("get.campaigns", "get.tags", "get.employees"):
        column = "full_name" if name == "get.employees" else "name"
        twin.change(name, twin.rows(name)[1]["id"], {column: "of the other"})
    return agent


DIFFERS: dict[str, Row] = {
    "calls": {"talk_duration": 4711, "tags": [{"tag_id": 77, "tag_name": "of the other", "tag_type": "manual"}]},
    "call_legs": {"total_duration": 4711},
    "chats": {"messages_count": 4711},
    "offline_messages": {"status": "of the other", "attributes": ["target"]},
    "goals": {"name": "of the other"},
    "visitor_sessions": {"hits_count": 4711},
}


def test_both_customers_are_in_the_star(twins: Agent) -> None:
    """The star held one of two customers whose calls or campaigns had equal ids, and nothing was said of it.

    All kinds with all that belongs to them, campaigns, tags and employees. The checks of the star are green.
    """
    assert failures(twins.load()) == []
    for reading in READINGS:
        rows: list[Row] = []
        for user in USERS:
            owner = {"customer_user_id": user}
            rows += [row | owner for row in raw_rows(reading, twins.customers[user], MAIN, (FIRST, LAST))]
        with twins.warehouse.connect() as connection:
            expected = expect_facts_of(reading, rows)
            assert facts_of(connection, reading.kind) == expected, reading.kind.name
            assert children_of(connection, reading.kind) == expect_children_of(reading, rows), reading.kind.name
        ids = {user: {key[2] for key in expected if key[1] == user} for user in USERS}
        assert ids[ONE] == ids[OTHER] != set(), reading.kind.name
    names = query(twins.warehouse, "select customer_user_id, campaign_id, name from comagic.comagic_campaigns")
    for user in USERS:
        of_user = {row["campaign_id"]: row["name"] for row in names if row["customer_user_id"] == user}
        listed = {row["id"]: row["name"] for row in twins.customers[user].rows("get.campaigns")}
        assert listed.items() <= of_user.items()
        assert 0 in of_user
    assert {row["customer_user_id"] for row in names} == set(USERS)
    for table in ("tags", "employees"):
        assert twins.owners(table) == set(USERS)
    checked = query(twins.warehouse, "select count(*) as lines from comagic.mart_communications")
    assert checked[0]["lines"] > 0
    assert journal(twins.warehouse, "warning") == []
    # Nothing is left to write: each customer finds its own rows again.
    before = query(twins.warehouse, "select max(id) as id, count(*) as rows from comagic.comagic_calls")
    assert failures(twins.load()) == []
    assert query(twins.warehouse, "select max(id) as id, count(*) as rows from comagic.comagic_calls") == before


def different(agent: Agent) -> dict[str, set[int]]:
    """The days that differ, and the customers of whom something does."""
    found: dict[str, set[int]] = {}
    for line in query(agent.warehouse, "select day from comagic_ops.reconciled_days where not is_equal"):
        found[str(line["day"])] = set()
    for line in query(agent.warehouse, "select day, customer_user_id from comagic_ops.reconciliation"):
        found[str(line["day"])].add(line["customer_user_id"])
    return found


def test_customers_are_compared_each_for_itself(twins: Agent) -> None:
    """Seconds that one customer had too many made up for those that another lacked: the day was called equal.

    With equal ids and nothing changed each day is equal, and costs what the least is.
    """
    assert failures(twins.load()) == []
    for mode in ("quick", "sampled", "full"):
        twins.reconcile(mode)
        assert different(twins) == {}, mode
    call = api_rows(twins.customers[ONE], CALLS, FIRST, LAST)[5]
    for user, more in ((ONE, 5), (OTHER, -5)):
        twins.customers[user].change(CALLS, call["id"], {"talk_duration": (call["talk_duration"] or 0) + 10 + more})
    day = call["event_date"]
    twins.customers[OTHER].change(CALLS, call["id"], {"talk_duration": (call["talk_duration"] or 0) - 15})
    twins.reconcile("full")
    assert different(twins) == {day: {ONE, OTHER}}
    assert failures(twins.load()) == []
    twins.reconcile("full")
    assert different(twins) == {}
    # One that raw has and the star does not.
    with twins.warehouse.begin() as connection:
        connection.exec_driver_sql(
            "update comagic.comagic_calls_facts set talk_duration = talk_duration + case customer_user_id"
            f" when {ONE} then 7 else -7 end where calls_id in (select id from comagic.comagic_calls"
            f" where call_id = {call['id']})"
        )
    twins.reconcile("quick")
    assert different(twins) == {day: {ONE, OTHER}}


def test_rows_of_other_reports_are_told_apart_too(twins: Agent) -> None:
    """A goal that one customer lacks is a difference of this customer, though the other has one with the same id."""
    assert failures(twins.load()) == []
    goal = api_rows(twins.customers[ONE], "get.goals_report", FIRST, LAST)[1]
    twins.customers[OTHER].delete("get.goals_report", goal["communication_id"])
    twins.reconcile("full", "goals_report")
    assert different(twins) == {goal["event_date"]: {OTHER}}


def test_a_customer_who_cannot_be_compared_hides_no_other(twins: Agent) -> None:
    """Days of an agent were never compared when one customer refused the report, or had not been loaded.

    What was loaded of a customer whom the source no longer names is not compared: the API is not asked for it.
    """
    settings: Any = twins.sandbox.settings
    settings.refused_users = {OTHER}
    assert failures(twins.load()) == []
    call = api_rows(twins.customers[ONE], CALLS, FIRST, LAST)[3]
    twins.customers[ONE].change(CALLS, call["id"], {"talk_duration": 4712})
    twins.reconcile("full")
    assert different(twins) == {call["event_date"]: {ONE}}
    settings.refused_users = set()
    assert failures(twins.load()) == []
    twins.reconcile("full")
    assert different(twins) == {}
    settings.refused_users = {OTHER}
    twins.customers[ONE].change(CALLS, call["id"], {"talk_duration": 4713})
    twins.reconcile("full")
    assert different(twins) == {call["event_date"]: {ONE}}
    said = [message for table, message in journal(twins.warehouse, "warning") if table.startswith("equals_api")]
    assert [message.split(":")[0] for message in said] == [f"customer {OTHER}"]
