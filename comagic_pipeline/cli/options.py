"""Options that several commands have: days, the source, tables."""

from collections.abc import Sequence
from datetime import date

import click

from comagic_pipeline.catalog.table_names import TABLE_NAMES
from comagic_pipeline.config import Config, ConfigError, Source, parse_day


class Day(click.ParamType[date]):
    """A day as `YYYY-MM-DD`."""

    name = "day"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day; what is none is bad input."""
        try:
            return parse_day(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


DAY = Day()


def chosen_source(config: Config, name: str | None) -> Source:
    """Return the source that was named, or the only one; raises ConfigError."""
    if name is None and len(config.sources) > 1:
        raise ConfigError(f"--source: choose one of {', '.join(source.name for source in config.sources)}")
    return config.sources[0] if name is None else config.source(name)


def check_tables(source: Source, tables: Sequence[str]) -> None:
    """Raise ConfigError for a table that the source does not have."""
    for table in tables:
        if table not in source.chosen_tables:
            names = ", ".join(name for name in TABLE_NAMES if name in source.chosen_tables)
            raise ConfigError(f"--table {table}: not among the tables of the source {source.name}: {names}")
