"""Rows of get.communications_report: the contacts of all other reports in one, as those show them."""

from datetime import date

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.rows import calls, chats, goals, offline_messages
from comagic_pipeline.sandbox.rows.cast import Cast
from comagic_pipeline.sandbox.rows.days import Days
from comagic_pipeline.sandbox.rows.visits import source_columns
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.communications_report"

_TIME_COLUMNS = {
    calls.METHOD: "start_time",
    chats.METHOD: "date_time",
    offline_messages.METHOD: "date_time",
    goals.METHOD: "date_time",
}


def count(days: Days, day: date) -> int:
    """Return how many contacts a day that is over has."""
    return sum(module.count(days, day) for module in (calls, chats, offline_messages, goals))


def rows(days: Days, day: date) -> list[Row]:
    """Return the contacts of a day: those of calls as soon as the calls have ended."""
    columns = list(specification.methods()[METHOD].columns)
    return [
        _communication(days.cast, row, columns, time_column)
        for method, time_column in _TIME_COLUMNS.items()
        for row in days.shown(method, day)
        if row["communication_id"] is not None
    ]


def _communication(cast: Cast, contact: Row, columns: list[str], time_column: str) -> Row:
    row = {name: contact.get(name) for name in columns}
    row["id"] = contact["communication_id"]
    row["date_time"] = contact[time_column]
    row["utm_referrer"], row["utm_expid"] = row["eq_utm_referrer"], row["eq_utm_expid"]
    if "source_id" not in contact:
        # The report of goals does not tell the source, this one does.
        campaign = cast.campaigns_by_id.get(contact["campaign_id"])
        row |= source_columns(campaign.source) if campaign else {}
    return row
