"""Migrations of the ops and star schemas (Alembic), and `upgrade`, which applies the missing ones.

`make migration NAME=…` writes a new one. Released migrations never change. Raw tables follow the catalog instead
(`raw/tables.py`).
"""

from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError, one_line
from comagic_pipeline.warehouse.raw.tables import create_missing
from comagic_pipeline.warehouse.replica_identity import identify_rows
from comagic_pipeline.warehouse.star.marts import create_marts
from comagic_pipeline.warehouse.star.replace_view import lock_definitions


def upgrade(warehouse: Warehouse, methods: Iterable[Method]) -> list[str]:
    """Bring schemas, tables and marts up to date; several processes may do so at once, a second time changes nothing.

    Gives a line for each mart that had to stay as it was, because other people's views are made of it.
    Raises WarehouseError when the warehouse is newer than this version of the project, or its server too old.
    """
    warehouse.check()
    try:
        with warehouse.begin() as connection:
            lock_definitions(connection)
            for schema in set(asdict(warehouse.schemas).values()) - set(inspect(connection).get_schema_names()):
                connection.execute(CreateSchema(schema))
            command.upgrade(alembic_config(connection, warehouse), "head")
            create_missing(connection, methods)
            identify_rows(connection, set(asdict(warehouse.schemas).values()))
            return create_marts(connection, warehouse.schemas)
    except CommandError as error:
        raise WarehouseError(f"{warehouse.address}: {error}; a newer version of the project made it") from error
    except DBAPIError as error:
        raise WarehouseError(f"{warehouse.address}: cannot create schemas and tables: {one_line(error)}") from None


def is_current(warehouse: Warehouse) -> bool:
    """Return whether no revision is missing."""
    return _revision(warehouse) == _revisions()[0]


def newest_revision() -> str:
    """Return the newest revision of this release."""
    return _revisions()[0]


def check_current(warehouse: Warehouse) -> None:
    """Raise WarehouseError when this release has migrations that the warehouse lacks, or the other way round."""
    revision = _revision(warehouse)
    if revision == _revisions()[0]:
        return
    if revision is None or revision in _revisions():
        raise WarehouseError(
            f"{warehouse.address} is not prepared for this release: `comagic-pipeline up`, `doctor` or any load "
            "creates the tables that are missing"
        )
    raise WarehouseError(
        f"{warehouse.address} was made by a newer version of the project: start the services of that version instead"
    )


def alembic_config(connection: Connection, warehouse: Warehouse) -> Config:
    """Alembic's own configuration for an open connection of this warehouse."""
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["version_table_schema"] = warehouse.schemas.ops
    return config


def _revision(warehouse: Warehouse) -> str | None:
    """Return the revision of the warehouse; None when nobody prepared it."""
    with warehouse.connect() as connection:
        version = warehouse.quote("ops", "alembic_version")
        if connection.scalar(text("select to_regclass(:name)"), {"name": version}) is None:
            return None
        revision: str | None = connection.scalar(text(f"select version_num from {version}"))  # noqa: S608 - quoted
        return revision


@cache
def _revisions() -> tuple[str, ...]:
    """Return the revisions of this release, the newest first. Alembic imports the files of all of them to tell."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config
