"""Write docs/reference.md: every table, job, key, variable and command, as the code declares them.

`python -m comagic_pipeline.cli.reference` writes it. Explanations are in the other pages of docs/.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, get_args

import click
from dagster import AssetSpec, Definitions, ScheduleDefinition, build_schedule_context
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sqlalchemy import Table, UniqueConstraint

from comagic_pipeline.api.requests import PAGE_ROWS
from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog.table_names import (
    AGENT_DICTIONARIES,
    DEFAULT_VIEWS_PREFIX,
    DICTIONARIES,
    REPORTS,
    SUMMARIES,
    TABLE_NAMES,
)
from comagic_pipeline.cli.main import COMMANDS, cli, command_of
from comagic_pipeline.cli.web_server import HOSTS_VARIABLE
from comagic_pipeline.config import (
    CONFIG_VARIABLE,
    DEFAULT_PATH,
    SANDBOX,
    SANDBOX_PORT,
    SANDBOX_URL_VARIABLE,
    Alerts,
    Config,
    Setting,
    Source,
)
from comagic_pipeline.dagster.environment import LEAST_TIMEOUT, TIMEOUTS
from comagic_pipeline.dagster.instance import PROJECT_FOLDER, STATE_VARIABLE, STORAGE_VARIABLE
from comagic_pipeline.dagster.jobs import housekeeping
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.reports.json_target import comagic_reports
from comagic_pipeline.warehouse.star.marts import MARTS
from comagic_pipeline.warehouse.star.tables import KINDS, SHARED
from comagic_pipeline.warehouse.star.views import GENERAL_PREFIX

PAGE = PROJECT_FOLDER / "docs" / "reference.md"

ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    CONFIG_VARIABLE: ("The configuration file", f"`{DEFAULT_PATH}` in the current folder"),
    "COMAGIC_TOKEN": ("The key of the API, as the example calls it; any name will do", ""),
    "COMAGIC_WAREHOUSE_URL": ("The address of the warehouse, as the example calls it; any name will do", ""),
    "COMAGIC_ALERTS_URL": ("Who is told, an Apprise address, as the example calls it; any name will do", ""),
    STORAGE_VARIABLE: ("PostgreSQL database of Dagster's runs and events", "a database of the embedded server"),
    STATE_VARIABLE: ("Where Dagster keeps logs of runs; set by the commands", "`.comagic/dagster`"),
    HOSTS_VARIABLE: ("Names of this machine in browsers, with commas; set by `up --allow-host`", ""),
    SANDBOX_URL_VARIABLE: ("Address of a sandbox API that runs already", f"port {SANDBOX_PORT}, started when needed"),
    "DAGSTER_HOME": ("Folder of `dagster.yaml`; that of another project is refused", "the project"),
    **dict.fromkeys(
        TIMEOUTS, ("Seconds that Dagster waits for its code server; at least the default", f"`{LEAST_TIMEOUT}`")
    ),
    "DAGSTER_EVENT_BATCH_SIZE": ("How many events Dagster writes at once; set by the commands", "`100`"),
    "DAGSTER_GRPC_MAX_WORKERS": ("How many requests the code server answers at once; set by `up`", "`12`"),
    "NO_PROXY": ("Hosts that are asked without a proxy; this machine always is", ""),
    "SSL_CERT_DIR": ("Folder of the certificates that are trusted", "those of the package certifi"),
    "SSL_CERT_FILE": ("File of the certificates that are trusted", "those of the package certifi"),
    "LD_LIBRARY_PATH": ("For Python builds that find their library by it: the embedded server is started with it", ""),
}
"""What the environment may say: meaning and default by variable."""

_ROWS = f"{PAGE_ROWS // 1000} 000 rows"

_INTRODUCTION = """\
# Reference

Written from the code by `.venv/bin/python -m comagic_pipeline.cli.reference`: change it there. How to use it is in
[operate.md](operate.md), [sources.md](sources.md) and [tables.md](tables.md)."""

_REPORTS = f"""\
## Raw tables: reports

Schema `comagic_raw`; the asset is `SOURCE/TABLE` in the group `SOURCE_raw`, with a partition for each day (column
`event_date`). To every key belong `account_id`, `event_date` and `customer_user_id`, which is 0 but for the customers
of an agent.

A request costs a point and brings up to {_ROWS}. It spans a window, the longest period that the API takes: a window
without rows costs a point too, and rows that change while they are read cost a few more. Where `campaign_daily_stat`
comes without a count, a point or two show that its pages were the last. The source of an agent pays
for each customer."""

_DICTIONARIES = f"""\
## Raw tables: dictionaries

