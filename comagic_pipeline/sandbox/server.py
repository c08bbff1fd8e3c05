"""The HTTP side of the sandbox: ``POST /v2.0``, the faults that befall it, and a record of every request."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comagic_pipeline.sandbox import control
from comagic_pipeline.sandbox.envelope import Call, EnvelopeError, read_call
from comagic_pipeline.sandbox.errors import ApiError
from comagic_pipeline.sandbox.faults import Fault, Faults
from comagic_pipeline.sandbox.service import Answer, Service
from comagic_pipeline.sandbox.settings import Settings
from comagic_pipeline.sandbox.transport import ClosedEarly, ResetConnection, SlowBody
from comagic_pipeline.sandbox.world import World

_REMEMBERED_REQUESTS = 10_000
_LOSSES = ("truncated_body", "closed_early")


@dataclass(frozen=True)
class RequestRecord:
    """A request as it was answered; secrets are masked.

    ``outcome`` is ``ok``, the mnemonic of an error, or the name of the fault that befell the request. ``rows`` and
    ``total_items`` are None where the answer has no rows.
    """

    number: int
    method: str
    params: dict[str, Any]
    outcome: str
    rows: int | None = None
    total_items: int | None = None
    points: int = 0


class Sandbox:
    """A Data API over a world.

    ``before_request`` is called with the method and the parameters before a request is answered, for a test that wants
    the world to change between two pages.
    """

    def __init__(self, world: World, settings: Settings | None = None, faults: Faults | None = None) -> None:
        self.world = world
        self.settings = settings or Settings()
        self.faults = faults or Faults()
        self.requests: deque[RequestRecord] = deque(maxlen=_REMEMBERED_REQUESTS)
        self.before_request: Callable[[str, dict[str, Any]], None] | None = None
        self.url = ""
        """Where it listens, with the path of the API; set by whoever runs it."""
        self._service = Service(world, self.settings)
        self._received = 0
        self.app = Starlette(
            routes=[Route("/v2.0", self._receive, methods=["POST"]), *control.routes(self)],
            # The lowest level: 10 000 full calls are some 30 MB, and time counts more than bytes on a local line.
            middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)],
        )
        self.app.router.redirect_slashes = False

    @property
    def points_spent(self) -> int:
        """Points charged since the start."""
        return self._service.points.spent

    @property
    def token(self) -> str:
        """A key that is accepted."""
        return next(token for token, state in self.settings.tokens.items() if state == "valid")

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        self._received += 1
        number = self._received
        try:
            call = read_call(body)
        except EnvelopeError as error:
            self.requests.append(RequestRecord(number, "", {}, error.mnemonic))
            return _json(error.envelope(error.request_id, self._service.limits()))
        if self.before_request is not None:
            self.before_request(call.method, call.params)
        fault = self.faults.take(call.method)
        if fault is not None and fault.kind == "slow_answer":
            await asyncio.sleep(fault.seconds)
        for mutation in fault.mutations if fault else ():
            mutation.apply(self.world)
        if fault is not None and fault.kind in ("http_status", "broken_body", "reset"):
            self.requests.append(RequestRecord(number, call.method, call.masked_params, fault.name))
            return _without_answer(fault)
        address = request.client.host if request.client else ""
        return self._answer(number, call, address, fault)

    def _answer(self, number: int, call: Call, address: str, fault: Fault | None) -> Response:
        try:
            if fault is not None and fault.kind == "error":
                raise self._asked_error(fault)
            answer = self._service.answer(call, address, is_lost=fault is not None and fault.kind in _LOSSES)
        except ApiError as error:
            self.requests.append(RequestRecord(number, call.method, call.masked_params, error.mnemonic))
            return _json(error.envelope(call.id, self._service.limits(error)))
        self._record(number, call, answer, fault)
        content = {"jsonrpc": "2.0", "id": call.id, "result": answer.result}
        match fault.kind if fault else None:
            case "truncated_body":
                body = msgspec.json.encode(content)
                return Response(body[: len(body) // 2], media_type="application/json")
            case "closed_early":
                return ClosedEarly(msgspec.json.encode(content))
            case "slow_body" if fault is not None:
                return SlowBody(msgspec.json.encode(content), fault.seconds)
            case _:
                return _json(content)

    def _asked_error(self, fault: Fault) -> ApiError:
        if fault.mnemonic == "limit_exceeded":
            return self._service.points.exceeded(fault.window)
        return ApiError(fault.mnemonic)

    def _record(self, number: int, call: Call, answer: Answer, fault: Fault | None) -> None:
        outcome = fault.name if fault else "ok"
        self.requests.append(
            RequestRecord(
                number, call.method, call.masked_params, outcome, answer.rows, answer.total_items, answer.points
            )
        )


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json; charset=UTF-8")


def _without_answer(fault: Fault) -> Response:
    if fault.kind == "reset":
        return ResetConnection()
    status = fault.status if fault.kind == "http_status" else 200
    return Response(f"<html><body><h1>{status}</h1></body></html>", status, media_type="text/html")
