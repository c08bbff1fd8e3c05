"""Days that were asked for wait until they are loaded, whatever ends a run: in SQL first, then in runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import msgspec
import psycopg
import pytest
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult
from sqlalchemy import Connection, Engine, Update, event, make_url, text, update
from sqlalchemy.exc import OperationalError

import comagic_pipeline.api.client
from comagic_pipeline.catalog import tables
from comagic_pipeline.catalog.table_names import SHARED_STAR, STAR_OF_KIND
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.runs import CONTINUES, RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.load import DayLoad
from comagic_pipeline.warehouse.ops import pending_days as waiting
from comagic_pipeline.warehouse.ops.pending_days import WaitingPeriod, waiting_periods
from comagic_pipeline.warehouse.ops.tables import waiting_days
from comagic_pipeline.warehouse.raw.target import RawTarget
from comagic_pipeline.warehouse.target import Account
from comagic_pipeline_tests.integration.raw_reference import days_between, query
from comagic_pipeline_tests.integration.runs import failures, run_load

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CALLS, CHATS, FACTS = "calls_report", "chats_report", "comagic_calls_facts"
STAR_OF_CALLS = (*SHARED_STAR, *STAR_OF_KIND["calls"])
Call: Any = msgspec.defstruct("Call", [(column.name, Any, None) for column in tables()[CALLS].columns])


def day(number: int) -> date:
    """A day of March 2026."""
    return date(2026, 3, number)


def days(*numbers: int) -> set[date]:
    """Days of March 2026."""
    return set(map(day, numbers))


def lines(warehouse: Warehouse, table: str = CALLS, account_id: int = 1) -> list[dict[str, Any]]:
    """What waits of a table, oldest first."""
    sql = "select * from comagic_ops.waiting_days where account_id = :id and table_name = :table order by 2, day"
    return query(warehouse, sql, id=account_id, table=table)


def waits(warehouse: Warehouse, table: str = CALLS, customer: int = 0) -> dict[date, str]:
    """The days of a table that wait, and the runs that have them."""
    return {line["day"]: line["run_id"] for line in lines(warehouse, table) if line["customer_user_id"] == customer}


def expect(
    warehouse: Warehouse, first: int, last: int, run_id: str = "run", table: str = CALLS, asked_at: datetime = NOON
) -> None:
    """A run has these days of March to load."""
    with warehouse.begin() as connection:
        waiting.expect(connection, 1, [table], day(first), day(last), run_id, asked_at)


# --- who has what to load --------------------------------------------------------------------------------------------


def test_days_are_noted_for_every_table(warehouse: Warehouse) -> None:
    """All days of all tables wait for the run, at once and for no reason."""
    with warehouse.begin() as connection:
        waiting.expect(connection, 1, [CALLS, CHATS], date(2026, 2, 27), day(2), "run", NOON)
        waiting.expect(connection, 2, [], day(1), day(2), "run", NOON)
    for table in (CALLS, CHATS):
        assert lines(warehouse, table) == [
            {"account_id": 1, "customer_user_id": 0, "table_name": table, "day": each, "run_id": "run"}
            | {"asked_at": NOON, "not_before": None, "tries": 0, "reason": None}
            for each in days_between(date(2026, 2, 27), day(2))
        ]
    assert len(query(warehouse, "select * from comagic_ops.waiting_days")) == 2 * 4


def test_a_later_run_has_days_that_wait_already(warehouse: Warehouse) -> None:
    """Whoever asks for them anew has them, as if for the first time; since when they are missing stays known."""
    expect(warehouse, 1, 4, "first")
    with warehouse.begin() as connection:
        waiting.count_try(connection, 1, [CALLS], day(1), day(4), NOON)
        waiting.leave_for_later(connection, 1, CALLS, "first", NOON)
    expect(warehouse, 3, 6, "second", asked_at=NOON + DAY)
    assert waits(warehouse) == {day(number): "first" if number < 3 else "second" for number in range(1, 7)}
    assert [line["tries"] for line in lines(warehouse)] == [1, 1, 0, 0, 0, 0]
    assert [line["reason"] for line in lines(warehouse)] == ["failed"] * 2 + [None] * 4
    assert [line["not_before"] for line in lines(warehouse)][2:] == [None] * 4
    assert [line["asked_at"] for line in lines(warehouse)] == [NOON] * 4 + [NOON + DAY] * 2


def test_a_run_that_goes_on_has_only_what_waits(warehouse: Warehouse) -> None:
    """It takes over the days of its tables that wait within its period, with their tries, and adds none."""
    expect(warehouse, 1, 2)
    expect(warehouse, 5, 6)
    expect(warehouse, 5, 5, table=CHATS)
    with warehouse.begin() as connection:
        waiting.count_try(connection, 1, [CALLS, CHATS], day(1), day(6), NOON)
        waiting.leave_for_points(connection, 1, CALLS, NOON)
        waiting.count_try(connection, 1, [CALLS], day(1), day(6), NOON + DAY)
        waiting.take_over(connection, 1, [CALLS], day(2), day(5), "next")
    assert waits(warehouse) == {day(1): "run", day(2): "next", day(5): "next", day(6): "run"}
    assert waits(warehouse, CHATS) == {day(5): "run"}
    taken = [line for line in lines(warehouse) if line["run_id"] == "next"]
    assert [(line["tries"], line["reason"], line["not_before"]) for line in taken] == [(1, None, None)] * 2


def test_days_of_customers(warehouse: Warehouse) -> None:
    """As soon as an agent's customers are known each of them waits; of an account that is nobody's agent, nothing."""
    expect(warehouse, 1, 3)
    expect(warehouse, 5, 5)
    expect(warehouse, 4, 4, "other")
    period = (day(2), day(9))
    with warehouse.begin() as connection:
        waiting.expect_of_customers(connection, 1, CALLS, [0], period, "run", NOON)
    assert waits(warehouse).keys() == days(1, 2, 3, 4, 5)
    with warehouse.begin() as connection:
        waiting.expect_of_customers(connection, 1, CALLS, [101, 102], period, "run", NOON)
    assert waits(warehouse) == {day(1): "run", day(4): "other"}
    for customer in (101, 102):
        assert waits(warehouse, customer=customer) == dict.fromkeys([day(2), day(3), day(5)], "run")
    with warehouse.begin() as connection:
        waiting.strike_off(connection, 1, 102, CALLS, day(1), day(9))
        assert waiting.waiting_days_of(connection, 1, 101, CALLS, day(1), day(4)) == [(day(2), day(3))]
        assert waiting.waiting_days_of(connection, 1, 101, CALLS, day(1), day(9)) == [
            (day(2), day(3)),
            (day(5), day(5)),
        ]
        assert waiting.waiting_days_of(connection, 1, 102, CALLS, day(1), day(9)) == []
        waiting.expect_of_customers(connection, 1, CALLS, [], (day(1), day(1)), "run", NOON)
    assert waits(warehouse) == {day(4): "other"}


def test_what_is_struck_off(warehouse: Warehouse) -> None:
    """Days of this account, customer and table; that they could be loaded gives the other days new hope."""
    for account_id, customer, table in ((1, 0, CALLS), (1, 0, CHATS), (1, 101, CALLS), (2, 0, CALLS)):
        with warehouse.begin() as connection:
            waiting.expect(connection, account_id, [table], day(1), day(4), "run", NOON)
            if customer:
                waiting.expect_of_customers(connection, 1, table, [customer], (day(1), day(4)), "run", NOON)
            waiting.count_try(connection, account_id, [table], day(1), day(4), NOON)
    expect(warehouse, 1, 4)
    with warehouse.begin() as connection:
        waiting.count_try(connection, 1, [CALLS], day(1), day(4), NOON)
        waiting.strike_off(connection, 1, 0, CALLS, day(2), day(3))
    assert waits(warehouse).keys() == days(1, 4)
    assert {line["tries"] for line in lines(warehouse) if line["customer_user_id"] == 0} == {0}
    for rest in (lines(warehouse, CHATS), lines(warehouse, account_id=2)):
        assert [(line["day"], line["tries"]) for line in rest] == [(day(number), 1) for number in (1, 2, 3, 4)]
    assert waits(warehouse, customer=101).keys() == days(1, 2, 3, 4)


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ({}, {CALLS: days(), CHATS: days()}),
        ({"table_names": [CALLS]}, {CALLS: days(), CHATS: days(1, 2, 3, 4)}),
        ({"run_id": "second"}, {CALLS: days(1, 2), CHATS: days(1, 2, 3, 4)}),
        ({"first_day": day(2), "last_day": day(3)}, {CALLS: days(1, 4), CHATS: days(1, 4)}),
        ({"table_names": [CALLS], "first_day": day(1), "last_day": day(3), "run_id": "first"}, {CALLS: days(3, 4)}),
        ({"table_names": []}, {CALLS: days(1, 2, 3, 4)}),
    ],
)
def test_what_is_forgotten(warehouse: Warehouse, chosen: Any, left: dict[str, set[date]]) -> None:
    """All, or what a table, a period or a run narrows it down to, and no other account's; the number is told."""
    expect(warehouse, 1, 4, "first")
    expect(warehouse, 1, 4, "first", CHATS)
    expect(warehouse, 3, 4, "second")
    with warehouse.begin() as connection:
        waiting.expect(connection, 2, [CALLS], day(1), day(4), "first", NOON)
    with warehouse.begin() as connection:
        number = waiting.forget(connection, 1, **chosen)
    for table, expected in left.items():
        assert waits(warehouse, table).keys() == expected
    assert number == 8 - len(waits(warehouse, CALLS)) - len(waits(warehouse, CHATS))
    assert len(lines(warehouse, account_id=2)) == 4


