"""The pipeline's own books, in SQL: which days are loaded, what was rejected, what ran and what it cost."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    insert,
    select,
)

metadata = MetaData(schema="ops")


def _text(name: str, comment: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=nullable, comment=comment)


def _table_of_rows() -> list[Column[Any]]:
    return [
        Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
        Column("customer_user_id", BigInteger, nullable=False, comment="Customer of an agent, else 0"),
        _text("table_name", "Raw table"),
    ]


loaded_days = Table(
    "loaded_days",
    metadata,
    *_table_of_rows(),
    Column("day", Date, nullable=False, comment="Day, in the account's time zone"),
    Column("rows", BigInteger, nullable=False, comment="Rows of the day"),
    Column("points", Numeric(12, 4), nullable=False, comment="The day's share of the points that its requests cost"),
    Column("seconds", Double, nullable=False, comment="The day's share of the time that its load took"),
    _text("run_id", "Dagster run that loaded it"),
    Column("loaded_at", DateTime(timezone=True), nullable=False, comment="When the rows were committed"),
    PrimaryKeyConstraint("account_id", "customer_user_id", "table_name", "day", name="loaded_days_pkey"),
    comment="The load ledger: a row is written in the same transaction as the rows of its day",
)

rejected_rows = Table(
    "rejected_rows",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    *_table_of_rows(),
    Column("event_date", Date, comment="Day of the row; empty for dictionaries"),
    _text("row_key", "Key of the row, as far as it could be read"),
    _text("column_name", "Column that was left empty; empty when the whole row could not be stored", nullable=True),
    _text("value", "What the API gave"),
    _text("reason", "Why it does not fit"),
    Column("loaded_at", DateTime(timezone=True), nullable=False, comment="When it was met"),
    Index("rejected_rows_idx_1", "account_id", "table_name", "event_date"),
    comment="Values of the API that did not fit; gone when their day is loaded again without them",
)

journal = Table(
    "journal",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("happened_at", DateTime(timezone=True), nullable=False, server_default=func.now(), comment="When"),
    Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
    _text("run_id", "Dagster run"),
    _text("event", "done, skipped, warning or failed"),
    _text("table_name", "Table, or the star"),
    Column("first_day", Date, comment="First day of the period"),
    Column("last_day", Date, comment="Last day of the period"),
    Column("rows", BigInteger, comment="Rows written"),
    Column("points", Numeric(12, 4), comment="Points spent"),
    Column("seconds", Double, comment="Time taken"),
    _text("message", "What a person should know", nullable=True),
    Index("journal_idx_1", "account_id", "happened_at"),
    comment="What ran, what it cost, what went wrong",
)


def is_skipped(connection: Connection, account_id: int, table_name: str) -> bool:
    """True when the last that the journal says of a table is that the account has no access to it."""
    mine = (journal.c.account_id == account_id) & (journal.c.table_name == table_name)
    query = select(journal.c.event).where(mine, journal.c.event != "warning").order_by(journal.c.id.desc()).limit(1)
    return connection.scalar(query) == "skipped"


def record(
    connection: Connection,
    *,
    account_id: int,
    run_id: str,
    event: str,
    table_name: str,
    period: tuple[date, date] | None = None,
    rows: int | None = None,
    points: int | None = None,
    seconds: float | None = None,
    message: str | None = None,
    happened_at: datetime | None = None,
) -> None:
    """Write a line of the journal; `points` and `seconds` are what this event cost."""
    first_day, last_day = period or (None, None)
    values = {
        "account_id": account_id,
        "run_id": run_id,
        "event": event,
        "table_name": table_name,
        "first_day": first_day,
        "last_day": last_day,
        "rows": rows,
        "points": points,
        "seconds": seconds,
        "message": message,
    }
    connection.execute(insert(journal).values(values | ({"happened_at": happened_at} if happened_at else {})))
