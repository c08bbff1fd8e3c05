"""What schedules load: when, which days, which tables. No Dagster here."""

from dataclasses import dataclass
from datetime import date, timedelta

from comagic_pipeline.catalog.table_names import REPORTS, STAR, SUMMARIES, TABLE_NAMES
from comagic_pipeline.config import Source
from comagic_pipeline.custom_reports.report import CustomReport

NIGHTLY, HOURLY, OF_REPORT = "nightly", "hourly", "schedule"
"""Names of the schedules, behind that of the job."""


@dataclass(frozen=True)
class ScheduledLoad:
    """A load that comes again and again, by the clock of the account, of today and the `days_before` it."""

    name: str
    description: str
    cron_schedule: str
    days_before: int
    tables: tuple[str, ...]

    def period(self, source: Source, today: date) -> tuple[date, date]:
        """Return the first and the last day that it loads on a day, both included.

        None that retention deletes again.
        """
        layer = "custom_reports" if self.name == OF_REPORT else "raw"
        kept = source.horizon(layer, today) or source.start_date
        return max(source.start_date, kept, today - timedelta(days=self.days_before)), today


def scheduled_loads(source: Source) -> tuple[ScheduledLoad, ...]:
    """Nightly the last `refresh_days` and today of all tables, hourly today of those that cost little."""
    costly = {method.table for method in REPORTS if method.needs_site} | SUMMARIES
    cheap = [method.table for method in REPORTS if method.table not in costly]
    chosen = source.chosen_tables
    nightly = ScheduledLoad(
        NIGHTLY,
        f"Loads today and the {source.refresh_days} days before it again, for rows change after the fact, and all "
        "dictionaries.",
        cron_schedule="30 4 * * *",
        days_before=source.refresh_days,
        tables=tuple(name for name in TABLE_NAMES if name in chosen),
    )
    hourly = ScheduledLoad(
        HOURLY,
        "Loads today again, but for dictionaries and for reports that take a request for each site.",
        cron_schedule="10 * * * *",
        days_before=0,
        tables=tuple(name for name in (*cheap, *STAR) if name in chosen),
    )
    return (nightly, hourly) if hourly.tables else (nightly,)


def scheduled_reports(source: Source) -> dict[CustomReport, ScheduledLoad]:
    """Return the loads of the custom reports that have a schedule: today and the `refresh_days` before it."""
    return {
        report: ScheduledLoad(
            OF_REPORT,
            f"Loads today and the {report.refresh_days} days before it of the custom report {report.name} again.",
            cron_schedule=report.cron_schedule,
            days_before=report.refresh_days,
            tables=(report.asset_name,),
        )
        for report in source.custom_reports
        if report.cron_schedule is not None
    }
