"""`load`: run the source's job in this process, recorded in the instance, with progress."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import click
from dagster import AssetKey, DagsterExecutionInterruptedError, DagsterInstance, ExecuteInProcessResult
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import distinct, func, select
from sqlalchemy.exc import SQLAlchemyError

from comagic_pipeline.catalog.table_names import REPORTS, STAR, needed_by
from comagic_pipeline.cli.options import DAY, check_tables, chosen_source
from comagic_pipeline.cli.outcome import fail
from comagic_pipeline.cli.plan import show_plan
from comagic_pipeline.cli.project import open_project
from comagic_pipeline.cli.services import sandbox_api
from comagic_pipeline.config import Config, Source, load_config
from comagic_pipeline.config.calendar import check_period, today
from comagic_pipeline.dagster.automation.overlaps import overlaps
from comagic_pipeline.dagster.checks import equals_api
from comagic_pipeline.dagster.loads.journal import POINTS_SPENT_UNTIL, SKIPPED
from comagic_pipeline.dagster.run_failures import failure_message
from comagic_pipeline.dagster.runs import (
    ACCEPTS_LOSS,
    ASKED_AT,
    COMMAND,
    CONTINUES,
    RANGE_END,
    RANGE_START,
    load_job_name,
)
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.api_client import open_client
from comagic_pipeline.operations.points.plan import missing_periods
from comagic_pipeline.operations.views import make_views
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.ops.pending_days import expect, forget
from comagic_pipeline.warehouse.star.tables import star_of

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class TableSummary:
    """What a load did to a table (or to the star as a whole)."""

    rows: int
    points: int
    seconds: float


@dataclass
class Summary:
    """How a load ended. `missing` are the days that were asked for and not loaded, oldest first.

    `skipped` says of tables that the account has no access to, why. `refused` says of tables which rows they kept
    because the load would have removed too many, `refused_days` are the days of reports that did so.
    """

    source: str
    first_day: date
    last_day: date
    run_id: str = ""
    ok: bool = False
    has_failed: bool = False
    error: str | None = None
    points_spent_until: str | None = None
    tables: dict[str, TableSummary] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    refused_days: dict[str, list[date]] = field(default_factory=dict)
    missing: list[date] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed or refused, 3 stopped by the day's points."""
        return 0 if self.ok else 3 if self.points_spent_until else 1

    @property
    def is_only_refused(self) -> bool:
        """True when all was loaded but rows that were kept."""
        return bool(self.refused) and not self.has_failed

    def as_json(self) -> dict[str, object]:
        """Return the summary for machines; dates as YYYY-MM-DD."""
        return asdict(self) | {
            "first_day": self.first_day.isoformat(),
            "last_day": self.last_day.isoformat(),
            "missing": [day.isoformat() for day in self.missing],
            "refused_days": {name: [day.isoformat() for day in days] for name, days in self.refused_days.items()},
            "points": sum(table.points for table in self.tables.values()),
        }


def load(
    config: Config,
    source: Source,
    first_day: date,
    last_day: date,
    tables: Sequence[str],
    console: Console,
    *,
    only_missing: bool = False,
    accepts_loss: bool = False,
) -> Summary:
    """Load days of a source, both included; `tables` empty means all that the config chooses.

    `only_missing` leaves out the days of reports that the ledger has, `accepts_loss` replaces rows whatever goes.
    Raises ConfigError, WarehouseError or EmbeddedServerError before anything is touched, and KeyboardInterrupt when the
    load was told to stop: whole days that were loaded stay.
    """
    check_period(source, first_day, last_day)
    check_tables(source, tables)
    if along := [name for name in source.tables_that_come_along if name not in STAR]:
        console.print(f"loaded too, for the chosen tables need them: {', '.join(along)}")
    reports = [method.table for method in REPORTS if method.table in (tables or source.chosen_tables)]
    names, needed = set(tables), set[str]()
    for kind, group in star_of(source.chosen_tables).items():
        # The star tables of a kind are built together, and with their report: its days change.
        built = {table.name for table in group}
        if kind.report in tables or not built.isdisjoint(tables):
            names |= built
            needed |= set(needed_by(kind.facts.name, is_agent=source.is_agent)) - {kind.report}
    job = Job(load_job_name(source), sorted(names), reports, needed=sorted(needed - names), accepts_loss=accepts_loss)
    return run_job(config, source, first_day, last_day, job, console, only_missing=only_missing)


@dataclass(frozen=True)
class Job:
    """A job to run here: the assets of it, none for all, and the reports whose days it loads, by which command.

    `needed` are dictionaries that the assets are made of: they are loaded too if they never were.
    """

    name: str
    assets: Sequence[str]
    reports: Sequence[str]
    command: str = "load"
    accepts_loss: bool = False
    needed: Sequence[str] = ()


