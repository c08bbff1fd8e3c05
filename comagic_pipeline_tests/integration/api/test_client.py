"""One call over real HTTP: what recovers, what does not, what it costs, and that the key is never shown."""

import random
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from comagic_pipeline.api.client import ATTEMPTS, Client, Credentials, Login, Token
from comagic_pipeline.api.errors import (
    ComagicError,
    DayPointsSpentError,
    MethodUnavailableError,
    MinutePointsSpentError,
    PermanentError,
    RequestRefusedError,
    SessionEndedError,
    TransientError,
)
from comagic_pipeline.api.quota import Quota
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_LOGIN, SANDBOX_PASSWORD, SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.api_time import NOON, Time
from comagic_pipeline_tests.integration.api_server import Server, refusal, result, success

KEY = "key-4f3c2b1a"
TLS = ssl.create_default_context()  # one for all: making it takes longer than a test
Connect = Callable[..., Client]


@pytest.fixture
def time() -> Time:
    """The clock of the client and of the sandbox."""
    return Time()


@pytest.fixture
def sandbox(time: Time) -> Iterator[Sandbox]:
    """A sandbox with few rows and many points."""
    with running_sandbox(World(calls_per_day=3, now=time.now), Settings(minute_limit=1000)) as sandbox:
        yield sandbox


