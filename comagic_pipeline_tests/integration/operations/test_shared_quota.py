"""The points of a key in the warehouse: all who use the key know the same, and it is known where the points went."""

import signal
import subprocess
import sys
import threading
import time as real_time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import DayPointsSpentError, TransientError
from comagic_pipeline.api.quota import SPANS, Known, Limits, Quota
from comagic_pipeline.config import Config, Source
from comagic_pipeline.operations.api_client import open_client, source_key
from comagic_pipeline.operations.points.shared_quota import SharedBook, key_id, known_points
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_LOGIN, SANDBOX_PASSWORD, SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.tables import key_points, points_spent, requests_under_way
from comagic_pipeline_tests.api_time import NOON, Time
from comagic_pipeline_tests.integration.raw_reference import query

BOOK = (key_points, requests_under_way, points_spent)
KEY = "0123456789abcdef"
CALLS = {"date_from": "2026-01-14 00:00:00", "date_till": "2026-01-15 00:00:00", "fields": ["id"]}


@pytest.fixture
def time() -> Time:
    """The clock of the clients and of the sandbox."""
    return Time()


@pytest.fixture
def sandbox(time: Time) -> Iterator[Sandbox]:
    """A small account in Moscow."""
    with running_sandbox(World(calls_per_day=3, now=time.now), Settings(minute_limit=1000)) as sandbox:
        yield sandbox


@pytest.fixture
def source(project: Callable[..., Config], sandbox: Sandbox) -> Source:
    """A source that asks the sandbox."""
    return project(base_url=sandbox.url, token=SANDBOX_TOKEN).source("main")


Connect = Callable[..., Client]


@pytest.fixture
def connect(warehouse: Warehouse, source: Source, time: Time) -> Iterator[Connect]:
    """Opens clients of the source, or of another one, that keep their book in the warehouse."""
    with ExitStack() as stack:

        def connect(of: Source = source, **options: Any) -> Client:
            return stack.enter_context(open_client(of, warehouse, clock=time.now, sleep=time.sleep, **options))

        yield connect


@pytest.fixture
def quota(warehouse: Warehouse, source: Source, time: Time) -> Callable[..., Quota]:
    """Makes quotas that share the page of a key, as processes would; each has connections of its own."""

    def quota(key: str = KEY, run_id: str = "", reserve: int = 0) -> Quota:
        return Quota(reserve, time.now, time.sleep, SharedBook(warehouse, source, key, run_id, time.now))

    return quota


def ask(quota: Quota, **limits: int) -> None:
    """A request that succeeds at once; its answer tells these limits."""
    with quota.request("get.account") as told:
        told.limits, told.charged = Limits(**limits), True


# --- what all know ---------------------------------------------------------------------------------------------------


def test_what_one_hears_all_know(quota: Callable[..., Quota]) -> None:
    """Two books of a key see each other's limits and requests under way; another key has limits of its own."""
    one, other, stranger = quota(), quota(reserve=3), quota("fedcba9876543210")
    ask(one, day_limit=100, day_remaining=10, day_reset=3600)
    assert (one.left(), other.left(), stranger.left()) == (10, 7, None)
    with one.request("get.account"):
        assert (one.left(), other.left()) == (9, 6)
    ask(other, day_limit=100, day_remaining=3, day_reset=3600)
    assert (one.left(), other.left(), stranger.left()) == (3, 0, None)
    with pytest.raises(DayPointsSpentError) as caught:
        ask(other)
    assert caught.value.until == NOON + timedelta(hours=1, seconds=1)
    ask(stranger, day_remaining=8)
    assert (one.left(), stranger.left()) == (3, 8)


def test_one_waits_for_the_minute_that_another_spent(quota: Callable[..., Quota], time: Time) -> None:
    """The minute and the hour are those of all, and a new minute begins for all at once."""
    one, other = quota(), quota()
    ask(one, minute_limit=2, minute_remaining=0, minute_reset=20, hour_limit=50, hour_remaining=7, hour_reset=900)
    ask(other)
    ask(one)
    assert time.slept == [21]
    ask(one)
    assert time.slept == [21, 60]
    ask(other, hour_remaining=0, hour_reset=800)
    ask(one)
    assert time.slept == [21, 60, 801]


