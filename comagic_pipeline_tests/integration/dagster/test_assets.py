"""What a run tells Dagster and the journal: days, metadata and failures. That the rows are right is in `test_load`."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance, ExecuteInProcessResult, build_schedule_context
from dagster._serdes import serialize_value
from sqlalchemy import make_url, text

from comagic_pipeline.catalog.table_names import SHARED_STAR, STAR_OF_KIND
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.api_client import open_client
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Warehouse

STAR_OF_CALLS = (*SHARED_STAR, *STAR_OF_KIND["calls"])

CALLS = "get.calls_report"
FIRST, LAST = date(2026, 1, 29), date(2026, 2, 4)
DAYS = [FIRST + timedelta(days=number) for number in range(7)]
"""Seven days in two months; the world's clock stands in March."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account with 20 calls a day that come 30 a page."""
    world = World(calls_per_day=20, now=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC))
    with running_sandbox(world, Settings(minute_limit=10_000, quirks=Quirks(short_pages=30))) as sandbox:
        yield sandbox


@pytest.fixture
def config(project: Callable[..., Config], sandbox: Sandbox) -> Config:
    """A source that asks the sandbox."""
    return project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 3}")


@pytest.fixture
def instance(config: Config) -> Iterator[DagsterInstance]:
    """The Dagster instance as the commands open it, with its storage in PostgreSQL."""
    with open_instance(config) as instance:
        yield instance


Run = Callable[..., ExecuteInProcessResult]


@pytest.fixture
def run(config: Config, instance: DagsterInstance) -> Run:
    """Runs the source's job for days, both included, for all tables or some."""

    def execute(first_day: date = FIRST, last_day: date = LAST, *tables: str, **tags: str) -> ExecuteInProcessResult:
        span = {"dagster/asset_partition_range_start": first_day, "dagster/asset_partition_range_end": last_day}
        return (
            build_definitions(config)
            .resolve_job_def("load_main")
            .execute_in_process(
                instance=instance,
                asset_selection=[key(table) for table in tables] or None,
                tags={name: str(day) for name, day in span.items()} | tags,
                raise_on_error=False,
            )
        )

    return execute


def key(table: str) -> AssetKey:
    """The key of a table of the source."""
    return AssetKey(["main", table])


def materializations(instance: DagsterInstance, table: str) -> list[AssetMaterialization]:
    """All materializations of an asset, oldest first."""
    records = instance.fetch_materializations(key(table), limit=10_000, ascending=True).records
    return [record.asset_materialization for record in records if record.asset_materialization]


def metadata(instance: DagsterInstance, table: str, name: str) -> dict[str, Any]:
    """A value of the metadata of every day that has it."""
    return {
        str(event.partition): event.metadata[name].value
        for event in materializations(instance, table)
        if name in event.metadata
    }


def days_of(instance: DagsterInstance, table: str) -> list[str]:
    """The days of the materializations of an asset; a day that was materialized twice is there twice."""
    return sorted(str(event.partition) for event in materializations(instance, table))


