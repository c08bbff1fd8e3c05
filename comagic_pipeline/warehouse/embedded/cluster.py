"""The database cluster on disk: settings, first initialisation, socket, log, and what a crash left in it.

Everything here runs under the start lock while no process of the server lives.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from comagic_pipeline.core.disks import full_message, says_full
from comagic_pipeline.warehouse.embedded import binaries, placement
from comagic_pipeline.warehouse.embedded.errors import EmbeddedServerError
from comagic_pipeline.warehouse.embedded.watcher import SERVER_ENVIRONMENT

PORT = 5432
"""No TCP port: it is part of the name of the socket."""

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "max_connections": "200",
    # Half of what a laptop of 2 GB can spare; the page cache of the system serves the rest.
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    # A small machine has no room for more: with 4GB the log was 273 MB after 27 000 calls.
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    # Not in /dev/shm: a container has 64 MB of it, and systemd empties it when the user logs out.
    "dynamic_shared_memory_type": "mmap",
    # A file per weekday, overwritten after a week.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "server-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_timezone": "UTC",
    # Failed statements, their values and their details hold telephone numbers: they go to the client alone.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

_NO_PID = 2**31 - 1
_NEW_CLUSTER = "100 MB"
"""What a new one takes, with the databases of warehouse and Dagster, 32 MB of its log and some room for rows."""


@dataclass(frozen=True)
class Cluster:
    """The places of a cluster below the folder of an embedded server."""

    folder: Path

    @property
    def path(self) -> Path:
        """Real path of the folder that holds the data; it may lie elsewhere, see `placement`."""
        return (self.folder / "cluster").resolve()

    @property
    def data(self) -> Path:
        """The data folder of PostgreSQL."""
        return self.path / "data"

    @property
    def socket_folder(self) -> Path:
        """Real path of the folder of the socket, what libpq calls the host."""
        return (self.path / "socket").resolve()

    @property
    def socket_file(self) -> Path:
        """The socket itself."""
        return self.socket_folder / f".s.PGSQL.{PORT}"

    @property
    def start_log(self) -> Path:
        """What the server says before it opens its own log in `data/log`."""
        return self.path / "start.log"

    def log_tail(self, lines: int = 8) -> str:
        """Return the last lines of the log that was written last."""
        logs = [log for log in (self.start_log, *self.data.glob("log/*.log")) if log.exists() and log.stat().st_size]
        if not logs:
            return ""
        newest = max(logs, key=lambda log: log.stat().st_mtime)
        return "\n".join([f"{newest}:", *newest.read_text(errors="replace").splitlines()[-lines:]])


def prepare(cluster: Cluster, account: placement.Account | None, start_lock: int) -> list[str]:
    """Make the cluster ready for `account` (None: ourselves) to start it, and return the command that does.

    Raises EmbeddedServerError when that is not possible.
    """
    placement.cluster_folder(cluster.folder, account)
    installation = placement.installation_for(account)
    if not cluster.data.exists():
        _initialise(cluster, installation, account, start_lock)
    _check_version(cluster.data)
    if account and cluster.data.stat().st_uid == 0:
        placement.give(cluster.data, account)
    placement.private_folder(cluster.data, account)
    placement.socket_folder(cluster.path / "socket", cluster.socket_file.name, account)
    _forget_dead_server(cluster)
    settings = SETTINGS | {"unix_socket_directories": str(cluster.socket_folder)}
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return [str(installation / "bin" / "postgres"), "-D", str(cluster.data), *options]


def _initialise(cluster: Cluster, installation: Path, account: placement.Account | None, start_lock: int) -> None:
    """Run initdb beside the data folder and rename the result, so that a killed initdb is never taken for data.

    initdb inherits the start lock: should we be killed, the next starter waits until it has ended.
    """
    unfinished = cluster.path / "data.unfinished"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    placement.private_folder(unfinished, account)
    # C.UTF-8 sorts by code point, knows the case of all letters and, built in, needs no locale of the system.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [str(installation / "bin" / "initdb"), "-D", str(unfinished), "--username=postgres", "--auth=trust"]
    memory = f"--set=dynamic_shared_memory_type={SETTINGS['dynamic_shared_memory_type']}"
    result = subprocess.run(  # noqa: S603
        [*command, *locale, memory],
        cwd="/",
        env=SERVER_ENVIRONMENT,
        pass_fds=[start_lock],
        capture_output=True,
        text=True,
        check=False,
        **(account.process_arguments() if account else {}),
    )
    if result.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        if says_full(result.stderr):
            raise EmbeddedServerError(f"{full_message(cluster.path)}, {_NEW_CLUSTER} for a new database")
        complaints = [line for line in result.stderr.splitlines() if re.search("error|fatal|not", line, re.IGNORECASE)]
        raise EmbeddedServerError(
            f"initdb could not make {cluster.data}: {' '.join(complaints) or result.stderr.strip()}"
        )
    unfinished.rename(cluster.data)


def _check_version(data: Path) -> None:
    """Raise EmbeddedServerError unless `data` was made by the major version that the wheel brings."""
    version_file = data / "PG_VERSION"
    version = version_file.read_text().strip() if version_file.exists() else "none"
    if version != binaries.MAJOR_VERSION:
        raise EmbeddedServerError(
            f"{data} holds data of PostgreSQL {version}, the installed wheel brings {binaries.MAJOR_VERSION}: install"
            " the wheel that made them and dump them with pg_dumpall, or remove the folder and load again"
        )


def _forget_dead_server(cluster: Cluster) -> None:
    """Let PostgreSQL start over what a killed server left, even if its pid belongs to another process by now.

    Of `postmaster.pid` only the pid is replaced: PostgreSQL reads the rest to find backends of a server that we did not
    start. An empty one (power loss) says nothing and would stop the start.
    """
    Path(f"{cluster.socket_file}.lock").unlink(missing_ok=True)
    pid_file = cluster.data / "postmaster.pid"
    if not pid_file.exists():
        return
    # The data folder is not ours when we are root: a link must not lead us to another file.
    descriptor = os.open(pid_file, os.O_RDWR | os.O_NOFOLLOW)
    with open(descriptor, "r+b") as file:
        _pid, *rest = file.read().splitlines() or [b""]
        file.seek(0)
        file.write(b"\n".join([str(_NO_PID).encode(), *rest, b""]))
        file.truncate()
    if not rest:
        pid_file.unlink()