def of_run(run_id: str) -> Update:
    """An update of what waits for a run."""
    return update(waiting_days).where(waiting_days.c.run_id == run_id)


# --- why they wait, and until when -----------------------------------------------------------------------------------


def test_days_left_for_points(warehouse: Warehouse) -> None:
    """Whichever run left them, they wait for points, which counts as nobody's failure; other tables are not told."""
    expect(warehouse, 1, 2)
    expect(warehouse, 3, 3, "other")
    expect(warehouse, 1, 1, table=CHATS)
    until = NOON + timedelta(hours=5)
    with warehouse.begin() as connection:
        waiting.count_try(connection, 1, [CALLS], day(1), day(3), NOON)
        waiting.leave_for_points(connection, 1, CALLS, until)
    told = [(line["reason"], line["not_before"], line["tries"]) for line in lines(warehouse)]
    assert told == [("points", until, 0)] * 3
    assert [line["reason"] for line in lines(warehouse, CHATS)] == [None]


def test_days_left_for_later_wait_longer_with_every_try(warehouse: Warehouse) -> None:
    """Ten minutes, then twice as long each time; after six runs that loaded nothing a person is waited for."""
    expect(warehouse, 1, 2)
    expect(warehouse, 3, 3, "other")
    pauses, given_up = [], []
    for _ in range(8):
        with warehouse.begin() as connection:
            waiting.leave_for_later(connection, 1, CALLS, "run", NOON)
            found = waiting_periods(connection, 1)[0]
            pauses.append((found.not_before or NOON) - NOON)
            given_up.append(found.is_given_up)
            assert (found.first_day, found.last_day, found.reason) == (day(1), day(2), "failed")
            waiting.count_try(connection, 1, [CALLS], day(1), day(2), NOON)
    assert pauses[:6] == [timedelta(minutes=minutes) for minutes in (10, 20, 40, 80, 160, 320)]
    assert given_up == [False] * 6 + [True] * 2
    assert [line["reason"] for line in lines(warehouse)][2:] == [None]
    with warehouse.begin() as connection:
        waiting.strike_off(connection, 1, 0, CALLS, day(1), day(1))
        assert [period.is_given_up for period in waiting_periods(connection, 1)] == [False, False]