def query(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the warehouse."""
    with warehouse.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def calls_per_day(sandbox: Sandbox) -> dict[str, int]:
    """How many calls the account has on each of the days."""
    rows = sandbox.world.rows(CALLS, f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
    return dict(Counter(row["start_time"][:10] for row in rows))


def failure(result: ExecuteInProcessResult) -> Any:
    """What the first failed step told a person: its description and metadata."""
    return result.get_step_failure_events()[0].step_failure_data.user_failure_data


def test_every_day_of_every_asset_is_materialized_once(run: Run, instance: DagsterInstance) -> None:
    """A range run makes one materialization for each day of each table, and one of the dictionary."""
    assert run().success
    for table in ("calls_report", *STAR_OF_CALLS):
        assert days_of(instance, table) == [str(day) for day in DAYS], table
    assert [event.partition for event in materializations(instance, "campaigns")] == [None]


def test_metadata_of_days_are_their_rows_points_and_seconds(
    run: Run, instance: DagsterInstance, sandbox: Sandbox
) -> None:
    """Rows are those of the account on that day, points add up to what was charged, seconds to no more than it took."""
    started = datetime.now(UTC)
    assert run().success
    expected = calls_per_day(sandbox)
    for table in ("calls_report", "comagic_calls", "comagic_calls_facts"):
        assert metadata(instance, table, "dagster/partition_row_count") == expected, table
    (dictionary,) = materializations(instance, "campaigns")
    assert dictionary.metadata["dagster/row_count"].value == len(sandbox.world.rows("get.campaigns"))
    for event in materializations(instance, "calls_report"):
        assert event.metadata.keys() == {"dagster/partition_row_count", "points", "seconds"}
    points = metadata(instance, "calls_report", "points")
    assert points.keys() == expected.keys()
    assert sum(points.values()) + dictionary.metadata["points"].value == pytest.approx(sandbox.points_spent, abs=0.001)
    took = (datetime.now(UTC) - started).total_seconds()
    for table in ("calls_report", "comagic_calls_facts"):
        seconds = metadata(instance, table, "seconds")
        assert seconds.keys() == expected.keys()
        assert 0 < sum(seconds.values()) < took


def test_tables_without_a_row_for_each_call_claim_no_row_count(run: Run, instance: DagsterInstance) -> None:
    """Dimensions are shared by days and tags are not counted: a number there would mislead."""
    assert run().success
    for table in {*STAR_OF_CALLS} - {"comagic_calls", "comagic_calls_facts"}:
        assert metadata(instance, table, "dagster/partition_row_count") == {}
        assert len(metadata(instance, table, "seconds")) == len(DAYS)


def test_the_journal_tells_what_a_run_did(run: Run, warehouse: Warehouse, sandbox: Sandbox) -> None:
    """A line for each load with its period, rows and points, under the id of the run that Dagster shows."""
    result = run()
    calls = sum(calls_per_day(sandbox).values())
    lines = query(
        warehouse, "select table_name, event, first_day, last_day, rows, points, run_id from comagic_ops.journal"
    )
    assert sorted(lines) == [
        ("calls_report", "done", FIRST, LAST, calls, sandbox.points_spent - 1, result.run_id),
        ("campaigns", "done", None, None, len(sandbox.world.rows("get.campaigns")), 1, result.run_id),
        ("comagic_calls_facts", "done", FIRST, LAST, calls, 0, result.run_id),
    ]


def test_days_before_a_failure_stay_and_the_others_do_not_show(
    run: Run, instance: DagsterInstance, warehouse: Warehouse, sandbox: Sandbox
) -> None:
    """The account is disabled after three pages: the days that these hold whole are green, in the ledger and in raw."""
    sandbox.faults.add(Fault(kind="error", method=CALLS, mnemonic="account_inactive", after=3))
    assert not run().success
    done = days_of(instance, "calls_report")
    # 3 pages of 30, overlapping by two rows each, hold the four first days whole or fewer.
    assert done == [str(day) for day in DAYS[: len(done)]]
    assert 2 <= len(done) <= 4
    ledger = query(warehouse, "select day::text, rows from comagic_ops.loaded_days order by day")
    expected = calls_per_day(sandbox)
    assert ledger == [(day, expected[day]) for day in done]
    assert metadata(instance, "calls_report", "dagster/partition_row_count") == dict(ledger)
    raw = query(warehouse, "select event_date::text, count(*) from comagic_raw.calls_report group by 1 order by 1")
    assert raw == ledger


def test_what_needs_failed_days_is_not_built(run: Run, instance: DagsterInstance, sandbox: Sandbox) -> None:
    """The star of days that did not come is not claimed; the dictionary, which does not need them, loads."""
    sandbox.faults.add(Fault(kind="error", method=CALLS, mnemonic="account_inactive"))
    assert not run().success
    assert [days_of(instance, table) for table in STAR_OF_CALLS] == [[]] * len(STAR_OF_CALLS)
    assert len(materializations(instance, "campaigns")) == 1


def test_a_failure_is_one_clear_line_everywhere(run: Run, warehouse: Warehouse, sandbox: Sandbox) -> None:
    """The step's failure and the journal say what failed, where, and what to do; general_accounts says it too."""
    assert run().success
    sandbox.faults.add(Fault(kind="error", method=CALLS, mnemonic="access_token_blocked"))
    result = run()
    told = failure(result)
    assert told.description.startswith(f"main/calls_report {FIRST} to {LAST}: get.calls_report: the API says")
    assert "unblock it or make a new one" in told.description
    assert "\n" not in told.description
    assert SANDBOX_TOKEN not in serialize_value(result.all_events)
    failed = "select message, first_day, last_day from comagic_ops.journal where event = 'failed'"
    ((message, first_day, last_day),) = query(warehouse, failed)
    assert told.description.endswith(message)
    assert (first_day, last_day) == (FIRST, LAST)
    assert query(warehouse, "select status from comagic.general_accounts") == [("ошибка",)]
    assert run().success
    assert query(warehouse, "select status from comagic.general_accounts where status = 'ошибка'") == []


def test_backfills_leave_the_reserve_and_scheduled_runs_may_use_it(run: Run, sandbox: Sandbox) -> None:
    """Down to the reserve, runs by hand stop at once and say until when; a scheduled one loads."""
    sandbox.settings.day_limit = 6
    for _ in range(2):
        result = run(FIRST, LAST, "calls_report")
        assert not result.success
        assert sandbox.points_spent == 3
    told = failure(result)
    assert "3 are kept in reserve" in told.description
    # The sandbox's day ends at midnight UTC, twelve hours after its clock; the client counts from the real moment.
    until = datetime.fromisoformat(told.metadata["points_spent_until"].value)
    assert abs(until - datetime.now(UTC) - timedelta(hours=12)) < timedelta(minutes=1)
    assert run(FIRST, DAYS[1], "calls_report", **{"dagster/schedule_name": "load_main_nightly"}).success
    assert sandbox.points_spent == 5


def test_days_bought_before_the_points_were_spent_stay(
    run: Run, config: Config, instance: DagsterInstance, warehouse: Warehouse, sandbox: Sandbox
) -> None:
    """Points that end midway cost nothing twice: whole days are kept, the others wait, a later run asks for those."""
    sandbox.settings.day_limit = 6
    result = run(FIRST, LAST, "calls_report")
    done = days_of(instance, "calls_report")
    assert 1 <= len(done) < len(DAYS)
    until = datetime.fromisoformat(failure(result).metadata["points_spent_until"].value)
    waiting = (
        "select day, reason, not_before from comagic_ops.waiting_days where table_name = 'calls_report' order by day"
    )
    assert query(warehouse, waiting) == [(day, "points", until) for day in DAYS[len(done) :]]
    sandbox.settings.day_limit = 3000
    # Points were bought: whoever asks anew, as `doctor` does, tells all others.
    with open_client(config.source("main"), warehouse, insists=True) as client:
        client.call("get.account")
    sandbox.requests.clear()
    assert run(FIRST + timedelta(days=len(done)), LAST, "calls_report").success
    assert {request.params["date_from"][:10] for request in sandbox.requests} == {str(DAYS[len(done)])}
    assert days_of(instance, "calls_report") == [str(day) for day in DAYS]
    assert query(warehouse, "select count(*) from comagic_ops.loaded_days") == [(len(DAYS),)]
    assert query(warehouse, waiting) == []


def test_warnings_in_the_journal_cost_nothing(run: Run, warehouse: Warehouse, sandbox: Sandbox) -> None:
    """What a load cost stands in one line, so that sums over the journal are right; its warnings are lines besides."""
    sandbox.settings.quirks.forgotten_columns = frozenset({"sale_cost"})
    assert run(FIRST, LAST, "calls_report").success
    lines = query(warehouse, "select event, rows, points from comagic_ops.journal order by id")
    assert [event for event, _, _ in lines] == ["warning", "done"]
    assert lines[0][1:] == (None, None)
    assert lines[1][1:] == (sum(calls_per_day(sandbox).values()), sandbox.points_spent)


def test_a_warehouse_that_goes_away_is_a_clear_failure(
    config: Config, sandbox: Sandbox, server: EmbeddedServer, warehouse_url: str
) -> None:
    """When the database is lost midway and cannot even take the journal's line, the step's failure still says so."""
    database = make_url(warehouse_url).database
    admin_url = make_url(server.url("postgres")).set(drivername="postgresql").render_as_string(hide_password=False)

    def lose_the_database(_method: str, params: dict[str, Any]) -> None:
        if params.get("offset"):
            admin.execute(f'alter database "{database}" allow_connections false')
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [database])

    sandbox.before_request = lose_the_database
    sandbox.settings.quirks.short_pages = 15
    job = build_definitions(config).resolve_job_def("load_main")
    with psycopg.connect(admin_url, autocommit=True) as admin, DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key=str(FIRST), raise_on_error=False)
        admin.execute(f'alter database "{database}" allow_connections true')
    assert not result.success
    assert failure(result).description.startswith(f"main/calls_report {FIRST} to {FIRST}: ")


