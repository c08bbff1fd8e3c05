"""The process that starts the server, and stops it when its last user is gone, however that user went.

One runs beside every server for as long as the server runs. Therefore it imports nothing but the standard library
and is executed as a file, without `site`, so that it stays small. What it shares with `server` (asking a lock, shutting
down) lives here for that reason.
"""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time

SERVER_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
"""All that the server sees of our environment: secrets, PG* and TZ variables stay out."""


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether a living process holds the lock file `path`. False when there is no such file."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return _is_held(lock)
    finally:
        os.close(lock)


def postmaster_pid(data: str | os.PathLike[str], socket_file: str | os.PathLike[str]) -> int | None:
    """The pid of the server that listens on `socket_file`, None when none does.

    Linux tells which process listens. Elsewhere `postmaster.pid` in `data` is read, after the socket has answered.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(os.fspath(socket_file))
        except OSError:
            return None
        if sys.platform == "linux":
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[0])
    with open(os.path.join(data, "postmaster.pid")) as lines:
        return int(lines.readline())


def shut_down(
    server_lock: int,
    data: str | os.PathLike[str],
    socket_file: str | os.PathLike[str],
    deadline: float = float("inf"),
) -> bool:
    """Disconnect all clients, write a checkpoint, stop the server. False if it ran on at `deadline` (monotonic).

    `server_lock` is a descriptor: the lock file may be deleted, with the whole project, while the server runs.
    A server that has not opened its socket yet is waited for: it opens it before anything that takes long.
    """
    told = None
    while _is_held(server_lock):
        if time.monotonic() > deadline:
            return False
        pid = postmaster_pid(data, socket_file)
        if pid and pid != told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # PostgreSQL's fast shutdown
            told = pid
        time.sleep(0.02)
    return True


def _is_held(lock: int) -> bool:
    """Whether somebody else holds the lock file that is open as `lock`."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _main(folder: str, data: str, socket_file: str, start_lock: str, account: str, *command: str) -> None:
    """Start the server (`command`; none: it runs already) as `account` ("uid:gid", "" for our own user) and watch it.

    The caller hands over its start lock and waits for the process that it started, which ends when the locks that
    tell of this watcher and of the server are held: a caller killed in between leaves no gap for a second server.
    """

    def leave_with_the_server(*_: object) -> None:
        pid, _status = os.waitpid(-1, os.WNOHANG)
        if pid:  # else it was merely stopped or continued
            # Its logger may hold the lock a little longer: until then a new user would think that a watcher is missing.
            end = time.monotonic() + 1
            while _is_held(server_lock) and time.monotonic() < end:
                time.sleep(0.02)
            os._exit(0)

    users = os.open(os.path.join(folder, "users.lock"), os.O_RDWR)
    fcntl.flock(os.open(os.path.join(folder, "watchers.lock"), os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_SH)
    server_lock = os.open(os.path.join(folder, "server.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    if command:
        inherited = os.open(os.path.join(folder, "server.lock"), os.O_RDWR)
        fcntl.flock(inherited, fcntl.LOCK_EX)
    if os.fork():
        os._exit(0)
    os.close(int(start_lock))
    if command:
        signal.signal(signal.SIGCHLD, leave_with_the_server)
        uid, gid = map(int, account.split(":")) if account else (None, None)
        subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            env=SERVER_ENVIRONMENT,
            start_new_session=True,
            pass_fds=[inherited],
            user=uid,
            group=gid,
            extra_groups=[] if account else None,
        )
        os.close(inherited)
    fcntl.flock(users, fcntl.LOCK_EX)
    shut_down(server_lock, data, socket_file)


if __name__ == "__main__":
    _main(*sys.argv[1:])
