"""Allow one `up` for each project and each instance, because two Dagster daemons of one instance disturb each other.

Both locks end with their process, however it ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import NullPool, create_engine, text

from comagic_pipeline.config import Config, ConfigError
from comagic_pipeline.dagster.environment import STORAGE_VARIABLE

_LOCK = "select pg_try_advisory_lock(hashtextextended('comagic_pipeline up', 0))"


@contextmanager
def only_up(config: Config, url: str) -> Iterator[None]:
    """Be the only `up` of the project's state folder, which is told to others to serve at `url`.

    Raises ConfigError with the address of the one that runs, before anything is touched.
    """
    path = config.state_folder / "up.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            place = " ".join(file.read().split()) or "and is starting"
            raise ConfigError(f"the project is up already {place}: open that address, or stop it there first") from None
        file.truncate(0)
        file.write(f"at {url} (process {os.getpid()})\n")
        file.flush()
        yield


@contextmanager
def only_services() -> Iterator[None]:
    """Be the only `up` of the open instance, whose storage other folders and machines may share."""
    with create_engine(os.environ[STORAGE_VARIABLE], poolclass=NullPool).connect() as connection:
        if not connection.scalar(text(_LOCK)):
            raise ConfigError(
                f"{STORAGE_VARIABLE}: an `up` of another folder or machine serves this instance: stop it there first, "
                "or name another database"
            )
        connection.commit()
        yield
