"""Where the rows of a report go, a module for each kind of tables: what `load.DayLoad` fills, day by day."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Table

from comagic_pipeline.warehouse.changes import Compared
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
        """The day of a row; None for a report that tells no time."""

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
    ) -> Iterable[RejectedValue]:
        """Add rows, each with its day; gives what did not fit."""

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
