"""One request for rows: which columns are asked for when the API does not know them all, and which rows count."""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.errors import MethodUnavailableError, UnexpectedParameterError
from comagic_pipeline.api.requests import RowRequests
from comagic_pipeline.catalog import methods
from comagic_pipeline_tests.integration.api_server import Server, refusal, success

CALLS = methods()["get.calls_report"]
NAMES = ("id", "start_time", "direction", "tags")
NARROW = replace(CALLS, columns=tuple(map(CALLS.column, NAMES)))
START, END = datetime.fromisoformat("2026-03-01"), datetime.fromisoformat("2026-03-02")
TLS = ssl.create_default_context()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose every byte the test decides."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def requests(server: Server) -> Iterator[RowRequests]:
    """Requests for calls in pages of three."""
    with Client(server.url, Token("key"), sleep=lambda _: None, verify=TLS) as client:
        yield RowRequests(client, NARROW, ZoneInfo("Europe/Moscow"), {"user_id": 7}, "start_time", page_rows=3)


def drift(server: Server, data: dict[str, Any]) -> None:
    """Let the server refuse requests for tags, as `data` says."""
    error = {"code": -32602, "message": "Unexpected method parameter(s)", "data": data}
    error["data"] = {"mnemonic": "unexpected_parameters"} | data
    server.reply = lambda sent: refusal(sent, error) if "tags" in sent["params"]["fields"] else success(sent, [])


def test_what_is_asked_for(server: Server, requests: RowRequests) -> None:
    """A request names the period, all columns, the size and the order of the page, and what goes with every request."""
    requests.page_of_period(START, END, offset=5)
    assert server.requests[0]["params"] == {
        "access_token": "key",
        "user_id": 7,
        "date_from": "2026-03-01 00:00:00",
        "date_till": "2026-03-02 00:00:00",
        "fields": list(NAMES),
        "sort": [{"field": "start_time", "order": "asc"}],
        "limit": 3,
        "offset": 5,
    }


@pytest.mark.parametrize(
    "data",
    [
        {"field": "fields", "value": "tags"},
        {"field": "fields", "value": ["tags"]},
        {"field": "fields.tags"},
        {"field": "fields.tags", "value": None},
        {"field": "params.fields.tags", "value": "tags"},
        {"field": "tags"},
        {"field": "tags", "value": "tags"},
        {"field": None, "value": "tags"},
    ],
)
def test_an_unknown_column_is_left_out(server: Server, requests: RowRequests, data: dict[str, Any]) -> None:
    """However the API points at a column that it does not know, the request is repeated without it, and so are all."""
    drift(server, data)
    requests.page_of_period(START, END)
    requests.page_of_period(START, END)
    assert [request["params"]["fields"] for request in server.requests] == [list(NAMES), *[list(NAMES[:3])] * 2]
    assert requests.warnings == ["get.calls_report: the API does not know tags any more; left empty"]
    assert requests.points == 2


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"field": "fields"},
        {"field": "fields", "value": list(NAMES)},
        {"field": "fields", "value": "something_else"},
        {"field": "fields", "value": {"tags": 1}},
        {"params": {"object": "unknown"}},
        {"params": [1, None, {}]},
    ],
)
def test_a_column_that_is_named_nowhere(server: Server, requests: RowRequests, data: dict[str, Any]) -> None:
    """A refusal that names no column ended the load; the column is found by leaving out one at a time, at no point."""
    drift(server, data)
    requests.page_of_period(START, END)
    requests.page_of_period(START, END)
    assert requests.left_out == {"tags"}
    assert requests.warnings == ["get.calls_report: the API does not know tags any more; left empty"]
    # All columns, without direction, without tags; the page that was wanted twice is all that cost a point.
    assert [len(request["params"]["fields"]) for request in server.requests] == [4, 3, 3, 3]
    assert requests.points == 2


@pytest.mark.parametrize(
    "data",
    [
        {"field": "fields.id", "value": "id"},
        {"field": "start_time"},
        {"field": None, "params": {"object": "start_time"}},
        {"field": "user_id", "value": 7},
        {"field": "sort", "value": "start_time"},
        {"field": "date_from", "value": "tags"},
    ],
)
def test_an_error_that_names_no_column_of_ours(server: Server, requests: RowRequests, data: dict[str, Any]) -> None:
    """All columns but the key were dropped in silence when the API echoed the list that it was sent."""
    drift(server, data)
    with pytest.raises(UnexpectedParameterError):
        requests.page_of_period(START, END)
    assert len(server.requests) == 1
    assert requests.warnings == []


