"""A custom report: the request to the API, the tables for its rows, its name and asset."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from comagic_pipeline.api.filters.parser import Filter
from comagic_pipeline.catalog import ColumnType, Method
from comagic_pipeline.custom_reports.structure import TableSource, default_table_name
from comagic_pipeline.warehouse.reports.declaration import ReportHome


@dataclass(frozen=True)
class CustomReport:
    """A custom report of one source. `tables` are those of its structure; without any its rows are JSON texts.

    `fields` are those that its rows or tables have. `refresh_days` and `cron_schedule` are those of its schedule, if it
    has one. `reads_raw` when raw tables may serve instead of the API.
    """

    name: str
    processor_id: int
    asset_name: str
    account_id: int
    method: Method
    fields: tuple[str, ...]
    filter: Filter | None = field(compare=False)
    tables: tuple[TableSource, ...] = ()
    refresh_days: int = 7
    cron_schedule: str | None = None
    reads_raw: bool = True

    @cached_property
    def needed(self) -> Method:
        """The report with the columns that are needed: the fields, and what keys, days and the filter are made of."""
        return self.method.narrowed({*self.fields, *(self.filter.columns if self.filter else ())})

    @cached_property
    def asked(self) -> Method:
        """What is asked of the API. Fields of JSON texts are taken over as they come, whatever their type."""
        if self.tables:
            return self.needed
        typed = {*self.method.required_columns, *(self.filter.columns if self.filter else ())}
        columns = self.needed.columns
        return replace(
            self.needed,
            columns=tuple(
                replace(column, type=ColumnType.JSON) if column.answered and column.name not in typed else column
                for column in columns
            ),
        )

    @property
    def home(self) -> ReportHome:
        """What the books of the warehouse hold of it."""
        unnamed = default_table_name(self.processor_id)
        tables = tuple(
            replace(source.table, label=self.name if source.table.name == unnamed else source.table.name)
            for source in self.tables
        )
        return ReportHome(self.processor_id, self.account_id, self.name, self.asset_name, self.method.table, tables)


def all_fields(method: Method) -> Sequence[str]:
    """Return every field of a report."""
    return [column.name for column in method.columns]
