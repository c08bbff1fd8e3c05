"""Rows that a load would remove: too many of a closed day stay and people are told, others are kept for a while."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from dagster import AssetCheckSeverity, AssetKey, DagsterInstance
from sqlalchemy import text

from comagic_pipeline.catalog import tables
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.alerts import look
from comagic_pipeline.dagster.automation.healing import choose
from comagic_pipeline.dagster.runs import ACCEPTS_LOSS
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.notifier import Post
from comagic_pipeline.operations.translations import text_in
from comagic_pipeline.operations.views import make_views
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.load import DayLoad
from comagic_pipeline.warehouse.losses import LossLimit, Protection
from comagic_pipeline.warehouse.ops.doubtful_days import doubtful_days
from comagic_pipeline.warehouse.ops.reconciliation import DifferentDay
from comagic_pipeline.warehouse.previous_rows import purge_removed
from comagic_pipeline.warehouse.raw.target import RawTarget
from comagic_pipeline.warehouse.target import Account
from comagic_pipeline_tests.integration.dagster.test_doubtful_days import results
from comagic_pipeline_tests.integration.raw_reference import journal, query
from comagic_pipeline_tests.integration.runs import run_load

FIRST, SECOND, THIRD = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)
LIMIT = Protection(LossLimit(20, 10), today=date(2026, 6, 1))
NOW = datetime(2026, 6, 1, tzinfo=UTC)

# --- loads of rows ---------------------------------------------------------------------------------------------------

Call: Any = msgspec.defstruct("Call", [(column.name, Any, None) for column in tables()["calls_report"].columns])
Stat: Any = msgspec.defstruct("Stat", [(column.name, Any, None) for column in tables()["campaign_daily_stat"].columns])


def calls(count: int, day: date = FIRST, **columns: Any) -> list[Any]:
    """Calls at noon with the ids from 1."""
    noon = datetime.combine(day, datetime.min.time()) + timedelta(hours=12)
    return [Call(id=number, start_time=noon, **columns) for number in range(1, count + 1)]


def stats(count: int, **columns: Any) -> list[Any]:
    """Rows of a report whose key is not unique: each twice."""
    return [Stat(date=FIRST, site_id=1, campaign_id=number // 2, **columns) for number in range(count)]


def load(
    warehouse: Warehouse,
    rows: list[Any],
    protection: Protection = LIMIT,
    table: str = "calls_report",
    filter_text: str | None = None,
) -> DayLoad:
    """Replace a day."""
    target = RawTarget(tables()[table])
    with DayLoad(warehouse, target, Account(1), "run", filter_text=filter_text, protection=protection) as days:
        days.write(FIRST, FIRST, rows, ())
        days.complete(FIRST, FIRST, 1)
    return days


def ids(warehouse: Warehouse, table: str = "calls_report", column: str = "id") -> list[Any]:
    """What the raw table has."""
    return [row[column] for row in query(warehouse, f"select {column} from comagic_raw.{table} order by 1")]


def removed(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Table, day and key of the rows that are kept aside."""
    sql = "select table_name, day, row_key from comagic_ops.removed_rows order by id"
    return [(row["table_name"], row["day"], row["row_key"]) for row in query(warehouse, sql)]


@pytest.mark.parametrize(
    ("before", "after", "is_refused"),
    [(100, 80, False), (100, 79, True), (49, 40, False), (49, 39, True), (12, 0, True), (9, 0, False), (0, 0, False)],
)
def test_the_limit_is_a_share_and_a_number(warehouse: Warehouse, before: int, after: int, is_refused: bool) -> None:
    """More than 20 percent and at least ten rows; a day that is refused is as it was, to the last value."""
    load(warehouse, calls(before))
    sql = "select * from comagic_raw.calls_report order by id"
    held, line = query(warehouse, sql), query(warehouse, "select * from comagic_ops.loaded_days")
    days = load(warehouse, calls(after, visitor_city="other"))
    assert (FIRST in days.refused) is is_refused
    assert len(ids(warehouse)) == (before if is_refused else after)
    with warehouse.connect() as connection:
        marked = doubtful_days(connection, 1, "calls_report")
    assert [(each.rows, each.refused_rows) for each in marked] == ([(before, after)] if is_refused else [])
    assert len(removed(warehouse)) == (0 if is_refused else before - after)
    if is_refused:
        assert query(warehouse, sql) == held
        now = query(warehouse, "select * from comagic_ops.loaded_days")
        marks = {"refused_rows", "refused_at"}
        assert [{k: v for k, v in each.items() if k not in marks} for each in now] == [
            {k: v for k, v in each.items() if k not in marks} for each in line
        ]


