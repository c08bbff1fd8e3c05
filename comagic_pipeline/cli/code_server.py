"""The code server of `up`: one process with the definitions, shared by web server, daemon and runs.

On their own both would start one, and the daemon replaces its own every minute, at 5 s of CPU each time (Dagster 1.13).
`dagster code-server start` keeps the definitions in a process below it, and replaces that one when somebody presses
"Reload definitions"; `dagster api grpc` alone would ignore the button.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

import psutil
import yaml

from comagic_pipeline.cli.services import PROGRAMS, Say, Service, ServiceError
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.environment import PROJECT_FOLDER
from comagic_pipeline.warehouse.embedded import socket_folder

LOCATION = "comagic_pipeline"
"""The name of the code location, as in workspace.yaml: the on/off state of schedules and sensors belongs to it."""
_NAME = "dagster-code-server"
_LINK = "socket"
_LONGEST_NAME = "12345678-123.sock"
_THREADS = 12
"""As many as the two code servers of web server and daemon had together; a launch of a long backfill takes one."""
_HEARTBEAT_SECONDS = 600
"""The process with the definitions ends itself when the one above it is silent for so long. It matters only where that
one was killed, and Dagster's 30 are too few for a busy machine."""
_LOOK_SECONDS = 5.0
_MOST_STARTS, _STARTS_WITHIN = 3, 600.0
"""So many starts again within so many seconds: something is wrong that no further one helps."""


class CodeServer:
    """The code server as long as the block lasts. `wait` for it, then `tend` it now and then."""

    def __init__(
        self,
        config: Config,
        say: Say,
        pass_fds: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it in the environment of the open instance, which it gets again whenever it is started again."""
        self._log, self._say, self._pass_fds, self._clock = config.state_folder / f"{_NAME}.log", say, pass_fds, clock
        folder = config.state_folder.absolute() / "code-server"
        socket_folder(folder, _LONGEST_NAME)
        self._folder = folder.resolve()
        self.workspace = config.state_folder / "workspace.yaml"
        """The workspace file for web server and daemon."""
        place = {"socket": str(self._folder / _LINK), "location_name": LOCATION}
        self.workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": place}]}), encoding="utf-8")
        self._environment = os.environ | {"DAGSTER_GRPC_MAX_WORKERS": str(_THREADS)}
        self._starts: deque[float] = deque(maxlen=_MOST_STARTS)
        self._number = 0
        self._looked = clock()
        self._service = self._start()

    def __enter__(self) -> "CodeServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._service.__exit__()

    @property
    def pid(self) -> int:
        """The pid of the process that web server and daemon talk to."""
        return self._service.pid

    def wait(self) -> None:
        """Wait until it has loaded the definitions; raises ServiceError as `Service.wait` does."""
        self._service.wait(self._listens, self._say)

    def tend(self) -> None:
        """Start it again when it was killed, or the process below it with the definitions.

        Raises ServiceError when that happens again and again.
        """
        if self._clock() - self._looked < _LOOK_SECONDS:
            return
        self._looked = self._clock()
        try:
            self._service.check()
        except ServiceError as error:
            self._start_again(str(error))
            return
        if self._listens() and not self._has_definitions():
            self._start_again(f"{_NAME}: the process with the definitions ended; see {self._log}")

    def _start(self) -> Service:
        """Start it on a socket of a new name, to which the link of a known name leads.

        A server that ends removes its socket, maybe when the next one listens already.
        """
        for old in self._folder.glob("*.sock"):
            old.unlink()
        self._number += 1
        place = self._folder / f"{os.getpid()}-{self._number}.sock"
        link = self._folder / _LINK
        link.unlink(missing_ok=True)
        link.symlink_to(place.name)
        command = [str(PROGRAMS / "dagster"), "code-server", "start", "-m", f"{LOCATION}.definitions"]
        options = {
            "socket": place,
            "location-name": LOCATION,
            "working-directory": PROJECT_FOLDER,
            "max-workers": _THREADS,
            "heartbeat-ttl": _HEARTBEAT_SECONDS,
            "log-level": "warning",
        }
        command += [f"--{name}={value}" for name, value in options.items()]
        command.append("--inject-env-vars-from-instance")  # .env, as Dagster's own code servers do
        return Service(_NAME, command, self._log, self._pass_fds, self._environment)

    def _start_again(self, reason: str) -> None:
        now = self._clock()
        if len(self._starts) == _MOST_STARTS and now - self._starts[0] < _STARTS_WITHIN:
            raise ServiceError(f"{reason} (started again {_MOST_STARTS} times in {now - self._starts[0]:.0f} s)")
        self._starts.append(now)
        # Runs that it has started are stopped in order: they say which days they have done.
        self._service.__exit__()
        self._service = self._start()
        self._say(f"{reason}; started again, runs that were going on are stopped")

    def _listens(self) -> bool:
        """Return whether the process below it is ready: only then it takes connections itself."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._folder / _LINK)) == 0

    def _has_definitions(self) -> bool:
        """Return whether the process below it lives; it does so too when the definitions have an error."""
        try:
            below = psutil.Process(self._service.pid).children()
            return any(process.status() != psutil.STATUS_ZOMBIE for process in below)
        except psutil.Error:
            return True  # it ended at this moment, which the next look tells
