"""Other people's Dagster: what they export for it neither brings us to its instance nor changes how ours works."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance
from sqlalchemy import create_engine, text

from comagic_pipeline.cli.services import free_port
from comagic_pipeline.config import Config, ConfigError
from comagic_pipeline.dagster.environment import PROJECT_FOLDER, environment, instance_home
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE, open_instance
from comagic_pipeline_tests.deployment.command_line import PATIENCE, error, eventually, run, start

THEIRS = "telemetry: {enabled: false}\n"


@pytest.fixture
def config(project: Callable[..., Config]) -> Config:
    """A source that nobody asks for anything."""
    return project(base_url="http://127.0.0.1:9/v2.0", token="x")


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("kind", ["used", "empty", "missing"])
def test_the_home_of_another_project_is_refused(tmp_path: Path, kind: str) -> None:
    """`doctor` upgraded its storage, `load` wrote its runs there; one that does not exist was a traceback."""
    home = tmp_path / "other_project"
    if kind != "missing":
        home.mkdir()
    if kind == "used":
        (home / "dagster.yaml").write_text(THEIRS)
        with DagsterInstance.from_config(str(home)) as instance:
            assert instance.get_runs_count() == 0
    before = contents(tmp_path)
    for command in (("load", "--from", "2026-01-01", "--till", "2026-01-01"), ("up", "--port", "3999"), ("reconcile",)):
        message = error(run(*command, DAGSTER_HOME=str(home)), 2)
        assert message.startswith(f"DAGSTER_HOME {home} is not the home of this project")
        assert "unset DAGSTER_HOME" in message
        assert contents(tmp_path) == before
    result = run("doctor", DAGSTER_HOME=str(home))
    assert result.returncode == 1
    assert f"instance: DAGSTER_HOME {home} is not the home of this project" in result.stdout
    assert contents(home) == {name.removeprefix("other_project/"): each for name, each in before.items() if "/" in name}


def test_the_own_home_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slash, over a link, from where one stands; or another folder whose storage is the project's."""
    link = tmp_path / "link"
    link.symlink_to(PROJECT_FOLDER)
    monkeypatch.chdir(PROJECT_FOLDER.parent)
    for name in ("", f"{PROJECT_FOLDER}/", str(link), f"{link}/", PROJECT_FOLDER.name):
        monkeypatch.setenv("DAGSTER_HOME", name)
        assert instance_home() == str(PROJECT_FOLDER)
    variant = tmp_path / "variant"
    variant.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(variant))
    (variant / "dagster.yaml").write_text((PROJECT_FOLDER / "dagster.yaml").read_text())
    assert instance_home() == str(variant)
    for text_of_it in ("", "- 1", "storage: {", f"# {STORAGE_VARIABLE}\n{THEIRS}", "storage: {sqlite: {base_dir: x}}"):
        (variant / "dagster.yaml").write_text(text_of_it)
        with pytest.raises(ConfigError, match="unset DAGSTER_HOME"):
            instance_home()


def test_other_variables_of_dagster_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only web server, the port of a code server, a module: they are for others, and there again afterwards."""
    theirs = {"DAGSTER_WEBSERVER_READ_ONLY": "1", "DAGSTER_GRPC_PORT": "1", "DAGSTER_MODULE_NAME": "other"}
    theirs |= {"DAGSTER_GRPC_TIMEOUT_SECONDS": "5", "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "900"}
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with environment({"DAGSTER_HOME": str(PROJECT_FOLDER)}):
        passed = {name: value for name, value in os.environ.items() if name.startswith("DAGSTER_")}
        assert passed == {
            "DAGSTER_HOME": str(PROJECT_FOLDER),
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "600",
            "DAGSTER_REPOSITORY_GRPC_TIMEOUT_SECONDS": "600",
            "DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS": "600",
            "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "900",
        }
    assert dict(os.environ) == before


def test_the_storage_of_another_project_is_refused(config: Config, warehouse_url: str) -> None:
    """A database with runs of others is not upgraded; one that we used before there was a marker is ours."""
    with open_instance(config):
        pass
    engine = create_engine(warehouse_url)
    insert = "insert into runs (run_id, pipeline_name, status, run_body) values ('x', :name, 'SUCCESS', '{}')"
    with engine.begin() as connection:
        connection.execute(text("delete from kvs"))
        connection.execute(text(insert), {"name": "their_job"})
    with open_instance(config):
        pass  # its pools are ours
    with engine.begin() as connection:
        connection.execute(text("delete from kvs"))
        connection.execute(text("delete from concurrency_limits"))
    with pytest.raises(ConfigError, match="holds the runs of another Dagster project"), open_instance(config):
        pass
    with engine.begin() as connection:
        assert connection.scalar(text("select count(*) from concurrency_limits")) == 0
        connection.execute(text("update runs set pipeline_name = 'load_main'"))
    with open_instance(config):
        pass
    engine.dispose()


@pytest.mark.usefixtures("config")
def test_a_second_up_says_that_there_is_one(tmp_path: Path) -> None:
    """Two daemons served one instance, and the second emptied the first one's logs; a killed `up` blocks nobody."""
    ports = [free_port() for _ in range(3)]
    first = start("up", "--port", str(ports[0]))
    try:
        lock = tmp_path / ".comagic" / "up.lock"
        eventually(lambda: lock.exists() and str(ports[0]) in lock.read_text())
        message = error(run("up", "--port", str(ports[1])), 2)
        assert f"the project is up already at http://127.0.0.1:{ports[0]} (process {first.pid})" in message
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=PATIENCE)
    again = start("up", "--port", str(ports[2]))
    try:
        eventually(lambda: str(ports[2]) in lock.read_text())
    finally:
        again.terminate()
        again.communicate(timeout=PATIENCE)
