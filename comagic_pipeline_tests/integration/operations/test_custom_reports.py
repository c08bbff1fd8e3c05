"""Custom reports: what their tables hold equals what the API has, field by field, item by item, at no point too many.

What is expected is taken from the sandbox's world, compared by its looks: no catalog, no decoder, no path of ours.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import yaml
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult

from comagic_pipeline.config import Config
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START, report_job_name
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import (
    Row,
    api_rows,
    differences,
    journal,
    query,
)
from comagic_pipeline_tests.integration.runs import failures, materialized, run_load

FIRST, LAST = date(2026, 3, 30), date(2026, 4, 2)
"""Four days in two months, long over by the world's clock."""

ARRAYS = {
    "calls_report": ("tags", "employees", "segments", "attributes", "visitor_custom_properties", "call_records"),
    "call_legs_report": ("call_records",),
    "visitor_sessions_report": ("hits", "segments", "communications", "visitor_custom_properties"),
    "chats_report": ("tags", "segments", "attributes", "visitor_ids"),
    "offline_messages_report": ("tags", "segments", "attributes"),
    "communications_report": ("tags", "segments", "attributes", "visitor_custom_properties"),
    "goals_report": ("tags", "segments", "attributes"),
}
"""The arrays of the seven reports."""
KEYS = {"communications_report": ("communication_type", "id"), "goals_report": ("communication_id",)}
"""What tells their rows apart, where that is not id."""
SEVEN = tuple(ARRAYS)
each_report = pytest.mark.parametrize("report", SEVEN)


def key_of(report: str) -> tuple[str, ...]:
    return KEYS.get(report, ("id",))


@dataclass
class Account:
    """A configured source with custom reports, the sandbox that it asks, and the warehouse."""

    config: Config
    sandbox: Sandbox
    warehouse: Warehouse
    instance: DagsterInstance

    def report(self, name: str) -> CustomReport:
        return next(report for report in self.config.sources[0].custom_reports if report.name == name)

    def run(self, name: str, first_day: date = FIRST, last_day: date = LAST, **tags: str) -> ExecuteInProcessResult:
        """Run the job of a report for days, both included."""
        source = self.config.sources[0]
        return (
            build_definitions(self.config)
            .resolve_job_def(report_job_name(source, self.report(name)))
            .execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=self.instance,
                tags={RANGE_START: str(first_day), RANGE_END: str(last_day)} | tags,
                raise_on_error=False,
            )
        )

    def api(self, report: str, first_day: date = FIRST, last_day: date = LAST) -> list[Row]:
        """What the API has, with the day of each row as `event_date`."""
        return api_rows(self.sandbox.world, f"get.{report}", first_day, last_day)

    def json_rows(self, name: str) -> list[Row]:
        """The rows of a report in comagic_reports, decoded, with their day."""
        lines = query(
            self.warehouse,
            "select simple_date, row_data from comagic.comagic_reports where processor_id = :id",
            id=self.report(name).processor_id,
        )
        return [json.loads(line["row_data"]) | {"event_date": line["simple_date"]} for line in lines]

    def rows(self, table: str, columns: str = "*") -> list[Row]:
        """Rows of a table, without the pipeline's own columns but the day."""
        found = query(self.warehouse, f'select {columns} from comagic."{table}"')
        own = {"account_id", "customer_user_id", "processor_id", "loaded_at"}
        return [
            {"event_date" if name == "simple_date" else name: value for name, value in row.items() if name not in own}
            for row in found
        ]

    def contents(self) -> dict[str, list[str]]:
        """All rows of all tables of custom reports, ids included, but for when they were loaded."""
        tables = query(self.warehouse, "select distinct unnest(tables) as name from comagic_ops.custom_reports")
        sql = "select (to_jsonb(t) - 'loaded_at')::text as row from comagic.\"{}\" as t order by 1"
        return {
            each["name"]: [line["row"] for line in query(self.warehouse, sql.format(each["name"]))] for each in tables
        }

    def points(self) -> int:
        return sum(request.points for request in self.sandbox.requests)


def world(calls_per_day: int = 8, **options: Any) -> World:
    return World(calls_per_day=calls_per_day, now=lambda: datetime(2026, 6, 1, tzinfo=UTC), **options)


OpenAccount = Callable[..., Account]


