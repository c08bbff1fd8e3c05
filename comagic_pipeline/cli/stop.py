"""`stop`: stop the embedded PostgreSQL."""

import click

from comagic_pipeline.config import load_config
from comagic_pipeline.operations.connections import embedded_folder
from comagic_pipeline.warehouse.embedded import stop


@click.command("stop")
def command() -> None:
    """Stop the embedded PostgreSQL, whoever uses it; it starts again with the next command."""
    click.echo("stopped" if stop(embedded_folder(load_config())) else "it was not running")
