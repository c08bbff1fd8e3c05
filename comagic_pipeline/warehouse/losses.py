"""Refuse a load that would remove too many rows: sources forget old rows, rights get lost, APIs err.

Only rows of closed days are protected, and dictionaries. A load with another filter than that of the stored rows wants
other rows and is never refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, select

from comagic_pipeline.warehouse.changes import Compared
from comagic_pipeline.warehouse.ops.tables import loaded_days
from comagic_pipeline.warehouse.target import Account


@dataclass(frozen=True)
class LossLimit:
    """A load is refused when more than `percent` of the rows would vanish, and at least `rows` of them."""

    percent: int
    rows: int

    def is_exceeded_by(self, compared: Compared) -> bool:
        """Return True when so many rows would vanish."""
        return compared.vanished >= self.rows and compared.vanished * 100 > self.percent * compared.before


@dataclass(frozen=True)
class Protection:
    """Protection of stored rows from a load. `limit` None: a loss is accepted. Days from `today` on are not closed."""

    limit: LossLimit | None
    today: date
    keeps_removed: bool = True


@dataclass(frozen=True)
class Refusal:
    """Rows that were kept: of a day, or of a dictionary (`day` None). `answer_rows` are those that were refused."""

    day: date | None
    rows: int
    answer_rows: int
    customer_user_id: int = 0


class LossRefusedError(Exception):
    """A dictionary would have lost too many rows; nothing was changed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.rows} rows are kept, the answer has {refusal.answer_rows}")
        self.refusal = refusal


def lossy_days(
    connection: Connection,
    account: Account,
    table_name: str,
    compared: Mapping[date | None, Compared],
    protection: Protection,
    filter_text: str | None,
) -> Sequence[date]:
    """Return the closed days that would lose too many rows, oldest first, without those of another filter."""
    limit = protection.limit
    if limit is None:
        return []
    lossy = [day for day, each in compared.items() if day and day < protection.today and limit.is_exceeded_by(each)]
    if not lossy:
        return []
    columns = loaded_days.c
    mine = (columns.account_id == account.account_id) & (columns.customer_user_id == account.customer_user_id)
    query = select(columns.day).where(
        mine,
        columns.table_name == table_name,
        columns.day.in_(lossy),
        columns.filter.is_not_distinct_from(filter_text),
    )
    return sorted(connection.scalars(query))