@pytest.fixture
def open_account(project: Callable[..., Config], warehouse: Warehouse) -> Iterator[OpenAccount]:
    """Starts a sandbox and configures a source of it with custom reports; keywords are of the source."""
    with ExitStack() as stack:
        instance = stack.enter_context(DagsterInstance.ephemeral())

        def start(*reports: Row, of: World | None = None, settings: Settings | None = None, **source: Any) -> Account:
            sandbox = stack.enter_context(running_sandbox(of or world(), settings or Settings(minute_limit=10_000)))
            text = json.dumps(reports, ensure_ascii=False)
            source = {"day_points": "{reserve: 0}", "tables": "[campaigns]"} | source
            config = project(text, base_url=sandbox.url, token=SANDBOX_TOKEN, **source)
            return Account(config, sandbox, warehouse, instance)

        yield start


def changed(account: Account, project: Callable[..., Config], *reports: Row) -> Account:
    """The same account with other reports."""
    text = json.dumps(reports, ensure_ascii=False)
    config = project(
        text, base_url=account.sandbox.url, token=SANDBOX_TOKEN, tables="[campaigns]", day_points="{reserve: 0}"
    )
    return Account(config, account.sandbox, account.warehouse, account.instance)


def chosen(rows: Sequence[Row], fields: Sequence[str]) -> list[Row]:
    return [{name: row[name] for name in (*fields, "event_date")} for row in rows]


def items_of(report: str, rows: Sequence[Row], array: str) -> list[Row]:
    """The items of an array of rows, each with the key of its row and its number."""
    return [
        {"event_date": row["event_date"], "position": number}
        | {f"parent_{name}": row[name] for name in key_of(report)}
        | (item if isinstance(item, dict) else {"value": item})
        for row in rows
        for number, item in enumerate(row[array] or [], 1)
    ]


