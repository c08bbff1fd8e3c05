"""What tests share: a real PostgreSQL, a database and a project folder of each test's own.

The tiers are kept honest here: a test that needs more than its folder allows does not get it.
"""

import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from sqlalchemy import make_url

from comagic_pipeline.catalog.table_names import DICTIONARIES, REPORTS
from comagic_pipeline.config import CONFIG_VARIABLE, SANDBOX_URL_VARIABLE, Config, load_config
from comagic_pipeline.dagster.event_storage import ProjectStorage
from comagic_pipeline.dagster.instance import STATE_VARIABLE, STORAGE_VARIABLE
from comagic_pipeline.warehouse.embedded import EmbeddedServer, stop
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.migrations import upgrade

REAL_PARTS = {"server", "template", "database_url", "warehouse_url", "warehouse", "project"}
"""Fixtures that unit tests may not use."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse to run unit tests that use real parts: they belong into another folder."""
    for item in items:
        used = REAL_PARTS & set(getattr(item, "fixturenames", ()))
        if used and "unit" in item.path.parts:
            raise pytest.UsageError(f"{item.nodeid} is a unit test and uses {', '.join(sorted(used))}: move it")


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests connect to nobody."""
    if "unit" in request.path.parts:

        def refuse(*_: Any) -> NoReturn:
            raise AssertionError("a unit test opens a connection: move it to integration")

        monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL server for the whole test session: our own embedded one."""
    with tempfile.TemporaryDirectory(prefix="comagic-tests-") as folder:
        # As root the server is another user's, who has to get in: pytest's own folders are closed to it.
        Path(folder).chmod(0o755)
        with EmbeddedServer(Path(folder)) as server:
            yield server
            stop(Path(folder))


@pytest.fixture
def database_url(server: EmbeddedServer) -> Iterator[str]:
    """The URL (SQLAlchemy, psycopg 3) of an empty database that goes after the test."""
    name = f"test_{secrets.token_hex(6)}"
    server.ensure_database(name, synchronous_commit=False)
    yield server.url(name)
    with psycopg.connect(_libpq(server.url("postgres")), autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> str:
    """The name of a database with all tables of the warehouse and of Dagster: copying is quicker than making them."""
    server.ensure_database("template_warehouse")
    with Warehouse(server.url("template_warehouse")) as warehouse:
        upgrade(warehouse, (*REPORTS, *DICTIONARIES))
    ProjectStorage(server.url("template_warehouse", "psycopg2"))
    return "template_warehouse"


@pytest.fixture
def warehouse_url(server: EmbeddedServer, template: str) -> Iterator[str]:
    """The URL of an empty warehouse that goes after the test."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(_libpq(server.url("postgres")), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}"')
        connection.execute(f'alter database "{name}" set synchronous_commit = off')
        yield server.url(name)
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    """An empty warehouse with all its tables."""
    with Warehouse(warehouse_url) as warehouse:
        yield warehouse


@pytest.fixture
def project(tmp_path: Path, warehouse_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Writes comagic.yaml for a source into a folder of its own and sets the environment to it; gives the Config.

    The warehouse and Dagster's storage are the test's database. Keywords go into the source: base_url, token, ...
    Without tables it has those of calls. `custom_reports` is the text of that section.
    """
    storage = make_url(warehouse_url).set(drivername="postgresql+psycopg2")
    monkeypatch.setenv("WAREHOUSE_URL", warehouse_url)
    monkeypatch.setenv(STORAGE_VARIABLE, storage.render_as_string(hide_password=False))
    for variable in ("DAGSTER_HOME", STATE_VARIABLE, SANDBOX_URL_VARIABLE, "DAGSTER_EVENT_BATCH_SIZE"):
        # Set by the commands for their children; monkeypatch puts back what was there.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)

    def write(custom_reports: str = "[]", **source: Any) -> Config:
        values = {"name": "main", "account_id": 1, "timezone": "Europe/Moscow", "start_date": "2026-01-01"}
        values |= {"tables": "[comagic_calls_facts]"} | source
        lines = [f"    {key}: {value}" for key, value in values.items()]
        path = tmp_path / "comagic.yaml"
        text = f"custom_reports: {custom_reports}\nwarehouse:\n  url: ${{WAREHOUSE_URL}}\nsources:\n  -\n"
        path.write_text(text + "\n".join(lines) + "\n")
        monkeypatch.setenv(CONFIG_VARIABLE, str(path))
        return load_config(path)

    return write


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