def run_job(
    config: Config,
    source: Source,
    first_day: date,
    last_day: date,
    job: Job,
    console: Console,
    *,
    only_missing: bool = False,
) -> Summary:
    """Run a job of a source for days, both included, in this process, with progress; raises what `load` raises."""
    # So that a variable which is not set is found here.
    open_client(source).close()
    with open_project(config) as (warehouse, instance):
        for warning in make_views(config, warehouse):
            console.print(f"warning: {warning}", soft_wrap=True, markup=False)
        for overlap in overlaps(source, (first_day, last_day), job.reports, instance, warehouse):
            console.print(f"warning: {overlap.message}", soft_wrap=True, markup=False)
        started = datetime.now(UTC)
        if job.needed:
            job = replace(job, assets=[*job.assets, *_never_loaded(warehouse, source, job.needed)])
        days = (last_day - first_day).days + 1
        run_id = str(uuid4())
        tags = {RANGE_START: first_day.isoformat(), RANGE_END: last_day.isoformat(), COMMAND: job.command}
        tags[ASKED_AT] = started.isoformat()
        if job.accepts_loss:
            tags[ACCEPTS_LOSS] = "yes"
        if only_missing:
            _expect_missing(warehouse, source, job.reports, first_day, last_day, run_id)
            tags[CONTINUES] = source.name
        try:
            with _progress(console, warehouse, source, days, job.reports):
                result = _run(config, instance, source, job, run_id, tags)
            _raise_interrupt(result)
        except KeyboardInterrupt:
            # Interrupted by the user: do not resume it automatically.
            run = instance.get_run_by_id(run_id)
            if run and not run.is_finished:
                instance.report_run_canceled(run)
            with warehouse.begin() as connection:
                forget(connection, source.account_id, run_id=run_id)
            raise
        return _summary(warehouse, source, job.reports, first_day, last_day, result, started)


def _never_loaded(warehouse: Warehouse, source: Source, tables: Sequence[str]) -> list[str]:
    """Return the tables that the journal has no load of."""
    lines = ops.journal.c
    loaded = select(lines.table_name).where(
        lines.account_id == source.account_id, lines.event.in_(("done", "refused", "skipped"))
    )
    with warehouse.connect() as connection:
        known = set(connection.scalars(loaded.where(lines.table_name.in_(tables))))
    return [table for table in tables if table not in known]


def _expect_missing(
    warehouse: Warehouse, source: Source, reports: Sequence[str], first_day: date, last_day: date, run_id: str
) -> None:
    """Note the days that are not loaded, so that a run that continues has them to load and no others."""
    missing = missing_periods(warehouse, source, first_day, last_day, reports)
    with warehouse.begin() as connection:
        for report, parts in missing.items():
            for begin, end in parts:
                expect(connection, source.account_id, [report], begin, end, run_id, datetime.now(UTC))


def _run(
    config: Config, instance: DagsterInstance, source: Source, job: Job, run_id: str, tags: Mapping[str, str]
) -> ExecuteInProcessResult:
    definition = build_definitions(config).resolve_job_def(job.name)
    if job.assets:
        assets = {AssetKey([source.name, name]) for name in job.assets}
        known = definition.asset_layer.asset_graph.asset_check_keys
        checks = {key for key in known if key.asset_key in assets and key.name != equals_api.NAME}
        definition = definition.get_subset(asset_selection=assets, asset_check_selection=checks)
    return definition.execute_in_process(
        # What the run says is in the instance; the terminal shows progress and the outcome.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
        run_id=run_id,
        tags=dict(tags),
        raise_on_error=False,
    )


def _raise_interrupt(result: ExecuteInProcessResult) -> None:
    """Raise KeyboardInterrupt when that ended the run: Dagster makes a failed step of it."""
    for event in result.get_step_failure_events():
        error = event.step_failure_data.error
        if error and error.cls_name == DagsterExecutionInterruptedError.__name__:
            raise KeyboardInterrupt


