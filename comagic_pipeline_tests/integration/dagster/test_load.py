"""`load`: after whatever happened on the way, raw tables and star equal what the API has.

Real HTTP, real PostgreSQL, the same job as the UI runs. What the API has is taken from the sandbox's world, and
converted here by the looks of each value, without the catalog.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance
from rich.console import Console
from sqlalchemy import text

import comagic_pipeline.api.client
from comagic_pipeline.cli.load import Summary, load
from comagic_pipeline.cli.services import free_port
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World

CALLS = "get.calls_report"
FIRST = date(2026, 3, 2)
"""A Monday. The worlds' clock stands in June, so that all days here are long over."""
OWN_COLUMNS = {"account_id", "customer_user_id", "event_date", "loaded_at"}
DURATIONS = (
    "wait_duration",
    "total_wait_duration",
    "talk_duration",
    "clean_talk_duration",
    "total_duration",
    "postprocess_duration",
)
QUIET = Console(quiet=True)

Row = dict[str, Any]


def day(number: int) -> date:
    """The day so many days after the first."""
    return FIRST + timedelta(days=number)


def world(calls_per_day: int = 12, **options: Any) -> World:
    """An account seen from the first of June 2026."""
    return World(calls_per_day=calls_per_day, now=lambda: datetime(2026, 6, 1, tzinfo=UTC), **options)


@dataclass
class Account:
    """A configured source and the sandbox that it asks."""

    config: Config
    sandbox: Sandbox
    name: str = "main"

    @property
    def world(self) -> World:
        return self.sandbox.world

    @property
    def settings(self) -> Settings:
        return self.sandbox.settings

    def load(self, first_day: date, last_day: date, *tables: str, accepts_loss: bool = False) -> Summary:
        source = self.config.source(self.name)
        return load(self.config, source, first_day, last_day, tables, QUIET, accepts_loss=accepts_loss)

    def load_raw(self, first_day: date, last_day: date) -> Summary:
        """Load the calls and leave the star alone: two seconds less."""
        return self.load(first_day, last_day, "calls_report")

    def calls(self, first_day: date, last_day: date) -> list[Row]:
        """What the API has for these days."""
        return self.world.rows(CALLS, f"{first_day} 00:00:00", f"{last_day} 23:59:59")

    def query(self, sql: str, **values: Any) -> list[Row]:
        """Rows of the warehouse."""
        with open_warehouse(self.config) as warehouse, warehouse.connect() as connection:
            return [dict(row) for row in connection.execute(text(sql), values).mappings()]

    def raw_calls(self) -> list[Row]:
        """The source's rows of the raw table."""
        account_id = self.config.source(self.name).account_id
        return self.query("select * from comagic_raw.calls_report where account_id = :id order by id", id=account_id)

    def rejected(self) -> list[Row]:
        """The source's rejected values."""
        columns = "table_name, event_date, row_key, column_name, value"
        return self.query(f"select {columns} from comagic_ops.rejected_rows order by event_date, row_key")

    def materialized(self, table: str) -> set[date]:
        """The days that Dagster shows as materialized."""
        with open_instance(self.config) as instance:
            return materialized(instance, AssetKey([self.name, table]))


OpenAccount = Callable[..., Account]


@pytest.fixture
def open_account(project: Callable[..., Config]) -> Iterator[OpenAccount]:
    """Starts a sandbox and configures a source for it: `world`, `settings` and `faults` are the sandbox's."""
    with ExitStack() as stack:

        def start(
            of: World | None = None, settings: Settings | None = None, faults: tuple[Fault, ...] = (), **source: Any
        ) -> Account:
            sandbox = stack.enter_context(running_sandbox(of or world(), settings or Settings(minute_limit=10_000)))
            sandbox.faults.add(*faults)
            source = {"day_points": "{reserve: 0}", "timezone": sandbox.world.cast.timezone} | source
            return Account(project(**{"base_url": sandbox.url, "token": SANDBOX_TOKEN} | source), sandbox)

        yield start


