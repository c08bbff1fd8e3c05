"""Targets: the table that gets the rows of a report. `load.DayLoad` fills them day by day."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Executable, Table

from comagic_pipeline.warehouse.changes import Compared
from comagic_pipeline.warehouse.copying import RefusedRow
from comagic_pipeline.warehouse.engine import Warehouse


class RejectedValue(Protocol):
    """A value that did not fit; `column` None means that the whole row could not be stored."""

    @property
    def key(self) -> str:
        """Key of the row, as far as it could be read."""

    @property
    def day(self) -> date | None:
        """Day of the row, where it has one."""

    @property
    def column(self) -> str | None:
        """Column that is left empty."""

    @property
    def value(self) -> str:
        """What the API gave."""

    @property
    def reason(self) -> str:
        """Why it does not fit."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that the database refuses, as a `RejectedValue`."""

    key: str
    day: date | None
    value: str
    reason: str
    column: None = None

    @classmethod
    def of(
        cls, row: RefusedRow, columns: Sequence[str], own: Collection[str], key: Sequence[str], day: str, repeated: str
    ) -> "RejectedRow":
        """Return the row as it is rejected; `columns` name its values, `day` is that of the day, if it is there.

        `own` are columns that the API does not give, `key` those of the key, `repeated` is the reason where another
        row has the same.
        """
        values = dict(zip(columns, row.values, strict=True))
        came = {name: value for name, value in values.items() if name not in own and not _is_empty(value)}
        label = ", ".join(str(values[name]) for name in key)
        text = msgspec.json.encode(came).decode()
        return cls(label, values.get(day), text, repeated if row.is_repeated else row.reason)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, msgspec.Raw) and bytes(value) == b"null")


@dataclass(frozen=True)
class Written:
    """What was not written of the rows of a report: `rejected` did not fit.

    `lost` counts by day the rows that are stored nowhere; a row of several tables may be stored in some of them.
    """

    rejected: Sequence[RejectedValue] = ()
    lost: Counter[date] = field(default_factory=Counter)

    @property
    def refused(self) -> list[RejectedRow]:
        """The rows among them that the database refused."""
        return [value for value in self.rejected if isinstance(value, RejectedRow)]


@dataclass(frozen=True)
class Account:
    """Whose rows they are: the configured source, and for an agent the customer (else 0)."""

    account_id: int
    customer_user_id: int = 0

    @property
    def values(self) -> dict[str, int]:
        """By the names of the columns that every table has for it."""
        return {"account_id": self.account_id, "customer_user_id": self.customer_user_id}


class Removed(Protocol):
    """Keeps the rows that a load removes (`previous_rows.RemovedRows`)."""

    def keep(
        self,
        connection: Connection,
        table: Table,
        places: Executable,
        days: Sequence[date],
        day: str | None,
        key: Sequence[str],
    ) -> None:
        """Keep the rows of a table at these places."""


class Target(Protocol):
    """Tables that hold the rows of a report; all methods but `make_room` work in the transaction of the load."""

    @property
    def name(self) -> str:
        """What the ledger, the journal and the rejected rows call it."""

    def day_of(self, row: Any) -> date | None:
        """Return the day of a row; None for a report that tells no time."""

    def make_room(self, connection: Connection, warehouse: Warehouse, first_day: date, last_day: date) -> None:
        """Make what is needed to hold these days, both included."""

    def empty(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:
        """Take away the account's rows of these days."""

    def write(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        rows: Sequence[Any],
        days: Sequence[date],
        loaded_at: datetime,
    ) -> Written:
        """Add rows, each with its day; returns what did not fit, rows that the database refuses included."""

    def compare(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        days: Sequence[date],
        loaded_at: datetime,
    ) -> Mapping[date | None, Compared]:
        """Compare what was written with what the emptied days held before; called once, when all rows are written.

        None stands for all days where they held nothing. Several tables of a day give its largest loss.
        """

    def put_back(self, connection: Connection, warehouse: Warehouse, account: Account, days: Sequence[date]) -> None:
        """Make these days, some of those that were compared, what they were before."""

    def finish(
        self,
        connection: Connection,
        warehouse: Warehouse,
        account: Account,
        days: Sequence[date],
        removed: Removed | None,
    ) -> None:
        """Make these days, the others of those that were compared, ready to be committed; keep what they lose."""
