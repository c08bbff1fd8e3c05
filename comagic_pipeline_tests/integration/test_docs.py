"""What the pages for people say, held against the thing itself: they name everything that there is, and nothing wrong.

The lists that the reference page is held against come from the database, the command line's own help, the JSON schema
of the configuration and the text of the code: not from what the page is written with.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from click.testing import CliRunner
from dagster import validate_run_config
from rich.console import Console
from sqlalchemy import Connection, text

from comagic_pipeline.api.filters.parser import Tree, parse_filter
from comagic_pipeline.catalog import tables
from comagic_pipeline.catalog.table_names import AGENT_DICTIONARIES, DICTIONARIES, REPORTS, TABLE_NAMES, default_tables
from comagic_pipeline.cli.load import load
from comagic_pipeline.cli.main import cli, command_of
from comagic_pipeline.cli.reconcile import reconcile
from comagic_pipeline.cli.reference import PAGE, reference
from comagic_pipeline.cli.report import run_report
from comagic_pipeline.config import Alerts, Config, Setting, load_config, parse_config
from comagic_pipeline.dagster.instance import PROJECT_FOLDER
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.star.views import create_views

PAGES = (PROJECT_FOLDER / "README.md", *sorted((PROJECT_FOLDER / "docs").glob("*.md")))
EXAMPLE = PROJECT_FOLDER / "comagic.example.yaml"
FIRST, LAST = date(2026, 3, 2), date(2026, 3, 3)
"""Two days: what costs a point a day costs more than what costs one a window."""
HISTORY = "comagic_raw.campaigns_history"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The code of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next of its rank."""
    rank = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{rank} |\Z)", read(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[1]


def lines(markdown: str) -> Iterator[dict[str, str]]:
    """The lines of the tables of a text, by the names of their columns, without backticks."""
    header: list[str] = []
    for line in markdown.splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif cells[0] != "---":
            yield dict(zip(header, cells, strict=True))


def reference_of(column: str) -> dict[str, dict[str, str]]:
    """The lines of the reference page whose first column has this heading, by what stands there."""
    return {line[column]: line for line in lines(read(PAGE)) if next(iter(line)) == column}


def test_the_reference_is_up_to_date() -> None:
    """The page in the repository is what `.venv/bin/python -m comagic_pipeline.cli.reference` writes."""
    assert read(PAGE) == reference()


def test_every_relation_of_the_warehouse_is_in_the_reference(warehouse: Warehouse) -> None:
    """Each table and view has its line, but partitions, and the histories that all dictionaries have."""
    query = """
        select relation.relname from pg_class as relation join pg_namespace as space on space.oid = relnamespace
        where space.nspname = any(:schemas) and relkind in ('r', 'p', 'v') and not relispartition
    """
    with warehouse.begin() as connection:
        create_views(connection, warehouse.schemas)
        schemas = ["comagic_raw", "comagic", "comagic_ops"]
        relations = set(connection.scalars(text(query), {"schemas": schemas}))
        views = set(connection.scalars(text(query), {"schemas": ["comagic_views"]}))
    assert len(relations) > 100
    named = reference_of("table") | reference_of("view")
    assert {name.removesuffix("_history") for name in relations} - {"alembic_version"} == named.keys()
    assert views == {line["Russian view"] for line in named.values() if "Russian view" in line}


def test_every_definition_is_in_the_reference(project: Callable[..., Config]) -> None:
    """Assets, jobs, schedules, sensors and checks of the example with every table and the key of an agent."""
    config = project(**yaml.safe_load(read(EXAMPLE))["sources"][0] | {"user_ids": "all", "tables": [*TABLE_NAMES]})
    config = config.model_copy(update={"alerts": Alerts(urls=[Setting("json://unused")])})
    repository = build_definitions(config).get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs()} - {"__ASSET_JOB"}
    assert {key.path[-1] for key in repository.assets_defs_by_key} <= reference_of("table").keys()
    assert jobs == reference_of("job").keys()
    assert {each.name: each.cron_schedule for each in repository.schedule_defs} == {
        name: line["cron"] for name, line in reference_of("schedule").items()
    }
    assert {sensor.name for sensor in repository.sensor_defs} == reference_of("sensor").keys()
    checks = {(key.asset_key.to_user_string(), key.name) for key in repository.asset_checks_defs_by_key}
    assert checks == {(line["asset"], line["check"]) for line in lines(read(PAGE)) if next(iter(line)) == "asset"}


def test_every_check_is_explained(project: Callable[..., Config]) -> None:
    """What red means and what to do, on the page for operators."""
    config = project(**yaml.safe_load(read(EXAMPLE))["sources"][0])
    names = {key.name for key in build_definitions(config).get_repository_def().asset_checks_defs_by_key}
    told = list(lines(section(PROJECT_FOLDER / "docs" / "operate.md", "## What the checks say")))
    assert names == {line["check"] for line in told}
    assert all(line["red means"] and line["what to do"] for line in told)


