"""Open an API client for a source: address, key, and the points that all processes share."""

import os
import time
from datetime import datetime

from comagic_pipeline.api.client import ATTEMPTS, Client, Login, Token
from comagic_pipeline.api.errors import PermanentError
from comagic_pipeline.api.quota import Clock, Quota, Sleep, utc_now
from comagic_pipeline.config import SANDBOX, SANDBOX_PORT, SANDBOX_URL_VARIABLE, ConfigError, Source
from comagic_pipeline.core.sandbox_key import SANDBOX_TOKEN
from comagic_pipeline.operations.points.shared_quota import SharedBook, key_id
from comagic_pipeline.warehouse.engine import Warehouse


def open_client(
    source: Source,
    warehouse: Warehouse | None = None,
    *,
    run_id: str = "",
    reserve: int = 0,
    attempts: int = ATTEMPTS,
    insists: bool = False,
    trusts_since: datetime | None = None,
    clock: Clock = utc_now,
    sleep: Sleep = time.sleep,
) -> Client:
    """Return a client of the source.

    Raises ConfigError when a variable that it needs is not set, or names what is unusable.

    With a warehouse it shares the key's points with all who use the key, and what it spends is counted there. One that
    `insists` asks even when the day's points are known to be spent, one with `trusts_since` until the API has told so
    since that moment.
    """
    secret = _secret(source)
    credentials = Token(secret) if source.login is None else Login(secret, _password(source), clock)
    book = SharedBook(warehouse, source, key_id(api_url(source), secret), run_id, clock) if warehouse else None
    quota = Quota(reserve, clock, sleep, book, insists=insists, trusts_since=trusts_since)
    try:
        return Client(api_url(source), credentials, quota, clock=clock, sleep=sleep, attempts=attempts)
    except PermanentError as error:
        raise ConfigError(f"sources.{source.name}: {error}") from error


def source_key(source: Source) -> str:
    """Return the name of the source's key in the book of points; raises ConfigError as `open_client` does."""
    return key_id(api_url(source), _secret(source))


def api_url(source: Source) -> str:
    """Return the address of the source's API."""
    if source.base_url == SANDBOX:
        return os.environ.get(SANDBOX_URL_VARIABLE) or f"http://127.0.0.1:{SANDBOX_PORT}/v2.0"
    return source.resolved_base_url()


def _secret(source: Source) -> str:
    """Return the token, or the login: what tells keys apart."""
    if source.token is None:
        assert source.login is not None  # noqa: S101 - the config checked it
        return source.login.resolve(f"sources.{source.name}.login", is_key=True)
    try:
        return source.token.resolve(f"sources.{source.name}.token", is_key=True)
    except ConfigError:
        # The sandbox's key is public: the demo needs no variable.
        if source.base_url == SANDBOX:
            return SANDBOX_TOKEN
        raise


def _password(source: Source) -> str:
    assert source.password is not None  # noqa: S101 - the config checked it
    return source.password.resolve(f"sources.{source.name}.password")
