"""What sensors say when they cannot look: a warehouse that nobody prepared, a query that fails."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from dagster import DagsterInstance, RepositoryDefinition, build_schedule_context, build_sensor_context
from sqlalchemy import make_url, text

from comagic_pipeline.config import Config, load_config
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.warehouse.engine import Warehouse

SENSORS = ["continue_main", "heal_main", "tell_people"]


@pytest.fixture
def configure(project: Callable[..., Config]) -> Callable[[], Config]:
    """A source whose failures are told to somebody."""

    def write() -> Config:
        config = project(base_url="http://127.0.0.1:9/v2.0", token="x")
        config.path.write_text(f"{config.path.read_text()}alerts: {{urls: ['json://127.0.0.1:9/']}}\n")
        return load_config(config.path)

    return write


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """An instance without runs."""
    with DagsterInstance.ephemeral() as instance:
        yield instance


def said(repository: RepositoryDefinition, instance: DagsterInstance) -> dict[str, str | None]:
    """What each sensor gives as the reason for doing nothing."""
    reasons = {}
    for name in SENSORS:
        with build_sensor_context(instance=instance, repository_def=repository) as context:
            tick = repository.get_sensor_def(name).evaluate_tick(context)
        assert not tick.run_requests
        reasons[name] = tick.skip_message
    return reasons


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_a_warehouse_that_nobody_prepared_is_one_reason(
    configure: Callable[[], Config], database_url: str, monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance
) -> None:
    """Each sensor failed every 30 seconds with a stack trace: relation "comagic_ops.waiting_days" does not exist.

    A warehouse of an earlier release is told in the same way, and a schedule asks for its run, which prepares it.
    """
    monkeypatch.setenv("WAREHOUSE_URL", database_url)
    config = configure()
    repository = build_definitions(config).get_repository_def()
    address = make_url(database_url).set(drivername="postgresql+psycopg").render_as_string()
    expected = (
        f"{address} is not prepared for this release: `comagic-pipeline up`, `doctor` or any load creates the tables "
        "that are missing"
    )
    assert said(repository, instance) == dict.fromkeys(SENSORS, expected)
    with build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC)) as context:
        assert repository.get_schedule_def("load_main_hourly").evaluate_tick(context).run_requests

    with open_warehouse(config) as warehouse:
        assert expected not in said(repository, instance).values()
        with warehouse.begin() as connection:
            connection.execute(text("update comagic_ops.alembic_version set version_num = '0005'"))
        assert said(repository, instance) == dict.fromkeys(SENSORS, expected)
        with warehouse.begin() as connection:
            connection.execute(text("update comagic_ops.alembic_version set version_num = '9999'"))
        newer = f"{address} was made by a newer version of the project: start the services of that version instead"
        assert said(repository, instance) == dict.fromkeys(SENSORS, newer)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_a_query_that_fails_is_one_reason(
    configure: Callable[[], Config], warehouse: Warehouse, instance: DagsterInstance
) -> None:
    """Two of three sensors failed with a stack trace when the database refused a query."""
    tables = "waiting_days, loaded_days, reconciliation, alerts, journal"
    with warehouse.begin() as connection:
        names = ", ".join(f"comagic_ops.{table}" for table in tables.split(", "))
        connection.execute(text(f"drop table {names} cascade"))
    repository = build_definitions(configure()).get_repository_def()
    for name, reason in said(repository, instance).items():
        assert reason is not None, name
        assert reason.startswith('a query of the database failed: relation "comagic_ops.'), (name, reason)
        assert "\n" not in reason
