"""`reconcile`: compare loaded days with the API; `--heal` loads differing days again."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from uuid import uuid4

import click
from dagster import AssetCheckKey
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from comagic_pipeline.catalog.table_names import facts_of
from comagic_pipeline.cli.load import Job, points_spent_until, run_job
from comagic_pipeline.cli.options import DAY, chosen_source
from comagic_pipeline.cli.outcome import fail
from comagic_pipeline.cli.project import open_project
from comagic_pipeline.cli.services import sandbox_api
from comagic_pipeline.config import Config, ConfigError, Source, load_config
from comagic_pipeline.config.calendar import check_period
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks import equals_api
from comagic_pipeline.dagster.checks.equals_api import default_period, reconciled_reports
from comagic_pipeline.dagster.run_failures import failure_message
from comagic_pipeline.dagster.runs import (
    ASKED_AT,
    COMMAND,
    RANGE_END,
    RANGE_START,
    load_job_name,
    reconcile_job_name,
)
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.api_client import open_client
from comagic_pipeline.warehouse.ops.pending_days import periods
from comagic_pipeline.warehouse.ops.tables import journal, reconciled_days
from comagic_pipeline.warehouse.star.tables import star_of


@dataclass
class ReconcileSummary:
    """How the days of a source compare, by report; `healed` days were loaded again and are equal since."""

    source: str
    first_day: date
    last_day: date
    mode: str
    compared: dict[str, int] = field(default_factory=dict)
    different: dict[str, list[date]] = field(default_factory=dict)
    healed: dict[str, list[date]] = field(default_factory=dict)
    points: int = 0
    error: str | None = None
    points_spent_until: str | None = None

    @property
    def exit_code(self) -> int:
        """0 all is equal, 1 something differs or failed, 3 stopped by the day's points."""
        if self.points_spent_until:
            return 3
        return 1 if self.error or any(self.different.values()) else 0

    def as_json(self) -> dict[str, object]:
        """For machines; days as YYYY-MM-DD."""
        days = {
            name: {table: [str(day) for day in of_table] for table, of_table in getattr(self, name).items()}
            for name in ("different", "healed")
        }
        return asdict(self) | {"first_day": str(self.first_day), "last_day": str(self.last_day)} | days


def reconcile(
    config: Config,
    source: Source,
    period: tuple[date, date],
    tables: Sequence[str],
    mode: str,
    console: Console,
    *,
    heals: bool,
    accepts_loss: bool = False,
) -> ReconcileSummary:
    """Compare the loaded days of a period, both ends included; with `heals` load again what differs, and compare it.

    `tables` empty means those that the schedule compares; `accepts_loss` heals even where most rows go.
    Raises ConfigError, WarehouseError or EmbeddedServerError before anything is touched.
    """
    check_period(source, *period)
    known = [method.table for method in reconciled_reports(source)]
    for table in tables:
        if table not in known:
            raise ConfigError(f"--table {table}: not among the reports of the source {source.name}: {', '.join(known)}")
    chosen = [table for table in tables or source.reconciliation.tables if table in known]
    if not chosen:
        raise ConfigError(f"the source {source.name} loads none of {', '.join(source.reconciliation.tables)}")
    open_client(source).close()
    summary = ReconcileSummary(source.name, *period, mode)
    _compare(config, source, period, chosen, mode, summary)
    if heals and not summary.error:
        for table in chosen:
            _heal(config, source, table, summary, console, accepts_loss=accepts_loss)
    return summary


