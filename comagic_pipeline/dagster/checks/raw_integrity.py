"""Checks of what a load of a report wrote: each day as the load log says, each key once, nothing rejected.

A run checks the days that it loads; launched alone, the checks look at all days.
"""

from collections.abc import Iterator
from datetime import date

from dagster import AssetCheckSeverity, AssetCheckSpec
from sqlalchemy import Connection

from comagic_pipeline.catalog import Method
from comagic_pipeline.config import Source
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks.finding import Finding, Look, Period, figures
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.quality.consistency import (
    UnlikeDay,
    columns_left_out,
    json_unlike_ledger,
    kept_period,
    raw_unlike_ledger,
    rejected_values,
    repeated_keys,
)

UNIQUE, EQUAL, NONE_REJECTED, ALL_COLUMNS = (
    "key_is_unique",
    "rows_equal_ledger",
    "no_rejected_rows",
    "all_columns_known",
)
_DESCRIPTIONS = {
    UNIQUE: "No key stands on more than one of the days. Within a day the primary key of the table sees to it.",
    EQUAL: "Each day has as many rows as the ledger says: as many as the API had when the day was loaded.",
    NONE_REJECTED: "Every value of the days fitted its column; what did not is in comagic_ops.rejected_rows.",
    ALL_COLUMNS: "The newest loaded day has all columns of the table: the API left none out and refused none.",
}


def raw_is_right(source: Source, method: Method) -> Look:
    """Return the checks of a report of a source."""

    def find(warehouse: Warehouse, period: Period | None) -> Iterator[Finding]:
        account_id, name = source.account_id, method.table
        with warehouse.connect() as connection:
            days = kept_period(connection, account_id, ["raw"], period)
            if method.is_key_unique:
                yield _unique(source, name, repeated_keys(connection, warehouse, account_id, method, days))
            yield _equal(source, name, raw_unlike_ledger(connection, warehouse, account_id, method, days))
            yield _none_rejected(source, name, connection, days)
            yield _all_columns(source, name, connection)

    names = (UNIQUE, EQUAL, NONE_REJECTED, ALL_COLUMNS) if method.is_key_unique else (EQUAL, NONE_REJECTED, ALL_COLUMNS)
    return Look(_specs(source, method.table, *names), find)


def custom_report_is_right(source: Source, report: CustomReport) -> Look:
    """Return the checks of a custom report; tables of a structure may have more or fewer rows than the report."""

    def find(warehouse: Warehouse, period: Period | None) -> Iterator[Finding]:
        account_id, name = source.account_id, report.asset_name
        with warehouse.connect() as connection:
            days = kept_period(connection, account_id, ["custom_reports"], period)
            if not report.tables:
                unlike = json_unlike_ledger(connection, warehouse, account_id, name, report.processor_id, days)
                yield _equal(source, name, unlike)
            yield _none_rejected(source, name, connection, days)
            yield _all_columns(source, name, connection)

    names = (NONE_REJECTED, ALL_COLUMNS) if report.tables else (EQUAL, NONE_REJECTED, ALL_COLUMNS)
    return Look(_specs(source, report.asset_name, *names), find)


def _specs(source: Source, table: str, *names: str) -> list[AssetCheckSpec]:
    key = asset_key(source, table)
    return [AssetCheckSpec(name, asset=key, description=_DESCRIPTIONS[name]) for name in names]


def _unique(source: Source, table: str, repeated: dict[date, int]) -> Finding:
    keys = sum(repeated.values())
    return Finding(
        asset_key(source, table),
        UNIQUE,
        not keys,
        f"{keys} keys stand on more than one day: load those days again." if keys else "Each key stands once.",
        figures([(day, f"{count} keys") for day, count in repeated.items()], repeated_keys=keys),
        AssetCheckSeverity.ERROR,
    )


def _equal(source: Source, table: str, unlike: list[UnlikeDay]) -> Finding:
    return Finding(
        asset_key(source, table),
        EQUAL,
        not unlike,
        f"{len(unlike)} days have other numbers of rows than the ledger says: load them again."
        if unlike
        else "Each day has the rows that the ledger says.",
        figures([(each.day, f"{each.rows} rows, ledger {each.expected}") for each in unlike], unlike_days=len(unlike)),
        AssetCheckSeverity.ERROR,
    )


def _none_rejected(source: Source, table: str, connection: Connection, period: Period) -> Finding:
    rejected = rejected_values(connection, source.account_id, table, period)
    count = sum(number for _, _, number in rejected)
    # Which columns, and not what stood there: values may be personal data.
    columns = sorted({column or "the whole row" for _, column, _ in rejected})
    days = [(day, f"{number} of {column or 'the whole row'}") for day, column, number in rejected]
    return Finding(
        asset_key(source, table),
        NONE_REJECTED,
        not rejected,
        f"{count} values did not fit, of {', '.join(columns)}: see comagic_ops.rejected_rows."
        if rejected
        else "All values fitted.",
        figures(days, rejected_values=count),
    )


def _all_columns(source: Source, table: str, connection: Connection) -> Finding:
    day, left_out = columns_left_out(connection, source.account_id, table)
    names = ", ".join(left_out)
    return Finding(
        asset_key(source, table),
        ALL_COLUMNS,
        not left_out,
        f"{day} lacks {names}: load it again; if they stay away, the API does not know them any more."
        if left_out
        else "No column is left out.",
        figures([(day, names)] if day and names else [], columns_left_out=len(left_out)),
    )
