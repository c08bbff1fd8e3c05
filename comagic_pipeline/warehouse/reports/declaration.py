"""Tables of custom reports as plain values, without SQLAlchemy. Their SQL is in `tables`."""

from dataclasses import dataclass

from comagic_pipeline.catalog import ColumnType
from comagic_pipeline.catalog.table_names import JSON_REPORTS

OWN_COLUMNS = ("account_id", "customer_user_id", "processor_id", "simple_date", "loaded_at")
"""Columns that every table of a custom report has, beside those of its structure."""


@dataclass(frozen=True)
class ReportColumn:
    """A column of a report's table."""

    name: str
    type: ColumnType
    description: str


@dataclass(frozen=True)
class ReportTable:
    """A table of a custom report. `key`, if any, tells the rows of a day apart.

    `label` names its view. `may_repeat` when the report may have several rows with one key: one of them is kept, the
    others are rejected.
    """

    name: str
    description: str
    columns: tuple[ReportColumn, ...]
    key: tuple[str, ...]
    may_repeat: bool = False
    label: str = ""


@dataclass(frozen=True)
class ReportHome:
    """A custom report as the books know it; `tables` are those of its structure, none when its rows are JSON."""

    processor_id: int
    account_id: int
    name: str
    asset_name: str
    report: str
    tables: tuple[ReportTable, ...]

    @property
    def table_names(self) -> list[str]:
        """The tables that hold its rows."""
        return [table.name for table in self.tables] or [JSON_REPORTS]
