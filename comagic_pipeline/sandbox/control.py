"""A small control surface over HTTP, for tests that run the sandbox in another process.

- ``GET /sandbox/requests``: what was asked and answered, oldest first
- ``GET /sandbox/faults``, ``POST`` a list of them, ``DELETE`` all
- ``POST /sandbox/world``: a list of mutations, applied at once
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comagic_pipeline.sandbox.faults import Fault, Mutation

if TYPE_CHECKING:
    from comagic_pipeline.sandbox.server import Sandbox


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the routes that steer a sandbox."""

    async def requests(_: Request) -> Response:
        return _json({"points_spent": sandbox.points_spent, "requests": list(sandbox.requests)})

    async def faults(request: Request) -> Response:
        if request.method == "DELETE":
            sandbox.faults.clear()
        elif request.method == "POST":
            try:
                sandbox.faults.add(*msgspec.json.decode(await request.body(), type=list[Fault]))
            except msgspec.MsgspecError as error:
                return _json({"error": str(error)}, 400)
        return _json(sandbox.faults.rules)

    async def world(request: Request) -> Response:
        try:
            for mutation in msgspec.json.decode(await request.body(), type=list[Mutation]):
                mutation.apply(sandbox.world)
        except (msgspec.MsgspecError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        return Response(status_code=204)

    return [
        Route("/sandbox/requests", requests),
        Route("/sandbox/faults", faults, methods=["GET", "POST", "DELETE"]),
        Route("/sandbox/world", world, methods=["POST"]),
    ]


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