def test_rows_that_arrive_do_not_make_up_for_those_that_vanish(warehouse: Warehouse) -> None:
    """As many rows with other keys: the old ones are kept; a change of all values is no loss."""
    load(warehouse, calls(30))
    load(warehouse, calls(30, visitor_city="other"))
    assert removed(warehouse) == []
    others = calls(60)[30:]
    assert load(warehouse, others).refused
    assert ids(warehouse) == [*range(1, 31)]
    load(warehouse, others, Protection(None, LIMIT.today))
    assert ids(warehouse) == [*range(31, 61)]
    assert removed(warehouse) == [("calls_report", FIRST, str(number)) for number in range(1, 31)]
    assert query(warehouse, "select row ->> 'visitor_city' as city from comagic_ops.removed_rows limit 1") == [
        {"city": "other"}
    ]


def test_today_and_another_filter_are_never_refused(warehouse: Warehouse) -> None:
    """A day that is not over has no final number of rows; another filter wants other rows."""
    load(warehouse, calls(30))
    assert not load(warehouse, [], Protection(LIMIT.limit, today=FIRST)).refused
    load(warehouse, calls(30))
    assert not load(warehouse, calls(1), filter_text="is_lost = true").refused
    load(warehouse, calls(30), filter_text="is_lost = true")
    assert load(warehouse, calls(1), filter_text="is_lost = true").refused


def test_what_was_rejected_of_a_refused_day_stays(warehouse: Warehouse) -> None:
    """The rejected values belong to the rows that are kept."""
    load(warehouse, calls(30))
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "insert into comagic_ops.rejected_rows"
                " (account_id, customer_user_id, table_name, event_date, row_key, value, reason, loaded_at)"
                " values (1, 0, 'calls_report', :day, '7', 'odd', 'why', now())"
            ),
            {"day": FIRST},
        )
    held = query(warehouse, "select * from comagic_ops.rejected_rows")
    assert load(warehouse, calls(2)).refused
    assert query(warehouse, "select * from comagic_ops.rejected_rows") == held


def test_a_report_without_a_unique_key(warehouse: Warehouse) -> None:
    """Changed rows are no loss however many; of equal keys as many vanish as come fewer, and they are kept."""
    table = "campaign_daily_stat"
    load(warehouse, stats(40), table=table)
    assert not load(warehouse, stats(40, cost_sum=5), table=table).refused
    assert removed(warehouse) == []
    assert load(warehouse, stats(20), table=table).refused
    assert len(ids(warehouse, table, "campaign_id")) == 40
    load(warehouse, stats(39, cost_sum=7), table=table)
    (row,) = query(warehouse, "select row from comagic_ops.removed_rows")
    assert (row["row"]["campaign_id"], row["row"]["cost_sum"]) == (19, 5)


def test_removed_rows_are_kept_for_a_while_or_not_at_all(warehouse: Warehouse) -> None:
    """Old ones are purged, those of other accounts not; switched off nothing is kept."""
    load(warehouse, calls(30))
    load(warehouse, calls(28))
    now = datetime.now(UTC)
    with warehouse.begin() as connection:
        assert purge_removed(connection, 2, 0, now) == 0
        assert purge_removed(connection, 1, 30, now + timedelta(days=29)) == 0
        assert purge_removed(connection, 1, 30, now + timedelta(days=31)) == 2
    load(warehouse, calls(27), Protection(LIMIT.limit, LIMIT.today, keeps_removed=False))
    assert removed(warehouse) == []


# --- runs ------------------------------------------------------------------------------------------------------------

