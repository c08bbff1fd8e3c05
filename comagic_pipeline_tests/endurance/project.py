"""A project that is treated badly: its embedded server, its daemon as `up` runs it, its command, and their killing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from psycopg.rows import dict_row

from comagic_pipeline.cli.code_server import CodeServer
from comagic_pipeline.cli.services import PROGRAMS, Service, ServiceError
from comagic_pipeline.config import CONFIG_VARIABLE, Config, load_config
from comagic_pipeline.dagster.automation.recovery import recover
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE, open_instance
from comagic_pipeline.operations.connections import (
    WAREHOUSE_DATABASE,
    embedded_folder,
    open_warehouse,
)
from comagic_pipeline.warehouse.embedded import EmbeddedServer, status
from comagic_pipeline_tests.deployment.test_embedded_server import children

PATIENCE = 300.0
"""Seconds for a load or a restart: a recovery, some repeated requests, two busy cores."""


class Project:
    """The processes of a project folder without web server. A context manager: at the end they are stopped."""

    def __init__(self, config: Config, random: Random) -> None:
        self.config = config
        self.server = EmbeddedServer(embedded_folder(config))
        self.restarts = 0
        self._random = random
        self._code_server: CodeServer | None = None
        self._daemon: Service | None = None

    def __enter__(self) -> "Project":
        self.server.start()
        self._start_services()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_services()
        self.server.close()

    def _stop_services(self) -> None:
        for service in (self._daemon, self._code_server):
            if service:
                service.__exit__()

    def _start_services(self) -> None:
        """What `up` does, but for the web server."""
        with open_instance(self.config) as instance:
            with open_warehouse(self.config) as warehouse:
                recover(self.config, instance, warehouse)
            self._code_server = CodeServer(self.config, print, [self.server.lock_fd])
            self._code_server.wait()
            workspace = str(self._code_server.workspace)
            command = [str(PROGRAMS / "dagster-daemon"), "run", "-w", workspace, "--log-level", "warning"]
            log = self.config.state_folder / f"dagster-daemon-{self.restarts}.log"
            self._daemon = Service("dagster-daemon", command, log, [self.server.lock_fd])

    def tend(self) -> None:
        """What `up` does twice a second, and the service manager when `up` ends because a service has ended."""
        self.server.start_again()
        assert self._daemon is not None
        assert self._code_server is not None
        try:
            self._daemon.check()
            self._code_server.tend()
        except ServiceError:
            self._stop_services()
            self.restarts += 1
            self._start_services()

    def load(self, arguments: Sequence[str], kills: Sequence[tuple[float, str]]) -> int:
        """Run `load`; after so many seconds kill what is named. The exit code, negative for a killed command."""
        log = self.config.state_folder / "load.log"
        command = [sys.executable, "-m", "comagic_pipeline.cli.main", "load", *arguments]
        environment = os.environ | {"PYTHONUNBUFFERED": "1", CONFIG_VARIABLE: str(self.config.path)}
        assert STORAGE_VARIABLE not in environment
        with (
            log.open("wb") as output,
            subprocess.Popen(
                command,
                env=environment,
                cwd=self.config.path.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                self._watch(process, list(kills))
            finally:
                process.kill()
        return process.returncode

    def _watch(self, process: subprocess.Popen[bytes], kills: list[tuple[float, str]]) -> None:
        began = time.monotonic()
        while process.poll() is None:
            seconds = time.monotonic() - began
            assert seconds < PATIENCE, self.said()
            if kills and seconds > kills[0][0]:
                self.kill(kills.pop(0)[1], process.pid)
            # Not the daemon: the service manager takes its time.
            self.server.start_again()
            time.sleep(0.1)

    def said(self) -> str:
        """The end of what the command has printed."""
        return (self.config.state_folder / "load.log").read_text()[-3000:]

    def kill(self, victim: str, command: int) -> None:
        """kill -9 of the command, the daemon, the code server, a backend or the postmaster, if there is one."""
        assert self._daemon is not None
        assert self._code_server is not None
        session = _session(self._code_server.pid)
        postmaster = status(self.server.folder).pid if victim in ("postmaster", "backend") else None
        pids = {
            "command": {command},
            "daemon": {self._daemon.pid},
            "code server": {pid for pid, words in session.items() if "grpc" in words or "code-server" in words},
            "postmaster": {postmaster} if postmaster else set(),
            "backend": children(postmaster, "postgres: postgres") if postmaster else set(),
        }[victim]
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(sorted(pids)), signal.SIGKILL)

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the warehouse, which may have been killed a moment ago; none of a table that is not made yet."""
        url = self.server.url(WAREHOUSE_DATABASE).replace("+psycopg", "")
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.server.start_again()
                with psycopg.connect(url, row_factory=dict_row, connect_timeout=10) as connection:
                    return connection.execute(sql.encode(), values).fetchall()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return []
            except psycopg.OperationalError as error:
                if "does not exist" in str(error):
                    return []
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def eventually(self, condition: Callable[[], Any], patience: float) -> bool:
        """Tend the services until the condition holds; False if it does not in time."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.tend()
            time.sleep(1)
        return True


def written_project(folder: Path, text: str) -> Config:
    """The configuration of a project with an embedded server."""
    path = folder / "comagic.yaml"
    path.write_text(text)
    return load_config(path)


def _session(pid: int) -> dict[int, str]:
    """The command lines of the living processes of a session."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(process.name)) == pid:
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return found