@pytest.fixture
def connect(time: Time) -> Iterator[Connect]:
    """Makes clients of a URL that are closed at the end; their sleep costs no time."""
    clients = []

    def connect(url: str, credentials: Credentials | None = None, reserve: int = 0) -> Client:
        quota = Quota(reserve, clock=time.now, sleep=time.sleep)
        client = Client(
            url,
            credentials or Token(KEY),
            quota,
            clock=time.now,
            sleep=time.sleep,
            randomness=random.Random(1),
            verify=TLS,
        )
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(sandbox: Sandbox, connect: Connect) -> Client:
    """A client of the sandbox."""
    return connect(sandbox.url, Token(SANDBOX_TOKEN))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose every byte the test decides."""
    server = Server()
    yield server
    server.stop()


def outcomes(sandbox: Sandbox) -> list[str]:
    """What became of the requests to the sandbox."""
    return [record.outcome for record in sandbox.requests]


TRANSIENT = {
    **{f"http_{status}": Fault(kind="http_status", status=status, times=2) for status in (408, 425, 429)},
    **{f"http_{status}": Fault(kind="http_status", status=status, times=2) for status in (500, 502, 503, 504)},
    **{kind: Fault(kind=kind, times=2) for kind in ("broken_body", "truncated_body", "closed_early", "reset")},
    "internal_error": Fault(kind="error", mnemonic="internal_error", times=2),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_transient_failures_recover(sandbox: Sandbox, client: Client, time: Time, name: str) -> None:
    """Two failures of any transient kind are followed by a third try that succeeds; one point is spent."""
    sandbox.faults.add(msgspec.structs.replace(TRANSIENT[name]))
    answer = client.call("get.account")
    assert msgspec.json.decode(answer.data)[0]["timezone"] == "Europe/Moscow"
    assert outcomes(sandbox) == [name, name, "ok"]
    assert (sandbox.points_spent, client.quota.points_spent) == (1, 1)
    assert [0.5 <= time.slept[0] <= 1, 1 <= time.slept[1] <= 2] == [True, True]


@pytest.mark.parametrize("name", ["http_503", "broken_body", "reset", "internal_error"])
def test_transient_failures_that_last(sandbox: Sandbox, client: Client, time: Time, name: str) -> None:
    """After the last of the attempts one clear line says what failed; the pauses grow and amount to minutes."""
    sandbox.faults.add(msgspec.structs.replace(TRANSIENT[name], times=100))
    with pytest.raises(TransientError) as caught:
        client.call("get.account")
    assert len(outcomes(sandbox)) == ATTEMPTS
    assert "get.account: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert name == "internal_error" or sandbox.url in str(caught.value)
    assert len(time.slept) == ATTEMPTS - 1
    assert time.slept == sorted(time.slept)
    assert 30 < sum(time.slept) < 300


@pytest.mark.parametrize(
    ("header", "shortest", "longest"),
    [("30", 30, 30), ("0", 0.5, 1), ("9000", 120, 120), ("soon", 0.5, 1), ("nan", 0.5, 1), ("-5", 0.5, 1)],
)
def test_retry_after(
    server: Server, connect: Connect, time: Time, header: str, shortest: float, longest: float
) -> None:
    """The pause that the server asks for is kept, within reason; a header that is no number is ignored."""
    busy = iter([(503, {"Retry-After": header}, b"busy")])
    server.reply = lambda request: next(busy, None) or success(request, [])
    connect(server.url).call("get.sites")
    assert len(time.slept) == 1
    assert shortest <= time.slept[0] <= longest


PERMANENT = {
    "access_token_blocked": PermanentError,
    "access_token_expired": SessionEndedError,
    "access_token_invalid": SessionEndedError,
    "ip_not_whitelisted": PermanentError,
    "account_inactive": PermanentError,
    "forbidden": MethodUnavailableError,
    "method_component_disabled": MethodUnavailableError,
    "method_not_found": MethodUnavailableError,
    "invalid_parameter_value": RequestRefusedError,
    "parse_error": RequestRefusedError,
    "error": RequestRefusedError,
}


@pytest.mark.parametrize("mnemonic", PERMANENT)
def test_permanent_errors_are_not_retried(sandbox: Sandbox, client: Client, time: Time, mnemonic: str) -> None:
    """An error that no repetition mends is raised after one request."""
    sandbox.faults.add(Fault(kind="error", mnemonic=mnemonic, times=100))
    with pytest.raises(ComagicError) as caught:
        client.call("get.account")
    assert type(caught.value) is PERMANENT[mnemonic]
    assert (outcomes(sandbox), time.slept) == ([mnemonic], [])


def test_gzip_and_keep_alive(server: Server, connect: Connect) -> None:
    """Requests ask for gzip and share one connection."""
    client = connect(server.url)
    for _ in range(3):
        client.call("get.sites")
    assert [headers["Accept-Encoding"] for headers in server.headers] == ["gzip"] * 3
    assert len(server.connections) == 1


def test_a_compressed_answer(sandbox: Sandbox, client: Client) -> None:
    """A compressed answer is read as any other."""
    fields = {"fields": ["id", "start_time"], "date_from": "2025-12-01 00:00:00", "date_till": "2026-01-01 00:00:00"}
    answer = client.call("get.calls_report", fields)
    assert len(msgspec.json.decode(answer.data)) == answer.total_items == sandbox.requests[-1].total_items


# --- the key ---------------------------------------------------------------------------------------------------------

ECHOES: dict[str, Any] = {
    "message": {"code": -32602, "message": f"wrong: {KEY}", "data": {"mnemonic": "invalid_parameter_value"}},
    "value": {"code": -32602, "message": "", "data": {"mnemonic": "error", "field": "access_token", "value": KEY}},
    "values": {"code": -32602, "message": "", "data": {"mnemonic": "error", "value": ["a", f"<{KEY}>"]}},
    "field": {"code": -32602, "message": "", "data": {"mnemonic": "error", "field": f"params.{KEY}.x"}},
    "longer field": {"code": -32602, "message": "", "data": {"mnemonic": "error", "field": f"access_token={KEY}"}},
    "params": {"code": -32602, "message": "x", "data": {"mnemonic": "error", "params": {"token": KEY}}},
    "mnemonic": {"code": -32602, "message": "x", "data": {"mnemonic": f"bad {KEY}"}},
    "limit": {"code": -32029, "message": f"{KEY} minute", "data": {"mnemonic": "limit_exceeded"}},
    "other kinds": {"code": KEY, "message": {"said": KEY}, "data": KEY},
    "no block": KEY,
}


@pytest.mark.parametrize("place", ECHOES)
def test_the_key_is_masked(server: Server, connect: Connect, place: str) -> None:
    """The key of a request was shown when the server echoed it as part of a parameter's name or as the mnemonic."""
    server.reply = lambda request: refusal(request, ECHOES[place])
    with pytest.raises(ComagicError) as caught:
        connect(server.url).call("get.sites")
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in f"{error} {error!r} {getattr(error, 'names', '')}"
        error = error.__cause__ or error.__context__


