"""Loads by the command, with Dagster around them, under faults of the API and kill -9 of everything.

What must be there is computed from the sandbox's world: raw and star row by row, the ledger and the states of the
partitions day by day, no more and no less than was asked for.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from dagster import AssetKey, RunsFilter

from comagic_pipeline.config import CONFIG_VARIABLE
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE, open_instance
from comagic_pipeline.dagster.runs import UNFINISHED
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.deployment.test_embedded_server import open_folder
from comagic_pipeline_tests.endurance.project import Project, written_project
from comagic_pipeline_tests.endurance.rounds import Progress, dice, rounds
from comagic_pipeline_tests.integration.raw_reference import (
    api_rows,
    days_between,
    differences,
    raw_rows,
)
from comagic_pipeline_tests.integration.star_reference import (
    MAIN,
    READINGS,
    Reading,
    expect_children_of,
    expect_facts_of,
)
from comagic_pipeline_tests.integration.star_reference import raw_rows as star_input
from comagic_pipeline_tests.integration.warehouse.test_star_kinds import children_of, facts_of

pytestmark = pytest.mark.endurance

FIRST, LAST = date(2026, 3, 1), date(2026, 4, 9)
"""Loads are of days between these. The schedules of the daemon load today, which lies later."""
KINDS: dict[str, Reading] = {
    reading.kind.report: reading for reading in READINGS if reading.kind.name in ("calls", "chats", "offline_messages")
}
REPORTS = tuple(KINDS)
FACTS = {report: reading.kind.facts.name for report, reading in KINDS.items()}
CHOICES: tuple[tuple[str, ...], ...] = (
    (), (), *((report,) for report in REPORTS), ("calls_report", FACTS["calls_report"]), (FACTS["chats_report"],),
)  # fmt: skip
"""What `--table` may name; nothing stands for all."""
VICTIMS = ("command", "daemon", "code server", "backend", "postmaster")
SETTLE = 900.0
"""Seconds for what the loads left: the sensor looks every 30, one run at a time."""
PROJECT = """
sources:
  - {{name: main, account_id: 1, base_url: "{url}", token: {token}, start_date: {first}, refresh_days: 1,
     tables: [{tables}], day_points: {{reserve: 0}}, reconciliation: {{schedule: off}}}}
