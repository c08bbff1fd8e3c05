"""The checks that Dagster shows, each green on a good load and red when warehouse or API are spoiled."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    SensorResult,
    build_sensor_context,
)
from sqlalchemy import text

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.sensors import continuation_sensor
from comagic_pipeline.dagster.checks import recent_rows, usual_volume
from comagic_pipeline.dagster.checks.of_source import checks_of
from comagic_pipeline.dagster.jobs.source_jobs import SourceJobs
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import query
from comagic_pipeline_tests.integration.runs import run_load

CALLS, FACTS = "calls_report", "comagic_calls_facts"
FIRST, LAST = date(2026, 3, 2), date(2026, 3, 8)


class Load:
    """A source of calls, its runs, and what they said of its checks."""

    def __init__(self, config: Config, sandbox: Sandbox, warehouse: Warehouse, instance: DagsterInstance) -> None:
        self.config, self.sandbox, self.warehouse, self.instance = config, sandbox, warehouse, instance

    def run(self, first_day: date = FIRST, last_day: date = LAST, *tables: str) -> dict[str, AssetCheckEvaluation]:
        """Load days; gives what the run found, by the name of the check."""
        result = run_load(self.config, self.instance, first_day, last_day, *tables)
        assert result.success
        return self.found(result.run_id)

    def check(self, *names: str, table: str = CALLS) -> dict[str, AssetCheckEvaluation]:
        """Launch checks alone, as the UI does."""
        keys = [AssetCheckKey(AssetKey(["main", table]), name) for name in names]
        job = build_definitions(self.config).resolve_implicit_global_asset_job_def()
        result = job.get_subset(asset_selection=set(), asset_check_selection=set(keys)).execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}, instance=self.instance
        )
        assert result.success
        return self.found(result.run_id)

    def change(self, sql: str, **values: Any) -> None:
        """Change the warehouse behind the pipeline's back."""
        with self.warehouse.begin() as connection:
            connection.execute(text(sql), values)

    def found(self, run_id: str) -> dict[str, AssetCheckEvaluation]:
        """What the instance has stored of a run's checks."""
        found = {}
        for record in self.instance.get_records_for_run(
            run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION
        ).records:
            event = record.event_log_entry.dagster_event
            assert event
            found[event.asset_check_evaluation_data.check_name] = event.asset_check_evaluation_data
        return found


@pytest.fixture
def load(project: Callable[..., Config], warehouse: Warehouse) -> Iterator[Load]:
    """An account with 20 calls a day, whose clock stands in June."""
    world = World(calls_per_day=20, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox, DagsterInstance.ephemeral() as instance:
        config = project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}")
        yield Load(config, sandbox, warehouse, instance)


def red(load: Load, name: str, table: str = CALLS) -> AssetCheckEvaluation:
    """What a check, launched alone, says when it is red; the other checks of that asset's load stay green."""
    found = load.check(*RIGHT[table], table=table)
    assert {each for each, evaluation in found.items() if not evaluation.passed} == {name}
    return found[name]


def figures(evaluation: AssetCheckEvaluation) -> dict[str, Any]:
    """The metadata as plain values."""
    return {name: value.value for name, value in evaluation.metadata.items()}


RIGHT = {
    CALLS: ("key_is_unique", "rows_equal_ledger", "no_rejected_rows", "all_columns_known"),
    FACTS: ("facts_equal_raw", "no_orphan_keys"),
}


def test_a_good_load_is_green_everywhere(load: Load) -> None:
    """Every check but that of days before the load, which are missing indeed."""
    found = load.run()
    others = {"recent_rows", "usual_volume", "no_doubtful_days", "all_days_loaded"}
    assert found.keys() == {*RIGHT[CALLS], *RIGHT[FACTS], *others}
    assert {name for name, evaluation in found.items() if not evaluation.passed} == {"all_days_loaded"}
    for table, names in RIGHT.items():
        assert all(evaluation.passed for evaluation in load.check(*names, table=table).values())


def test_a_row_that_is_gone_behind_the_ledgers_back(load: Load) -> None:
    """Red with the day and both numbers; a run over other days does not look there, a load of the day mends it."""
    load.run()
    held = query(load.warehouse, "select id from comagic_raw.calls_report where event_date = '2026-03-03'")
    load.change("delete from comagic_raw.calls_report where id = :id", id=held[0]["id"])
    told = red(load, "rows_equal_ledger")
    assert told.severity is AssetCheckSeverity.ERROR
    rows = len(held)
    expected = {"unlike_days": 1, "first_days": f"2026-03-03: {rows - 1} rows, ledger {rows}"}
    assert figures(told) == expected
    assert load.run(date(2026, 3, 5), LAST, CALLS)["rows_equal_ledger"].passed
    assert load.run(FIRST, date(2026, 3, 3), CALLS)["rows_equal_ledger"].passed
    assert load.check("rows_equal_ledger")["rows_equal_ledger"].passed


