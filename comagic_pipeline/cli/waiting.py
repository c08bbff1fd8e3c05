"""`waiting`: show pending days, or discard them."""

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime

import click
from rich.console import Console
from rich.table import Table

from comagic_pipeline.config import Config, load_config
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.warehouse.ops.pending_days import forget, waiting_periods


@dataclass(frozen=True)
class WaitingDays:
    """Days in a row, both included, of a table of a source that wait for a run; why, and until when at least."""

    source: str
    table: str
    first_day: date
    last_day: date
    reason: str | None
    not_before: datetime | None
    is_given_up: bool


def waiting_days(config: Config) -> list[WaitingDays]:
    """Return all that waits, oldest first; raises what `open_warehouse` raises."""
    with open_warehouse(config) as warehouse, warehouse.connect() as connection:
        return [
            WaitingDays(
                source.name,
                period.table_name,
                period.first_day,
                period.last_day,
                period.reason,
                period.not_before,
                period.is_given_up,
            )
            for source in config.sources
            for period in waiting_periods(connection, source.account_id)
        ]


def give_up(config: Config) -> int:
    """Forget all that waits; gives the number of days of tables."""
    with open_warehouse(config) as warehouse, warehouse.begin() as connection:
        return sum(forget(connection, source.account_id) for source in config.sources)


def as_json(days: list[WaitingDays]) -> list[dict[str, object]]:
    """For machines; dates and moments as ISO 8601."""
    return [
        {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(line).items()}
        for line in days
    ]


def show(days: list[WaitingDays], console: Console) -> None:
    """For people."""
    if not days:
        console.print("no days wait")
        return
    table = Table("source", "table", "from", "till", "waits for", "not before, UTC")
    for line in days:
        moment = f"{line.not_before:%Y-%m-%d %H:%M}" if line.not_before else ""
        why = "a person: it failed too often" if line.is_given_up else line.reason or "the run that has it"
        table.add_row(line.source, line.table, str(line.first_day), str(line.last_day), why, moment)
    console.print(table)


@click.command("waiting")
@click.option("--forget", "is_given_up", is_flag=True, help="Give them up: they stay missing until you load them.")
@click.option("--json", "prints_json", is_flag=True, help="Print them as JSON.")
def command(is_given_up: bool, prints_json: bool) -> None:
    """Show the days that loads left, which go on by themselves while `up` runs."""
    config = load_config()
    days = waiting_days(config)
    if prints_json:
        click.echo(json.dumps(as_json(days), ensure_ascii=False))
    else:
        show(days, Console())
    if is_given_up:
        click.echo(f"{give_up(config)} days of tables do not wait any more", err=True)