def test_a_secret_that_begins_another(server: Server, connect: Connect) -> None:
    """The longer of two secrets was masked only in part when the shorter one is its beginning."""
    client = connect(server.url, Token("short-and-more"))
    for secret in ("short", "short-and-more-and-more", "short-and"):
        client.hide(secret)
    server.reply = lambda request: refusal(request, {"code": 1, "message": "short short-and-more-and-more short-and"})
    with pytest.raises(ComagicError, match=r'"\*\*\* \*\*\* \*\*\*"'):
        client.call("get.sites")


# --- the session of a login ------------------------------------------------------------------------------------------


@pytest.fixture
def login(sandbox: Sandbox, connect: Connect, time: Time) -> Client:
    """A client of the sandbox that logs in."""
    return connect(sandbox.url, Login(SANDBOX_LOGIN, SANDBOX_PASSWORD, clock=time.now))


def methods(sandbox: Sandbox) -> list[str]:
    """The methods that were called."""
    return [record.method for record in sandbox.requests]


def test_a_session_is_opened_once(sandbox: Sandbox, login: Client) -> None:
    """Several calls share the session of one login."""
    for _ in range(3):
        login.call("get.account")
    assert methods(sandbox) == ["login.user", *["get.account"] * 3]


def test_a_session_is_renewed_before_it_ends(sandbox: Sandbox, login: Client, time: Time) -> None:
    """A session that is about to end is replaced before a call can fail for it."""
    login.call("get.account")
    time.pass_by(54 * 60)
    login.call("get.account")
    time.pass_by(2 * 60)
    login.call("get.account")
    assert methods(sandbox) == ["login.user", "get.account", "get.account", "login.user", "get.account"]
    assert set(outcomes(sandbox)) == {"ok"}


def test_a_clock_that_is_wrong(sandbox: Sandbox, connect: Connect, time: Time) -> None:
    """Every call logged in anew when our clock was an hour ahead of the server's."""
    client = connect(sandbox.url, Login(SANDBOX_LOGIN, SANDBOX_PASSWORD, clock=lambda: time.now() + timedelta(hours=2)))
    client.call("get.account")
    client.call("get.account")
    assert methods(sandbox) == ["login.user", "get.account", "get.account"]


@pytest.mark.parametrize("mnemonic", ["access_token_invalid", "access_token_expired"])
def test_a_session_that_ended_early(sandbox: Sandbox, login: Client, mnemonic: str) -> None:
    """A session that the API does not accept any more is renewed, and the call repeated, once."""
    login.call("get.account")
    sandbox.faults.add(Fault(kind="error", method="get.account", mnemonic=mnemonic))
    login.call("get.account")
    assert methods(sandbox) == ["login.user", "get.account", "get.account", "login.user", "get.account"]


def test_a_session_is_renewed_only_once(sandbox: Sandbox, login: Client) -> None:
    """An API that accepts no session is not asked forever."""
    sandbox.faults.add(Fault(kind="error", method="get.account", mnemonic="access_token_invalid", times=100))
    with pytest.raises(SessionEndedError):
        login.call("get.account")
    assert methods(sandbox) == ["login.user", "get.account"] * 2


def test_a_login_that_fails_for_a_moment(sandbox: Sandbox, login: Client) -> None:
    """A network failure during the renewal of a session ended the call at once."""
    login.call("get.account")
    sandbox.faults.add(Fault(kind="error", method="get.account", mnemonic="access_token_invalid"))
    sandbox.faults.add(Fault(kind="reset", method="login.user", times=2))
    login.call("get.account")
    assert outcomes(sandbox)[2:] == ["access_token_invalid", "reset", "reset", "ok", "ok"]


