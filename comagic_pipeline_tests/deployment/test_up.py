"""`up` with the embedded server, ended in the middle of a run: by its service manager, and by kill -9."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest
from dagster import AssetKey, DagsterRunStatus
from sqlalchemy import func, select

from comagic_pipeline.config import CONFIG_VARIABLE, Config, load_config
from comagic_pipeline.dagster.automation.recovery import close_silent_runs, recover
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE, open_instance
from comagic_pipeline.operations.connections import embedded_folder, open_warehouse
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.embedded import status
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline_tests.deployment.command_line import eventually
from comagic_pipeline_tests.deployment.services import Services, living_processes

CALLS = "get.calls_report"
FIRST, LAST = date(2025, 1, 1), date(2025, 1, 30)
PROJECT = """
sources:
  - {{name: main, account_id: 1, base_url: "{url}", token: {token}, start_date: 2025-01-01,
     tables: [comagic_calls_facts]}}
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account whose calls come 100 a page; the fourth page takes its time."""
    settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=100))
    with running_sandbox(World(calls_per_day=20), settings) as sandbox:
        sandbox.faults.add(Fault(kind="slow_answer", method=CALLS, seconds=10, after=3))
        yield sandbox


@pytest.fixture
def config(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A project without any server of its own: warehouse and Dagster's storage are embedded."""
    for variable in (STORAGE_VARIABLE, "DAGSTER_HOME", "COMAGIC_STATE_FOLDER", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    path = tmp_path / "comagic.yaml"
    path.write_text(PROJECT.format(url=sandbox.url, token=SANDBOX_TOKEN))
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    return load_config(path)


def days(config: Config) -> tuple[set[str], int]:
    """The days that Dagster shows green, and the number of those in the ledger."""
    with open_instance(config) as instance, open_warehouse(config) as warehouse, warehouse.connect() as connection:
        green = instance.get_materialized_partitions(AssetKey(["main", "calls_report"]))
        return green, connection.scalar(select(func.count()).select_from(ops.loaded_days)) or 0


def in_the_middle_of_a_run(config: Config) -> Services:
    """The services with a run that has loaded some days and waits for more."""
    services = Services(config.path.parent)
    services.launch_run("main", FIRST, LAST)
    services.wait(lambda: days(config)[1])
    return services


def test_a_stop_ends_everything_and_keeps_the_days(config: Config) -> None:
    """SIGTERM: no process is left, the embedded server included; the run failed and its days are green."""
    services = in_the_middle_of_a_run(config)
    assert services.stop(signal.SIGTERM) == 130
    eventually(lambda: not living_processes(config.path.parent))
    green, loaded = days(config)
    assert 0 < len(green) == loaded < 30
    with open_instance(config) as instance:
        assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.FAILURE]


def test_after_a_crash_the_days_are_shown_and_the_run_is_over(config: Config) -> None:
    """Everything is killed at once, as when the machine fails: the next start finds the days and closes the run."""
    services = in_the_middle_of_a_run(config)
    for pid in living_processes(config.path.parent):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    services.process.communicate()
    eventually(lambda: not living_processes(config.path.parent))
    green, loaded = days(config)
    assert (len(green), loaded > 0) == (0, True)
    with open_instance(config) as instance, open_warehouse(config) as warehouse:
        # The run began a moment ago: a minute later nobody can believe any more that it is about to take its lock.
        close_silent_runs(config, instance, warehouse, clock=lambda: time.time() + 60)
        recover(config, instance, warehouse)
        assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.FAILURE]
    assert len(days(config)[0]) == loaded


def test_kill_leaves_no_service_behind(config: Config) -> None:
    """kill -9 of `up`: web server and daemon follow it, the embedded server follows them, and it starts again.

    kill -9 of the embedded server: `up` starts it again; its services could not.
    """
    services = Services(config.path.parent)
    services.stop(signal.SIGKILL)
    eventually(lambda: not living_processes(config.path.parent))
    with Services(config.path.parent) as again:
        assert again.page("/").status_code == 200
        strangers_are_refused(again.port)
        folder = embedded_folder(config)
        killed = status(folder).pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        again.wait(lambda: status(folder).pid not in (None, killed))
        assert again.green("main", "calls_report") == set()


def strangers_are_refused(port: int) -> None:
    """Any page that a browser on the machine opened could launch runs, by GET or under a name of its own."""
    own, mutation = f"127.0.0.1:{port}", 'mutation { stopRunningSchedule(id: "x") { __typename } }'
    read = "{ version }"

    def answer(method: str, query: str, **headers: str) -> httpx.Response:
        sent = {"params": {"query": query}} if method == "GET" else {"json": {"query": query}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(method, f"http://{own}/graphql", headers=named, timeout=30, **sent)  # type: ignore[arg-type]

    assert answer("POST", read).json()["data"]["version"]
    assert answer("POST", read, Origin=f"http://{own}", Sec_Fetch_Site="same-origin").status_code == 200
    assert answer("POST", read, Host=f"localhost:{port}").status_code == 200
    refused = [
        answer("GET", mutation),
        answer("GET", read),
        answer("POST", mutation, Origin="https://elsewhere.example"),
        answer("POST", mutation, Origin="null"),
        answer("POST", mutation, Origin="http://127.0.0.1:1"),
        answer("POST", mutation, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors"),
        answer("POST", mutation, Host="elsewhere.example"),
        answer("POST", mutation, Host=f"127.0.0.1.elsewhere.example:{port}"),
    ]
    assert [(each.status_code, each.text.count("\n")) for each in refused] == [(403, 1)] * len(refused)
    assert "--allow-host elsewhere.example" in refused[-2].text
