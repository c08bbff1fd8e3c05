"""kill -9 of a loading process at random moments: every day is wholly old or wholly new, and the next load completes.

Each load finds all calls changed: `talk_duration` says of which version of the world a row is.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.embedded import status
from comagic_pipeline_tests.deployment.command_line import Process, eventually, finish, run, start

CALLS = "get.calls_report"
DAYS = [date(2026, 3, 1) + timedelta(days=number) for number in range(5)]
LOAD = ("load", "--from", str(DAYS[0]), "--till", str(DAYS[-1]))


class Account:
    """A sandbox whose calls all change from version to version, and the warehouse that they are loaded into."""

    def __init__(self, config: Config, sandbox: Sandbox) -> None:
        self.config, self.sandbox, self.version = config, sandbox, 0

    def calls(self) -> list[dict[str, Any]]:
        """What the API has."""
        return self.sandbox.world.rows(CALLS, f"{DAYS[0]} 00:00:00", f"{DAYS[-1]} 23:59:59")

    def change_all(self) -> None:
        """Make a new version of every call."""
        self.version += 1
        for call in self.calls():
            self.sandbox.world.change(CALLS, call["id"], {"talk_duration": self.version})

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the warehouse."""
        with open_warehouse(self.config) as warehouse, warehouse.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    def start_load(self) -> Process:
        """Start a load of the next version."""
        self.change_all()
        self.sandbox.requests.clear()
        return start(*LOAD)

    def has_asked(self, times: int) -> Callable[[], bool]:
        """Whether the load under way has asked for calls so often."""
        return lambda: sum(request.method == CALLS for request in self.sandbox.requests) >= times

    def assert_whole_days(self) -> dict[date, int]:
        """Every day holds all its calls of one version, and the ledger says how many; gives the versions."""
        versions = "count(*), min(talk_duration), max(talk_duration)"
        found = self.query(f"select event_date, {versions} from comagic_raw.calls_report group by 1")
        raw = {day: (rows, oldest, newest) for day, rows, oldest, newest in found}
        expected = {day: sum(call["start_time"].startswith(str(day)) for call in self.calls()) for day in DAYS}
        for day, (rows, oldest, newest) in raw.items():
            assert (rows, oldest) == (expected[day], newest), day
        ledger = dict(self.query("select day, rows from comagic_ops.loaded_days"))
        assert ledger == {day: rows for day, (rows, _, _) in raw.items()}
        return {day: newest for day, (_, _, newest) in raw.items()}

    def assert_completed(self) -> None:
        """All days are of the newest version, in raw and in the star."""
        assert self.assert_whole_days() == dict.fromkeys(DAYS, self.version)
        facts = self.query("select count(*), min(talk_duration), max(talk_duration) from comagic.comagic_calls_facts")
        assert facts == [(len(self.calls()), self.version, self.version)]


@pytest.fixture
def open_account(project: Callable[..., Config]) -> Any:
    """Configures a source for a sandbox."""

    def configure(sandbox: Sandbox) -> Account:
        return Account(project(base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}"), sandbox)

    return configure


def sandbox() -> Any:
    """Twenty calls a day in pages of twenty: a load of five days takes as many requests and commits."""
    world = World(calls_per_day=20, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    return running_sandbox(world, Settings(minute_limit=10_000, quirks=Quirks(short_pages=20)))


def test_a_killed_load_leaves_whole_days_and_the_next_one_completes(open_account: Callable[..., Account]) -> None:
    """Killed between two requests, while it writes, while it builds the star: no day is ever a mix."""
    moments = random.Random("kill")
    with sandbox() as api:
        account = open_account(api)
        seen = set()
        for requests in (2, 4, 5):
            process = account.start_load()
            eventually(account.has_asked(requests))
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
            finish(process)
            seen |= set(account.assert_whole_days().values())
        assert seen, "all loads were killed before they wrote anything"
        account.change_all()
        assert run(*LOAD).returncode == 0
        account.assert_completed()


def test_a_load_that_is_killed_at_a_standstill_leaves_whole_days(open_account: Callable[..., Account]) -> None:
    """Killed while an answer does not come, and after it wrote rows but before it could write their ledger line."""
    with sandbox() as api:
        account = open_account(api)
        account.change_all()
        assert run(*LOAD).returncode == 0
        api.faults.add(Fault(kind="slow_answer", method=CALLS, after=3, seconds=3))
        process = account.start_load()
        eventually(lambda: not api.faults.rules)
        eventually(lambda: set(account.assert_whole_days().values()) == {1, 2})
        process.kill()
        finish(process)
        versions = account.assert_whole_days()
        assert set(versions) == set(DAYS)
        assert set(versions.values()) == {1, 2}
        with open_warehouse(account.config) as warehouse, warehouse.begin() as connection:
            connection.execute(text("select * from comagic_ops.loaded_days for update"))
            process = account.start_load()
            eventually(lambda: account.query("select 1 from pg_stat_activity where wait_event_type = 'Lock'"))
            process.kill()
            finish(process)
        assert account.assert_whole_days() == versions
        assert run(*LOAD).returncode == 0
        account.assert_completed()


def test_the_embedded_server_outlives_a_killed_load(
    open_account: Callable[..., Account], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without warehouse.url: committed days survive, the server ends by itself, the next load completes."""
    monkeypatch.delenv(STORAGE_VARIABLE)
    with sandbox() as api:
        account = open_account(api)
        path = account.config.path
        path.write_text(path.read_text().replace("url: ${WAREHOUSE_URL}", "schemas: {}"))
        account.config = account.config.model_copy(update={"warehouse": type(account.config.warehouse)()})
        process = account.start_load()
        eventually(account.has_asked(4))
        process.kill()
        finish(process)
        eventually(lambda: not status(tmp_path / ".comagic" / "postgres").running)
        account.assert_whole_days()
        assert run(*LOAD).returncode == 0
        account.assert_completed()
        eventually(lambda: not status(tmp_path / ".comagic" / "postgres").running)