def materialized(instance: DagsterInstance, key: AssetKey) -> set[date]:
    """The partitions of an asset that are materialized."""
    return {date.fromisoformat(partition) for partition in instance.get_materialized_partitions(key)}


def converted(value: Any) -> Any:
    """A JSON value as the warehouse should hold it, by its looks."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", value):
        return datetime.fromisoformat(value)
    return Decimal(str(value)) if isinstance(value, float) else value


def differences(raw: list[Row], api: list[Row]) -> list[str]:
    """Where the raw rows differ from those of the API, all columns of all rows."""
    expected = {row["id"]: row for row in api}
    found = {row["id"]: row for row in raw}
    problems = [f"{len(raw)} rows with {len(found)} ids"] if len(raw) != len(found) else []
    problems += [f"call {key}: not loaded" for key in expected.keys() - found.keys()]
    problems += [f"call {key}: not of the API" for key in found.keys() - expected.keys()]
    for key in expected.keys() & found.keys():
        own = {"event_date": date.fromisoformat(expected[key]["start_time"][:10])}
        for name, value in (expected[key] | own).items():
            is_nested = isinstance(value, list | dict)
            if (value if is_nested else converted(value)) != found[key][name] or type(value) is bool is not type(
                found[key][name]
            ):
                problems.append(f"call {key}, {name}: {found[key][name]!r} instead of {value!r}")
    return problems


def assert_raw(account: Account, api: list[Row], days: set[date]) -> None:
    """Raw holds exactly these rows in all 105 columns, and the ledger counts these days."""
    raw = account.raw_calls()
    source = account.config.source(account.name)
    assert differences(raw, api) == []
    assert all(row.keys() - OWN_COLUMNS == api[0].keys() for row in raw[:1])
    assert all((row["account_id"], row["customer_user_id"]) == (source.account_id, 0) for row in raw)
    per_day = Counter(row["start_time"][:10] for row in api)
    ledger = account.query("select day, rows from comagic_ops.loaded_days where account_id = :id", id=source.account_id)
    assert {row["day"]: row["rows"] for row in ledger} == {each: per_day[str(each)] for each in days}


STAR = """
    select calls.call_id, dates.full_date, sites.domain, locations.city, campaigns.campaign_id, clientids.clientid,
           traffic.source, traffic.landing_page, calls.is_lost, calls.finish_reason, facts.*
      from comagic.comagic_calls_facts as facts
      left join comagic.comagic_calls as calls on calls.id = calls_id
      left join comagic.general_dates as dates on dates.id = dates_id
      left join comagic.general_sites as sites on sites.id = sites_id
      left join comagic.general_locations as locations on locations.id = locations_id
      left join comagic.comagic_campaigns as campaigns on campaigns.id = campaigns_id
      left join comagic.general_clientids as clientids on clientids.id = clientids_id
      left join comagic.general_traffic as traffic on traffic.id = traffic_id
     where facts.account_id = :account_id
     order by calls.call_id
