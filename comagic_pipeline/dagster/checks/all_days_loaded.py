"""The check `all_days_loaded` of a report: every kept day up to yesterday is in the load log.

A materialization of the newest day says nothing about a gap before it. The check turns red when a load stops, and green
when the last missing day is loaded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from dagster import AssetCheckSpec

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks.finding import Finding, Look
from comagic_pipeline.operations.ledger import complete_days
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.pending_days import waiting_periods
from comagic_pipeline.warehouse.ops.tables import is_skipped

NAME = "all_days_loaded"
_DESCRIPTION = (
    "Every day from the source's start date, or the first that retention keeps, to yesterday is in the ledger; of a "
    "custom report, from the first day that was asked for."
)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class MissingDays:
    """The days of a report that are not loaded, oldest first, and how many of them wait for a run that goes on."""

    report: str
    days: Sequence[date]
    waiting: int
    is_skipped: bool

    @property
    def passed(self) -> bool:
        """True when nothing is missing that the account can be asked for."""
        return self.is_skipped or not self.days

    @property
    def description(self) -> str:
        """What a person should know."""
        if self.is_skipped:
            return "The account has no access to this report."
        if not self.days:
            return "All days are loaded."
        missing = f"{len(self.days)} days from {self.days[0]} to {self.days[-1]} are not loaded"
        if not self.waiting:
            return f"{missing}: launch a backfill for them."
        if self.waiting == len(self.days):
            return f"{missing}: they wait, and come by themselves."
        return f"{missing}: {self.waiting} of them wait, and come by themselves; launch a backfill for the others."

    def finding(self, source: Source) -> Finding:
        """As the check tells it."""
        missing = 0 if self.is_skipped else len(self.days)
        metadata = {"missing_days": missing, "waiting_days": self.waiting}
        return Finding(asset_key(source, self.report), NAME, self.passed, self.description, metadata)


def missing_days(source: Source, warehouse: Warehouse, now: datetime) -> Iterator[MissingDays]:
    """Yield what is missing of each report of a source at this moment (aware)."""
    now_day = today(source, now)
    days = (now_day - source.start_date).days
    expected = [source.start_date + number * _DAY for number in range(days)]
    with warehouse.connect() as connection:
        waits: dict[str, int] = {}
        begins: dict[str, list[date]] = {}
        for period in waiting_periods(connection, source.account_id):
            length = (period.last_day - period.first_day).days + 1
            waits[period.table_name] = waits.get(period.table_name, 0) + length
            begins.setdefault(period.table_name, []).append(period.first_day)
        loaded = complete_days(source, connection)
        custom = {report.asset_name for report in source.custom_reports}
        for name in source.reports:
            # Of a custom report people want the days from the first that they asked for.
            begin = (
                min([*loaded.get(name, ()), *begins.get(name, ())], default=date.max) if name in custom else date.min
            )
            kept = source.horizon("custom_reports" if name in custom else "raw", now_day) or date.min
            missing = [day for day in expected if day >= max(begin, kept) and day not in loaded.get(name, ())]
            skipped = bool(missing) and is_skipped(connection, source.account_id, name)
            yield MissingDays(name, missing, min(waits.get(name, 0), len(missing)), skipped)


def all_days_loaded(source: Source) -> Look:
    """Return the check of all reports of a source; a run checks those that it loads."""
    return Look(
        [AssetCheckSpec(NAME, asset=asset_key(source, name), description=_DESCRIPTION) for name in source.reports],
        lambda warehouse, _: (missing.finding(source) for missing in missing_days(source, warehouse, utc_now())),
    )
