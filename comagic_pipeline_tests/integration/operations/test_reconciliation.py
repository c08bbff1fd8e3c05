"""Reconciliation: what differs between warehouse and API is found, told by day, healed, and costs hardly a point.

Which days differ is known from the changes that a test makes to the sandbox's world.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    DagsterInstance,
    ExecuteInProcessResult,
    build_schedule_context,
    build_sensor_context,
)
from rich.console import Console

from comagic_pipeline.cli import reconcile as command
from comagic_pipeline.cli.journal import Wanted, latest
from comagic_pipeline.cli.load import points_spent_until
from comagic_pipeline.config import Config, ConfigError
from comagic_pipeline.dagster.automation.healing import HEALS, Healing, next_healing
from comagic_pipeline.dagster.checks import equals_api
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.translations import text_in
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import (
    Row,
    api_rows,
    differences,
    query,
    raw_rows,
)
from comagic_pipeline_tests.integration.runs import failures, run_load

CALLS = "get.calls_report"
FIRST, LAST = date(2026, 3, 2), date(2026, 4, 30)
"""60 days, all over by the world's clock."""
DAYS = [FIRST + timedelta(days=number) for number in range(60)]
TAGS = [{"tag_id": number, "tag_name": f"tag {number}", "tag_type": "manual"} for number in (501, 502, 503)]


