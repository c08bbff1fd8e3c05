"""Daily partitions of a source, from its start date to today, in its time zone."""

from datetime import date, timedelta

from dagster import DailyPartitionsDefinition, TimeWindow

from comagic_pipeline.config import Source


def daily_partitions(source: Source) -> DailyPartitionsDefinition:
    """Return the days of a source. Today is one of them: it is loaded again every hour until it is over."""
    return DailyPartitionsDefinition(start_date=source.start_date.isoformat(), timezone=source.timezone, end_offset=1)


def days_of(window: TimeWindow) -> tuple[date, date]:
    """Return the first and the last day of a run's time window, both included."""
    return window.start.date(), window.end.date() - timedelta(days=1)
