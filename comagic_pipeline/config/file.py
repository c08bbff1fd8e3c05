"""The whole file: read, validated, and turned into a `Config`. The only I/O is reading that file."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from comagic_pipeline.catalog.table_names import TABLE_NAMES
from comagic_pipeline.config.custom_report import (
    ColumnSection,
    CustomReportSection,
    TableSection,
    custom_report,
)
from comagic_pipeline.config.reading import Content, problem
from comagic_pipeline.config.source import (
    DayPoints,
    Reconciliation,
    Retention,
    Source,
    unknown_source,
)
from comagic_pipeline.config.values import ConfigError, Mistakes, Section, Setting
from comagic_pipeline.config.warehouse import SchemaNames, WarehouseConfig
from comagic_pipeline.custom_reports.report import CustomReport

STORAGE_VARIABLE = "COMAGIC_DAGSTER_URL"
"""The database of Dagster's runs and events; without it the embedded server has one."""
CONFIG_VARIABLE = "COMAGIC_CONFIG"
DEFAULT_PATH = "comagic.yaml"


class Alerts(Section):
    """Who is told when something goes wrong."""

    urls: list[Setting] = Field(
        default=[], description="Addresses for Apprise: Telegram, Slack, mail and many more; each may hold `${NAME}`."
    )


class Config(Section):
    """The whole file."""

    warehouse: WarehouseConfig = WarehouseConfig()
    sources: list[Source] = Field(min_length=1)
    custom_reports: list[CustomReportSection] = Field(default=[])
    alerts: Alerts = Alerts()
    _path: Path = PrivateAttr(default=Path(DEFAULT_PATH))

    @property
    def path(self) -> Path:
        """The file that this came from, absolute."""
        return self._path.absolute()

    @property
    def state_folder(self) -> Path:
        """Where the embedded server and Dagster's local files live: .comagic/ beside the file."""
        return self.path.parent / ".comagic"

    @model_validator(mode="after")
    def _tell_sources_apart(self) -> Self:
        for key in ("name", "account_id"):
            value, times = Counter(getattr(source, key) for source in self.sources).most_common(1)[0]
            if times > 1:
                raise ValueError(f"{times} sources have the {key} {value}: each needs its own")
        return self

    @model_validator(mode="after")
    def _give_reports_to_sources(self) -> Self:
        mistakes = Mistakes()
        found: list[tuple[int, Source, CustomReport]] = []
        for number, section in enumerate(self.custom_reports):
            source = self._source_of(section, number, mistakes)
            if source:
                found.append((number, source, custom_report(section, source)))
        for number, source, report in found:
            others = [(other, its) for place, other, its in found if place < number]
            for key, message in clashes(source, report, others):
                mistakes.add(message, "custom_reports", number, key)
            keep_days = source.retention.keep_days
            if (
                keep_days is not None
                and "custom_reports" in source.retention.layers
                and report.refresh_days >= keep_days
            ):
                message = f"must be less than retention.keep_days of {source.name}, {keep_days}"
                mistakes.add(message, "custom_reports", number, "refresh_days")
        mistakes.raise_if_any()
        for source in self.sources:
            source.give_reports([report for _, owner, report in found if owner is source])
        return self

    def _source_of(self, section: CustomReportSection, number: int, mistakes: Mistakes) -> Source | None:
        names = [source.name for source in self.sources]
        if section.source is None and len(names) == 1:
            return self.sources[0]
        if section.source in names:
            return self.sources[names.index(section.source)]
        # That an unknown name was given is said where the section is read, together with its other mistakes.
        if section.source is None:
            mistakes.add(f"is missing; name one of {', '.join(names)}", "custom_reports", number, "source")
        else:
            mistakes.add(unknown_source(section.source, names), "custom_reports", number, "source")
        return None

    def source(self, name: str) -> Source:
        """Return the source of that name; raises ConfigError when there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        raise ConfigError(unknown_source(name, [source.name for source in self.sources]))


def clashes(
    source: Source, report: CustomReport, others: list[tuple[Source, CustomReport]]
) -> Iterator[tuple[str, str]]:
    """Yield what a report shares with those before it, or with tables, and may not: the key and the problem."""
    asset = f"{report.name!r} becomes the asset {report.asset_name}"
    if report.asset_name in (*TABLE_NAMES, "points_spent"):
        yield "name", f"{asset}, which is a table of the pipeline: choose another name"
    for other_source, other in others:
        if other_source is source and report.asset_name == other.asset_name:
            yield "name", f"{asset}, as {other.name!r} does: choose another name"
        elif report.processor_id == other.processor_id:
            yield "id", f"{report.name!r} and {other.name!r} have the number {report.processor_id}: give one another id"
        theirs = {table.lower() for table in other.home.table_names if other.tables}
        for table in report.home.table_names if report.tables else ():
            if table.lower() in theirs:
                yield "structure", f"the table {table} belongs to {other.name!r} already: choose another name"


def config_path() -> Path:
    """Return the file that COMAGIC_CONFIG names, else comagic.yaml in the current folder."""
    return Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_PATH)


def load_config(path: Path | None = None) -> Config:
    """Read and check the configuration file; raises ConfigError with the place and the mend."""
    path = path or config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; copy comagic.example.yaml to {DEFAULT_PATH}, or name a file in "
            f"{CONFIG_VARIABLE}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Check the text of a configuration file; `path` stands at the beginning of every error."""
    content = Content(text, path)
    if not isinstance(content.values, dict):
        raise ConfigError(f"{path}: expected the keys warehouse and sources; see comagic.example.yaml")
    sources = content.values.get("sources")
    names = [each.get("name") for each in sources if isinstance(each, dict)] if isinstance(sources, list) else []
    try:
        config = Config.model_validate(
            content.values, context={"sources": [name for name in names if isinstance(name, str)]}
        )
    except ValidationError as error:
        # A list that is wrong is, besides, not the word "all": that goes without saying.
        wrong = [details for details in error.errors() if details["type"] != "literal_error"] or error.errors()
        raise ConfigError(f"{path}: {'; '.join(problem(details, content, _KEYS) for details in wrong)}") from None
    config._path = path
    return config


_SECTIONS = (
    Config,
    WarehouseConfig,
    SchemaNames,
    Source,
    DayPoints,
    Reconciliation,
    Retention,
    CustomReportSection,
    TableSection,
    ColumnSection,
    Alerts,
)
_KEYS = [key for section in _SECTIONS for key in section.model_fields]
