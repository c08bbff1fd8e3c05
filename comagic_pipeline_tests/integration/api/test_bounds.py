"""Answers without measure, and what the environment says of proxies and certificates: one clear error each."""

import gzip
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from comagic_pipeline.api import connection
from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.connection import is_this_machine
from comagic_pipeline.api.errors import ComagicError, PermanentError, UnusableAnswerError
from comagic_pipeline.cli.services import answers
from comagic_pipeline_tests.integration.api_server import Server, refusal, success

TLS = ssl.create_default_context()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose every byte the test decides."""
    server = Server()
    yield server
    server.stop()


def client_of(url: str) -> Client:
    """A client that does not wait."""
    return Client(url, Token("key-4f3c"), sleep=lambda _: None, verify=TLS)


def ask(server: Server) -> Any:
    """Ask the server."""
    with client_of(server.url) as client:
        return client.call("get.sites")


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_answer_without_end(server: Server, monkeypatch: pytest.MonkeyPatch, is_packed: bool) -> None:
    """An endless answer, also one that is small while packed, grew to the memory limit; it is not asked for again."""
    monkeypatch.setattr(connection, "MAX_BODY", 2 * 2**20)
    body = b" " * 2**24
    headers = {"Content-Encoding": "gzip"} if is_packed else {}
    server.reply = lambda _: (200, headers, gzip.compress(body) if is_packed else body)
    with pytest.raises(UnusableAnswerError, match=r"get\.sites: the answer is larger than 2 MB"):
        ask(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("depth", [150, 100_000])
def test_an_answer_that_is_nested_too_deep(server: Server, depth: int) -> None:
    """A hundred thousand nested arrays raised RecursionError."""
    nested = b"[" * depth + b"]" * depth
    server.reply = lambda sent: success(sent, "DATA").replace(b'"DATA"', nested)
    with pytest.raises(UnusableAnswerError, match="nested deeper than 100 levels"):
        ask(server)
    assert len(server.requests) == 1


def test_brackets_in_texts_are_no_depth(server: Server) -> None:
    """Only arrays and objects count."""
    server.reply = lambda sent: success(sent, [{"name": "[" * 500 + "]" * 500}])
    assert b"[[[" in bytes(ask(server).data)


def test_a_message_without_end(server: Server) -> None:
    """A message of 5 MB stayed whole, and its terminal escapes reached the terminal; the key in it stays masked."""
    told = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\n key-\x004f3c \u202eend " + "x" * 5 * 2**20
    server.reply = lambda sent: refusal(sent, {"code": -32602, "message": told, "data": {"mnemonic": "er\x1bror"}})
    with pytest.raises(ComagicError) as caught:
        ask(server)
    said = str(caught.value)
    assert len(said) < 1000
    assert said.isprintable()
    assert "red" in said
    assert "4f3c" not in said


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "127.1", "[::1]", "LOCALHOST", "localhost."])
def test_this_machine(host: str) -> None:
    """The names of the loopback interface, and no others."""
    assert is_this_machine(host)
    assert not is_this_machine(f"{host.strip('[]:.')}.example.org")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "socks://127.0.0.1:9/"])
def test_this_machine_is_asked_directly(server: Server, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """With a proxy in the environment requests to 127.0.0.1 went there, key included, and `up` never was ready."""
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    assert bytes(ask(server).data) == b"[]"
    assert answers(server.url)


@pytest.mark.parametrize(
    "proxy", ["socks5://u:secret@127.0.0.1:1080", "socks://127.0.0.1:1/", "http://x:99999", "http://x:y"]
)
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """SOCKS, GNOME's form and odd ports ended in tracebacks, also where no_proxy covers the host."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(PermanentError, match=r"^ALL_PROXY: it names ") as caught:
        client_of("https://api.example/v2.0")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "api.example")
    client_of("https://api.example/v2.0").close()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A missing file of certificates ended in a traceback that does not name the variable."""
    for each in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "/nowhere/ca")
    with pytest.raises(PermanentError, match=f"^{name}: /nowhere/ca cannot be used"):
        Client("https://api.example/v2.0", Token("key"))
