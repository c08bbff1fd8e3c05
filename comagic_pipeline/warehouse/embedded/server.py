"""What other code uses: `EmbeddedServer` to be a user of the server, `stop` and `status` to command it from outside."""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from comagic_pipeline.core.disks import full_message, full_place, is_full_error, may_be_full, says_full
from comagic_pipeline.warehouse.embedded import placement, watcher
from comagic_pipeline.warehouse.embedded.cluster import PORT, Cluster, prepare
from comagic_pipeline.warehouse.embedded.errors import EmbeddedServerError

START_TIMEOUT = 300.0
"""Seconds. Recovery after a crash reads up to 4 GB of WAL, which takes minutes on a slow disk."""

LOCK_TIMEOUT = 300.0
"""Seconds. Longer than another process may take to start or to end the server."""

_UNHEARD_SECONDS = 10.0
"""A server opens its socket within a fraction of a second. Later, nobody listening means that it was killed, and that a
process which it left has not noticed."""
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class Status:
    """What is known of the server of a folder. `pid`, `since` and `connections` are None when it does not answer."""

    running: bool
    data: Path
    pid: int | None = None
    since: datetime | None = None
    connections: int | None = None


class EmbeddedServer:
    """A user of the server in `folder`: this process, or a thread of it. Any number of them may exist at once.

    The server starts with its first user and stops with its last one, whether that one closes, ends or is killed.
    A folder on a network file system will not do: `flock` must work between the processes.
    """

    def __init__(
        self,
        folder: Path,
        start_timeout: float = START_TIMEOUT,
        stop_seconds: Sequence[float] = watcher.STOP_SECONDS,
        unheard_seconds: float = _UNHEARD_SECONDS,
    ) -> None:
        """Nothing happens before `start`. Times in seconds; `stop_seconds` as in `watcher.STOP_SECONDS`."""
        self.folder = folder.resolve()
        self._start_timeout = start_timeout
        self._stop_seconds = stop_seconds
        self._unheard_seconds = unheard_seconds
        self._cluster = Cluster(self.folder)
        self._users_lock: int | None = None

    def start(self) -> None:
        """Become a user and make sure that the server answers. Again: bring a server back that was stopped or killed.

        Raises EmbeddedServerError, which shows the tail of the server's log if it did not start.
        """
        deadline = time.monotonic() + self._start_timeout
        try:
            with _clear_errors(self.folder):
                if self._users_lock is None:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    self._users_lock = _open_lock(self.folder, "users.lock")
                    _acquire(self._users_lock, fcntl.LOCK_SH, deadline, self.folder)
                launches = 0
                while launches < 2:  # the first one may have been killed by somebody
                    launches += self._launch(deadline)
                    if self._answers(deadline):
                        return
                log = self._cluster.log_tail()
                if says_full(log) or full_place([self._cluster.path]):
                    raise EmbeddedServerError(f"PostgreSQL did not start: {full_message(self._cluster.path)}")
                raise EmbeddedServerError(f"PostgreSQL in {self._cluster.path} did not start:\n{log}")
        except BaseException:
            self.close()
            raise

    def start_again(self) -> None:
        """Start the server if it was killed or stopped; costs nothing while it runs. Raises what `start` raises."""
        if not watcher.is_locked(self.folder / "server.lock"):
            self.start()

    def close(self) -> None:
        """Stop being a user. Copies of `lock_fd` in child processes go on being one."""
        if self._users_lock is not None:
            os.close(self._users_lock)  # never LOCK_UN: it would unlock the copies too
            self._users_lock = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def lock_fd(self) -> int:
        """For `pass_fds` of a child process: while the child lives, the server does, even if we are killed."""
        if self._users_lock is None:
            raise EmbeddedServerError(f"not a user of the server in {self.folder}: call start() first")
        return self._users_lock

    @property
    def data_folder(self) -> Path:
        """Where data, log and socket are: on the disk that must have room."""
        return self._cluster.path

    def url(self, database: str, driver: Literal["psycopg", "psycopg2"] = "psycopg") -> str:
        """Return the SQLAlchemy URL of a database of the server, over its socket."""
        host = quote(str(self._cluster.socket_folder))
        return f"postgresql+{driver}://postgres@/{quote(database, safe='')}?host={host}&port={PORT}"

    def ensure_database(self, name: str, synchronous_commit: bool = True) -> None:
        """Create the database `name` unless it exists; several processes may do so at once.

        Without `synchronous_commit` its commits do not wait for the disk: a crash may lose the last fraction of a
        second, but never leaves half of a transaction. Raises EmbeddedServerError when the disk is full.
        """
        database = sql.Identifier(name)
        with _clear_errors(self.folder), _connect(self._cluster) as connection:
            connection.execute("SELECT pg_advisory_lock(hashtext('ensure_database'))")
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
            commit = sql.Literal("on" if synchronous_commit else "off")
            connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}").format(database, commit))

    def _launch(self, deadline: float) -> bool:
        """Start what is missing, server or watcher. Whether the server had to be started."""
        with _starting(self.folder, deadline) as start_lock:
            if self._is_to_be_ended():
                _end(self._cluster, start_lock, self._stop_seconds)
            running = watcher.is_locked(self.folder / "server.lock")
            if running and watcher.is_locked(self.folder / "watchers.lock", fcntl.LOCK_EX):
                return False
            account = placement.account_for(self._cluster.data)
            command = [] if running else prepare(self._cluster, account, start_lock)
            with open(self._cluster.start_log, "ab" if running else "wb") as log:
                # If it fails, the server is not there, and the log says why.
                _run_watcher("watch", self._cluster, account, start_lock, self._stop_seconds, command, log)
            return not running

    def _is_to_be_ended(self) -> bool:
        """Return whether there is a server that will never serve us: it is shutting down, or nothing but a rest of one.

        Under the start lock, and as a user: whoever is shutting it down would hold one of the two locks alone.
        """
        end = time.monotonic() + self._unheard_seconds
        while watcher.is_locked(self.folder / "server.lock"):
            reason = watcher.answer(self._cluster.socket_file)
            if reason is not None:
                return "shutting down" in reason
            if time.monotonic() > end:
                return True
            time.sleep(0.02)
        return False

    def _answers(self, deadline: float) -> bool:
        """Wait until the server takes connections; False when it is gone. Recovery may take as long as it lives."""
        began = time.monotonic()
        while (reason := watcher.answer(self._cluster.socket_file)) != "":
            if not watcher.is_locked(self.folder / "server.lock"):
                return False
            if time.monotonic() > deadline:
                pid = watcher.postmaster_pid(self._cluster.data, self._cluster.socket_file) or "unknown"
                raise EmbeddedServerError(
                    f"PostgreSQL in {self._cluster.path} (pid {pid}) did not answer within {self._start_timeout:g} s"
                    f" ({reason or 'nobody listens'}): wait until it has recovered, or run `comagic-pipeline stop`,"
                    f" and try again\n{self._cluster.log_tail()}"
                )
            # The server writes every refusal to its log: the longer it takes, the less often it is asked.
            time.sleep(min(_LONGEST_PAUSE, max(0.02, (time.monotonic() - began) / 10)))
        return True