@dataclass
class Account:
    """A configured source, the sandbox that it asks, and the warehouse."""

    config: Config
    sandbox: Sandbox
    warehouse: Warehouse
    instance: DagsterInstance

    def load(self, first_day: date = FIRST, last_day: date = LAST, *tables: str) -> None:
        result = run_load(self.config, self.instance, first_day, last_day, *tables)
        assert result.success, failures(result)

    def reconcile(
        self, mode: str, first_day: date = FIRST, last_day: date = LAST, table: str = "calls_report"
    ) -> ExecuteInProcessResult:
        """Run the check of a report for days, both included."""
        tags = {RANGE_START: str(first_day), RANGE_END: str(last_day), equals_api.MODE: mode}
        return self.run_checks([table], tags)

    def run_checks(self, tables: list[str], tags: dict[str, str]) -> ExecuteInProcessResult:
        keys = {AssetCheckKey(AssetKey(["main", table]), equals_api.NAME) for table in tables}
        result = (
            build_definitions(self.config)
            .resolve_job_def("reconcile_main")
            .get_subset(asset_selection=set(), asset_check_selection=keys)
            .execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=self.instance,
                tags=tags,
                raise_on_error=False,
            )
        )
        assert result.success, failures(result)
        return result

    def launch(self, **words: Any) -> ExecuteInProcessResult:
        """Run the whole job with what somebody wrote into the Launchpad, for the first three days."""
        values = {"first_day": str(FIRST), "last_day": str(DAYS[2]), "mode": "full"} | words
        return (
            build_definitions(self.config)
            .resolve_job_def("reconcile_main")
            .execute_in_process(
                run_config={
                    "ops": {"main__equals_api": {"config": values}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                instance=self.instance,
                raise_on_error=False,
            )
        )

    def asked(self) -> list[str]:
        """The methods that were asked for since this was last looked at, each once, in the order of requests."""
        methods = list(dict.fromkeys(request.method for request in self.sandbox.requests))
        self.sandbox.requests.clear()
        return methods

    def compared(self, run_id: str) -> list[tuple[str, str]]:
        """The lines of the journal that a run left: what became of which report."""
        sql = "select event, table_name from comagic_ops.journal where run_id = :run_id order by id"
        return [(line["event"], line["table_name"]) for line in query(self.warehouse, sql, run_id=run_id)]

    def different(self, table: str = "calls_report") -> list[date]:
        """The days that the books call different."""
        lines = query(
            self.warehouse,
            "select day from comagic_ops.reconciled_days where table_name = :table and not is_equal order by day",
            table=table,
        )
        return [line["day"] for line in lines]

    def spent(self) -> int:
        """The points charged since this was last asked."""
        points = sum(request.points for request in self.sandbox.requests)
        self.sandbox.requests.clear()
        return points

    def calls(self) -> list[Row]:
        return api_rows(self.sandbox.world, CALLS, FIRST, LAST)

    def change(self, call: Row, **columns: Any) -> None:
        self.sandbox.world.change(CALLS, call["id"], columns)


OpenAccount = Callable[..., Account]


@pytest.fixture
def open_account(project: Callable[..., Config], warehouse: Warehouse) -> Iterator[OpenAccount]:
    """Starts a sandbox and configures a source of it; keywords are of the source."""
    with ExitStack() as stack:
        instance = stack.enter_context(DagsterInstance.ephemeral())

        def start(calls_per_day: int = 12, settings: Settings | None = None, **source: Any) -> Account:
            world = World(calls_per_day=calls_per_day, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
            sandbox = stack.enter_context(running_sandbox(world, settings or Settings(minute_limit=10_000)))
            values = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "day_points": "{reserve: 0}"} | source
            return Account(project(**values), sandbox, warehouse, instance)

        yield start


def evaluations(instance: DagsterInstance, table: str = "calls_report") -> dict[str, Any]:
    """The latest result of each day, as the instance has it."""
    key = AssetCheckKey(AssetKey(["main", table]), equals_api.NAME)
    found: dict[str, Any] = {}
    for record in reversed(instance.event_log_storage.get_asset_check_execution_history(key, limit=10_000)):
        evaluation = record.evaluation
        if isinstance(evaluation, AssetCheckEvaluation):
            found[str(evaluation.partition)] = evaluation
    return found


def test_five_hundred_changes_are_found_and_healed(open_account: OpenAccount) -> None:
    """Durations, tags, campaigns, sources, calls that go and calls that come: each day concerned, and no other."""
    dice = random.Random("changes")
    account = open_account(15, reconciliation="{heal_days: 20}")
    account.load()
    assert account.spent() > 0
    account.reconcile("full")
    assert account.different() == []
    calls = account.calls()
    by_day: dict[str, list[Row]] = defaultdict(list)
    for call in calls:
        by_day[call["event_date"]].append(call)
    concerned = set(dice.sample(sorted(by_day), 47))
    pool = [call for day in concerned for call in by_day[day]]
    dice.shuffle(pool)
    campaigns = [row["id"] for row in account.sandbox.world.rows("get.campaigns")]
    touched: set[str] = set()
    for number in range(500):
        call = pool[number]
        others = [tag for tag in TAGS if tag["tag_id"] not in {each.get("tag_id") for each in call["tags"] or []}]
        match number % 7:
            case 0:
                account.change(call, talk_duration=(call["talk_duration"] or 0) + dice.randint(1, 99))
            case 1:
                account.change(call, wait_duration=(call["wait_duration"] or 0) + dice.randint(1, 99))
            case 2:
                account.change(call, tags=[*(call["tags"] or []), dice.choice(others)])
            case 3:
                account.change(call, tags=[] if call["tags"] else [dice.choice(others)])
            case 4:
                account.change(call, campaign_id=dice.choice([one for one in campaigns if one != call["campaign_id"]]))
            case 5:
                account.change(call, source="another" if call["source"] != "another" else "one more")
            case 6 if number % 2:
                account.sandbox.world.delete(CALLS, call["id"])
            case _:
                account.sandbox.world.add(CALLS, call | {"id": 9_000_000_000 + number})
        touched.add(call["event_date"])
    account.spent()
    result = account.reconcile("full")
    assert account.spent() == 1
    assert {str(day) for day in account.different()} == touched
    shown = evaluations(account.instance)
    assert {day for day, each in shown.items() if not each.passed} == touched
    assert shown.keys() == {str(day) for day in DAYS}
    lines = query(account.warehouse, "select distinct layer, grain, measure from comagic_ops.reconciliation")
    assert {(line["layer"], line["grain"]) for line in lines} == {
        (layer, grain) for layer in ("raw", "star") for grain in ("day", "group")
    }
    assert result.success
    heal_all(account)
    assert account.different() == []
    assert differences(raw_rows(account.warehouse, "calls_report"), account.calls()) == []
    account.spent()
    account.reconcile("quick")
    assert account.spent() == 3
    assert account.different() == []
    assert all(each.passed for each in evaluations(account.instance).values())


def heal_all(account: Account, most: int = 40) -> None:
    """Run what the sensor asks for until it asks for nothing more, as on days that follow each other."""
    source = account.config.sources[0]
    now = datetime.now(UTC)
    for _ in range(most):
        now += timedelta(days=1)
        found = next_healing(source, account.instance, account.warehouse, now)
        if isinstance(found, str):
            return
        request = found.request("continue_main", "reconcile_main")
        if found.is_load:
            (report, *star) = [key.path[-1] for key in request.asset_selection or ()]
            assert (found.last_day - found.first_day).days < source.reconciliation.heal_days
            account.load(found.first_day, found.last_day, report, *star)
        else:
            account.run_checks([found.table], {name: tag for name, tag in request.tags.items() if name != HEALS})
    raise AssertionError("it does not come to an end")


def test_quick_costs_two_points_when_nothing_differs(open_account: OpenAccount) -> None:
    """Thirty days, and sixty: a request for each half; the first asks about date_till; `sampled` reads some days."""
    account = open_account()
    account.load()
    account.spent()
    for first_day, mode, points in ((DAYS[30], "quick", 3), (FIRST, "quick", 2), (FIRST, "sampled", 3)):
        account.reconcile(mode, first_day)
        assert account.spent() == points, mode
    assert account.different() == []
    assert len(evaluations(account.instance)) == 60


def test_rows_of_another_number_are_looked_for_where_they_are(open_account: OpenAccount) -> None:
    """A late row: found by `quick` among many pages by counting halves, where reading all days would cost more."""
    settings = Settings(minute_limit=10_000)
    account = open_account(10, settings)
    account.load()
    call = account.calls()[100]
    account.sandbox.world.add(CALLS, call | {"id": 77})
    account.spent()
    account.reconcile("quick")
    assert [str(day) for day in account.different()] == [call["event_date"]]
    assert account.spent() == 4
    with account.warehouse.connect() as connection:
        found = connection.exec_driver_sql(
            "select layer, grain, measure, in_warehouse, in_api, difference from comagic_ops.reconciliation"
            " where grain = 'day' and measure = 'calls' order by layer"
        ).all()
    shown = "select simple_date, is_equal, calls_difference from comagic.mart_reconciliation where not is_equal"
    assert query(account.warehouse, shown) == [
        {"simple_date": date.fromisoformat(call["event_date"]), "is_equal": False, "calls_difference": -1}
    ]
    of_day = sum(each["event_date"] == call["event_date"] for each in account.calls())
    expected = [(layer, "day", "calls", of_day - 1, of_day, -1) for layer in ("raw", "star")]
    assert [tuple(line) for line in found] == expected


@pytest.mark.parametrize("is_inclusive", [True, False])
def test_vanished_rows_are_no_last_second(open_account: OpenAccount, is_inclusive: bool) -> None:
    """`quick` called a period equal when as many calls vanished as stand in its last second.

    It asks once whether `date_till` belongs to the period, for a point, and keeps that.
    """
    account = open_account(5, Settings(minute_limit=10_000, date_till_inclusive=is_inclusive))
    last_day = DAYS[5]
    first = account.calls()[0]
    for number in range(2):
        moment = f"{last_day} 23:59:59"
        account.sandbox.world.add(CALLS, first | {"id": 8_000_000_000 + number, "start_time": moment})
    account.load(FIRST, last_day)
    account.spent()
    account.reconcile("quick", FIRST, last_day)
    assert (account.different(), account.spent()) == ([], 3)
    kept = query(account.warehouse, "select account_id, is_inclusive from comagic_ops.date_till")
    assert kept == [{"account_id": 1, "is_inclusive": is_inclusive}]
    account.reconcile("quick", FIRST, last_day)
    assert (account.different(), account.spent()) == ([], 2)
    for day in (DAYS[4], DAYS[5]):
        (gone, *_) = [call for call in account.calls() if call["event_date"] == str(day)]
        account.sandbox.world.delete(CALLS, gone["id"])
    account.reconcile("quick", FIRST, last_day)
    assert account.different() == [DAYS[4], DAYS[5]]


def test_rows_that_even_out_over_a_window(open_account: OpenAccount) -> None:
    """As many calls vanished as came in other weeks: the number of the window was right, its halves are not."""
    account = open_account(5)
    account.load()
    calls = account.calls()
    account.sandbox.world.delete(CALLS, calls[0]["id"])
    account.sandbox.world.add(CALLS, calls[-1] | {"id": 8_000_000_000})
    account.reconcile("quick")
    assert [str(day) for day in account.different()] == [calls[0]["event_date"], calls[-1]["event_date"]]


def test_rejected_rows_are_missing(open_account: OpenAccount) -> None:
    """Case 17: days said "none differ" though a call that cannot be stored is missing."""
    account = open_account(5)
    call = account.calls()[0]
    account.load(FIRST, DAYS[5])
    # As a load leaves it: the API counted the call, raw has not got it.
    with account.warehouse.begin() as connection:
        connection.exec_driver_sql(
            "insert into comagic_ops.rejected_rows"
            " (account_id, customer_user_id, table_name, event_date, row_key, value, reason, loaded_at)"
            f" values (1, 0, 'calls_report', '{call['event_date']}', 'abc', '{{}}', 'no id', now())"
        )
    account.reconcile("quick", FIRST, DAYS[5])
    assert [str(day) for day in account.different()] == [call["event_date"]]
    (line,) = query(account.warehouse, "select grain, row_key, in_warehouse, in_api from comagic_ops.reconciliation")
    assert line == {"grain": "row", "row_key": "abc", "in_warehouse": None, "in_api": 1}
    assert "1 rows could not be stored" in str(evaluations(account.instance)[call["event_date"]].description)


def test_what_counts_cannot_tell_is_found_in_turn(open_account: OpenAccount) -> None:
    """A changed duration: `quick` cannot see it, `sampled` comes to its day within six days."""
    account = open_account(3)
    account.load()
    call = account.calls()[90]
    account.change(call, talk_duration=4711)
    account.reconcile("quick")
    assert account.different() == []
    from comagic_pipeline.operations.reconciler import Reconciler

    seen = set()
    for turn in range(6):
        days = Reconciler._in_turn(None, DAYS, turn)  # type: ignore[arg-type]
        seen |= days
        assert len(days) == 10
    assert seen == set(DAYS)
    account.reconcile("full")
    assert [str(day) for day in account.different()] == [call["event_date"]]


def test_a_filtered_load_is_compared_with_its_own_filter(open_account: OpenAccount) -> None:
    """Rows that are not wanted are no difference, whether the API or we sort them out; others still are."""
    account = open_account(5, filters="{calls_report: \"direction = 'in' and tags is null or talk_duration > 60\"}")
    account.load()
    account.spent()
    account.reconcile("quick")
    assert account.spent() == 3
    account.reconcile("full")
    assert account.different() == []
    wanted = next(call for call in account.calls() if (call["talk_duration"] or 0) > 60)
    account.change(wanted, talk_duration=61 if wanted["talk_duration"] != 61 else 62)
    account.reconcile("full")
    assert [str(day) for day in account.different()] == [wanted["event_date"]]


def test_the_star_is_compared_too(open_account: OpenAccount) -> None:
    """A fact that is wrong in the star alone is found, by `quick` too, at no further point."""
    account = open_account(5)
    account.load(FIRST, DAYS[9])
    with account.warehouse.begin() as connection:
        connection.exec_driver_sql(
            "update comagic.comagic_calls_facts set talk_duration = talk_duration + 5 where id = (select min(id) from"
            " comagic.comagic_calls_facts)"
        )
    account.spent()
    account.reconcile("quick", FIRST, DAYS[9])
    assert account.spent() == 3
    (line,) = query(
        account.warehouse, "select layer, measure, difference from comagic_ops.reconciliation where grain = 'day'"
    )
    assert line == {"layer": "star", "measure": "talking", "difference": 5}
    heal_all(account)
    print(
        query(account.warehouse, "select * from comagic_ops.reconciliation"),
        query(account.warehouse, "select * from comagic_ops.reconciled_days where not is_equal"),
    )
    assert account.different() == []


def test_other_reports_are_compared_row_by_row(open_account: OpenAccount) -> None:
    """A value that changed, a row that is gone, a row that came: by their keys."""
    account = open_account(10, tables="[goals_report, campaign_daily_stat, employee_stat, visitor_sessions_report]")
    account.load(FIRST, DAYS[4])
    for table in ("goals_report", "visitor_sessions_report", "campaign_daily_stat", "employee_stat"):
        account.reconcile("full", FIRST, DAYS[4], table)
        assert account.different(table) == [], table
        assert set(evaluations(account.instance, table)) == {str(day) for day in DAYS[:5]}
    goals = api_rows(account.sandbox.world, "get.goals_report", FIRST, DAYS[4])
    changed, gone = goals[0], goals[-1]
    account.sandbox.world.change("get.goals_report", changed["communication_id"], {"name": "another"})
    account.sandbox.world.delete("get.goals_report", gone["communication_id"])
    account.reconcile("full", FIRST, DAYS[4], "goals_report")
    lines = query(
        account.warehouse, "select day, row_key, measure, in_warehouse, in_api from comagic_ops.reconciliation"
    )
    assert {(str(line["day"]), line["row_key"], line["measure"]) for line in lines} == {
        (changed["event_date"], str(changed["communication_id"]), "values"),
        (gone["event_date"], str(gone["communication_id"]), "rows"),
    }
    heal_all(account)
    assert account.different("goals_report") == []


def test_what_two_loads_do_not_mend_is_left_to_a_person(open_account: OpenAccount) -> None:
    """A day that differs whatever is loaded is loaded twice, no more; the limit of a day's healing is kept."""
    account = open_account(5, reconciliation="{heal_days: 3}")
    account.load(FIRST, DAYS[9])
    source = account.config.sources[0]

    def spoil(days: list[date]) -> None:
        with account.warehouse.begin() as connection:
            connection.exec_driver_sql(
                "update comagic_raw.calls_report set talk_duration = coalesce(talk_duration, 0) + 1 where event_date"
                f" in ({', '.join(repr(str(day)) for day in days)})"
            )

    spoil(DAYS[:5])
    account.reconcile("full", FIRST, DAYS[9])
    assert account.different() == DAYS[:5]
    now = datetime.now(UTC)
    first = next_healing(source, account.instance, account.warehouse, now)
    assert isinstance(first, Healing)
    assert (first.first_day, first.last_day, first.is_load) == (DAYS[2], DAYS[4], True)
    told = next_healing(source, account.instance, account.warehouse, now)
    assert told == "2 days differ; 3 days were loaded again today, more wait"
    # What is loaded differs again each time: after two loads it is left alone, the other days are not.
    last = [DAYS[4]]
    for tries in (1, 2):
        (line,) = query(
            account.warehouse, "select heal_tries from comagic_ops.reconciled_days where day = '2026-03-06'"
        )
        assert line["heal_tries"] == tries
        account.load(DAYS[2], DAYS[4], "calls_report")
        spoil(last)
        account.reconcile("full", FIRST, DAYS[9])
        assert account.different() == [FIRST, DAYS[1], *last]
        now += timedelta(days=1)
        found = next_healing(source, account.instance, account.warehouse, now)
        assert isinstance(found, Healing)
        assert (found.first_day, found.last_day) == ((DAYS[4], DAYS[4]) if tries == 1 else (FIRST, DAYS[1]))


def test_the_schedule_and_the_sensor_ask_for_it(open_account: OpenAccount) -> None:
    """Every morning the reports of the configuration; the sensor begins the run that mends what differs."""
    account = open_account(5, tables="[comagic_calls_facts, goals_report]")
    repository = build_definitions(account.config).get_repository_def()
    schedule = repository.get_schedule_def("reconcile_main_schedule")
    moment = datetime.fromisoformat("2026-03-09T06:00:00+03:00")
    with build_schedule_context(account.instance, scheduled_execution_time=moment) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert {key.asset_key.path[-1] for key in request.asset_check_keys or ()} == {"calls_report"}
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("2026-02-07", "2026-03-08")
    account.load(FIRST, DAYS[2])
    account.change(account.calls()[0], talk_duration=4711)
    account.reconcile("full", FIRST, DAYS[2])
    sensor = repository.get_sensor_def("heal_main")
    with build_sensor_context(account.instance, repository_def=repository) as sensor_context:
        data = sensor.evaluate_tick(sensor_context)
    (run,) = data.run_requests or []
    assert run.job_name == "continue_main"
    assert (
        run.tags["dagster/asset_partition_range_start"] == run.tags["dagster/asset_partition_range_end"] == str(FIRST)
    )
    assert {key.path[-1] for key in run.asset_selection or ()} >= {"calls_report", "comagic_calls_facts"}


def test_customers_of_an_agent_are_compared_together(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """Each is asked for, raw and star hold the sum of all."""
    world = World(calls_per_day=5, customers=3, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox, DagsterInstance.ephemeral() as instance:
        source = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "user_ids": "all", "day_points": "{reserve: 0}"}
        account = Account(project(**source), sandbox, warehouse, instance)
        account.load(FIRST, DAYS[3])
        for mode, points in (("quick", 7), ("full", 3)):
            account.spent()
            account.reconcile(mode, FIRST, DAYS[3])
            assert account.spent() == points
            assert account.different() == []
        customer = next(iter(world.customers.values()))
        call = api_rows(customer, CALLS, FIRST, DAYS[3])[0]
        customer.change(CALLS, call["id"], {"wait_duration": 999})
        account.reconcile("full", FIRST, DAYS[3])
        assert [str(day) for day in account.different()] == [call["event_date"]]


REPORTS = ("calls_report", "chats_report", "goals_report")


def load_reports(open_account: OpenAccount, **source: Any) -> Account:
    """Three days of three reports, of which the configuration compares the calls."""
    account = open_account(5, tables=f"[{', '.join(REPORTS)}]", **source)
    account.load(FIRST, DAYS[2])
    account.asked()
    return account


def test_the_launchpad_names_reports_and_one_period(open_account: OpenAccount) -> None:
    """The Launchpad asked for the days of each report, and reports that nobody named were compared too, for points."""
    account = load_reports(open_account)
    assert [node.name for node in build_definitions(account.config).resolve_job_def("reconcile_main").nodes] == [
        "main__equals_api"
    ]
    result = account.launch(tables=["goals_report", "chats_report"], last_day=str(DAYS[1]))
    assert result.success
    assert account.compared(result.run_id) == [("done", f"equals_api {name}") for name in REPORTS[1:]]
    assert account.asked() == ["get.chats_report", "get.goals_report"]
    days = {str(day) for day in DAYS[:2]}
    shown = {table: evaluations(account.instance, table) for table in REPORTS}
    assert {table: set(of_table) for table, of_table in shown.items()} == {
        "calls_report": set(),
        "chats_report": days,
        "goals_report": days,
    }
    assert all(each.passed for of_table in shown.values() for each in of_table.values())
    # The whole job: what the configuration says.
    assert account.launch().success
    assert account.asked() == ["get.calls_report"]
    assert set(evaluations(account.instance)) == {str(day) for day in DAYS[:3]}
    # Checks that are selected: those, whatever the configuration says.
    account.reconcile("full", FIRST, DAYS[2], "goals_report")
    assert account.asked() == ["get.goals_report"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            {"tables": ["goals_report", "chat_report", "tags"]},
            "tables: 'chat_report' is not among the reports of the source main; did you mean 'chats_report'?; "
            "tables: 'tags' is not among the reports of the source main: calls_report, chats_report, goals_report",
        ),
        ({"first_day": "02.03.2026"}, "first_day: '02.03.2026' is no date; write it as YYYY-MM-DD"),
        ({"first_day": "2026-03-05"}, "first_day 2026-03-05 is later than last_day 2026-03-04: swap them"),
        ({"first_day": "2020-01-01"}, "first_day 2020-01-01 is before start_date 2026-01-01 of the source main"),
        ({"mode": "fast", "last_day": "x"}, "mode: 'fast' is none of quick, sampled, full; last_day: 'x' is no date"),
    ],
)
def test_wrong_words_in_the_launchpad_are_one_clear_line(
    words: dict[str, Any], said: str, open_account: OpenAccount
) -> None:
    """Nothing is asked, nothing is noted."""
    account = open_account(5, tables=f"[{', '.join(REPORTS)}]")
    result = account.launch(**words)
    (told,) = failures(result)
    assert told.startswith(f"equals_api: {said}")
    assert account.asked() == []
    assert account.compared(result.run_id) == []


def test_a_custom_report_may_be_called_like_the_check(project: Callable[..., Config]) -> None:
    """Its step has another name than that of the checks."""
    report = {"name": "equals api", "report": "calls_report", "fields": ["id"]}
    config = project(json.dumps([report]), base_url="sandbox", token=SANDBOX_TOKEN)
    steps = {node.name for node in build_definitions(config).resolve_job_def("report_main__equals_api").nodes}
    assert "main_equals_api" in steps
    assert equals_api.step_name(config.sources[0]) == "main__equals_api"


def test_the_configuration_may_compare_what_is_not_loaded(open_account: OpenAccount) -> None:
    """The whole job names what to write into `tables` then; a check that is selected is compared all the same."""
    account = open_account(5, tables="[goals_report, chats_report]")
    account.load(FIRST, DAYS[2])
    (told,) = failures(account.launch())
    assert told == "equals_api: tables: main loads none of calls_report; name some of chats_report, goals_report"
    account.reconcile("full", FIRST, DAYS[2], "goals_report")
    assert len(evaluations(account.instance, "goals_report")) == 3


def test_a_report_that_fails_leaves_the_others_compared(open_account: OpenAccount) -> None:
    """Each has its line in the journal; the run fails at its end and says why."""
    account = load_reports(open_account)
    account.sandbox.settings.refused_methods = {"get.chats_report": "forbidden"}
    result = account.launch(tables=list(REPORTS))
    (told,) = failures(result)
    assert told.startswith("main/equals_api chats_report 2026-03-02 to 2026-03-04: ")
    assert account.compared(result.run_id) == [
        ("done", "equals_api calls_report"),
        ("failed", "equals_api chats_report"),
        ("done", "equals_api goals_report"),
    ]
    assert [len(evaluations(account.instance, table)) for table in REPORTS] == [3, 0, 3]
    account.sandbox.settings.refused_methods["get.calls_report"] = "forbidden"
    (both,) = failures(account.launch(tables=list(REPORTS)))
    assert both.startswith("2 of 3 reports could not be compared: main/equals_api calls_report 2026-03-02 to ")
    assert "; main/equals_api chats_report 2026-03-02 to " in both


def test_no_points_left_ends_the_comparison(open_account: OpenAccount) -> None:
    """The other reports have no points either: they are not asked for, and what was compared stays."""
    account = load_reports(open_account)
    account.sandbox.settings.day_limit = account.sandbox.points_spent + 1
    result = account.launch(tables=list(REPORTS))
    assert points_spent_until(result) is not None
    assert account.compared(result.run_id) == [
        ("done", "equals_api calls_report"),
        ("failed", "equals_api chats_report"),
    ]
    assert [len(evaluations(account.instance, table)) for table in REPORTS] == [3, 0, 0]
    assert account.spent() == 1


def test_metadata_name_what_differs(open_account: OpenAccount) -> None:
    """A red day shows its groups with both values, and a sentence with what to do."""
    account = open_account(5)
    account.load(FIRST, DAYS[1])
    call = account.calls()[0]
    account.change(call, talk_duration=(call["talk_duration"] or 0) + 7)
    account.reconcile("full", FIRST, DAYS[1])
    red = evaluations(account.instance)[call["event_date"]]
    assert red.description.startswith(f"{call['event_date']} is not what CoMagic says: raw talking ")
    table = red.metadata["what"].value
    rows = [json.loads(json.dumps(record.data)) for record in table.records]
    assert {row["campaign_id"] for row in rows if row["grain"] == "group"} == {str(call["campaign_id"] or 0)}
    assert red.target_materialization_data is not None
    # What the page of the check shows: a state for each day.
    key = AssetCheckKey(AssetKey(["main", "calls_report"]), equals_api.NAME)
    states = account.instance.event_log_storage.get_asset_check_partition_info([key])
    assert {each.partition_key: each.latest_execution_status.value for each in states} == {
        str(day): "FAILED" if str(day) == call["event_date"] else "SUCCEEDED" for day in DAYS[:2]
    }


def test_the_command_compares_heals_and_compares_again(open_account: OpenAccount) -> None:
    """`reconcile` says what differs and exits with 1; with --heal it loads those days, and then all is equal."""
    account = open_account(5)
    account.load(FIRST, DAYS[9])
    source, console = account.config.sources[0], Console(quiet=True)
    call = account.calls()[0]
    account.change(call, talk_duration=4711)
    account.sandbox.world.delete(CALLS, account.calls()[30]["id"])
    period = (FIRST, DAYS[9])
    account.spent()
    found = command.reconcile(account.config, source, period, (), "full", console, heals=False)
    assert (found.exit_code, found.points) == (1, account.spent())
    assert found.different == {"calls_report": account.different()}
    assert call["event_date"] in map(str, account.different())
    assert len(account.different()) == 2
    # The line read "done", with no message, and did not come with those that a person should look at.
    wanted = Wanted(10, event="failed")
    (line,) = latest(account.config, wanted)
    assert (line.event, line.table_name) == ("different", "equals_api calls_report")
    assert line.message is not None
    assert line.message.startswith("2 days differ from what CoMagic says: ")
    assert all(f"{day} (" in line.message for day in account.different())
    assert (text_in("ru", line.message) or "").startswith("дней с расхождениями: 2: ")
    healed = command.reconcile(account.config, source, period, (), "full", console, heals=True)
    assert (healed.exit_code, healed.different) == (0, {})
    assert healed.healed == found.different
    assert healed.compared == {"calls_report": 10}
    assert healed.points == account.spent()
    assert (
        differences(raw_rows(account.warehouse, "calls_report"), api_rows(account.sandbox.world, CALLS, *period)) == []
    )
    with pytest.raises(ConfigError, match="--table tags: not among the reports of the source main: calls_report"):
        command.reconcile(account.config, source, period, ("tags",), "full", console, heals=False)