def test_a_run_that_is_about_to_begin(warehouse: Warehouse) -> None:
    """A try is counted for its days; until a moment no other begins for them, though nothing is heard of it."""
    expect(warehouse, 1, 3)
    expect(warehouse, 1, 3, table=CHATS)
    with warehouse.begin() as connection:
        waiting.leave_for_points(connection, 1, CALLS, NOON - DAY)
        waiting.count_try(connection, 1, [CALLS], day(2), day(9), NOON)
    told = [(line["tries"], line["not_before"], line["reason"]) for line in lines(warehouse)]
    assert told == [(0, NOON - DAY, "points"), (1, NOON, None), (1, NOON, None)]
    assert {line["tries"] for line in lines(warehouse, CHATS)} == {0}


def test_days_of_runs_that_were_interrupted(warehouse: Warehouse) -> None:
    """A run that ended without a word leaves its days for another at once; those of which more is known keep that."""
    expect(warehouse, 1, 2, "dead")
    expect(warehouse, 3, 3, "points")
    expect(warehouse, 4, 4, "alive")
    expect(warehouse, 5, 5, "begun")
    with warehouse.begin() as connection:
        connection.execute(of_run("points").values(reason="points", not_before=NOON))
        waiting.count_try(connection, 1, [CALLS], day(5), day(5), NOON)
        waiting.expect(connection, 2, [CALLS], day(1), day(1), "dead", NOON)
        waiting.leave_interrupted(connection, 1, ["dead", "points", "begun"])
    told = [(line["reason"], line["not_before"]) for line in lines(warehouse)]
    assert told == [("interrupted", None)] * 2 + [("points", NOON), (None, None), (None, NOON)]
    assert [line["reason"] for line in lines(warehouse, account_id=2)] == [None]


