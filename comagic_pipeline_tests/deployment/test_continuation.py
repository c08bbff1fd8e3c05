"""A load that was killed, and one that ran out of points, are completed by the services of `up`; nothing is paid twice.

The real daemon, its sensor and its runs; a load of the command line beside them is killed with -9.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from comagic_pipeline.config import Config
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.deployment.command_line import eventually, finish, run, start
from comagic_pipeline_tests.deployment.services import Services
from comagic_pipeline_tests.integration.raw_reference import query

CALLS = "get.calls_report"
PAGE = 100
TODAY = datetime.now(UTC).date()
DAYS = [TODAY - timedelta(days=number) for number in range(40, 0, -1)]
"""Forty days before today: the hourly schedule of the services loads today beside them."""
FIRST_HALF, SECOND_HALF = DAYS[:20], DAYS[20:]

_CONTINUING_RUNS = """{ runsOrError(filter: {tags: [{key: "comagic/continues", value: "main"}]}) { ... on Runs {
    results { runId status tags { key value } } } } }"""
_CHECK = """query($key: AssetKeyInput!) {
    assetCheckExecutions(assetKey: $key, checkName: "all_days_loaded", limit: 20) {
        status evaluation { success description } } }"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """About sixty calls a day in pages of a hundred."""
    world = World(calls_per_day=60, now=lambda: datetime.now(UTC))
    with running_sandbox(world, Settings(minute_limit=10_000, quirks=Quirks(short_pages=PAGE))) as sandbox:
        yield sandbox


@pytest.fixture
def config(project: Callable[..., Config], sandbox: Sandbox) -> Config:
    """A source with calls and their star, which nothing but loads asks for calls."""
    return project(
        base_url=sandbox.url,
        token=SANDBOX_TOKEN,
        start_date=str(DAYS[0]),
        day_points="{reserve: 5}",
        refresh_days=1,
        reconciliation="{schedule: off}",
    )


def points_of_calls(sandbox: Sandbox, days: list[date]) -> int:
    """The least that the calls of these days cost."""
    rows = sandbox.world.rows(CALLS, f"{days[0]} 00:00:00", f"{days[-1]} 23:59:59")
    return -(-len(rows) // PAGE)


def asked_of(sandbox: Sandbox, days: list[date]) -> int:
    """The requests for calls of these days that were charged."""
    return sum(
        request.method == CALLS and request.points and str(days[0]) <= request.params["date_from"][:10] <= str(days[-1])
        for request in sandbox.requests
    )


def is_at_a_standstill(warehouse: Warehouse) -> bool:
    """Whether nothing is committed for some seconds."""
    loaded = "select count(*), max(loaded_at) from comagic_ops.loaded_days"
    before = query(warehouse, loaded)
    time.sleep(3)
    return query(warehouse, loaded) == before


def assert_loaded(warehouse: Warehouse, sandbox: Sandbox, days: list[date]) -> None:
    """Raw and star hold the calls of these days, each once."""
    rows = sandbox.world.rows(CALLS, f"{days[0]} 00:00:00", f"{days[-1]} 23:59:59")
    between = f"between '{days[0]}' and '{days[-1]}'"
    raw = (
        f"select count(*) as rows, count(distinct id) as calls from comagic_raw.calls_report where event_date {between}"
    )
    assert query(warehouse, raw) == [{"rows": len(rows), "calls": len(rows)}]
    facts = f"""select count(*) as rows from comagic.comagic_calls_facts as facts
        join comagic.general_dates as dates on dates.id = facts.dates_id where dates.simple_date {between}"""
    assert query(warehouse, facts) == [{"rows": len(rows)}]


def test_the_services_go_on_with_what_a_kill_and_the_end_of_points_left(
    config: Config, warehouse: Warehouse, sandbox: Sandbox
) -> None:
    """Killed midway: at most one window is paid twice. Stopped by the points: none, and it waits for more."""
    load = ("load", "--json", "--from")
    sandbox.faults.add(Fault(kind="slow_answer", method=CALLS, after=6, seconds=60))
    killed = start(*load, str(FIRST_HALF[0]), "--till", str(FIRST_HALF[-1]))
    eventually(lambda: asked_of(sandbox, FIRST_HALF) >= 5)
    eventually(lambda: not sandbox.faults.rules)
    # What came before the answer that is awaited is being written: on a busy machine that takes its time.
    eventually(lambda: is_at_a_standstill(warehouse))
    killed.kill()
    finish(killed)
    sandbox.faults.clear()
    (left,) = query(
        warehouse, "select count(*) as days from comagic_ops.waiting_days where table_name = 'calls_report'"
    )
    assert 0 < left["days"] < len(FIRST_HALF)

    with Services(config.path.parent) as services:

        def green(days: list[date]) -> bool:
            return all(set(days) <= services.green("main", table) for table in ("calls_report", "comagic_calls_facts"))

        services.wait(lambda: green(FIRST_HALF))
        assert_loaded(warehouse, sandbox, FIRST_HALF)
        # The page under way, the one that it would have proven, and the part of a day.
        assert asked_of(sandbox, FIRST_HALF) <= points_of_calls(sandbox, FIRST_HALF) + 3

        sandbox.settings.day_limit = sandbox.points_spent + 5 + 6
        stopped = run(*load, str(SECOND_HALF[0]), "--till", str(SECOND_HALF[-1]))
        assert stopped.returncode == 3, stopped.stderr
        summary = json.loads(stopped.stdout)
        assert summary["missing"]
        assert "while `up` runs" in stopped.stderr

        def check() -> Any:
            return services.query(_CHECK, key={"path": ["main", "calls_report"]})

        services.wait(lambda: any(not each["evaluation"]["success"] for each in check() if each["evaluation"]))
        assert not green(SECOND_HALF)
        spent = sandbox.points_spent

        sandbox.settings.day_limit = 3000
        assert run("doctor").returncode == 0
        services.wait(lambda: green(SECOND_HALF))
        assert_loaded(warehouse, sandbox, SECOND_HALF)
        assert asked_of(sandbox, SECOND_HALF) <= points_of_calls(sandbox, SECOND_HALF) + 2
        assert spent < sandbox.points_spent
        services.wait(lambda: check()[0]["evaluation"] and check()[0]["evaluation"]["success"])
        assert check()[0]["evaluation"]["description"] == "All days are loaded."

        runs = services.query(_CONTINUING_RUNS)["results"]
        waited_for = {tag["value"] for each in runs for tag in each["tags"] if tag["key"] == "comagic/waited_for"}
        assert {"interrupted", "points"} <= waited_for
        assert {each["status"] for each in runs} == {"SUCCESS"}
    assert query(warehouse, "select * from comagic_ops.waiting_days where day < current_date - 1") == []
