"""Custom reports as Dagster sees them: jobs, schedules, checks, days that wait, and the ad-hoc job of the Launchpad."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterInstance,
    DagsterInvalidConfigError,
    ExecuteInProcessResult,
    build_schedule_context,
)

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.continuation import Continuation, next_run
from comagic_pipeline.dagster.checks.all_days_loaded import missing_days
from comagic_pipeline.dagster.jobs.adhoc_report import AdhocReportError
from comagic_pipeline.dagster.runs import CONTINUES
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.points.plan import known_volumes, normal_day_points, plan_load
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import journal, query
from comagic_pipeline_tests.integration.runs import failures, materialized, run_load

FIRST, LAST = date(2026, 3, 2), date(2026, 3, 5)
REPORTS: list[dict[str, Any]] = [
    {"name": "Звонки", "report": "calls_report", "fields": ["id", "talk_duration"], "schedule": "0 7 * * 1"},
    {"name": "goals", "report": "goals_report", "fields": ["id", "name"], "schedule": "off", "structure": "auto"},
]


@pytest.fixture
def configure(project: Callable[..., Config]) -> Callable[..., Config]:
    """A source of calls and goals with two custom reports; keywords are of the source."""

    def write(**source: Any) -> Config:
        values = {"base_url": "sandbox", "token": SANDBOX_TOKEN, "tables": "[calls_report]"}
        return project(json.dumps(REPORTS), **values | {"day_points": "{reserve: 0}"} | source)

    return write


def world(calls_per_day: int = 10) -> World:
    return World(calls_per_day=calls_per_day, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))


def test_a_report_is_an_asset_with_a_job_a_schedule_and_a_check(configure: Callable[..., Config]) -> None:
    """In the group custom_reports; the job of the tables leaves it alone, that of the sensor has it."""
    definitions = build_definitions(configure())
    repository = definitions.get_repository_def()
    keys = {AssetKey(["main", "zvonki"]), AssetKey(["main", "goals"])}
    groups = {spec.key: spec.group_name for spec in definitions.resolve_all_asset_specs()}
    assert {key for key, group in groups.items() if group == "custom_reports"} == keys

    def assets(job: str) -> set[AssetKey]:
        return set(definitions.resolve_job_def(job).asset_layer.selected_asset_keys)

    assert assets("load_main").isdisjoint(keys)
    assert assets("continue_main") >= keys
    assert assets("report_main__zvonki") == {AssetKey(["main", "zvonki"])}
    schedules = {each.name: each.cron_schedule for each in repository.schedule_defs}
    assert schedules["report_main__zvonki_schedule"] == "0 7 * * 1"
    assert "report_main__goals_schedule" not in schedules
    assert all(AssetCheckKey(key, "all_days_loaded") in repository.asset_checks_defs_by_key for key in keys)


def test_the_schedule_asks_for_the_last_days(configure: Callable[..., Config]) -> None:
    """Today by the account's clock and `refresh_days` before it, of the one report."""
    schedule = build_definitions(configure()).get_repository_def().get_schedule_def("report_main__zvonki_schedule")
    moment = datetime.fromisoformat("2026-03-09T07:00:00+03:00")
    with (
        DagsterInstance.ephemeral() as instance,
        build_schedule_context(instance, scheduled_execution_time=moment) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.asset_selection == [AssetKey(["main", "zvonki"])]
    assert request.tags["dagster/asset_partition_range_start"] == "2026-03-02"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-03-09"


def test_points_of_scheduled_reports_are_foreseen(configure: Callable[..., Config], warehouse: Warehouse) -> None:
    """A report that raw tables hold costs nothing; one that they do not hold is in the plan of a normal day."""
    day = date(2026, 3, 9)  # a Monday: the report has its turn
    with_raw, without = (configure(tables=tables).sources[0] for tables in ("[calls_report]", "[tags]"))
    for source, points in ((with_raw, 0), (without, 1)):
        volumes = known_volumes(warehouse, source, day, day)
        plan = plan_load(source, volumes, day, day, ["zvonki"])
        assert [(line.table, line.points) for line in plan.tables] == [("zvonki", points)]
    volumes = known_volumes(warehouse, without, day, day)
    assert normal_day_points(without, volumes, day) == normal_day_points(without, volumes, day + timedelta(days=1)) + 1


def test_days_that_points_do_not_reach_for_wait_and_come(
    configure: Callable[..., Config], warehouse: Warehouse
) -> None:
    """A report that stops at the day's limit goes on by itself with what is missing, and the check says so."""
    settings = Settings(minute_limit=10_000, day_limit=2, quirks=Quirks(short_pages=10))
    with running_sandbox(world(), settings) as sandbox, DagsterInstance.ephemeral() as instance:
        config = configure(base_url=sandbox.url, tables="[tags]")
        source = config.sources[0]
        failed = run_job(config, instance, "report_main__zvonki")
        assert not failed.success
        done = materialized(instance, "zvonki")
        assert 0 < len(done) < 4
        waiting = {line["day"] for line in query(warehouse, "select day from comagic_ops.waiting_days")}
        assert waiting == {FIRST + timedelta(days=number) for number in range(4)} - done
        missing = {each.report: each for each in missing_days(source, warehouse, datetime(2026, 3, 6, tzinfo=UTC))}
        assert set(missing["zvonki"].days) == waiting
        assert missing["zvonki"].waiting == len(waiting)
        assert missing["goals"].passed
        settings.day_limit = 3000

        def later() -> datetime:
            return datetime.now(UTC) + timedelta(minutes=20)

        found = next_run(config, source, instance, warehouse, later)
        assert isinstance(found, Continuation)
        assert (found.reports, found.facts) == (("zvonki",), ())
        assert (found.first_day, found.last_day) == (min(waiting), max(waiting))
        result = (
            build_definitions(config)
            .resolve_job_def("continue_main")
            .execute_in_process(
                instance=instance,
                asset_selection=list(found.request.asset_selection or ()),
                tags=found.request.tags,
                raise_on_error=False,
            )
        )
        assert result.success, failures(result)
        assert found.request.tags[CONTINUES] == "main"
        assert materialized(instance, "zvonki") == done | waiting
        assert query(warehouse, "select * from comagic_ops.waiting_days") == []


def run_job(config: Config, instance: DagsterInstance, job: str, **options: Any) -> ExecuteInProcessResult:
    """Run a job for the days of this test."""
    span = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(LAST)}
    return (
        build_definitions(config)
        .resolve_job_def(job)
        .execute_in_process(instance=instance, tags=span, raise_on_error=False, **options)
    )