def test_a_wrong_password_is_tried_once(sandbox: Sandbox, connect: Connect, time: Time) -> None:
    """A refused login is never repeated: it may lock the account. The password is not shown."""
    client = connect(sandbox.url, Login(SANDBOX_LOGIN, "wrong-password", clock=time.now))
    with pytest.raises(PermanentError, match="login or password is wrong") as caught:
        client.call("get.account")
    assert (methods(sandbox), time.slept) == (["login.user"], [])
    assert "wrong-password" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [{"access_token": KEY, "expire": 1}, {"access_token": KEY, "expire_at": "2026-01-15"}, [{"access_token": KEY}]],
)
def test_forms_of_a_session(server: Server, connect: Connect, data: Any) -> None:
    """An end of the session in an unknown form was an error outside of the tree; the table and the sample differ."""
    server.reply = lambda request: success(request, data if request["method"] == "login.user" else [])
    client = connect(server.url, Login("user", "password"))
    client.call("get.sites")
    client.call("get.sites")
    assert [request["method"] for request in server.requests] == ["login.user", "get.sites", "get.sites"]
    assert server.requests[-1]["params"] == {"access_token": KEY}


@pytest.mark.parametrize("data", [None, [], {}, "text", {"access_token": None}, [[]]])
def test_a_session_without_a_key(server: Server, connect: Connect, data: Any) -> None:
    """An answer to a login that holds no key is one clear line."""
    server.reply = lambda request: success(request, data)
    with pytest.raises(TransientError, match="holds no access_token"):
        connect(server.url, Login("user", "password")).call("get.sites")


# --- limits ----------------------------------------------------------------------------------------------------------


def test_the_minute_limit_is_waited_out(sandbox: Sandbox, client: Client, time: Time) -> None:
    """With two points a minute, five calls take two waits until just behind the minute's end; none is refused."""
    sandbox.settings.minute_limit = 2
    for _ in range(5):
        client.call("get.account")
    assert outcomes(sandbox) == ["ok"] * 5
    # From 12:00:00 to 12:01:01, and from there to 12:02:01: whole seconds to the end may have been rounded down.
    assert time.slept == [61, 60]


def test_a_refusal_for_the_minute_is_waited_out(sandbox: Sandbox, client: Client, time: Time) -> None:
    """Somebody else spent the minute's points: the refused call is repeated when they are there again, once."""
    sandbox.faults.add(Fault(kind="error", mnemonic="limit_exceeded", window="minute"))
    time.pass_by(20)
    client.call("get.account")
    assert outcomes(sandbox) == ["limit_exceeded", "ok"]
    assert time.slept == [41]


def test_refusals_for_the_minute_use_up_no_attempts(sandbox: Sandbox, client: Client, time: Time) -> None:
    """Others with the key spend every minute's points before us, more often than a failing call would be tried."""
    refusals = 3 * ATTEMPTS
    sandbox.faults.add(Fault(kind="error", mnemonic="limit_exceeded", window="minute", times=refusals))
    sandbox.faults.add(*(Fault(kind="http_status") for _ in range(ATTEMPTS - 1)))
    client.call("get.account")
    assert outcomes(sandbox) == ["limit_exceeded"] * refusals + ["http_503"] * (ATTEMPTS - 1) + ["ok"]
    assert time.slept[:refusals] == [61, *[60] * (refusals - 1)]
    assert sandbox.points_spent == client.quota.points_spent == 1


def test_a_minute_that_never_comes_back(sandbox: Sandbox, client: Client, time: Time) -> None:
    """Endless refusals end, after about an hour, in an error that says until when, not in an endless wait."""
    sandbox.faults.add(Fault(kind="error", mnemonic="limit_exceeded", window="minute", times=1000))
    with pytest.raises(MinutePointsSpentError) as caught:
        client.call("get.account")
    assert len(outcomes(sandbox)) == 60
    assert timedelta(minutes=55) < time.now() - NOON < timedelta(minutes=65)
    assert time.now() < caught.value.until <= time.now() + timedelta(minutes=1, seconds=1)


REFUSALS: list[tuple[dict[str, Any], list[float]]] = [
    ({"metadata": {"limits": {"hour_remaining": 0, "hour_reset": 900}}}, [901]),
    ({"metadata": {"limits": {"hour_remaining": 0}}}, [600]),
    ({"params": {"limit_type": "hour", "limit_max_value": 50}}, [600]),
    ({"params": {"limit_type": "Minute"}}, [60]),
    ({"params": {"limit_type": 7}}, [60]),
    ({"metadata": {"limits": {"day_remaining": 5, "minute_remaining": 0, "minute_reset": 9}}}, [10]),
    # The numbers are surer than the words.
    ({"params": {"limit_type": "day"}, "metadata": {"limits": {"minute_remaining": 0, "minute_reset": 9}}}, [10]),
]


