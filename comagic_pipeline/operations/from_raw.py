"""Load days of a custom report from raw tables, at no points.

A raw day is used when it has every column that the report needs, was loaded with the same filter or a wider one, and is
final: loaded after its end or, for today, a short while ago.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, tzinfo

from sqlalchemy import Connection

from comagic_pipeline.api.filters.parser import FilterError, parse_filter
from comagic_pipeline.api.rows import Row
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.operations.raw_rows import raw_rows_of
from comagic_pipeline.warehouse.raw.days import HeldDay, held_days
from comagic_pipeline.warehouse.target import Account

FRESH = timedelta(minutes=90)
"""How old today's raw rows may be: they are loaded every hour."""


def days_in_raw(
    connection: Connection,
    report: CustomReport,
    account: Account,
    zone: tzinfo,
    period: tuple[date, date],
    now: datetime,
) -> list[date]:
    """Return the days of a period, both ends included, that raw tables can give; `now` is aware."""
    held = held_days(connection, report.method.table, account, *period)
    return [each.day for each in held if _is_wide(report, each) and _is_whole(each, zone, now)]


def _is_wide(report: CustomReport, held: HeldDay) -> bool:
    needed = {column.name for column in report.needed.columns}
    if held.left_out is None or not needed.isdisjoint(held.left_out):
        return False
    if held.filter_text is None:
        return True
    try:
        filter_of_day = parse_filter(held.filter_text, report.method)
    except FilterError:
        return False
    return report.filter is not None and report.filter.is_within(filter_of_day)


def _is_whole(held: HeldDay, zone: tzinfo, now: datetime) -> bool:
    is_over = held.loaded_at.astimezone(zone).date() > held.day
    is_today = now.astimezone(zone).date() == held.day
    return is_over or (is_today and now - held.loaded_at <= FRESH)


def raw_rows(connection: Connection, report: CustomReport, account: Account, day: date) -> Iterator[Sequence[Row]]:
    """Yield the rows of a day that the report wants, part by part, as the API would give them."""
    for rows in raw_rows_of(connection, report.needed, account, day):
        yield list(filter(report.filter.keeps, rows)) if report.filter else rows