# --- days in a row ---------------------------------------------------------------------------------------------------


def test_days_in_a_row_are_one_period(warehouse: Warehouse) -> None:
    """Of one table, run and reason, whoever the customers are; oldest first, other accounts left out."""
    expect(warehouse, 9, 10)
    expect(warehouse, 1, 3, asked_at=NOON + DAY)
    expect(warehouse, 12, 12)
    expect(warehouse, 5, 8, "other")
    expect(warehouse, 2, 4, table=CHATS)
    with warehouse.begin() as connection:
        waiting.expect(connection, 1, [CALLS], date(2026, 2, 26), date(2026, 2, 28), "run", NOON)
        waiting.expect(connection, 2, [CALLS], day(4), day(4), "run", NOON)
        waiting.expect_of_customers(connection, 1, CALLS, [101, 102], (day(9), day(12)), "run", NOON)
        waiting.strike_off(connection, 1, 101, CALLS, day(9), day(9))
        connection.execute(of_run("other").values(reason="points", not_before=NOON))
        found = waiting_periods(connection, 1)
    one = WaitingPeriod(1, CALLS, "run", day(12), day(12), asked_at=NOON, not_before=None, tries=0, reason=None)
    assert found == [
        replace(one, first_day=date(2026, 2, 26), last_day=day(3)),
        replace(one, first_day=day(2), last_day=day(4), table_name=CHATS),
        replace(one, first_day=day(5), last_day=day(8), run_id="other", not_before=NOON, reason="points"),
        replace(one, first_day=day(9), last_day=day(10)),
        one,
    ]


def test_nothing_waits(warehouse: Warehouse) -> None:
    """No days are no periods."""
    with warehouse.connect() as connection:
        assert waiting_periods(connection, 1) == []
    assert waiting.periods([]) == []


# --- in the transaction that loads -----------------------------------------------------------------------------------


def call(key: int, of: date) -> Any:
    """A call at noon."""
    return Call(id=key, start_time=datetime(of.year, of.month, of.day, 12))


def stored(warehouse: Warehouse) -> tuple[list[Any], list[Any]]:
    """The ids of the calls and the days of the ledger."""
    ids = query(warehouse, "select id from comagic_raw.calls_report order by id")
    ledger = query(warehouse, "select day from comagic_ops.loaded_days order by day")
    return [row["id"] for row in ids], [row["day"] for row in ledger]


def test_a_day_is_struck_off_when_it_is_loaded(warehouse: Warehouse) -> None:
    """With each part that is complete, and not before: rows that were written or taken back change nothing."""
    expect(warehouse, 1, 4)
    with DayLoad(warehouse, RawTarget(tables()[CALLS]), Account(1), "run", facts=[FACTS]) as load:
        load.write(day(3), day(4), [call(4, day(4))], [])
        assert waits(warehouse).keys() == days(1, 2, 3, 4)
        load.complete(day(3), day(4), 1)
        assert waits(warehouse).keys() == days(1, 2)
        assert waits(warehouse, FACTS).keys() == days(3, 4)
        load.write(day(1), day(2), [call(1, day(1))], [])
        load.discard()
        load.write(day(1), day(1), [call(2, day(1))], [])
    assert waits(warehouse).keys() == days(1, 2)
    assert waits(warehouse, FACTS).keys() == days(3, 4)
    assert stored(warehouse) == ([4], [day(3), day(4)])


