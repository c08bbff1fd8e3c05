"""What Dagster is shown: it loads without network, secrets and warnings, and describes the warehouse as it is."""

import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from dagster import AssetSpec, DagsterInvalidConfigError, Definitions, TableSchema
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value
from sqlalchemy import Connection, text

from comagic_pipeline.catalog.table_names import SHARED_STAR, STAR, STAR_OF_KIND, TABLE_NAMES, default_tables
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.instance import PROJECT_FOLDER
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource
from comagic_pipeline.dagster.runs import PARTITION
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.warehouse.engine import Warehouse

PROGRAMS = Path(sys.executable).parent
STAR_OF_CALLS = (*SHARED_STAR, *STAR_OF_KIND["calls"])
ACCOUNT = {"base_url": "sandbox", "token": "x"}
POINTS = "points_spent"
"""The asset that every source has and no run makes."""

LOAD_ALONE = """
import sys
import dagster  # asks the command `file` about the interpreter

def refuse(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir"):
        raise AssertionError(f"loading definitions does {event}{arguments}")
    if event == "open" and set(str(arguments[1])) & set("wax+") and "__pycache__" not in str(arguments[0]):
        raise AssertionError(f"loading definitions writes {arguments}")

sys.addaudithook(refuse)
from comagic_pipeline.definitions import defs

repository = defs().get_repository_def()
print(*sorted(repository.job_names), len(repository.assets_defs_by_key))
"""


def bare_environment(folder: Path) -> dict[str, str]:
    """An environment with the example config, an empty Dagster home, and no secret."""
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return {
        "HOME": str(folder),
        "DAGSTER_HOME": str(folder),
        "COMAGIC_CONFIG": str(PROJECT_FOLDER / "comagic.example.yaml"),
    }


def specs_of(definitions: Definitions) -> Sequence[AssetSpec]:
    """All assets as they present themselves."""
    return list(definitions.resolve_all_asset_specs())


def keys_of(definitions: Definitions) -> set[str]:
    """The keys of all assets, as source/table, but for the points, which every source has."""
    return {spec.key.to_user_string() for spec in specs_of(definitions) if spec.key.path[-1] != POINTS}


