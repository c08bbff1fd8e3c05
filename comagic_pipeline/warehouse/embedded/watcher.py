"""The process that starts the server, stops it when its last user is gone, and ends it when it does not stop.

One runs beside every server as long as the server runs, and one for a moment for each `stop`. It imports only the
standard library and is executed as a file, without `site`, so that it stays small. It has the rights of the server's
user, not those of root. What it shares with `server` (testing a lock, asking the server) lives here for that reason.
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
from collections.abc import Callable, Iterable, Sequence

SERVER_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
"""All that the server sees of our environment: secrets, PG* and TZ variables stay out."""

STOP_SECONDS = (60.0, 10.0)
"""Seconds that a server has after SIGINT until it gets SIGQUIT, and after that until its processes are killed.

A checkpoint of 256 MB takes seconds; what SIGQUIT leaves undone is recovered at the next start.
"""
KILL_SECONDS = 10.0
"""Seconds until a killed process counts as one that cannot be ended: it waits for a disk, or is out of our reach."""

_REPEAT_SECONDS = 1.0
_SETTLE_SECONDS = 1.0
"""Seconds that the processes of a killed server have to notice that it is gone."""
_ANSWER_SECONDS = 2.0
_STARTUP = b"user\0postgres\0database\0postgres\0\0"
_STARTUP_MESSAGE = struct.pack("!ii", 8 + len(_STARTUP), 196608) + _STARTUP
_TERMINATE_MESSAGE = b"X\0\0\0\4"
_CANNOT_CONNECT_NOW = b"C57P03"

Path = str | os.PathLike[str]
Processes = Callable[[], set[int]]


def is_locked(path: Path, probe: int = fcntl.LOCK_SH) -> bool:
    """Return whether a living process holds the lock file `path`. False when there is no such file.

    The default probe finds exclusive locks and is never taken for one itself.
    """
    try:
        lock = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return _is_held(lock, probe)
    finally:
        os.close(lock)


def holders(lock: int, locker: int | None = None) -> set[int]:
    """Return the pids of the other processes that hold the lock file `lock`, a descriptor, exclusively.

    With `locker`, only those that inherited the lock from this process. Only what Linux shows to our user is found.
    A process that merely has the file open does not hold the lock, and a process with a reused pid has neither.
    """
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()} if sys.platform == "linux" else set()
    return {pid for pid in pids - {os.getpid()} if _holds(pid, lock, locker)}


def answer(socket_file: Path) -> str | None:
    """Ask the server for a connection. "" when it gives one, else the reason; None when nobody listens.

    The server writes every refusal to its log: do not ask often.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(os.fspath(socket_file))
            connection.sendall(_STARTUP_MESSAGE)
            said = connection.recv(4096)
        except (TimeoutError, BlockingIOError):
            return "it does not answer"
        except OSError:
            return None
        with contextlib.suppress(OSError):
            connection.sendall(_TERMINATE_MESSAGE)
            while connection.recv(4096):
                pass  # until it no longer counts as a connection
    fields = said[5:].split(b"\0")
    if said and not (said.startswith(b"E") and _CANNOT_CONNECT_NOW in fields):
        return ""
    return next((field[1:].decode() for field in fields if field.startswith(b"M")), "it closed the connection")