def adhoc(config: Config, instance: DagsterInstance, **words: Any) -> ExecuteInProcessResult:
    """Run the ad-hoc job with what somebody wrote into the Launchpad."""
    values = {"report": "calls_report", "fields": ["id", "talk_duration"]}
    values |= {"first_day": str(FIRST), "last_day": str(LAST)} | words
    return (
        build_definitions(config)
        .resolve_job_def("adhoc_report")
        .execute_in_process(
            instance=instance, run_config={"ops": {"load_adhoc_report": {"config": values}}}, raise_on_error=False
        )
    )


def test_an_adhoc_report_needs_no_change_of_the_file(configure: Callable[..., Config], warehouse: Warehouse) -> None:
    """JSON or a table, with a filter, from raw where that holds the days; a second run changes nothing."""
    with running_sandbox(world()) as sandbox, DagsterInstance.ephemeral() as instance:
        config = configure(base_url=sandbox.url)
        calls = sandbox.world.rows("get.calls_report", f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
        wanted = {row["id"]: row["talk_duration"] for row in calls if row["direction"] == "in"}
        for _ in range(2):
            result = adhoc(config, instance, filter="direction = 'in'")
            assert result.success, failures(result)
        rows = query(warehouse, "select processor_id, row_data from comagic.comagic_reports")
        assert len(rows) == len(wanted)
        assert {(row := json.loads(line["row_data"]))["id"]: row["talk_duration"] for line in rows} == wanted
        told = result.get_step_success_events()
        assert len(told) == 1
        spent = sum(request.points for request in sandbox.requests)
        assert spent == 2
        assert run_load(config, instance, FIRST, LAST, "calls_report").success
        assert adhoc(config, instance, name="мой", as_table=True).success
        assert sum(request.points for request in sandbox.requests) == spent + 1
        known = query(warehouse, "select name, tables from comagic_ops.custom_reports order by name")
        assert known[0]["name"] == "adhoc calls_report id, talk_duration where direction = 'in'"
        (table,) = known[1]["tables"]
        found = query(warehouse, f"select id, talk_duration from comagic.{table}")
        assert {row["id"]: row["talk_duration"] for row in found} == {row["id"]: row["talk_duration"] for row in calls}
        assert journal(warehouse, "failed") == []


NOT_IN_THE_SCHEMA = "Value at path root:ops:load_adhoc_report:config:{} not in enum type ({}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"report": "call_report"}, NOT_IN_THE_SCHEMA.format("report", "calls_report | call_legs_report | ")),
        ({"source": "mian"}, NOT_IN_THE_SCHEMA.format("source", "main) got mian")),
        ({"fields": ["id", "tagz"]}, "fields[1]: calls_report has no field 'tagz'; did you mean 'tags'?"),
        ({"filter": "direction"}, "filter: filter of calls_report, character 10: expected is, not, in, like"),
        ({"first_day": "03.2026"}, "first_day: '03.2026' is no date; write it as YYYY-MM-DD"),
        ({"first_day": "2026-03-09"}, "first_day 2026-03-09 is later than last_day 2026-03-05: swap them"),
        ({"first_day": "2020-03-09"}, "first_day 2020-03-09 is before start_date 2026-01-01 of the source main"),
        ({"name": "goals"}, "name: 'goals' becomes the asset goals, as 'goals' does: choose another name"),
        ({"name": "calls report"}, "name: 'calls report' becomes the asset calls_report, which is a table of the"),
    ],
)
def test_a_wrong_adhoc_report_is_refused_before_the_run(
    words: dict[str, Any], said: str, configure: Callable[..., Config], warehouse: Warehouse
) -> None:
    """A run began and failed: now there is one clear line and no run, nothing is asked of the API, nothing is made."""
    with DagsterInstance.ephemeral() as instance:
        with pytest.raises((AdhocReportError, DagsterInvalidConfigError)) as refused:
            adhoc(configure(), instance, **words)
        lines = [line.strip().removeprefix("Error 1: ") for line in str(refused.value).splitlines()]
        assert lines[isinstance(refused.value, DagsterInvalidConfigError)].startswith(said)
        assert instance.get_runs_count() == 0
        assert query(warehouse, "select * from comagic_ops.custom_reports") == []