def test_a_day_without_its_line_in_the_ledger(load: Load) -> None:
    """Rows that no load claims are as wrong as rows that are missing."""
    load.run()
    load.change("delete from comagic_ops.loaded_days where table_name = 'calls_report' and day = '2026-03-03'")
    assert "ledger 0" in figures(red(load, "rows_equal_ledger"))["first_days"]


def test_what_retention_has_deleted_is_no_mistake(load: Load) -> None:
    """Days before the first that is kept are not looked at, neither in raw nor in the star."""
    load.run()
    load.change("delete from comagic_raw.calls_report where event_date = '2026-03-02'")
    assert not load.check("rows_equal_ledger")["rows_equal_ledger"].passed
    assert not load.check("facts_equal_raw", table=FACTS)["facts_equal_raw"].passed
    load.change("insert into comagic_ops.retained_from values (1, 'raw', '2026-03-03', now())")
    assert load.check("rows_equal_ledger")["rows_equal_ledger"].passed
    assert load.check("facts_equal_raw", table=FACTS)["facts_equal_raw"].passed


def test_a_key_that_stands_on_two_days(load: Load) -> None:
    """A copy of a call on another day: the numbers of the ledger may even be right."""
    load.run()
    columns = [column["column_name"] for column in query(load.warehouse, COLUMNS)]
    rest = ", ".join(f'"{name}"' for name in columns if name != "event_date")
    load.change(
        f"""insert into comagic_raw.calls_report (event_date, {rest})
            select '2026-03-05', {rest} from comagic_raw.calls_report where event_date = '2026-03-03' limit 1"""
    )
    load.change("update comagic_ops.loaded_days set rows = rows + 1 where day = '2026-03-05'")
    told = red(load, "key_is_unique")
    assert figures(told) == {"repeated_keys": 1, "first_days": "2026-03-03: 1 keys"}
    assert load.run(date(2026, 3, 5), date(2026, 3, 5), CALLS)["key_is_unique"].passed
    assert load.check("key_is_unique")["key_is_unique"].passed


COLUMNS = """select column_name from information_schema.columns
              where table_schema = 'comagic_raw' and table_name = 'calls_report'"""


def test_a_value_that_does_not_fit(load: Load) -> None:
    """Yellow with the column and the day, and without the value, which may be anybody's; green when it fits again."""
    (call, *_) = load.sandbox.world.rows("get.calls_report", "2026-03-03 00:00:00", "2026-03-03 23:59:59")
    load.sandbox.world.change("get.calls_report", call["id"], {"talk_duration": "a secret"})
    told = load.run()["no_rejected_rows"]
    assert not told.passed
    assert told.severity is AssetCheckSeverity.WARN
    assert figures(told) == {"rejected_values": 1, "first_days": "2026-03-03: 1 of talk_duration"}
    assert "a secret" not in str(told)
    assert red(load, "no_rejected_rows").description == told.description
    assert load.run(date(2026, 3, 4), LAST)["no_rejected_rows"].passed
    load.sandbox.world.change("get.calls_report", call["id"], {"talk_duration": 5})
    assert load.run()["no_rejected_rows"].passed


def test_a_column_that_the_api_has_forgotten(load: Load) -> None:
    """Named as long as the newest loaded day lacks it."""
    load.run(FIRST, date(2026, 3, 3))
    load.sandbox.settings.quirks.forgotten_columns = frozenset({"sale_cost"})
    told = load.run(date(2026, 3, 4), LAST, CALLS)["all_columns_known"]
    assert not told.passed
    assert told.severity is AssetCheckSeverity.WARN
    assert told.description is not None
    assert "2026-03-08 lacks sale_cost" in told.description
    assert figures(red(load, "all_columns_known")) == {"columns_left_out": 1, "first_days": "2026-03-08: sale_cost"}
    load.sandbox.settings.quirks.forgotten_columns = frozenset()
    assert load.run(LAST, LAST, CALLS)["all_columns_known"].passed


def test_a_missing_fact(load: Load) -> None:
    """Red with the day, and its parameters stand alone; a day whose facts are due anyway waits without being red."""
    load.run()
    load.change("delete from comagic.comagic_calls_facts where calls_id = (select min(id) from comagic.comagic_calls)")
    found = load.check(*RIGHT[FACTS], table=FACTS)
    assert not any(evaluation.passed for evaluation in found.values())
    assert figures(found["facts_equal_raw"])["unlike_days"] == 1
    assert figures(found["no_orphan_keys"]) == {"orphan_keys": 0, "rows_without_fact": 1}
    load.run(FIRST, LAST, CALLS)
    assert load.check("facts_equal_raw", table=FACTS)["facts_equal_raw"].passed
    assert all(load.run()[name].passed for name in RIGHT[FACTS])