def test_dg_check_defs(tmp_path: Path) -> None:
    """`dg check defs` accepts the project with the example config, in an environment without any secret."""
    command = [str(PROGRAMS / "dg"), "check", "defs"]
    environment = bare_environment(tmp_path)
    check = subprocess.run(command, cwd=PROJECT_FOLDER, env=environment, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "All definitions loaded successfully" in check.stdout


def test_loading_touches_nothing_and_warns_of_nothing(tmp_path: Path) -> None:
    """Definitions load with no connection, child process or written file, and with every warning being an error."""
    # Dagster asks for a deprecated attribute of resources without fields, which ours are on purpose.
    fields = "ignore:The `__fields__` attribute is deprecated"
    command = [sys.executable, "-B", "-W", "error", "-W", fields, "-c", LOAD_ALONE]
    environment = bare_environment(tmp_path)
    loaded = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == [
        "__ASSET_JOB",
        "adhoc_report",
        "continue_main",
        "forget_main",
        "housekeeping",
        "load_main",
        "reconcile_main",
        str(len({*default_tables(is_agent=False), POINTS})),
    ]


def test_one_name_for_the_code_location() -> None:
    """`up` and `dg dev` call the code location the same: schedules keep their on/off state between them."""
    workspace = yaml.safe_load((PROJECT_FOLDER / "workspace.yaml").read_text())
    (module,) = [entry["python_module"] for entry in workspace["load_from"]]
    project = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert module["location_name"] == project["code_location_name"]
    assert module["module_name"] == project["code_location_target_module"]


def test_every_asset_presents_itself(project: Callable[..., Config]) -> None:
    """Every asset has a description, an owner, its group and its kinds."""
    specs = specs_of(build_definitions(project(**ACCOUNT, tables="all")))
    for spec in specs:
        assert spec.description, spec.key
        assert spec.owners == ["team:comagic_pipeline"], spec.key
        table = spec.key.path[-1]
        layer = "star" if table in STAR else "ops" if table == POINTS else "raw"
        assert spec.group_name == f"main_{layer}"
        assert spec.kinds == {"postgres", "comagic" if layer == "raw" else "sql"}
    assert {spec.key.path[-1] for spec in specs} == {*default_tables(is_agent=False), POINTS}


def test_column_schemas_are_those_of_the_warehouse(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """Columns of the UI are the columns of the database: names, order, types, comments and NOT NULL."""
    for spec in specs_of(build_definitions(project(**ACCOUNT, user_ids="all", tables=list(TABLE_NAMES)))):
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, TableSchema)
        with warehouse.connect() as connection:
            assert shown(connection, schema) == stored(connection, spec.metadata["dagster/table_name"]), spec.key


def shown(connection: Connection, schema: TableSchema) -> list[tuple[str, str, str | None, bool]]:
    """The columns of an asset; its types in the words of the database, which makes a table of them."""
    columns = ", ".join(f'"{column.name}" {column.type}' for column in schema.columns)
    connection.execute(text(f"create temporary table shown ({columns}) on commit drop"))
    types = [type_ for _, type_, _, _ in stored(connection, "shown")]
    connection.rollback()
    return [
        (column.name, type_, column.description, not column.constraints.nullable)
        for column, type_ in zip(schema.columns, types, strict=True)
    ]


def stored(connection: Connection, table: str) -> list[tuple[str, str, str | None, bool]]:
    """The columns of a table of the database: name, type, comment and whether it is NOT NULL."""
    query = """
        select attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum), attnotnull
        from pg_attribute where attrelid = cast(:table as regclass) and attnum > 0 and not attisdropped order by attnum
    """
    return [tuple(row) for row in connection.execute(text(query), {"table": table})]


def test_schema_names_of_the_config_are_shown(project: Callable[..., Config]) -> None:
    """The table names of the UI are those that the configured schemas give."""
    config = project(**ACCOUNT)
    path = config.path
    path.write_text(path.read_text().replace("sources:", "  schemas: {raw: r, star: s, ops: o}\nsources:"))
    names = {spec.metadata["dagster/table_name"] for spec in specs_of(build_definitions(load_config(path)))}
    assert names == {"o.points_spent", "r.calls_report", "r.campaigns", *(f"s.{table}" for table in STAR_OF_CALLS)}


def test_chosen_tables_only(project: Callable[..., Config]) -> None:
    """A list of tables leaves the others out; a table of the star brings all that it is built from and with."""
    assert keys_of(build_definitions(project(**ACCOUNT, tables="[campaigns]"))) == {"main/campaigns"}
    assert keys_of(build_definitions(project(**ACCOUNT, tables="[calls_report]"))) == {"main/calls_report"}
    assert keys_of(build_definitions(project(**ACCOUNT, tables="[comagic_calls_tags]"))) == {
        f"main/{table}" for table in ("calls_report", "campaigns", *STAR_OF_CALLS)
    }
    assert keys_of(build_definitions(project(**ACCOUNT, tables="[campaign_daily_stat]"))) == {
        "main/campaign_daily_stat",
        "main/sites",
    }
    chats = keys_of(build_definitions(project(**ACCOUNT, tables="[comagic_chats, employee_stat]")))
    assert {"main/chats_report", "main/comagic_chats_tags", "main/general_dates", "main/employee_stat"} <= chats
    assert not {"main/calls_report", "main/comagic_calls"} & chats


def test_sources_stand_beside_each_other(project: Callable[..., Config]) -> None:
    """Every source has its own assets, groups, job, schedules and first day."""
    path = project(**ACCOUNT, tables="[calls_report]").path
    second = "{name: second, account_id: 2, base_url: sandbox, token: x, start_date: 2026-02-02, tables: [campaigns]}"
    path.write_text(path.read_text() + f"  - {second}\n")
    definitions = build_definitions(load_config(path))
    assert keys_of(definitions) == {"main/calls_report", "second/campaigns"}
    groups = {f"{name}_{layer}" for name in ("main", "second") for layer in ("raw", "ops")}
    assert {spec.group_name for spec in specs_of(definitions)} == groups
    repository = definitions.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= {"load_main", "load_second"}
    assert {schedule.name: schedule.job_name for schedule in repository.schedule_defs} == {
        "load_main_nightly": "load_main",
        "load_main_hourly": "load_main",
        "reconcile_main_schedule": "reconcile_main",
        "load_second_nightly": "load_second",  # dictionaries do not change by the hour
        "housekeeping_schedule": "housekeeping",
    }


def test_resources_by_argument(project: Callable[..., Config]) -> None:
    """A resource that is passed in replaces the one of the config; the other one stays."""
    config = project(**ACCOUNT)
    mine = DataApi.of(config)
    resources = build_definitions(config, api=mine).resources or {}
    assert resources["api"] is mine
    assert isinstance(resources["warehouse"], WarehouseResource)
    assert resources["warehouse"].config_file == config.path


@pytest.mark.parametrize("resource", ["api", "warehouse"])
def test_a_launch_cannot_name_another_configuration(resource: str, project: Callable[..., Config]) -> None:
    """Run configuration in the Launchpad could name another config_file, whose base_url then got the key."""
    job = build_definitions(project(**ACCOUNT)).resolve_job_def("load_main")
    elsewhere = {"resources": {resource: {"config": {"config_file": "/tmp/elsewhere.yaml"}}}}
    with pytest.raises(DagsterInvalidConfigError, match="config_file"):
        job.execute_in_process(run_config=elsewhere, tags={PARTITION: "2026-01-01"})


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")  # Dagster's own
def test_no_secret_is_shown(project: Callable[..., Config]) -> None:
    """Neither a key written into the file nor a password of the warehouse is in what Dagster hands to its UI."""
    path = project(base_url="sandbox", token="Literal-Key-0123456789").path
    path.write_text(path.read_text().replace("${WAREHOUSE_URL}", "postgresql://me:Literal-Password@127.0.0.1/x"))
    definitions = build_definitions(load_config(path))
    everything = serialize_value(RepositorySnap.from_def(definitions.get_repository_def())) + repr(definitions)
    assert "main" in everything
    assert "Literal" not in everything
