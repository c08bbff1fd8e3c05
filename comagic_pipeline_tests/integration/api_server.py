"""A server whose every byte a test decides: for answers that the sandbox, a proper API, would never give."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], "bytes | tuple[int, dict[str, str], bytes]"]
"""Takes the body of a request; gives the body of the answer, or status, headers and body."""


class Server:
    """A server that answers what a test tells it to; `requests` holds the bodies and `headers` what came with them."""

    def __init__(self) -> None:
        self.reply: Reply = lambda request: success(request, [])
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[Any] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(request)
                server.headers.append(dict(self.headers))
                server.connections.add(self.client_address)
                answer = server.reply(request)
                status, headers, body = (200, {}, answer) if isinstance(answer, bytes) else answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v2.0"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def success(request: dict[str, Any], data: Any, **metadata: Any) -> bytes:
    """A proper answer."""
    return result(request, {"data": data, "metadata": metadata})


def result(request: dict[str, Any], result: Any) -> bytes:
    """An answer with any result."""
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()


def refusal(request: dict[str, Any], error: Any) -> bytes:
    """An answer with an error."""
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