def test_one_day_by_its_partition_key(config: Config, instance: DagsterInstance, sandbox: Sandbox) -> None:
    """A run of a single partition, as the UI starts it, is a range of one day."""
    job = build_definitions(config).resolve_job_def("load_main")
    result = job.execute_in_process(instance=instance, partition_key=str(FIRST), raise_on_error=False)
    assert result.success
    assert days_of(instance, "calls_report") == [str(FIRST)]
    assert metadata(instance, "comagic_calls_facts", "dagster/partition_row_count") == {
        str(FIRST): calls_per_day(sandbox)[str(FIRST)]
    }


def test_a_missing_secret_fails_the_run_with_its_name(
    project: Callable[..., Config], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is not set fails the run in one line that names the place and the variable."""
    monkeypatch.delenv("COMAGIC_TOKEN", raising=False)
    config = project(base_url=sandbox.url, token="${COMAGIC_TOKEN}", tables="[campaigns]")
    with open_instance(config) as instance:
        job = build_definitions(config).resolve_job_def("load_main")
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    told = failure(result)
    assert told.description == ("main/campaigns: sources.main.token: the environment variable COMAGIC_TOKEN is not set")
    assert not sandbox.requests


def test_a_source_of_dictionaries_alone_loads_on_schedule(project: Callable[..., Config], sandbox: Sandbox) -> None:
    """Its job has no partitions; the days that schedules name do no harm."""
    config = project(base_url=sandbox.url, token=SANDBOX_TOKEN, tables="[campaigns]")
    with open_instance(config) as instance:
        definitions = build_definitions(config)
        schedule = definitions.get_repository_def().get_schedule_def("load_main_nightly")
        moment = datetime(2026, 3, 1, 12, 10, tzinfo=UTC)
        with build_schedule_context(instance, scheduled_execution_time=moment) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or []
        job = definitions.resolve_job_def("load_main")
        assert job.execute_in_process(instance=instance, tags=dict(request.tags), raise_on_error=False).success
        assert len(materializations(instance, "campaigns")) == 1
