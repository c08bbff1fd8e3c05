"""Open a session with PostgreSQL that sets everything it depends on, and trusts no default.

What cannot be set is refused in one line: an old server, an encoding other than UTF8, a pooler that gives every
transaction another session. To depend on another setting, add it to `_SETTINGS`.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import psycopg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from comagic_pipeline.warehouse.errors import WarehouseError

OLDEST_SERVER = 14
"""The oldest major version of PostgreSQL that the SQL here is written for."""

_SETTINGS = {
    # What the driver reads and writes.
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    # What the statements mean. All names have their schema; temporary tables are found without one.
    "search_path": "pg_catalog",
    "transform_null_equals": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # A load may take hours and waits for others that load the same days.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
_OPTIONS: dict[str, Any] = {
    "application_name": "comagic_pipeline",
    "connect_timeout": 10,  # seconds
    # A dead network is noticed after a minute, idle or not: firewalls drop idle connections without a word.
    "keepalives": 1,
    "keepalives_idle": 30,  # seconds
    "keepalives_interval": 10,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
    # Otherwise PGHOSTADDR would connect to another server than the one that is named.
    "hostaddr": "",
}
"""Options of libpq, unless the URL has its own."""

# A setting that an older server does not have is left out. Nothing is set in a session that a pooler gave: the next
# transaction, perhaps of another program, may get it.
_APPLY = """
select set_config(name, value, false)
  from unnest(%s::text[], %s::text[]) as setting (name, value)
 where current_setting(name, true) is not null and pg_backend_pid() = %s
"""
_TRIES = 10


def postgresql_url(text: str, place: str, driver: str = "psycopg") -> URL:
    """Return the URL of a PostgreSQL database for a driver.

    Raises WarehouseError, which names `place`, when it is none.
    """
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1) if text.startswith("postgres://") else text)
    except (ArgumentError, ValueError):
        raise WarehouseError(f"{place} is no URL; write postgresql://user:password@host:5432/database") from None
    if url.get_backend_name() != "postgresql":
        raise WarehouseError(f"{place} names {url.get_backend_name()}; only postgresql is supported")
    if "@" in (url.host or ""):
        # Otherwise the rest of the password would be taken, and shown, as the host.
        raise WarehouseError(f"{place}: write an @ in the password as %40")
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name, value in url.query.items():
        # The driver has arguments of other kinds, such as prepare_threshold, and takes them by name too.
        if name not in known:
            raise WarehouseError(
                f'{place}: invalid connection option "{name}"; PostgreSQL has no option of that name: remove it'
            )
        if not isinstance(value, str) and name not in ("host", "port"):
            raise WarehouseError(f"{place}: the option {name} is given {len(value)} times; give it once")
    url = url.set(drivername=f"postgresql+{driver}")
    try:
        url.get_dialect()().create_connect_args(url)
    except ArgumentError as error:
        raise WarehouseError(f"{place}: {error}") from None
    return url


def open_session(arguments: Mapping[str, Any], is_pooler_known: bool = False) -> psycopg.Connection[Any]:
    """Connect with libpq's options and set what a session depends on.

    Raises WarehouseError, without a place, when the database cannot be used, and psycopg.Error when it cannot be
    reached. `is_pooler_known` spares the look at a pooler that was found to keep sessions.
    """
    options = {name: value for name, value in _OPTIONS.items() if name not in arguments} | dict(arguments)
    # Before the first answer is read; a start-up option precedes the settings of role, database and PGCLIENTENCODING.
    options["client_encoding"] = "UTF8"

    def connect() -> psycopg.Connection[Any]:
        # Nothing is prepared before it is known whose session it is.
        return psycopg.connect(**(options | {"prepare_threshold": None}))

    connection = connect()
    try:
        _prepare(connection, connect, is_pooler_known)
    except BaseException:
        connection.close()
        raise
    return connection


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Return whether a pooler stands between: it tells clients an invented process id, to know whom to cancel by."""
    return connection.info.backend_pid != _backend_pid(connection)


def _prepare(
    connection: psycopg.Connection[Any], connect: Callable[[], psycopg.Connection[Any]], is_pooler_known: bool
) -> None:
    version = connection.info.server_version // 10_000
    if version < OLDEST_SERVER:
        raise WarehouseError(f"this is PostgreSQL {version}; {OLDEST_SERVER} or newer is needed")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise WarehouseError(
            f"the encoding of the database is {encoding}; UTF8 is needed, because texts are lost in others: "
            "create a database with ENCODING 'UTF8' TEMPLATE template0"
        )
    connection.autocommit = True
    if not _apply(connection, connection.info.backend_pid):
        if not is_pooler_known and _gives_sessions_away(connection, connect):
            raise WarehouseError(
                "a pooler in transaction mode stands before the database; locks and prepared statements need "
                "sessions: set pool_mode = session for it, or name the database's own host and port"
            )
        _apply(connection, _backend_pid(connection))
    connection.autocommit = False
    connection.prepare_threshold = 5


def _apply(connection: psycopg.Connection[Any], pid: int) -> bool:
    """Set the settings; False, and nothing is set, when the session is not served by the process `pid`."""
    for _ in range(_TRIES):
        # A role may have a statement timeout of a few milliseconds, of which a new process loses some.
        with suppress(psycopg.errors.QueryCanceled):
            connection.execute("select set_config('statement_timeout', '0', false) where pg_backend_pid() = %s", [pid])
            break
    return connection.execute(_APPLY, [[*_SETTINGS], [*_SETTINGS.values()], pid]).rowcount > 0


def _gives_sessions_away(connection: psycopg.Connection[Any], connect: Callable[[], psycopg.Connection[Any]]) -> bool:
    """Return whether the server process of this connection serves others too while it is open.

    Proven when another connection gets it meanwhile, or when this one gets another process. Others may use the pool at
    the same time, therefore several tries.
    """
    with connect() as other:
        for _ in range(_TRIES):
            mine = _backend_pid(connection)
            # The other one keeps the process that it gets, because its transaction stays open.
            if _backend_pid(other) == mine or _backend_pid(connection) != mine:
                return True
            other.rollback()
    return False


def _backend_pid(connection: psycopg.Connection[Any]) -> int:
    (pid,) = connection.execute("select pg_backend_pid()").fetchone() or (0,)
    return int(pid)
