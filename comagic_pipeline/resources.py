"""Resources: the Data API and the warehouse, as assets get them. They hold the name of the config file and no secret.

Secrets are looked up when a run begins; they are in no field, so no UI page and no log can show them.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from comagic_pipeline.api.client import ATTEMPTS, Client, Credentials, Login, Token
from comagic_pipeline.api.quota import Quota
from comagic_pipeline.config import (
    SANDBOX,
    SANDBOX_PORT,
    SANDBOX_URL_VARIABLE,
    Config,
    ConfigError,
    Source,
    load_config,
)
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN
from comagic_pipeline.tables import DICTIONARIES, REPORTS
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.star.views import create_views

_log = logging.getLogger(__name__)

WAREHOUSE_DATABASE = "comagic"
"""The database of the embedded server that is the warehouse."""


class DataApi(ConfigurableResource[None]):
    """The CoMagic Data API of the configured sources."""

    config_file: str

    @contextmanager
    def client(self, source_name: str, reserve: int) -> Iterator[Client]:
        """A client of one source that leaves `reserve` of the day's points untouched.

        Raises ConfigError when a variable that the source needs is not set.
        """
        with open_client(load_config(Path(self.config_file)).source(source_name), reserve) as client:
            yield client


class WarehouseResource(ConfigurableResource["WarehouseResource"]):
    """The SQL warehouse; a run gets it open and with all migrations applied."""

    config_file: str
    _warehouse: Warehouse | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["WarehouseResource"]:
        """Open for the time of a run; starts the embedded server where the config names no URL."""
        with (
            open_warehouse(load_config(Path(self.config_file))) as self._warehouse,
            self._warehouse.holding(run_lock(context.run.run_id if context.run else "")),
        ):
            yield self

    def get(self) -> Warehouse:
        """The open warehouse; only within a run."""
        assert self._warehouse is not None, "the warehouse is open within a run only"  # noqa: S101
        return self._warehouse


def run_lock(run_id: str) -> str:
    """The name of the lock that a run holds in the warehouse as long as its process lives."""
    return f"run {run_id}"


def open_client(source: Source, reserve: int = 0, attempts: int = ATTEMPTS) -> Client:
    """A client of the source; raises ConfigError when a variable that it needs is not set."""
    return Client(api_url(source), _credentials(source), Quota(reserve=reserve), attempts=attempts)


def api_url(source: Source) -> str:
    """The address of the source's API."""
    if source.base_url == SANDBOX:
        return os.environ.get(SANDBOX_URL_VARIABLE) or f"http://127.0.0.1:{SANDBOX_PORT}/v2.0"
    return source.resolved_base_url()


def _credentials(source: Source) -> Credentials:
    place = f"sources.{source.name}"
    if source.token is not None:
        try:
            return Token(source.token.resolve(f"{place}.token"))
        except ConfigError:
            # The sandbox's key is public: the demo needs no variable.
            if source.base_url == SANDBOX:
                return Token(SANDBOX_TOKEN)
            raise
    assert source.login is not None  # noqa: S101 - the config checked it
    assert source.password is not None  # noqa: S101
    return Login(source.login.resolve(f"{place}.login"), source.password.resolve(f"{place}.password"))


@contextmanager
def open_warehouse(config: Config) -> Iterator[Warehouse]:
    """The warehouse with all migrations applied, by URL or embedded.

    Raises ConfigError, WarehouseError or EmbeddedServerError with the place and the mend.
    """
    schemas = Schemas(**config.warehouse.schemas.model_dump())
    if config.warehouse.url is not None:
        with Warehouse(config.warehouse.url.resolve("warehouse.url"), schemas) as warehouse:
            _upgrade(warehouse)
            yield warehouse
        return
    with EmbeddedServer(embedded_folder(config)) as server:
        server.ensure_database(WAREHOUSE_DATABASE)
        with Warehouse(server.url(WAREHOUSE_DATABASE), schemas) as warehouse:
            _upgrade(warehouse)
            yield warehouse


def _upgrade(warehouse: Warehouse) -> None:
    for warning in upgrade(warehouse, (*REPORTS, *DICTIONARIES)):
        _log.warning(warning)


def make_views(config: Config, warehouse: Warehouse) -> list[str]:
    """Make the Russian views equal to their definition; gives a line for each thing that is not as it should be."""
    with warehouse.begin() as connection:
        return create_views(connection, warehouse.schemas, config.warehouse.views_prefix)


def embedded_folder(config: Config) -> Path:
    """The folder of the embedded server."""
    return config.state_folder / "postgres"
