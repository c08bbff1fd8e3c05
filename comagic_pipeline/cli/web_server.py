"""The Dagster web server behind a guard: `python -m comagic_pipeline.cli.web_server` with its options.

Dagster's server has no login and obeys whoever reaches it. A page from anywhere that a browser on this machine opens
reaches it too: by a form, by a request to 127.0.0.1, or by a name that resolves to it (DNS rebinding). The guard
accepts browsers from its own pages only. It is no login: docs/operate.md says how to put one in front.
"""

import os
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS_VARIABLE = "COMAGIC_WEB_HOSTS"
"""Further names, separated by commas, under which browsers may use the web server."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """An ASGI application that passes on what comes from pages of the web server itself, or from no page."""

    def __init__(self, application: ASGIApp, hosts: Collection[str]) -> None:
        """`hosts` are names without a port, in small letters."""
        self._application, self._hosts = application, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[:120]})
        else:
            await PlainTextResponse(f"{refusal}\n", status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name(host) not in self._hosts:
            return f"the host {host!r} is not known: start `comagic-pipeline up` with --allow-host {_name(host)}"
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"requests from pages of {origin} are refused"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return "requests from pages of other sites are refused"
        is_read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if is_read and "query" in QueryParams(scope["query_string"]):
            return "a query by GET is refused, because a link could change something: use POST"
        return None


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def main() -> None:
    """Run `dagster-webserver` with the arguments of this process, behind the guard."""
    from dagster_webserver import cli

    hosts = {name.strip().lower() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")} - {""} | LOOPBACK
    serve = uvicorn.run

    def serve_behind_guard(application: Any, **options: Any) -> None:
        serve(Guard(application, hosts), **options)

    # Dagster's command has no place for a middleware.
    uvicorn.run = serve_behind_guard  # type: ignore[assignment]
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
