"""Alerts in SQL: which causes were seen, sent and resolved."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, delete, func, select, update
from sqlalchemy.dialects import postgresql

from comagic_pipeline.warehouse.ops.tables import alerts, journal


@dataclass(frozen=True)
class Alert:
    """A line of the book: what is wrong, in the words that people get; `told_at` None: they do not know yet."""

    cause: str
    account_id: int | None
    message: str
    told_at: datetime | None = None


def note(connection: Connection, seen: Collection[Alert], now: datetime) -> None:
    """Note what is wrong now: words of a cause of which people know stay as they were told."""
    for alert in seen:
        values = {"cause": alert.cause, "account_id": alert.account_id, "message": alert.message, "seen_at": now}
        new = postgresql.insert(alerts).values(values)
        known = alerts.c.told_at.is_not(None) & alerts.c.recovered_at.is_(None)
        renewed = {
            "account_id": new.excluded.account_id,
            "seen_at": new.excluded.seen_at,
            "message": case((known, alerts.c.message), else_=new.excluded.message),
            "told_at": case((known, alerts.c.told_at), else_=None),
            "recovered_at": None,
        }
        connection.execute(new.on_conflict_do_update(constraint=alerts.primary_key, set_=renewed))


def untold(connection: Connection) -> list[Alert]:
    """Return causes that go on and of which people do not know."""
    query = select(*_COLUMNS).where(alerts.c.told_at.is_(None), alerts.c.recovered_at.is_(None))
    return [Alert(*row) for row in connection.execute(query.order_by(alerts.c.cause))]


def over(connection: Connection, seen: Collection[Alert]) -> list[Alert]:
    """Return causes of which people know and that are not seen any more; those that nobody knows of are forgotten."""
    gone = alerts.c.recovered_at.is_(None) & alerts.c.cause.not_in([alert.cause for alert in seen])
    connection.execute(delete(alerts).where(gone, alerts.c.told_at.is_(None)))
    return [Alert(*row) for row in connection.execute(select(*_COLUMNS).where(gone).order_by(alerts.c.cause))]


def mark(connection: Connection, causes: Collection[str], **moments: datetime) -> None:
    """Set told_at, or recovered_at, of causes."""
    connection.execute(update(alerts).where(alerts.c.cause.in_(causes)).values(moments))


Line = tuple[str, str, str | None]
"""Table, message and next step of a line of the journal."""


def unmended_failures(connection: Connection, account_id: int, since: datetime) -> list[Line]:
    """Return the last failures, each of a table that no later load has mended."""
    return _last_ends(connection, account_id, since, "failed")


def refused_loads(connection: Connection, account_id: int, since: datetime) -> list[Line]:
    """Return the tables whose last load was refused because it would have removed too many rows."""
    return _last_ends(connection, account_id, since, "refused")


def _last_ends(connection: Connection, account_id: int, since: datetime, event: str) -> list[Line]:
    ends = journal.c.event.in_(("done", "different", "refused", "skipped", "failed"))
    mine = (journal.c.account_id == account_id) & (journal.c.happened_at > since) & ends
    last = select(func.max(journal.c.id)).where(mine).group_by(journal.c.table_name)
    query = select(journal).where(journal.c.id.in_(last), journal.c.event == event).order_by(journal.c.id)
    lines = connection.execute(query)
    return [(line.table_name, line.message or "", line.next_step) for line in lines]


def journaled_runs(connection: Connection, run_ids: Collection[str]) -> set[str]:
    """Return those of the runs of which the journal has a failure."""
    query = select(journal.c.run_id).where(journal.c.run_id.in_(run_ids), journal.c.event == "failed")
    return set(connection.scalars(query))


_COLUMNS = (alerts.c.cause, alerts.c.account_id, alerts.c.message, alerts.c.told_at)
