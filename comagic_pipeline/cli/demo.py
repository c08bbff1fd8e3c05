"""`demo`: load thirty days of a made-up account from the sandbox into the embedded server."""

from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import text

from comagic_pipeline.cli.load import Summary, finish, load
from comagic_pipeline.cli.services import sandbox_api
from comagic_pipeline.config import SANDBOX, Config, ConfigError, config_path, load_config
from comagic_pipeline.config.calendar import today
from comagic_pipeline.core.printable import printable
from comagic_pipeline.dagster.instance import PROJECT_FOLDER
from comagic_pipeline.operations.connections import open_warehouse

DAYS = 30
_HISTORY_DAYS = 120  # more than is loaded, so that there is something to backfill
_EXAMPLE = PROJECT_FOLDER / "comagic.example.yaml"


def demo(console: Console) -> Summary:
    """Load the demo; makes comagic.yaml for it when there is none.

    Raises ConfigError when the configuration is of a real account: the demo's rows would mix with its own.
    """
    config = _config(console)
    source = config.sources[0]
    now = today(source, datetime.now(UTC))
    first_day = max(now - timedelta(days=DAYS - 1), source.start_date)
    with sandbox_api(config) as url:
        console.print(f"sandbox API at {url}, {(now - first_day).days + 1} days from {first_day} to {now}")
        return load(config, source, first_day, now, (), console)


def _config(console: Console) -> Config:
    path = config_path()
    if not path.exists():
        path.write_text(_demo_config(), encoding="utf-8")
        console.print(f"made {path} for the sandbox; for your own account change the line base_url in it")
    config = load_config(path)
    if any(source.base_url != SANDBOX for source in config.sources):
        raise ConfigError(
            f"{path}: it is set to a real account, whose rows the demo would mix with made-up ones; "
            "name another file in COMAGIC_CONFIG"
        )
    return config


def _demo_config() -> str:
    """Return the example with the sandbox's address, a history that ends today and, to be quick, only calls."""
    start = datetime.now(UTC).date() - timedelta(days=_HISTORY_DAYS)
    lines = []
    for line in _EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("base_url:"):
            line = f"    base_url: {SANDBOX}                   # your account: https://dataapi.comagic.ru/v2.0"
        if line.lstrip().startswith("start_date:"):
            line = f"    start_date: {start}              # the first day of the history"
        if line.lstrip().startswith("tables:"):
            line = (
                "    tables: [comagic_calls_facts]       # calls and what they need; all: everything that the API has"
            )
        lines.append(line)
    return "\n".join(lines) + "\n"


_BY_SOURCE = """
    select coalesce(traffic.source, '(none)') as "source", count(*) as "calls",
           round(avg(facts.wait_duration)) as "waiting, s", round(sum(facts.talk_duration) / 3600.0, 1) as "talking, h"
    from {facts} as facts join {traffic} as traffic on traffic.id = facts.traffic_id
    group by 1 order by 2 desc limit 5
"""


def show(console: Console) -> None:
    """Print a few rows of the star: what an analyst would ask first. Then how to go on."""
    with open_warehouse(load_config()) as warehouse, warehouse.connect() as connection:
        facts, traffic = (warehouse.quote("star", name) for name in ("comagic_calls_facts", "general_traffic"))
        result = connection.execute(text(_BY_SOURCE.format(facts=facts, traffic=traffic)))
        table = Table(*result.keys(), title="comagic_calls_facts by utm_source")
        for row in result:
            table.add_row(*(escape(printable(str(value))) for value in row))
    console.print(table)
    console.print("Look at it in the Dagster UI:  make up")


@click.command("demo")
def command() -> None:
    """Load 30 days of a made-up account into the embedded PostgreSQL: no key, no server, no config needed."""
    console = Console()
    finish(demo(console), console)
    show(console)