def refuse(server: Server, refused: set[str], error: Callable[[list[str]], dict[str, Any]]) -> None:
    """Let the server refuse requests for some columns; the error is made of those that it was asked for."""

    def reply(sent: dict[str, Any]) -> bytes:
        found = [name for name in sent["params"]["fields"] if name in refused]
        return refusal(sent, error(found)) if found else success(sent, [], total_items=0)

    server.reply = reply


def unexpected(message: str, **data: Any) -> dict[str, Any]:
    """The error of protocol.json for an unknown column."""
    return {"code": -32602, "message": message, "data": {"mnemonic": "unexpected_parameters", **data}}


def component(message: str, **data: Any) -> dict[str, Any]:
    """The error of protocol.json for a parameter whose component is not connected."""
    return {"code": -32008, "message": message, "data": {"mnemonic": "parameter_component_disabled", **data}}


def invalid(message: str, **data: Any) -> dict[str, Any]:
    """The error of protocol.json for a value that is not allowed."""
    return {"code": -32602, "message": message, "data": {"mnemonic": "invalid_parameter_value", **data}}


@pytest.fixture
def all_columns(server: Server) -> Iterator[RowRequests]:
    """Requests for all columns of calls."""
    with Client(server.url, Token("key"), sleep=lambda _: None, verify=TLS) as client:
        yield RowRequests(client, CALLS, ZoneInfo("Europe/Moscow"), {}, "start_time")


@pytest.mark.parametrize(
    ("refused", "error", "most_refusals"),
    [
        # Case 09: in the message, and in params.
        ({"ymclid"}, lambda found: unexpected(f"Unexpected method parameter(s): {found[0]}"), 1),
        ({"ymclid"}, lambda found: unexpected("Unexpected", params={"object": found[0]}), 1),
        ({"ymclid", "gclid"}, lambda found: unexpected(f"Unexpected method parameter(s): {', '.join(found)}"), 1),
        ({"ymclid", "gclid"}, lambda found: unexpected("Unexpected", params={"objects": found}), 1),
        ({"ymclid", "gclid"}, lambda found: unexpected(f"Unexpected method parameter(s): {found[0]}"), 2),
        # The words of a sentence may be names of columns, too.
        ({"ymclid"}, lambda found: unexpected(f"the source has no tags of {found[0]} any more"), 4),
        ({"ymclid", "gclid"}, lambda found: unexpected(f"the source has no {found[0]}"), 5),
        ({"ymclid"}, lambda _: unexpected("nothing said: tags, employees"), 70),
        ({"ymclid"}, lambda _: unexpected(f"not all of {', '.join(column.name for column in CALLS.columns)}"), 70),
        ({"ymclid"}, lambda _: {"code": -32602, "message": "fields: one is wrong", "data": None}, 70),
        ({"ymclid"}, lambda _: {"code": -32602, "message": "Unexpected method parameter(s)"}, 70),
        ({"tags"}, lambda _: component("You need at least on of the following components: employees, chat"), 70),
        ({"tags"}, lambda _: component("You need at least ...", field="fields", value=["tags"]), 1),
        ({"tags"}, lambda _: component("You need ...: gold", field="fields.tags", params={"components": ["gold"]}), 1),
        ({"tags"}, lambda _: invalid("Invalid parameter value", field="fields"), 70),
        ({"tags"}, lambda _: invalid("Invalid parameter value", field="fields", value="tags"), 1),
        ({"tags"}, lambda _: invalid("Invalid parameter value: tags"), 1),
    ],
)
def test_refused_columns_cost_nothing(
    server: Server, all_columns: RowRequests, refused: set[str], error: Any, most_refusals: int
) -> None:
    """A column whose name stood only in the message, or nowhere, ended the load, or had its whole table skipped."""
    refuse(server, refused, error)
    answer = all_columns.page_of_period(START, END)
    assert (answer.total, {*all_columns.left_out}, all_columns.points) == (0, refused, 1)
    assert len(server.requests) - 1 <= most_refusals
    assert all("left empty" in warning for warning in all_columns.warnings)
    assert refused == {name for name in refused if name in " ".join(all_columns.warnings)}
    asked = set(server.requests[-1]["params"]["fields"])
    assert asked == {column.name for column in CALLS.columns} - refused


