"""End a command: one line on standard error, and an exit code."""

import sys
from typing import NoReturn

import click

from comagic_pipeline.core.printable import printable

_LONGEST_MESSAGE = 20_000


def fail(message: str, code: int) -> NoReturn:
    """Write a message to standard error and leave with an exit code: 1 failed, 2 bad input, 3 no points left."""
    # Only control characters are taken out: all that we say ourselves is shown.
    shown = "\n".join(printable(line, _LONGEST_MESSAGE) for line in message.splitlines())
    click.echo(f"Error: {shown}", err=True)
    sys.exit(code)
