"""The command line: `comagic-pipeline COMMAND`. Only its shape is here; what the commands do is in `commands/`.

Dagster takes two seconds to import: the configuration is read before that, so that what is wrong there is said at once.

Exit codes: 0 done, 1 failed, 2 bad input, 3 stopped by the day's points.
"""

import contextlib
import json
import os
import signal
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from rich.console import Console
from rich.table import Table

from comagic_pipeline.commands.stop_signal import interrupt
from comagic_pipeline.printable import printable

if TYPE_CHECKING:
    from comagic_pipeline.commands.load import Summary
    from comagic_pipeline.config import Config, Source
    from comagic_pipeline.texts import Language

_LONGEST_MESSAGE = 20_000


class _Day(click.ParamType[date]):
    """A day as `YYYY-MM-DD`."""

    name = "day"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        from comagic_pipeline.config import parse_day

        try:
            return parse_day(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


_DAY = _Day()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="comagic_pipeline", message="%(version)s")
def cli() -> None:
    """CoMagic (UIS) call tracking in your own SQL warehouse."""


@cli.command()
def demo() -> None:
    """Load 30 days of a made-up account into the embedded PostgreSQL: no key, no server, no config needed."""
    from comagic_pipeline.commands.demo import demo as run
    from comagic_pipeline.commands.demo import show

    console = Console()
    _finish(run(console), console)
    show(console)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the web server listens on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port of the web server.")
@click.option("--allow-host", "hosts", multiple=True, help="Another name of this machine in browsers; may be repeated.")
def up(host: str, port: int, hosts: tuple[str, ...]) -> None:
    """Run the Dagster web server, daemon and code server: UI, backfills, schedules. Ctrl-C stops them."""
    from comagic_pipeline.config import load_config

    config = load_config()
    from comagic_pipeline.commands.up import up as run

    run(config, host, port, Console(), hosts)


@cli.command()
@click.option("--source", "source_name", help="Name of the source; may be left out when there is only one.")
@click.option("--from", "first_day", type=_DAY, help="First day, YYYY-MM-DD.  [default: refresh_days ago]")
@click.option("--till", "last_day", type=_DAY, help="Last day, included.  [default: today]")
@click.option("--table", "tables", multiple=True, help="Only this table; may be repeated.  [default: all]")
@click.option("--missing", "only_missing", is_flag=True, help="Only the days of reports that are not loaded yet.")
@click.option("--accept-loss", "accepts_loss", is_flag=True, help="Replace stored rows even where most of them go.")
@click.option("--plan", "is_plan", is_flag=True, help="Load nothing; tell what it takes and when it is done.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def load(
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
    from comagic_pipeline.commands.services import sandbox_api
    from comagic_pipeline.config import load_config

    config = load_config()
    source = _source(config, source_name)
    from comagic_pipeline.commands.load import load as run
    from comagic_pipeline.partitions import today

    now = today(source, datetime.now(UTC))
    till: date = last_day or now
    begin: date = first_day or max(source.start_date, till - timedelta(days=source.refresh_days))
    console = Console(stderr=as_json)
    if is_plan:
        with sandbox_api(config):
            _plan(config, source, begin, till, tables, only_missing, as_json)
        return
    with sandbox_api(config):
        summary = run(
            config, source, begin, till, tables, console, only_missing=only_missing, accepts_loss=accepts_loss
        )
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False, default=str))
    _finish(summary, console)


