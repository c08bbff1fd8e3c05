"""The job `adhoc_report`: a custom report that is described in the Launchpad and loaded once.

Its only step is a graph with a config mapping. Dagster resolves config mappings when it makes the execution plan, which
is before it creates the run (tried on 1.13.27): a wrong description is refused there and leaves no failed run. Names of
sources and reports are enums of the schema, which the Launchpad completes and checks while they are typed.
"""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any

from dagster import Config as RunConfig
from dagster import (
    ConfigMapping,
    DagsterError,
    Enum,
    EnumValue,
    JobDefinition,
    OpExecutionContext,
    config_mapping,
    graph,
    job,
    op,
)
from dagster import Field as DagsterField
from pydantic import Field, ValidationError

from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.config import (
    Config,
    ConfigError,
    CustomReportSection,
    Source,
    clashes,
    custom_report,
    parse_day,
)
from comagic_pipeline.config.calendar import check_period
from comagic_pipeline.config.reading import problem
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.dagster.assets.custom_reports import prepared, wanted
from comagic_pipeline.dagster.loads.protection import LoadConfig
from comagic_pipeline.dagster.loads.report_load import ReportLoad
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource

JOB = "adhoc_report"
_STEP = "load"


class AdhocReport(RunConfig):
    """What the Launchpad asks for."""

    source: str = Field(default="", description="Name of the source; may be left out where there is only one.")
    name: str = Field(
        default="", description="Name of the report; the same name replaces the same days. Else it is made of the rest."
    )
    report: str = Field(description="Report of the API, by the name of its raw table, such as calls_report.")
    fields: list[str] = Field(description="Its fields.")
    filter: str = Field(default="", description="Which rows are wanted, as in the configuration; empty: all.")
    first_day: str = Field(description="First day, YYYY-MM-DD.")
    last_day: str = Field(description="Last day, included, YYYY-MM-DD.")
    as_table: bool = Field(
        default=False, description="A table with a column for each field, instead of JSON in comagic_reports."
    )
    from_raw: bool = Field(
        default=True, description="Whether days that raw tables hold are read from there, at no points."
    )
    accept_loss: bool = Field(
        default=False,
        description="Replace stored rows even if that removes more of them than loss_limit of the configuration.",
    )


def understood(config: Config, words: AdhocReport) -> tuple[Source, CustomReport, tuple[date, date]]:
    """Return what the words mean; raises ConfigError with all mistakes."""
    if not words.source and len(config.sources) > 1:
        raise ConfigError(f"source: name one of {', '.join(source.name for source in config.sources)}")
    source = config.source(words.source or config.sources[0].name)
    chosen = f" where {words.filter}" if words.filter else ""
    values = {
        "name": words.name or f"adhoc {words.report} {', '.join(words.fields)}{chosen}"[:64],
        "report": words.report,
        "fields": words.fields,
        "filter": words.filter or None,
        "structure": "auto" if words.as_table else None,
        "from_raw": words.from_raw,
    }
    try:
        report = custom_report(CustomReportSection.model_validate(values), source)
    except ValidationError as error:
        wrong = [details for details in error.errors() if details["type"] != "literal_error"]
        raise ConfigError("; ".join(problem(details, None, [*values]) for details in wrong)) from None
    period = (_day("first_day", words.first_day), _day("last_day", words.last_day))
    check_period(source, *period, names=("first_day", "last_day"))
    others = [(other, its) for other in config.sources for its in other.custom_reports]
    if problems := [f"{key}: {message}" for key, message in clashes(source, report, others)]:
        raise ConfigError("; ".join(problems))
    return source, report, period


def _day(name: str, text: str) -> date:
    try:
        return parse_day(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text!r} {error}") from None


class AdhocReportError(DagsterError):
    """The description of an ad-hoc report is wrong. As an error of Dagster it is not wrapped in another message."""


def described(configuration: Config) -> ConfigMapping:
    """Return what the Launchpad offers and checks; the mapping raises AdhocReportError with all mistakes."""
    fields = AdhocReport.to_fields_dict()
    names = [source.name for source in configuration.sources]
    choices = {"source": (names, len(names) > 1), "report": ([method.table for method in REPORTS], True)}
    enums = {
        name: DagsterField(_enum(values), is_required=is_required, description=fields[name].description)
        for name, (values, is_required) in choices.items()
    }

    @config_mapping(config_schema=fields | enums)
    def checked(values: dict[str, Any]) -> dict[str, Any]:
        try:
            understood(configuration, AdhocReport(**values))
        except ConfigError as error:
            raise AdhocReportError(str(error)) from None
        return {_STEP: {"config": values}}

    return checked


def _enum(values: Sequence[str]) -> Enum:
    # Dagster's message on a wrong value has the name of the type and nothing else that helps: name the values.
    return Enum(f"({' | '.join(values)})", [EnumValue(value) for value in values])


def adhoc_report_job(configuration: Config) -> JobDefinition:
    """Return the job, for all sources."""

    @op(name=_STEP)
    def load(context: OpExecutionContext, config: AdhocReport, api: DataApi, warehouse: WarehouseResource) -> None:
        source, report, period = understood(configuration, config)
        report_load = ReportLoad(
            context, api, warehouse, source, wanted(source, report), None, LoadConfig(accept_loss=config.accept_loss)
        )
        entry = report_load.load(period, partial(prepared, configuration, report))
        context.add_output_metadata(
            {
                "rows": entry.rows,
                "points": entry.points,
                "processor_id": report.processor_id,
                "tables": ", ".join(report.home.table_names),
            }
        )

    @graph(name="load_adhoc_report", config=described(configuration))
    def load_adhoc_report() -> None:
        load()

    @job(
        name=JOB,
        description="Loads a custom report that is described here, in the Launchpad, and nowhere else: report, fields, "
        "filter, period. A wrong description is refused before a run begins. The rows stay until the same name is "
        "loaded again.",
    )
    def adhoc_report() -> None:
        load_adhoc_report()

    return adhoc_report