@pytest.mark.parametrize(("said", "waited"), REFUSALS)
def test_which_limit_was_exceeded(
    server: Server, connect: Connect, time: Time, said: dict[str, Any], waited: list[float]
) -> None:
    """Whatever way a refusal names the hour or the minute, it is waited out: its end where it is told, else a guess."""
    block = {"code": -32029, "message": "too many", "data": {"mnemonic": "limit_exceeded", **said}}
    refused = iter([block])
    server.reply = lambda request: refusal(request, block) if next(refused, None) else success(request, [])
    connect(server.url).call("get.sites")
    assert (len(server.requests), time.slept) == (2, waited)


def test_a_refusal_tells_the_limit(server: Server, connect: Connect, time: Time) -> None:
    """An API that tells limits only when it refuses is asked no more often from then on than it allows."""
    params = {"limit_type": "minute", "limit_max_value": 3}
    block = {"code": -32029, "message": "too many", "data": {"mnemonic": "limit_exceeded", "params": params}}
    refused = iter([block])
    server.reply = lambda request: refusal(request, block) if next(refused, None) else success(request, [])
    client = connect(server.url)
    for _ in range(7):
        client.call("get.sites")
    # Refused at once; then three a minute, whose end has to be guessed when they are spent.
    assert (len(server.requests), time.slept) == (8, [60, 60, 60])


@pytest.mark.parametrize("empty_limits", [False, True])
def test_a_refusal_for_the_day_stops(sandbox: Sandbox, client: Client, time: Time, empty_limits: bool) -> None:
    """When the day's points are gone, one request finds out, the error says until when, and no other is sent."""
    sandbox.settings.quirks.empty_limits = empty_limits
    sandbox.faults.add(Fault(kind="error", mnemonic="limit_exceeded", window="day", times=100))
    with pytest.raises(DayPointsSpentError) as caught:
        client.call("get.account")
    # Told in whole seconds, perhaps rounded down; where it is not told another look is worth it after an hour.
    assert caught.value.until == NOON + (timedelta(hours=1) if empty_limits else timedelta(hours=12, seconds=1))
    assert (outcomes(sandbox), time.slept) == (["limit_exceeded"], [])
    if not empty_limits:
        with pytest.raises(DayPointsSpentError):
            client.call("get.account")
        assert len(outcomes(sandbox)) == 1


@pytest.mark.parametrize(("reserve", "untouched"), [(0, 0), (3, 3), (5, 5), (7, 5), (300, 5)])
def test_the_reserve_is_left_untouched(sandbox: Sandbox, connect: Connect, reserve: int, untouched: int) -> None:
    """A client with a reserve stops by itself when the day's points are down to it, or to half of the day's limit."""
    sandbox.settings.day_limit = 10
    client = connect(sandbox.url, Token(SANDBOX_TOKEN), reserve=reserve)
    for _ in range(10 - untouched):
        client.call("get.account")
    with pytest.raises(DayPointsSpentError, match=f"[(]{untouched or 'none'} left") as caught:
        client.call("get.account")
    assert caught.value.until == NOON + timedelta(hours=12, seconds=1)
    assert (f"{untouched} are kept in reserve" in str(caught.value)) is (reserve > 0)
    assert outcomes(sandbox) == ["ok"] * (10 - untouched)


