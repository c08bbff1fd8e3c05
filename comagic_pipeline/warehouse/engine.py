"""The connection to the warehouse's database and the names of its schemas. What is stored there is elsewhere.

Tables are declared under the placeholder schemas "raw", "star" and "ops"; connections from here translate them to the
configured names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import psycopg
from sqlalchemy import URL, ColumnElement, Connection, create_engine, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError

OLDEST_SERVER = 14
"""The oldest major version of PostgreSQL that the SQL here is written for."""
_CONNECT_TIMEOUT = 10  # seconds
_SECRET_OPTIONS = ("password", "sslpassword")


class WarehouseError(Exception):
    """The warehouse cannot be used: one line that names the place and the mend."""


@dataclass(frozen=True)
class Schemas:
    """Names of the three schemas as they are in the database, unquoted."""

    raw: str = "comagic_raw"
    star: str = "comagic"
    ops: str = "comagic_ops"


class Warehouse:
    """A PostgreSQL database by URL; connects when first used. Close it, or use it as a context manager."""

    def __init__(self, url: str, schemas: Schemas | None = None) -> None:
        """Raises WarehouseError when `url` is no PostgreSQL URL."""
        self.schemas = schemas or Schemas()
        self.url = postgresql_url(url, "warehouse.url")
        self._engine = create_engine(
            self.url,
            pool_pre_ping=True,
            # Values of a statement may be personal data: they stay out of errors and logs.
            hide_parameters=True,
            connect_args={"connect_timeout": _CONNECT_TIMEOUT, "application_name": "comagic_pipeline"},
        ).execution_options(schema_translate_map=asdict(self.schemas))

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
        return self.url.difference_update_query(_SECRET_OPTIONS).render_as_string(hide_password=True)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection whose transactions the caller ends; what is not committed is rolled back.

        Raises WarehouseError when the server cannot be reached.
        """
        try:
            connection = self._engine.connect()
        except DBAPIError as error:
            raise WarehouseError(
                f"cannot reach the warehouse at {self.address}: {one_line(error)}; check warehouse.url"
            ) from None
        with connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A connection with one transaction: committed at the end, rolled back on an error."""
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
        """True while some process holds the named lock."""
        with self.begin() as connection:
            return not try_lock(connection, name)

    def quote(self, schema: str, name: str) -> str:
        """The quoted name of a table in one of the schemas, given by its placeholder (raw, star, ops)."""
        quote = self._engine.dialect.identifier_preparer.quote_identifier
        return f"{quote(asdict(self.schemas)[schema])}.{quote(name)}"

    def check(self) -> str:
        """The server's version; raises WarehouseError when it cannot be used."""
        with self.connect() as connection:
            version = str(connection.scalar(text("show server_version")))
            if connection.dialect.server_version_info < (OLDEST_SERVER,):  # type: ignore[operator]
                raise WarehouseError(f"{self.address} is PostgreSQL {version}; {OLDEST_SERVER} or newer is needed")
            return version


def try_lock(connection: Connection, name: str) -> bool:
    """Take a named lock until the transaction ends; False when a process holds it."""
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_key(name)))))


def _key(name: str) -> ColumnElement[int]:
    return func.hashtextextended(f"comagic_pipeline {name}", 0)


def one_line(error: Exception) -> str:
    """The message of an error in one line; of a database error without the statement and the row it was about."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return " ".join((primary or str(cause)).split())


def postgresql_url(text: str, place: str, driver: str = "psycopg") -> URL:
    """The URL of a PostgreSQL database for a driver; raises WarehouseError, which names `place`, when it is none."""
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1) if text.startswith("postgres://") else text)
    except (ArgumentError, ValueError):
        raise WarehouseError(f"{place} is no URL; write postgresql://user:password@host:5432/database") from None
    if url.get_backend_name() != "postgresql":
        raise WarehouseError(f"{place} names {url.get_backend_name()}; only postgresql is supported")
    if "@" in (url.host or ""):
        # Else the rest of the password would be taken, and shown, as the host.
        raise WarehouseError(f"{place}: write an @ in the password as %40")
    return url.set(drivername=f"postgresql+{driver}")
