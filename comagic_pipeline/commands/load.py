"""`load`: the source's job in this process, recorded in the instance, with progress and an honest end."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta

from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.utils import make_new_run_id
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import distinct, func, select
from sqlalchemy.exc import SQLAlchemyError

from comagic_pipeline.asked import ASKED_AT, COMMAND, CONTINUES, RANGE_END, RANGE_START, load_job_name
from comagic_pipeline.assets.journal import POINTS_SPENT_UNTIL, SKIPPED
from comagic_pipeline.checks import equals_api
from comagic_pipeline.config import Config, ConfigError, Source
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.instance import open_instance
from comagic_pipeline.partitions import check_period
from comagic_pipeline.plan import missing_periods
from comagic_pipeline.recovery import recover
from comagic_pipeline.resources import make_views, open_client, open_warehouse
from comagic_pipeline.tables import REPORTS, STAR, TABLE_NAMES, star_of
from comagic_pipeline.warehouse import ops
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError
from comagic_pipeline.warehouse.waiting import expect, forget

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

    `skipped` says of tables that the account has no access to, why.
    """

    source: str
    first_day: date
    last_day: date
    run_id: str = ""
    ok: bool = False
    error: str | None = None
    points_spent_until: str | None = None
    tables: dict[str, TableSummary] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    missing: list[date] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed, 3 stopped by the day's points."""
        return 0 if self.ok else 3 if self.points_spent_until else 1

    def as_json(self) -> dict[str, object]:
        """The summary for machines; dates as YYYY-MM-DD."""
        return asdict(self) | {
            "first_day": self.first_day.isoformat(),
            "last_day": self.last_day.isoformat(),
            "missing": [day.isoformat() for day in self.missing],
            "points": sum(table.points for table in self.tables.values()),
        }


def check_tables(source: Source, tables: Sequence[str]) -> None:
    """Raises ConfigError for a table that the source does not have."""
    for table in tables:
        if table not in source.chosen_tables:
            names = ", ".join(name for name in TABLE_NAMES if name in source.chosen_tables)
            raise ConfigError(f"--table {table}: not among the tables of the source {source.name}: {names}")


def load(
    config: Config,
    source: Source,
    first_day: date,
    last_day: date,
    tables: Sequence[str],
    console: Console,
    *,
    only_missing: bool = False,
) -> Summary:
    """Load days of a source, both included; `tables` empty means all that the config chooses.

    `only_missing` leaves out the days of reports that the ledger has.
    Raises ConfigError, WarehouseError or EmbeddedServerError before anything is touched, and KeyboardInterrupt when the
    load was told to stop: whole days that were loaded stay.
    """
    check_period(source, first_day, last_day)
    check_tables(source, tables)
    if along := [name for name in source.tables_that_come_along if name not in STAR]:
        console.print(f"loaded too, for the chosen tables need them: {', '.join(along)}")
    reports = [method.table for method in REPORTS if method.table in (tables or source.chosen_tables)]
    # The star tables of a kind are built together.
    built = [[table.name for table in group] for group in star_of(source.chosen_tables).values()]
    names = {*tables, *(name for group in built if not set(group).isdisjoint(tables) for name in group)}
    job = Job(load_job_name(source), sorted(names), reports)
    return run_job(config, source, first_day, last_day, job, console, only_missing=only_missing)


@dataclass(frozen=True)
class Job:
    """A job to run here: the assets of it, none for all, and the reports whose days it loads, by which command."""

    name: str
    assets: Sequence[str]
    reports: Sequence[str]
    command: str = "load"


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
    with open_warehouse(config) as warehouse, open_instance(config) as instance:
        recover(config, instance, warehouse)
        for warning in make_views(config, warehouse):
            console.print(f"warning: {warning}", soft_wrap=True, markup=False)
        days = (last_day - first_day).days + 1
        run_id = make_new_run_id()
        tags = {RANGE_START: first_day.isoformat(), RANGE_END: last_day.isoformat(), COMMAND: job.command}
        tags[ASKED_AT] = datetime.now(UTC).isoformat()
        if only_missing:
            _expect_missing(warehouse, source, job.reports, first_day, last_day, run_id)
            tags[CONTINUES] = source.name
        try:
            with _progress(console, warehouse, source, days, job.reports):
                result = _run(config, instance, source, job, run_id, tags)
            _raise_interrupt(result)
        except KeyboardInterrupt:
            # Who stops a load does not want it to go on by itself.
            with warehouse.begin() as connection:
                forget(connection, source.account_id, run_id=run_id)
            raise
        return _summary(warehouse, source, job.reports, first_day, last_day, result)


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
    """Raises KeyboardInterrupt when that ended the run: Dagster makes a failed step of it."""
    for event in result.get_step_failure_events():
        error = event.step_failure_data.error
        if error and error.cls_name == DagsterExecutionInterruptedError.__name__:
            raise KeyboardInterrupt


@contextmanager
def _progress(
    console: Console, warehouse: Warehouse, source: Source, days: int, reports: Sequence[str]
) -> Iterator[None]:
    """A bar for each report of the days that the ledger gains while the run goes on."""
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


def failure_of(result: ExecuteInProcessResult) -> tuple[str | None, str | None]:
    """What a run says of its failure in one line, and until when it waits for points; None for what there is not."""
    error, until = None, None
    if failed := result.get_step_failure_events():
        # Later steps may fail for the same reason.
        data = failed[0].step_failure_data
        failure = data.user_failure_data
        said = (failure.description if failure else None) or (data.error.message if data.error else "")
        error = " ".join((said or "").split())
        for event in failed:
            failure = event.step_failure_data.user_failure_data
            if failure and POINTS_SPENT_UNTIL in failure.metadata:
                until = str(failure.metadata[POINTS_SPENT_UNTIL].value)
    elif not result.success:
        error = next((event.message for event in result.all_events if event.is_failure), None)
    return error, until


def _summary(
    warehouse: Warehouse,
    source: Source,
    reports: Sequence[str],
    first_day: date,
    last_day: date,
    result: ExecuteInProcessResult,
) -> Summary:
    summary = Summary(source.name, first_day, last_day, result.run_id, result.success)
    summary.error, summary.points_spent_until = failure_of(result)
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        if SKIPPED in materialization.metadata:
            summary.skipped[materialization.asset_key.path[-1]] = str(materialization.metadata[SKIPPED].value)
    journal, ledger = ops.journal.c, ops.loaded_days.c
    with warehouse.connect() as connection:
        query = select(journal.table_name, journal.rows, journal.points, journal.seconds)
        of_run = journal.run_id == result.run_id
        ends = journal.event.in_(("done", "failed"))
        lines = connection.execute(query.where(of_run, ends).order_by(journal.id))
        for name, rows, points, seconds in lines:
            summary.tables[name] = TableSummary(rows, int(points), round(seconds, 3))
        loaded = set(connection.execute(select(ledger.table_name, ledger.day).where(ledger.run_id == result.run_id)))
    days = [first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)]
    if not summary.ok:
        tables = set(reports) - summary.skipped.keys()
        summary.missing = [day for day in days if any((table, day) not in loaded for table in tables)]
    return summary