def _compare(
    config: Config,
    source: Source,
    period: tuple[date, date],
    tables: Sequence[str],
    mode: str,
    summary: ReconcileSummary,
) -> None:
    run_id = str(uuid4())
    tags = {RANGE_START: period[0].isoformat(), RANGE_END: period[1].isoformat(), equals_api.MODE: mode}
    tags |= {COMMAND: "reconcile", ASKED_AT: datetime.now(UTC).isoformat()}
    with open_project(config) as (warehouse, instance):
        keys = [AssetCheckKey(asset_key(source, table), equals_api.NAME) for table in tables]
        result = (
            build_definitions(config)
            .resolve_job_def(reconcile_job_name(source))
            .get_subset(asset_selection=set(), asset_check_selection=set(keys))
            .execute_in_process(
                run_config={
                    **equals_api.run_config(source, tables),
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                instance=instance,
                run_id=run_id,
                tags=tags,
                raise_on_error=False,
            )
        )
        summary.error, summary.points_spent_until = failure_message(result), points_spent_until(result)
        with warehouse.connect() as connection:
            days = reconciled_days.c
            lines = select(days.table_name, days.day, days.is_equal).where(days.run_id == run_id).order_by(days.day)
            for table, day, is_equal in connection.execute(lines):
                summary.compared[table] = summary.compared.get(table, 0) + 1
                if not is_equal:
                    summary.different.setdefault(table, []).append(day)
            spent = select(journal.c.points).where(journal.c.run_id == run_id, journal.c.points.is_not(None))
            summary.points += int(sum(connection.scalars(spent)))


def _heal(
    config: Config, source: Source, table: str, summary: ReconcileSummary, console: Console, *, accepts_loss: bool
) -> None:
    different = summary.different.pop(table, [])
    facts = facts_of(table, source.chosen_tables)
    built = star_of(source.chosen_tables).items()
    star = [each.name for kind, tables in built if kind.facts.name in facts for each in tables]
    job = Job(load_job_name(source), [table, *star], [table], accepts_loss=accepts_loss)
    refused: list[str] = []
    for part in periods(different):
        loaded = run_job(config, source, *part, job, console)
        summary.points += sum(each.points for each in loaded.tables.values())
        if loaded.is_only_refused:
            refused.append(loaded.error or "")
        elif loaded.exit_code:
            summary.error, summary.points_spent_until = loaded.error, loaded.points_spent_until
            summary.different[table] = different
            return
    again = ReconcileSummary(source.name, summary.first_day, summary.last_day, "full")
    for part in periods(different):
        _compare(config, source, part, [table], "full", again)
    summary.points += again.points
    summary.error, summary.points_spent_until = again.error or " ".join(refused) or None, again.points_spent_until
    left = again.different.get(table, [])
    summary.healed[table] = [day for day in different if day not in left]
    if left:
        summary.different[table] = left


def show(summary: ReconcileSummary, console: Console) -> None:
    """For people."""
    title = f"{summary.source} {summary.first_day} to {summary.last_day}, {summary.mode}"
    table = Table("report", "days compared", "differ", "healed", title=title)
    for name, days in summary.compared.items():
        differ, healed = summary.different.get(name, []), summary.healed.get(name, [])
        table.add_row(name, str(days), _shown(differ), _shown(healed))
    console.print(table)
    console.print(f"points spent: {summary.points}")


def _shown(days: Sequence[date]) -> str:
    return ", ".join(str(begin) if begin == end else f"{begin} to {end}" for begin, end in periods(days)) or "none"


@click.command("reconcile")
@click.option("--source", "source_name", help="Name of the source; may be left out when there is only one.")
@click.option("--from", "first_day", type=DAY, help="First day, YYYY-MM-DD.  [default: reconciliation.days ago]")
@click.option("--till", "last_day", type=DAY, help="Last day, included.  [default: yesterday]")
@click.option("--table", "tables", multiple=True, help="Only this report; may be repeated.  [default: calls_report]")
@click.option("--mode", type=click.Choice(["quick", "sampled", "full"]), help="How.  [default: as configured]")
@click.option("--heal", "heals", is_flag=True, help="Load the days again that differ, and compare them again.")
@click.option("--accept-loss", "accepts_loss", is_flag=True, help="With --heal: replace rows even where most go.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    source_name: str | None,
    first_day: date | None,
    last_day: date | None,
    tables: tuple[str, ...],
    mode: str | None,
    heals: bool,
    accepts_loss: bool,
    as_json: bool,
) -> None:
    """Compare loaded days with what CoMagic says: calls, waiting, talking by campaign, call source and tag."""
    config = load_config()
    source = chosen_source(config, source_name)

    begin, till = default_period(source, datetime.now(UTC))
    period = (first_day or begin, last_day or till)
    console = Console(stderr=as_json)
    with sandbox_api(config):
        chosen = mode or source.reconciliation.mode
        options = {"heals": heals, "accepts_loss": accepts_loss}
        summary = reconcile(config, source, period, tables, chosen, console, **options)
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False))
    show(summary, console)
    if summary.error:
        fail(summary.error, summary.exit_code)
    sys.exit(summary.exit_code)
