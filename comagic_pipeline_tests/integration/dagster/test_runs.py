"""What a run is to load is what its plan says, also when a command runs it in its own process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
from dagster import AssetKey, DagsterRun
from rich.console import Console
from sqlalchemy import text

from comagic_pipeline.cli.load import load
from comagic_pipeline.cli.reconcile import reconcile
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.automation.continuation import next_run
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.runs import tables_of
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.pending_days import expect
from comagic_pipeline_tests.integration.raw_reference import query

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 5)
TABLES = "[comagic_calls_facts, comagic_chats_facts, comagic_goals_facts, tags]"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Ten calls a day."""
    with running_sandbox(World(calls_per_day=10), Settings(minute_limit=10_000)) as sandbox:
        yield sandbox


@pytest.fixture
def config(project: Callable[..., Config], sandbox: Sandbox) -> Config:
    """A source of three kinds and a dictionary."""
    return project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}", tables=TABLES)


def run_load(config: Config, *tables: str) -> None:
    """`load --table ...`, which is done."""
    summary = load(config, config.sources[0], FIRST, LAST, tables, Console(stderr=True, quiet=True))
    assert summary.exit_code == 0, summary.error


def asked(sandbox: Sandbox) -> dict[str, int]:
    """How often each method was asked for."""
    found: dict[str, int] = {}
    for request in sandbox.requests:
        found[request.method] = found.get(request.method, 0) + 1
    return found


def assert_nothing_waits(config: Config, warehouse: Warehouse) -> None:
    """No day waits, and the sensor begins no run."""
    assert query(warehouse, "select * from comagic_ops.waiting_days") == []
    with open_instance(config) as instance:
        assert next_run(config, config.sources[0], instance, warehouse) == "no days wait"


def test_a_load_of_one_table_leaves_nothing_waiting(config: Config, warehouse: Warehouse, sandbox: Sandbox) -> None:
    """`load --table calls_report` noted the days of all tables, and the sensor then loaded what nobody asked for."""
    waited: set[str] = set()

    def look(*_: Any) -> None:
        waited.update(
            line["table_name"] for line in query(warehouse, "select table_name from comagic_ops.waiting_days")
        )

    sandbox.before_request = look
    run_load(config, "calls_report")
    assert waited == {"calls_report", "comagic_calls_facts"}
    # The star of calls needs campaigns, which were never loaded.
    assert asked(sandbox) == {"get.calls_report": 1, "get.campaigns": 1}
    facts = query(warehouse, "select count(*) as rows from comagic.comagic_calls_facts")
    assert facts == [{"rows": len(sandbox.world.rows("get.calls_report", f"{FIRST} 00:00:00", f"{LAST} 23:59:59"))}]
    assert_nothing_waits(config, warehouse)
    sandbox.requests.clear()
    run_load(config, "calls_report")
    assert asked(sandbox) == {"get.calls_report": 1}
    assert_nothing_waits(config, warehouse)


def test_a_load_of_a_dictionary_or_a_star_leaves_nothing_waiting(
    config: Config, warehouse: Warehouse, sandbox: Sandbox
) -> None:
    """Neither asks for days of a report."""
    run_load(config, "tags")
    run_load(config, "comagic_chats_facts")
    assert asked(sandbox) == {"get.tags": 1, "get.campaigns": 1}
    assert_nothing_waits(config, warehouse)


def test_a_star_without_its_report_is_told(config: Config, warehouse: Warehouse) -> None:
    """`load --table comagic_chats_facts` of days whose chats nobody had loaded was done without a word and a row."""
    run_load(config, "chats_report")
    with warehouse.begin() as connection:
        connection.execute(text("delete from comagic_ops.loaded_days where day in ('2026-01-02', '2026-01-03')"))
    run_load(config, "comagic_chats_facts")
    warnings = query(warehouse, "select table_name, message from comagic_ops.journal where event = 'warning'")
    assert [(line["table_name"], line["message"]) for line in warnings] == [
        (
            "comagic_chats_facts",
            "2026-01-02 to 2026-01-03: chats_report is not loaded, so the star of these days is empty: load it too",
        )
    ]


def test_healing_leaves_nothing_waiting(config: Config, warehouse: Warehouse, sandbox: Sandbox) -> None:
    """`reconcile --heal` noted the healed days of all tables of the source."""
    run_load(config, "calls_report")
    with warehouse.begin() as connection:
        connection.execute(text("delete from comagic_raw.calls_report where event_date = '2026-01-03'"))
        connection.execute(text("update comagic_ops.loaded_days set answered = 0 where day = '2026-01-03'"))
    sandbox.requests.clear()
    source, console = config.sources[0], Console(stderr=True, quiet=True)
    summary = reconcile(config, source, (FIRST, LAST), ["calls_report"], "full", console, heals=True)
    assert summary.healed == {"calls_report": [date(2026, 1, 3)]}, summary
    assert asked(sandbox).keys() == {"get.calls_report"}
    assert_nothing_waits(config, warehouse)


def test_days_that_an_older_version_noted_for_nobody(config: Config, warehouse: Warehouse) -> None:
    """What a run that succeeded had noted of other tables is forgotten; nobody asked for it."""
    run_load(config, "calls_report")
    (line,) = query(warehouse, "select distinct run_id from comagic_ops.loaded_days")
    with warehouse.begin() as connection:
        expect(connection, 1, ["goals_report"], FIRST, LAST, line["run_id"], datetime.now(UTC))
    with open_instance(config) as instance:
        assert next_run(config, config.sources[0], instance, warehouse) == "no days wait"
    assert query(warehouse, "select * from comagic_ops.waiting_days") == []


@contextmanager
def created(config: Config, job: str, *tables: str) -> Iterator[tuple[DagsterRun, Any]]:
    """A run of a job, or of some assets of it, as Dagster creates it."""
    definition = build_definitions(config).resolve_job_def(job)
    if tables:
        definition = definition.get_subset(asset_selection={AssetKey(["main", table]) for table in tables})
    with open_instance(config) as instance:
        yield instance.create_run_for_job(job_def=definition), instance


@pytest.mark.parametrize(
    ("job", "tables", "expected"),
    [
        ("load_main", (), {f"{name}_report" for name in ("calls", "chats", "goals")} | {"facts"}),
        ("load_main", ("calls_report", "tags"), {"calls_report"}),
        ("continue_main", ("chats_report",), {"chats_report"}),
        ("reconcile_main", (), set()),
        ("forget_main", (), set()),
    ],
)
def test_the_plan_says_what_a_run_loads(config: Config, job: str, tables: tuple[str, ...], expected: set[str]) -> None:
    """All tables of the job, or those chosen; a run that compares or forgets loads none."""
    kinds = {"comagic_calls_facts", "comagic_chats_facts", "comagic_goals_facts"}
    with created(config, job, *tables) as (run, instance):
        assert run.asset_selection is None or tables
        assert tables_of(run, config.sources[0], instance) == (expected - {"facts"}) | (
            kinds if "facts" in expected else set()
        )


def test_names_of_sources_are_not_mistaken(project: Callable[..., Config]) -> None:
    """A run of one source asks for nothing of another one whose name begins alike."""
    path = project(base_url="sandbox", token="x", tables="[calls_report]").path
    path.write_text(
        path.read_text()
        + "\n  - {name: main_calls, account_id: 2, base_url: sandbox, token: x, start_date: 2026-01-01,"
        + " tables: [calls_report]}\n"
    )
    config = load_config(path)
    with created(config, "load_main_calls") as (run, instance):
        assert [tables_of(run, source, instance) for source in config.sources] == [set(), {"calls_report"}]