"""

Key = tuple[str, date]
"""A day of a table."""


@dataclass
class Load:
    """What one command asks for."""

    tables: tuple[str, ...]
    days: list[date]

    @property
    def arguments(self) -> list[str]:
        """Of the command line."""
        period = ["--json", "--from", str(self.days[0]), "--till", str(self.days[-1])]
        return period + [word for table in self.tables for word in ("--table", table)]

    @property
    def keys(self) -> set[Key]:
        """The days of reports that it has to load, and the days of facts that it has to build."""
        tables = self.tables or (*REPORTS, *FACTS.values())
        return {(table, day) for table in tables for day in self.days}

    def __str__(self) -> str:
        return f"{self.days[0]}..{self.days[-1]} {' '.join(self.tables) or 'all'}"


@dataclass
class Loads:
    """The loads of a test, what they were asked for, and what was seen to be wrong."""

    project: Project
    sandbox: Sandbox
    random: Random
    asked: set[Key] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    version: int = 0

    def one(self) -> None:
        """A load with its accidents; one that had not begun when it was killed is asked for again, in peace."""
        load = self._choose()
        self._change_world(load)
        self._lay_faults()
        before, began = self._waiting(), datetime.now(UTC)
        code = self.project.load(load.arguments, self._choose_kills())
        self.sandbox.faults.clear()
        self.counts[f"exit code {code}"] += 1
        self.project.tend()
        loaded = self._loaded_since(began)
        # The commit that loads a day of a report notes the day of its facts, which may be built by now.
        built = {(FACTS[table], day) for table, day in loaded if table in FACTS}
        noted = load.keys & (self._waiting() | loaded | built)
        if code == 0 and not {key for key in load.keys if key[0] in REPORTS} <= noted:
            self.problems.append(f"{load}: done, but neither loaded nor waiting: {sorted(load.keys - noted)}")
        elif code != 0 and not load.keys <= noted:
            if not noted <= before:
                self.problems.append(f"{load}: a part of it waits or is loaded: {sorted(noted)}")
            self.counts["asked again"] += 1
            while (code := self.project.load(load.arguments, [])) != 0:
                self.counts[f"exit code {code} in peace"] += 1
                assert self.counts[f"exit code {code} in peace"] < 10, self.project.said()
        self.asked |= load.keys
        # The star follows its report.
        self.asked |= {(FACTS[table], day) for table, day in load.keys if table in FACTS}
        self.problems += [f"{load}: {problem}" for problem in self.inconsistencies()]

    def _choose(self) -> Load:
        begin = self.random.choice(days_between(FIRST, LAST - timedelta(days=4)))
        days = days_between(begin, begin + timedelta(days=self.random.randint(0, 4)))
        return Load(self.random.choice(CHOICES), days)

    def _choose_kills(self) -> list[tuple[float, str]]:
        number = self.random.choice([0, 1, 1, 2])
        kills = sorted((self.random.uniform(0.5, 15), self.random.choice(VICTIMS)) for _ in range(number))
        self.counts.update(victim for _, victim in kills)
        return kills

    def _lay_faults(self) -> None:
        for _ in range(self.random.choice([0, 0, 1, 2])):
            kind: Any = self.random.choice(
                ["http_status", "error", "broken_body", "truncated_body", "closed_early", "reset", "slow_answer",
                 "slow_body"]
            )  # fmt: skip
            status = self.random.choice([500, 502, 503, 504])
            fault = Fault(kind=kind, after=self.random.randint(0, 8), status=status, seconds=self.random.uniform(0, 3))
            self.sandbox.faults.add(fault)
            self.counts["faults"] += 1

    def _change_world(self, load: Load) -> None:
        """Calls of the days change, one arrives and one vanishes: what an older load read is not enough."""
        if not {"calls_report", ()} & {load.tables, *load.tables}:
            return
        self.version += 1
        world = self.sandbox.world
        for day in load.days:
            calls = self._calls(day)
            for call in calls:
                world.change("get.calls_report", call["id"], {"talk_duration": self.version})
            if self.random.random() < 0.3:
                world.add("get.calls_report", calls[0] | {"id": 10**9 + self.version * 100 + day.day})
            if self.random.random() < 0.3 and len(calls) > 5:
                world.delete("get.calls_report", self.random.choice(calls)["id"])

    def _calls(self, day: date) -> list[dict[str, Any]]:
        return self.sandbox.world.rows("get.calls_report", f"{day} 00:00:00", f"{day} 23:59:59")

    def _waiting(self) -> set[Key]:
        rows = self.project.query("select table_name, day from comagic_ops.waiting_days where day <= %s", LAST)
        return {(row["table_name"], row["day"]) for row in rows}

    def _loaded_since(self, began: datetime) -> set[Key]:
        sql = "select table_name, day from comagic_ops.loaded_days where loaded_at >= %s"
        return {(row["table_name"], row["day"]) for row in self.project.query(sql, began)}

    def inconsistencies(self) -> Iterator[str]:
        """Keys that stand twice, and days whose rows are not those of the ledger, at one moment."""
        for report, reading in KINDS.items():
            counted = f"""with raw as (select event_date as day, count(*) as rows from comagic_raw.{report} group by 1),
                ledger as (select day, rows from comagic_ops.loaded_days where table_name = '{report}')
                select day, raw.rows as raw, ledger.rows as ledger from raw full join ledger using (day)
                where coalesce(raw.rows, 0) is distinct from ledger.rows"""
            yield from (f"{report}: {row}" for row in self.project.query(counted))
            kind = reading.kind
            for table, key in (
                (f"comagic_raw.{report}", reading.key),
                (f"comagic.{kind.dimension.name}", kind.key),
                (f"comagic.{kind.facts.name}", kind.owner),
            ):
                twice = f"select {key}, count(*) as rows from {table} group by 1 having count(*) > 1"
                yield from (f"{table}: {row} stands twice" for row in self.project.query(twice))

    def settle(self, progress: Progress) -> None:
        """Let `up` go on until nothing waits and no run is under way; pauses between tries are cut short."""

        def is_quiet() -> bool:
            self.project.query(
                "with due as (update comagic_ops.waiting_days set not_before = now() - interval '1 second'"
                " where not_before > now() and run_id is not null returning 1) select count(*) from due"
            )
            return not self._waiting() and not self._unfinished_runs()

        if not self.project.eventually(is_quiet, SETTLE):
            self.problems.append(f"still waiting: {sorted(self._waiting())}, runs {self._unfinished_runs()}")
        progress.say(f"settled; `up` began again {self.project.restarts} times")

    def _unfinished_runs(self) -> list[str]:
        with open_instance(self.project.config) as instance:
            runs = instance.get_runs(RunsFilter(statuses=list(UNFINISHED)))
        return [f"{run.run_id} {run.job_name} {run.status.value}" for run in runs]

    def compare(self) -> Iterator[str]:
        """What differs between the world, raw, star, ledger and Dagster."""
        asked = {table: {day for name, day in self.asked if name == table} for table in (*REPORTS, *FACTS.values())}
        with open_warehouse(self.project.config) as warehouse, open_instance(self.project.config) as instance:
            for report in REPORTS:
                days = asked[report]
                yield from (f"{report}: {each}" for each in self._compare_rows(warehouse, report, days))
                sql = "select day from comagic_ops.loaded_days where table_name = %s and day <= %s"
                ledger = {row["day"] for row in self.project.query(sql, report, LAST)}
                yield from _unequal_days(f"ledger of {report}", ledger, days)
            reports = {table: report for report, table in FACTS.items()}
            for table, days in asked.items():
                # Facts of a day whose report nobody loaded are taken back.
                days = days & asked[reports.get(table, table)]
                shown = {
                    date.fromisoformat(day) for day in instance.get_materialized_partitions(AssetKey(["main", table]))
                }
                yield from _unequal_days(f"green days of {table}", {day for day in shown if day <= LAST}, days)

    def _compare_rows(self, warehouse: Warehouse, report: str, days: set[date]) -> Iterator[str]:
        """Raw and star of a report against the rows that the world has on the days that were asked for.

        Other days have no line in the ledger, or are named by it.
        """
        reading, world = KINDS[report], self.sandbox.world
        expected = [row for day in days for row in api_rows(world, f"get.{report}", day, day)]
        found = [row for row in raw_rows(warehouse, report) if row["event_date"] in days]
        yield from (f"raw: {each}" for each in differences(found, expected))
        rows = [row for day in days for row in star_input(reading, world, MAIN, (day, day))]
        wanted, children = expect_facts_of(reading, rows), expect_children_of(reading, rows)
        with warehouse.connect() as connection:
            facts = facts_of(connection, reading.kind)
            facts = {key: row for key, row in facts.items() if row["full_date"].date() in days}
            built = children_of(connection, reading.kind)
        if facts != wanted:
            missing, extra = wanted.keys() - facts.keys(), facts.keys() - wanted.keys()
            wrong = [key for key in facts.keys() & wanted.keys() if facts[key] != wanted[key]]
            yield f"facts: {len(missing)} missing, {len(extra)} too many, {len(wrong)} wrong"
        for array, lines in children.items():
            mine = [line for line in built[array] if (line[1], line[0], line[2]) in wanted]
            if mine != lines:
                yield f"{array} of facts: {len(mine)} lines, {len(lines)} expected"

    def rows(self) -> int:
        """The rows of raw."""
        return sum(
            self.project.query(f"select count(*) as rows from comagic_raw.{name}")[0]["rows"] for name in REPORTS
        )


def _unequal_days(place: str, found: set[date], expected: set[date]) -> Iterator[str]:
    if extra := found - expected:
        yield f"{place}: {len(extra)} that nobody asked for: {', '.join(map(str, sorted(extra)))}"
    if missing := expected - found:
        yield f"{place}: {len(missing)} missing: {', '.join(map(str, sorted(missing)))}"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    """A project of its own, whose services run; about twelve calls a day in pages of twenty."""
    random = dice()
    for variable in (STORAGE_VARIABLE, "DAGSTER_HOME", "COMAGIC_STATE_FOLDER", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    world = World(calls_per_day=12, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    settings = Settings(minute_limit=10_000_000, day_limit=10_000_000, quirks=Quirks(short_pages=20))
    with open_folder() as folder, running_sandbox(world, settings) as sandbox:
        tables = ", ".join(FACTS.values())
        text = PROJECT.format(url=sandbox.url, token=SANDBOX_TOKEN, first=FIRST, tables=tables)
        config = written_project(folder, text)
        monkeypatch.setenv(CONFIG_VARIABLE, str(config.path))
        with Project(config, random) as project:
            yield Loads(project, sandbox, random)


def test_after_all_accidents_everything_is_as_if_there_had_been_none(loads: Loads) -> None:
    """No key twice and no torn day after any load; at the end exactly what was asked for, in all four places."""
    progress, total, longest = Progress(), rounds(), 0.0
    for number in range(1, total + 1):
        began = time.monotonic()
        loads.one()
        longest = max(longest, time.monotonic() - began)
        if number % 10 == 0 or number == total:
            counts = ", ".join(f"{name} {times}" for name, times in sorted(loads.counts.items()))
            progress.say(
                f"load {number}: {loads.rows()} rows of raw, {len(loads.asked)} days of tables asked for, longest"
                f" {longest:.0f} s; {counts}; {len(loads.problems)} problems"
            )
    loads.settle(progress)
    loads.problems += [*loads.inconsistencies(), *loads.compare()]
    progress.say(f"{loads.rows()} rows of raw, {len(loads.asked)} days of tables, {len(loads.problems)} problems")
    for problem in loads.problems:
        progress.say(problem)
    assert loads.problems == []