"""


def assert_star(account: Account, api: list[Row]) -> None:
    """The star has one fact per call, its dimension rows say what the API says, and durations sum up to the same."""
    account_id = account.config.source(account.name).account_id
    facts = account.query(STAR, account_id=account_id)
    said = {row["id"]: row for row in api}
    assert [fact["call_id"] for fact in facts] == sorted(said)
    for fact in facts:
        row = said[fact["call_id"]]
        expected = {
            "full_date": datetime.fromisoformat(row["start_time"]),
            "domain": row["site_domain_name"],
            "city": row["visitor_city"],
            "campaign_id": row["campaign_id"] or 0,
            "clientid": row["ua_client_id"] or row["ym_client_id"] or "not available",
            "source": row["utm_source"],
            "landing_page": row["entrance_page"] and row["entrance_page"][:256],
            "is_lost": row["is_lost"],
            "finish_reason": row["finish_reason"],
        } | {name: row[name] or 0 for name in DURATIONS}
        assert {name: fact[name] for name in expected} == expected
    for name in DURATIONS:
        assert sum(fact[name] for fact in facts) == sum(row[name] or 0 for row in api)
    tags = account.query("select count(*) as n from comagic.comagic_calls_tags where account_id = :id", id=account_id)
    assert tags[0]["n"] == sum(len({tag["tag_id"] for tag in row["tags"]}) for row in api)


def assert_loaded_raw(account: Account, first_day: date, last_day: date) -> None:
    """Raw and ledger hold these days as the API has them now, and nothing else."""
    days = {first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)}
    assert_raw(account, account.calls(first_day, last_day), days)


def assert_loaded(account: Account, first_day: date, last_day: date) -> None:
    """Raw, ledger and star hold these days as the API has them now, and nothing else."""
    assert_loaded_raw(account, first_day, last_day)
    assert_star(account, account.calls(first_day, last_day))


def test_ninety_days_equal_the_api_in_every_column_at_the_least_cost(open_account: OpenAccount) -> None:
    """90 days over several pages: raw and star equal the API, for a point per 10 000 calls and one more at most."""
    account = open_account(world(calls_per_day=130))
    first, last = date(2026, 1, 5), date(2026, 4, 4)
    api = account.calls(first, last)
    assert len(api) > 10_000
    assert len(api[0]) == 105
    summary = account.load(first, last)
    assert (summary.ok, summary.exit_code, summary.missing) == (True, 0, [])
    assert_loaded(account, first, last)
    points = sum(request.points for request in account.sandbox.requests if request.method == CALLS)
    assert -(-len(api) // 10_000) <= points <= -(-len(api) // 10_000) + 1
    assert summary.tables["calls_report"].points == points
    assert summary.tables["calls_report"].rows == summary.tables["comagic_calls_facts"].rows == len(api)
    assert summary.as_json()["points"] == points + 1  # the campaigns
    assert account.materialized("calls_report") == account.materialized("comagic_calls_facts")
    assert len(account.materialized("calls_report")) == 90


def test_loading_twice_changes_nothing(open_account: OpenAccount) -> None:
    """The second load of the same days leaves equal rows, the star's rows with the same ids."""
    account = open_account()
    account.load(day(0), day(2))
    star = account.query(STAR, account_id=1)
    assert account.load(day(0), day(2)).ok
    assert_loaded(account, day(0), day(2))
    assert account.query(STAR, account_id=1) == star


def test_overlapping_periods_make_one(open_account: OpenAccount) -> None:
    """Two loads that share days leave the days of both, once."""
    account = open_account()
    account.load_raw(day(3), day(7))
    account.load_raw(day(0), day(5))
    assert_loaded_raw(account, day(0), day(7))


def test_what_changed_at_the_source_is_replaced(open_account: OpenAccount) -> None:
    """Changed, deleted and added calls, a call that moved to another day and a day that became empty."""
    account = open_account()
    account.load(day(0), day(3))
    ids = {number: [row["id"] for row in account.calls(day(number), day(number))] for number in range(4)}
    nested = {"tags": [{"tag_id": 9, "tag_name": "новый", "tag_type": "auto"}], "employees": [], "attributes": None}
    account.world.change(CALLS, ids[0][0], {"talk_duration": 7777, "site_domain_name": "new.example", **nested})
    account.world.delete(CALLS, ids[1][0])
    account.world.add(CALLS, {"id": 5, "start_time": f"{day(1)} 12:00:00", "finish_time": f"{day(1)} 12:01:00"} | NONE)
    moved = account.calls(day(2), day(2))[0]
    account.world.delete(CALLS, moved["id"])
    for key in ids[3]:
        account.world.delete(CALLS, key)
    assert account.load(day(0), day(3), accepts_loss=True).ok
    assert_loaded(account, day(0), day(3))
    assert not account.calls(day(3), day(3))


NONE: Row = {"tags": [], "finish_reason": "unknown", "is_lost": False}


