"""The one code server of `up`: what it costs, a change of the configuration, and its death."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from comagic_pipeline.config import Config
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.deployment.command_line import eventually
from comagic_pipeline_tests.deployment.services import Services, living_processes

_SENSORS = """{ sensorsOrError(repositorySelector: {repositoryName: "__repository__",
    repositoryLocationName: "comagic_pipeline"}) { ... on Sensors {
        results { name sensorState { status ticks(limit: 1) { status } } } } } }"""
_RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "comagic_pipeline") {
    ... on WorkspaceLocationEntry { locationOrLoadError {
        __typename ... on PythonError { causes { message } } } } } }"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small account."""
    with running_sandbox(World(calls_per_day=5), Settings(minute_limit=10_000)) as sandbox:
        yield sandbox


@pytest.fixture
def config(project: Callable[..., Config], sandbox: Sandbox) -> Config:
    """A source of that account."""
    return project(base_url=sandbox.url, token=SANDBOX_TOKEN, refresh_days=1)


def code_servers(folder: Path, words: str) -> set[int]:
    """The pids of the processes of the project with these words in their command."""
    found = set()
    for pid in living_processes(folder):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if words in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.add(pid)
    return found


def is_replaced(folder: Path, words: str, killed: int) -> bool:
    """Whether another process has these words in its command."""
    return bool(code_servers(folder, words) - {killed}) and len(code_servers(folder, "api grpc")) == 1


def sensors(services: Services) -> dict[str, Any]:
    """The sensors that the web server knows, and their latest ticks; none while it has no definitions."""
    found = services.query(_SENSORS).get("results", [])
    return {each["name"]: each["sensorState"] for each in found}


def reload_definitions(services: Services) -> Any:
    """Press the button."""
    return services.query(_RELOAD)["locationOrLoadError"]


def test_web_server_and_daemon_share_a_code_server_that_stays(config: Config) -> None:
    """The daemon started a code server of its own every minute, at 5 s of CPU each, and replaced that again.

    "Reload definitions" takes what has changed in comagic.yaml, and shows what is wrong with it.
    """
    folder, text = config.path.parent, config.path.read_text()
    with Services(folder) as services:
        place = yaml.safe_load((folder / ".comagic" / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
        assert place["location_name"] == "comagic_pipeline"
        proxy, definitions = code_servers(folder, "code-server start"), code_servers(folder, "api grpc")
        assert (len(proxy), len(definitions)) == (1, 1)
        services.wait(lambda: sensors(services)["continue_main"]["ticks"])
        logs = {log: log.read_text() for log in (folder / ".comagic").glob("*.log")}
        time.sleep(75)
        assert (code_servers(folder, "code-server start"), code_servers(folder, "api grpc")) == (proxy, definitions)
        assert {log: log.read_text() for log in logs} == logs

        config.path.write_text(text.replace("name: main", "name: other"))
        assert reload_definitions(services)["__typename"] == "RepositoryLocation"
        assert set(sensors(services)) == {"continue_other", "heal_other"}
        services.wait(lambda: sensors(services)["continue_other"]["ticks"])
        services.wait(lambda: code_servers(folder, "api grpc") & definitions == set())

        config.path.write_text("nonsense: 1\n")
        assert "nonsense" in str(reload_definitions(services)["causes"])
        time.sleep(15)
        assert code_servers(folder, "code-server start") == proxy, "an error in the configuration is no crash"
        config.path.write_text(text)
        assert reload_definitions(services)["__typename"] == "RepositoryLocation"
        assert set(sensors(services)) == {"continue_main", "heal_main"}


def test_a_code_server_that_is_killed_starts_again(config: Config) -> None:
    """Both of its processes, one after the other: the daemon goes on with its sensors, and `up` says so."""
    folder = config.path.parent
    with Services(folder) as services:
        for words in ("api grpc", "code-server start"):
            (killed,) = code_servers(folder, words)
            os.kill(killed, signal.SIGKILL)
            services.wait(partial(is_replaced, folder, words, killed))
            services.wait(lambda: sensors(services).keys() == {"continue_main", "heal_main"})
        assert services.stop(signal.SIGTERM) == 130
        said = services.said
    log = folder / ".comagic" / "dagster-code-server.log"
    assert f"the process with the definitions ended; see {log}; started again" in said
    assert f"dagster-code-server ended with exit code -9; see {log}; started again" in said
    eventually(lambda: not living_processes(folder))