# --- answers that are not the API's, or not as its samples show ------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        ((200, {}, b"<html>Welcome</html>"), TransientError, "does not answer JSON"),
        ((301, {"Location": "https://elsewhere.example/"}, b"<html>Moved</html>"), PermanentError, "HTTP 301"),
        ((302, {"Location": "/login"}, b""), PermanentError, "HTTP 302"),
        ((404, {}, b"<html>Not found</html>"), PermanentError, "HTTP 404"),
        ((404, {}, b'{"detail": "Not Found"}'), PermanentError, "HTTP 404"),
        ((403, {}, b"{}"), PermanentError, "HTTP 403"),
        ((204, {}, b""), PermanentError, "HTTP 204"),
        ((503, {}, b"{}"), TransientError, "HTTP 503"),
        ((200, {}, b""), TransientError, "does not answer JSON"),
        ((200, {}, b"{}"), TransientError, "neither result nor error"),
        ((200, {}, b"[]"), TransientError, "does not answer JSON"),
        ((200, {}, b'{"result": 12}'), TransientError, "does not answer JSON"),
        ((200, {}, b'{"result": null, "error": null}'), TransientError, "neither result nor error"),
    ],
)
def test_an_answer_that_is_not_the_apis(
    server: Server, connect: Connect, time: Time, reply: Any, kind: type[ComagicError], said: str
) -> None:
    """A 404 with JSON was retried for minutes and blamed on the answer; now every such line names the base_url."""
    server.reply = lambda _: reply
    with pytest.raises(kind, match=said) as caught:
        connect(server.url).call("get.sites")
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(time.slept) == (0 if kind is PermanentError else ATTEMPTS - 1)


@pytest.mark.parametrize("status", [400, 401, 500])
def test_an_error_of_the_api_with_another_status(server: Server, connect: Connect, status: int) -> None:
    """An error block says more than the HTTP status that comes with it."""
    block = {"code": -32001, "message": "", "data": {"mnemonic": "access_token_blocked"}}
    server.reply = lambda request: (status, {}, refusal(request, block))
    with pytest.raises(PermanentError, match="unblock it"):
        connect(server.url).call("get.sites")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1/v2.0", TransientError),
        ("http://no-such-host.invalid/v2.0", TransientError),
        ("dataapi.comagic.ru/v2.0", PermanentError),
        ("", PermanentError),
        ("ftp://127.0.0.1/v2.0", PermanentError),
        ("http://[::1/v2.0", PermanentError),
    ],
)
def test_a_wrong_base_url(connect: Connect, time: Time, url: str, kind: type[ComagicError]) -> None:
    """A base_url without http:// was retried for minutes as a network failure; now the line says what is wrong."""
    with pytest.raises(kind) as caught:
        connect(url).call("get.sites")
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(time.slept) == (0 if kind is PermanentError else ATTEMPTS - 1)


def test_tls_to_a_server_without_it(server: Server, connect: Connect) -> None:
    """https where only http is spoken is one clear line."""
    url = server.url.replace("http://", "https://")
    with pytest.raises(TransientError, match="cannot reach https://") as caught:
        connect(url).call("get.sites")
    assert "\n" not in str(caught.value)


def test_the_answer_to_another_request(server: Server, connect: Connect) -> None:
    """An answer with a foreign id is not taken; the call is repeated under a new id of its own."""
    foreign = iter([success({"id": "somebody-else"}, [1])])
    server.reply = lambda request: next(foreign, None) or success(request, [2])
    assert bytes(connect(server.url).call("get.sites").data) == b"[2]"
    assert server.requests[0]["id"] != server.requests[1]["id"]


def test_an_error_without_an_id(server: Server, connect: Connect) -> None:
    """Errors from before the request was understood carry no id, and count nevertheless."""
    server.reply = lambda _: refusal({"id": None}, {"code": -32700, "message": "Invalid JSON", "data": None})
    with pytest.raises(RequestRefusedError, match="Invalid JSON"):
        connect(server.url).call("get.sites")


LIMITS = {"day_remaining": 7}
FORMS: list[tuple[Any, Any, int | None, int | None]] = [
    ({"data": [1], "metadata": {"total_items": 1, "limits": LIMITS}}, [1], 1, 7),
    ({"metadata": {"total_items": 1, "limits": LIMITS}, "data": [1]}, [1], 1, 7),
    ({"data": [1], "meta_data": {"total_items": "1", "limits": LIMITS}}, [1], 1, 7),
    ({"data": [1], "metadata": {"total_items": None, "limits": []}}, [1], None, None),
    ({"data": [1], "metadata": None}, [1], None, None),
    ({"data": [1], "metadata": []}, [1], None, None),
    ({"data": [1]}, [1], None, None),
    ({"data": None}, None, None, None),
    ({"data": {"a": 1}}, {"a": 1}, None, None),
    ([1], [1], None, None),
    ([], [], None, None),
]


