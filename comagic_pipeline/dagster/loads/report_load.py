"""Load days of a report in a run, into a raw table or the tables of a custom report."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dagster import AssetExecutionContext, AssetKey, OpExecutionContext

from comagic_pipeline.api.filters.parser import Filter
from comagic_pipeline.api.readers.report import report_reader
from comagic_pipeline.api.readers.windows import DaysComplete, Discarded, Rows
from comagic_pipeline.api.rows import Row
from comagic_pipeline.catalog import Method
from comagic_pipeline.config import Source
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.dagster.loads.customers import Customers
from comagic_pipeline.dagster.loads.days import DoneDays
from comagic_pipeline.dagster.loads.journal import Entry, journaled
from comagic_pipeline.dagster.loads.protection import LoadConfig, protection
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource
from comagic_pipeline.dagster.runs import CONTINUES, reserve_of
from comagic_pipeline.operations.from_raw import days_in_raw, raw_rows
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.load import DayLoad, LoadedDay
from comagic_pipeline.warehouse.ops.pending_days import (
    expect_of_customers,
    periods,
    strike_off,
    waiting_days_of,
)
from comagic_pipeline.warehouse.previous_rows import purge_removed
from comagic_pipeline.warehouse.raw.days import snapshot
from comagic_pipeline.warehouse.target import Account, Target

READ_FROM = "read_from"
"""Metadata of a day: the raw table that it was read from, at no points, or the API."""
DATA_API = "Data API"
_COMMITTED_ROWS = 200_000
"""How many rows that are read from a raw table one transaction holds at most, in whole days."""
_TOLD_DAYS = 10  # how many unproven days a line of the journal names
_DAY = timedelta(days=1)

Period = tuple[date, date]


@dataclass(frozen=True)
class Wanted:
    """What is to be loaded: rows of `asked` that pass the filter, into the target.

    `facts` are made of it. A `custom` report may find its rows in a raw table.
    """

    asked: Method
    filter: Filter | None
    target: Target
    facts: Collection[str] = ()
    custom: CustomReport | None = None


class ReportLoad:
    """Loads days of a report in a run; the days that are done are told to Dagster when there is an asset for them."""

    def __init__(
        self,
        context: AssetExecutionContext | OpExecutionContext,
        api: DataApi,
        warehouse: WarehouseResource,
        source: Source,
        wanted: Wanted,
        asset_key: AssetKey | None,
        config: LoadConfig,
    ) -> None:
        self._protection = protection(source, context.run, config)
        self._context, self._api, self._warehouse = context, api, warehouse.get()
        self._source, self._wanted, self._asset_key = source, wanted, asset_key
        self._done = DoneDays(context)
        self._rows: dict[tuple[int, date], int] = {}

    def load(self, period: Period, prepare: Callable[[Warehouse], Sequence[str]] = lambda _: ()) -> Entry:
        """Load the days, both included, as the journal will tell; raises Failure with one line for a person.

        `prepare` makes the tables ready before anything is asked, and gives lines for people.
        """
        wanted, source, run = self._wanted, self._source, self._context.run
        with (
            journaled(self._context, self._warehouse, source, wanted.target.name, period) as entry,
            self._done.reported(),
        ):
            entry.warnings += prepare(self._warehouse)
            with self._api.client(source.name, reserve_of(run, source), self._warehouse, run) as client:
                customers = Customers(source, wanted.asked, client, self._warehouse, entry)
                self._done.customers = len(customers.accounts)
                user_ids = [account.customer_user_id for account in customers.accounts]
                with self._warehouse.begin() as connection:
                    expect_of_customers(
                        connection,
                        source.account_id,
                        wanted.target.name,
                        user_ids,
                        period,
                        run.run_id,
                        datetime.now(UTC),
                    )

                def load(account: Account, params: Mapping[str, Any]) -> None:
                    if wanted.filter and wanted.filter.tree:
                        params = {**params, "filter": wanted.filter.tree}
                    sites = lambda: customers.site_ids(account)  # noqa: E731 - asked only where a report needs a site
                    reader = report_reader(client, wanted.asked, source.zone, params, sites)
                    days = self._days(account)
                    try:
                        with days:
                            left = self._load_from_raw(days, account, self._asked_of(account, period), entry)
                            for step in (step for part in left for step in reader.read(*part)):
                                match step:
                                    case Rows(first_day, last_day, rows, rejected):
                                        kept, unwanted = self._sorted_out(rows, first_day)
                                        days.write(first_day, last_day, kept, rejected, unwanted)
                                    case Discarded():
                                        days.discard()
                                    case DaysComplete(first_day, last_day, points, differences):
                                        unproven = days.api_rows(differences)
                                        left_out = reader.left_out
                                        loaded = days.complete(first_day, last_day, points, left_out, unproven)
                                        entry.warnings += self._unproven(loaded, unproven)
                                        self._tell(loaded, account, entry, DATA_API)
                    finally:
                        self._note_refused(days, entry)
                        entry.changes += days.changes
                        entry.points += reader.points
                        entry.warnings += reader.warnings

                def skip(account: Account) -> None:
                    self._done.customers -= 1
                    with self._warehouse.begin() as connection:
                        ids = (account.account_id, account.customer_user_id)
                        strike_off(connection, *ids, wanted.target.name, *period)

                customers.load_each(load, skip)
            with self._warehouse.begin() as connection:
                purge_removed(connection, source.account_id, source.keep_deleted_days, datetime.now(UTC))
        return entry

    def _sorted_out(self, rows: Sequence[Row], first_day: date) -> tuple[Sequence[Row], Counter[date]]:
        """Return the rows that are wanted, and how many others came, by day."""
        if self._wanted.filter is None:
            return rows, Counter()
        keeps, day_of = self._wanted.filter.keeps, self._wanted.target.day_of
        kept = [row for row in rows if keeps(row)]
        if len(kept) == len(rows):
            return kept, Counter()
        return kept, Counter(day_of(row) or first_day for row in rows if not keeps(row))

    def _days(self, account: Account) -> DayLoad:
        wanted = self._wanted
        return DayLoad(
            self._warehouse,
            wanted.target,
            account,
            self._context.run.run_id,
            facts=wanted.facts,
            filter_text=wanted.filter.text if wanted.filter else None,
            protection=self._protection,
        )

    def _note_refused(self, days: DayLoad, entry: Entry) -> None:
        """Tell of the days that kept their rows: they are loaded, with the rows that they had."""
        entry.refused += days.refused.values()
        for day, refused in days.refused.items():
            self._rows[refused.customer_user_id, day] = refused.rows
            if self._asset_key:
                told = {"refused_rows": refused.answer_rows}
                self._done.add(self._asset_key, day, refused.rows, refused.customer_user_id, **told)
        entry.rows = sum(self._rows.values())

    def _asked_of(self, account: Account, period: Period) -> Sequence[Period]:
        """Return what to read for an account, the newest days first."""
        if CONTINUES not in self._context.run.tags:
            return [period]
        with self._warehouse.connect() as connection:
            ids = (account.account_id, account.customer_user_id)
            return waiting_days_of(connection, *ids, self._wanted.target.name, *period)[::-1]

    def _load_from_raw(
        self, days: DayLoad, account: Account, asked: Sequence[Period], entry: Entry
    ) -> Iterator[Period]:
        """Load what the raw table of a custom report holds already; gives what is left for the API."""
        report = self._wanted.custom
        if report is None or not report.reads_raw:
            yield from asked
            return
        for period in asked:
            with snapshot(self._warehouse) as connection:
                zone, now = self._source.zone, datetime.now(UTC)
                held = days_in_raw(connection, report, account, zone, period, now)
                for part in periods(held):
                    first_day, rows = part[0], 0
                    for day in _days_of(part):
                        days.write(day, day, (), ())
                        for kept in raw_rows(connection, report, account, day):
                            days.write(day, day, kept, ())
                            rows += len(kept)
                        if rows >= _COMMITTED_ROWS or day == part[1]:
                            self._tell(days.complete(first_day, day, 0), account, entry, report.method.table)
                            first_day, rows = day + _DAY, 0
            left = set(_days_of(period)) - set(held)
            yield from periods(sorted(left))[::-1]

    def _unproven(self, loaded: Sequence[LoadedDay], unproven: Mapping[date, int]) -> Iterator[str]:
        """Yield a line for the journal about days whose rows are not as many as the API counts."""
        days = [day for day in loaded if day.day in unproven]
        told = [f"{day.day}: {day.rows} stored, the API counts {unproven[day.day]}" for day in days]
        if told:
            more = f"; and {len(told) - _TOLD_DAYS} more days" if len(told) > _TOLD_DAYS else ""
            yield (
                f"{self._wanted.target.name}: the API counts other numbers of rows than it hands out, whatever is "
                f"asked; stored and marked as unproven: {'; '.join(told[:_TOLD_DAYS])}{more}"
            )

    def _tell(self, loaded: Sequence[LoadedDay], account: Account, entry: Entry, read_from: str) -> None:
        for day in loaded:
            # A day that changed while it was read comes twice.
            self._rows[account.customer_user_id, day.day] = day.rows
            if self._asset_key:
                told = {READ_FROM: read_from} if self._wanted.custom else {}
                costs = {"points": day.points, "seconds": day.seconds}
                self._done.add(self._asset_key, day.day, day.rows, account.customer_user_id, **costs, **told)
        entry.rows = sum(self._rows.values())
        if loaded:
            self._context.log.info(f"{self._wanted.target.name}: complete from {loaded[0].day} to {loaded[-1].day}")


def _days_of(period: Period) -> list[date]:
    return [period[0] + number * _DAY for number in range((period[1] - period[0]).days + 1)]
