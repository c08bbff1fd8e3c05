"""The section `custom_reports`, validated against the columns that the API offers."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from comagic_pipeline.api.filters.parser import Filter, parse_filter
from comagic_pipeline.catalog import Method, tables
from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.config.source import Source, unknown_source
from comagic_pipeline.config.values import OFF, Mistakes, Schedule, Section, Switch, WholeNumber
from comagic_pipeline.core.suggestions import nearest
from comagic_pipeline.custom_reports.names import asset_name, normal_name, report_id
from comagic_pipeline.custom_reports.report import CustomReport, all_fields
from comagic_pipeline.custom_reports.structure import TableSource, default_table, tables_of

_REPORTS = {method.table: method for method in REPORTS}


def _name(name: str) -> str:
    name = normal_name(name)
    if not name:
        raise ValueError("is empty")
    if not name.isprintable():
        raise ValueError("has a character that cannot be seen; write it without")
    return name


class ColumnSection(Section):
    """A column of a table: its type, else that of the catalog, and the path of its value, else its name."""

    type: str | None = None
    path: Annotated[str, Field(min_length=1)] | None = None


def _columns(columns: Any) -> Any:
    """Return a list of names, or types by name, stand for columns."""
    if isinstance(columns, list) and all(isinstance(name, str) for name in columns):
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise ValueError(f"{', '.join(map(repr, repeated))} stands twice")
        columns = dict.fromkeys(columns)
    if isinstance(columns, dict):
        return {str(name): _long(words) for name, words in columns.items()}
    return columns


def _long(words: Any) -> Any:
    if words is None:
        return {}
    return {"type": words} if isinstance(words, str) else words


class TableSection(Section):
    """A table of a custom report."""

    table: Annotated[str, Field(min_length=1)] | None = None
    rows: Annotated[str, Field(min_length=1)] | None = None
    key: list[str] = Field(default=[])
    columns: Annotated[dict[str, ColumnSection], BeforeValidator(_columns), Field(min_length=1)]


def _tables(structure: Any) -> Any:
    """Return one table may stand without a list."""
    return [structure] if isinstance(structure, dict) else structure


_Tables = Annotated[list[TableSection], Field(min_length=1)]


class CustomReportSection(Section):
    """A custom report."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_name)] = Field(
        description="Name of the report, any letters, at most 64; the name of its asset is made of it."
    )
    id: WholeNumber | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Number of the report, `processor_id` in its rows; without it one is made of account and name.",
    )
    source: str | None = Field(default=None, description="Name of its source; may be left out where there is only one.")
    report: str = Field(description="Report of the API, by the name of its raw table, such as `calls_report`.")
    fields: Literal["all"] | Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None,
        description="`all`, or a list of fields; with tables of your own those that they name, unless you list them.",
    )
    filter: str | None = Field(default=None, description="Which rows are wanted, as in `sources[].filters`.")
    structure: Annotated[
        Literal["auto"] | Annotated[list[TableSection], Field(min_length=1)] | None, BeforeValidator(_tables)
    ] = Field(
        default=None,
        description="Without it rows are JSON in `comagic_reports`; `auto`: a table with a column for each field; "
        "or your own tables (docs/custom_reports.md).",
    )
    schedule: Schedule = Field(
        default="30 5 * * *", description=f"When it is loaded again: cron by the source's clock, or `{OFF}`."
    )
    refresh_days: WholeNumber | None = Field(
        default=None, ge=0, le=366, description="How many past days that load replaces; else those of the source."
    )
    from_raw: Switch = Field(
        default=True, description="Whether days that raw tables hold are read from there, at no points."
    )

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str | None, info: ValidationInfo) -> str | None:
        names = (info.context or {}).get("sources")
        if source is not None and names and source not in names:
            raise ValueError(unknown_source(source, names))
        return source

    @field_validator("report")
    @classmethod
    def _known_report(cls, report: str) -> str:
        if report not in _REPORTS:
            hint = nearest(report, _REPORTS) or f"; there are {', '.join(_REPORTS)}"
            raise ValueError(f"there is no report {report!r}{hint}")
        return report

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, fields: str | list[str] | None, info: ValidationInfo) -> str | list[str] | None:
        method = _REPORTS.get(info.data.get("report", ""))
        if method is None or not isinstance(fields, list):
            return fields
        mistakes, names = Mistakes(), [column.name for column in method.columns]
        for number, name in enumerate(fields):
            if name not in names:
                is_nested = name.split(".")[0].split("[")[0]
                hint = f"; ask for {is_nested}, which comes whole" if is_nested in names else nearest(name, names)
                mistakes.add(f"{method.table} has no field {name!r}{hint}", number)
            elif name in fields[:number]:
                mistakes.add(f"{name} stands twice", number)
        mistakes.raise_if_any()
        return fields

    @field_validator("filter")
    @classmethod
    def _understood_filter(cls, text: str | None, info: ValidationInfo) -> str | None:
        method = _REPORTS.get(info.data.get("report", ""))
        if text is not None and method is not None:
            parse_filter(text, method)
        return text

    @field_validator("structure")
    @classmethod
    def _understood_structure(cls, structure: Any, info: ValidationInfo) -> Any:
        method = _REPORTS.get(info.data.get("report", ""))
        if method is not None and isinstance(structure, list):
            fields = info.data.get("fields")
            mistakes = Mistakes()
            for place, message in tables_of(method, structure, 1, fields if isinstance(fields, list) else None)[1]:
                mistakes.add(message, *place)
            mistakes.raise_if_any()
        return structure

    @model_validator(mode="after")
    def _names_fields(self) -> "CustomReportSection":
        if self.fields is None and not isinstance(self.structure, list):
            mistakes = Mistakes()
            mistakes.add("is missing; list them, or write all", "fields")
            mistakes.raise_if_any()
        return self


def custom_report(section: CustomReportSection, source: Source) -> CustomReport:
    """Return the report that a section describes, for its source."""
    method: Method = tables()[section.report]
    processor_id = section.id or report_id(source.account_id, section.name)
    made: Sequence[TableSource] = ()
    fields = all_fields(method) if section.fields == "all" else section.fields
    if section.structure == "auto":
        made = (default_table(method, fields or (), processor_id),)
    elif section.structure is not None:
        made, _ = tables_of(method, section.structure, processor_id)
        named = {name for table in made for name in table.fields}
        fields = fields or [name for name in all_fields(method) if name in named]
    return CustomReport(
        section.name,
        processor_id,
        asset_name(section.name, processor_id),
        source.account_id,
        method,
        tuple(fields or ()),
        _filter(section.filter, method),
        tuple(made),
        source.refresh_days if section.refresh_days is None else section.refresh_days,
        None if section.schedule == OFF else section.schedule,
        section.from_raw,
    )


def _filter(text: str | None, method: Method) -> Filter | None:
    return None if text is None else parse_filter(text, method)
