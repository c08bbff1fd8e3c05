"""Marks of the load log: days whose rows could not be proven complete, and days that kept their rows.

A day is *unproven* when two equal readings were stored although the API counts another number of rows, and *refused*
when the latest answer would have removed too many of its rows. The next load of the day that is proven and accepted
clears both marks (`load.DayLoad.complete`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from comagic_pipeline.warehouse.ops.tables import loaded_days
from comagic_pipeline.warehouse.target import Account

_log = loaded_days.c


@dataclass(frozen=True)
class DoubtfulDay:
    """A marked day: its stored rows, the rows that the API counts (unproven) and those of the refused answer.

    Rows of an agent's customers are added up; a customer without a mark counts with its stored rows.
    """

    day: date
    rows: int
    api_rows: int | None
    refused_rows: int | None
    refused_at: datetime | None


def mark_unproven(connection: Connection, account: Account, table_name: str, api_rows: Mapping[date, int]) -> None:
    """Mark loaded days as unproven, each with the rows that the API counts for it; days that are not loaded stay."""
    for day, rows in api_rows.items():
        connection.execute(update(loaded_days).where(_is(account, table_name), _log.day == day).values(api_rows=rows))


def mark_refused(
    connection: Connection, account: Account, table_name: str, refused_rows: Mapping[date, int], now: datetime
) -> None:
    """Mark loaded days as refused, each with the rows of the answer that would have replaced its rows."""
    for day, rows in refused_rows.items():
        values = {"refused_rows": rows, "refused_at": now}
        connection.execute(update(loaded_days).where(_is(account, table_name), _log.day == day).values(values))


def clear_marks(
    connection: Connection, account: Account, table_name: str, first_day: date = date.min, last_day: date = date.max
) -> None:
    """Clear the marks of the days from first to last."""
    mine = _is(account, table_name) & _log.day.between(first_day, last_day)
    connection.execute(update(loaded_days).where(mine).values(api_rows=None, refused_rows=None, refused_at=None))


def mark_proven(connection: Connection, account: Account, table_name: str, days: Collection[date]) -> None:
    """Take the mark of unproven days from these days."""
    mine = _is(account, table_name) & _log.day.in_(list(days))
    connection.execute(update(loaded_days).where(mine).values(api_rows=None))


def doubtful_days(
    connection: Connection, account_id: int, table_name: str, first_day: date = date.min, last_day: date = date.max
) -> list[DoubtfulDay]:
    """Return the marked days of a table from first to last, oldest first."""
    query = (
        select(
            _log.day,
            func.sum(_log.rows),
            func.sum(func.coalesce(_log.api_rows, _log.rows)),
            func.count(_log.api_rows),
            func.sum(func.coalesce(_log.refused_rows, _log.rows)),
            func.max(_log.refused_at),
        )
        .where(_log.account_id == account_id, _log.table_name == table_name, _log.day.between(first_day, last_day))
        .group_by(_log.day)
        .having((func.count(_log.api_rows) > 0) | (func.count(_log.refused_rows) > 0))
        .order_by(_log.day)
    )
    return [
        DoubtfulDay(day, int(rows), int(api) if unproven else None, int(refused) if refused_at else None, refused_at)
        for day, rows, api, unproven, refused, refused_at in connection.execute(query)
    ]


def _is(account: Account, table_name: str) -> ColumnElement[bool]:
    mine = (_log.account_id == account.account_id) & (_log.customer_user_id == account.customer_user_id)
    return mine & (_log.table_name == table_name)