@contextmanager
def _progress(
    console: Console, warehouse: Warehouse, source: Source, days: int, reports: Sequence[str]
) -> Iterator[None]:
    """Show a progress bar for each report while the run loads its days."""
    started = datetime.now(UTC) - timedelta(seconds=1)
    done = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rows]}"))

    def poll(bar: Progress) -> None:
        tasks = {name: bar.add_task(f"{name}: days", total=days, rows="") for name in reports}
        is_last = False
        while not is_last:
            is_last = done.wait(_POLL_SECONDS)
            # When the warehouse is gone, the run says so.
            with suppress(WarehouseError, SQLAlchemyError), warehouse.connect() as connection:
                ledger = ops.loaded_days.c
                query = select(ledger.table_name, func.count(distinct(ledger.day)), func.sum(ledger.rows))
                mine = (ledger.account_id == source.account_id) & (ledger.loaded_at >= started)
                for name, loaded, rows in connection.execute(query.where(mine).group_by(ledger.table_name)):
                    if name in tasks:
                        bar.update(tasks[name], completed=loaded, rows=f"{rows} rows")

    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        thread = threading.Thread(target=poll, args=(bar,), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def points_spent_until(result: ExecuteInProcessResult) -> str | None:
    """Return until when a run that failed waits for points (ISO 8601); None when it does not."""
    for event in result.get_step_failure_events():
        failure = event.step_failure_data.user_failure_data
        if failure and POINTS_SPENT_UNTIL in failure.metadata:
            return str(failure.metadata[POINTS_SPENT_UNTIL].value)
    return None


def _summary(
    warehouse: Warehouse,
    source: Source,
    reports: Sequence[str],
    first_day: date,
    last_day: date,
    result: ExecuteInProcessResult,
    started: datetime,
) -> Summary:
    summary = Summary(source.name, first_day, last_day, result.run_id)
    summary.error, summary.points_spent_until = failure_message(result), points_spent_until(result)
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        if SKIPPED in materialization.metadata:
            summary.skipped[materialization.asset_key.path[-1]] = str(materialization.metadata[SKIPPED].value)
    journal, ledger = ops.journal.c, ops.loaded_days.c
    with warehouse.connect() as connection:
        costs = (journal.rows, journal.points, journal.seconds)
        query = select(journal.table_name, *costs, journal.event, journal.message)
        of_run = journal.run_id == result.run_id
        ends = journal.event.in_(("done", "refused", "failed"))
        lines = connection.execute(query.where(of_run, ends).order_by(journal.id))
        for name, rows, points, seconds, event, message in lines:
            summary.tables[name] = TableSummary(rows, int(points), round(seconds, 3))
            if event == "refused":
                summary.refused[name] = message
        marked = (ledger.table_name.in_(list(summary.refused))) & (ledger.refused_at >= started)
        of_source = select(ledger.table_name, ledger.day).where(ledger.account_id == source.account_id, marked)
        for marked_day in connection.execute(of_source.distinct().order_by(ledger.day)):
            summary.refused_days.setdefault(marked_day.table_name, []).append(marked_day.day)
        loaded = set(connection.execute(select(ledger.table_name, ledger.day).where(ledger.run_id == result.run_id)))
    days = [first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)]
    summary.ok, summary.has_failed = result.success and not summary.refused, not result.success
    if summary.refused:
        told = "; ".join(f"{name}: {message}" for name, message in summary.refused.items())
        refused = f"{told}. If the rows are really gone, load again with --accept-loss."
        summary.error = f"{summary.error}. {refused}" if summary.error else refused
    if not result.success:
        tables = set(reports) - summary.skipped.keys()
        summary.missing = [day for day in days if any((table, day) not in loaded for table in tables)]
    return summary


def finish(summary: Summary, console: Console) -> None:
    """Show how a load ended and leave with its exit code."""
    table = Table(
        "table", "rows", "points", "seconds", title=f"{summary.source} {summary.first_day} to {summary.last_day}"
    )
    for name, line in summary.tables.items():
        table.add_row(name, str(line.rows), str(line.points), f"{line.seconds:.1f}")
    if summary.tables:
        console.print(table)
    for name, why in summary.skipped.items():
        console.print(f"skipped {name}: {why}", soft_wrap=True, markup=False)
    if summary.exit_code:
        fail(" ".join(filter(None, [summary.error, _missing(summary)])), summary.exit_code)


def _missing(summary: Summary) -> str:
    if not (days := summary.missing):
        return ""
    mend = " They are loaded when points are there again, while `up` runs." if summary.points_spent_until else ""
    return f"Not loaded: {len(days)} day(s), from {days[0]} to {days[-1]}; what was loaded stays.{mend}"


@click.command("load")
@click.option("--source", "source_name", help="Name of the source; may be left out when there is only one.")
@click.option("--from", "first_day", type=DAY, help="First day, YYYY-MM-DD.  [default: refresh_days ago]")
@click.option("--till", "last_day", type=DAY, help="Last day, included.  [default: today]")
@click.option("--table", "tables", multiple=True, help="Only this table; may be repeated.  [default: all]")
@click.option("--missing", "only_missing", is_flag=True, help="Only the days of reports that are not loaded yet.")
@click.option("--accept-loss", "accepts_loss", is_flag=True, help="Replace stored rows even where most of them go.")
@click.option("--plan", "is_plan", is_flag=True, help="Load nothing; tell what it takes and when it is done.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    source_name: str | None,
    first_day: date | None,
    last_day: date | None,
    tables: tuple[str, ...],
    only_missing: bool,
    accepts_loss: bool,
    is_plan: bool,
    as_json: bool,
) -> None:
    """Load days of a source and build their star, as a run of the same job that the UI shows."""
    config = load_config()
    source = chosen_source(config, source_name)

    now = today(source, datetime.now(UTC))
    till: date = last_day or now
    begin: date = first_day or max(source.start_date, till - timedelta(days=source.refresh_days))
    console = Console(stderr=as_json)
    if is_plan:
        with sandbox_api(config):
            show_plan(config, source, begin, till, tables, only_missing, as_json)
        return
    with sandbox_api(config):
        summary = load(
            config, source, begin, till, tables, console, only_missing=only_missing, accepts_loss=accepts_loss
        )
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False, default=str))
    finish(summary, console)
