"""The check `all_days_loaded` of a report: every day from the source's start date to yesterday is in the load ledger.

A materialization of the newest day says nothing of a gap before it; the ledger does. A load that stopped turns the
check red, and it is green again when the last of the days is loaded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    multi_asset_check,
)

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.assets.describe import asset_key
from comagic_pipeline.config import Source
from comagic_pipeline.ledger import complete_days
from comagic_pipeline.partitions import today
from comagic_pipeline.resources import WarehouseResource
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import is_skipped
from comagic_pipeline.warehouse.waiting import waiting_periods

NAME = "all_days_loaded"
_DESCRIPTION = (
    "Every day from the source's start date to yesterday is in the ledger; of a custom report, from the first day that "
    "was asked for."
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

    @property
    def metadata(self) -> dict[str, int]:
        """Figures for the UI's plots."""
        return {"missing_days": 0 if self.is_skipped else len(self.days), "waiting_days": self.waiting}

    def evaluation(self, source: Source) -> AssetCheckEvaluation:
        """The result as an event that no run reports."""
        return AssetCheckEvaluation(
            asset_key=asset_key(source, self.report),
            check_name=NAME,
            passed=self.passed,
            metadata=self.metadata,
            severity=AssetCheckSeverity.WARN,
            description=self.description,
        )


def missing_days(source: Source, warehouse: Warehouse, now: datetime) -> Iterator[MissingDays]:
    """What is missing of each report of a source at this moment (aware)."""
    days = (today(source, now) - source.start_date).days
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
            missing = [day for day in expected if day >= begin and day not in loaded.get(name, ())]
            skipped = bool(missing) and is_skipped(connection, source.account_id, name)
            yield MissingDays(name, missing, min(waits.get(name, 0), len(missing)), skipped)


def all_days_loaded(source: Source) -> AssetChecksDefinition:
    """The check of all reports of a source; a run checks those that it loads."""
    keys: dict[AssetKey, str] = {asset_key(source, name): name for name in source.reports}

    @multi_asset_check(
        name=f"{source.name}_{NAME}",
        specs=[AssetCheckSpec(NAME, asset=key, description=_DESCRIPTION) for key in keys],
        can_subset=True,
    )
    def check(context: AssetCheckExecutionContext, warehouse: WarehouseResource) -> Iterator[AssetCheckResult]:
        found = {missing.report: missing for missing in missing_days(source, warehouse.get(), utc_now())}
        for key in context.selected_asset_check_keys:
            missing = found[keys[key.asset_key]]
            yield AssetCheckResult(
                asset_key=key.asset_key,
                check_name=NAME,
                passed=missing.passed,
                metadata=missing.metadata,
                severity=AssetCheckSeverity.WARN,
                description=missing.description,
            )

    return check
