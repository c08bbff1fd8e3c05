"""`sandbox`: serve the made-up account until Ctrl-C."""

import contextlib

import click

from comagic_pipeline.cli.services import require_free_port
from comagic_pipeline.sandbox.running import serve
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World


@click.command("sandbox")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(1, 65535), help="Port on 127.0.0.1.")
@click.option("--seed", default=1, show_default=True, help="Which of all possible accounts.")
@click.option("--calls-per-day", default=300, show_default=True, type=click.IntRange(0), help="About so many.")
@click.option("--campaigns", default=12, show_default=True, type=click.IntRange(0), help="Campaigns of the account.")
@click.option("--customers", default=0, show_default=True, type=click.IntRange(0), help="Make it an agent of so many.")
@click.option("--day-limit", default=3000, show_default=True, type=click.IntRange(0), help="Points a day.")
@click.option("--minute-limit", default=60, show_default=True, type=click.IntRange(1), help="Points a minute.")
def command(
    port: int, seed: int, calls_per_day: int, campaigns: int, customers: int, day_limit: int, minute_limit: int
) -> None:
    """Serve a made-up account over the documented Data API, for trying things out without points."""
    require_free_port(port, "--port")
    click.echo(f"sandbox API: http://127.0.0.1:{port}/v2.0   key: {SANDBOX_TOKEN}   (Ctrl-C stops it)", err=True)
    world = World(seed=seed, calls_per_day=calls_per_day, campaigns=campaigns, customers=customers)
    with contextlib.suppress(KeyboardInterrupt):
        serve(port, world, Settings(day_limit=day_limit, minute_limit=minute_limit))
