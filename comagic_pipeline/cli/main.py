"""The command line: `comagic-pipeline COMMAND`. To add a command, write a module with its name and list it here.

A module is imported when its command is run, because Dagster takes two seconds to import. The configuration is read
before that, so that a mistake there is told at once.

Exit codes: 0 done, 1 failed, 2 bad input, 3 stopped by the day's points.
"""

import os
import signal
import sys
from importlib import import_module

import click

from comagic_pipeline.cli.outcome import fail
from comagic_pipeline.cli.stop_signal import interrupt

COMMANDS = {
    "demo": "Load 30 days of a made-up account into the embedded PostgreSQL.",
    "up": "Run the Dagster web server, daemon and code server.",
    "load": "Load days of a source and build their star.",
    "report": "Load days of a custom report, or write them to a file.",
    "reconcile": "Compare loaded days with CoMagic, and load again what differs.",
    "waiting": "Show the days that loads left, or give them up.",
    "journal": "Show what ran, what it cost and what went wrong.",
    "retention": "Delete the days that are older than `retention.keep_days`.",
    "sandbox": "Serve a made-up account over the documented Data API.",
    "doctor": "Check configuration, key, points, warehouse and instance.",
    "stop": "Stop the embedded PostgreSQL.",
}
"""The commands, and what the list of them says of each."""
_WITHOUT_CONFIG = ("demo", "sandbox")
"""Commands that do not need the configuration file."""
_HELP = ("-h", "--help")


class _Commands(click.Group):
    """A group that imports the module of a command when it is needed."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        return command_of(name) if name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, *rest = args
        if name in COMMANDS and name not in _WITHOUT_CONFIG and not set(_HELP).intersection(rest):
            from comagic_pipeline.config import load_config

            load_config()
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def command_of(name: str) -> click.Command:
    """Return the command of a name, imported now."""
    command = import_module(f"comagic_pipeline.cli.{name}").command
    assert isinstance(command, click.Command)  # noqa: S101 - every module of COMMANDS has one
    return command


@click.group(cls=_Commands, context_settings={"help_option_names": [*_HELP], "max_content_width": 110})
@click.version_option(package_name="comagic_pipeline", message="%(version)s")
def cli() -> None:
    """CoMagic (UIS) call tracking in your own SQL warehouse."""


def main() -> None:
    """Run the command line; expected errors become one line on standard error and an exit code."""
    # A service manager's stop runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, interrupt)
    # A shell lets what it starts in the background ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    _ask_this_machine_directly()
    from comagic_pipeline.cli.services import ServiceError
    from comagic_pipeline.config import ConfigError
    from comagic_pipeline.warehouse.embedded import EmbeddedServerError
    from comagic_pipeline.warehouse.engine import WarehouseError

    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        fail(error.format_message(), 2)
    except ConfigError as error:
        fail(str(error), 2)
    except (WarehouseError, EmbeddedServerError, ServiceError) as error:
        fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except Exception as error:
        fail(_line_of(error), 1)


def _ask_this_machine_directly() -> None:
    """Name this machine in no_proxy: what the processes of a command say to each other goes through no proxy."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name for name in known.split(",") if name]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*names, "localhost", "127.0.0.1", "::1"]))


def _line_of(error: Exception) -> str:
    """Return what a person reads of an error that no command expects."""
    from comagic_pipeline.operations.failures import full_disk, note_unexpected

    if full := full_disk(error):
        return str(full)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return f"{note_unexpected(error)}. This is a mistake of comagic_pipeline: please report it with the traceback"


if __name__ == "__main__":
    main()