@pytest.mark.parametrize("order", ["new day first", "old day first"])
def test_a_call_that_moves_to_another_day_is_one_call(open_account: OpenAccount, order: str) -> None:
    """A call whose start was corrected ends up on its new day alone, whichever day is loaded first."""
    call = {"id": 77, "finish_time": f"{day(3)} 00:00:00", "talk_duration": 60} | NONE
    before, after = world(calls_per_day=0), world(calls_per_day=0)
    before.add(CALLS, call | {"start_time": f"{day(0)} 10:00:00"})
    after.add(CALLS, call | {"start_time": f"{day(2)} 09:00:00"})
    assert open_account(before).load(day(0), day(2)).ok
    account = open_account(after)
    for number in (2, 0) if order == "new day first" else (0, 2):
        assert account.load(day(number), day(number)).ok
    assert_loaded(account, day(0), day(2))


@pytest.mark.parametrize(
    ("zone", "changing_day"), [("Europe/Berlin", date(2026, 3, 29)), ("America/New_York", date(2025, 11, 2))]
)
def test_days_with_23_or_25_hours_are_whole(open_account: OpenAccount, zone: str, changing_day: date) -> None:
    """Days are those of the account's wall clock, also where it is put forward or back."""
    account = open_account(world(timezone=zone), start_date="2025-10-01")
    for number, moment in enumerate(("00:00:00", "01:30:00", "02:30:00", "02:30:00", "23:59:59")):
        call = {"id": number, "start_time": f"{changing_day} {moment}", "finish_time": f"{changing_day} {moment}"}
        account.world.add(CALLS, call | NONE)
    first, last = changing_day - timedelta(days=1), changing_day + timedelta(days=1)
    summary = account.load_raw(first, last)
    assert summary.ok
    assert_loaded_raw(account, first, last)
    assert account.materialized("calls_report") == {first, changing_day, last}


def test_odd_but_readable_answers_load_as_if_they_were_right(open_account: OpenAccount) -> None:
    """Numbers as text, columns that nobody asked for: the rows are the same. A null list stays null, as given."""
    names = frozenset({"id", "talk_duration", "sale_cost", "campaign_id"})
    quirks = Quirks(numbers_as_strings=names, extra_columns={"news": [1]}, null_for_empty_arrays=True)
    account = open_account(settings=Settings(quirks=quirks))
    assert account.load_raw(day(0), day(2)).ok
    api = account.calls(day(0), day(2))
    assert_raw(
        account,
        [{name: None if value == [] else value for name, value in row.items()} for row in api],
        {day(0), day(1), day(2)},
    )
    assert account.rejected() == []


def test_a_value_that_does_not_fit_is_kept_aside_until_it_does(open_account: OpenAccount) -> None:
    """The row stays, the odd value goes to rejected_rows with its key, and leaves when the day is loaded without it."""
    account = open_account()
    key = account.calls(day(1), day(1))[3]["id"]
    account.world.change(CALLS, key, {"wait_duration": "very long", "contact_id": [1]})
    right = [
        row | ({"wait_duration": None, "contact_id": None} if row["id"] == key else {})
        for row in account.calls(day(0), day(2))
    ]
    assert account.load_raw(day(0), day(2)).ok
    assert_raw(account, right, {day(0), day(1), day(2)})
    aside = {"table_name": "calls_report", "event_date": day(1), "row_key": str(key)}
    assert sorted(account.rejected(), key=lambda row: row["column_name"]) == [
        aside | {"column_name": "contact_id", "value": "[1]"},
        aside | {"column_name": "wait_duration", "value": '"very long"'},
    ]
    account.load_raw(day(0), day(0))
    assert len(account.rejected()) == 2
    account.world.change(CALLS, key, {"wait_duration": 5, "contact_id": None})
    account.load_raw(day(1), day(1))
    assert account.rejected() == []
    assert_loaded_raw(account, day(0), day(2))


def test_a_rejected_value_of_the_next_midnight_is_not_noted_with_this_day(open_account: OpenAccount) -> None:
    """The API may give the first second of the following day: its odd value belongs to that day's load alone."""
    account = open_account()
    midnight = next(row for row in account.calls(day(1), day(1)) if row["start_time"].endswith("00:00:00"))
    account.world.change(CALLS, midnight["id"], {"wait_duration": "odd"})
    account.load_raw(day(0), day(0))
    assert account.rejected() == []
    account.load_raw(day(0), day(1))
    account.load_raw(day(0), day(0))
    assert len(account.rejected()) == 1