def test_an_orphan_child(load: Load) -> None:
    """The database refuses one as long as it has its foreign key; what is there after that was dropped is counted."""
    load.run()
    load.change("alter table comagic.comagic_calls_attributes drop constraint comagic_calls_attributes_comagic_calls")
    assert load.check("no_orphan_keys", table=FACTS)["no_orphan_keys"].passed
    load.change("update comagic.comagic_calls_attributes set calls_id = -1 where id = 1")
    told = red(load, "no_orphan_keys", FACTS)
    assert told.severity is AssetCheckSeverity.ERROR
    assert figures(told) == {"orphan_keys": 1, "rows_without_fact": 0}
    assert told.description is not None
    assert "1 rows of comagic_calls_attributes.calls_id point to nothing" in told.description


def test_the_rows_of_each_customer_are_his(project: Callable[..., Config], load: Load) -> None:
    """A row that changed hands leaves the sum of the day right, and the check is red."""
    world = World(calls_per_day=20, customers=2, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox:
        load.config = project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}", user_ids="all")
        assert load.run(FIRST, LAST, CALLS, "customer_users")["rows_equal_ledger"].passed
        load.change(
            """update comagic_raw.calls_report
                  set customer_user_id = (select max(customer_user_id) from comagic_raw.calls_report)
                where id = (select min(id) from comagic_raw.calls_report
                             where customer_user_id = (select min(customer_user_id) from comagic_raw.calls_report))"""
        )
        assert figures(red(load, "rows_equal_ledger"))["unlike_days"] == 1


def test_custom_reports_have_the_checks_that_make_sense(project: Callable[..., Config], load: Load) -> None:
    """Rows as JSON are counted too; tables of a structure may have any number of rows."""
    reports = """[{name: json, report: calls_report, fields: [id, sale_cost]},
                  {name: table, report: calls_report, fields: [id, sale_cost], structure: auto}]"""
    load.config = project(
        reports, base_url=load.sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}", tables="[tags]"
    )
    load.sandbox.settings.quirks.forgotten_columns = frozenset({"sale_cost"})
    specs = {"json": {"rows_equal_ledger"}, "table": set()}
    for name, own in specs.items():
        checks = build_definitions(load.config).get_repository_def().asset_checks_defs_by_key
        names = {key.name for key in checks if key.asset_key == AssetKey(["main", name])}
        others = {"no_rejected_rows", "all_columns_known", "usual_volume", "no_doubtful_days", "all_days_loaded"}
        assert names == {*own, *others}
        result = run_load(load.config, load.instance, FIRST, LAST, name, job=f"report_main__{name}")
        assert result.success
        found = load.found(result.run_id)
        assert {each for each, told in found.items() if not told.passed} == {"all_columns_known", "all_days_loaded"}
    load.change("delete from comagic.comagic_reports where row_id = 1 and simple_date = '2026-03-03'")
    assert figures(load.check("rows_equal_ledger", table="json")["rows_equal_ledger"])["unlike_days"] == 1


# --- the rhythm of rows ----------------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
"""A Wednesday, three in the afternoon in Moscow."""
TODAY, YESTERDAY = date(2026, 3, 4), date(2026, 3, 3)


