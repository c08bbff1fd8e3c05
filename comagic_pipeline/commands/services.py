"""Processes that belong to a command: the sandbox API, the Dagster webserver and daemon. They end with it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from comagic_pipeline.config import SANDBOX, SANDBOX_PORT, SANDBOX_URL_VARIABLE, Config, ConfigError

_START_SECONDS = 90.0
_STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ServiceError(Exception):
    """A process that the command needs did not start or ended by itself."""


class Service:
    """A process that lives as long as the command; what it prints goes to a file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, pass_fds: Sequence[int] = ()) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._child = subprocess.Popen(  # noqa: S603
                command,
                pass_fds=pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the command, which then stops its services in order.
                start_new_session=True,
                preexec_fn=partial(_end_with, os.getpid()) if sys.platform == "linux" else None,
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
        """Raises ServiceError when the process has ended."""
        if self._child.poll() is not None:
            raise ServiceError(f"{self.name} ended with exit code {self._child.returncode}; see {self.log}")

    def wait(self, is_ready: Callable[[], bool]) -> None:
        """Wait until it is ready; raises ServiceError when it ends before, or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} was not ready after {_START_SECONDS:.0f} s; see {self.log}")
            time.sleep(0.1)


@contextmanager
def sandbox_api(config: Config) -> Iterator[str | None]:
    """The sandbox's address while the block lasts, started when a source asks for it and it does not answer yet."""
    if not any(source.base_url == SANDBOX for source in config.sources):
        yield None
        return
    with ExitStack() as stack:
        url = os.environ.get(SANDBOX_URL_VARIABLE)
        if url is None:
            port = SANDBOX_PORT if not _listens(SANDBOX_PORT) or _is_sandbox(SANDBOX_PORT) else free_port()
            url = f"http://127.0.0.1:{port}/v2.0"
            if not _is_sandbox(port):
                command = [sys.executable, "-m", "comagic_pipeline.cli", "sandbox", "--port", str(port)]
                log = config.state_folder / "sandbox.log"
                stack.enter_context(Service("the sandbox API", command, log)).wait(lambda: _is_sandbox(port))
            os.environ[SANDBOX_URL_VARIABLE] = url
            stack.callback(os.environ.pop, SANDBOX_URL_VARIABLE, None)
        yield url


def _end_with(parent: int) -> None:
    """Ask the kernel to stop this process when the command, its parent, is killed and cannot do so itself."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)  # killed before the kernel was asked


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine without the proxy that the environment may name."""


def answers(url: str) -> bool:
    """True when somebody answers at this address of this machine, with whatever status."""
    try:
        with _direct.open(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def free_port() -> int:
    """A port of this machine that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def require_free_port(port: int, option: str) -> None:
    """Raises ConfigError when somebody listens on the port already."""
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