def test_everything_known_is_kept(quota: Callable[..., Quota], warehouse: Warehouse, time: Time) -> None:
    """A page that is opened again, by whomever, is as it was left."""
    told = {
        f"{span}_{name}": number for number, span in enumerate(SPANS, 5) for name in ("limit", "remaining", "reset")
    }
    ask(quota(), **told)
    known = known_points(warehouse, KEY, time.now())
    for number, span in enumerate(SPANS, 5):
        allowance = known.allowances[span]
        assert (allowance.limit, allowance.remaining) == (number, number)
        assert allowance.resets_at == NOON + timedelta(seconds=number + 1)  # it may have been rounded down
    assert (known.answers, known.told_at, known.under_way) == (1, NOON, {})
    ask(quota())
    known = known_points(warehouse, KEY, time.now())
    assert [known.allowances[span].remaining for span in SPANS] == [4, 5, 6]
    assert (known.answers, known.told_at) == (2, NOON)


def test_a_look_at_what_is_known_needs_no_request(
    quota: Callable[..., Quota], warehouse: Warehouse, time: Time
) -> None:
    """Before the first request nothing is known; a day that is over counts as a new one."""
    assert known_points(warehouse, KEY, time.now()) == Known()
    ask(quota(), day_limit=100, day_remaining=1, day_reset=600)
    assert known_points(warehouse, KEY, NOON + timedelta(seconds=600)).allowances["day"].remaining == 1
    day = known_points(warehouse, KEY, NOON + timedelta(seconds=601)).allowances["day"]
    assert (day.limit, day.remaining, day.resets_at) == (100, 100, None)
    assert len(query(warehouse, "select * from comagic_ops.key_points")) == 1


def test_a_late_answer_of_another_process(quota: Callable[..., Quota]) -> None:
    """An answer that others overtook, whoever they are, tells of points that are known to be spent."""
    quotas = [quota() for _ in range(3)]
    ask(quotas[0], day_remaining=10)
    with quotas[0].request("get.account") as early:
        with quotas[1].request("get.account") as late:
            ask(quotas[2], day_remaining=7)
            late.limits, late.charged = Limits(day_remaining=8), True
        early.limits, early.charged = Limits(day_remaining=9), True
    assert [quota.left() for quota in quotas] == [7, 7, 7]


def test_an_answer_of_another_process_about_the_day_before(
    quota: Callable[..., Quota], warehouse: Warehouse, time: Time
) -> None:
    """When the day began is kept too: what was said before is not taken for what is true now."""
    one, other = quota(), quota()
    ask(one, day_limit=100, day_remaining=1, day_reset=2)
    with one.request("get.account") as slow:
        time.pass_by(4)
        ask(other, day_limit=100, day_remaining=99, day_reset=86_398)
        slow.limits, slow.charged = Limits(day_limit=100, day_remaining=0, day_reset=0), True
    assert other.left() == 99
    day = known_points(warehouse, KEY, time.now()).allowances["day"]
    assert (day.remaining, day.began_at) == (99, NOON + timedelta(seconds=3))
    assert day.resets_at == NOON + timedelta(seconds=4 + 86_398 + 1)


