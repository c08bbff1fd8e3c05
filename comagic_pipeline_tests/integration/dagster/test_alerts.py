"""Who is told, and what: a receiver on this machine takes the messages that Apprise sends."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    SensorResult,
    build_sensor_context,
)

from comagic_pipeline.cli.main import cli
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.automation.sensors import alert_sensor
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import query
from comagic_pipeline_tests.integration.runs import failures, run_load

# Apprise imports it where the standard library still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRET = "s3cret-path"
TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


class Receiver:
    """Takes messages while it is `up`, and keeps them."""

    def __init__(self) -> None:
        self.up = True
        self.messages: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.up and SECRET in self.path:
                    receiver.messages.append(body)
                self.send_response(200 if receiver.up else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def taken(self) -> list[str]:
        """The messages since the last call, title and text."""
        texts = [f"{message['title']}\n{message['message']}" for message in self.messages]
        self.messages.clear()
        return texts


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver; its address is in the environment."""
    receiver = Receiver()
    monkeypatch.setenv("ALERTS_URL", f"json://127.0.0.1:{receiver.server.server_port}/{SECRET}")
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def settings() -> Settings:
    """How the sandbox behaves."""
    return Settings(minute_limit=10_000)


@pytest.fixture
def sandbox(settings: Settings) -> Iterator[Sandbox]:
    """A small account."""
    with running_sandbox(World(calls_per_day=5), settings) as sandbox:
        yield sandbox


@pytest.fixture
def configure(project: Callable[..., Config], sandbox: Sandbox) -> Callable[..., Config]:
    """A source of two days whose failures are told; keywords are of the source."""

    def write(urls: str = "['${ALERTS_URL}']", **source: Any) -> Config:
        values = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "start_date": str(YESTERDAY)}
        values |= {"tables": "[calls_report, tags, employees]", "day_points": "{reserve: 0}"}
        config = project(**values | source)
        config.path.write_text(f"{config.path.read_text()}alerts: {{urls: {urls}}}\n")
        return load_config(config.path)

    return write


def tick(
    config: Config, instance: DagsterInstance, now: datetime | None = None, cursor: str | None = None
) -> SensorResult:
    """One look of the sensor."""
    repository = build_definitions(config).get_repository_def()
    sensor = alert_sensor(config, lambda: now or datetime.now(UTC))
    with build_sensor_context(instance=instance, repository_def=repository, cursor=cursor) as context:
        result = sensor(context)
    assert isinstance(result, SensorResult)
    return result


def check(instance: DagsterInstance, name: str, asset: str, *, passed: bool, description: str) -> None:
    """Report the result of a check."""
    instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=AssetKey(["main", asset]),
            check_name=name,
            passed=passed,
            severity=AssetCheckSeverity.WARN,
            description=description,
            metadata={},
        )
    )


