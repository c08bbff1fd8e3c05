"""An agent with five customers: whoever can be loaded is, the others are named, and nothing of one is another's."""

from datetime import date

import pytest

import comagic_pipeline.api.client
from comagic_pipeline.catalog.table_names import AGENT_DICTIONARIES, DICTIONARIES
from comagic_pipeline.dagster.automation.recovery import show_loaded_days
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.integration.agents import FIRST, LAST, Agent, OpenAgent
from comagic_pipeline_tests.integration.raw_reference import (
    Row,
    differences,
    journal,
    query,
    raw_rows,
)
from comagic_pipeline_tests.integration.runs import failures, materialized

DAYS = {date(2026, 3, number) for number in range(2, 7)}
REPORTS = ("calls_report", "visitor_sessions_report", "campaign_daily_stat", "ct_ac_summary_report")
LISTS = {method.table for method in DICTIONARIES}
AGENT_LISTS = {method.table for method in AGENT_DICTIONARIES}
STAR = "comagic_calls_facts"


def list_rows(world: World, table: str) -> list[Row]:
    """What the API has in a dictionary, both halves of the statuses; a column that a row leaves out is empty."""
    rows = world.rows(f"get.{table}")
    rows += world.rows("get.statuses", is_deleted=True) if table == "statuses" else []
    rows = world.rows("get.tags", is_include_rating=True) if table == "tags" else rows
    return [dict.fromkeys(name for other in rows for name in other) | row for row in rows]


def test_four_of_five_customers_load_and_the_journal_names_the_fifth(open_agent: OpenAgent) -> None:
    """Reports, sums, every dictionary and the star of all customers but the one whose user has no rights."""
    agent = open_agent((*REPORTS, *sorted(LISTS), STAR))
    (*users, refused) = sorted(agent.customers)
    agent.sandbox.settings.refused_users = {refused}
    assert failures(agent.load()) == []
    for table in REPORTS:
        agent.assert_raw(table, set(users))
        assert materialized(agent.instance, table) == DAYS
        assert agent.ledger(table) == {(user, day) for user in users for day in DAYS}
    for table in LISTS - AGENT_LISTS:
        assert agent.owners(table) == {user for user in users if list_rows(agent.customers[user], table)}, table
        for user in users:
            rows = raw_rows(agent.warehouse, table, customer_user_id=user)
            assert differences(rows, list_rows(agent.customers[user], table)) == [], (table, user)
    for table in AGENT_LISTS:
        assert agent.owners(table) == {0}
        assert differences(raw_rows(agent.warehouse, table), agent.sandbox.world.rows(f"get.{table}")) == []
    # Once a run for each table, with the customer and the reason.
    warnings = journal(agent.warehouse, "warning")
    assert sorted(table for table, _ in warnings) == sorted({*REPORTS, *LISTS} - AGENT_LISTS)
    assert all(message.startswith(f"customer {refused}: ") and "forbidden" in message for _, message in warnings)
    assert journal(agent.warehouse, "skipped") == journal(agent.warehouse, "failed") == []
    calls = [row for user in users for row in agent.customers[user].rows("get.calls_report", *PERIOD)]
    facts = query(agent.warehouse, STAR_SQL)
    assert {row["call_id"]: (row["campaign_id"], row["name"], row["domain"]) for row in facts} == {
        call["id"]: (call["campaign_id"] or 0, call["campaign_name"], call["site_domain_name"]) for call in calls
    }
    assert len(facts) == len(calls)


