"""`up`: the Dagster webserver and daemon, after the one step that prepares instance and warehouse."""

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from comagic_pipeline.commands.services import Service, answers, require_free_port, sandbox_api
from comagic_pipeline.config import Config
from comagic_pipeline.instance import PROJECT_FOLDER, open_instance
from comagic_pipeline.recovery import recover
from comagic_pipeline.resources import embedded_folder, make_views, open_warehouse
from comagic_pipeline.warehouse.embedded import EmbeddedServer, status

_PROGRAMS = Path(sys.executable).parent
"""Where Dagster's commands are: beside the interpreter, whether the environment is activated or not."""


def up(config: Config, host: str, port: int, console: Console) -> None:
    """Run the services until the process is told to stop (Ctrl-C).

    Raises ConfigError, WarehouseError or EmbeddedServerError before a service starts, ServiceError when one ends.
    """
    require_free_port(port, "--port")
    with ExitStack() as stack:
        sandbox = stack.enter_context(sandbox_api(config))
        instance = stack.enter_context(open_instance(config))
        with open_warehouse(config) as warehouse:
            recover(config, instance, warehouse)
            for warning in make_views(config, warehouse):
                console.print(f"warning: {warning}", soft_wrap=True)
            console.print(f"warehouse: {warehouse.address}", soft_wrap=True)
        if sandbox:
            console.print(f"sandbox API: {sandbox}")
        workspace = ["-w", str(PROJECT_FOLDER / "workspace.yaml"), "--log-level", "warning"]
        webserver = ["dagster-webserver", *workspace, "-h", host, "-p", str(port)]
        servers = _keep_alive(config, stack)
        inherited = [server.lock_fd for server in servers]
        services = [
            stack.enter_context(Service(name, [str(_PROGRAMS / name), *arguments], _log(config, name), inherited))
            for name, *arguments in (webserver, ["dagster-daemon", "run", *workspace])
        ]
        services[0].wait(lambda: answers(f"http://{host}:{port}/server_info"))
        console.print(f"[bold]Dagster UI: http://{host}:{port}[/bold]   (Ctrl-C stops everything)")
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