def test_a_connection_that_dies_before_the_commit(warehouse: Warehouse, warehouse_url: str) -> None:
    """Rows, ledger, the day that is struck off and the facts that are due are one transaction: all or nothing."""
    expect(warehouse, 1, 2)
    seen: list[set[date]] = []

    def kill(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        due = driver.execute("select 1 from comagic_ops.waiting_days where table_name = %s", [FACTS]).fetchall()
        if due:
            seen.append(set(waits(warehouse)))
            with psycopg.connect(libpq(warehouse_url), autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(%s, 5000)", [driver.info.backend_pid])

    event.listen(Engine, "commit", kill)
    try:
        with DayLoad(warehouse, RawTarget(tables()[CALLS]), Account(1), "run", facts=[FACTS]) as load:
            load.write(day(1), day(2), [call(1, day(1))], [])
            with pytest.raises(OperationalError):
                load.complete(day(1), day(2), 1)
    finally:
        event.remove(Engine, "commit", kill)
    assert seen == [days(1, 2)]
    assert stored(warehouse) == ([], [])
    assert waits(warehouse) == {day(1): "run", day(2): "run"}
    assert waits(warehouse, FACTS) == {}


def libpq(url: str) -> str:
    """The URL as the driver wants it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


# --- runs ------------------------------------------------------------------------------------------------------------


class Load:
    """A source of calls and the runs of its job, for the first six days of March unless they are told others."""

    def __init__(self, config: Config, sandbox: Sandbox, warehouse: Warehouse, instance: DagsterInstance) -> None:
        self.config, self.sandbox, self.warehouse, self.instance = config, sandbox, warehouse, instance

    def run(self, *tables: str, last: int = 6) -> str:
        """Run it, for all tables or some; gives the run's id."""
        result = run_load(self.config, self.instance, day(1), day(last), *tables)
        assert failures(result) == []
        assert result.success
        return result.run_id

    def fail(self, *tables: str) -> ExecuteInProcessResult:
        """Run it, to no good end."""
        result = run_load(self.config, self.instance, day(1), day(6), *tables)
        assert not result.success
        return result

    def go_on(self, *tables: str) -> None:
        """Run it as the sensor does, for what waits."""
        tags = {RANGE_START: str(day(1)), RANGE_END: str(day(6)), CONTINUES: "main"}
        result = (
            build_definitions(self.config)
            .resolve_job_def("load_main")
            .execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=self.instance,
                asset_selection=[AssetKey(["main", table]) for table in tables],
                tags=tags,
                raise_on_error=False,
            )
        )
        assert result.success

    def expect(self, *numbers: int, run_id: str = "gone") -> None:
        """Days wait that a run left."""
        for number in numbers:
            expect(self.warehouse, number, number, run_id)


OpenLoad = Callable[..., Load]


@pytest.fixture
def open_load(
    project: Callable[..., Config], warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenLoad]:
    """Configures a source and starts its sandbox; keywords are of the source, `customers` make it an agent's."""
    monkeypatch.setattr(comagic_pipeline.api.client, "_FIRST_PAUSE", 0.001)
    with ExitStack() as stack:

        def start(customers: int = 0, **source: Any) -> Load:
            world = World(calls_per_day=20, customers=customers, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
            settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=30))
            sandbox = stack.enter_context(running_sandbox(world, settings))
            agent = {"user_ids": "all"} if customers else {}
            source = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "day_points": "{reserve: 0}"} | agent | source
            instance = stack.enter_context(DagsterInstance.ephemeral())
            return Load(project(**source), sandbox, warehouse, instance)

        yield start


@pytest.fixture
def load(open_load: OpenLoad) -> Load:
    """An account with 20 calls a day."""
    return open_load()


ALL = days(1, 2, 3, 4, 5, 6)


def test_what_a_run_has_to_load_waits_while_it_runs(load: Load) -> None:
    """Reports and facts wait for the run from its first request on, other tables do not, and in the end nothing."""
    seen: list[list[dict[str, Any]]] = []

    def look(*_: Any) -> None:
        seen.append(query(load.warehouse, "select * from comagic_ops.waiting_days"))

    load.sandbox.before_request = look
    run_id = load.run()
    first = seen[0]
    assert {line["table_name"] for line in first} == {CALLS, FACTS}
    for table in (CALLS, FACTS):
        assert {line["day"] for line in first if line["table_name"] == table} == ALL
    assert {(line["run_id"], line["reason"], line["not_before"]) for line in first} == {(run_id, None, None)}
    assert query(load.warehouse, "select * from comagic_ops.waiting_days") == []


