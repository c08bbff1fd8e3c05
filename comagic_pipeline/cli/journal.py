"""`journal`: show the latest lines of the journal, for people or programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import click
from rich.console import Console
from rich.text import Text
from sqlalchemy import Date, cast, func, select

from comagic_pipeline.cli.options import DAY
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.core.printable import printable
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.operations.translations import Language, text_in
from comagic_pipeline.warehouse.ops.tables import journal

_OF_STATUS = {"failed": ("failed", "refused", "different")}
"""The events that a status stands for, besides itself: what a person should look at."""
_STYLES = {
    "done": "green",
    "skipped": "yellow",
    "warning": "yellow",
    "different": "bold red",
    "refused": "bold red",
    "failed": "bold red",
}
_COUNTS = ("rows", "added", "updated", "deleted", "points", "seconds")


@dataclass(frozen=True)
class Line:
    """A line of the journal; `happened_at` by the clock of the source."""

    happened_at: datetime
    source: str
    event: str
    table_name: str
    first_day: date | None
    last_day: date | None
    trigger: str | None
    rows: int | None
    added: int | None
    updated: int | None
    deleted: int | None
    points: float | None
    seconds: float | None
    message: str | None
    next_step: str | None
    run_id: str


@dataclass(frozen=True)
class Wanted:
    """Which lines are wanted: at most so many, of a source, an event, a table, and of one day of its clock."""

    lines: int
    source: str | None = None
    event: str | None = None
    day: date | None = None
    table: str | None = None


def latest(config: Config, wanted: Wanted) -> list[Line]:
    """Return the latest lines, the newest last; raises ConfigError for a source that is not there."""
    sources = config.sources if wanted.source is None else [config.source(wanted.source)]
    found: list[Line] = []
    with open_warehouse(config) as warehouse, warehouse.connect() as connection:
        for source in sources:
            query = select(journal).where(journal.c.account_id == source.account_id)
            if wanted.event:
                query = query.where(journal.c.event.in_(_OF_STATUS.get(wanted.event, (wanted.event,))))
            if wanted.table:
                query = query.where(journal.c.table_name == wanted.table)
            if wanted.day:
                # Nearly the day first, which the index finds.
                around = datetime.combine(wanted.day, datetime.min.time(), source.zone)
                near = journal.c.happened_at.between(around - timedelta(days=1), around + timedelta(days=2))
                here = cast(func.timezone(source.timezone, journal.c.happened_at), Date)
                query = query.where(near, here == wanted.day)
            newest = query.order_by(journal.c.happened_at.desc(), journal.c.id.desc()).limit(wanted.lines)
            for row in connection.execute(newest).mappings():
                values = {name: row[name] for name in Line.__dataclass_fields__ if name in row}
                values |= {"source": source.name, "happened_at": row["happened_at"].astimezone(source.zone)}
                found.append(Line(**values))
    return sorted(found, key=lambda line: line.happened_at)[-wanted.lines :]


def as_json(lines: Sequence[Line], language: Language) -> list[dict[str, object]]:
    """For programs: names stay English, what people read is in the language."""
    return [
        {name: _plain(value) for name, value in asdict(line).items()}
        | {name: text_in(language, getattr(line, name)) for name in ("message", "next_step")}
        for line in lines
    ]


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def show(lines: Sequence[Line], language: Language, console: Console) -> None:
    """For people: of each line what it was, what it changed and cost, and what it said."""
    if not lines:
        console.print(text_in(language, "the journal has no such lines"))
        return
    for line in lines:
        days = f"{line.first_day} .. {line.last_day}" if line.first_day else None
        what = filter(None, [f"{line.happened_at:%Y-%m-%d %H:%M:%S}", f"{line.source}/{line.table_name}", days])
        event = str(text_in(language, line.event))
        console.print(Text.assemble("  ".join(what), "  ", (event, _STYLES[line.event])), soft_wrap=True)
        counts = [
            f"{text_in(language, name)} {round(float(value), 1):g}"
            for name in _COUNTS
            if (value := getattr(line, name)) is not None
        ]
        told = ", ".join(filter(None, [text_in(language, line.trigger), *counts]))
        said = " ".join(filter(None, [text_in(language, line.message), text_in(language, line.next_step)]))
        for more in filter(None, [told, said]):
            console.print(Text(f"    {printable(more, len(more))}"), soft_wrap=True)


@click.command("journal")
@click.option("--source", "source_name", help="Only of this source.")
@click.option(
    "--status",
    type=click.Choice(["done", "failed", "different", "refused", "skipped", "warning"]),
    help="Only lines of this kind.",
)
@click.option("--day", type=DAY, help="Only of this day, YYYY-MM-DD, by the clock of the source.")
@click.option("--table", help="Only of this table, star or report.")
@click.option("--lines", default=50, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--lang", "language", default="en", show_default=True, type=click.Choice(["en", "ru"]), help="Language.")
@click.option("--json", "prints_json", is_flag=True, help="Print them as JSON.")
def command(
    source_name: str | None,
    status: str | None,
    day: date | None,
    table: str | None,
    lines: int,
    language: Language,
    prints_json: bool,
) -> None:
    """Show what ran last, what it changed and cost, and what to do where it failed; the newest lines come last."""
    wanted = Wanted(lines, source_name, status, day, table)
    found = latest(load_config(), wanted)
    if prints_json:
        click.echo(json.dumps(as_json(found, language), ensure_ascii=False))
    else:
        show(found, language, Console())