@pytest.mark.parametrize(("form", "data", "total", "day_remaining"), FORMS)
def test_forms_of_a_result(
    server: Server, connect: Connect, form: Any, data: Any, total: int | None, day_remaining: int | None
) -> None:
    """A result that is a bare list, as one sample shows it, was refused; so are the other forms read, and counted."""
    server.reply = lambda request: result(request, form)
    client = connect(server.url)
    answer = client.call("get.campaign_daily_stat")
    assert (msgspec.json.decode(answer.data), answer.total_items) == (data, total)
    assert (answer.limits.day_remaining, client.quota.points_spent) == (day_remaining, 1)


@pytest.mark.parametrize("total", ["many", [], {}, 1e400])
def test_a_total_that_is_no_number(server: Server, connect: Connect, total: Any) -> None:
    """A count that cannot be read is an error of the tree."""
    server.reply = lambda request: success(request, [], total_items=total).replace(b"Infinity", b"1e308")
    if total == 1e400:
        assert connect(server.url).call("get.sites").total_items == int(1e308)
    else:
        with pytest.raises(TransientError, match="total_items is not a number"):
            connect(server.url).call("get.sites")


# --- text that JSON allows and PostgreSQL does not -------------------------------------------------------------------

LEFT, RIGHT = r"\ud83d", r"\uDE00"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("a\\u0000b", "ab"),
        ("\\u0000", ""),
        ("\\u0000\\u0000a\\u0000", "a"),
        ("\\\\u0000", "\\u0000"),
        ("\\\\\\u0000", "\\"),
        ("\\\\\\\\u0000", "\\\\u0000"),
        ("\\u00000", "0"),
        ("\\u0001", "\x01"),
        (LEFT + RIGHT, "😀"),
        (LEFT.upper().replace("U", "u") + RIGHT.lower(), "😀"),
        (LEFT, "\ufffd"),
        (RIGHT, "\ufffd"),
        (f"a{LEFT}b", "a\ufffdb"),
        (f"{RIGHT}{LEFT}", "\ufffd\ufffd"),
        (f"{LEFT}{LEFT}{RIGHT}", "\ufffd😀"),
        (f"{LEFT}{RIGHT}{RIGHT}", "😀\ufffd"),
        (f"{LEFT}\\u0000{RIGHT}", "\ufffd\ufffd"),
        (f"{LEFT}\\n", "\ufffd\n"),
        (f"\\\\{LEFT}", "\\\ufffd"),
        ("\\\\ud83d", "\\ud83d"),
        ("\\uDBFF\\uDFFF", "\U0010ffff"),
        ("\\ud7ff\\ue000\\ufffd", "\ud7ff\ue000\ufffd"),
        ("\\u0438\\u043c\\u044f", "имя"),
        ("имя 😀", "имя 😀"),
        ('\\"\\\\\\/\\b\\f\\n\\r\\t', '"\\/\b\f\n\r\t'),
    ],
)
def test_characters(server: Server, connect: Connect, sent: str, read: str) -> None:
    """NUL goes and half surrogates are replaced, in values and in nested JSON and names; all else stays as it came."""
    data = f'[{{"id": "{sent}", "nested": {{"{sent}": ["{sent}"]}}}}]'.encode()
    server.reply = lambda request: success(request, "DATA").replace(b'"DATA"', data)
    answer = connect(server.url).call("get.sites")
    assert msgspec.json.decode(answer.data) == [{"id": read, "nested": {read: [read]}}]
    for bad in (b"\x00", b"\\u0000" if "\\u0000" not in read else b"\x00"):
        assert bad not in bytes(answer.data)


@pytest.mark.parametrize("bad", [b"a\x00b", b"a\x01b", b"a\nb", b"a\\qb", b"\xff", b"\xd0", b"\xed\xa0\x80", b"\\u12"])
def test_text_that_is_not_json(server: Server, connect: Connect, bad: bytes) -> None:
    """Raw control characters, broken escapes and what is not UTF-8 make a broken body, and the call is repeated."""
    broken = iter([b'[{"id": "' + bad + b'"}]'])
    server.reply = lambda request: success(request, "DATA").replace(b'"DATA"', next(broken, b"[]"))
    assert bytes(connect(server.url).call("get.sites").data) == b"[]"
    assert len(server.requests) == 2
