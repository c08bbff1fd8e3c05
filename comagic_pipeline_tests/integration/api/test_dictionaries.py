"""Whole dictionaries over real HTTP: every row once, whatever their number and whatever changes meanwhile."""

import ssl
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.errors import IncompleteAnswerError, MethodUnavailableError, PermanentError
from comagic_pipeline.api.readers.dictionaries import TRIES, DictionaryReader
from comagic_pipeline.catalog import methods
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.rows.served import LISTS
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import Section, World
from comagic_pipeline_tests.integration.api_server import Server, success

PAGE = 10
MAX_OFFSET = 20
REACH = MAX_OFFSET + PAGE
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

    def reader(url: str, method: str = "get.campaigns", params: Any = None, **sizes: int) -> DictionaryReader:
        clients.append(Client(url, Token(SANDBOX_TOKEN), sleep=lambda _: None, verify=TLS))
        sizes = {"page_rows": PAGE} | sizes
        return DictionaryReader(clients[-1], methods()[method], ZoneInfo("Europe/Moscow"), params, **sizes)

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
    """Whatever the number of campaigns, each comes once, and the pages that they fill are what it costs.

    Each page after the first begins with a row of the page before it.
    """
    sandbox.settings.unstable_order = unstable_order
    world.campaigns = campaigns(*range(1, count + 1))
    campaigns_reader = reader(sandbox.url)
    rows, rejected = campaigns_reader.read()
    assert ids(rows) == list(range(1, count + 1))
    assert rejected == []
    assert campaigns_reader.points == sandbox.points_spent == max(1, -(-(count - 1) // (PAGE - 1)))


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


# Every dictionary


@pytest.mark.parametrize("customers", [0, 2])
def test_every_dictionary_of_the_catalog(reader: Read, customers: int) -> None:
    """get.lead_funnel_stages could not be read: it knows no parameter sort.

    Each dictionary of a client, and each of an agent's customer, comes whole: the same keys as the account has.
    """
    world = World(campaigns=15, customers=customers)
    account = next(iter(world.customers.values()), world)
    user_id = account.cast.user_id if customers else None
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox:
        for name in LISTS:
            method, is_of_agent = methods()[name], name in ("get.customers", "get.customer_users")
            if is_of_agent and not customers:
                continue
            expected = (world if is_of_agent else account).rows(name)
            if name == "get.statuses":
                expected += account.rows(name, is_deleted=True)
            a_reader = reader(sandbox.url, name, {"user_id": user_id} if user_id and not is_of_agent else None)
            rows, rejected = a_reader.read()
            keys = [tuple(getattr(row, column) for column in method.key) for row in rows]
            assert sorted(keys) == sorted(tuple(row[column] for column in method.key) for row in expected), name
            assert len(set(keys)) == len(keys) > 0
            assert (rejected, a_reader.warnings) == ([], [])


def test_an_agent_has_to_name_a_user(reader: Read) -> None:
    """Without the user of a customer an agent is told what to do."""
    with (
        running_sandbox(World(customers=1)) as sandbox,
        pytest.raises(PermanentError, match="name its customers in user_ids"),
    ):
        reader(sandbox.url).read()


def test_deleted_statuses(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """Deleted statuses were missing: they are a list of their own.

    One that is deleted between the two requests comes once, as it is then.
    """
    in_use, deleted = world.rows("get.statuses"), world.rows("get.statuses", is_deleted=True)
    changed = in_use[1]["id"]

    def hook(_: str, params: dict[str, Any]) -> None:
        if params.get("is_deleted"):
            world.change("get.statuses", changed, {"is_deleted": True})

    sandbox.before_request = hook
    rows, _ = reader(sandbox.url, "get.statuses").read()
    expected = {row["id"]: row["is_deleted"] for row in in_use + deleted} | {changed: True}
    assert sorted((row.id, row.is_deleted) for row in rows) == sorted(expected.items())  # type: ignore[attr-defined]
    assert sandbox.points_spent == 2


RATED = ("rating", "state")
"""Columns that are told only with the parameter is_include_rating."""


def test_columns_that_a_parameter_unlocks_are_filled(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """tags.rating and tags.state were never filled, because is_include_rating was not sent."""
    rows, rejected = reader(sandbox.url, "get.tags").read()
    expected = {row["id"]: tuple(row[name] for name in RATED) for row in world.rows("get.tags", is_include_rating=True)}
    assert {row.id: (row.rating, row.state) for row in rows} == expected  # type: ignore[attr-defined]
    assert rejected == []
    assert any(state for _, state in expected.values())
    assert sandbox.points_spent == 1


@pytest.mark.parametrize("mnemonic", ["parameter_component_disabled", "method_component_disabled", "forbidden"])
def test_a_parameter_that_is_refused_costs_its_columns_alone(sandbox: Sandbox, reader: Read, mnemonic: str) -> None:
    """A component may be needed for the parameter: the other columns come without it, and a warning names those."""
    sandbox.faults.add(Fault(kind="error", method="get.tags", mnemonic=mnemonic))
    tags = reader(sandbox.url, "get.tags")
    rows, _ = tags.read()
    assert rows
    assert {(row.rating, row.state) for row in rows} == {(None, None)}  # type: ignore[attr-defined]
    (warning,) = tags.warnings
    assert warning.startswith("get.tags: ")
    assert "rating, state" in warning
    assert "left empty" in warning
    assert tags.left_out == frozenset(RATED)
    assert sandbox.points_spent == 1


def test_a_method_that_is_refused_with_and_without_is_no_warning(sandbox: Sandbox, reader: Read) -> None:
    """The refusal of the method is told once, by its error."""
    sandbox.settings.refused_methods = {"get.tags": "forbidden"}
    tags = reader(sandbox.url, "get.tags")
    with pytest.raises(MethodUnavailableError):
        tags.read()
    assert tags.warnings == []
    assert sandbox.points_spent == 0


@pytest.mark.parametrize("refusal", ["method_not_found", "forbidden"])
def test_the_other_name_of_a_method(sandbox: Sandbox, world: Campaigns, reader: Read, refusal: Any) -> None:
    """Chat channels are read under the name that the account knows, with one warning, or refused under both."""
    channels_reader = reader(sandbox.url, "get.chat_channels")
    expected = [row["id"] for row in world.rows("get.chat_channels")]
    assert (ids(channels_reader.read()[0]), channels_reader.warnings) == (expected, [])
    sandbox.settings.refused_methods = {"get.chat_channels": "method_not_found"}
    assert ids(channels_reader.read()[0]) == ids(channels_reader.read()[0]) == expected
    (warning,) = channels_reader.warnings
    assert "read under its other name, get.chat_channels_report" in warning
    sandbox.settings.refused_methods["get.chat_channels_report"] = refusal
    with pytest.raises(MethodUnavailableError, match=f"get.chat_channels: .*get.chat_channels_report: .*{refusal}"):
        reader(sandbox.url, "get.chat_channels").read()


def test_points_of_a_read_that_fails(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """Pages that came before a refusal were paid for, and warnings that they gave stand."""
    sandbox.settings.quirks = Quirks(forgotten_columns=frozenset({"engine"}))
    world.campaigns = campaigns(*range(25))
    sandbox.faults.add(Fault(kind="error", mnemonic="forbidden", after=3))
    campaigns_reader = reader(sandbox.url)
    with pytest.raises(MethodUnavailableError):
        campaigns_reader.read()
    assert campaigns_reader.points == sandbox.points_spent == 2
    assert campaigns_reader.warnings == ["get.campaigns: the API does not know engine any more; left empty"]


# More than pages reach


@pytest.mark.parametrize("method", ["get.campaigns", "get.tags"])
@pytest.mark.parametrize("count", [REACH, REACH + 1, 137])
@pytest.mark.parametrize("order", ["stable", "unstable", "short pages"])
def test_long_lists_come_in_parts(reader: Read, method: str, count: int, order: str) -> None:
    """More rows than pages reach come once, sorted by id (tags) or by name; no offset is larger than allowed.

    Beside the pages that rows fill, a part that is still too long costs two, and the last page of a part is not full.
    """
    random = Random(f"{method} {count}")
    expected = sorted(random.sample(range(-(10**6), 10**12), count))
    world = World()
    for row in world.rows(method):
        world.delete(method, row["id"])
    for identifier in random.sample(expected, count):
        world.add(method, {"id": identifier, "name": f"{random.random()}"})
    settings = Settings(minute_limit=10_000, unstable_order=order == "unstable")
    if order == "short pages":
        settings.quirks = Quirks(short_pages=7, forgotten_columns=frozenset({"is_system", "engine"}))
    with running_sandbox(world, settings) as sandbox:
        a_reader = reader(sandbox.url, method, max_offset=MAX_OFFSET)
        assert ids(a_reader.read()[0]) == expected
        assert max(request.params.get("offset", 0) for request in sandbox.requests) <= MAX_OFFSET
        assert a_reader.points == sandbox.points_spent
        # Each column that the API does not know is told once, not once for each part.
        assert len(a_reader.warnings) == (order == "short pages")
        if order != "short pages":
            assert sandbox.points_spent <= (-(-count // PAGE) if count < REACH else count / PAGE * 2 + 6)


def test_a_filter_holds_in_parts(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """The filter that goes with every request narrows each part."""
    world.campaigns = campaigns(*range(200))
    for row in world.campaigns:
        row["engine"] = "google" if row["id"] % 2 else "yandex"
    params = {"filter": {"field": "engine", "operator": "=", "value": "google"}}
    assert ids(reader(sandbox.url, params=params, max_offset=MAX_OFFSET).read()[0]) == list(range(1, 200, 2))
    assert params == {"filter": {"field": "engine", "operator": "=", "value": "google"}}


def test_changes_between_parts(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """Rows that come while the parts are read do no harm, in a part that was read before or in a later one."""
    world.campaigns = campaigns(*range(0, 400, 4))
    arrivals = iter([(12, 1), (13, 397)])

    number, (at, identifier) = 0, next(arrivals)

    def hook(*_: Any) -> None:
        nonlocal number, at, identifier
        number += 1
        if number == at:
            world.campaigns += campaigns(identifier)
            at, identifier = next(arrivals, (0, 0))

    sandbox.before_request = hook
    found = set(ids(reader(sandbox.url, max_offset=MAX_OFFSET).read()[0]))
    assert found - {1} == {row["id"] for row in world.campaigns} - {1}


def test_rows_that_no_part_has(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """A row that is counted, but let through by no condition, is missed: both numbers are told."""
    world.campaigns = campaigns(*range(50))

    def hook(_: str, params: dict[str, Any]) -> None:
        world.campaigns = campaigns(*range(49 if "filter" in params else 50))

    sandbox.before_request = hook
    with pytest.raises(IncompleteAnswerError, match="counts 50 rows and hands out 49 in parts"):
        reader(sandbox.url, max_offset=MAX_OFFSET).read()


def test_conditions_that_do_not_apply(reader: Read) -> None:
    """An API that takes conditions on ids and does not heed them is found out at once."""
    server = Server()
    rows = campaigns(*range(50))

    def reply(request: dict[str, Any]) -> bytes:
        offset = request["params"].get("offset", 0)
        return success(request, rows[offset : offset + PAGE], total_items=50)

    server.reply = reply
    try:
        with pytest.raises(IncompleteAnswerError, match="does not apply the filter by id"):
            reader(server.url, max_offset=MAX_OFFSET).read()
    finally:
        server.stop()
    assert len(server.requests) <= 4


def test_long_lists_without_a_count(reader: Read) -> None:
    """A list that is not counted is read until a page is not full, in parts where pages do not reach that."""
    server = Server()
    expected = [5 * number for number in range(87)]

    def reply(request: dict[str, Any]) -> bytes:
        params = request["params"]
        tree = params.get("filter", {"filters": []})
        found = expected
        for condition in tree.get("filters", [tree]):
            bound = condition["value"]
            found = [number for number in found if (number < bound) == (condition["operator"] == "<")]
        offset = params.get("offset", 0)
        return success(request, campaigns(*found[offset : offset + PAGE]))

    server.reply = reply
    try:
        assert ids(reader(server.url, max_offset=MAX_OFFSET).read()[0]) == expected
    finally:
        server.stop()


def test_long_lists_without_an_id(sandbox: Sandbox, world: Campaigns, reader: Read) -> None:
    """What has no number to ask by cannot be read further than pages reach: one clear error."""
    for number in range(REACH):
        world.add("get.offline_message_user_fields", {"ext_id": f"field {number}"})
    with pytest.raises(IncompleteAnswerError, match=f"counts {REACH + 2} rows, pages reach {REACH} and no id"):
        reader(sandbox.url, "get.offline_message_user_fields", max_offset=MAX_OFFSET).read()
    assert sandbox.points_spent == 1
