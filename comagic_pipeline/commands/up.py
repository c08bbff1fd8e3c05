"""`up`: the Dagster webserver and daemon, after the one step that prepares instance and warehouse."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from comagic_pipeline.commands.services import Service, answers, require_free_port, sandbox_api
from comagic_pipeline.commands.up_lock import only_services, only_up
from comagic_pipeline.commands.web_server import HOSTS_VARIABLE, LOOPBACK
from comagic_pipeline.config import Config
from comagic_pipeline.dagster_environment import PROJECT_FOLDER, instance_home
from comagic_pipeline.instance import open_instance
from comagic_pipeline.recovery import recover
from comagic_pipeline.resources import embedded_folder, make_views, open_warehouse
from comagic_pipeline.warehouse.embedded import EmbeddedServer, status

_PROGRAMS = Path(sys.executable).parent
"""Where Dagster's commands are: beside the interpreter, whether the environment is activated or not."""


def up(config: Config, host: str, port: int, console: Console, allowed_hosts: Sequence[str] = ()) -> None:
    """Run the services until the process is told to stop (Ctrl-C).

    Browsers may use the web server under the names of this machine's loopback, `host` and `allowed_hosts`.
    Raises ConfigError, WarehouseError or EmbeddedServerError before a service starts, ServiceError when one ends.
    """
    instance_home()
    url = f"http://{host}:{port}"
    with ExitStack() as stack:
        stack.enter_context(only_up(config, url))
        require_free_port(port, "--port")
        sandbox = stack.enter_context(sandbox_api(config))
        instance = stack.enter_context(open_instance(config))
        stack.enter_context(only_services())
        with open_warehouse(config) as warehouse:
            recover(config, instance, warehouse)
            for warning in make_views(config, warehouse):
                console.print(f"warning: {warning}", soft_wrap=True)
            console.print(f"warehouse: {warehouse.address}", soft_wrap=True)
        if sandbox:
            console.print(f"sandbox API: {sandbox}")
        workspace = ["-w", str(PROJECT_FOLDER / "workspace.yaml"), "--log-level", "warning"]
        os.environ[HOSTS_VARIABLE] = ",".join([host, *allowed_hosts])
        if host not in LOOPBACK:
            console.print(
                f"warning: --host {host}: the UI has no login, so that everybody who reaches this port can load, "
                'delete and stop; see "A login before the UI" in docs/operate.md',
                soft_wrap=True,
            )
        ui = [sys.executable, "-m", "comagic_pipeline.commands.web_server", *workspace, "-h", host, "-p", str(port)]
        servers = _keep_alive(config, stack)
        inherited = [server.lock_fd for server in servers]
        services = [
            stack.enter_context(Service(name, command, _log(config, name), inherited))
            for name, command in (
                ("dagster-webserver", ui),
                ("dagster-daemon", [str(_PROGRAMS / "dagster-daemon"), "run", *workspace]),
            )
        ]
        services[0].wait(lambda: answers(f"{url}/server_info"))
        console.print(f"[bold]Dagster UI: {url}[/bold]   (Ctrl-C stops everything)")
        while True:
            for service in services:
                service.check()
            for server in servers:
                # The daemon cannot: its sensors do not run without its storage.
                server.start_again()
            time.sleep(0.5)


def _log(config: Config, name: str) -> Path:
    return config.state_folder / f"{name}.log"


def _keep_alive(config: Config, stack: ExitStack) -> list[EmbeddedServer]:
    """The embedded server, if it is used, with a lock that the services inherit: it lives as long as they do."""
    folder = embedded_folder(config)
    if not status(folder).running:
        return []
    server = stack.enter_context(EmbeddedServer(folder))
    os.set_inheritable(server.lock_fd, True)
    return [server]
