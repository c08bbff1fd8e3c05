"""Every method of the sandbox over real HTTP: default columns, what may be sorted and filtered by, odd parameters.

And agents, who ask on behalf of their customers.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import httpx
import pytest

from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World

METHODS = {
    method["name"]: method
    for method in json.loads((files("comagic_pipeline") / "catalog" / "methods.json").read_bytes())["methods"]
    if method["group"] != "report_constructor"
}
CLIENT_METHODS = [name for name in METHODS if "client" in METHODS[name]["available_to"]]
AGENT_METHODS = [name for name in METHODS if name not in CLIENT_METHODS]
DAY = {"date_from": "2025-03-03 00:00:00", "date_till": "2025-03-03 23:59:59"}
SITE = 4501
CALLS, CHATS, MESSAGES = "get.calls_report", "get.chats_report", "get.chat_messages_report"
STAT, VISITS, GOALS = "get.campaign_daily_stat", "get.visitor_sessions_report", "get.goals_report"
OFFLINE, STAGES = "get.offline_messages_report", "get.lead_funnel_stages"
Row = dict[str, Any]


class Caller:
    """A plain caller of a sandbox."""

    def __init__(self, sandbox: Sandbox, http: httpx.Client) -> None:
        self.sandbox, self.http = sandbox, http

    def ask(self, method: str, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"access_token": SANDBOX_TOKEN} | params}
        return self.http.post(self.sandbox.url, json=body).json()

    def rows(self, method: str, **params: Any) -> list[Row]:
        result = self.ask(method, **params)["result"]
        rows: list[Row] = result if isinstance(result, list) else result["data"]
        return rows

    def refusal(self, method: str, **params: Any) -> tuple[str, str | None]:
        """The mnemonic and the field of an error."""
        data = self.ask(method, **params)["error"]["data"]
        return data["mnemonic"], data.get("field")


def _settings() -> Settings:
    return Settings(day_limit=100_000, minute_limit=100_000)


def caller(**world: Any) -> Iterator[Caller]:
    a_world = World(calls_per_day=30, now=lambda: datetime(2025, 6, 1, tzinfo=UTC), **world)
    with running_sandbox(a_world, _settings()) as sandbox, httpx.Client(trust_env=False) as http:
        yield Caller(sandbox, http)


@pytest.fixture(scope="module")
def client() -> Iterator[Caller]:
    """A client of an account of its own."""
    yield from caller()


@pytest.fixture(scope="module")
def agent() -> Iterator[Caller]:
    """An agent with three customers."""
    yield from caller(customers=3)


@pytest.fixture(autouse=True)
def _plain_settings(client: Caller, agent: Caller) -> None:
    for running in (client, agent):
        vars(running.sandbox.settings).update(vars(_settings()))


def needed(method: str) -> Row:
    """The parameters that a method cannot do without."""
    names = {parameter["name"] for parameter in METHODS[method]["params"]}
    return {name: value for name, value in {**DAY, "site_id": SITE}.items() if name in names}


def columns_of(method: str) -> dict[str, Row]:
    return {column["name"]: column for column in METHODS[method]["fields"]}


def all_columns(method: str) -> Row:
    """The parameter that asks for all columns; get.account has none such."""
    is_known = any(parameter["name"] == "fields" for parameter in METHODS[method]["params"])
    return {"fields": list(columns_of(method))} if is_known else {}


# Columns


@pytest.mark.parametrize("method", CLIENT_METHODS)
def test_default_columns(client: Caller, method: str) -> None:
    """Without ``fields`` come the columns with the default flag, all where the page knows no such flag."""
    expected = {name for name, column in columns_of(method).items() if column["default"] is not False}
    rows = client.rows(method, **needed(method))
    assert rows
    for row in rows:
        assert row.keys() | {"campaign_conditions"} == expected | {"campaign_conditions"}


@pytest.mark.parametrize("method", CLIENT_METHODS)
def test_all_columns(client: Caller, method: str) -> None:
    """Every column can be asked for, and the rows are just those of the world."""
    params = needed(method)
    served = client.rows(method, **params, **all_columns(method))
    period = (params.pop("date_from", None), params.pop("date_till", None))
    world = client.sandbox.world.rows(method, *period, **params)
    assert len(served) == min(len(world), 1000)
    assert served == world[:1000]


def test_key_and_time_do_not_come_by_default(client: Caller) -> None:
    """Visits come without id and time, requests without time, goals without either."""
    assert not {"id", "date_time"} & client.rows(VISITS, **DAY)[0].keys()
    assert "date_time" not in client.rows(OFFLINE, **DAY)[0]
    assert not {"id", "date_time"} & client.rows(GOALS, **DAY)[0].keys()


# Sort and filter


@pytest.mark.parametrize("method", CLIENT_METHODS)
def test_sort_flags(client: Caller, method: str) -> None:
    """A method sorts by the columns with the flag and refuses all others."""
    sort = "order" if method == STAGES else "sort"
    params = needed(method)
    if sort not in {parameter["name"] for parameter in METHODS[method]["params"]}:
        assert client.refusal(method, **params, **{sort: [{"field": "app_id"}]}) == ("unexpected_parameters", sort)
        return
    for name, column in columns_of(method).items():
        question = {**params, "fields": [name], sort: [{"field": name, "order": "desc"}]}
        if column["sort"]:
            values = [row[name] for row in client.rows(method, **question) if row[name] is not None]
            assert column["type"] == "object" or values == sorted(values, reverse=True), name
        else:
            assert client.refusal(method, **question) == ("sort_prohibited", sort), name


@pytest.mark.parametrize("method", CLIENT_METHODS)
def test_filter_flags(client: Caller, method: str) -> None:
    """A method filters by the columns with the flag and refuses all others."""
    params = needed(method)
    if "filter" not in {parameter["name"] for parameter in METHODS[method]["params"]}:
        assert client.refusal(method, **params, filter={}) == ("unexpected_parameters", "filter")
        return
    for name, column in columns_of(method).items():
        condition = {"field": name, "operator": "=", "value": None}
        if not column["filter"]:
            assert client.refusal(method, **params, filter=condition) == ("filter_prohibited", "filter"), name
        elif column["type"] not in ("array", "object"):
            served = client.rows(method, **params, fields=[name], filter=condition)
            assert all(row[name] is None for row in served), name


@pytest.mark.parametrize("method", [VISITS, GOALS, OFFLINE])
def test_unsorted_reports_shuffle_on_demand(client: Caller, method: str) -> None:
    """What no id or time can sort comes in another order with each request, if set so, and in one order otherwise."""
    key = "communication_id" if method == GOALS else "id"

    def ids() -> list[int]:
        rows = client.rows(method, date_from="2025-03-01 00:00:00", date_till=DAY["date_till"], fields=[key])
        return [row[key] for row in rows]

    first = ids()
    assert ids() == first != sorted(first)
    client.sandbox.settings.unstable_order = True
    assert ids() != ids()
    if len(first) < 1000:
        assert sorted(ids()) == sorted(first)


# Parameters of single methods


@pytest.mark.parametrize("method", [name for name in CLIENT_METHODS if needed(name)])
def test_required_parameters(client: Caller, method: str) -> None:
    """A report without its period, and one of a site without the site, names what is missing."""
    params = needed(method)
    for name in params:
        rest = {other: value for other, value in params.items() if other != name}
        assert client.refusal(method, **rest) == ("required_parameter_missed", name)


@pytest.mark.parametrize("method", [name for name in CLIENT_METHODS if "date_from" in needed(name)])
def test_longest_period(client: Caller, method: str) -> None:
    """Messages of chats come for 30 days at most, all else for three months."""
    # In a future that costs no time, for it has no rows.
    longest, too_long = ("2025-07-31", "2025-08-01") if method == MESSAGES else ("2025-10-01", "2025-10-02")
    params = needed(method) | {"date_from": "2025-07-01 00:00:00"}
    assert "result" in client.ask(method, **params | {"date_till": f"{longest} 00:00:00"})
    assert client.refusal(method, **params | {"date_till": f"{too_long} 00:00:00"}) == (
        "date_interval_limit_reached",
        "date_till",
    )


def test_campaign_statistics_are_a_bare_list(client: Caller) -> None:
    """``result`` is the list itself, of one site and of whole days, and can be read page by page."""
    noon = {"date_from": "2025-03-03 12:00:00", "date_till": "2025-03-04 01:00:00", "site_id": SITE}
    result = client.ask(STAT, **noon)["result"]
    assert isinstance(result, list)
    assert {row["date"] for row in result} == {"2025-03-03", "2025-03-04"}
    assert {row["site_id"] for row in result} == {SITE}
    pages = [client.ask(STAT, **noon, limit=3, offset=offset)["result"] for offset in range(0, len(result) + 3, 3)]
    assert [row for page in pages for row in page] == result
    assert pages[-1] == [] or len(result) % 3
    assert client.rows(STAT, **noon | {"site_id": 5}) == []
    client.sandbox.settings.quirks = Quirks(bare_list=False)
    wrapped = client.ask(STAT, **noon)["result"]
    assert (wrapped["data"], wrapped["metadata"]["total_items"]) == (result, len(result))


def test_messages_of_chats(client: Caller) -> None:
    """Messages are asked for by chat, by chats or by period; with none of them the period is missing."""
    chats = [row["id"] for row in client.rows(CHATS, **DAY)]
    one = client.rows(MESSAGES, chat_id=chats[0])
    assert {row["chat_id"] for row in one} == {chats[0]}
    several = client.ask(MESSAGES, chat_ids=chats[:2])["result"]
    assert {row["chat_id"] for row in several["data"]} == set(chats[:2])
    assert several["metadata"]["total_items"] == len(several["data"]) > len(one)
    assert client.rows(MESSAGES, **DAY, chat_id=chats[0]) == one
    assert client.refusal(MESSAGES) == ("required_parameter_missed", "date_from")
    assert client.refusal(MESSAGES, date_from=DAY["date_from"]) == ("required_parameter_missed", "date_till")
    assert client.refusal(MESSAGES, chat_ids=["5"]) == ("data_type_error", "chat_ids")


def test_rows_on_demand(client: Caller) -> None:
    """Technical requests, ratings of tags and deleted statuses come only when asked for."""
    whole = client.rows(OFFLINE, **DAY, include_tech_offline_messages=True)
    usual = client.rows(OFFLINE, **DAY)
    assert [row for row in whole if row["communication_id"] is not None] == usual
    assert len(whole) > len(usual)
    rated = client.rows("get.tags", fields=["id", "rating"], is_include_rating=True)
    assert all(row["rating"] is not None for row in rated)
    assert {row["rating"] for row in client.rows("get.tags", fields=["id", "rating"])} == {None}
    deleted = client.rows("get.statuses", is_deleted=True)
    assert {row["is_deleted"] for row in deleted} == {True}
    assert {row["is_deleted"] for row in client.rows("get.statuses")} == {False}


def test_lead_stages_are_sorted_by_order(client: Caller) -> None:
    """get.lead_funnel_stages names the parameter ``order``; ``sort`` is unknown to it."""
    orders = [row["order"] for row in client.rows(STAGES, order=[{"field": "order", "order": "desc"}])]
    assert orders == sorted(orders, reverse=True)
    assert client.refusal(STAGES, sort=[{"field": "order"}]) == ("unexpected_parameters", "sort")


def test_deals_are_cut_by_filter(client: Caller) -> None:
    """The history of deals has no period: its filter takes dates."""
    dates = [
        {"field": "modified_stage_date_time", "operator": ">=", "value": DAY["date_from"]},
        {"field": "modified_stage_date_time", "operator": "<=", "value": DAY["date_till"]},
    ]
    rows = client.rows("get.deals_history", filter={"condition": "and", "filters": dates})
    assert {row["modified_stage_date_time"][:10] for row in rows} == {"2025-03-03"}
    assert client.refusal("get.deals_history", **DAY)[0] == "unexpected_parameters"


def test_chat_channels_have_two_names(client: Caller) -> None:
    """The page calls the method otherwise than its sample: both names work, or the one that is not refused."""
    names = ["get.chat_channels", "get.chat_channels_report"]
    expected = client.rows(names[0])
    assert client.rows(names[1]) == expected != []
    for known, unknown in (names, names[::-1]):
        client.sandbox.settings.refused_methods = {unknown: "method_not_found"}
        assert client.rows(known) == expected
        assert client.refusal(unknown) == ("method_not_found", None)


@pytest.mark.parametrize("method", CLIENT_METHODS)
def test_components_may_be_missing(client: Caller, method: str) -> None:
    """The refusal names the components that the page of the method asks for."""
    client.sandbox.settings.refused_methods = {method: "method_component_disabled"}
    error = client.ask(method, **needed(method))["error"]
    components = ", ".join(METHODS[method]["any_of_components"])
    assert error["data"]["params"] == {"components": components}
    assert error["message"].endswith(f": {components}")


def test_components_are_disabled_for_all_their_methods(client: Caller) -> None:
    """A method that needs one of several components is refused when none of them is left."""
    assert set(METHODS[MESSAGES]["any_of_components"]) == {"consultant", "upload_chats"}
    client.sandbox.settings.disabled_components = {"consultant"}
    assert client.rows(MESSAGES, **DAY)
    client.sandbox.settings.disabled_components = {"consultant", "upload_chats"}
    assert client.refusal(MESSAGES, **DAY) == ("method_component_disabled", None)
    assert client.rows(CHATS, **DAY)
    assert client.rows(CALLS, **DAY)  # needs none


def test_texts_may_come_as_numbers(client: Caller) -> None:
    """Columns that the table calls text and the sample shows as numbers can be either; what is no number stays."""
    asked = {"fields": ["campaign_ext_id", "keyword", "cost_sum"], "site_id": SITE} | DAY
    texts = client.rows(STAT, **asked)
    client.sandbox.settings.quirks = Quirks(strings_as_numbers=frozenset({"campaign_ext_id", "keyword"}))
    numbers = client.rows(STAT, **asked)
    assert {type(row["campaign_ext_id"]) for row in numbers} == {int, type(None)}
    assert [
        row | {"campaign_ext_id": row["campaign_ext_id"] and str(row["campaign_ext_id"])} for row in numbers
    ] == texts


# Agents


def test_lists_of_customers_are_closed_to_clients(client: Caller) -> None:
    """For an account that is nobody's agent the methods of agents do not exist; ``user_id`` is accepted and idle."""
    for method in AGENT_METHODS:
        assert client.refusal(method) == ("method_not_found", None)
    assert client.rows(CALLS, **DAY, user_id=2801) == client.rows(CALLS, **DAY)