@pytest.mark.parametrize("refused", [("ymclid", "gclid"), ("ymclid", "tags", "employees", "direction")])
def test_several_columns_that_are_named_nowhere(
    server: Server, all_columns: RowRequests, refused: tuple[str, ...]
) -> None:
    """Several columns that no error names are found by halves, at a bounded number of points, and only once."""
    refuse(server, set(refused), lambda _: unexpected("no"))
    all_columns.page_of_period(START, END)
    assert all_columns.left_out == set(refused)
    spent = all_columns.points
    assert spent <= 2 + 7 * len(refused)
    all_columns.page_of_period(START, END)
    assert all_columns.points == spent + 1


def test_what_one_reader_found_others_know(server: Server) -> None:
    """A refused column is looked for once in a run, not for each site or part of a list; each says that it is empty."""
    refuse(server, {"tags"}, lambda _: unexpected("no"))
    with Client(server.url, Token("key"), sleep=lambda _: None, verify=TLS) as client:
        found = [RowRequests(client, NARROW, ZoneInfo("Europe/Moscow"), {}, "start_time") for _ in range(3)]
        for each in found:
            each.page_of_period(START, END)
            assert (each.points, {*each.left_out}, len(each.warnings)) == (1, {"tags"}, 1)
    assert len(server.requests) == 3 + 2


@pytest.mark.parametrize("refused", ["id", "start_time"])
@pytest.mark.parametrize("named", [True, False])
def test_a_refused_key_or_time(server: Server, requests: RowRequests, refused: str, named: bool) -> None:
    """Key and time cannot be left out: one error that says so, and no point."""
    refuse(server, {refused}, lambda found: unexpected(f"Unexpected method parameter(s): {found[0] if named else ''}"))
    with pytest.raises(UnexpectedParameterError, match=f"calls_report cannot do without .*{refused}.*: leave it out"):
        requests.page_of_period(START, END)
    assert (requests.points, requests.left_out, requests.warnings) == (0, frozenset(), [])


def test_a_component_of_another_parameter(server: Server, requests: RowRequests) -> None:
    """What is refused is no column: the method is skipped, as before, after one request."""
    server.reply = lambda sent: refusal(sent, component("You need ...", field="user_id"))
    with pytest.raises(MethodUnavailableError):
        requests.page_of_period(START, END)
    assert len(server.requests) == 1


def test_rows_beside_the_period(server: Server, requests: RowRequests) -> None:
    """Rows that were not asked for are rejected, not stored under a day that is not theirs; the end may come or not."""
    moments = ["2026-02-28 23:59:59", "2026-03-01 00:00:00", "2026-03-02 00:00:00", "2026-03-02 00:00:01"]
    rows = [{"id": number, "start_time": moment} for number, moment in enumerate(moments)]
    server.reply = lambda sent: success(sent, rows, total_items=4)
    answer = requests.page_of_period(START, END)
    assert [row.id for row in answer.rows] == [1, 2]  # type: ignore[attr-defined]
    assert [(value.key, value.column) for value in answer.rejected] == [("0", None), ("3", None)]
    assert (answer.counted, answer.is_plain, answer.is_whole) == (4, False, True)


@pytest.mark.parametrize(
    ("ids", "total", "counted", "is_plain", "is_full", "is_whole"),
    [
        ([], 0, 0, True, False, True),
        ([], None, 0, True, False, True),
        ([1, 2], 2, 2, True, False, True),
        ([1, 2], 3, 2, True, False, False),
        ([1, 2], None, 2, True, True, False),  # shorter pages than was asked for were met before the end
        ([1, 2, 3], None, 3, True, True, False),
        ([1, 2, 3], 3, 3, True, True, True),
        ([1, 2, 2], 3, 2, False, True, True),  # one answer cannot shift while it is read
        ([1, None, None], 3, 3, False, True, True),
        ([1, 1, None], 3, 2, False, True, True),
    ],
)
def test_what_an_answer_counts(
    server: Server,
    requests: RowRequests,
    ids: list[int | None],
    total: int | None,
    counted: int,
    is_plain: bool,
    is_full: bool,
    is_whole: bool,
) -> None:
    """Rows count once, those that cannot be stored too; an answer with as many lines as match proves itself."""
    rows = [{"id": identifier, "start_time": "2026-03-01 10:00:00"} for identifier in ids]
    server.reply = lambda sent: success(sent, rows, total_items=total)
    answer = requests.page_of_period(START, END)
    found = (answer.total, answer.counted, answer.is_plain, answer.is_full, answer.is_whole)
    assert found == (total, counted, is_plain, is_full, is_whole)
    assert len(answer.rows) == len({identifier for identifier in ids if identifier})
