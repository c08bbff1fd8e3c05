"""The journal: who began a run, what it changed, what to do where it failed; and the command that shows it."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from dagster import DagsterInstance, DagsterRun
from sqlalchemy import text

from comagic_pipeline.api.errors import DayPointsSpentError, api_error
from comagic_pipeline.cli.main import cli
from comagic_pipeline.config import Config, ConfigError
from comagic_pipeline.dagster.runs import trigger_of
from comagic_pipeline.operations.next_steps import next_step
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.dagster.test_custom_report_runs import run_job
from comagic_pipeline_tests.integration.raw_reference import query
from comagic_pipeline_tests.integration.runs import run_load

FIRST, LAST = date(2026, 3, 2), date(2026, 3, 5)
CHANGED = "select table_name, event, rows, added, updated, deleted from comagic_ops.journal order by id"


def changed(warehouse: Warehouse, table: str) -> tuple[int, int, int]:
    """Rows added, updated and deleted by the last load of a table."""
    line = query(warehouse, CHANGED + " desc limit 100")
    last = next(each for each in line if each["table_name"] == table)
    assert last["event"] == "done"
    return last["added"], last["updated"], last["deleted"]


def execute(warehouse: Warehouse, *statements: str) -> None:
    with warehouse.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize(
    ("tags", "trigger"),
    [
        ({"dagster/schedule_name": "load_main_nightly"}, "schedule load_main_nightly"),
        ({"dagster/sensor_name": "continue_main"}, "sensor continue_main"),
        ({"dagster/backfill": "abcd"}, "backfill abcd"),
        ({"comagic/command": "load"}, "command load"),
        ({}, "person"),
    ],
)
def test_the_tags_of_a_run_tell_who_began_it(tags: dict[str, str], trigger: str) -> None:
    """Anything without such a tag was launched by a person."""
    assert trigger_of(DagsterRun("job", tags=tags)) == trigger


def test_lines_tell_what_changed(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """Of reports, dictionaries, the star and custom reports; rows that stay as they are do not count."""
    reports = [
        {"name": "json", "report": "calls_report", "fields": ["id", "talk_duration"], "from_raw": False},
        {"name": "own", "report": "calls_report", "fields": ["id", "talk_duration"], "structure": "auto"},
    ]
    world = World(calls_per_day=5, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox, DagsterInstance.ephemeral() as instance:
        config = project(json.dumps(reports), base_url=sandbox.url, token=SANDBOX_TOKEN)

        def load() -> None:
            assert run_load(config, instance, FIRST, LAST).success
            for job in ("report_main__json", "report_main__own"):
                assert run_job(config, instance, job).success

        load()
        calls = len(query(warehouse, "select 1 from comagic_raw.calls_report"))
        assert calls
        assert changed(warehouse, "calls_report") == (calls, 0, 0)
        assert changed(warehouse, "campaigns")[1:] == (0, 0)
        assert changed(warehouse, "comagic_calls_facts")[0] >= calls
        load()
        for table in ("calls_report", "campaigns", "comagic_calls_facts", "json", "own"):
            assert changed(warehouse, table) == (0, 0, 0), table
        execute(
            warehouse,
            "delete from comagic_raw.calls_report where id = (select min(id) from comagic_raw.calls_report)",
            "update comagic_raw.calls_report set talk_duration = -1, tags = null"
            " where id = (select max(id) from comagic_raw.calls_report)",
            "insert into comagic_raw.campaigns select (jsonb_populate_record(c, '{\"id\": -5}')).*"
            " from comagic_raw.campaigns as c limit 1",
        )
        load()
        assert changed(warehouse, "calls_report") == (1, 1, 0)
        assert changed(warehouse, "campaigns") == (0, 0, 1)
        assert {line["trigger"] for line in query(warehouse, "select trigger from comagic_ops.journal")} == {"person"}


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (api_error("get.calls", code=None, mnemonic="access_token_blocked", message=""), "Unblock the key in the"),
        (api_error("get.calls", code=-32603, mnemonic=None, message=""), "Nothing at first: it is tried again"),
        (api_error("get.calls", code=None, mnemonic="wrong_thing", message=""), "See whether there is a newer version"),
        (
            DayPointsSpentError("", datetime(2026, 3, 2, 21, tzinfo=UTC)),
            "Nothing: it goes on by itself at 2026-03-03 00:00 (Europe/Moscow).",
        ),
        (ConfigError(""), "Correct the configuration"),
    ],
)
def test_an_error_has_a_next_step(project: Callable[..., Config], error: Exception, step: str) -> None:
    """By the API's name for it, else by its class; hours are the account's."""
    zone = project(token="x", base_url="sandbox").sources[0].zone
    assert (next_step(error, zone) or "").startswith(step)


def test_a_failure_says_what_to_do_in_the_journal_and_in_the_ui(
    project: Callable[..., Config], warehouse: Warehouse
) -> None:
    """The same words in both; the command shows them, in Russian too, and filters lines."""
    world = World(calls_per_day=5, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox, DagsterInstance.ephemeral() as instance:
        config = project(base_url=sandbox.url, token=SANDBOX_TOKEN)
        sandbox.faults.add(Fault(kind="error", method="get.calls_report", mnemonic="access_token_blocked"))
        result = run_load(config, instance, FIRST, LAST)
        (event,) = [each for each in result.get_step_failure_events() if each.step_failure_data.user_failure_data]
        failure: Any = event.step_failure_data.user_failure_data
        (line,) = query(warehouse, "select * from comagic_ops.journal where event = 'failed'")
        assert line["message"] in failure.description
        assert line["next_step"] == failure.metadata["next_step"].value
        assert line["next_step"].startswith("Unblock the key in the account")

    def shown(*options: str) -> str:
        result = CliRunner().invoke(cli, ["journal", *options], env={"COLUMNS": "250"})
        assert result.exit_code == 0, result.output
        return result.output

    assert line["next_step"] in shown()
    russian = shown("--status", "failed", "--lang", "ru")
    assert "Разблокируйте ключ или создайте новый; затем загрузите дни снова." in russian
    assert "ключ заблокирован" in russian
    assert "campaigns" not in russian
    lines = json.loads(shown("--json", "--table", "campaigns", "--source", "main"))
    assert [(each["event"], each["table_name"], each["trigger"]) for each in lines] == [("done", "campaigns", "person")]
    today = datetime.now(config.sources[0].zone).date()
    assert len(json.loads(shown("--json", "--day", str(today)))) == 2
    assert json.loads(shown("--json", "--day", str(today - timedelta(days=9)))) == []
    assert len(json.loads(shown("--json", "--lines", "1"))) == 1
