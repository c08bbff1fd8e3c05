"""What the sandbox does wrong on demand, what it remembers, and how another process steers it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from comagic_pipeline.sandbox.faults import Fault, Faults, Mutation
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN
from comagic_pipeline.sandbox.world import World

CALLS = "get.calls_report"
DAY = {"date_from": "2025-03-03 00:00:00", "date_till": "2025-03-03 23:59:59"}
Post = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """One server for the module; its clock stands still, far from the ends of a minute."""
    with running_sandbox(World(calls_per_day=30, now=lambda: datetime(2026, 1, 15, 12, tzinfo=UTC))) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    """The server without faults, requests or a hook, and with points to spend."""
    running.faults.clear()
    running.requests.clear()
    running.before_request = None
    running.settings.minute_limit = 10_000
    return running


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """A client that repeats nothing by itself."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def post(sandbox: Sandbox, http: httpx.Client) -> Post:
    """Sends a request for calls of a day, or for another method."""

    def send(method: str = CALLS, **params: Any) -> httpx.Response:
        whole = {"access_token": SANDBOX_TOKEN} | (DAY if method == CALLS else {}) | params
        return http.post(sandbox.url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": whole})

    return send


@pytest.mark.parametrize("status", [403, 429, 500, 502, 503, 504])
def test_http_status(sandbox: Sandbox, post: Post, status: int) -> None:
    """The next two requests get the status and a page that is not JSON; the third is well."""
    sandbox.faults.add(Fault(kind="http_status", status=status, times=2))
    assert [post().status_code for _ in range(3)] == [status, status, 200]
    assert [record.outcome for record in sandbox.requests] == [f"http_{status}", f"http_{status}", "ok"]


def test_any_error(sandbox: Sandbox, post: Post) -> None:
    """Any mnemonic can be asked for; the unused placeholders of its message stay."""
    sandbox.faults.add(
        *(Fault(kind="error", mnemonic=name) for name in ("internal_error", "parameter_component_disabled"))
    )
    errors = [post().json()["error"] for _ in range(2)]
    assert [error["data"]["mnemonic"] for error in errors] == ["internal_error", "parameter_component_disabled"]
    assert "limits" in errors[0]["data"]["metadata"]


@pytest.mark.parametrize("window", ["minute", "day"])
def test_limit_exceeded(sandbox: Sandbox, post: Post, window: Any) -> None:
    """A limit can be exceeded at once: the window named has nothing left, the other has."""
    sandbox.faults.add(Fault(kind="error", mnemonic="limit_exceeded", window=window))
    data = post().json()["error"]["data"]
    remaining = {name: data["metadata"]["limits"][f"{name}_remaining"] for name in ("minute", "day")}
    assert data["params"]["limit_type"] == window
    assert [name for name, points in remaining.items() if points == 0] == [window]


def test_broken_bodies(sandbox: Sandbox, post: Post) -> None:
    """A body may be no JSON at all, or half of it with a Content-Length that agrees."""
    sandbox.faults.add(Fault(kind="broken_body"), Fault(kind="truncated_body"))
    for _ in range(2):
        response = post()
        assert response.status_code == 200
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            response.json()
    assert response.text.startswith('{"jsonrpc":"2.0"')


def test_connection_closed_early(sandbox: Sandbox, post: Post) -> None:
    """The connection may end before the bytes that Content-Length promised."""
    sandbox.faults.add(Fault(kind="closed_early"))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        post()
    assert post().status_code == 200


def test_connection_reset(sandbox: Sandbox, post: Post) -> None:
    """The connection may be reset in place of an answer."""
    sandbox.faults.add(Fault(kind="reset"))
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        post()
    assert post().status_code == 200


def test_slow_answers(sandbox: Sandbox, http: httpx.Client, post: Post) -> None:
    """The answer may be late as a whole, or its body may drip; both are right in the end."""
    whole = post().json()["result"]["data"]
    sandbox.faults.add(Fault(kind="slow_answer", seconds=0.2), Fault(kind="slow_body", seconds=0.2))
    params = {"access_token": SANDBOX_TOKEN} | DAY
    waits = []
    for _ in range(2):
        start = time.monotonic()
        body = {"jsonrpc": "2.0", "id": 1, "method": CALLS, "params": params}
        with http.stream("POST", sandbox.url, json=body) as response:
            headers = time.monotonic() - start
            assert json.loads(response.read())["result"]["data"] == whole
        waits.append((headers >= 0.2, time.monotonic() - start >= 0.2))
    assert waits == [(True, True), (False, True)]


def test_failed_requests_cost_nothing(sandbox: Sandbox, post: Post) -> None:
    """A request that gets no whole answer costs no point, a slow one does."""
    kinds: list[Any] = ["http_status", "error", "broken_body", "truncated_body", "closed_early", "reset"]
    sandbox.faults.add(*(Fault(kind=kind) for kind in kinds))
    before = sandbox.points_spent
    for _ in kinds:
        try:
            post()
        except httpx.TransportError:
            continue
    assert sandbox.points_spent == before
    assert [record.points for record in sandbox.requests] == [0] * 6
    sandbox.faults.add(Fault(kind="slow_answer", seconds=0))
    post()
    assert sandbox.points_spent == before + 1


def test_rules_choose_their_requests(sandbox: Sandbox, post: Post) -> None:
    """A rule may concern one method only and let some requests pass first; rules follow each other."""
    sandbox.faults.add(
        Fault(kind="http_status", status=500, method="get.campaigns", after=1),
        Fault(kind="http_status", status=502, after=2),
    )
    methods = ["get.campaigns", CALLS, "get.campaigns", CALLS]
    assert [post(method).status_code for method in methods] == [200, 200, 500, 502]
    assert sandbox.faults.rules == []


def test_probability_is_repeatable() -> None:
    """A rule with a probability takes its share, the same requests for one seed."""

    def taken(seed: int) -> list[bool]:
        faults = Faults([Fault(kind="reset", times=1000, probability=0.3)], seed)
        return [faults.take(CALLS) is not None for _ in range(1000)]

    assert taken(1) == taken(1) != taken(2)
    assert sum(taken(1)) == pytest.approx(300, abs=50)


def test_world_changes_between_pages(sandbox: Sandbox, post: Post) -> None:
    """Rows may arrive and vanish just before a request, by a rule or by a hook."""
    ids = [row["id"] for row in post(limit=1000).json()["result"]["data"]]
    added = {"id": 5, "start_time": "2025-03-03 10:00:00", "finish_time": "2025-03-03 10:00:05", "tags": ["x\0y"]}
    sandbox.faults.add(
        Fault(
            kind="world_change",
            after=1,
            mutations=[
                Mutation("delete", CALLS, key=ids[0]),
                Mutation("change", CALLS, key=ids[1], columns={"is_lost": None}),
                Mutation("add", CALLS, columns=added),
            ],
        )
    )
    assert [row["id"] for row in post().json()["result"]["data"]] == ids
    after = {row["id"]: row for row in post().json()["result"]["data"]}
    assert set(after) == {*ids[1:], 5}
    assert after[ids[1]]["is_lost"] is None
    sandbox.before_request = lambda method, _: sandbox.world.delete(method, 5)
    assert {row["id"] for row in post().json()["result"]["data"]} == set(ids[1:])


def test_requests_are_recorded_without_secrets(sandbox: Sandbox, post: Post) -> None:
    """Each request is remembered in order, with what it got and without its key."""
    post(limit=3)
    post(limit=0)
    post("get.nothing")
    first, second, third = sandbox.requests
    assert (first.method, first.outcome, first.rows, first.points) == (CALLS, "ok", 3, 1)
    assert first.total_items == len(sandbox.world.rows(CALLS, *DAY.values()))
    assert (second.outcome, second.rows, second.points) == ("invalid_parameter_value", None, 0)
    assert third.outcome == "method_not_found"
    assert first.params == DAY | {"limit": 3, "access_token": "***"}
    assert [record.number for record in sandbox.requests] == list(range(first.number, first.number + 3))


def test_control_over_http(sandbox: Sandbox, http: httpx.Client, post: Post) -> None:
    """Another process can lay down faults, change the world and read what was asked."""
    control = sandbox.url.removesuffix("/v2.0") + "/sandbox"
    laid = http.post(f"{control}/faults", json=[{"kind": "http_status", "status": 502}, {"kind": "reset", "times": 5}])
    assert [rule["kind"] for rule in laid.json()] == ["http_status", "reset"]
    assert post().status_code == 502
    assert [rule["kind"] for rule in http.get(f"{control}/faults").json()] == ["reset"]
    assert http.delete(f"{control}/faults").json() == []
    mutation = {"action": "change", "method": "get.campaigns", "key": 77001, "columns": {"name": "Другое"}}
    assert http.post(f"{control}/world", json=[mutation]).status_code == 204
    assert "Другое" in {row["name"] for row in post("get.campaigns").json()["result"]["data"]}
    vanishing = [{"action": action, "method": "get.campaigns", "key": 77001} for action in ("delete", "restore")]
    assert http.post(f"{control}/world", json=vanishing[:1]).status_code == 204
    assert "Другое" not in {row["name"] for row in post("get.campaigns").json()["result"]["data"]}
    assert http.post(f"{control}/world", json=vanishing[1:]).status_code == 204
    assert "Другое" in {row["name"] for row in post("get.campaigns").json()["result"]["data"]}
    report = http.get(f"{control}/requests").json()
    assert [record["outcome"] for record in report["requests"]] == ["http_502", "ok", "ok", "ok"]
    assert report["points_spent"] == sandbox.points_spent


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults", [{"kind": "earthquake"}]),
        ("faults", [{"kind": "reset", "tmes": 2}]),
        ("faults", [{"kind": "error", "mnemonic": "bad_weather"}]),
        ("faults", {}),
        ("world", [{"action": "add", "method": CALLS, "columns": {"id": 1}}]),
        ("world", [{"action": "delete", "method": "get.nothing", "key": 1}]),
        ("world", [{"action": "restore", "method": CALLS, "key": 1}]),
    ],
)
def test_bad_orders_are_refused(sandbox: Sandbox, http: httpx.Client, path: str, body: Any) -> None:
    """A typing error in an order is told, not swallowed."""
    response = http.post(sandbox.url.replace("/v2.0", f"/sandbox/{path}"), json=body)
    assert response.status_code == 400
    assert response.json()["error"]


def test_serve_in_a_process_of_its_own() -> None:
    """``serve`` listens until it is told to stop, and gives the same rows as a world here."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import sys; from comagic_pipeline.sandbox.running import serve;"
        "from comagic_pipeline.sandbox.world import World;"
        "serve(int(sys.argv[1]), World(calls_per_day=5))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", code, str(port)], env=environment)
    try:
        params = {"access_token": SANDBOX_TOKEN} | DAY | {"fields": ["id", "start_time"]}
        body = {"jsonrpc": "2.0", "id": 1, "method": CALLS, "params": params}
        rows = _post_when_up(f"http://127.0.0.1:{port}/v2.0", body).json()["result"]["data"]
    finally:
        process.terminate()
        process.wait(10)
    expected = World(calls_per_day=5).rows(CALLS, *DAY.values())
    assert Counter((row["id"], row["start_time"]) for row in rows) == Counter(
        (row["id"], row["start_time"]) for row in expected
    )


def _post_when_up(url: str, body: Any) -> httpx.Response:
    for _ in range(200):
        try:
            return httpx.post(url, json=body, trust_env=False)
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError(f"nothing listens at {url}")