PERIOD = (f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
STAR_SQL = """
    select calls.call_id, campaigns.campaign_id, campaigns.name, sites.domain
      from comagic.comagic_calls_facts as facts
      join comagic.comagic_calls as calls on calls.id = calls_id
      left join comagic.comagic_campaigns as campaigns on campaigns.id = campaigns_id
      left join comagic.general_sites as sites on sites.id = sites_id
"""


def test_customers_that_are_named_are_loaded_and_no_others(open_agent: OpenAgent) -> None:
    """Of two customers one may not be asked for visits: its calls load. Where none may, the table is skipped."""
    tables = ("calls_report", "visitor_sessions_report", "tags")
    agent = open_agent(tables, "[2801, 2803]")
    agent.sandbox.settings.refused_methods_of_users = {2803: {"get.visitor_sessions_report": "forbidden"}}
    assert failures(agent.load()) == []
    agent.assert_raw("calls_report", {2801, 2803})
    agent.assert_raw("visitor_sessions_report", {2801})
    assert agent.owners("tags") == {2801, 2803}
    assert [table for table, _ in journal(agent.warehouse, "warning")] == ["visitor_sessions_report"]
    agent.sandbox.settings.refused_methods_of_users[2801] = {"get.visitor_sessions_report": "forbidden"}
    for _ in range(2):
        assert failures(agent.load()) == []
    assert [table for table, _ in journal(agent.warehouse, "skipped")] == ["visitor_sessions_report"]
    agent.assert_raw("visitor_sessions_report", {2801})


def fail_for(agent: Agent, user: int, table: str) -> None:
    """Requests for a customer's report end in a broken answer."""

    def lay_down(method: str, params: Row) -> None:
        agent.sandbox.faults.clear()
        if params.get("user_id") == user and method == f"get.{table}":
            agent.sandbox.faults.add(Fault(kind="http_status", status=503))

    agent.sandbox.before_request = lay_down


@pytest.mark.parametrize("table", ["calls_report", "ct_ac_summary_report"])
def test_a_customer_that_fails_stops_no_other_and_hides_no_day(
    open_agent: OpenAgent, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """The run fails in one line that names the customer; no day shows as done, also after a look for lost runs."""
    monkeypatch.setattr(comagic_pipeline.api.client, "_FIRST_PAUSE", 0.001)
    agent = open_agent((table,))
    fail_for(agent, 2803, table)
    (told,) = failures(agent.load())
    assert "\n" not in told
    assert told.startswith(f"main/{table} {FIRST} to {LAST}: customer 2803: get.{table}: ")
    assert "HTTP 503" in told
    others = set(agent.customers) - {2803}
    agent.assert_raw(table, others)
    assert agent.ledger(table) == {(user, day) for user in others for day in DAYS}
    assert materialized(agent.instance, table) == set()
    assert [name for name, _ in journal(agent.warehouse, "failed")] == [table]
    show_loaded_days(agent.config, agent.instance, agent.warehouse)
    assert materialized(agent.instance, table) == set()
    agent.sandbox.before_request = None
    agent.sandbox.faults.clear()
    assert failures(agent.load()) == []
    agent.assert_raw(table, set(agent.customers))
    assert materialized(agent.instance, table) == DAYS


def test_two_customers_that_fail_are_both_named(open_agent: OpenAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line counts them and gives the reason of each; warnings about the others are kept."""
    monkeypatch.setattr(comagic_pipeline.api.client, "_FIRST_PAUSE", 0.001)
    agent = open_agent(("tags",))
    agent.sandbox.settings.refused_users = {2805}

    def lay_down(_: str, params: Row) -> None:
        agent.sandbox.faults.clear()
        if params.get("user_id") in (2802, 2804):
            agent.sandbox.faults.add(Fault(kind="broken_body"))

    agent.sandbox.before_request = lay_down
    (told,) = failures(agent.load())
    assert told.startswith("main/tags: 2 of 5 customers failed: customer 2802: ")
    assert "; customer 2804: " in told
    assert [message.split(":")[0] for _, message in journal(agent.warehouse, "warning")] == ["customer 2805"]
    assert agent.owners("tags") == {2801, 2803}


def test_points_that_end_midway_leave_word_of_those_before(
    open_agent: OpenAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer without rights and one that had failed were forgotten when the points of all were spent."""
    monkeypatch.setattr(comagic_pipeline.api.client, "_FIRST_PAUSE", 0.001)
    agent = open_agent(("tags",), day_limit=2)
    agent.sandbox.settings.refused_users = {2801}
    fail_for(agent, 2802, "tags")
    (told,) = failures(agent.load())
    assert "points are spent" in told
    # The other point went into the list of customers.
    assert agent.owners("tags") == {2803}
    assert [message.split(":")[0] for _, message in journal(agent.warehouse, "warning")] == [
        "customer 2801",
        "customer 2802",
    ]