Without partitions: each load replaces the whole table and adds what changed to `TABLE_history`. To every key belong
`account_id` and `customer_user_id`. A dictionary costs a point for each {_ROWS}, at least one. `statuses` costs
two: deleted statuses are a list of their own."""

_STAR = """\
## Star tables

Schema `comagic`; the asset is `SOURCE/TABLE` in the group `SOURCE_star`, with a partition for each day. Built from raw
tables by SQL, free of points; the tables of a kind are built together, in one transaction for each month. Each has a
view with Russian names in the schema `comagic_views`."""

_REPORT_TABLES = """\
## Tables of custom reports

Schema `comagic`; the asset is `SOURCE/NAME` in the group `custom_reports`, its job `report_SOURCE__NAME`, its schedule
`report_SOURCE__NAME_schedule`, where NAME is made of the name of the report. Tables of a structure of your own are
there too, `comagic_report_ID` where they have no name, each with a view. See [custom_reports.md](custom_reports.md)."""

_MARTS = """\
## Marts

Views of the schema `comagic`, no assets: they show what the star tables hold at the moment."""

_BOOKS = """\
## Books of the pipeline

Tables of the schema `comagic_ops`, no assets. `alembic_version` is there too: the latest migration."""

_CONFIG = f"""\
## Configuration

The keys of `{DEFAULT_PATH}`, or of the file that `{CONFIG_VARIABLE}` names."""

_ENVIRONMENT = """\
## Environment variables"""

_COMMANDS = """\
## Commands

`.venv/bin/comagic-pipeline COMMAND`. Exit codes: 0 done, 1 failed, 2 bad input, 3 stopped by the day's points, 130
stopped by Ctrl-C."""


def reference() -> str:
    """Return the text of the page."""
    definitions = build_definitions(_everything())
    return (
        "\n\n".join([_INTRODUCTION, *_assets(definitions), *_automation(definitions), *_settings(), *_commands()])
        + "\n"
    )


def _everything() -> Config:
    """Return a configuration with every table: those of an agent and those that are loaded only when named too."""
    source = Source(
        name="main",
        account_id=1,
        base_url=Setting(SANDBOX),
        token=Setting("unused"),
        start_date=date(2026, 1, 1),
        user_ids="all",
        tables=[*TABLE_NAMES],
    )
    return Config(sources=[source], alerts=Alerts(urls=[Setting("json://unused")]))


def _assets(definitions: Definitions) -> Iterator[str]:
    specs = {spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs()}
    loaded = _when_loaded(definitions, specs)
    yield _REPORTS
    header = ("table", "what it holds", "key", "API method", "time column", "window", "a point for each", "loaded")
    yield _table(header, [_report(method, specs[method.table], loaded[method.table]) for method in REPORTS])
    yield _DICTIONARIES
    yield _table(
        ("table", "what it holds", "key", "API method", "loaded"),
        [_dictionary(method, specs[method.table], loaded[method.table]) for method in DICTIONARIES],
    )
    yield _STAR
    groups = [("Shared by all kinds", "the raw tables of every kind", SHARED)]
    groups += [(f"Kind {_code(kind.name)}", f"{_code(kind.report)} and `campaigns`", kind.tables) for kind in KINDS]
    for name, origin, tables in groups:
        yield f"### {name}\n\nMade from {origin}."
        yield _table(
            ("table", "what it holds", "told apart by", "Russian view", "loaded"),
            [_star_table(table, specs[table.name], loaded[table.name]) for table in tables],
        )
    yield _REPORT_TABLES
    yield _table(
        ("table", "what it holds", "told apart by", "Russian view"),
        [
            (
                _code(comagic_reports.name),
                comagic_reports.comment,
                _code(*(column.name for column in next(iter(comagic_reports.indexes)).columns)),
                _code(_view_name(comagic_reports)),
            )
        ],
    )
    yield _MARTS
    marts = [(_code(mart.name), mart.comment, _code(_view_name(mart))) for mart in MARTS]
    yield _table(("view", "what it holds", "Russian view"), marts)
    yield _BOOKS
    books = ops.metadata.sorted_tables
    yield _table(
        ("table", "what it holds", "key"),
        [(_code(book.name), book.comment, _code(*(column.name for column in book.primary_key))) for book in books],
    )