@pytest.fixture
def weeks(project: Callable[..., Config], warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Five weeks of 60 calls a day up to this moment, loaded; today a minute ago."""
    world = World(calls_per_day=60, now=lambda: NOW)
    for module in (recent_rows, usual_volume):
        monkeypatch.setattr(module, "utc_now", lambda: NOW)
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox, DagsterInstance.ephemeral() as instance:
        account = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "day_points": "{reserve: 0}"}
        # Nine of ten calls of a day vanish here: the load must not be refused.
        config = project(**account, tables="[calls_report]", loss_limit="{percent: 100}")
        load = Load(config, sandbox, warehouse, instance)
        load.run(TODAY - timedelta(days=35), TODAY)
        loaded(load, TODAY, NOW - timedelta(minutes=1))
        yield load


def loaded(load: Load, day: date, moment: datetime) -> None:
    """A day was loaded at that moment: the pipeline's clock is not the one of the test."""
    load.change("update comagic_ops.loaded_days set loaded_at = :moment where day = :day", day=day, moment=moment)


def silence(load: Load, since: str) -> None:
    """No call came from that time on."""
    load.change("delete from comagic_raw.calls_report where start_time >= cast(:since as timestamp)", since=since)


def test_silence_at_an_hour_that_is_never_silent(weeks: Load) -> None:
    """Green with calls, red after half a day without one; not judged while the report is not loaded."""
    told = weeks.check("recent_rows")["recent_rows"]
    assert told.passed
    assert figures(told)["known_weeks"] == 5
    silence(weeks, "2026-03-04 00:00:00")
    told = weeks.check("recent_rows")["recent_rows"]
    assert not told.passed
    assert told.severity is AssetCheckSeverity.WARN
    assert figures(told)["silent_hours"] > figures(told)["accepted_hours"] >= 2
    loaded(weeks, TODAY, NOW - timedelta(hours=4))
    assert weeks.check("recent_rows")["recent_rows"].passed


def test_silence_that_every_week_has(weeks: Load) -> None:
    """The same half day is nobody's business where Wednesdays begin in the evening."""
    for number in range(6):
        day = TODAY - timedelta(weeks=number)
        weeks.change(
            "delete from comagic_raw.calls_report where event_date = :day and start_time < :evening",
            day=day,
            evening=datetime.combine(day, datetime.min.time()) + timedelta(hours=18),
        )
    told = weeks.check("recent_rows")["recent_rows"]
    assert told.passed
    assert figures(told)["silent_hours"] > 12


def test_days_that_are_not_loaded_are_no_silence(weeks: Load) -> None:
    """Neither the missing days before today nor those of other weeks count; with too few weeks nothing is said."""
    silence(weeks, "2026-03-02 12:00:00")
    weeks.change("delete from comagic_ops.loaded_days where day in ('2026-03-02', '2026-03-03')")
    told = figures(weeks.check("recent_rows")["recent_rows"])
    assert told["silent_since"] == "2026-03-04 00:00:00"
    weeks.change("delete from comagic_ops.loaded_days where day in ('2026-02-25', '2026-02-18', '2026-02-11')")
    unknown = weeks.check("recent_rows")["recent_rows"]
    assert unknown.passed
    assert unknown.description is not None
    assert "Not enough history" in unknown.description


def test_a_day_with_a_tenth_of_its_calls(weeks: Load) -> None:
    """The last closed day is compared with its weekday; loaded right it is green again."""
    told = weeks.check("usual_volume")["usual_volume"]
    assert told.passed
    assert figures(told)["day"] == str(YESTERDAY)
    calls = weeks.sandbox.world.rows("get.calls_report", f"{YESTERDAY} 00:00:00", f"{YESTERDAY} 23:59:59")
    gone = [call["id"] for number, call in enumerate(calls) if number % 10]
    for call in gone:
        weeks.sandbox.world.delete("get.calls_report", call)
    told = weeks.run(YESTERDAY, YESTERDAY)["usual_volume"]
    assert not told.passed
    assert told.severity is AssetCheckSeverity.WARN
    assert figures(told)["rows"] == len(calls) - len(gone) < figures(told)["lower_bound"]
    for call in gone:
        weeks.sandbox.world.restore("get.calls_report", call)
    assert weeks.run(YESTERDAY, YESTERDAY)["usual_volume"].passed
    # One that was loaded before it was over is not judged.
    loaded(weeks, YESTERDAY, NOW - timedelta(days=1))
    assert figures(weeks.check("usual_volume")["usual_volume"])["day"] == "2026-03-02"


def test_the_sensor_tells_when_freshness_and_volume_change(weeks: Load) -> None:
    """Without a run, a quarter of an hour after the last look at the earliest, and each change once."""
    source = weeks.config.sources[0]
    sensor = continuation_sensor(weeks.config, source, SourceJobs.of(source, checks_of(source)), lambda: moments[-1])
    moments, cursor = [NOW], None

    def tell() -> dict[str, bool]:
        nonlocal cursor
        with build_sensor_context(instance=weeks.instance, cursor=cursor) as context:
            result = sensor(context)
        assert isinstance(result, SensorResult)
        cursor = result.cursor
        events = [event for event in result.asset_events if isinstance(event, AssetCheckEvaluation)]
        return {event.check_name: event.passed for event in events}

    first = tell()
    assert first.keys() == {"all_days_loaded", "points_suffice", "recent_rows", "usual_volume"}
    assert first["recent_rows"]
    assert first["usual_volume"]
    silence(weeks, "2026-03-04 00:00:00")
    weeks.change("update comagic_ops.loaded_days set rows = 3 where day = '2026-03-03'")
    moments.append(NOW + timedelta(minutes=14))
    assert tell() == {}
    moments.append(NOW + timedelta(minutes=15))
    assert tell() == {"recent_rows": False, "usual_volume": False}
    moments.append(NOW + timedelta(minutes=31))
    assert tell() == {}
