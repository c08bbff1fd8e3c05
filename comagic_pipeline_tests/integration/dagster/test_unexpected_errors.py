"""A mistake of ours, raised in each layer: its innermost cause stands in one line wherever a person may look."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from dagster import DagsterInstance, SensorResult, build_sensor_context
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from comagic_pipeline.cli import main as cli
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.automation.sensors import alert_sensor
from comagic_pipeline.dagster.instance import STATE_VARIABLE
from comagic_pipeline.dagster.run_failures import failure_message, failure_of_run
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.failures import ERRORS_LOG, in_one_line, note_unexpected
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import query
from comagic_pipeline_tests.integration.runs import failures, run_load

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
REPORTS = "[{name: mine, report: calls_report, fields: [id], from_raw: false}]"
LAYERS = {
    "api": ("comagic_pipeline.api.client.Client.call", "calls_report"),
    "rows": ("comagic_pipeline.dagster.loads.report_load.ReportLoad._sorted_out", "calls_report"),
    "warehouse": ("comagic_pipeline.warehouse.load.DayLoad.write", "calls_report"),
    "dictionary": ("comagic_pipeline.dagster.assets.dictionaries.replace_dictionary", "campaigns"),
    "star": ("comagic_pipeline.dagster.assets.star.build", "comagic_calls_facts"),
}
"""Where an exception is raised, and the table whose load it ends."""


@pytest.fixture
def configure(project: Callable[..., Config]) -> Iterator[Callable[..., Config]]:
    """A source whose failures are told to an address that takes nothing."""
    with running_sandbox(World(calls_per_day=5), Settings(minute_limit=10_000)) as sandbox:

        def write(**source: Any) -> Config:
            values = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "start_date": str(YESTERDAY)}
            config = project(**values | {"day_points": "{reserve: 0}"} | source)
            config.path.write_text(f"{config.path.read_text()}alerts: {{urls: ['json://127.0.0.1:9/']}}\n")
            return load_config(config.path)

        yield write


def fail(*_: Any, **__: Any) -> NoReturn:
    """Fail as a mistake does: with one exception inside another, and line feeds."""
    try:
        raise ZeroDivisionError("the innermost\n cause")
    except ZeroDivisionError as error:
        raise LookupError("outside") from error


def alerts(config: Config, instance: DagsterInstance) -> list[str]:
    """What people would be told now."""
    sensor = alert_sensor(config, lambda: datetime.now(UTC))
    repository = build_definitions(config).get_repository_def()
    with build_sensor_context(instance=instance, repository_def=repository) as context:
        assert isinstance(sensor(context), SensorResult)
    with Warehouse(config.warehouse.url.resolve("url") if config.warehouse.url else "") as warehouse:
        return [line["message"] for line in query(warehouse, "select message from comagic_ops.alerts order by cause")]


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("place", "table"), LAYERS.values(), ids=LAYERS)
def test_the_innermost_cause_is_told_everywhere(
    place: str, table: str, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, warehouse: Warehouse
) -> None:
    """The terminal showed "Error occurred while executing op", the journal the name of a class, and no text."""
    config, cause = configure(), "ZeroDivisionError: the innermost cause"
    monkeypatch.setattr(place, fail)
    with DagsterInstance.ephemeral() as instance:
        result = run_load(config, instance, YESTERDAY, YESTERDAY)
        log = config.path.parent / ".comagic" / "dagster" / ERRORS_LOG
        told = f"{cause} (traceback in {log})"
        terminal = failure_message(result)
        assert terminal is not None
        assert terminal.endswith(told)
        assert failure_of_run(instance, result.run_id) == terminal
        assert any(line.endswith(told) and line.startswith(f"main/{table}") for line in failures(result))
        lines = query(warehouse, "select message, next_step from comagic_ops.journal where event = 'failed'")
        assert (told, "This is a mistake of comagic_pipeline: please report it with the traceback.") in [
            (line["message"], line["next_step"]) for line in lines
        ]
        assert any(told in message for message in alerts(config, instance))
    written = log.read_text()
    assert "LookupError: outside" in written
    assert "def fail" not in written
    assert "in fail" in written


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_a_run_that_cannot_open_the_warehouse_says_why(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line was "An exception was thrown during execution"."""
    config = configure()
    monkeypatch.setattr("comagic_pipeline.dagster.resources.open_warehouse", fail)
    with DagsterInstance.ephemeral() as instance:
        result = run_load(config, instance, YESTERDAY, YESTERDAY)
        assert failure_message(result) == "ZeroDivisionError: the innermost"
        assert any("ZeroDivisionError: the innermost" in message for message in alerts(config, instance))


@pytest.mark.parametrize("error", [RuntimeError("no\x1b[31m way"), KeyError("x")])
def test_a_command_ends_in_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake of ours ended a command in a traceback."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))

    def raise_it(**_: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(cli.cli, "main", raise_it)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith(f"Error: {type(error).__name__}: ")
    assert f"(traceback in {tmp_path / ERRORS_LOG})" in text
    assert "\x1b" not in text
    assert "in raise_it" in (tmp_path / ERRORS_LOG).read_text()
    assert (tmp_path / ERRORS_LOG).stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A read-only place ended a command in a traceback."""

    def write(**_: Any) -> None:
        (tmp_path / "nowhere" / "file").write_text("")

    monkeypatch.setattr(cli.cli, "main", write)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"Error: {tmp_path / 'nowhere' / 'file'}: No such file or directory\n"


def test_rows_stay_out_of_the_log_of_errors(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's own message of a constraint shows the row, which is personal data."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    with warehouse.begin() as connection:
        connection.execute(text("create table public.one (phone text primary key)"))
    phone = "+79990001122"
    insert = text("insert into public.one values (:phone), (:phone)")
    with pytest.raises(IntegrityError) as caught, warehouse.begin() as connection:
        connection.execute(insert, {"phone": phone})
    line = note_unexpected(caught.value)
    assert line.startswith('UniqueViolation: duplicate key value violates unique constraint "one_pkey"')
    assert in_one_line(caught.value) in line
    written = (tmp_path / ERRORS_LOG).read_text()
    assert "one_pkey" in written
    assert phone not in written + line
