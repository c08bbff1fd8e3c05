"""Open the Dagster instance: its environment, its storage in PostgreSQL, its pools.

dagster.yaml stands beside the package; environment variables carry what differs between machines.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dagster import DagsterInstance
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from comagic_pipeline.config import CONFIG_VARIABLE, Config, ConfigError
from comagic_pipeline.dagster.environment import HOME_VARIABLE, environment, instance_home
from comagic_pipeline.dagster.environment import PROJECT_FOLDER as PROJECT_FOLDER
from comagic_pipeline.dagster.environment import STORAGE_VARIABLE as STORAGE_VARIABLE
from comagic_pipeline.operations.connections import open_embedded_server
from comagic_pipeline.operations.failures import STATE_VARIABLE as STATE_VARIABLE
from comagic_pipeline.operations.failures import full_disk
from comagic_pipeline.warehouse.engine import WarehouseError, one_line
from comagic_pipeline.warehouse.errors import DiskFullError
from comagic_pipeline.warehouse.session import postgresql_url

INSTANCE_DATABASE = "dagster"
_SESSION = {"PGCLIENTENCODING": "UTF8", "PGDATESTYLE": "ISO", "PGTZ": "UTC"}
"""What libpq sets for every session of Dagster, here and in children: its times have no zone and are taken for UTC."""
_JOBS = ("load", "continue", "report", "reconcile", "retain", "forget")
"""How the names of our jobs begin; the name of their source follows."""
_MARKER = "comagic_pipeline"
"""The key of Dagster's key-value store that marks a storage as that of a comagic_pipeline project."""
RUNS_PER_SOURCE = 4
"""Two of backfills, one that goes on with what others left (dagster.yaml), and always room for the nightly load."""


@contextmanager
def open_instance(config: Config) -> Iterator[DagsterInstance]:
    """Provide the instance, migrated and with its pools' limits set, for this process and its children by environment.

    Raises ConfigError when it is another project's or its storage cannot be used, EmbeddedServerError when the embedded
    server does not start, and DiskFullError when its storage has no room, there or within the block.
    """
    instance_home()
    if url := os.environ.get(STORAGE_VARIABLE):
        with _naming_full_disks(url), _open(config, url) as instance:
            yield instance
        return
    with open_embedded_server(config) as server:
        # A lost event is no loss of data: the load ledger is in the warehouse, whose commits do wait for the disk.
        server.ensure_database(INSTANCE_DATABASE, synchronous_commit=False)
        url = server.url(INSTANCE_DATABASE, "psycopg2")
        with _naming_full_disks(url), _open(config, url) as instance:
            yield instance


@contextmanager
def _naming_full_disks(url: str) -> Iterator[None]:
    """Turn what Dagster raises when its storage has no room, in several wrappings, into a DiskFullError."""
    try:
        yield
    except Exception as error:
        if full := full_disk(error, url):
            raise full from None
        raise


@contextmanager
def _open(config: Config, url: str) -> Iterator[DagsterInstance]:
    home = instance_home()
    try:
        # Dagster's storage works with psycopg2.
        storage = postgresql_url(url, STORAGE_VARIABLE, "psycopg2")
        os.environ.update(_SESSION)
        # Connected here because Dagster would try for ten seconds and report each attempt.
        connection = create_engine(storage, poolclass=NullPool).connect()
        if (encoding := connection.scalar(text("show server_encoding"))) != "UTF8":
            connection.close()
            raise WarehouseError(f"{STORAGE_VARIABLE}: the encoding of the database is {encoding}; UTF8 is needed")
    except DiskFullError:
        raise  # no mistake of the configuration
    except WarehouseError as error:
        raise ConfigError(str(error)) from None
    except SQLAlchemyError as error:
        raise full_disk(error, url) or ConfigError(
            f"{STORAGE_VARIABLE}: cannot reach the storage of Dagster: {one_line(error)}"
        ) from None
    state = config.state_folder / "dagster"
    state.mkdir(parents=True, exist_ok=True)
    values = {
        HOME_VARIABLE: home,
        STORAGE_VARIABLE: storage.render_as_string(hide_password=False),
        STATE_VARIABLE: str(state),
        CONFIG_VARIABLE: str(config.path),
        # Materializations of a range run are written in batches; one by one they cost 20 ms each.
        "DAGSTER_EVENT_BATCH_SIZE": "100",
    }
    with environment(values):
        try:
            # Processes that make the tables at the same moment get into each other's way: they take turns.
            with connection:
                connection.execute(text("select pg_advisory_lock(hashtextextended('comagic_pipeline instance', 0))"))
                if _is_foreign(config, connection):
                    raise ConfigError(
                        f"{STORAGE_VARIABLE}: the database holds the runs of another Dagster project: name another one"
                    )
                instance = DagsterInstance.from_config(home)
                instance.upgrade()
        except SQLAlchemyError as error:
            raise full_disk(error, url) or ConfigError(
                f"{STORAGE_VARIABLE}: cannot use the storage of Dagster: {one_line(error)}"
            ) from None
        with instance:
            instance.run_storage.set_cursor_values({_MARKER: "1"})
            for source in config.sources:
                # Without this the first runs of a pool do not heed its limit (docs/decisions.md, "Pools").
                instance.event_log_storage.set_concurrency_slots(source.pool, RUNS_PER_SOURCE)
            yield instance


def _is_foreign(config: Config, connection: Connection) -> bool:
    """Return whether the storage holds runs and no sign of this project; it is looked at before it is upgraded.

    An instance of before there was a marker has limits of our pools, or runs of our jobs.
    """
    if not _exists(connection, "runs") or not connection.scalar(text("select exists (select from runs)")):
        return False
    jobs = [f"{kind}\\_{source.name}%" for source in config.sources for kind in _JOBS]
    signs = {
        "kvs": ("select exists (select from kvs where key = :value)", _MARKER),
        "concurrency_limits": (
            "select exists (select from concurrency_limits where concurrency_key = any(:value))",
            [source.pool for source in config.sources],
        ),
        "runs": ("select exists (select from runs where pipeline_name like any(:value))", jobs),
    }
    return not any(
        _exists(connection, table) and connection.scalar(text(sign), {"value": value})
        for table, (sign, value) in signs.items()
    )


def _exists(connection: Connection, table: str) -> bool:
    return connection.scalar(text("select to_regclass(:table)"), {"table": table}) is not None
