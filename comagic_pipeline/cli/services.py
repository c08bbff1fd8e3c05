"""Processes that a command starts and ends: the sandbox API, the web server, the daemon, the code server."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
import psutil

from comagic_pipeline.cli import stop_signal
from comagic_pipeline.cli.logs import open_log
from comagic_pipeline.config import SANDBOX, SANDBOX_PORT, SANDBOX_URL_VARIABLE, Config, ConfigError

_STOP_SECONDS = 20.0
_ANSWER_SECONDS = 10.0
"""How long a service of this machine may take for an answer: on a busy one an easy page took more than two."""
_LOOK_SECONDS = 10.0
"""How often it is told that a service is still starting."""
_IDLE_SECONDS = 600.0
"""After how long a service that starts, prints nothing and uses no CPU is given up."""
_IDLE_CPU_SECONDS = 5.0
"""A process that only waits uses less in that time."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ServiceError(Exception):
    """A process that the command needs did not start or ended by itself."""


PROGRAMS = Path(sys.executable).parent
"""Where Dagster's commands are: beside the interpreter, whether the environment is activated or not."""
Say = Callable[[str], None]
"""Tells a line to the person at the terminal."""
_say: Say = partial(click.echo, err=True)


class Service:
    """A process that lives as long as the command; what it prints goes to a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, with the variables of `environment` besides our own."""
        self.name, self.log = name, log
        with open_log(log) as output:
            output.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {name} starts\n".encode())
            self._child = subprocess.Popen(  # noqa: S603
                command,
                pass_fds=pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | (environment or {}),
                # Ctrl-C is for the command, which then stops its services in order.
                start_new_session=True,
                preexec_fn=partial(_prepare, os.getpid()),
            )

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        # The whole session, for a code server outlives its daemon while a run goes on in it. SIGINT, for a run takes it
        # as the wish to stop and reports the days that it has done; SIGTERM would end it without a word.
        is_left, deadline = self._signal(signal.SIGINT), time.monotonic() + _STOP_SECONDS
        while is_left and time.monotonic() < deadline:
            time.sleep(0.1)
            is_left = self._signal(0)
        self._signal(signal.SIGKILL)
        self._child.wait()

    def _signal(self, number: int) -> bool:
        """Send a signal to all processes of the session (0: to look); False when there are none."""
        self._child.poll()
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return False
        return True

    @property
    def pid(self) -> int:
        """The pid of the process, and the id of the session of all that it starts."""
        return self._child.pid

    def check(self) -> None:
        """Raise ServiceError when the process has ended."""
        if self._child.poll() is not None:
            raise ServiceError(f"{self.name} ended with exit code {self._child.returncode}; see {self.log}")

    def wait(
        self,
        is_ready: Callable[[], bool],
        say: Say = _say,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wait until it is ready, as long as it lives and works, and say every 10 seconds that it is starting.

        Raises ServiceError when it ends before, or has been silent and idle for 10 minutes.
        """
        began = looked = busy = clock()
        cpu, size = self._cpu_seconds(), _size(self.log)
        while not is_ready():
            self.check()
            stop_signal.heed()
            sleep(0.1)
            if (now := clock()) - looked < _LOOK_SECONDS:
                continue
            looked = now
            say(f"{self.name} is starting ({now - began:.0f} s), see {self.log}")
            if _size(self.log) != size or self._cpu_seconds() - cpu > _IDLE_CPU_SECONDS:
                cpu, size, busy = self._cpu_seconds(), _size(self.log), now
            if now - busy > _IDLE_SECONDS:
                raise ServiceError(f"{self.name} did nothing for {now - busy:.0f} s and was given up; see {self.log}")

    def processes(self) -> list[psutil.Process]:
        """Return the process and the living ones that descend from it."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        return []

    def _cpu_seconds(self) -> float:
        total = 0.0
        for process in self.processes():
            with suppress(psutil.Error):
                # Those of children that have ended included, where the system tells.
                total += sum(process.cpu_times()[:4])
        return total


@contextmanager
def sandbox_api(config: Config) -> Iterator[str | None]:
    """Provide the sandbox's address while the block lasts; start it when a source needs it and it does not answer."""
    if not any(source.base_url == SANDBOX for source in config.sources):
        yield None
        return
    with ExitStack() as stack:
        url = os.environ.get(SANDBOX_URL_VARIABLE)
        if url is None:
            port = SANDBOX_PORT if not _listens(SANDBOX_PORT) or _is_sandbox(SANDBOX_PORT) else free_port()
            url = f"http://127.0.0.1:{port}/v2.0"
            if not _is_sandbox(port):
                command = [sys.executable, "-m", "comagic_pipeline.cli.main", "sandbox", "--port", str(port)]
                log = config.state_folder / "sandbox.log"
                stack.enter_context(Service("the sandbox API", command, log)).wait(lambda: _is_sandbox(port))
            os.environ[SANDBOX_URL_VARIABLE] = url
            stack.callback(os.environ.pop, SANDBOX_URL_VARIABLE, None)
        yield url


def _prepare(parent: int) -> None:
    """Make the process heed SIGINT, and on Linux let it end when the command, its parent, is killed."""
    # A shell ignores it on behalf of what it starts in the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)  # killed before the kernel was asked


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine without the proxy that the environment may name."""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def answers(url: str) -> bool:
    """Return whether somebody answers at this address of this machine, with whatever status."""
    try:
        with _direct.open(url, timeout=_ANSWER_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def free_port() -> int:
    """Return a port of this machine that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def require_free_port(port: int, option: str) -> None:
    """Raise ConfigError when somebody listens on the port already."""
    if _listens(port):
        raise ConfigError(f"{option} {port}: another process listens on this port; choose another one")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_sandbox(port: int) -> bool:
    try:
        with _direct.open(f"http://127.0.0.1:{port}/sandbox/faults", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
