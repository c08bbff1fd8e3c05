"""Connections to the warehouse and the names of its schemas. What a session sets is in `session`.

Tables are declared under the placeholder schemas "raw", "star" and "ops"; connections from here translate them to the
configured names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
from sqlalchemy import URL, ColumnElement, Connection, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError

from comagic_pipeline.core.disks import full_message, full_place, is_full_error, may_be_full
from comagic_pipeline.warehouse.errors import DiskFullError
from comagic_pipeline.warehouse.errors import WarehouseError as WarehouseError
from comagic_pipeline.warehouse.session import is_pooled, open_session, postgresql_url

_SECRET_OPTIONS = ("password", "sslpassword")


@dataclass(frozen=True)
class Schemas:
    """Names of the three schemas as they are in the database, unquoted."""

    raw: str = "comagic_raw"
    star: str = "comagic"
    ops: str = "comagic_ops"


class Warehouse:
    """A PostgreSQL database by URL; connects when first used. Close it, or use it as a context manager."""

    def __init__(self, url: str, schemas: Schemas | None = None, data_folder: Path | None = None) -> None:
        """Raise WarehouseError when `url` is no PostgreSQL URL.

        `data_folder` is where a server of this machine has its data: errors name it when its disk is full.
        """
        self.schemas = schemas or Schemas()
        self._data_folder = data_folder
        self.url = postgresql_url(url, "warehouse.url")
        # Values of a statement may be personal data: they stay out of errors and logs.
        engine = create_engine(self.url, pool_pre_ping=True, hide_parameters=True)
        self._has_connected = False
        event.listen(engine, "do_connect", self._open_session)
        self._engine = engine.execution_options(schema_translate_map=asdict(self.schemas))

    def __enter__(self) -> "Warehouse":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @property
    def address(self) -> str:
        """The URL without its password, for messages."""
        return address_of(self.url)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Provide a connection whose transactions the caller ends; what is not committed is rolled back.

        Raises WarehouseError when the server cannot be reached, or the database cannot be used, and DiskFullError when
        the server has no room, there or within the block.
        """
        try:
            connection = self._engine.connect()
        except WarehouseError as error:
            raise WarehouseError(f"cannot use the warehouse at {self.address}: {error}") from None
        except (DBAPIError, UnicodeError) as error:  # a host name may be none
            raise self.full_disk(error) or WarehouseError(
                f"cannot reach the warehouse at {self.address}: {one_line(error)}; check warehouse.url"
            ) from None
        try:
            with connection:
                yield connection
        except (DBAPIError, psycopg.Error) as error:
            if full := self.full_disk(error):
                raise full from None
            raise

    def full_disk(self, error: Exception) -> DiskFullError | None:
        """Return what to raise instead of an error that came because the server's disk is full; None for others."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            return None
        is_killed = may_be_full(cause) and self._data_folder and full_place([self._data_folder])
        if not is_full_error(cause) and not is_killed:
            return None
        return DiskFullError(full_message(self._data_folder or f"the database server at {self.address}"))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Provide a connection with one transaction: committed at the end, rolled back on an error."""
        with self.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold a named lock while the block lasts. It ends with the process, in whatever way that ends."""
        with self.connect() as connection:
            connection.execute(select(func.pg_advisory_lock(_key(name))))
            connection.commit()
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(_key(name))))
                connection.commit()

    def is_held(self, name: str) -> bool:
        """Return whether some process holds the named lock."""
        with self.begin() as connection:
            return not try_lock(connection, name)

    def quote(self, schema: str, name: str) -> str:
        """Return the quoted name of a table in one of the schemas, given by its placeholder (raw, star, ops)."""
        quote = self._engine.dialect.identifier_preparer.quote_identifier
        return f"{quote(asdict(self.schemas)[schema])}.{quote(name)}"

    def check(self) -> str:
        """Return the server's version and what stands before it.

        Raises WarehouseError when nothing can be written there.
        """
        with self.connect() as connection:
            version, is_standby = connection.execute(text("select version(), pg_is_in_recovery()")).one()
            if is_standby:
                raise WarehouseError(
                    f"{self.address} is a standby server, which cannot be written to: name the primary server in "
                    "warehouse.url"
                )
            pooled = ", through a pooler that keeps sessions" if is_pooled(driver_connection(connection)) else ""
            return f"{' '.join(version.split()[:2])}, UTF8{pooled}"

    def _open_session(self, _dialect: Any, _record: Any, _positional: Any, options: dict[str, Any]) -> Any:
        """Open a session; SQLAlchemy calls this for each connection of its pool."""
        connection = open_session(options, is_pooler_known=self._has_connected)
        self._has_connected = True
        return connection


def address_of(url: URL) -> str:
    """Return a URL without its secrets, for messages."""
    return url.difference_update_query(_SECRET_OPTIONS).render_as_string(hide_password=True)


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """Return the driver's own connection."""
    return cast(psycopg.Connection[Any], connection.connection.driver_connection)


def try_lock(connection: Connection, name: str) -> bool:
    """Take a named lock until the transaction ends; False when a process holds it."""
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_key(name)))))


def _key(name: str) -> ColumnElement[int]:
    return func.hashtextextended(f"comagic_pipeline {name}", 0)


def one_line(error: Exception) -> str:
    """Return the message of an error in one line.

    Of a database error without the statement and the row it was about.
    """
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return " ".join((primary or str(cause)).split())