def _when_loaded(definitions: Definitions, specs: Mapping[str, AssetSpec]) -> Mapping[str, str]:
    """Return which schedules load a table, by its name: asked of the schedules themselves."""
    asked: dict[str, list[str]] = {name: [] for name in specs}
    for schedule in definitions.schedules or ():
        assert isinstance(schedule, ScheduleDefinition)  # noqa: S101 - the project has no others
        if schedule.job_name == housekeeping.JOB:
            continue
        tick = schedule.evaluate_tick(build_schedule_context(scheduled_execution_time=datetime(2026, 2, 1, tzinfo=UTC)))
        for request in tick.run_requests or ():
            everything = [spec.key for spec in specs.values()]
            for key in everything if request.asset_selection is None else request.asset_selection:
                asked[key.path[-1]].append(schedule.name.rpartition("_")[2])
    conditions = dict.fromkeys(SUMMARIES, "if named") | {method.table: "agents" for method in AGENT_DICTIONARIES}
    return {
        name: ", ".join(names) + (f" ({conditions[name]})" if name in conditions else "")
        for name, names in asked.items()
    }


def _report(method: Method, spec: AssetSpec, loaded: str) -> Sequence[object]:
    if method.time_column is None:
        time, window, points = "none: a row sums up a day", "a day", "day"
    else:
        time, points = _code(method.time_column), f"{_ROWS} of a window"
        window = "3 months" if method.max_days in (None, 90) else f"{method.max_days} days"
    points += " and site" if method.needs_site else ""
    return _code(method.table), spec.description, _key(method), _code(method.name), time, window, points, loaded


def _dictionary(method: Method, spec: AssetSpec, loaded: str) -> Sequence[object]:
    return _code(method.table), spec.description, _key(method), _code(method.name), loaded


def _key(method: Method) -> str:
    return _code(*method.key) if method.is_key_unique else "none: equal rows may stand beside each other"


def _star_table(table: Table, spec: AssetSpec, loaded: str) -> Sequence[object]:
    constraints = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    unique = _code(*(column.name for column in constraints[0].columns)) if constraints else "all values but `id`"
    return _code(table.name), spec.description, unique, _code(_view_name(table)), loaded


def _view_name(table: Table) -> str:
    """Return the name of a table's view for analysts, with the prefixes that views have when nobody sets another."""
    prefix = GENERAL_PREFIX if table.name.startswith("general_") else DEFAULT_VIEWS_PREFIX
    return f"{prefix} {table.info['label_ru']}"


def _automation(definitions: Definitions) -> Iterator[str]:
    """Jobs, schedules, sensors and checks."""
    repository = definitions.get_repository_def()
    yield "## Jobs, schedules, sensors, checks\n\nOf a source that is named `main`."
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    yield _table(("job", "what it does"), [(_code(job.name), job.description) for job in jobs])
    yield _table(
        ("schedule", "cron", "time zone", "at first", "what it does"),
        [
            (_code(each.name), _code(each.cron_schedule), "that of the source", each.default_status.value.lower(),
             each.description)
            for each in repository.schedule_defs
        ],
    )  # fmt: skip
    sensors = [(_code(sensor.name), sensor.description) for sensor in repository.sensor_defs]
    yield _table(("sensor", "what it does"), sensors)
    checks = [
        (_code(key.asset_key.to_user_string()), _code(key.name), check.get_spec_for_check_key(key).description)
        for key, check in sorted(repository.asset_checks_defs_by_key.items())
    ]
    yield _table(("asset", "check", "what it tells"), checks)


def _settings() -> Iterator[str]:
    """Keys of the configuration and variables of the environment."""
    keys = dict(_keys(Config))
    yield _CONFIG
    yield _table(
        ("key", "default", "meaning"),
        [(_code(name), _default(field), field.description) for name, field in keys.items()],
    )
    variable = [name for name, field in keys.items() if Setting in (field.annotation, *get_args(field.annotation))]
    yield f"`${{NAME}}` stands for an environment variable and `$$` for a dollar sign in\n{_code(*variable)}."
    yield _ENVIRONMENT
    rows = [(_code(name), meaning, default) for name, (meaning, default) in ENVIRONMENT.items()]
    yield _table(("variable", "meaning", "default"), rows)


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys of a section and of those within it, as `sources[].name`."""
    for name, field in section.model_fields.items():
        inner = [each for each in (field.annotation, *get_args(field.annotation)) if _is_section(each)]
        if inner:
            yield from _keys(inner[0], f"{prefix}{name}{'' if inner[0] is field.annotation else '[]'}.")
        else:
            yield prefix + name, field


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "none" if field.default in (None, {}, []) else _code(field.default)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _commands() -> Iterator[str]:
    yield _COMMANDS
    for name in COMMANDS:
        command = command_of(name)
        yield f"### `{name}`\n\n{command.help}"
        options = [option for option in command.params if isinstance(option, click.Option)]
        if options:
            yield _table(("option", "meaning"), [(_code(*option.opts), _help(option)) for option in options])


def _help(option: click.Option) -> str:
    """Return what `--help` says of an option."""
    record = option.get_help_record(click.Context(cli))
    return " ".join(record[1].split()) if record else ""


def _code(*names: object) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell or "").replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
