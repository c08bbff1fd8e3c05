"""Several sources in one configuration, loaded side by side: each has its rows, a wrong key stops its own alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime

from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import (
    api_rows,
    days_between,
    differences,
    query,
    raw_rows,
)
from comagic_pipeline_tests.integration.runs import materialized

FIRST, LAST = date(2026, 3, 30), date(2026, 4, 2)
REPORTS = ("calls_report", "communications_report", "campaign_daily_stat", "ct_summary_report")
SOURCES = {"main": 1, "other": 2, "broken": 3}
"""Names and account ids."""


def test_three_sources_load_side_by_side_and_one_has_a_wrong_key(
    project: Callable[..., Config], warehouse: Warehouse
) -> None:
    """Two accounts whose rows have the same ids load whole, raw and star; the third fails in one clear line."""
    now = datetime(2026, 6, 1, tzinfo=UTC)
    with ExitStack() as stack:
        worlds = {
            name: World(calls_per_day=10 + number, campaigns=12 - number, now=lambda: now)
            for name, number in SOURCES.items()
        }
        sandboxes = {
            name: stack.enter_context(running_sandbox(world, Settings(minute_limit=10_000)))
            for name, world in worlds.items()
        }
        path = project(base_url="sandbox", token=SANDBOX_TOKEN).path
        sources = [
            f"  - {{name: {name}, account_id: {account_id}, base_url: '{sandboxes[name].url}', start_date: 2026-01-01, "
            f"token: {'wrong-key-000' if name == 'broken' else SANDBOX_TOKEN}, day_points: {{reserve: 0}}, "
            f"tables: [{', '.join(REPORTS)}, comagic_calls_facts]}}"
            for name, account_id in SOURCES.items()
        ]
        path.write_text("warehouse:\n  url: ${WAREHOUSE_URL}\nsources:\n" + "\n".join(sources) + "\n")
        config = load_config(path)
        # A process each, as the daemon starts them: Dagster does not run jobs in threads of one.
        command = [
            sys.executable,
            "-m",
            "comagic_pipeline.cli.main",
            "load",
            "--from",
            str(FIRST),
            "--till",
            str(LAST),
            "--json",
        ]
        runs = {
            name: subprocess.Popen([*command, "--source", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for name in SOURCES
        }
        output = {name: run.communicate(timeout=120) for name, run in runs.items()}
        assert [run.returncode for run in runs.values()] == [0, 0, 1], output
        told = json.loads(output["broken"][0])["error"]
        assert told.startswith("broken/")
        assert "access_token_invalid" in told
        assert "check the key and that base_url is the host of the account" in told
        assert not any(b"wrong-key-000" in text for texts in output.values() for text in texts)
        assert sandboxes["broken"].points_spent == 0
        with open_instance(config) as instance:
            days = set(days_between(FIRST, LAST))
            assert materialized(instance, "calls_report", "broken") == set()
            assert all(materialized(instance, table, name) == days for name in ("main", "other") for table in REPORTS)

    ids = {
        name: {row["id"] for row in api_rows(world, "get.calls_report", FIRST, LAST)} for name, world in worlds.items()
    }
    assert len(ids["main"] & ids["other"]) > 20
    for name in ("main", "other"):
        for table in REPORTS:
            expected = api_rows(worlds[name], f"get.{table}", FIRST, LAST)
            assert differences(raw_rows(warehouse, table, SOURCES[name]), expected) == [], (name, table)
        facts = query(warehouse, FACTS, account_id=SOURCES[name])
        assert {(row["call_id"], row["campaign_id"]) for row in facts} == {
            (row["id"], row["campaign_id"] or 0) for row in api_rows(worlds[name], "get.calls_report", FIRST, LAST)
        }
        assert len(facts) == len(ids[name])
    owners = {table: query(warehouse, f"select distinct account_id from comagic_raw.{table}") for table in REPORTS}
    assert all(sorted(row["account_id"] for row in rows) == [1, 2] for rows in owners.values())
    lines = query(warehouse, "select account_id, event, count(*) from comagic_ops.journal group by 1, 2 order by 1")
    assert [(line["account_id"], line["event"]) for line in lines] == [(1, "done"), (2, "done"), (3, "failed")]
    assert query(warehouse, "select 1 from comagic_ops.loaded_days where account_id = 3") == []
    statuses = query(warehouse, "select account_id, status from comagic.general_accounts order by 1")
    assert [(row["account_id"], row["status"]) for row in statuses] == [(1, "успешно"), (2, "успешно")]


FACTS = """
    select calls.call_id, campaigns.campaign_id
      from comagic.comagic_calls_facts as facts
      join comagic.comagic_calls as calls on calls.id = calls_id and calls.account_id = facts.account_id
      left join comagic.comagic_campaigns as campaigns
        on campaigns.id = campaigns_id and campaigns.account_id = facts.account_id
     where facts.account_id = :account_id
"""