def test_threads_that_begin_at_once(quota: Callable[..., Quota], warehouse: Warehouse) -> None:
    """The first requests of a key come all at once: there is one page for them, and no point is lost."""
    start = threading.Barrier(8)
    failed: list[BaseException] = []

    def work(run_id: str) -> None:
        try:
            mine = quota(run_id=run_id)
            start.wait()
            for _ in range(20):
                ask(mine)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(f"run-{number % 2}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert query(warehouse, "select key_id, answers from comagic_ops.key_points") == [{"key_id": KEY, "answers": 160}]
    assert query(warehouse, "select run_id, points from comagic_ops.points_spent order by 1") == [
        {"run_id": "run-0", "points": 80},
        {"run_id": "run-1", "points": 80},
    ]
    assert query(warehouse, "select * from comagic_ops.requests_under_way") == []


# --- where the points went -------------------------------------------------------------------------------------------


def spent(warehouse: Warehouse) -> dict[tuple[int, date, str, str], int]:
    """The points by account, day, table and run."""
    rows = query(warehouse, "select account_id, day, table_name, run_id, points from comagic_ops.points_spent")
    return {(row["account_id"], row["day"], row["table_name"], row["run_id"]): row["points"] for row in rows}


def test_points_are_counted_by_day_table_and_run(
    connect: Connect, warehouse: Warehouse, sandbox: Sandbox, time: Time
) -> None:
    """The day is the one on the account's clock; a command has no run; what fails costs nothing and is not counted."""
    backfill, command = connect(run_id="run-1"), connect()
    time.moment = datetime(2026, 1, 15, 20, 59, tzinfo=UTC)  # 23:59 in Moscow
    for _ in range(3):
        backfill.call("get.calls_report", CALLS)
    backfill.call("get.campaigns")
    command.call("get.calls_report", CALLS)
    sandbox.faults.add(Fault(kind="http_status", times=1000))
    with pytest.raises(TransientError):
        command.call("get.sites")
    sandbox.faults.clear()
    sandbox.faults.add(Fault(kind="error", mnemonic="limit_exceeded"))
    time.moment = datetime(2026, 1, 15, 21, 1, tzinfo=UTC)
    backfill.call("get.calls_report", CALLS)
    yesterday, today = date(2026, 1, 15), date(2026, 1, 16)
    assert spent(warehouse) == {
        (1, yesterday, "calls_report", "run-1"): 3,
        (1, yesterday, "campaigns", "run-1"): 1,
        (1, yesterday, "calls_report", ""): 1,
        (1, today, "calls_report", "run-1"): 1,
    }
    assert sum(spent(warehouse).values()) == sandbox.points_spent


def test_methods_without_a_table_are_counted_too(
    connect: Connect, warehouse: Warehouse, sandbox: Sandbox, project: Callable[..., Config]
) -> None:
    """A login costs what it costs, and a method that no table is made of stands under its own name."""
    source = project(base_url=sandbox.url, login=SANDBOX_LOGIN, password=SANDBOX_PASSWORD).source("main")
    client = connect(source)
    client.call("get.account")
    assert sorted(name for _, _, name, _ in spent(warehouse)) == ["account", "login.user"]


# --- processes that die ----------------------------------------------------------------------------------------------

DIES = """
import sys, time
from comagic_pipeline.config import load_config
from comagic_pipeline.operations.connections import connect_warehouse
from comagic_pipeline.api.quota import Quota
from comagic_pipeline.operations.points.shared_quota import SharedBook
config = load_config()
with connect_warehouse(config) as warehouse:
    quota = Quota(book=SharedBook(warehouse, config.source("main"), sys.argv[1], "run-1"))
    with quota.request("get.calls_report"):
        print("under way", flush=True)
        time.sleep(1000)
"""


def test_a_request_of_a_process_that_was_killed(
    quota: Callable[..., Quota], source: Source, warehouse: Warehouse, time: Time
) -> None:
    """It holds its point for two minutes, for it may have cost one; then it is forgotten, and counted for nobody."""
    time.moment = datetime.now(UTC)
    assert source.name == "main"  # its config is in the environment
    ask(quota(), day_remaining=1, day_reset=3600)
    process = subprocess.Popen([sys.executable, "-c", DIES, KEY], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "under way\n"
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    (left,) = query(warehouse, "select method, run_id, key_id, sent_at from comagic_ops.requests_under_way")
    assert (left["method"], left["run_id"], left["key_id"]) == ("get.calls_report", "run-1", KEY)
    assert quota().left() == 0
    ask(quota())
    assert timedelta(minutes=2) < time.now() - left["sent_at"] < timedelta(minutes=2, seconds=1)
    assert query(warehouse, "select * from comagic_ops.requests_under_way") == []
    assert [points for (_, _, _, run_id), points in spent(warehouse).items() if run_id] == []


# --- keys ------------------------------------------------------------------------------------------------------------


def test_who_shares_a_page(
    project: Callable[..., Config], sandbox: Sandbox, warehouse: Warehouse, connect: Connect
) -> None:
    """Sources with the same key at the same address share a page; another key, login or address has its own."""

    def source(name: str, account_id: int, **options: Any) -> Source:
        return project(**{"base_url": sandbox.url, "name": name, "account_id": account_id} | options).source(name)

    sandbox.settings.tokens["another-key"] = "valid"
    first = source("first", 1, token=SANDBOX_TOKEN)
    second = source("second", 2, token=SANDBOX_TOKEN)
    other = source("other", 3, token="another-key")
    user = source("someone", 4, login=SANDBOX_LOGIN, password=SANDBOX_PASSWORD)
    elsewhere = source("elsewhere", 5, token=SANDBOX_TOKEN, base_url=sandbox.url.replace("127.0.0.1", "localhost"))
    keys = [source_key(each) for each in (first, second, other, user, elsewhere)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    for each in (first, second, other, user):
        connect(each).call("get.account")
    lines = query(warehouse, "select key_id, answers from comagic_ops.key_points")
    assert {line["key_id"]: line["answers"] for line in lines} == {keys[0]: 2, keys[2]: 1, keys[3]: 2}
    assert Counter(account_id for account_id, _, _, _ in spent(warehouse)) == {1: 1, 2: 1, 3: 1, 4: 2}


def test_the_key_is_not_kept(
    project: Callable[..., Config], sandbox: Sandbox, warehouse: Warehouse, connect: Connect
) -> None:
    """Neither key nor login nor password stands in the book, whole or in part: its name of the key opens nothing."""
    seen: list[str] = []

    def look(*_: Any) -> None:
        for table in BOOK:
            seen.extend(str(row) for row in query(warehouse, f"select * from comagic_ops.{table.name}"))

    sandbox.before_request = look  # while a request is under way
    for way_in in ({"token": SANDBOX_TOKEN}, {"login": SANDBOX_LOGIN, "password": SANDBOX_PASSWORD}):
        connect(project(base_url=sandbox.url, **way_in).source("main"), run_id="run").call("get.account")
    look()
    kept = " ".join(seen)
    assert "get.account" in kept
    for secret in (SANDBOX_TOKEN, SANDBOX_LOGIN, SANDBOX_PASSWORD):
        parts = {secret[start : start + 8] for start in range(len(secret) - 7)}
        assert [part for part in parts if part in kept and part != "0" * 8] == []
    assert key_id("https://one.test", "secret") != key_id("https://other.test", "secret")


# --- four processes --------------------------------------------------------------------------------------------------

ASKS = """
import sys, time
from comagic_pipeline.config import load_config
from comagic_pipeline.operations.api_client import open_client
from comagic_pipeline.operations.connections import connect_warehouse
config = load_config()
source = config.source("main")
with connect_warehouse(config) as warehouse, open_client(source, warehouse, run_id=sys.argv[1]) as client:
    print("ready", flush=True)
    input()
    while True:
        client.call("get.account")
"""
MINUTE_LIMIT = 60
IN_FIRST_MINUTE, IN_LAST_MINUTE = 6, 9
"""Seconds of the minutes before and after two full ones."""


def test_four_processes_use_up_every_minute(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """Not one request is refused beyond the first second, and no point of any minute is left over."""
    shift = timedelta()

    def now() -> datetime:
        return datetime.now(UTC) + shift

    asked_at: list[datetime] = []
    settings = Settings(minute_limit=MINUTE_LIMIT, day_limit=10**6)
    with running_sandbox(World(calls_per_day=3, now=now), settings) as sandbox, ExitStack() as stack:
        sandbox.before_request = lambda *_: asked_at.append(now())
        project(base_url=sandbox.url, token=SANDBOX_TOKEN)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", ASKS, f"run-{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for number in range(4)
        ]
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        shift = timedelta(seconds=60 - IN_FIRST_MINUTE - real_time.time() % 60)
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        real_time.sleep(IN_FIRST_MINUTE + 2 * 60 + IN_LAST_MINUTE)
        assert [process.poll() for process in processes] == [None] * 4
        requests = list(zip(asked_at, (record.outcome for record in list(sandbox.requests)), strict=False))
        # By now all of them wait for the next minute, or soon will.
        deadline = real_time.monotonic() + 5
        while sum((by_run := points_by_run(warehouse)).values()) != sandbox.points_spent:
            assert real_time.monotonic() < deadline
            real_time.sleep(0.1)
    first = asked_at[0].replace(second=0, microsecond=0)
    refused = [at - asked_at[0] for at, outcome in requests if outcome != "ok"]
    assert [after for after in refused if after > timedelta(seconds=1)] == []
    for minute in (first + timedelta(minutes=1), first + timedelta(minutes=2)):
        spent_at = [at for at, outcome in requests if outcome == "ok" and minute <= at < minute + timedelta(minutes=1)]
        assert len(spent_at) == MINUTE_LIMIT
        # Nobody sleeps on when a minute has begun.
        assert min(spent_at).second <= 3
    assert by_run.keys() == {f"run-{number}" for number in range(4)}


def points_by_run(warehouse: Warehouse) -> dict[str, int]:
    """The points of each run."""
    rows = query(warehouse, "select run_id, sum(points)::int as points from comagic_ops.points_spent group by 1")
    return {row["run_id"]: row["points"] for row in rows}
