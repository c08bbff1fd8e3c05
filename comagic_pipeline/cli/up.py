"""`up`: prepare instance and warehouse, then run web server, daemon and code server until Ctrl-C."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import click
from rich.console import Console

from comagic_pipeline.cli import stop_signal
from comagic_pipeline.cli.code_server import CodeServer
from comagic_pipeline.cli.logs import rotate_all
from comagic_pipeline.cli.services import PROGRAMS, Service, answers, require_free_port, sandbox_api
from comagic_pipeline.cli.up_lock import only_services, only_up
from comagic_pipeline.cli.web_server import HOSTS_VARIABLE, LOOPBACK
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.automation.recovery import recover
from comagic_pipeline.dagster.environment import instance_home
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.operations.connections import embedded_folder, open_warehouse
from comagic_pipeline.operations.views import make_views
from comagic_pipeline.warehouse.embedded import EmbeddedServer, status

_ROTATE_SECONDS = 60.0


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
        os.environ[HOSTS_VARIABLE] = ",".join([host, *allowed_hosts])
        if host not in LOOPBACK:
            console.print(
                f"warning: --host {host}: the UI has no login, so that everybody who reaches this port can load, "
                'delete and stop; see "A login before the UI" in docs/operate.md',
                soft_wrap=True,
            )
        _serve(config, host, port, console, stack)


def _serve(config: Config, host: str, port: int, console: Console, stack: ExitStack) -> None:
    """Start the services on the stack, the web server's address last, and tend them until one ends."""
    say, url = partial(console.print, soft_wrap=True, markup=False, highlight=False), f"http://{host}:{port}"
    servers = _keep_alive(config, stack)
    inherited = [server.lock_fd for server in servers]
    # The first to start and the last to end: runs are its children, and nobody may ask it for more of them.
    code_server = stack.enter_context(CodeServer(config, say, inherited))
    code_server.wait()
    workspace = ["-w", str(code_server.workspace), "--log-level", "warning"]
    ui = [sys.executable, "-m", "comagic_pipeline.cli.web_server", *workspace, "-h", host, "-p", str(port)]
    services = [
        stack.enter_context(Service(name, command, config.state_folder / f"{name}.log", inherited))
        for name, command in (
            ("dagster-webserver", ui),
            ("dagster-daemon", [str(PROGRAMS / "dagster-daemon"), "run", *workspace]),
        )
    ]
    services[0].wait(lambda: answers(f"{url}/server_info"), say)
    console.print(f"[bold]Dagster UI: {url}[/bold]   (Ctrl-C stops everything)")
    rotated = time.monotonic()
    while True:
        stop_signal.heed()
        for service in services:
            service.check()
        for server in servers:
            # The daemon cannot: its sensors do not run without its storage.
            server.start_again()
        code_server.tend()
        if time.monotonic() - rotated > _ROTATE_SECONDS:
            rotate_all(config.state_folder)
            rotated = time.monotonic()
        time.sleep(0.5)


def _keep_alive(config: Config, stack: ExitStack) -> list[EmbeddedServer]:
    """Return the embedded server, if it is used, with a lock that the services inherit: it lives as long as they do."""
    folder = embedded_folder(config)
    if not status(folder).running:
        return []
    server = stack.enter_context(EmbeddedServer(folder))
    os.set_inheritable(server.lock_fd, True)
    return [server]


@click.command("up")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the web server listens on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port of the web server.")
@click.option("--allow-host", "hosts", multiple=True, help="Another name of this machine in browsers; may be repeated.")
def command(host: str, port: int, hosts: tuple[str, ...]) -> None:
    """Run the Dagster web server, daemon and code server: UI, backfills, schedules. Ctrl-C stops them."""
    config = load_config()

    up(config, host, port, Console(), hosts)