def test_every_command_and_option_is_in_the_reference() -> None:
    """What `--help` shows stands in the section of the command."""
    listed = CliRunner().invoke(cli, ["--help"]).output.partition("Commands:")[2]
    names = re.findall(r"^  (\w+)", listed, re.MULTILINE)
    assert {"demo", "up", "load"} <= set(names)
    for name in names:
        options = set(re.findall(r"--[a-z-]+", CliRunner().invoke(cli, [name, "--help"]).output)) - {"--help"}
        shown = {line["option"] for line in lines(section(PAGE, f"### `{name}`"))}
        assert options == shown, name


def test_every_key_of_the_configuration_is_in_the_reference() -> None:
    """The leaves of the configuration's JSON schema, with their defaults."""
    schema = Config.model_json_schema()

    def leaves(part: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
        for name, value in part["properties"].items():
            reference_to = value.get("$ref") or value.get("items", {}).get("$ref")
            if reference_to and "$defs" in schema and "properties" in schema["$defs"][reference_to.rpartition("/")[2]]:
                place = f"{path}{name}" + ("[]" if value.get("type") == "array" else "")
                yield from leaves(schema["$defs"][reference_to.rpartition("/")[2]], f"{place}.")
            else:
                required = name in part.get("required", [])
                default = "none" if value.get("default") in (None, {}, []) else str(value["default"])
                yield f"{path}{name}", "required" if required else default

    assert dict(leaves(schema, "")) == {name: line["default"] for name, line in reference_of("key").items()}
    assert all(line["meaning"] for line in reference_of("key").values())


def test_every_variable_is_in_the_reference() -> None:
    """Names that the code takes from the environment, in whatever way, and those of dagster.yaml and the example."""
    package = PROJECT_FOLDER / "comagic_pipeline"
    code = "".join(read(path) for path in package.rglob("*.py") if path.stem != "reference")
    found = set(re.findall(r"\"((?:COMAGIC|DAGSTER)_[A-Z_]+)\"", code))
    for line in re.findall(r"^.*\benviron\b.*$", code, re.MULTILINE):
        found |= set(re.findall(r"\"([A-Z][A-Z_]+)\"", line))
    found |= set(re.findall(r"env: (\w+)", read(PROJECT_FOLDER / "dagster.yaml")))
    found |= set(re.findall(r"\$\{([A-Z]\w+)\}", read(EXAMPLE))) - {"NAME"}
    assert {"COMAGIC_CONFIG", "DAGSTER_EVENT_BATCH_SIZE", "COMAGIC_STATE_FOLDER", "COMAGIC_TOKEN"} <= found
    assert found == reference_of("variable").keys()


def test_the_example_holds_with_all_that_is_commented_out() -> None:
    """Lines of the example that begin with `# key:` are valid too."""
    uncommented = re.sub(r"^( *)# (  )?(\w+: [^ ].*|filters:)$", r"\1\2\3", read(EXAMPLE), flags=re.MULTILINE)
    config = parse_config(uncommented, EXAMPLE)
    assert config.warehouse.url is not None
    (source,) = config.sources
    assert source.user_ids == "all"
    assert source.filter("calls_report")


@each_page
def test_configurations_and_commands_of_the_pages_are_valid(page: Path) -> None:
    """YAML is accepted as the configuration, or as keys of a source; commands parse; links lead somewhere."""
    for block in blocks(page, "yaml"):
        found = yaml.safe_load(block)
        whole = yaml.safe_load(read(EXAMPLE))
        if "ops" in found:
            # The mapping of adhoc_report judges its words too.
            (step,) = found["ops"]
            job = {"load_adhoc_report": "adhoc_report", "main__equals_api": "reconcile_main"}[step]
            definitions = build_definitions(parse_config(yaml.dump(whole), page))
            validate_run_config(definitions.resolve_job_def(job), found)
            continue
        is_whole = not {"sources", "custom_reports", "alerts"}.isdisjoint(found)
        whole = whole | found if is_whole else whole | {"sources": [whole["sources"][0] | found]}
        parse_config(yaml.dump(whole), page)
    for command in re.findall(r"comagic-pipeline ([a-z][^`\n]*)[`\n]", read(page)):
        name, *arguments = shlex.split(command)
        command_of(name).make_context(name, arguments)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page)):
        assert (page.parent / target).exists(), target
    too_long = [line for line in read(page).splitlines() if len(line) > 120 and not line.startswith("|")]
    assert page.stem == "README" or not too_long


def columns_of(tree: Tree | None) -> set[str]:
    """The columns that a filter of the API speaks of."""
    if tree is None or "field" in tree:
        return {tree["field"]} if tree else set()
    return {name for part in tree["filters"] for name in columns_of(part)}


