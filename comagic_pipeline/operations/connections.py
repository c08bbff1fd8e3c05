"""Open the warehouse that the configuration names: by URL, or the embedded server.

Without Dagster, so that a look at the warehouse starts quickly.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comagic_pipeline.catalog.table_names import DICTIONARIES, REPORTS
from comagic_pipeline.config import Config
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline.warehouse.migrations import check_current, upgrade

_log = logging.getLogger(__name__)

WAREHOUSE_DATABASE = "comagic"
"""The database of the embedded server that is the warehouse."""
_FOR_OTHER_SERVERS = (
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGSERVICE",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
    "PGTARGETSESSIONATTRS",
)
"""Variables of libpq with which it would look for the embedded server elsewhere, or refuse it."""


@contextmanager
def open_warehouse(config: Config) -> Iterator[Warehouse]:
    """Provide the warehouse with all migrations applied, by URL or embedded.

    Raises ConfigError, WarehouseError or EmbeddedServerError with the place and the mend.
    """
    with _connect(config) as warehouse:
        _upgrade(warehouse)
        yield warehouse


@contextmanager
def connect_warehouse(config: Config) -> Iterator[Warehouse]:
    """Provide the warehouse as it is, for a look: sensors and schedules have no time to change it.

    Raises what `open_warehouse` raises, and WarehouseError when the warehouse was not prepared for this release.
    """
    with _connect(config) as warehouse:
        check_current(warehouse)
        yield warehouse


@contextmanager
def _connect(config: Config) -> Iterator[Warehouse]:
    schemas = Schemas(**config.warehouse.schemas.model_dump())
    if config.warehouse.url is not None:
        with Warehouse(config.warehouse.url.resolve("warehouse.url"), schemas) as warehouse:
            yield warehouse
        return
    with open_embedded_server(config) as server:
        server.ensure_database(WAREHOUSE_DATABASE)
        with Warehouse(server.url(WAREHOUSE_DATABASE), schemas, server.data_folder) as warehouse:
            yield warehouse


@contextmanager
def open_embedded_server(config: Config) -> Iterator[EmbeddedServer]:
    """Provide the project's own server; what the environment says of connections to other servers is forgotten."""
    for name in _FOR_OTHER_SERVERS:
        os.environ.pop(name, None)
    with EmbeddedServer(embedded_folder(config)) as server:
        yield server


def _upgrade(warehouse: Warehouse) -> None:
    for warning in upgrade(warehouse, (*REPORTS, *DICTIONARIES)):
        _log.warning(warning)


def embedded_folder(config: Config) -> Path:
    """Return the folder of the embedded server."""
    return config.state_folder / "postgres"