def test_variables_of_the_environment_are_read_before_a_report_is_judged(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Launchpad takes `{env: NAME}` for any text, in the mapping too."""
    monkeypatch.setenv("WANTED", "direction is what")
    with (
        DagsterInstance.ephemeral() as instance,
        pytest.raises(AdhocReportError, match="filter: filter of calls_report"),
    ):
        adhoc(configure(), instance, filter={"env": "WANTED"})


def test_views_show_custom_reports_to_analysts(configure: Callable[..., Config], warehouse: Warehouse) -> None:
    """A view for each table of a structure, as soon as it is there, under the report's own name; and for the JSON."""
    with running_sandbox(world()) as sandbox, DagsterInstance.ephemeral() as instance:
        config = configure(base_url=sandbox.url)
        for job in ("report_main__zvonki", "report_main__goals"):
            assert run_job(config, instance, job).success
        shown = query(warehouse, 'select "Дата", name from comagic_views."CM goals"')
        assert sorted(str(line["name"]) for line in shown) == sorted(str(name) for name in names_of_goals(sandbox))
        texts = query(warehouse, 'select "Содержимое строки" as row from comagic_views."CM Выгруженные отчеты"')
        assert len(texts) == len(sandbox.world.rows("get.calls_report", f"{FIRST} 00:00:00", f"{LAST} 23:59:59"))
        readable = query(
            warehouse, "select has_table_privilege('comagic_reader', 'comagic_views.\"CM goals\"', 'select') as it"
        )
        assert readable == [{"it": True}]


def names_of_goals(sandbox: Sandbox) -> list[Any]:
    rows = sandbox.world.rows("get.goals_report", f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
    return [row["name"] for row in rows]