def stop(folder: Path, seconds: Sequence[float] = watcher.STOP_SECONDS) -> bool:
    """Stop the server of `folder`, whoever uses it: they get errors until somebody starts it again.

    Whether it was running. `seconds` as in `watcher.STOP_SECONDS`; what has not ended then is killed. Raises
    EmbeddedServerError when the server is not ours to stop, or cannot even be killed.
    """
    folder = folder.resolve()
    with _clear_errors(folder):
        if not watcher.is_locked(folder / "server.lock"):
            return False
        with _starting(folder, time.monotonic() + LOCK_TIMEOUT) as start_lock:
            _end(Cluster(folder), start_lock, seconds)
    return True


def _end(cluster: Cluster, start_lock: int, seconds: Sequence[float]) -> None:
    """Stop the server, in a process that has the rights of its user only. Raises EmbeddedServerError if it runs on."""
    account = placement.account_for(cluster.data)
    with open(cluster.start_log, "ab") as log:
        result = _run_watcher("stop", cluster, account, start_lock, seconds, [], log)
    if result.returncode:
        pids = result.stdout.decode().strip() or "unknown"
        raise EmbeddedServerError(
            f"PostgreSQL in {cluster.path} (pid {pids}) does not end, although it was killed: it waits for a disk, or"
            f" runs in another container; end it there and try again\n{cluster.log_tail()}"
        )


