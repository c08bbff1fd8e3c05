"""`report`: load a custom report for a period, write its rows to a file, or list all reports."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import gettempdir

import click
from dagster import AssetKey
from rich.console import Console
from rich.text import Text
from sqlalchemy import func, select

from comagic_pipeline.cli.load import Job, Summary, finish, run_job
from comagic_pipeline.cli.options import DAY
from comagic_pipeline.cli.project import open_project
from comagic_pipeline.cli.services import sandbox_api
from comagic_pipeline.config import Config, ConfigError, Source, load_config
from comagic_pipeline.config.calendar import check_period, today
from comagic_pipeline.core.disks import full_message, full_place, is_full_error
from comagic_pipeline.core.suggestions import nearest
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.dagster.runs import report_job_name
from comagic_pipeline.operations.api_client import open_client
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.operations.files import ENDINGS, check_path, write_file
from comagic_pipeline.warehouse.ops.tables import loaded_days
from comagic_pipeline.warehouse.reports.tables import drop_report


@dataclass(frozen=True)
class ReportLine:
    """What there is of a custom report."""

    source: str
    name: str
    asset: str
    job: str
    processor_id: int
    report: str
    tables: list[str]
    schedule: str | None
    first_day: date | None
    last_day: date | None
    days: int

    def as_json(self) -> dict[str, object]:
        """For machines; days as YYYY-MM-DD."""
        return {name: str(value) if isinstance(value, date) else value for name, value in asdict(self).items()}


def find_report(config: Config, name: str, source_name: str | None) -> tuple[Source, CustomReport]:
    """Return the report of that name, or with an asset of that name.

    Raises ConfigError when there is none, or several.
    """
    sources = config.sources if source_name is None else [config.source(source_name)]
    known = [(source, report) for source in sources for report in source.custom_reports]
    found = [(source, report) for source, report in known if name in (report.name, report.asset_name)]
    if len(found) == 1:
        return found[0]
    if found:
        owners = ", ".join(source.name for source, _ in found)
        raise ConfigError(f"--source: several sources have a report {name!r}: choose one of {owners}")
    if not known:
        raise ConfigError(f"there is no report {name!r}: {config.path} has no custom_reports (docs/custom_reports.md)")
    names = [report.name for _, report in known]
    hint = nearest(name, [*names, *(report.asset_name for _, report in known)])
    raise ConfigError(f"there is no report {name!r}{hint}; the config has: {', '.join(names)}")


def report_lines(config: Config) -> list[ReportLine]:
    """Return all custom reports, in the order of the file, with what is loaded of them."""
    with open_warehouse(config) as warehouse, warehouse.connect() as connection:
        columns = loaded_days.c
        days = func.min(columns.day), func.max(columns.day), func.count(columns.day.distinct())
        query = select(columns.account_id, columns.table_name, *days).group_by(columns.account_id, columns.table_name)
        loaded = {(account, name): counts for account, name, *counts in connection.execute(query)}
        star = warehouse.schemas.star
        return [
            ReportLine(
                source.name,
                report.name,
                report.asset_name,
                report_job_name(source, report),
                report.processor_id,
                report.method.table,
                [f"{star}.{name}" for name in report.home.table_names],
                report.cron_schedule,
                *loaded.get((source.account_id, report.asset_name), (None, None, 0)),
            )
            for source in config.sources
            for report in source.custom_reports
        ]


def run_report(
    config: Config,
    source: Source,
    report: CustomReport,
    period: tuple[date, date],
    console: Console,
    *,
    only_missing: bool,
    is_rebuilt: bool,
    accepts_loss: bool = False,
    out: Path | None,
    escapes_formulas: bool = True,
) -> Summary:
    """Load the days of a custom report from the first to the last, then write their rows to the file `out`, if any.

    `is_rebuilt` deletes before all that is loaded of it, `only_missing` leaves out what is, `accepts_loss` replaces
    rows even where most of them go. Without `escapes_formulas` a CSV file has texts as they are. Raises ConfigError,
    WarehouseError or EmbeddedServerError before anything is touched.
    """
    check_period(source, *period)
    if out:
        _check_file(out)
    if is_rebuilt:
        _rebuild(config, source, report, console)
    job = Job(report_job_name(source, report), (), [report.asset_name], "report", accepts_loss)
    summary = run_job(config, source, *period, job, console, only_missing=only_missing)
    if out and not summary.exit_code:
        try:
            _export(config, source, report, period, out, console, escapes_formulas=escapes_formulas)
        except OSError as error:
            summary.ok, summary.error = False, f"--out {out}: {_reason(error, out)}"
    return summary


def _export(
    config: Config,
    source: Source,
    report: CustomReport,
    period: tuple[date, date],
    out: Path,
    console: Console,
    *,
    escapes_formulas: bool,
) -> None:
    with open_warehouse(config) as warehouse:
        written = write_file(
            warehouse, report, period, out, is_agent=source.is_agent, escapes_formulas=escapes_formulas
        )
    rows = ", ".join(f"{count} rows of {name}" for name, count in written.rows.items()) or "no rows"
    console.print(f"{', '.join(map(str, written.paths))}: {rows}", soft_wrap=True)
    for name, count in written.unfit.items():
        if count:
            console.print(f"warning: {count} values of {name} do not fit into the file and are cut or left out")


def _check_file(out: Path) -> None:
    """Raise ConfigError when no file can be written there."""
    if out.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--out {out}: let the name end with {' or '.join(ENDINGS)}")
    try:
        check_path(out)
    except OSError as error:
        raise ConfigError(f"--out {out}: no file can be written there: {_reason(error, out)}") from None


def _reason(error: OSError, out: Path) -> str:
    """Return why a file cannot be written; rows of Excel files are in temporary files first."""
    if not is_full_error(error):
        return error.strerror or str(error)
    folder = out.absolute().parent
    return full_message(full_place([folder, Path(gettempdir())]) or folder)


def _rebuild(config: Config, source: Source, report: CustomReport, console: Console) -> None:
    # A key that is not set is found before anything is deleted.
    open_client(source).close()
    with open_project(config) as (warehouse, instance):
        with warehouse.begin() as connection:
            gone = drop_report(connection, report.processor_id, source.account_id, report.asset_name)
        instance.wipe_assets([AssetKey([source.name, report.asset_name])])
    console.print(f"deleted what was loaded of {report.name!r}" + (f" in {', '.join(gone)}" if gone else ""))


def show(lines: Sequence[ReportLine], console: Console) -> None:
    """For people."""
    if not lines:
        console.print("no custom reports: see docs/custom_reports.md")
    for line in lines:
        days = f"{line.days} days, from {line.first_day} to {line.last_day}" if line.days else "nothing"
        said = {
            "report": line.report,
            "asset": f"{line.source}/{line.asset}",
            "job": line.job,
            "number": str(line.processor_id),
            "tables": ", ".join(line.tables),
            "schedule": line.schedule or "off",
            "loaded": days,
        }
        console.print(Text(line.name, "bold"))
        for name, value in said.items():
            console.print(Text(f"  {name:9}{value}"), soft_wrap=True)


@click.command("report")
@click.argument("name", required=False)
@click.option("--source", "source_name", help="Name of the source, where several have such a report.")
@click.option("--from", "first_day", type=DAY, help="First day, YYYY-MM-DD.  [default: refresh_days ago]")
@click.option("--till", "last_day", type=DAY, help="Last day, included.  [default: today]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the rows to a file: .csv, .parquet or .xlsx.")
@click.option(
    "--raw-csv", "is_raw", is_flag=True, help="Leave texts in CSV as they are, for programs, not spreadsheets."
)
@click.option("--missing", "only_missing", is_flag=True, help="Only the days that are not loaded yet.")
@click.option("--rebuild", "is_rebuilt", is_flag=True, help="Delete first all that is loaded of the report.")
@click.option("--accept-loss", "accepts_loss", is_flag=True, help="Replace stored rows even where most of them go.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    name: str | None,
    source_name: str | None,
    first_day: date | None,
    last_day: date | None,
    out: Path | None,
    is_raw: bool,
    only_missing: bool,
    is_rebuilt: bool,
    accepts_loss: bool,
    as_json: bool,
) -> None:
    """Load days of the custom report NAME, as the configuration or its asset calls it; without NAME show them all."""
    config = load_config()

    console = Console(stderr=as_json)
    if name is None:
        lines = report_lines(config)
        if as_json:
            click.echo(json.dumps([line.as_json() for line in lines], ensure_ascii=False))
        else:
            show(lines, console)
        return
    source, found = find_report(config, name, source_name)
    till: date = last_day or today(source, datetime.now(UTC))
    begin: date = first_day or max(source.start_date, till - timedelta(days=found.refresh_days))
    with sandbox_api(config):
        summary = run_report(
            config,
            source,
            found,
            (begin, till),
            console,
            only_missing=only_missing,
            is_rebuilt=is_rebuilt,
            accepts_loss=accepts_loss,
            out=out,
            escapes_formulas=not is_raw,
        )
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False, default=str))
    finish(summary, console)