def postmaster_pid(data: Path, socket_file: Path) -> int | None:
    """Return the pid of the server that listens on `socket_file`, None when none does, or in another container.

    Linux tells which process listens. Elsewhere `postmaster.pid` in `data` is read, after the socket has answered.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(os.fspath(socket_file))
        except OSError:
            return None
        if sys.platform == "linux":
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[0]) or None
    with open(os.path.join(data, "postmaster.pid")) as lines:
        return int(lines.readline())


def shut_down(lock: int, data: Path, socket_file: Path, seconds: Sequence[float] = STOP_SECONDS) -> bool:
    """Disconnect all clients, write a checkpoint, stop the server; escalate when it does not. False if it runs on.

    `lock` is a descriptor of server.lock: the file may be deleted, with the whole project, while the server runs.
    """

    def everyone() -> set[int]:
        return holders(lock) or {pid for pid in [postmaster_pid(data, socket_file)] if pid}

    def postmaster() -> set[int]:
        # Of a server whose postmaster was killed: each of the processes that it left.
        processes = everyone()
        return {pid for pid in processes if _parent(pid) not in processes}

    steps = [(signal.SIGINT, seconds[0], postmaster), (signal.SIGQUIT, seconds[1], postmaster)]
    if "recovery mode" in (answer(socket_file) or ""):
        # While PostgreSQL 18 recovers from the crash of one of its processes, a fast shutdown never ends: it waits for
        # a checkpointer that nobody has told to end.
        del steps[0]
    return _escalate([*steps, (signal.SIGKILL, KILL_SECONDS, everyone)], lambda: not _is_held(lock))


def _end_orphans(lock: int, seconds: float) -> None:
    """End what is left of a killed server that this process has started: a busy process does not notice its end."""

    def orphans() -> set[int]:
        # A new server may hold the lock already.
        return holders(lock, locker=os.getpid())

    settled = time.monotonic() + _SETTLE_SECONDS
    # Its logger may hold the lock a little longer: until then a new user would think that a watcher is missing.
    while _is_held(lock) and time.monotonic() < settled:
        time.sleep(0.02)
    steps = [(signal.SIGQUIT, seconds, orphans), (signal.SIGKILL, KILL_SECONDS, orphans)]
    _escalate(steps, lambda: not orphans())


def _escalate(steps: Iterable[tuple[signal.Signals, float, Processes]], is_over: Callable[[], bool]) -> bool:
    """Send one signal after the other to the processes of its step, each with its seconds, until it is over.

    Returns False if it is not. Signals are repeated every second: a process that is just being started may lose one.
    """
    for number, seconds, processes in steps:
        end, next_signal = time.monotonic() + seconds, 0.0
        while not is_over() and time.monotonic() < end:
            if time.monotonic() >= next_signal:
                pids = processes()
                if pids and number != signal.SIGINT and not next_signal:
                    _say(f"PostgreSQL (pid {listed(pids)}) has not stopped, it gets {number.name}")
                for pid in pids:
                    _send(pid, number, processes)
                next_signal = time.monotonic() + _REPEAT_SECONDS
            time.sleep(0.02)
    return is_over()


def listed(pids: Iterable[int]) -> str:
    """Pids for a message."""
    return ", ".join(map(str, sorted(pids))) or "unknown"


def _send(pid: int, number: signal.Signals, processes: Processes) -> None:
    """Signal a process, unless it is none of them any more: its pid may mean another one by now."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        handle = _handle(pid)
        try:
            if pid not in processes():
                return
            if handle is None:
                os.kill(pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
        finally:
            if handle is not None:
                os.close(handle)


def _handle(pid: int) -> int | None:
    """Return a descriptor that means this process only, whatever becomes of its pid.

    None before Linux 5.3 and elsewhere.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):
        return None


def _is_held(lock: int, probe: int = fcntl.LOCK_SH) -> bool:
    """Return whether somebody else holds the lock file that is open as `lock`."""
    try:
        fcntl.flock(lock, probe | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _holds(pid: int, lock: int, locker: int | None) -> bool:
    """Return whether a process has an open file that holds the lock, which `locker`, if given, has taken."""
    file = os.fstat(lock)
    # It may end meanwhile, and processes of other users are closed to us.
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), file):
                    with open(f"/proc/{pid}/fdinfo/{name}") as lines:
                        # lock: 1: FLOCK  ADVISORY  WRITE 14446 fe:00:2146323 0 EOF
                        locks = [line.split() for line in lines if line.startswith("lock:")]
                    if any(words[4] == "WRITE" and locker in (None, int(words[5])) for words in locks):
                        return True
    return False


def _parent(pid: int) -> int | None:
    """Return the pid of the parent of a process; None when it is gone or the system does not show it."""
    try:
        with open(f"/proc/{pid}/stat") as status:
            return int(status.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _say(message: str) -> None:
    """Write a line to the log of starts."""
    os.write(2, f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())} watcher: {message}\n".encode())


def _become(account: str) -> None:
    """Give up the rights of root for those of `account`: what belongs to others is out of reach then."""
    if account:
        uid, gid = map(int, account.split(":"))
        os.setegid(gid)
        os.seteuid(uid)


def _watch(
    folder: str,
    data: str,
    socket_file: str,
    account: str,
    seconds: Sequence[float],
    start_lock: int,
    command: Sequence[str],
) -> None:
    """Start the server (`command`; none: it runs already) as `account` ("uid:gid", "" for our own user) and watch it.

    The caller hands over its start lock and waits for the process that it started, which ends when the locks that
    tell of this watcher and of the server are held: a caller killed in between leaves no gap for a second server.
    """

    def leave_with_the_server(*_: object) -> None:
        pid, _status = os.waitpid(-1, os.WNOHANG)
        if pid:  # else it was merely stopped or continued
            _end_orphans(server_lock, seconds[1])
            os._exit(0)

    users = os.open(os.path.join(folder, "users.lock"), os.O_RDWR)
    is_ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os.read(is_ready, 1)
        os._exit(0)
    fcntl.flock(os.open(os.path.join(folder, "watchers.lock"), os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_SH)
    server_lock = os.open(os.path.join(folder, "server.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    if command:
        inherited = os.open(os.path.join(folder, "server.lock"), os.O_RDWR)
        fcntl.flock(inherited, fcntl.LOCK_EX)
    for descriptor in (is_ready, tell, start_lock):
        os.close(descriptor)
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
    _become(account)
    fcntl.flock(users, fcntl.LOCK_EX)
    shut_down(server_lock, data, socket_file, seconds)
    while _is_held(server_lock):  # nothing helped: nobody may start a second server
        time.sleep(1)


def _stop(folder: str, data: str, socket_file: str, account: str, seconds: Sequence[float]) -> bool:
    """Stop the server, whoever uses it. Writes the pids that are left to standard output when it does not end."""
    lock = os.open(os.path.join(folder, "server.lock"), os.O_RDWR)
    _become(account)
    is_stopped = shut_down(lock, data, socket_file, seconds)
    if not is_stopped:
        print(listed(holders(lock)))
    return is_stopped


def _main(mode: str, folder: str, data: str, socket_file: str, start_lock: str, *rest: str) -> int:
    """Do what `server` asks for: `mode` is "watch" or "stop". The exit code is 1 when the server cannot be stopped."""
    account, seconds, *command = rest
    server = folder, data, socket_file, account, [float(part) for part in seconds.split(",")]
    if mode == "stop":
        return 0 if _stop(*server) else 1
    _watch(*server, int(start_lock), command)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
