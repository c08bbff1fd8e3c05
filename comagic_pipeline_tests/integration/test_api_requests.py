"""One request for rows: which columns are asked for when the API does not know them all, and which rows count."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.errors import UnexpectedParameterError
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
        {"field": "fields.id", "value": "id"},
        {"field": "start_time"},
        {"field": "user_id", "value": 7},
        {"field": "sort", "value": "start_time"},
    ],
)
def test_an_error_that_names_no_column_of_ours(server: Server, requests: RowRequests, data: dict[str, Any]) -> None:
    """All columns but the key were dropped in silence when the API echoed the list that it was sent."""
    drift(server, data)
    with pytest.raises(UnexpectedParameterError):
        requests.page_of_period(START, END)
    assert len(server.requests) == 1
    assert requests.warnings == []


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
