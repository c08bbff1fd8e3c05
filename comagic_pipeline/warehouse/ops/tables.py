"""The pipeline's own books, in SQL: which days are loaded, what was rejected, what ran and what it cost."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
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
from sqlalchemy.dialects.postgresql import JSONB

from comagic_pipeline.core.printable import printable

metadata = MetaData(schema="ops")


def _text(name: str, comment: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=nullable, comment=comment)


def _table_of_rows(table_comment: str = "Raw table") -> list[Column[Any]]:
    return [
        Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
        Column("customer_user_id", BigInteger, nullable=False, comment="Customer of an agent, else 0"),
        _text("table_name", table_comment),
    ]


loaded_days = Table(
    "loaded_days",
    metadata,
    *_table_of_rows("Raw table, or asset of a custom report"),
    Column("day", Date, nullable=False, comment="Day, in the account's time zone"),
    Column("rows", BigInteger, nullable=False, comment="Rows of the day"),
    Column("points", Numeric(12, 4), nullable=False, comment="The day's share of the points that its requests cost"),
    Column("seconds", Double, nullable=False, comment="The day's share of the time that its load took"),
    _text("run_id", "Dagster run that loaded it"),
    Column("loaded_at", DateTime(timezone=True), nullable=False, comment="When the rows were committed"),
    _text("filter", "Which rows were wanted; empty: all", nullable=True),
    Column("left_out", ARRAY(Text), comment="Columns of the table that the rows do not have; empty: not known"),
    Column("answered", BigInteger, comment="Rows that the API counted, wanted and stored or not; empty: not known"),
    Column(
        "api_rows",
        BigInteger,
        comment="Rows that the API counts for the day, where the stored rows could not be proven complete; "
        "empty: proven",
    ),
    Column(
        "refused_rows",
        BigInteger,
        comment="Rows of the latest answer that was refused because it would remove too many; "
        "empty: none since the load",
    ),
    Column("refused_at", DateTime(timezone=True), comment="When that answer was refused"),
    PrimaryKeyConstraint("account_id", "customer_user_id", "table_name", "day", name="loaded_days_pkey"),
    comment="The load ledger: a row is written in the same transaction as the rows of its day",
)

rejected_rows = Table(
    "rejected_rows",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    *_table_of_rows("Raw table, or asset of a custom report"),
    Column("event_date", Date, comment="Day of the row; empty for dictionaries"),
    _text("row_key", "Key of the row, as far as it could be read"),
    _text("column_name", "Column that was left empty; empty when the whole row could not be stored", nullable=True),
    _text("value", "What the API gave"),
    _text("reason", "Why it does not fit"),
    Column("loaded_at", DateTime(timezone=True), nullable=False, comment="When it was met"),
    Index("rejected_rows_idx_1", "account_id", "table_name", "event_date"),
    comment="Values of the API that did not fit; gone when their day is loaded again without them",
)

removed_rows = Table(
    "removed_rows",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("removed_at", DateTime(timezone=True), nullable=False, comment="When the load removed it"),
    *_table_of_rows("Table that held it"),
    Column("day", Date, comment="Day of the row; empty for dictionaries"),
    _text("row_key", "Key of the row; empty where the table has none", nullable=True),
    Column("row", JSONB, nullable=False, comment="The row as it was, by the names of its columns"),
    _text("run_id", "Dagster run that removed it"),
    Index("removed_rows_idx_1", "account_id", "removed_at"),
    Index("removed_rows_idx_2", "account_id", "table_name", "day"),
    comment="Rows that a load removed because the API has them no more, kept for keep_deleted_days",
)

custom_reports = Table(
    "custom_reports",
    metadata,
    Column("processor_id", Integer, primary_key=True, autoincrement=False, comment="Number of the report"),
    Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
    _text("name", "Name in the configuration"),
    _text("asset_name", "Name of its asset, without the source"),
    _text("report", "Report of the API that it takes its rows from"),
    Column("tables", ARRAY(Text), nullable=False, comment="Tables that hold its rows"),
    Column("changed_at", DateTime(timezone=True), nullable=False, comment="When one of these last changed"),
    comment="The custom reports that were loaded, and where their rows are",
)

journal = Table(
    "journal",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("happened_at", DateTime(timezone=True), nullable=False, server_default=func.now(), comment="When"),
    Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
    _text("run_id", "Dagster run"),
    _text("event", "done, different, refused, skipped, warning or failed"),
    _text("table_name", "Table, the star, or asset of a custom report"),
    Column("first_day", Date, comment="First day of the period"),
    Column("last_day", Date, comment="Last day of the period"),
    Column("rows", BigInteger, comment="Rows written"),
    Column("points", Numeric(12, 4), comment="Points spent"),
    Column("seconds", Double, comment="Time taken"),
    _text("message", "What a person should know", nullable=True),
    _text("trigger", "What began the run: a schedule, a sensor, a backfill, a command or a person", nullable=True),
    Column("added", BigInteger, comment="Rows that were not there before"),
    Column("updated", BigInteger, comment="Rows that were there with other values"),
    Column("deleted", BigInteger, comment="Rows that are no more"),
    _text("next_step", "What a person does about it, where something went wrong", nullable=True),
    Index("journal_idx_1", "account_id", "happened_at"),
    comment="What ran, what it cost, what went wrong",
)

reconciled_days = Table(
    "reconciled_days",
    metadata,
    Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
    _text("table_name", "Raw table that was compared with the API"),
    Column("day", Date, nullable=False, comment="Day, in the account's time zone"),
    _text("mode", "How it was compared last: quick, sampled or full"),
    Column("is_equal", Boolean, nullable=False, comment="Whether warehouse and API said the same"),
    Column("checked_at", DateTime(timezone=True), nullable=False, comment="When it was compared last"),
    _text("run_id", "Dagster run that compared it"),
    Column(
        "heal_tries", Integer, nullable=False, comment="How often it was loaded again because it differed, in a row"
    ),
    Column("heal_asked_at", DateTime(timezone=True), comment="When it was last loaded again because it differed"),
    PrimaryKeyConstraint("account_id", "table_name", "day", name="reconciled_days_pkey"),
    comment="The last comparison of each day with the API, and what was done about a difference",
)

reconciliation = Table(
    "reconciliation",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("found_at", DateTime(timezone=True), nullable=False, comment="When"),
    Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
    _text("table_name", "Raw table that was compared with the API"),
    _text("layer", "What was compared with the API: raw or star"),
    Column("day", Date, nullable=False, comment="Day, in the account's time zone"),
    _text("grain", "day: the whole day; group: calls of a campaign, a call source and a tag; row: a row by its key"),
    Column("campaign_id", BigInteger, comment="Campaign of the group; empty: none"),
    _text("call_source", "Call source code of the group", nullable=True),
    Column("tag_id", BigInteger, comment="Tag of the group; empty: calls without a tag"),
    _text("row_key", "Key of a row that differs", nullable=True),
    _text("measure", "calls, waiting or talking (seconds); of a row: rows, or values where both have it"),
    Column("in_warehouse", BigInteger, comment="What the warehouse says; empty: it has nothing of it"),
    Column("in_api", BigInteger, comment="What the API says; empty: it has nothing of it"),
    Column("difference", BigInteger, nullable=False, comment="Warehouse less API"),
    _text("run_id", "Dagster run that found it"),
    Column("customer_user_id", BigInteger, nullable=False, server_default="0", comment="Customer of an agent, else 0"),
    Index("reconciliation_idx_1", "account_id", "table_name", "day"),
    comment="Differences between warehouse and API, as they were found",
)

date_till = Table(
    "date_till",
    metadata,
    Column(
        "account_id",
        Integer,
        nullable=False,
        autoincrement=False,
        comment="Source, general_accounts.account_id",
    ),
    Column("is_inclusive", Boolean, nullable=False, comment="Whether rows of the second date_till are counted"),
    Column("learned_at", DateTime(timezone=True), nullable=False, comment="When the API was asked"),
    PrimaryKeyConstraint("account_id", name="date_till_pkey"),
    comment="Whether the API takes date_till into the period of a request, learned once per account",
)

retained_from = Table(
    "retained_from",
    metadata,
    Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
    _text("layer", "raw, star or custom_reports"),
    Column("first_day", Date, nullable=False, comment="First day that is kept: older ones were deleted"),
    Column("deleted_at", DateTime(timezone=True), nullable=False, comment="When"),
    PrimaryKeyConstraint("account_id", "layer", name="retained_from_pkey"),
    comment="What retention has deleted",
)

alerts = Table(
    "alerts",
    metadata,
    _text("cause", "What is wrong: one cause is told once"),
    Column("account_id", Integer, comment="Source, general_accounts.account_id; empty: none of them alone"),
    _text("message", "What people were told"),
    Column("seen_at", DateTime(timezone=True), nullable=False, comment="When it was last seen"),
    Column("told_at", DateTime(timezone=True), comment="When people were told; empty: not yet"),
    Column("recovered_at", DateTime(timezone=True), comment="When it was over; empty: it goes on"),
    PrimaryKeyConstraint("cause", name="alerts_pkey"),
    comment="What people were told of, and whether it is over",
)

POINT_LIMITS = ("day", "hour", "minute")
"""The spans of time for which the API may tell a limit of points."""

key_points = Table(
    "key_points",
    metadata,
    _text("key_id", "Which key: a hash of the API's address and the key"),
    *(
        column
        for span in POINT_LIMITS
        for column in (
            Column(f"{span}_limit", Integer, comment=f"Points of the {span}; empty where the API does not tell"),
            Column(f"{span}_remaining", Integer, comment=f"Points left of the {span}"),
            Column(f"{span}_resets_at", DateTime(timezone=True), comment=f"When the {span} starts anew"),
            Column(f"{span}_began_at", DateTime(timezone=True), comment=f"When the {span} last started anew"),
        )
    ),
    Column("answers", BigInteger, nullable=False, comment="Answers so far: tells late ones from new ones"),
    Column("told_at", DateTime(timezone=True), comment="When the API last told limits"),
    PrimaryKeyConstraint("key_id", name="key_points_pkey"),
    comment="What the API last said of a key's points, shared by all processes that use the key",
)

requests_under_way = Table(
    "requests_under_way",
    metadata,
    Column("ticket", Text, primary_key=True, comment="Name of the request"),
    _text("key_id", "Which key"),
    _text("method", "Method that was called"),
    _text("run_id", "Dagster run; empty for a request of a command"),
    Column("sent_at", DateTime(timezone=True), nullable=False, comment="When"),
    Column("answers", BigInteger, nullable=False, comment="key_points.answers at that moment"),
    Index("requests_under_way_idx_1", "key_id"),
    comment="Requests that were sent and not answered yet: each may cost a point that no answer has told of",
)

points_spent = Table(
    "points_spent",
    metadata,
    Column("account_id", Integer, nullable=False, comment="Source, general_accounts.account_id"),
    Column("day", Date, nullable=False, comment="Day, in the account's time zone"),
    _text("table_name", "Raw table that was asked for, or the method where it has none"),
    _text("run_id", "Dagster run; empty for a request of a command"),
    Column("points", BigInteger, nullable=False, comment="Successful requests: each costs a point"),
    PrimaryKeyConstraint("account_id", "day", "table_name", "run_id", name="points_spent_pkey"),
    comment="Where the points went",
)

waiting_days = Table(
    "waiting_days",
    metadata,
    *_table_of_rows("Raw table, table of facts, or asset of a custom report"),
    Column("day", Date, nullable=False, comment="Day, in the account's time zone"),
    _text("run_id", "Dagster run that has it to load, or had it and did not come so far"),
    Column("asked_at", DateTime(timezone=True), nullable=False, comment="When it was first asked for"),
    Column("not_before", DateTime(timezone=True), comment="When the next try may begin; empty: at once"),
    Column("tries", Integer, nullable=False, comment="Runs that did not load one day of the table, in a row"),
    _text("reason", "Why it waits: points, failed or interrupted; empty while a run has it", nullable=True),
    PrimaryKeyConstraint("account_id", "customer_user_id", "table_name", "day", name="waiting_days_pkey"),
    comment="Days that were asked for and are not loaded yet; a line goes in the transaction that loads its day",
)


def is_skipped(connection: Connection, account_id: int, table_name: str) -> bool:
    """Return whether the last that the journal says of a table is that the account has no access to it."""
    mine = (journal.c.account_id == account_id) & (journal.c.table_name == table_name)
    query = select(journal.c.event).where(mine, journal.c.event != "warning").order_by(journal.c.id.desc()).limit(1)
    return connection.scalar(query) == "skipped"


_LONGEST_MESSAGE = 20_000  # characters: messages of our own are whole, whatever a server said is cut before


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
    trigger: str | None = None,
    added: int | None = None,
    updated: int | None = None,
    deleted: int | None = None,
    next_step: str | None = None,
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
        "message": message and printable(message, _LONGEST_MESSAGE),
        "trigger": trigger,
        "added": added,
        "updated": updated,
        "deleted": deleted,
        "next_step": next_step,
    }
    connection.execute(insert(journal).values(values | ({"happened_at": happened_at} if happened_at else {})))
