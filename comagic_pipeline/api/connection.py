"""HTTP to one host: proxy, certificates, and a bound on the size of an answer.

The environment is read here and not by httpx, whose errors do not name the variable (SOCKS without its package, a bad
port, a missing file of certificates), and which does not bound what an answer unpacks to.
"""

import ipaddress
import os
import socket
import ssl
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import httpx

from comagic_pipeline.api.errors import PermanentError, UnusableAnswerError

MAX_BODY = 256 * 2**20
"""The largest body in bytes, packed and unpacked: 10 000 calls with all columns are about 30 MB."""
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)  # seconds for each read of the socket
_HEADERS = {"Content-Type": "application/json; charset=UTF-8", "Accept-Encoding": "gzip"}
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_DETECT_HEADER = zlib.MAX_WBITS | 32  # zlib: gzip or zlib, as the data say


def is_this_machine(host: str) -> bool:
    """Return True for the names and addresses of the loopback interface: 127.0.0.0/8, ::1, localhost."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:
            # The system takes 127.1 for 127.0.0.1.
            address = ipaddress.ip_address(socket.inet_aton(name))
        except (OSError, ValueError):
            return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified


class Connection:
    """A kept-alive HTTP client of one address; `proxy_variable` names the variable of the proxy that it uses, if any.

    Raises PermanentError, which names the variable, when proxy or certificates of the environment cannot be used.
    """

    def __init__(self, url: str, verify: ssl.SSLContext | bool = True) -> None:
        context = _certificates() if verify is True else verify
        self.proxy_variable, proxy = _proxy_of(url)
        try:
            # trust_env: what the environment says was read above.
            self._http = httpx.Client(headers=_HEADERS, timeout=_TIMEOUT, verify=context, proxy=proxy, trust_env=False)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise _unusable_proxy(self.proxy_variable, proxy) from error
        self.url = url

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post(self, body: bytes) -> AbstractContextManager[httpx.Response]:
        """Send a request; the answer is open while the block lasts: read it by `chunks_of`."""
        return self._http.stream("POST", self.url, content=body)


def chunks_of(response: httpx.Response, method: str) -> Iterator[bytes]:
    """Yield the unpacked body of a streamed answer, chunk by chunk.

    Raises UnusableAnswerError when it is larger than MAX_BODY or packed in a way that was not asked for, and
    httpx.DecodingError when it is broken.
    """
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in _PACKED | {"identity", ""}:
        raise UnusableAnswerError(f"{method}: the answer is packed as {packing[:50]!r}, which was not asked for")
    if (length := response.headers.get("Content-Length", "")).isdecimal() and int(length[:20]) > MAX_BODY:
        raise _too_large(method)
    unpacker = zlib.decompressobj(_DETECT_HEADER) if packing in _PACKED else None
    received = unpacked = 0
    for raw in response.iter_raw():
        received += len(raw)
        for chunk in _unpacked(unpacker, raw) if unpacker else (raw,):
            unpacked += len(chunk)
            if max(received, unpacked) > MAX_BODY:
                raise _too_large(method)
            yield chunk
    if unpacker and received and not unpacker.eof:
        raise httpx.DecodingError("the packed body ends early")


_PIECE = 2**20
"""Bytes that are unpacked at once: a packed chunk may stand for a thousand times its size."""


def _unpacked(unpacker: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    while packed:
        try:
            yield unpacker.decompress(packed, _PIECE)
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error
        packed = unpacker.unconsumed_tail


def _too_large(method: str) -> UnusableAnswerError:
    return UnusableAnswerError(
        f"{method}: the answer is larger than {MAX_BODY // 2**20} MB; it was not read to its end"
    )


def _certificates() -> ssl.SSLContext:
    """Return the certificates that are trusted.

    Those of SSL_CERT_FILE or SSL_CERT_DIR, where set, else those of certifi.
    """
    variable = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    try:
        if variable:
            places = os.environ[variable].split(os.pathsep) if variable == "SSL_CERT_DIR" else [os.environ[variable]]
            exists = Path.is_dir if variable == "SSL_CERT_DIR" else Path.is_file
            if not any(exists(Path(place)) for place in places):
                raise FileNotFoundError(
                    f"there is no {'folder' if variable == 'SSL_CERT_DIR' else 'file'} of that name"
                )
        return httpx.create_ssl_context()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PermanentError(
            f"{variable or 'certificates'}: {os.environ.get(variable or '', '')} cannot be used ({said}); set it to "
            "the certificates that are to be trusted, or unset it"
        ) from error


def _proxy_of(url: str) -> tuple[str | None, httpx.Proxy | None]:
    """Return the proxy for an address, and the variable that names it."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return None, None  # the request tells
    if is_this_machine(address.host) or _is_bypassed(address):
        return None, None
    variable, value = _proxy_variable(address.scheme, os.environ)
    if variable is None:
        return None, None
    try:
        proxy = httpx.Proxy(value if "://" in value else f"http://{value}")
        if not proxy.url.host or not 0 < (proxy.url.port or 1) < 2**16:
            raise ValueError("no host, or no such port")
    except (ValueError, httpx.InvalidURL) as error:
        raise _unusable_proxy(variable, None, value) from error
    return variable, proxy


def _is_bypassed(address: httpx.URL) -> bool:
    host = address.host
    return bool(urllib.request.proxy_bypass(f"{host}:{address.port}" if address.port else host))


def _proxy_variable(scheme: str, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the variable that names the proxy of a scheme, and its value.

    As curl does, lower case goes before upper case.
    """
    for name in (f"{scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if variable in environment:
                if value := environment[variable].strip():
                    return variable, value
                break
    return None, ""


def _unusable_proxy(variable: str | None, proxy: httpx.Proxy | None, value: str = "") -> PermanentError:
    # The value may hold a password: only its scheme is shown.
    scheme = (proxy.url.scheme if proxy else value.partition("://")[0] if "://" in value else "").lower()
    why = "names a SOCKS proxy, which is not supported" if scheme.startswith("socks") else "names no usable proxy"
    return PermanentError(
        f"{variable}: it {why}; set it to http://host:port with a port from 1 to 65535, unset it, or name the host of "
        "the API in no_proxy"
    )