@each_report
def test_json_rows_and_tables_equal_the_api(report: str, open_account: OpenAccount) -> None:
    """All fields as JSON, all fields as a table, all items of all arrays as tables: the same rows as the API's."""
    fields = sorted(world().rows(f"get.{report}", f"{FIRST} 00:00:00", f"{FIRST} 23:59:59")[0])
    sample = world(60).rows(f"get.{report}", f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
    tables = []
    for array in ARRAYS[report]:
        item = next(item for row in sample for item in row[array] or [])
        columns = dict.fromkeys(item) if isinstance(item, dict) else {"value": {"path": "@"}}
        tables.append({"table": f"items_{array}", "rows": f"{array}[]", "columns": columns})
    account = open_account(
        {"name": "json", "report": report, "fields": fields},
        {"name": "auto", "report": report, "fields": "all", "structure": "auto"},
        {"name": "items", "report": report, "structure": tables},
        of=world(60),
    )
    api = account.api(report)
    assert len(api) > 20
    for name in ("json", "auto", "items"):
        assert account.run(name).success
        assert materialized(account.instance, name) == {FIRST + timedelta(days=number) for number in range(4)}
    assert differences(account.json_rows("json"), chosen(api, fields)) == []
    assert list(account.json_rows("json")[0])[:-1] == fields
    assert differences(account.rows(f"comagic_report_{account.report('auto').processor_id}"), api) == []
    for array in ARRAYS[report]:
        expected = items_of(report, api, array)
        assert expected, array
        assert differences(account.rows(f"items_{array}"), expected) == [], array
    before = account.contents()
    for name in ("json", "auto", "items"):
        assert account.run(name, FIRST + timedelta(days=1)).success
    assert account.contents() == before
    assert query(account.warehouse, "select * from comagic_ops.rejected_rows") == []


def test_only_what_is_wanted_is_asked_for(open_account: OpenAccount) -> None:
    """Fields, what tells rows apart, and what the filter needs: the request names no others, rows hold no others."""
    account = open_account(
        {
            "name": "mobile",
            "report": "visitor_sessions_report",
            "fields": ["utm_source", "visitor_device"],
            "filter": "visitor_country = 'Россия' and visitor_device != 'x'",
        }
    )
    assert account.run("mobile").success
    asked = {name for request in account.sandbox.requests for name in (request.params.get("fields") or ())}
    assert asked == {"id", "date_time", "utm_source", "visitor_device", "visitor_country"}
    api = [row for row in account.api("visitor_sessions_report") if row["visitor_country"] == "Россия"]
    wanted = chosen([row for row in api if row["visitor_device"] not in (None, "x")], ["utm_source", "visitor_device"])
    assert wanted
    assert differences(account.json_rows("mobile"), wanted) == []


ROWS_OF_A_DAY = "select count(*) from comagic.comagic_reports where simple_date = '2026-03-30'"


def test_what_changed_is_replaced_and_the_rest_keeps_its_ids(open_account: OpenAccount) -> None:
    """The id of a JSON row was that of its place: it went to another row when one was inserted before it.

    A row changes, one goes, one comes at the beginning: only rows that differ are written, numbers have no gaps.
    """
    account = open_account({"name": "calls", "report": "calls_report", "fields": ["id", "talk_duration"]})
    assert account.run("calls").success
    rows = "select id, simple_date, row_id, row_data from comagic.comagic_reports order by simple_date, row_id"
    before = query(account.warehouse, rows)
    calls = sorted(account.api("calls_report"), key=lambda row: row["start_time"])
    account.sandbox.world.change("get.calls_report", calls[-1]["id"], {"talk_duration": 4242})
    account.sandbox.world.delete("get.calls_report", calls[-2]["id"])
    account.sandbox.world.add("get.calls_report", calls[-1] | {"id": 7, "start_time": f"{LAST} 00:00:00"})
    # As rows of an earlier release are: known by their number once more.
    with account.warehouse.begin() as connection:
        connection.exec_driver_sql(f"update comagic.comagic_reports set row_key = null where simple_date < '{LAST}'")
    assert account.run("calls").success
    after = query(account.warehouse, rows)
    assert differences(account.json_rows("calls"), chosen(account.api("calls_report"), ["id", "talk_duration"])) == []
    assert [row for row in before if row["simple_date"] < LAST] == [row for row in after if row["simple_date"] < LAST]
    of_last = [row["row_id"] for row in after if row["simple_date"] == LAST]
    assert of_last == list(range(1, len(of_last) + 1))
    ids, still = ({json.loads(row["row_data"])["id"]: row["id"] for row in rows} for rows in (before, after))
    assert ids.pop(calls[-2]["id"]) not in still.values()
    assert still.pop(7) not in ids.values()
    assert still == ids


def test_days_that_raw_tables_hold_cost_nothing(open_account: OpenAccount) -> None:
    """Read from raw: the same rows as from the API, said in the metadata of the days; the others are asked for."""
    fields = ["id", "start_time", "tags", "talk_duration", "utm_source", "is_lost", "virtual_phone_number"]
    wide = {"report": "calls_report", "fields": fields, "filter": "is_lost = false and talk_duration > 5"}
    account = open_account(
        {"name": "json", **wide},
        {"name": "table", "structure": "auto", **wide},
        {"name": "fresh", "from_raw": False, **wide},
        {"name": "all", "report": "calls_report", "fields": ["id"]},
        tables="[calls_report]",
        filters="{calls_report: talk_duration >= 3}",
        of=world(40),
    )
    last = LAST - timedelta(days=1)
    assert run_load(account.config, account.instance, FIRST, last, "calls_report").success
    account.sandbox.requests.clear()
    for name in ("json", "table"):
        assert account.run(name, last_day=last).success
    assert [request.method for request in account.sandbox.requests] == []
    api = [row for row in account.api("calls_report", last_day=last) if not row["is_lost"] and row["talk_duration"] > 5]
    assert len(api) > 10
    assert differences(account.json_rows("json"), chosen(api, fields)) == []
    table = f"comagic_report_{account.report('table').processor_id}"
    assert differences(account.rows(table), chosen(api, fields)) == []
    told = metadata_of(account, "json", "read_from")
    assert told == {str(FIRST + timedelta(days=number)): "calls_report" for number in range(3)}
    # The last day is in no raw table, the filter of `all` is wider than that of raw, `fresh` does not want raw.
    assert account.run("json").success
    assert metadata_of(account, "json", "read_from")[str(LAST)] == "Data API"
    assert account.points() == 1
    assert {request.params["date_from"][:10] for request in account.sandbox.requests} == {str(LAST)}
    for name, points in (("fresh", 2), ("all", 3)):
        assert account.run(name).success
        assert account.points() == points
    assert differences(account.json_rows("all"), chosen(account.api("calls_report"), ["id"])) == []
    before = account.json_rows("fresh")
    assert differences(before, account.json_rows("json")) == []


def metadata_of(account: Account, asset: str, name: str) -> dict[str, Any]:
    """A value of the metadata of each day, of its last materialization."""
    events = account.instance.fetch_materializations(AssetKey(["main", asset]), limit=1000, ascending=True).records
    found = [event.asset_materialization for event in events]
    return {str(each.partition): each.metadata[name].value for each in found if each and name in each.metadata}


def test_raw_days_that_are_not_whole_are_asked_for(open_account: OpenAccount) -> None:
    """Loaded before its end, with a filter that nobody knows, without a wanted column: such a day is asked for."""
    report = {"name": "calls", "report": "calls_report", "fields": ["id", "utm_source"]}
    account = open_account(report, tables="[calls_report]")
    assert run_load(account.config, account.instance, FIRST, LAST, "calls_report").success
    days = [FIRST + timedelta(days=number) for number in range(4)]
    with account.warehouse.begin() as connection:
        for day, change in zip(
            days,
            (
                f"loaded_at = timestamptz '{days[0]} 18:00:00+00'",
                "left_out = null",
                "left_out = '{utm_source}'",
                "left_out = '{utm_medium}'",
            ),
            strict=True,
        ):
            connection.exec_driver_sql(f"update comagic_ops.loaded_days set {change} where day = '{day}'")
    assert account.run("calls").success
    assert metadata_of(account, "calls", "read_from") == {
        str(day): "calls_report" if day == days[3] else "Data API" for day in days
    }
    assert differences(account.json_rows("calls"), chosen(account.api("calls_report"), ["id", "utm_source"])) == []


def test_a_column_that_the_api_forgot_is_noted_with_the_day(open_account: OpenAccount) -> None:
    """The ledger says which columns a day of raw does not have, and which rows were wanted."""
    settings = Settings(minute_limit=10_000, quirks=Quirks(forgotten_columns=frozenset({"utm_source"})))
    account = open_account(settings=settings, tables="[calls_report]", filters="{calls_report: is_lost = true}")
    assert run_load(account.config, account.instance, FIRST, FIRST, "calls_report").success
    lines = query(account.warehouse, "select filter, left_out from comagic_ops.loaded_days")
    assert lines == [{"filter": "is_lost = true", "left_out": ["utm_source"]}]


STRUCTURE = [
    {
        "table": "select",
        "key": ["Визит"],
        "columns": {
            "Визит": {"path": "id", "type": "text"},
            "day": {"path": "date_time", "type": "date"},
            "system": {"path": "integrated_campaign_data.adv_system"},
            "first_url": {"path": "hits[0].hit_url"},
            "order": "integer",
            "segments": None,
        },
    },
    {
        "table": "visit_segments",
        "rows": "segments[]",
        "key": ["segment_id"],
        "columns": {"segment_id": None, "source": {"path": "$.utm_source"}, "whole": {"path": "@", "type": "json"}},
    },
]


def test_paths_types_and_names(open_account: OpenAccount) -> None:
    """Paths into objects and arrays, changes of type, words of SQL and Russian letters as names, keys of parents."""
    structure = yaml.safe_load(yaml.safe_dump(STRUCTURE, allow_unicode=True))
    structure[0]["columns"]["order"] = {"path": "visitor_id", "type": "numeric"}
    account = open_account({"name": "v", "report": "visitor_sessions_report", "structure": structure}, of=world(20))
    assert account.run("v").success
    api = account.api("visitor_sessions_report")
    expected = [
        {
            "event_date": row["event_date"],
            "Визит": str(row["id"]),
            "day": row["date_time"][:10],
            "system": (row["integrated_campaign_data"] or {}).get("adv_system"),
            "first_url": row["hits"][0]["hit_url"] if row["hits"] else None,
            "order": row["visitor_id"],
            "segments": row["segments"],
        }
        for row in api
    ]
    assert differences(account.rows("select"), expected) == []
    assert any(row["system"] for row in expected)
    items = [
        {
            "event_date": row["event_date"],
            "parent_id": row["id"],
            "position": number,
            "segment_id": item["segment_id"],
            "source": row["utm_source"],
            "whole": item,
        }
        for row in api
        for number, item in enumerate(row["segments"], 1)
    ]
    # The key of the first table is a text made of the id: surely unique, so that it is the key of the items.
    found = account.rows("visit_segments")
    assert [set(row) for row in found[:1]] == [{"event_date", "parent_id", "position", "segment_id", "source", "whole"}]
    assert differences(found, items) == []


def test_rows_that_do_not_fit_are_kept_aside(open_account: OpenAccount) -> None:
    """A value that is no number, a key that is empty, a key that two rows share: told apart, and gone when mended."""
    table = {
        "table": "by_visitor",
        "key": ["visitor"],
        "columns": {"visitor": {"path": "visitor_id"}, "utm_source": "integer", "id": None},
    }
    account = open_account({"name": "v", "report": "calls_report", "structure": [table]}, of=world(30))
    calls = account.api("calls_report")
    same, other, empty = calls[0], calls[1], calls[2]

    def change(call: Row, **columns: Any) -> None:
        account.sandbox.world.change("get.calls_report", call["id"], columns)

    for call in calls[3:]:
        change(call, visitor_id=call["id"], utm_source=None)
    change(same, visitor_id=5, utm_source="12")
    change(other, visitor_id=5, utm_source=None)
    change(empty, visitor_id=None, utm_source="vk")
    assert account.run("v").success
    rejected = query(
        account.warehouse,
        "select table_name, event_date, row_key, column_name, value, reason from comagic_ops.rejected_rows order by id",
    )
    assert [(line["column_name"], line["reason"]) for line in rejected] == [
        ("by_visitor.utm_source", "not a value of type integer"),
        (None, "the row has no visitor for by_visitor"),
        (
            None,
            "another row of the day has the same key (visitor) in by_visitor; "
            "the first in the order of their texts is kept",
        ),
    ]
    assert {(line["table_name"], line["event_date"]) for line in rejected} == {("v", FIRST)}
    assert rejected[0]["value"] == "vk"
    kept = [row for row in account.rows("by_visitor") if row["visitor"] == 5]
    assert len(kept) == 1
    assert {kept[0]["id"], json.loads(rejected[2]["value"])["id"]} == {same["id"], other["id"]}
    assert len(account.rows("by_visitor")) == len(calls) - 2
    before = account.contents()
    assert account.run("v").success
    assert account.contents() == before
    for call in (same, other, empty):
        change(call, visitor_id=call["id"], utm_source=None)
    assert account.run("v").success
    assert query(account.warehouse, "select * from comagic_ops.rejected_rows") == []
    assert len(account.rows("by_visitor")) == len(calls)


def test_a_structure_that_gains_columns_and_tables_goes_on(
    open_account: OpenAccount, project: Callable[..., Config]
) -> None:
    """New columns are empty on days that were loaded before; a type may become wider; nothing that is there is lost."""
    base = {"table": "mine", "columns": {"id": None, "talk_duration": "integer"}}
    account = open_account({"name": "r", "report": "calls_report", "structure": [base]})
    assert account.run("r", FIRST, FIRST).success
    wider = {"table": "mine", "columns": {"id": None, "talk_duration": "numeric", "utm_source": "text"}}
    more = {"table": "mine_tags", "rows": "tags[]", "columns": ["tag_id"]}
    account = changed(account, project, {"name": "r", "report": "calls_report", "structure": [wider, more]})
    result = account.run("r", LAST, LAST)
    assert result.success, failures(result)
    assert [message for _, message in journal(account.warehouse, "warning")] == [
        "custom report 'r': mine.utm_source is new: it is empty on days that are loaded already",
        "custom report 'r': the table mine_tags is new: days that are loaded already are not in it",
    ]
    rows = account.rows("mine")
    assert {row["utm_source"] for row in rows if row["event_date"] == FIRST} == {None}
    calls = [row for row in account.api("calls_report") if row["event_date"] in (str(FIRST), str(LAST))]
    assert Counter(row["id"] for row in rows) == Counter(row["id"] for row in calls)
    assert account.run("r", FIRST, FIRST).success
    expected = chosen(calls, ["id", "talk_duration", "utm_source"])
    assert differences(account.rows("mine"), expected) == []


GONE = "its rows are in mine, which it does not have any more"


@pytest.mark.parametrize(
    ("structure", "problem"),
    [
        ([{"table": "mine", "columns": ["id"]}], "the table mine has talk_duration, which it does not name any more"),
        (
            [{"table": "other", "columns": ["id", "talk_duration"]}],
            "its rows are in mine, which it does not have any more",
        ),
        (
            [{"table": "mine", "columns": {"id": None, "talk_duration": "boolean"}}],
            "mine.talk_duration is bigint, not boolean",
        ),
        (
            [{"table": "mine", "key": ["talk_duration"], "columns": ["id", "talk_duration"]}],
            "the key of the table mine is another one",
        ),
        (None, GONE),
    ],
    ids=["column", "table", "type", "key", "json"],
)
def test_what_would_lose_data_is_refused(
    structure: Any, problem: str, open_account: OpenAccount, project: Callable[..., Config]
) -> None:
    """One line with the command that does it on purpose; nothing is asked of the API, nothing is changed."""
    mine = {"table": "mine", "columns": ["id", "talk_duration"]}
    account = open_account({"name": "r", "report": "calls_report", "structure": [mine]})
    assert account.run("r").success
    before = account.contents()
    report = {"name": "r", "report": "calls_report", "structure": structure, "fields": ["id", "talk_duration"]}
    account = changed(account, project, report)
    points = account.points()
    result = account.run("r")
    assert not result.success
    (told,) = failures(result)
    assert told.startswith(f"main/r {FIRST} to {LAST}: custom report 'r': {problem}. Nothing was changed.")
    assert told.endswith('comagic-pipeline report "r" --rebuild --from YYYY-MM-DD')
    assert account.points() == points
    assert account.contents() == before
    # It is for a person: nothing waits to be tried again.
    assert query(account.warehouse, "select * from comagic_ops.waiting_days") == []


def test_a_table_of_somebody_else_is_left_alone(open_account: OpenAccount) -> None:
    """Analysts may have tables in the same schema: one of that name is neither taken over nor touched."""
    mine = {"table": "mine", "columns": ["id"]}
    account = open_account({"name": "r", "report": "calls_report", "structure": [mine]})
    with account.warehouse.begin() as connection:
        connection.exec_driver_sql("create table comagic.mine (id bigint)")
    result = account.run("r")
    assert not result.success
    assert "the table comagic.mine is there already and not its own" in failures(result)[0]
    assert account.points() == 0


def test_reports_of_an_agent_hold_all_customers(open_account: OpenAccount) -> None:
    """Rows of each customer in each form, told apart; loading one again changes nothing of the others."""
    account = open_account(
        {"name": "json", "report": "calls_report", "fields": ["id"]},
        {"name": "table", "report": "calls_report", "fields": ["id"], "structure": "auto"},
        of=world(6, customers=3),
        user_ids="all",
    )
    customers = account.sandbox.world.customers
    for name in ("json", "table"):
        assert account.run(name).success
    expected = Counter(
        row["id"]
        for customer in customers.values()
        for row in customer.rows("get.calls_report", f"{FIRST} 00:00:00", f"{LAST} 23:59:59")
    )
    assert Counter(row["id"] for row in account.json_rows("json")) == expected
    table = f"comagic_report_{account.report('table').processor_id}"
    assert Counter(row["id"] for row in account.rows(table)) == expected
    assert len(query(account.warehouse, f"select distinct customer_user_id from comagic.{table}")) == 3
    before = account.contents()
    assert account.run("json").success
    assert account.contents() == before


def test_other_reports_of_the_catalog(open_account: OpenAccount) -> None:
    """Summaries without a time, statistics without a key, messages of thirty days: in all forms as the API has them."""
    reports = (
        "ct_ac_summary_report",
        "employee_stat",
        "campaign_daily_stat",
        "chat_messages_report",
        "financial_call_legs_report",
        "ct_summary_report",
    )
    account = open_account(
        *({"name": f"json {name}", "report": name, "fields": "all"} for name in reports),
        *({"name": f"auto {name}", "report": name, "fields": "all", "structure": "auto"} for name in reports),
        {
            "name": "contacts of campaigns",
            "report": "campaign_daily_stat",
            "structure": [{"table": "campaign_contacts", "rows": "communications[]", "columns": ["communication_id"]}],
        },
        of=world(20),
    )
    for name in reports:
        api = account.api(name, FIRST, FIRST)
        assert api, name
        for form in ("json", "auto"):
            assert account.run(f"{form} {name}", FIRST, FIRST).success, name
        assert differences(account.json_rows(f"json {name}"), api) == [], name
        table = f"comagic_report_{account.report(f'auto {name}').processor_id}"
        assert differences(account.rows(table), api) == [], name
    assert account.run("contacts of campaigns", FIRST, FIRST).success
    expected = Counter(
        item["communication_id"]
        for row in account.api("campaign_daily_stat", FIRST, FIRST)
        for item in row["communications"] or []
    )
    assert expected
    assert Counter(row["communication_id"] for row in account.rows("campaign_contacts")) == expected