def test_facts_are_due_with_each_change_of_their_report(load: Load) -> None:
    """A report that is loaded alone leaves the star behind; building the star, whoever does it, makes up for it."""
    load.run()
    for last in (2, 4):
        run_id = load.run(CALLS, last=last)
        assert waits(load.warehouse, FACTS) == dict.fromkeys(days_between(day(1), day(last)), run_id)
        assert lines(load.warehouse) == []
    load.run(*STAR_OF_CALLS, last=3)
    assert waits(load.warehouse, FACTS).keys() == days(4)
    spent = load.sandbox.points_spent
    load.go_on(*STAR_OF_CALLS)
    assert waits(load.warehouse, FACTS) == {}
    assert load.sandbox.points_spent == spent


def test_a_star_that_cannot_be_built_stays_due(load: Load) -> None:
    """What the transaction of the build struck off is due again when it fails, and is tried later."""
    load.run(CALLS)
    with load.warehouse.begin() as connection:
        connection.execute(
            text("alter table comagic.comagic_calls_facts add constraint broken check (false) not valid")
        )
    before = datetime.now(UTC)
    result = load.fail(*STAR_OF_CALLS)
    left = lines(load.warehouse, FACTS)
    assert {line["day"] for line in left} == ALL
    assert {(line["run_id"], line["reason"]) for line in left} == {(result.run_id, "failed")}
    assert timedelta(minutes=9) < left[0]["not_before"] - before < timedelta(minutes=11)
    with load.warehouse.begin() as connection:
        connection.execute(text("alter table comagic.comagic_calls_facts drop constraint broken"))
    load.run(*STAR_OF_CALLS)
    assert lines(load.warehouse, FACTS) == []


def test_days_that_change_while_the_star_is_built_are_due_again(load: Load) -> None:
    """A day that is replaced when the build has looked at its days already is not mistaken for built."""
    load.run(CALLS)
    other = threading.Thread(target=replace_day, args=(load.warehouse, day(2)))
    has_begun = False

    def change(_: Connection, __: Any, statement: str, *___: Any) -> None:
        nonlocal has_begun
        if threading.current_thread() is other:
            return
        has_begun |= statement.startswith("DELETE") and "waiting_days" in statement
        if has_begun and "comagic_raw" in statement and not other.ident:
            other.start()
            deadline = monotonic() + 10
            while other.is_alive() and not blocked(load.warehouse):
                assert monotonic() < deadline
                sleep(0.01)

    event.listen(Engine, "before_cursor_execute", change)
    try:
        load.run(*STAR_OF_CALLS)
    finally:
        event.remove(Engine, "before_cursor_execute", change)
    other.join()
    assert waits(load.warehouse, FACTS) == {day(2): "other"}


def replace_day(warehouse: Warehouse, of: date) -> None:
    """Another run replaces a day."""
    with DayLoad(warehouse, RawTarget(tables()[CALLS]), Account(1), "other", facts=[FACTS]) as other:
        other.write(of, of, [call(1, of)], [])
        other.complete(of, of, 1)


def blocked(warehouse: Warehouse) -> bool:
    """True while some connection waits for another one to end its transaction."""
    sql = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return bool(query(warehouse, sql))


@pytest.mark.parametrize("mnemonic", ["access_token_blocked", "account_inactive"])
def test_what_a_person_has_to_mend_first_does_not_wait(load: Load, mnemonic: str) -> None:
    """No run that begins by itself would do better; the failed run says what to do, and days that are done stay."""
    load.sandbox.faults.add(Fault(kind="error", method="get.calls_report", mnemonic=mnemonic, after=2, times=1000))
    load.fail(CALLS)
    assert lines(load.warehouse) == []
    done = stored(load.warehouse)[1]
    assert 0 < len(done) < 6
    assert waits(load.warehouse, FACTS).keys() == set(done)


def test_what_may_pass_is_left_for_later(load: Load) -> None:
    """Days that an outage kept from being loaded wait some minutes, those before it are loaded."""
    load.sandbox.faults.add(Fault(kind="http_status", method="get.calls_report", after=3, times=1000))
    before = datetime.now(UTC)
    result = load.fail(CALLS)
    done = set(stored(load.warehouse)[1])
    assert 0 < len(done) < 6
    assert waits(load.warehouse) == dict.fromkeys(sorted(ALL - done), result.run_id)
    (left,) = {(line["reason"], line["not_before"], line["tries"]) for line in lines(load.warehouse)}
    assert (left[0], left[2]) == ("failed", 0)
    assert timedelta(minutes=9) < left[1] - before < timedelta(minutes=11)