REPORTS = [
    {"name": "json", "report": "calls_report", "fields": ["id", "talk_duration"], "schedule": "off"},
    {"name": "no key", "report": "calls_report", "fields": ["talk_duration"], "schedule": "off"},
    {"name": "table", "report": "calls_report", "fields": ["id", "talk_duration"], "structure": "auto"},
]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account with about 40 calls a day."""
    world = World(calls_per_day=40, now=lambda: NOW)
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox:
        yield sandbox


@pytest.fixture
def configure(project: Callable[..., Config], sandbox: Sandbox) -> Callable[..., Config]:
    """Writes the configuration of the account."""

    def write(custom_reports: str = "[]", **source: Any) -> Config:
        values = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "day_points": "{reserve: 0}"}
        return project(custom_reports, **values | {"tables": "[calls_report]"} | source)

    return write


def forget(sandbox: Sandbox, day: date, keep: int = 0) -> int:
    """Delete the calls of a day from the account, but the first ones; return how many there were."""
    rows = sandbox.world.rows("get.calls_report", f"{day} 00:00:00", f"{day} 23:59:59")
    for row in rows[keep:]:
        sandbox.world.delete("get.calls_report", row["id"])
    return len(rows)


def test_a_day_that_the_api_forgot_is_kept_and_told_of(
    configure: Callable[..., Config], sandbox: Sandbox, warehouse: Warehouse
) -> None:
    """Loaded history was replaced by nothing: done, exit 0, `deleted 175`, no warning.

    The other days of the window load; ledger, check, journal and alert name the day; nothing stays pending.
    """
    config = configure()
    with DagsterInstance.ephemeral() as instance:
        run_load(config, instance, FIRST, THIRD)
        sql = "select * from comagic_raw.calls_report where event_date = '2026-03-03' order by id"
        held = query(warehouse, sql)
        assert forget(sandbox, SECOND) == len(held)
        forget(sandbox, THIRD, keep=-5)
        loaded = run_load(config, instance, FIRST, THIRD)
        assert loaded.success
        assert query(warehouse, sql) == held
        assert len(removed(warehouse)) == 5
        assert {each[1] for each in removed(warehouse)} == {THIRD}
        assert query(warehouse, "select * from comagic_ops.waiting_days") == []
        found = results(instance, loaded.run_id)
        assert {day for day, each in found.items() if not each.passed} == {str(SECOND)}
        assert found[str(SECOND)].severity is AssetCheckSeverity.ERROR
        assert found[str(SECOND)].metadata["refused_rows"].value == 0
        ((table, message),) = journal(warehouse, "refused")
        assert table == "calls_report"
        assert message.endswith(f": {SECOND} has {len(held)}, the answer 0")
        russian = text_in("ru", message)
        assert f"{SECOND}: было {len(held)}, в ответе 0" in russian
        assert "keep" not in russian
        keys = build_definitions(config).resolve_asset_graph().asset_check_keys
        told = look(config, instance, warehouse, keys, Post(config), NOW)
        assert told.causes
        (alert,) = query(warehouse, "select message from comagic_ops.alerts where cause like '%no_doubtful_days'")
        assert "(ERROR) on 1 days, from 2026-03-03" in alert["message"]
        # A field of the Launchpad takes the loss on purpose.
        job = build_definitions(config).resolve_job_def("load_main")
        result = job.execute_in_process(
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {"main_calls_report": {"config": {"accept_loss": True}}},
            },
            instance=instance,
            asset_selection=[AssetKey(["main", "calls_report"])],
            partition_key=str(SECOND),
        )
        assert result.success
        assert query(warehouse, sql) == []
        assert len(removed(warehouse)) == 5 + len(held)
        assert all(each.passed for each in results(instance, result.run_id).values())


def test_custom_reports_keep_their_rows_too(
    configure: Callable[..., Config], sandbox: Sandbox, warehouse: Warehouse
) -> None:
    """As JSON, with or without a key in the texts, and in a table; with the tag of the commands they go."""
    config = configure(json.dumps(REPORTS), tables="[tags]")
    counts = "select (select count(*) from comagic.comagic_reports) as json, (select count(*) from {}) as rows"
    table = next(each for each in config.sources[0].custom_reports if each.name == "table").home.table_names[0]
    counts = counts.format(f"comagic.{table}")
    names = [report.asset_name for report in config.sources[0].custom_reports]
    with DagsterInstance.ephemeral() as instance:
        for name in names:
            assert run_load(config, instance, FIRST, FIRST, name, job=f"report_main__{name}").success
        held = query(warehouse, counts)
        rows = forget(sandbox, FIRST, keep=2)
        for name in names:
            assert run_load(config, instance, FIRST, FIRST, name, job=f"report_main__{name}").success
        assert query(warehouse, counts) == held == [{"json": 2 * rows, "rows": rows}]
        assert [name for name, _ in journal(warehouse, "refused")] == names
        assert removed(warehouse) == []
        for name in names:
            job = build_definitions(config).resolve_job_def(f"report_main__{name}")
            result = job.execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=instance,
                partition_key=str(FIRST),
                tags={ACCEPTS_LOSS: "yes"},
            )
            assert result.success
        assert query(warehouse, counts) == [{"json": 4, "rows": 2}]
        kept = [name for name, _, _ in removed(warehouse)]
        assert kept.count(table) == rows - 2
        assert kept.count("comagic_reports") >= rows - 2


def test_a_dictionary_that_shrinks_keeps_its_rows(
    configure: Callable[..., Config], sandbox: Sandbox, warehouse: Warehouse
) -> None:
    """The whole table stays as it was, its history too; the journal and an alert say so."""
    config = configure(tables="[campaigns]")
    with DagsterInstance.ephemeral() as instance:
        run_load(config, instance, FIRST, FIRST, "campaigns")
        held = query(warehouse, "select * from comagic_raw.campaigns order by id")
        assert len(held) >= 10
        for row in held:
            sandbox.world.delete("get.campaigns", row["id"])
        assert run_load(config, instance, FIRST, FIRST, "campaigns").success
        assert query(warehouse, "select * from comagic_raw.campaigns order by id") == held
        ((_, message),) = journal(warehouse, "refused")
        assert message.startswith(f"the table keeps its {len(held)} rows because the answer, with 0")
        assert "в таблице оставлено строк" in text_in("ru", message)
        look(config, instance, warehouse, [], Post(config), datetime.now(UTC))
        assert query(warehouse, "select cause from comagic_ops.alerts") == [{"cause": "refused\nmain\ncampaigns"}]


def test_healing_leaves_refused_days_to_a_person(configure: Callable[..., Config]) -> None:
    """A load that was refused once would be refused again, day after day."""
    source = configure().sources[0]
    different = DifferentDay("calls_report", FIRST, NOW, 1, None, NOW - timedelta(days=1), NOW)
    assert choose(source, [different], 10) == "1 days differ and did not get right"


# --- views of custom reports -----------------------------------------------------------------------------------------


def test_a_changed_structure_does_not_stop_the_views(configure: Callable[..., Config], warehouse: Warehouse) -> None:
    """Views were made of the configuration before the table was altered: `column this.waiting does not exist`."""
    structure = {"table": "my_calls", "columns": {"id": {"path": "id", "type": "integer"}}}
    report: dict[str, Any] = {"name": "r", "report": "calls_report", "structure": [structure]}
    config = configure(json.dumps([report]))
    columns = "select column_name as name from information_schema.columns where table_name = 'CM my_calls'"
    with DagsterInstance.ephemeral() as instance:
        assert run_load(config, instance, FIRST, FIRST, "r", job="report_main__r").success
        assert "id" in {row["name"] for row in query(warehouse, columns)}
        structure["columns"]["waiting"] = {"path": "wait_duration", "type": "integer"}  # type: ignore[index]
        config = configure(json.dumps([report]))
        assert make_views(config, warehouse) == []
        assert "waiting" not in {row["name"] for row in query(warehouse, columns)}
        assert run_load(config, instance, FIRST, FIRST, "r", job="report_main__r").success
        assert {"id", "waiting"} <= {row["name"] for row in query(warehouse, columns)}
        # A column that the structure has no more stays in the table, and so in the view.
        del structure["columns"]["waiting"]  # type: ignore[attr-defined]
        config = configure(json.dumps([report]))
        assert make_views(config, warehouse) == []
        assert {"id", "waiting"} <= {row["name"] for row in query(warehouse, columns)}


def test_a_view_that_cannot_be_made_is_a_warning(configure: Callable[..., Config], warehouse: Warehouse) -> None:
    """Somebody's type has its name: the view is named with the cause, all others are made."""
    config = configure()
    with warehouse.begin() as connection:
        connection.execute(text("create schema comagic_views"))
        connection.execute(text('create domain comagic_views."CM Звонки" as text'))
        connection.execute(text('create table comagic_views."CM Теги" (x int)'))
    warnings = [line for line in make_views(config, warehouse) if "CM " in line]
    count = query(warehouse, "select count(*) as n from information_schema.views where table_schema = 'comagic_views'")
    assert count[0]["n"] > 10
    assert all("could not be made" in line or "is not the pipeline's" in line for line in warnings)
    assert warnings