def test_rejected_values_of_every_page_are_noted(open_account: OpenAccount) -> None:
    """One odd value on each day of a period that comes in many pages: each is noted, none is lost or doubled."""
    account = open_account(settings=Settings(minute_limit=10_000, quirks=Quirks(short_pages=20)))
    odd = [account.calls(day(number), day(number))[5]["id"] for number in range(8)]
    for key in odd:
        account.world.change(CALLS, key, {"wait_duration": "odd"})
    assert account.load_raw(day(0), day(7)).ok
    assert [(row["event_date"], row["row_key"]) for row in account.rejected()] == [
        (day(number), str(key)) for number, key in enumerate(odd)
    ]


def test_a_column_that_the_api_forgot_is_left_empty_with_a_warning(open_account: OpenAccount) -> None:
    """The other 104 columns load; the journal names the one that is gone."""
    account = open_account(settings=Settings(quirks=Quirks(forgotten_columns=frozenset({"visitor_city"}))))
    assert account.load_raw(day(0), day(1)).ok
    api = [row | {"visitor_city": None} for row in account.calls(day(0), day(1))]
    assert_raw(account, api, {day(0), day(1)})
    warnings = account.query("select message from comagic_ops.journal where event = 'warning'")
    assert len(warnings) == 1
    assert "visitor_city" in warnings[0]["message"]


def test_two_sources_live_side_by_side(open_account: OpenAccount) -> None:
    """Sources with the same ids of calls share a warehouse and none of each other's rows."""
    first = open_account()
    path = first.config.path
    other_world = world(calls_per_day=9, campaigns=3)
    with running_sandbox(other_world) as sandbox:
        content = path.read_text()
        path.write_text(
            content
            + content.split("sources:\n")[1]
            .replace("name: main", "name: other")
            .replace("account_id: 1", "account_id: 2")
            .replace(first.sandbox.url, sandbox.url)
        )
        config = load_config(path)
        first, other = Account(config, first.sandbox), Account(config, sandbox, "other")
        assert first.load(day(0), day(1)).ok
        assert other.load(day(1), day(2)).ok
        other_world.delete(CALLS, other.calls(day(1), day(1))[0]["id"])
        assert other.load(day(1), day(1)).ok
        assert_loaded(first, day(0), day(1))
        assert_loaded(other, day(1), day(2))


def test_stops_when_the_points_are_spent_and_goes_on_later(open_account: OpenAccount) -> None:
    """Exit code 3: whole days stay, the summary names the others, and the next load completes them."""
    settings = Settings(day_limit=6, minute_limit=10_000, quirks=Quirks(short_pages=20))
    account = open_account(settings=settings)
    summary = account.load_raw(day(0), day(14))
    assert (summary.ok, summary.exit_code) == (False, 3)
    assert summary.points_spent_until
    assert "points are spent" in (summary.error or "")
    done = set(map(day, range(15))) - set(summary.missing)
    assert 0 < len(done) < 15
    assert summary.missing == sorted(summary.missing)
    assert account.materialized("calls_report") == done
    api = account.calls(day(0), day(14))
    assert_raw(account, [row for row in api if date.fromisoformat(row["start_time"][:10]) in done], done)
    # A person who loads again asks once, because points may have been bought; a refusal is free.
    spent = account.sandbox.points_spent
    assert account.load_raw(day(0), day(14)).exit_code == 3
    assert account.sandbox.points_spent == spent
    settings.day_limit = 3000
    assert account.load_raw(day(0), day(14)).exit_code == 0
    assert_loaded_raw(account, day(0), day(14))


