"""Runs a sandbox: as the only work of a process, or in a thread beside a test."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from comagic_pipeline.sandbox.faults import Faults
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import Settings
from comagic_pipeline.sandbox.transport import SandboxProtocol
from comagic_pipeline.sandbox.world import World

_HOST = "127.0.0.1"
_START_SECONDS = 10


def serve(port: int, world: World, settings: Settings | None = None) -> None:
    """Serve ``http://127.0.0.1:port/v2.0`` until the process is told to stop."""
    # Rows hold no cycles: searching them for some takes half of the time of making them.
    gc.set_threshold(200_000, 50, 50)
    sandbox = Sandbox(world, settings)
    sandbox.url = f"http://{_HOST}:{port}/v2.0"
    _server(sandbox, port).run()


@contextmanager
def running_sandbox(
    world: World | None = None, settings: Settings | None = None, faults: Faults | None = None
) -> Iterator[Sandbox]:
    """Provide a sandbox on a free port of 127.0.0.1, in a thread of this process."""
    sandbox = Sandbox(world or World(), settings, faults)
    server = _server(sandbox, port=0)
    thread = threading.Thread(target=server.run, name="sandbox", daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread)
        port = server.servers[0].sockets[0].getsockname()[1]
        sandbox.url = f"http://{_HOST}:{port}/v2.0"
        yield sandbox
    finally:
        server.should_exit = True
        thread.join()


def _server(sandbox: Sandbox, port: int) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            sandbox.app,
            host=_HOST,
            port=port,
            http=SandboxProtocol,
            loop="asyncio",
            ws="none",  # not needed, and loading it warns of deprecations
            lifespan="off",
            log_config=None,
            log_level="critical",  # torn connections are asked for here, not news
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the sandbox did not start")
        time.sleep(0.005)