def test_a_report_that_the_account_may_not_ask_for_does_not_wait(load: Load) -> None:
    """It is skipped, and so are its days; the star of what there is is built."""
    load.sandbox.settings.refused_methods = {"get.calls_report": "forbidden"}
    load.run()
    assert query(load.warehouse, "select * from comagic_ops.waiting_days") == []


def test_a_run_that_goes_on_asks_for_what_is_missing_alone(load: Load) -> None:
    """Days between gaps are not asked for again; when it is done nothing waits."""
    load.run(CALLS, last=6)
    load.expect(2, 3, 6)
    load.sandbox.requests.clear()
    load.go_on(CALLS, *STAR_OF_CALLS)
    periods = [(request.params["date_from"], request.params["date_till"]) for request in load.sandbox.requests]
    # The newest first.
    assert list(dict.fromkeys(periods)) == [
        ("2026-03-06 00:00:00", "2026-03-07 00:00:00"),
        ("2026-03-02 00:00:00", "2026-03-04 00:00:00"),
    ]
    assert query(load.warehouse, "select * from comagic_ops.waiting_days") == []


def test_points_that_end_leave_all_the_rest(load: Load) -> None:
    """What the points did not reach for waits until they are there again; of the star what is loaded is due."""
    load.sandbox.settings.day_limit = 2
    before = datetime.now(UTC)
    result = load.fail()
    done = set(stored(load.warehouse)[1])
    assert 0 < len(done) < 6
    assert waits(load.warehouse) == dict.fromkeys(sorted(ALL - done), result.run_id)
    (left,) = {(line["reason"], line["not_before"], line["tries"]) for line in lines(load.warehouse)}
    assert (left[0], left[2]) == ("points", 0)
    # The sandbox's clock stands at midnight, when its day begins.
    assert abs(left[1] - before - DAY) < timedelta(minutes=1)
    assert waits(load.warehouse, FACTS).keys() >= done


# --- customers of an agent -------------------------------------------------------------------------------------------


def of_customers(load: Load, table: str = CALLS) -> dict[int, set[date]]:
    """The days that wait of each customer."""
    found: dict[int, set[date]] = {}
    for line in lines(load.warehouse, table):
        found.setdefault(line["customer_user_id"], set()).add(line["day"])
    return found


def test_each_customer_waits_for_himself(open_load: OpenLoad) -> None:
    """The days of a customer that failed wait, those of the others are struck off; who is refused does not for long."""
    load = open_load(customers=3)
    refused, failing, fine = sorted(user["id"] for user in load.sandbox.world.rows("get.customer_users"))
    load.sandbox.settings.refused_users = {refused}

    def fail(method: str, params: dict[str, Any]) -> None:
        if method == "get.calls_report" and params["user_id"] == failing:
            load.sandbox.faults.clear()
            load.sandbox.faults.add(Fault(kind="http_status", method=method))

    load.sandbox.before_request = fail
    load.fail(CALLS, "customer_users")
    left = of_customers(load)
    assert left[failing] == ALL
    assert fine not in left
    assert {row["customer_user_id"] for row in query(load.warehouse, "select * from comagic_ops.loaded_days")} == {fine}
    # The star is that of all customers: it is due, for some of them changed.
    assert of_customers(load, FACTS) == {0: ALL}
    load.sandbox.before_request = None
    load.sandbox.faults.clear()
    load.sandbox.requests.clear()
    load.go_on(CALLS)
    assert {request.params["user_id"] for request in load.sandbox.requests if request.points} == {failing}
    assert fine not in {request.params["user_id"] for request in load.sandbox.requests}
    assert of_customers(load) == {}


def test_points_that_end_leave_all_customers_to_come(open_load: OpenLoad) -> None:
    """Who was not come to waits for all days, who is loaded for none, and who was begun for the rest."""
    load = open_load(customers=3)
    first, second, third = sorted(user["id"] for user in load.sandbox.world.rows("get.customer_users"))
    load.sandbox.settings.day_limit = 8
    load.fail(CALLS, "customer_users")
    left = of_customers(load)
    assert left.keys() == {second, third}
    assert set() < left[second] < ALL
    assert left[third] == ALL
    assert {line["reason"] for line in lines(load.warehouse)} == {"points"}
    assert first not in left