def _run_watcher(
    mode: Literal["watch", "stop"],
    cluster: Cluster,
    account: placement.Account | None,
    start_lock: int,
    seconds: Sequence[float],
    command: Sequence[str],
    log: IO[bytes],
) -> subprocess.CompletedProcess[bytes]:
    """Run the program `watcher` to its end, or until it goes on in the background."""
    return subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-I", "-S", watcher.__file__, mode),
            *(cluster.folder, cluster.data, cluster.socket_file, str(start_lock)),
            *(f"{account.uid}:{account.gid}" if account else "", ",".join(map(str, seconds)), *command),
        ],
        cwd="/",
        # Some Python builds find their library by this variable; the rest may hold secrets.
        env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
        pass_fds=[start_lock],
        stdin=subprocess.DEVNULL,
        stdout=log if mode == "watch" else subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        check=False,
    )


def status(folder: Path) -> Status:
    """Look at the server of `folder` without becoming its user. Raises EmbeddedServerError if it is not ours to see."""
    cluster = Cluster(folder.resolve())
    with _clear_errors(folder):
        if not watcher.is_locked(cluster.folder / "server.lock"):
            return Status(running=False, data=cluster.data)
        pid = watcher.postmaster_pid(cluster.data, cluster.socket_file)
        try:
            with _connect(cluster) as connection:
                since, connections = connection.execute(
                    "SELECT pg_postmaster_start_time(), count(*) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                ).fetchall()[0]
        except psycopg.OperationalError:
            return Status(running=True, data=cluster.data, pid=pid)
        return Status(running=True, data=cluster.data, pid=pid, since=since, connections=connections)


def _connect(cluster: Cluster, timeout: int = 10) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a connection to the database `postgres`, given up after `timeout` seconds."""
    host = str(cluster.socket_folder)
    return psycopg.connect(
        host=host, port=PORT, user="postgres", dbname="postgres", connect_timeout=timeout, autocommit=True
    )


def _open_lock(folder: Path, name: str) -> int:
    """Return a descriptor of a lock file, private to our user."""
    return os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)


def _acquire(lock: int, operation: int, deadline: float, folder: Path) -> None:
    """Lock, at the latest at `deadline`: another process may be starting or stopping the server meanwhile."""
    while True:
        try:
            return fcntl.flock(lock, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                pids = watcher.listed(watcher.holders(lock))
                raise EmbeddedServerError(
                    f"another process (pid {pids}) has been starting or stopping the server in {folder} for too long:"
                    " see the log there, end that process, try again"
                ) from None
            time.sleep(0.01)


@contextlib.contextmanager
def _starting(folder: Path, deadline: float) -> Iterator[int]:
    """Hold the start lock; its descriptor is handed to processes that must not be overtaken if we are killed."""
    lock = _open_lock(folder, "start.lock")
    try:
        _acquire(lock, fcntl.LOCK_EX, deadline, folder)
        yield lock
        # Explicitly: a process that another thread forks meanwhile has a copy of the descriptor.
        fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)


@contextlib.contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Turn what the system refuses into an EmbeddedServerError that names file, reason and fix."""
    places = [Cluster(folder).path, folder, *placement.SYSTEM_PLACES]
    try:
        yield
    except PermissionError as error:
        raise EmbeddedServerError(
            f"{error.filename or folder}: {error.strerror}: the folder of the embedded server must be writable for, and"
            " belong to, the user who runs this"
        ) from error
    except OSError as error:
        if is_full_error(error):
            raise EmbeddedServerError(full_message(error.filename or full_place(places) or folder)) from None
        raise EmbeddedServerError(f"{error.filename or folder}: {error.strerror}") from error
    except psycopg.Error as error:
        if is_full_error(error) or (may_be_full(error) and full_place(places[:1])):
            raise EmbeddedServerError(full_message(places[0])) from None
        raise