def test_what_the_api_is_asked_for() -> None:
    """The examples of filters: whether the API gets the whole, a part or nothing of them."""
    examples = [line for line in lines(read(PROJECT_FOLDER / "docs" / "sources.md")) if "report" in line]
    assert len(examples) >= 6
    for line in examples:
        tree = parse_filter(line["filter"], tables()[line["report"]]).tree
        named = set(re.findall(r"[a-z_]+", re.sub(r"'[^']*'", "", line["filter"])))
        words = {"and", "or", "is", "not", "null", "false", "true", "in"}
        match line["the API is asked for"].partition(":")[0]:
            case "these rows":
                assert columns_of(tree) == named - words, line
            case "more":
                assert tree is not None, line
                assert columns_of(tree) < named - words or "a day earlier" in str(line), line
            case "all rows":
                assert tree is None, line
            case other:
                raise AssertionError(other)


def test_costs_and_sql_of_the_pages(project: Callable[..., Config]) -> None:
    """After a load of everything each table has cost what the reference says, and all SQL of the pages runs."""
    world = World(calls_per_day=12, now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox:
        names = [name for name in TABLE_NAMES if name not in {method.table for method in AGENT_DICTIONARIES}]
        described = [
            report
            for block in blocks(PROJECT_FOLDER / "docs" / "custom_reports.md", "yaml")
            for report in yaml.safe_load(block).get("custom_reports", ())
        ]
        reports = json.dumps(described, ensure_ascii=False)
        config = project(reports, base_url=sandbox.url, token=SANDBOX_TOKEN, day_points="{reserve: 0}", tables=names)
        source, console = config.sources[0], Console(quiet=True)
        summary = load(config, source, FIRST, LAST, (), console)
        for report in source.custom_reports:
            options: Any = {"only_missing": False, "is_rebuilt": False, "out": None}
            assert run_report(config, source, report, (FIRST, LAST), console, **options).ok, report.name
        compared = reconcile(config, source, (FIRST, LAST), (), "quick", console, heals=False)
    assert (summary.ok, compared.exit_code, compared.points) == (True, 0, 3), summary.error
    compare_costs({name: line.points for name, line in summary.tables.items()}, len(world.rows("get.sites")))
    with open_warehouse(load_config()) as warehouse, warehouse.connect() as connection:
        run_statements(connection, world)


def compare_costs(spent: dict[str, int], sites: int) -> None:
    """Hold the points that each table cost against the reference, and their sums against the other pages."""
    said = reference_of("table")
    per = {"10 000 rows of a window": 1, "10 000 rows of a window and site": sites, "day": 2, "day and site": 2 * sites}
    asked = {name: line for name, line in said.items() if "API method" in line and name in spent}
    assert len(asked) == len(REPORTS) + len(DICTIONARIES) - len(AGENT_DICTIONARIES)
    expected = {name: per[line.get("a point for each", "10 000 rows of a window")] for name, line in asked.items()}
    expected["statuses"] = 2  # as the page says: deleted ones are a list of their own
    # As the page says: whoever hands out no count costs a little more.
    assert sites < spent["campaign_daily_stat"] <= 2 * sites
    expected["campaign_daily_stat"] = spent["campaign_daily_stat"]
    assert spent == dict.fromkeys(spent, 0) | expected
    nightly = sum(points for name, points in expected.items() if name in default_tables(is_agent=False))
    hourly = sum(points for name, points in expected.items() if "hourly" in said[name]["loaded"])
    pages = " ".join("".join(map(read, PAGES)).split())
    assert f"; {len(REPORTS)} reports | " in pages
    assert f"; {len(DICTIONARIES) - 2} dictionaries, 2 more for agents | " in pages
    assert f"{hourly} reports with `tables: all`" in pages
    assert f"about {nightly} points a customer, the hourly ones {hourly} an hour" in pages


def run_statements(connection: Connection, world: World) -> None:
    """Run the SQL of all pages, every campaign being renamed at the midnight between the two days; changes nothing."""
    moment = {"moment": datetime(LAST.year, LAST.month, LAST.day, tzinfo=ZoneInfo(world.cast.timezone))}
    connection.execute(text(f"create temporary table renamed as select * from {HISTORY}"))
    connection.execute(text(f"update {HISTORY} set valid_to = :moment"), moment)
    connection.execute(text("update renamed set name = 'new ' || name, valid_from = :moment"), moment)
    connection.execute(text(f"insert into {HISTORY} select * from renamed"))
    code = [block for page in PAGES for block in blocks(page, "sql")]
    statements = [statement for block in code for statement in block.split(";\n") if statement.strip()]
    assert any(HISTORY in statement for statement in statements)
    for statement in statements:
        result = connection.execute(text(statement.rstrip()))
        if result.returns_rows:
            rows = result.all()
            assert rows, statement
            if HISTORY in statement:
                assert {row.id: row.name for row in rows} == names_at_the_time(world)
    connection.rollback()


def names_at_the_time(world: World) -> dict[int, str | None]:
    """The name that the campaign of each call had when it came in."""
    names = {row["id"]: row["name"] for row in world.rows("get.campaigns")}
    found = {}
    for call in world.rows("get.calls_report", f"{FIRST} 00:00:00", f"{LAST} 23:59:59"):
        name = names.get(call["campaign_id"])
        found[call["id"]] = f"new {name}" if name and call["start_time"] >= str(LAST) else name
    assert len({name.startswith("new ") for name in found.values() if name}) == 2
    return found
