"""Answers that no well-behaved server gives: torn, slow and reset connections."""

import asyncio
import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_TRANSPORT = "sandbox.transport"
_PIECES = 10


class SandboxProtocol(H11Protocol):
    """uvicorn's HTTP, which lets the application see its connection: no standard way to reset one exists."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        application = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope[_TRANSPORT] = self.transport
            await application(scope, receive, send)

        self.app = with_transport


class ResetConnection(Response):
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        transport: asyncio.Transport = scope[_TRANSPORT]
        # Closed with a linger time of zero, a socket says RST in place of FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await _until_disconnected(receive)


class _RawBody(Response):
    """A body whose pace and end are decided here; named as not encoded, so that no middleware touches it."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, media_type="application/json", headers={"Content-Encoding": "identity"})

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


class ClosedEarly(_RawBody):
    """Half of the body, then the connection is closed, though Content-Length promised all of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._start(send)
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        transport: asyncio.Transport = scope[_TRANSPORT]
        transport.close()
        await _until_disconnected(receive)


class SlowBody(_RawBody):
    """The whole body, in ten pieces spread over some seconds."""

    def __init__(self, body: bytes, seconds: float) -> None:
        super().__init__(body)
        self._pause = seconds / _PIECES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        await self._start(send)
        size = len(self.body) // _PIECES + 1
        for start in range(0, len(self.body), size):
            await asyncio.sleep(self._pause)
            piece = bytes(self.body)[start : start + size]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _until_disconnected(receive: Receive) -> None:
    """Tell uvicorn that the connection is gone, or it sends an answer of its own."""
    while (await receive())["type"] != "http.disconnect":
        pass
