"""Whole dictionaries over real HTTP: every row once, whatever their number and whatever changes meanwhile."""

import ssl
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.dictionaries import TRIES, DictionaryReader
from comagic_pipeline.api.errors import IncompleteAnswerError, MethodUnavailableError
from comagic_pipeline.catalog import methods
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import Section, World
from comagic_pipeline_tests.integration.api_server import Server, success

PAGE = 10
TLS = ssl.create_default_context()
Read = Callable[..., DictionaryReader]


class Campaigns(World):
    """An account whose campaigns are what the test puts there."""

    def __init__(self) -> None:
        super().__init__()
        self.campaigns: list[dict[str, Any]] = []

    def sections(self, method: str, *args: Any) -> list[Section]:
        """What the sandbox asks for."""
        return [Section(lambda: list(self.campaigns))] if method == "get.campaigns" else super().sections(method, *args)


@pytest.fixture
def world() -> Campaigns:
    """An account without campaigns."""
    return Campaigns()


@pytest.fixture
def sandbox(world: Campaigns) -> Iterator[Sandbox]:
    """The sandbox of the account."""
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox:
        yield sandbox


@pytest.fixture
def reader() -> Iterator[Read]:
    """Makes readers of a URL."""
    clients = []

    def reader(url: str, method: str = "get.campaigns", page_rows: int = PAGE) -> DictionaryReader:
        clients.append(Client(url, Token(SANDBOX_TOKEN), sleep=lambda _: None, verify=TLS))
        return DictionaryReader(clients[-1], methods()[method], ZoneInfo("Europe/Moscow"), page_rows=page_rows)

    yield reader
    for client in clients:
        client.close()


def campaigns(*ids: int) -> list[dict[str, Any]]:
    """Campaigns with these ids."""
    return [{"id": identifier, "name": f"Кампания {identifier}", "costs": 1.5, "site_blocks": []} for identifier in ids]


def ids(rows: list[Any]) -> list[int]:
    """The ids of rows, in order."""
    return sorted(row.id for row in rows)


@pytest.mark.parametrize("unstable_order", [False, True])
@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 3 * PAGE + 1])
def test_all_rows_come_once(sandbox: Sandbox, world: Campaigns, reader: Read, count: int, unstable_order: bool) -> None:
    """Whatever the number of campaigns, each comes once, and the pages that they fill are what it costs."""
    sandbox.settings.unstable_order = unstable_order
    world.campaigns = campaigns(*range(1, count + 1))
    campaigns_reader = reader(sandbox.url)
    rows, rejected = campaigns_reader.read()
    assert ids(rows) == list(range(1, count + 1))
    assert rejected == []
    assert campaigns_reader.points == sandbox.points_spent == max(1, -(-count // PAGE))


def test_more_than_the_largest_page(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """More campaigns than one page of the API can hold come in two."""
    world.campaigns = campaigns(*range(10_001))
    rows, _ = reader(sandbox.url, page_rows=10_000).read()
    assert ids(rows) == list(range(10_001))
    assert sandbox.points_spent == 2


def test_short_pages(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """Pages shorter than asked for are read to the end."""
    sandbox.settings.quirks = Quirks(short_pages=3)
    world.campaigns = campaigns(*range(20))
    assert ids(reader(sandbox.url).read()[0]) == list(range(20))


@pytest.mark.parametrize("change", ["arrives", "vanishes"])
@pytest.mark.parametrize("at", [2, 3])
@pytest.mark.parametrize("place", [0, 15, 29])
def test_changes_while_it_is_read(
    sandbox: Sandbox, world: Campaigns, reader: Read, change: str, at: int, place: int
) -> None:
    """A campaign that comes or goes between two pages: the dictionary is read anew and is right."""
    world.campaigns = campaigns(*range(0, 60, 2))
    number = 0

    def hook(*_: Any) -> None:
        nonlocal number
        number += 1
        if number == at:
            world.campaigns[place : place + (change == "vanishes")] = (
                campaigns(2 * place + 1) if change == "arrives" else []
            )

    sandbox.before_request = hook
    rows, _ = reader(sandbox.url).read()
    assert ids(rows) == sorted(row["id"] for row in world.campaigns)
    assert sandbox.points_spent <= 7


def test_a_dictionary_that_never_stands_still(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """A dictionary that changes with every page is given up with both numbers."""
    world.campaigns = campaigns(*range(25))
    sandbox.before_request = lambda *_: world.campaigns.extend(campaigns(1000 + len(world.campaigns)))
    with pytest.raises(IncompleteAnswerError, match=r"counts \d+ rows and hands out \d+, try after try"):
        reader(sandbox.url).read()
    assert sandbox.points_spent <= 3 * TRIES


def test_the_account(sandbox: Sandbox, reader: Read) -> None:
    """The dictionary of one row, which knows no pages and no list of columns."""
    rows, rejected = reader(sandbox.url, "get.account").read()
    assert [row.timezone for row in rows] == ["Europe/Moscow"]  # type: ignore[attr-defined]
    assert rejected == []
    assert sandbox.requests[-1].params.keys() == {"access_token"}


def test_a_method_that_is_not_available(sandbox: Sandbox, reader: Read) -> None:
    """A method that the account may not call is said to be so, at no cost."""
    sandbox.settings.refused_methods = {"get.campaigns": "forbidden"}
    with pytest.raises(MethodUnavailableError, match="give the user of the key the right"):
        reader(sandbox.url).read()
    assert sandbox.points_spent == 0


@pytest.mark.parametrize("form", ["null", "[]", "without metadata", "object"])
def test_forms_of_an_answer(reader: Read, form: str) -> None:
    """No rows as null or an empty list, rows without a count, and one row as an object are all read."""
    row = campaigns(5)[0]
    forms: dict[str, Any] = {"null": None, "[]": [], "without metadata": [row], "object": row}
    server = Server()
    server.reply = lambda sent: success(sent, forms[form])
    try:
        rows, _ = reader(server.url).read()
    finally:
        server.stop()
    assert ids(rows) == ([] if form in ("null", "[]") else [5])
    assert len(server.requests) == 1


def test_values_that_do_not_fit(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """Odd values are reported once, those of rows that cannot be stored with the whole row; the others are kept."""
    world.campaigns = campaigns(*range(25))
    world.campaigns[3]["costs"] = "dear"
    world.campaigns[12]["id"] = None
    rows, rejected = reader(sandbox.url).read()
    assert ids(rows) == [number for number in range(25) if number != 12]
    assert {(value.key, value.column) for value in rejected} == {("3", "costs"), ("None", None)}
    assert len(rejected) == 2
    nested = next(row for row in rows if row.id == 3).site_blocks  # type: ignore[attr-defined]
    assert msgspec.json.decode(nested) == []
