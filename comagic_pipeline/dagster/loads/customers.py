"""The customers for whom a step loads rows, one after the other.

An error of one customer's account does not stop the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from typing import Any

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import ComagicError, DayPointsSpentError, MethodUnavailableError
from comagic_pipeline.api.readers.dictionaries import DictionaryReader
from comagic_pipeline.catalog import Method, tables
from comagic_pipeline.config import Source
from comagic_pipeline.dagster.loads.journal import Entry
from comagic_pipeline.operations.customers import params_of, user_ids
from comagic_pipeline.operations.next_steps import next_step
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.raw.tables import stored_rows
from comagic_pipeline.warehouse.target import Account


class Customers:
    """The customers for whom a source asks a method; one, without a number, for an account that is nobody's agent."""

    def __init__(self, source: Source, method: Method, client: Client, warehouse: Warehouse, entry: Entry) -> None:
        self._source, self._client, self._warehouse, self._entry = source, client, warehouse, entry
        agent = Account(source.account_id)
        self.accounts = [agent]
        if method.group != "agent":
            ids = user_ids(source, lambda: self._rows(tables()["customer_users"], agent, ("id", "customer_id")))
            self.accounts = [replace(agent, customer_user_id=user_id) for user_id in ids]

    def load_each(self, load: Callable[[Account, Mapping[str, Any]], None], skip: Callable[[Account], None]) -> None:
        """Call `load` with each account and the parameters of its requests, and `skip` for one that may not be loaded.

        The entry of the journal is told: as skipped when no account can be loaded, else as a warning for each. Other
        errors are raised at the end, together, but for the day's points, which are those of all.
        """
        skipped: list[str] = []
        next_steps: list[str | None] = []
        failed: list[ComagicError] = []
        said: list[str] = []
        for account in self.accounts:
            try:
                load(account, params_of(account))
            except MethodUnavailableError as error:
                skipped.append(self._said(account, error))
                next_steps.append(next_step(error, self._source.zone))
                skip(account)
            except DayPointsSpentError:
                self._entry.warnings += [*skipped, *said]
                raise
            except ComagicError as error:
                failed.append(error)
                said.append(self._said(account, error))
        if len(skipped) == len(self.accounts):
            self._entry.skipped = skipped[0] if skipped else "the agent has no customers"
            self._entry.next_step = next_steps[0] if next_steps else None
        else:
            self._entry.warnings += skipped
        if failed and len(self.accounts) == 1 and not self.accounts[0].customer_user_id:
            raise failed[0]
        if failed:
            several = f"{len(failed)} of {len(self.accounts)} customers failed: " if len(failed) > 1 else ""
            all_of_them = ComagicError(several + "; ".join(said))
            all_of_them.may_pass = any(each.may_pass for each in failed)
            all_of_them.parts = failed
            raise all_of_them

    def site_ids(self, account: Account) -> Sequence[int]:
        """Return the ids of the account's sites."""
        return [row["id"] for row in self._rows(tables()["sites"], account, ("id",))]

    def _rows(self, method: Method, account: Account, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return columns of a dictionary.

        From the warehouse, where they cost no point, or from the API if it is not there.
        """
        with self._warehouse.connect() as connection:
            rows = stored_rows(connection, method, account.account_id, account.customer_user_id, columns)
        return rows or self._asked(method, self._source.zone, account, columns)

    def _asked(self, method: Method, zone: tzinfo, account: Account, columns: Sequence[str]) -> list[dict[str, Any]]:
        reader = DictionaryReader(self._client, method, zone, params_of(account))
        try:
            rows, _ = reader.read()
        finally:
            self._entry.points += reader.points
        return [{name: getattr(row, name) for name in columns} for row in rows]

    def _said(self, account: Account, error: ComagicError) -> str:
        return f"customer {account.customer_user_id}: {error}" if account.customer_user_id else str(error)
