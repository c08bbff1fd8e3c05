"""Open the project for commands that run jobs: warehouse and Dagster instance, recovered after crashes."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import DagsterInstance

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.recovery import recover
from comagic_pipeline.dagster.environment import instance_home
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.warehouse.engine import Warehouse


@contextmanager
def open_project(config: Config) -> Iterator[tuple[Warehouse, DagsterInstance]]:
    """Open both; raises ConfigError, WarehouseError or EmbeddedServerError with the place and the fix.

    A DAGSTER_HOME of another project is found before a server starts or a table is made.
    """
    instance_home()
    with open_warehouse(config) as warehouse, open_instance(config) as instance:
        recover(config, instance, warehouse)
        yield warehouse, instance