def test_days_that_were_done_before_a_failure_stay(open_account: OpenAccount) -> None:
    """The key is blocked midway: exit code 1, whole days stay, and Dagster shows them as materialized."""
    settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=20))
    blocked = Fault(kind="error", mnemonic="access_token_blocked", method=CALLS, after=4, times=10_000)
    account = open_account(settings=settings, faults=(blocked,))
    summary = account.load_raw(day(0), day(14))
    assert (summary.ok, summary.exit_code, summary.points_spent_until) == (False, 1, None)
    assert "the key is blocked" in (summary.error or "")
    done = set(map(day, range(15))) - set(summary.missing)
    assert 0 < len(done) < 15
    assert account.materialized("calls_report") == done
    api = account.calls(day(0), day(14))
    assert_raw(account, [row for row in api if date.fromisoformat(row["start_time"][:10]) in done], done)
    failed = account.query("select message from comagic_ops.journal where event = 'failed'")
    assert ["the key is blocked" in row["message"] for row in failed] == [True]
    account.sandbox.faults.clear()
    assert account.load_raw(day(0), day(14)).ok
    assert_loaded_raw(account, day(0), day(14))


def test_rows_that_shift_while_pages_are_read_are_neither_lost_nor_doubled(open_account: OpenAccount) -> None:
    """Calls come and go between the pages, before and behind the place of reading: the end is what the API has."""
    account = open_account(settings=Settings(minute_limit=10_000, quirks=Quirks(short_pages=30)))
    api = account.calls(day(0), day(9))
    requests = 0

    def shift(method: str, _: Row) -> None:
        nonlocal requests
        requests += method == CALLS
        if method == CALLS and 2 <= requests <= 4:
            account.world.delete(CALLS, api[requests]["id"])
            account.world.delete(CALLS, api[-requests]["id"])
            moment = f"{day(requests)} 00:00:01"
            account.world.add(CALLS, {"id": requests, "start_time": moment, "finish_time": moment} | NONE)

    account.sandbox.before_request = shift
    assert account.load(day(0), day(9)).ok
    assert_loaded(account, day(0), day(9))


def test_passing_failures_of_the_api_leave_no_trace(open_account: OpenAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken bodies, resets and errors of the server are tried again; the rows are the same."""
    monkeypatch.setattr(comagic_pipeline.api.client, "_FIRST_PAUSE", 0.001)
    kinds: list[Any] = ["http_status", "error", "broken_body", "truncated_body", "closed_early", "reset"]
    account = open_account(
        settings=Settings(minute_limit=10_000, quirks=Quirks(short_pages=20)),
        faults=tuple(Fault(kind=kind, after=number) for number, kind in enumerate(kinds)),
    )
    assert account.load_raw(day(0), day(9)).ok
    assert_loaded_raw(account, day(0), day(9))


def test_an_api_that_is_not_there_is_named_with_the_reason(
    open_account: OpenAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at base_url: after its attempts the load says where, and that the connection was refused."""
    monkeypatch.setattr(comagic_pipeline.api.client, "_FIRST_PAUSE", 0.001)
    account = open_account(base_url=f"http://127.0.0.1:{free_port()}/v2.0")
    summary = account.load_raw(day(0), day(1))
    assert (summary.exit_code, summary.missing) == (1, [day(0), day(1)])
    assert f"cannot reach {account.config.sources[0].base_url}: " in (summary.error or "")
    assert "refused" in (summary.error or "")


def test_only_the_tables_that_were_asked_for_are_touched(open_account: OpenAccount) -> None:
    """`--table campaigns` reads no calls; asking for a star table builds the star from what raw holds."""
    account = open_account()
    assert account.load(day(0), day(0), "campaigns").ok
    assert {request.method for request in account.sandbox.requests} == {"get.campaigns"}
    names = account.query("select id, name, costs from comagic_raw.campaigns order by id")
    campaigns = sorted(account.world.rows("get.campaigns"), key=lambda row: row["id"])
    assert [(row["id"], row["name"]) for row in names] == [(row["id"], row["name"]) for row in campaigns]
    assert account.load(day(0), day(0), "calls_report").ok
    # The star that is made of a table is built with it, so that none of its days is left waiting.
    assert_loaded(account, day(0), day(0))
    assert account.query("select 1 from comagic_ops.waiting_days") == []
    assert account.load(day(0), day(0), "comagic_calls").ok
    assert_loaded(account, day(0), day(0))
