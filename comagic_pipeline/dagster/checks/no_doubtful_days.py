"""The check `no_doubtful_days` of a report: each day is proven complete, and none of its loads was refused.

A run checks the days that it loads; launched alone, the check looks at all days. Loads write the marks
(`warehouse/ops/doubtful_days.py`). Days that were never doubtful have no result.
"""

from collections.abc import Iterator
from datetime import date, timedelta

from dagster import AssetCheckSeverity

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks.finding import Finding, Look, Period
from comagic_pipeline.dagster.checks.partitioned import daily_check
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.doubtful_days import DoubtfulDay, doubtful_days

NAME = "no_doubtful_days"
_DESCRIPTION = (
    "The rows of the day are proven complete, and no load of it was refused because it would remove too many of them. "
    "Days that were never in doubt have no result."
)
_DAY = timedelta(days=1)


def no_doubtful_days(source: Source, table: str) -> Look:
    """Return the check of a report, raw or custom, of a source."""
    key = asset_key(source, table)

    def find(warehouse: Warehouse, period: Period | None) -> Iterator[Finding]:
        with warehouse.connect() as connection:
            marked = {each.day: each for each in doubtful_days(connection, source.account_id, table, *(period or ()))}
        for day in _days(period or (source.start_date, today(source, utc_now()))):
            yield _finding(source, table, day, marked.get(day))

    return Look([daily_check(source, key, NAME, _DESCRIPTION)], find)


def _days(period: Period) -> list[date]:
    return [period[0] + number * _DAY for number in range((period[1] - period[0]).days + 1)]


def _finding(source: Source, table: str, day: date, marked: DoubtfulDay | None) -> Finding:
    severity = AssetCheckSeverity.WARN
    if marked is None:
        description, metadata = f"{day} is proven complete.", {}
    elif marked.refused_rows is not None:
        severity = AssetCheckSeverity.ERROR
        description = (
            f"{day} keeps its {marked.rows} rows: the latest answer has {marked.refused_rows} and was refused because "
            "it would remove too many of them. See whether the personal account shows the same; if the rows are "
            "really gone, load the day with --accept-loss."
        )
        metadata = {"rows": marked.rows, "refused_rows": marked.refused_rows}
    else:
        description = (
            f"{day} has {marked.rows} rows and the API counts {marked.api_rows}: two equal readings were stored, but "
            "they are not proven complete. Nothing to do at first: reconciliation compares the day again."
        )
        metadata = {"rows": marked.rows, "api_rows": marked.api_rows or 0}
    return Finding(asset_key(source, table), NAME, marked is None, description, metadata, severity, day)