def test_lists_of_customers(agent: Caller) -> None:
    """An agent lists its customers with their sites, and a user of each to ask on behalf of."""
    customers, users = agent.rows("get.customers"), agent.rows("get.customer_users")
    assert [row["id"] for row in customers] == [row["customer_id"] for row in users] == [18301, 18302, 18303]
    for method in AGENT_METHODS:
        assert agent.rows(method)[0].keys() == columns_of(method).keys()
        assert agent.refusal(method, user_id=2801) == ("unexpected_parameters", "user_id")
    for customer, user in zip(customers, users, strict=True):
        sites = agent.rows("get.sites", user_id=user["id"])
        assert [site["site_id"] for site in customer["sites"]] == [site["id"] for site in sites]


@pytest.mark.parametrize("method", CLIENT_METHODS)
def test_agents_name_a_user(agent: Caller, method: str) -> None:
    """Every client method of an agent needs ``user_id``; each user sees the account of its customer."""
    params = needed(method)
    assert agent.refusal(method, **params) == ("required_parameter_missed", "user_id")
    assert agent.refusal(method, **params, user_id=5) == ("invalid_parameter_value", "user_id")
    assert agent.refusal(method, **params, user_id="2802") == ("data_type_error", "user_id")
    params.pop("site_id", None)
    if "site_id" not in needed(method):
        served = agent.rows(method, **params, user_id=2802, **all_columns(method))
        account = agent.sandbox.world.customers[18302]
        period = (params.get("date_from"), params.get("date_till"))
        assert served == account.rows(method, *period)[:1000]


def test_customers_can_be_refused_and_changed(agent: Caller) -> None:
    """A refused user is forbidden everything, the others nothing; a customer's rows change for it alone."""
    agent.sandbox.settings.refused_users = {2801}
    assert agent.refusal(CALLS, **DAY, user_id=2801) == ("forbidden", None)
    assert agent.refusal("get.account", user_id=2801) == ("forbidden", None)
    agent.sandbox.settings.refused_methods_of_users = {2802: {CHATS: "method_not_found"}}
    assert agent.refusal(CHATS, **DAY, user_id=2802) == ("method_not_found", None)
    assert agent.rows(CHATS, **DAY, user_id=2803)
    assert agent.rows(CALLS, **DAY, user_id=2802)
    before = agent.rows("get.tags", user_id=2803)
    agent.sandbox.world.customers[18302].change("get.tags", 2_062_001, {"name": "Новое имя"})
    assert agent.rows("get.tags", user_id=2802)[0]["name"] == "Новое имя"
    assert agent.rows("get.tags", user_id=2803) == before
    user = agent.rows("get.customer_users")[-1]
    agent.sandbox.world.delete("get.customer_users", user["id"])
    assert agent.refusal("get.tags", user_id=2803) == ("invalid_parameter_value", "user_id")