@cli.command()
@click.argument("name", required=False)
@click.option("--source", "source_name", help="Name of the source, where several have such a report.")
@click.option("--from", "first_day", type=_DAY, help="First day, YYYY-MM-DD.  [default: refresh_days ago]")
@click.option("--till", "last_day", type=_DAY, help="Last day, included.  [default: today]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the rows to a file: .csv, .parquet or .xlsx.")
@click.option(
    "--raw-csv", "is_raw", is_flag=True, help="Leave texts in CSV as they are, for programs, not spreadsheets."
)
@click.option("--missing", "only_missing", is_flag=True, help="Only the days that are not loaded yet.")
@click.option("--rebuild", "is_rebuilt", is_flag=True, help="Delete first all that is loaded of the report.")
@click.option("--accept-loss", "accepts_loss", is_flag=True, help="Replace stored rows even where most of them go.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def report(
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
    from comagic_pipeline.commands.services import sandbox_api
    from comagic_pipeline.config import load_config

    config = load_config()
    from comagic_pipeline.commands import report as command
    from comagic_pipeline.partitions import today

    console = Console(stderr=as_json)
    if name is None:
        lines = command.report_lines(config)
        if as_json:
            click.echo(json.dumps([line.as_json() for line in lines], ensure_ascii=False))
        else:
            command.show(lines, console)
        return
    source, found = command.find_report(config, name, source_name)
    till: date = last_day or today(source, datetime.now(UTC))
    begin: date = first_day or max(source.start_date, till - timedelta(days=found.refresh_days))
    with sandbox_api(config):
        summary = command.run_report(
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
    _finish(summary, console)


@cli.command()
@click.option("--source", "source_name", help="Name of the source; may be left out when there is only one.")
@click.option("--from", "first_day", type=_DAY, help="First day, YYYY-MM-DD.  [default: reconciliation.days ago]")
@click.option("--till", "last_day", type=_DAY, help="Last day, included.  [default: yesterday]")
@click.option("--table", "tables", multiple=True, help="Only this report; may be repeated.  [default: calls_report]")
@click.option("--mode", type=click.Choice(["quick", "sampled", "full"]), help="How.  [default: as configured]")
@click.option("--heal", "heals", is_flag=True, help="Load the days again that differ, and compare them again.")
@click.option("--accept-loss", "accepts_loss", is_flag=True, help="With --heal: replace rows even where most go.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def reconcile(
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
    from comagic_pipeline.commands.services import sandbox_api
    from comagic_pipeline.config import load_config

    config = load_config()
    source = _source(config, source_name)
    from comagic_pipeline.checks.equals_api import default_period
    from comagic_pipeline.commands import reconcile as command

    begin, till = default_period(source, datetime.now(UTC))
    period = (first_day or begin, last_day or till)
    console = Console(stderr=as_json)
    with sandbox_api(config):
        chosen = mode or source.reconciliation.mode
        options = {"heals": heals, "accepts_loss": accepts_loss}
        summary = command.reconcile(config, source, period, tables, chosen, console, **options)
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False))
    command.show(summary, console)
    if summary.error:
        _fail(summary.error, summary.exit_code)
    sys.exit(summary.exit_code)


@cli.command()
@click.option("--forget", "is_given_up", is_flag=True, help="Give them up: they stay missing until you load them.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def waiting(is_given_up: bool, as_json: bool) -> None:
    """Show the days that loads left, which go on by themselves while `up` runs."""
    from comagic_pipeline.commands import waiting as command
    from comagic_pipeline.config import load_config

    config = load_config()
    days = command.waiting_days(config)
    if as_json:
        click.echo(json.dumps(command.as_json(days), ensure_ascii=False))
    else:
        command.show(days, Console())
    if is_given_up:
        click.echo(f"{command.give_up(config)} days of tables do not wait any more", err=True)


@cli.command()
@click.option("--source", "source_name", help="Only of this source.")
@click.option(
    "--status",
    type=click.Choice(["done", "failed", "different", "refused", "skipped", "warning"]),
    help="Only lines of this kind.",
)
@click.option("--day", type=_DAY, help="Only of this day, YYYY-MM-DD, by the clock of the source.")
@click.option("--table", help="Only of this table, star or report.")
@click.option("--lines", default=50, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--lang", "language", default="en", show_default=True, type=click.Choice(["en", "ru"]), help="Language.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def journal(
    source_name: str | None,
    status: str | None,
    day: date | None,
    table: str | None,
    lines: int,
    language: "Language",
    as_json: bool,
) -> None:
    """Show what ran last, what it changed and cost, and what to do where it failed; the newest lines come last."""
    from comagic_pipeline.commands import journal as command
    from comagic_pipeline.config import load_config

    wanted = command.Wanted(lines, source_name, status, day, table)
    found = command.latest(load_config(), wanted)
    if as_json:
        click.echo(json.dumps(command.as_json(found, language), ensure_ascii=False))
    else:
        command.show(found, language, Console())


@cli.command()
@click.option("--source", "source_name", help="Name of the source; may be left out when there is only one.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Delete nothing; count what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def retention(source_name: str | None, is_dry: bool, as_json: bool) -> None:
    """Delete the days that are older than `retention.keep_days` of the configuration."""
    from comagic_pipeline.config import load_config

    config = load_config()
    source = _source(config, source_name)
    from comagic_pipeline.commands import retention as command

    summary = command.retain(config, source, is_dry=is_dry)
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False))
    else:
        command.show(summary, Console())
    if summary.error:
        _fail(summary.error, 1)


@cli.command()
@click.option("--port", default=8765, show_default=True, type=click.IntRange(1, 65535), help="Port on 127.0.0.1.")
@click.option("--seed", default=1, show_default=True, help="Which of all possible accounts.")
@click.option("--calls-per-day", default=300, show_default=True, type=click.IntRange(0), help="About so many.")
@click.option("--campaigns", default=12, show_default=True, type=click.IntRange(0), help="Campaigns of the account.")
@click.option("--customers", default=0, show_default=True, type=click.IntRange(0), help="Make it an agent of so many.")
@click.option("--day-limit", default=3000, show_default=True, type=click.IntRange(0), help="Points a day.")
@click.option("--minute-limit", default=60, show_default=True, type=click.IntRange(1), help="Points a minute.")
def sandbox(
    port: int, seed: int, calls_per_day: int, campaigns: int, customers: int, day_limit: int, minute_limit: int
) -> None:
    """Serve a made-up account over the documented Data API, for trying things out without points."""
    from comagic_pipeline.commands.services import require_free_port
    from comagic_pipeline.sandbox.running import serve
    from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
    from comagic_pipeline.sandbox.world import World

    require_free_port(port, "--port")
    click.echo(f"sandbox API: http://127.0.0.1:{port}/v2.0   key: {SANDBOX_TOKEN}   (Ctrl-C stops it)", err=True)
    world = World(seed=seed, calls_per_day=calls_per_day, campaigns=campaigns, customers=customers)
    with contextlib.suppress(KeyboardInterrupt):
        serve(port, world, Settings(day_limit=day_limit, minute_limit=minute_limit))


@cli.command()
@click.option("--tell", "is_told", is_flag=True, help="Send a test message to each address of alerts.urls, no more.")
def doctor(is_told: bool) -> None:
    """Check config, key, address list, points, warehouse and instance; say what to mend. Costs a point a source."""
    from comagic_pipeline.commands.services import sandbox_api
    from comagic_pipeline.config import load_config

    config = load_config()
    from comagic_pipeline.commands.doctor import Finding, examine, tell

    def report(finding: Finding) -> None:
        click.echo(f"{'ok  ' if finding.ok else 'MEND'}  {finding.check}: {finding.text}")

    if is_told:
        findings = list(tell(config))
        for finding in findings:
            report(finding)
        sys.exit(0 if all(finding.ok for finding in findings) else 1)
    with sandbox_api(config):
        if not examine(config, report):
            sys.exit(1)


@cli.command()
def stop() -> None:
    """Stop the embedded PostgreSQL, whoever uses it; it starts again with the next command."""
    from comagic_pipeline.config import load_config
    from comagic_pipeline.opening import embedded_folder
    from comagic_pipeline.warehouse.embedded import stop as run

    click.echo("stopped" if run(embedded_folder(load_config())) else "it was not running")


def main() -> None:
    """Run the command line; expected errors become one line on standard error and an exit code."""
    # A service manager's stop runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, interrupt)
    # A shell lets what it starts in the background ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    _ask_this_machine_directly()
    from comagic_pipeline.commands.services import ServiceError
    from comagic_pipeline.config import ConfigError
    from comagic_pipeline.warehouse.embedded import EmbeddedServerError
    from comagic_pipeline.warehouse.engine import WarehouseError

    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except ConfigError as error:
        _fail(str(error), 2)
    except (WarehouseError, EmbeddedServerError, ServiceError) as error:
        _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except Exception as error:
        _fail(_line_of(error), 1)


def _ask_this_machine_directly() -> None:
    """Name this machine in no_proxy: what the processes of a command say to each other goes through no proxy."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name for name in known.split(",") if name]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*names, "localhost", "127.0.0.1", "::1"]))


def _source(config: "Config", name: str | None) -> "Source":
    """The source that was named, or the only one; raises ConfigError."""
    from comagic_pipeline.config import ConfigError

    if name is None and len(config.sources) > 1:
        raise ConfigError(f"--source: choose one of {', '.join(source.name for source in config.sources)}")
    return config.sources[0] if name is None else config.source(name)


def _plan(
    config: "Config",
    source: "Source",
    begin: date,
    till: date,
    tables: tuple[str, ...],
    only_missing: bool,
    as_json: bool,
) -> None:
    """Show what a load would take."""
    from comagic_pipeline.api.errors import ComagicError
    from comagic_pipeline.commands.plan import plan, show

    try:
        summary = plan(config, source, begin, till, tables, only_missing=only_missing)
    except ComagicError as error:
        _fail(str(error), 1)
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False))
    else:
        show(summary, Console())


def _finish(summary: "Summary", console: Console) -> None:
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
        _fail(" ".join(filter(None, [summary.error, _missing(summary)])), summary.exit_code)


def _missing(summary: "Summary") -> str:
    if not (days := summary.missing):
        return ""
    mend = " They are loaded when points are there again, while `up` runs." if summary.points_spent_until else ""
    return f"Not loaded: {len(days)} day(s), from {days[0]} to {days[-1]}; what was loaded stays.{mend}"


def _line_of(error: Exception) -> str:
    """Return what a person reads of an error that no command expects."""
    from comagic_pipeline.failures import full_disk, note_unexpected

    if full := full_disk(error):
        return str(full)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return f"{note_unexpected(error)}. This is a mistake of comagic_pipeline: please report it with the traceback"


def _fail(message: str, code: int) -> NoReturn:
    # Only control characters are taken out: all that we say ourselves is shown.
    shown = "\n".join(printable(line, _LONGEST_MESSAGE) for line in message.splitlines())
    click.echo(f"Error: {shown}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
