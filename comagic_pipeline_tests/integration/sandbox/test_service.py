"""The sandbox over real HTTP, held against the rules of ``protocol.json``: questions, answers, refusals, points."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import httpx
import pytest

from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import (
    SANDBOX_LOGIN,
    SANDBOX_PASSWORD,
    SANDBOX_TOKEN,
    Quirks,
    Settings,
)
from comagic_pipeline.sandbox.world import World

CATALOG = files("comagic_pipeline") / "catalog"
PROTOCOL = json.loads((CATALOG / "protocol.json").read_bytes())
METHODS = {method["name"]: method for method in json.loads((CATALOG / "methods.json").read_bytes())["methods"]}
CALLS = "get.calls_report"
COLUMNS = [column["name"] for column in METHODS[CALLS]["fields"]]
DAY = {"date_from": "2025-03-03 00:00:00", "date_till": "2025-03-03 23:59:59"}
MONTH = {"date_from": "2025-03-01 00:00:00", "date_till": "2025-03-31 23:59:59"}
Row = dict[str, Any]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 15, 20, 59, 18, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Account:
    """A sandbox and a plain caller of it."""

    def __init__(self, sandbox: Sandbox, clock: Clock, http: httpx.Client) -> None:
        self.sandbox, self.clock, self.http = sandbox, clock, http
        self.settings, self.world = sandbox.settings, sandbox.world

    def post(self, body: Any) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.http.post(self.sandbox.url, content=content)
        assert response.status_code == 200
        return response.json()

    def ask(self, method: str = CALLS, /, **params: Any) -> Any:
        params = {"access_token": SANDBOX_TOKEN} | params
        answer = self.post({"jsonrpc": "2.0", "id": "a-1", "method": method, "params": params})
        assert answer["id"] == "a-1"
        return answer

    def rows(self, method: str = CALLS, /, **params: Any) -> list[Row]:
        rows: list[Row] = self.ask(method, **params)["result"]["data"]
        return rows

    def error(self, method: str = CALLS, /, **params: Any) -> Any:
        return self.ask(method, **params)["error"]


@pytest.fixture(scope="module")
def running() -> Iterator[Account]:
    """One server for the whole module: starting one takes longer than most tests."""
    clock = Clock()
    with running_sandbox(World(calls_per_day=30, now=clock)) as sandbox, httpx.Client(trust_env=False) as http:
        yield Account(sandbox, clock, http)


@pytest.fixture
def account(running: Account) -> Account:
    """The server with settings, clock and points as in the beginning."""
    vars(running.settings).update(vars(Settings(minute_limit=1000)))
    # The next day of the clock: no points are spent in it yet.
    running.clock.now = running.clock.now.replace(hour=20, minute=59, second=18, microsecond=0) + timedelta(days=1)
    return running


def envelope(**changes: Any) -> Row:
    """A proper request for the account, but for the changes; None leaves a member out."""
    whole = {"jsonrpc": "2.0", "id": 1, "method": "get.account", "params": {"access_token": SANDBOX_TOKEN}} | changes
    return {name: value for name, value in whole.items() if value is not None}


def check_error(error: Any, mnemonic: str) -> None:
    """The error agrees with protocol.json in its code, its message and whether it shows limits."""
    rule = next(rule for rule in PROTOCOL["errors"] if rule["mnemonic"] == mnemonic)
    assert error["data"]["mnemonic"] == mnemonic
    assert error["code"] == rule["code"]
    assert re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(rule["message"])), error["message"])
    has_limits = mnemonic not in PROTOCOL["limits"]["absent_on"]["mnemonics"]
    assert ("limits" in error["data"]["metadata"]) == has_limits


# Rows and columns


def test_default_columns_come_without_fields(account: Account) -> None:
    """Without ``fields`` a row holds the columns with the default flag, 23 of 105, and limit is 1000."""
    expected = {column["name"] for column in METHODS[CALLS]["fields"] if column["default"]}
    rows = account.rows(**MONTH)
    assert len(expected) == 23
    assert {frozenset(row) for row in rows} == {frozenset(expected)}
    assert 500 < len(rows) <= 1000


def test_static_labels_of_campaigns_come_only_when_asked_for(account: Account) -> None:
    """get.campaigns leaves static_utm_* out, as its page says, and all other columns in."""
    default = {column["name"] for column in METHODS["get.campaigns"]["fields"] if column["default"] is not False}
    assert set(account.rows("get.campaigns")[1]) == default
    assert account.rows("get.campaigns", fields=["static_utm_source"])[1].keys() == {"static_utm_source"}


def test_all_columns_can_be_asked_for(account: Account) -> None:
    """Every row of the world arrives, complete and unchanged, when all 105 columns are asked for."""
    served = {row["id"]: row for row in account.rows(**DAY, fields=COLUMNS)}
    expected = account.world.rows(CALLS, DAY["date_from"], DAY["date_till"])
    assert served == {row["id"]: row for row in expected}
    assert list(next(iter(served.values()))) == COLUMNS


def test_account_is_a_list_with_one_row(account: Account) -> None:
    """get.account tells the time zone."""
    assert [row["timezone"] for row in account.rows("get.account")] == ["Europe/Moscow"]


@pytest.mark.parametrize("inclusive", [True, False], ids=["inclusive", "exclusive"])
def test_period_ends_as_set(account: Account, inclusive: bool) -> None:
    """A call in the very second of ``date_till`` belongs to the period or not, by the setting."""
    account.settings.date_till_inclusive = inclusive
    period = {"date_from": "2025-03-03 23:59:59", "date_till": "2025-03-04 00:00:00"}
    starts = {row["start_time"] for row in account.rows(**period)}
    assert starts == ({*period.values()} if inclusive else {period["date_from"]})


def test_ongoing_calls_come_on_demand(account: Account) -> None:
    """include_ongoing_calls adds the calls that have no end yet."""
    account.clock.now = datetime(2025, 3, 3, 20, 59, 59, 500_000, tzinfo=UTC)
    assert all(row["finish_time"] for row in account.rows(**DAY))
    rows = account.rows(**DAY, include_ongoing_calls=True)
    assert "2025-03-03 23:59:59" in {row["start_time"] for row in rows if row["finish_time"] is None}


# Filter and sort

FILTERS: list[tuple[Row, Callable[[Row], bool]]] = [
    ({"field": "direction", "operator": "=", "value": "in"}, lambda r: r["direction"] == "in"),
    ({"field": "direction", "operator": "!=", "value": "in"}, lambda r: r["direction"] != "in"),
    ({"field": "is_lost", "operator": "=", "value": True}, lambda r: r["is_lost"] is True),
    ({"field": "campaign_id", "operator": "=", "value": None}, lambda r: r["campaign_id"] is None),
    ({"field": "campaign_id", "operator": "="}, lambda r: r["campaign_id"] is None),
    ({"field": "campaign_id", "operator": "!=", "value": None}, lambda r: r["campaign_id"] is not None),
    ({"field": "source_id", "operator": "!=", "value": 8}, lambda r: r["source_id"] not in (8, None)),
    ({"field": "campaign_id", "operator": "is_null", "value": None}, lambda r: r["campaign_id"] is None),
    ({"field": "campaign_id", "operator": "is_not_null"}, lambda r: r["campaign_id"] is not None),
    ({"field": "sale_cost", "operator": "<", "value": 150000.5}, lambda r: (r["sale_cost"] or 1e9) < 150000.5),
    ({"field": "sale_cost", "operator": ">=", "value": 150000}, lambda r: (r["sale_cost"] or 0) >= 150000),
    ({"field": "talk_duration", "operator": ">", "value": 60}, lambda r: r["talk_duration"] > 60),
    ({"field": "talk_duration", "operator": "<=", "value": 60}, lambda r: r["talk_duration"] <= 60),
    (
        {"field": "sale_date", "operator": ">=", "value": "2025-03-10 00:00:00"},
        lambda r: (r["sale_date"] or "") >= "2025-03-10 00:00:00",
    ),
    (
        {"field": "campaign_name", "operator": "like", "value": "Окна%"},
        lambda r: (r["campaign_name"] or "").startswith("Окна"),
    ),
    ({"field": "campaign_name", "operator": "not_like", "value": "окна%"}, lambda r: r["campaign_name"] is not None),
    (
        {"field": "campaign_name", "operator": "ilike", "value": "ОКНА, с_ти"},
        lambda r: r["campaign_name"] == "Окна, сети",
    ),
    (
        {"field": "campaign_name", "operator": "like", "value": "%50\\%"},
        lambda r: (r["campaign_name"] or "").endswith("50%"),
    ),
    (
        {"field": "campaign_name", "operator": "not_like", "value": "%Окна%"},
        lambda r: r["campaign_name"] is not None and "Окна" not in r["campaign_name"],
    ),
    (
        {"field": "campaign_name", "operator": "not_ilike", "value": "%окна%"},
        lambda r: r["campaign_name"] is not None and "окна" not in r["campaign_name"].lower(),
    ),
    ({"field": "visitor_city", "operator": "regexp", "value": "^(Тв|Ка)"}, lambda r: r["visitor_city"] == "Тверь"),
    ({"field": "site_id", "operator": "in", "value": [4501, 4503]}, lambda r: r["site_id"] in (4501, 4503)),
    ({"field": "source_id", "operator": "not_in", "value": [8, -1]}, lambda r: r["source_id"] not in (8, -1, None)),
    (
        {"field": "attributes", "operator": "overlap", "value": ["lost", "rest"]},
        lambda r: not {"lost", "rest"}.isdisjoint(r["attributes"]),
    ),
    ({"field": "attributes", "operator": "not_overlap", "value": ["lost"]}, lambda r: "lost" not in r["attributes"]),
    (
        {
            "condition": "or",
            "filters": [
                {"field": "site_id", "operator": "=", "value": 4502},
                {
                    "condition": "and",
                    "filters": [
                        {"field": "is_lost", "operator": "=", "value": True},
                        {"condition": "or", "filters": [{"field": "direction", "operator": "=", "value": "out"}]},
                    ],
                },
            ],
        },
        lambda r: r["site_id"] == 4502 or (r["is_lost"] and r["direction"] == "out"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "expected"), FILTERS, ids=[str(condition)[:70] for condition, _ in FILTERS])
def test_filter(account: Account, condition: Row, expected: Callable[[Row], bool]) -> None:
    """A filter serves and counts just the rows that a plain loop over the world finds."""
    rows = account.world.rows(CALLS, *MONTH.values())
    wanted = {row["id"] for row in rows if expected(row)}
    assert 0 < len(wanted) < len(rows)
    result = account.ask(**MONTH, fields=["id"], limit=10_000, filter=condition)["result"]
    assert {row["id"] for row in result["data"]} == wanted
    assert result["metadata"]["total_items"] == len(wanted)


def test_every_operator_is_tried_or_refused() -> None:
    """The filters above name all operators of protocol.json but jsquery."""
    tried = set(re.findall(r"'operator': '([^']+)'", str(FILTERS)))
    assert tried == {operator["op"] for operator in PROTOCOL["filter"]["operators"]} - {"jsquery"}


def test_sort_by_several_columns(account: Account) -> None:
    """Rows come in the order of the columns named, ascending unless told otherwise, nulls as in PostgreSQL."""
    sort = [{"field": "campaign_id", "order": "desc"}, {"field": "start_time"}]
    rows = account.rows(**MONTH, fields=["campaign_id", "start_time"], sort=sort, limit=10_000)
    got = [(row["campaign_id"], row["start_time"]) for row in rows]
    assert got == sorted(sorted(got, key=lambda pair: pair[1]), key=lambda p: (p[0] is None, p[0]), reverse=True)
    assert got[0][0] is None


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_sort_by_time(account: Account, order: str) -> None:
    """Days follow each other in the order of the sort, on every page."""
    sort = [{"field": "start_time", "order": order}]
    starts = [
        row["start_time"]
        for offset in range(0, 1200, 100)
        for row in account.rows(**MONTH, sort=sort, limit=100, offset=offset)
    ]
    assert len(starts) == len(account.world.rows(CALLS, *MONTH.values()))
    assert starts == sorted(starts, reverse=order == "desc")


@pytest.mark.parametrize(
    "sort", [None, [{"field": "start_time"}], [{"field": "direction"}]], ids=["none", "time", "ties"]
)
def test_pages_cover_the_period(account: Account, sort: Any) -> None:
    """Pages hold every row once, total_items tells how many, and ties stand in no order of id."""
    params = MONTH | ({"sort": sort} if sort else {}) | {"fields": ["id", "start_time"], "limit": 123}
    total = account.ask(**params)["result"]["metadata"]["total_items"]
    ids = [row["id"] for offset in range(0, total, 123) for row in account.rows(**params, offset=offset)]
    expected = [row["id"] for row in account.world.rows(CALLS, *MONTH.values())]
    assert sorted(ids) == sorted(expected)
    assert total == len(expected)
    assert ids != sorted(ids)
    assert account.rows(**params, offset=total) == []


def test_order_of_ties_can_be_unstable(account: Account) -> None:
    """With ``unstable_order`` two like requests give the same rows in another order, sorted all the same."""
    params = MONTH | {"fields": ["id", "direction"], "limit": 10_000, "sort": [{"field": "direction"}]}
    assert account.rows(**params) == account.rows(**params)
    account.settings.unstable_order = True
    first, second = account.rows(**params), account.rows(**params)
    assert first != second
    assert [row["direction"] for row in first] == [row["direction"] for row in second]
    assert sorted(row["id"] for row in first) == sorted(row["id"] for row in second)


# Refusals


@pytest.mark.parametrize(
    ("body", "mnemonic"),
    [
        (b'{"jsonrpc": "2.0", "id": 1,', "parse_error"),
        (b'{"id": "\xff"}', "parse_error"),
        ([envelope()], "batch_opreations_not_supported"),
        ("get.account", "invalid_request"),
        (envelope(id=None), "notifications_not_supported"),
        (envelope(id=[1]), "invalid_request"),
        (envelope(id=True), "invalid_request"),
        (envelope(jsonrpc=None), "invalid_request"),
        (envelope(jsonrpc=2.0), "invalid_request"),
        (envelope(method=None), "invalid_request"),
        (envelope(params=None), "invalid_request"),
        (envelope(params=[]), "invalid_request"),
        (envelope(method="get.nothing"), "method_not_found"),
        (envelope(method="get.leads"), "method_not_found"),
    ],
    ids=str,
)
def test_bad_envelope(account: Account, body: Any, mnemonic: str) -> None:
    """What is not one proper call is refused with the documented error, at HTTP 200."""
    check_error(account.post(body)["error"], mnemonic)


SIMPLE = {"field": "site_id", "operator": "=", "value": 1}


@pytest.mark.parametrize(
    ("params", "mnemonic", "field"),
    [
        ({"date_from": None}, "required_parameter_missed", "date_from"),
        ({"access_token": None}, "required_parameter_missed", "access_token"),
        ({"access_token": 5}, "data_type_error", "access_token"),
        ({"limit": "10"}, "data_type_error", "limit"),
        ({"limit": True}, "data_type_error", "limit"),
        ({"fields": "id"}, "data_type_error", "fields"),
        ({"fields": [1]}, "data_type_error", "fields"),
        ({"sort": ["id"]}, "data_type_error", "sort"),
        ({"filter": []}, "data_type_error", "filter"),
        ({"date_from": 5}, "data_type_error", "date_from"),
        ({"include_ongoing_calls": 1}, "data_type_error", "include_ongoing_calls"),
        ({"colour": 1}, "unexpected_parameters", "colour"),
        ({"fields": ["id", "no_such"]}, "unexpected_parameters", "fields"),
        ({"fields": ["tag_id"]}, "unexpected_parameters", "fields"),
        ({"sort": [{"field": "no_such"}]}, "unexpected_parameters", "sort"),
        ({"filter": SIMPLE | {"field": "no_such"}}, "unexpected_parameters", "filter"),
        ({"filter": SIMPLE | {"extra": 1}}, "unexpected_parameters", "filter.extra"),
        ({"filter": {"filters": [SIMPLE]}}, "required_parameter_missed", "filter.condition"),
        ({"filter": {"field": "site_id"}}, "required_parameter_missed", "filter.operator"),
        ({"filter": {"filters": [SIMPLE], "condition": "xor"}}, "invalid_parameter_value", "filter.condition"),
        ({"filter": SIMPLE | {"operator": "~"}}, "invalid_parameter_value", "filter.operator"),
        ({"filter": SIMPLE | {"operator": "like", "value": "1"}}, "invalid_parameter_value", "filter.operator"),
        ({"filter": SIMPLE | {"value": "1"}}, "invalid_parameter_value", "filter.value"),
        ({"filter": SIMPLE | {"operator": "in"}}, "invalid_parameter_value", "filter.value"),
        ({"filter": SIMPLE | {"operator": "is_null"}}, "invalid_parameter_value", "filter.value"),
        (
            {"filter": {"field": "visitor_city", "operator": "regexp", "value": "("}},
            "invalid_parameter_value",
            "filter.value",
        ),
        (
            {"filter": {"field": "tags", "operator": "jsquery", "value": "#.tag_id = 1"}},
            "invalid_parameter_value",
            "filter.operator",
        ),
        ({"filter": SIMPLE | {"field": "start_time"}}, "filter_prohibited", "filter"),
        ({"sort": [{"field": "id"}]}, "sort_prohibited", "sort"),
        ({"sort": [{"field": "start_time", "order": "up"}]}, "invalid_parameter_value", "sort.order"),
        ({"limit": 10_001}, "invalid_parameter_value", "limit"),
        ({"limit": 0}, "invalid_parameter_value", "limit"),
        ({"offset": 100_001}, "invalid_parameter_value", "offset"),
        ({"offset": -1}, "invalid_parameter_value", "offset"),
        ({"date_from": "2025-03-01"}, "invalid_parameter_value", "date_from"),
        ({"date_from": "2025-02-30 00:00:00"}, "invalid_parameter_value", "date_from"),
        ({"date_from": "2025-03-01T00:00:00+03:00"}, "invalid_parameter_value", "date_from"),
        ({"date_from": "2025-04-01 00:00:00"}, "invalid_parameter_value", "date_till"),
        ({"date_till": "2025-06-01 00:00:01"}, "date_interval_limit_reached", "date_till"),
    ],
    ids=str,
)
def test_bad_parameters(account: Account, params: Row, mnemonic: str, field: str) -> None:
    """A wrong parameter is refused with the documented error, which names its place, and costs nothing."""
    spent = account.sandbox.points_spent
    whole = {"access_token": SANDBOX_TOKEN} | MONTH | params
    body = envelope(method=CALLS, params={name: value for name, value in whole.items() if value is not None})
    error = account.post(body)["error"]
    check_error(error, mnemonic)
    assert error["data"]["field"] == field
    assert account.sandbox.points_spent == spent


def test_unexpected_column_is_named(account: Account) -> None:
    """As in the example of the docs, ``data.value`` is the column that the API does not know."""
    assert account.error(**DAY, fields=["id", "no_such_column"])["data"]["value"] == "no_such_column"


def test_secrets_are_not_echoed(account: Account) -> None:
    """``data.value`` repeats what was wrong, but never a key."""
    assert account.error(limit="10", **DAY)["data"]["value"] == "10"
    assert "value" not in account.error(access_token=["secret"], **DAY)["data"]


@pytest.mark.parametrize(
    ("longest", "date_till", "is_refused"),
    [
        (None, "2025-04-30 00:00:00", False),
        (None, "2025-04-30 00:00:01", True),
        (89, "2025-04-30 00:00:00", False),
        (89, "2025-04-30 00:00:01", True),
    ],
)
def test_longest_period(account: Account, longest: int | None, date_till: str, is_refused: bool) -> None:
    """Three calendar months from 31 January end on 30 April, 89 days too: not a second more."""
    account.settings.longest_period_days = longest
    answer = account.ask(date_from="2025-01-31 00:00:00", date_till=date_till, limit=1)
    assert ("error" in answer) == is_refused
    if is_refused:
        check_error(answer["error"], "date_interval_limit_reached")


@pytest.mark.parametrize(
    ("settings", "mnemonic", "placeholders"),
    [
        ({"tokens": {}}, "access_token_invalid", None),
        ({"tokens": {SANDBOX_TOKEN: "expired"}}, "access_token_expired", None),
        ({"tokens": {SANDBOX_TOKEN: "blocked"}}, "access_token_blocked", None),
        ({"allowed_addresses": ["203.0.113.0/24"]}, "ip_not_whitelisted", {"ip": "127.0.0.1"}),
        ({"account_active": False}, "account_inactive", None),
        ({"refused_methods": {CALLS: "forbidden"}}, "forbidden", None),
        ({"day_limit": 0}, "limit_exceeded", {"limit_type": "day", "limit_max_value": 0}),
    ],
)
def test_refused_callers(account: Account, settings: Row, mnemonic: str, placeholders: Row | None) -> None:
    """A caller without the right is refused with the documented error, with limits only where they are counted."""
    vars(account.settings).update(settings)
    error = account.error(**DAY)
    check_error(error, mnemonic)
    assert error["data"].get("params") == placeholders


def test_addresses_may_be_networks(account: Account) -> None:
    """0.0.0.0/0 lets everybody in."""
    account.settings.allowed_addresses = ["0.0.0.0/0"]
    assert account.rows("get.account")


# Points and sessions


def test_points_count_successful_requests_only(account: Account) -> None:
    """Each success costs one point, whatever its rows; an error costs none; both tell what remains."""
    first = account.ask(**DAY, limit=1)["result"]["metadata"]["limits"]
    account.error(**DAY, limit=0)
    error = account.error(**DAY, fields=["no_such"])
    second = account.ask(**MONTH, limit=10_000)["result"]["metadata"]["limits"]
    assert (first["day_limit"], first["day_remaining"]) == (3000, 2999)
    assert (first["minute_limit"], first["minute_remaining"]) == (1000, 999)
    assert error["data"]["metadata"]["limits"]["day_remaining"] == 2999
    assert second["day_remaining"] == 2998


def test_minute_limit_ends_with_the_minute(account: Account) -> None:
    """When the points of a minute are gone, the answer says for how many seconds; after them all is well."""
    account.settings.minute_limit = 2
    assert [account.ask("get.account")["result"]["metadata"]["limits"]["minute_remaining"] for _ in "ab"] == [1, 0]
    error = account.error("get.account")
    check_error(error, "limit_exceeded")
    limits = error["data"]["metadata"]["limits"]
    assert error["data"]["params"] == {"limit_type": "minute", "limit_max_value": 2}
    assert (limits["minute_remaining"], limits["minute_reset"], limits["day_remaining"]) == (0, 42, 2998)
    account.clock.now += timedelta(seconds=limits["minute_reset"])
    assert account.ask("get.account")["result"]["metadata"]["limits"]["minute_remaining"] == 1


def test_day_limit_ends_with_the_day(account: Account) -> None:
    """The points of a day come back at midnight UTC, not earlier."""
    account.settings.day_limit = 1
    account.rows("get.account")
    limits = account.error("get.account")["data"]["metadata"]["limits"]
    assert (limits["day_remaining"], limits["day_reset"]) == (0, 3 * 3600 + 42)
    account.clock.now += timedelta(seconds=limits["day_reset"] - 1)
    check_error(account.error("get.account"), "limit_exceeded")
    account.clock.now += timedelta(seconds=1)
    assert account.rows("get.account")


def test_session_lives_one_hour(account: Account) -> None:
    """login.user gives a key that opens the account for an hour; then it is invalid."""
    data = account.ask("login.user", access_token=SANDBOX_TOKEN)["error"]["data"]
    assert (data["mnemonic"], data["field"]) == ("required_parameter_missed", "login")
    params = {"login": SANDBOX_LOGIN, "password": SANDBOX_PASSWORD}
    session = account.post(envelope(method="login.user", params=params))["result"]["data"]
    assert session["expire_at"] == (account.clock.now + timedelta(hours=1)).timestamp()
    assert account.rows("get.account", access_token=session["access_token"])[0]["app_id"] == session["app_id"]
    account.clock.now += timedelta(minutes=59, seconds=59)
    assert account.rows("get.account", access_token=session["access_token"])
    account.clock.now += timedelta(seconds=1)
    check_error(account.error("get.account", access_token=session["access_token"]), "access_token_invalid")


def test_logout_ends_a_session(account: Account) -> None:
    """After logout.user the key is invalid."""
    params = {"login": SANDBOX_LOGIN, "password": SANDBOX_PASSWORD}
    token = account.post(envelope(method="login.user", params=params))["result"]["data"]["access_token"]
    assert "result" in account.ask("logout.user", access_token=token)
    check_error(account.error("get.account", access_token=token), "access_token_invalid")


def test_wrong_password(account: Account) -> None:
    """login.user with a wrong password is an auth_error and never shows the password."""
    answer = account.post(envelope(method="login.user", params={"login": SANDBOX_LOGIN, "password": "wrong-word"}))
    check_error(answer["error"], "auth_error")
    assert "wrong-word" not in json.dumps(answer)
    assert "wrong-word" not in str(account.sandbox.requests[-1])


# Shapes


def test_answers_are_compressed_on_demand(account: Account) -> None:
    """gzip comes when the caller accepts it, and only then."""
    body = envelope(method=CALLS, params={"access_token": SANDBOX_TOKEN} | DAY)
    for accepted, encoding in (("gzip", "gzip"), ("identity", None)):
        response = account.http.post(account.sandbox.url, json=body, headers={"Accept-Encoding": accepted})
        assert response.headers.get("Content-Encoding") == encoding
        assert response.json()["result"]["data"]


def test_quirks(account: Account) -> None:
    """Each odd answer that the docs or clients know of can be switched on."""

    def result(**quirks: Any) -> Any:
        account.settings.quirks = Quirks(**quirks)
        return account.ask(**DAY, fields=["id", "tags", "wait_duration", "sale_cost"])["result"]

    plain = result()
    assert plain["metadata"]["version"] is None
    assert result(metadata_name="meta_data").keys() == {"data", "meta_data"}
    assert result(empty_limits=True)["metadata"]["limits"] == {}
    assert result(without_metadata=True).keys() == {"data"}
    assert result(bare_list=True) == plain["data"]
    nulls = result(null_for_empty_arrays=True)["data"]
    assert [row["tags"] or [] for row in nulls] == [row["tags"] for row in plain["data"]]
    assert None in [row["tags"] for row in nulls]
    assert None in [row["condition"] for row in account.rows("get.tags", fields=["condition"])]
    short = result(short_pages=7)
    assert short["data"] == plain["data"][:7]
    assert short["metadata"]["total_items"] == plain["metadata"]["total_items"] > 7
    texts = result(numbers_as_strings=frozenset({"wait_duration", "sale_cost"}))["data"]
    assert [row["wait_duration"] for row in texts] == [str(row["wait_duration"]) for row in plain["data"]]
    assert {type(row["sale_cost"]) for row in texts} == {str, type(None)}
    assert {row["new"] for row in result(extra_columns={"new": "?"})["data"]} == {"?"}


def test_forgotten_columns(account: Account) -> None:
    """A column that the API no longer knows is refused wherever it is named, and does not come by default."""
    account.settings.quirks = Quirks(forgotten_columns=frozenset({"direction"}))
    condition = {"field": "direction", "operator": "=", "value": "in"}
    for params in ({"fields": ["direction"]}, {"sort": [{"field": "direction"}]}, {"filter": condition}):
        error = account.error(**DAY, **params)
        check_error(error, "unexpected_parameters")
        assert error["data"]["value"] == "direction"
    assert "direction" not in account.rows(**DAY)[0]


def test_user_id_of_agents_is_accepted(account: Account) -> None:
    """An agent may name a client user in every method, even where the table of the page leaves it out."""
    assert account.rows("get.account", user_id=5)