def test_one_wrong_key_is_one_message_and_its_end_another(
    configure: Callable[..., Config],
    receiver: Receiver,
    warehouse: Warehouse,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Three tables fail; journal, UI and message say the same; a receiver that is down hears of it later, once."""
    caplog.set_level(logging.DEBUG)
    with DagsterInstance.ephemeral() as instance:
        config = configure(token="wr0ng-key")
        result = run_load(config, instance, YESTERDAY, TODAY)
        assert not result.success
        lines = query(warehouse, "select table_name, message, next_step from comagic_ops.journal order by id")
        assert len(lines) == 3
        receiver.up = False
        refused = tick(config, instance)
        assert receiver.taken() == []
        receiver.up = True
        tick(config, instance, cursor=refused.cursor)
        (message,) = receiver.taken()
        tick(config, instance)
        assert receiver.taken() == []
        assert message.startswith("main: 3 tables failed\n")
        for line in lines:
            assert line["table_name"] in message
        assert any(line["message"] in message for line in lines)
        assert lines[0]["next_step"] in message
        assert any(line["message"] in failure for line in lines for failure in failures(result))
        result = run_load(configure(), instance, YESTERDAY, TODAY)
        assert result.success, failures(result)
        tick(config, instance)
        (message,) = receiver.taken()
        assert message.startswith("Over: main: 3 tables failed\n")
        assert "Over since " in message
        tick(config, instance)
        assert receiver.taken() == []
        written = str(query(warehouse, "select * from comagic_ops.alerts")) + caplog.text + str(refused)
        for secret in (SECRET, "wr0ng-key"):
            assert secret not in written
            assert secret not in message


def test_spent_points_are_told_with_the_hour_until_they_are_there_again(
    configure: Callable[..., Config], receiver: Receiver, settings: Settings, warehouse: Warehouse
) -> None:
    """By the clock of the account, and that nobody has to do anything."""
    settings.day_limit = 2
    with DagsterInstance.ephemeral() as instance:
        config = configure()
        assert not run_load(config, instance, YESTERDAY, TODAY).success
        tick(config, instance)
        (message,) = receiver.taken()
        (reset,) = query(warehouse, "select day_resets_at from comagic_ops.key_points")
        hour = reset["day_resets_at"].astimezone(config.sources[0].zone)
        assert message.startswith("main: the day's points are spent\n")
        assert f"it goes on by itself at {hour:%Y-%m-%d %H:%M} (Europe/Moscow)" in message
        tick(config, instance, reset["day_resets_at"] + timedelta(minutes=1))
        (message,) = receiver.taken()
        assert message.startswith("Over: main: the day's points are spent\n")


def test_red_checks_of_one_kind_are_one_message_and_so_is_their_end(
    configure: Callable[..., Config], receiver: Receiver
) -> None:
    """With severity and description; one that turns red later is told on its own."""
    reports = ["calls_report", "chats_report", "goals_report"]
    with DagsterInstance.ephemeral() as instance:
        config = configure(tables=f"[{', '.join(reports)}]")
        for report in reports[:2]:
            check(instance, "all_days_loaded", report, passed=False, description=f"2 days of {report} are missing")
        tick(config, instance)
        (message,) = receiver.taken()
        assert message.startswith("main: the check all_days_loaded is red: 2 tables\n")
        assert "(WARN)" in message
        assert all(f"2 days of {report} are missing" in message for report in reports[:2])
        check(instance, "all_days_loaded", reports[2], passed=False, description="late")
        tick(config, instance)
        (message,) = receiver.taken()
        assert message.startswith("goals_report: the check all_days_loaded of main is red (WARN)\nlate")
        for report in reports:
            check(instance, "all_days_loaded", report, passed=True, description="")
        tick(config, instance)
        (message,) = receiver.taken()
        assert message.startswith("Over: main: the check all_days_loaded is red: 3 tables\n")
        check(instance, "all_days_loaded", reports[0], passed=False, description="again")
        tick(config, instance)
        assert len(receiver.taken()) == 1


def test_a_run_without_a_line_of_the_journal_is_told(configure: Callable[..., Config], receiver: Receiver) -> None:
    """Until a later run of its job succeeds."""
    with DagsterInstance.ephemeral() as instance:
        config = configure()
        run = instance.add_run(DagsterRun("load_main", run_id="0" * 32, status=DagsterRunStatus.STARTED))
        instance.report_run_failed(run, "the process of this run is gone")
        tick(config, instance)
        (message,) = receiver.taken()
        assert message.startswith("A run of load_main failed")
        assert "the process of this run is gone" in message
        assert run_load(config, instance, YESTERDAY, TODAY).success
        tick(config, instance)
        (message,) = receiver.taken()
        assert message.startswith("Over: ")


def test_one_of_two_addresses_that_fails_gets_its_message_later(
    configure: Callable[..., Config], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is told once."""
    other = Receiver()
    monkeypatch.setenv("OTHER_URL", f"json://127.0.0.1:{other.server.server_port}/{SECRET}")
    with DagsterInstance.ephemeral() as instance:
        config = configure("['${ALERTS_URL}', '${OTHER_URL}']", tables="[calls_report]")
        check(instance, "all_days_loaded", "calls_report", passed=False, description="red")
        other.up = False
        result = tick(config, instance)
        assert len(receiver.taken()) == 1
        assert SECRET not in str(result.cursor)
        other.up = True
        result = tick(config, instance, cursor=result.cursor)
        assert (len(other.taken()), receiver.taken()) == (1, [])
        assert json.loads(str(result.cursor)) == []
    other.server.shutdown()
    other.server.server_close()


def test_an_address_without_its_variable_is_one_clear_line(
    configure: Callable[..., Config],
) -> None:
    """For the sensor and for doctor; without addresses there is no sensor."""
    config = configure("['json://${NOWHERE}']")
    said = "alerts.urls[0]: the environment variable NOWHERE is not set"
    with DagsterInstance.ephemeral() as instance:
        assert getattr(tick(config, instance).skip_reason, "skip_message", None) == said
    assert said in CliRunner().invoke(cli, ["doctor", "--tell"]).output
    names = {sensor.name for sensor in build_definitions(configure("[]")).get_repository_def().sensor_defs}
    assert names == {"continue_main", "heal_main"}


def test_doctor_tries_each_address(configure: Callable[..., Config], receiver: Receiver) -> None:
    """It says which one did not take the message, and shows no more of it than its scheme."""
    configure("['${ALERTS_URL}', 'json://127.0.0.1:1/s3cret-path', 'nonsense']")
    result = CliRunner().invoke(cli, ["doctor", "--tell"])
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.output.splitlines()] == ["ok", "MEND", "MEND"]
    assert len(receiver.taken()) == 1
    assert SECRET not in result.output
