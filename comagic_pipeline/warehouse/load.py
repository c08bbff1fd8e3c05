"""Replace whole days or whole dictionaries in one transaction.

A load that dies leaves the old rows or the new ones, never a mix, and the load log says which. Which table gets the
rows is decided by a target; where the rows come from is not known here.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, text
from sqlalchemy.dialects import postgresql

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.changes import Changes, Compared
from comagic_pipeline.warehouse.copying import MOST_REFUSED, RowsRefusedError
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.losses import LossRefusedError, Protection, Refusal, lossy_days
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.ops.doubtful_days import mark_refused
from comagic_pipeline.warehouse.ops.pending_days import expect, strike_off
from comagic_pipeline.warehouse.previous_rows import RemovedRows, put_back
from comagic_pipeline.warehouse.raw.history import keep_versions
from comagic_pipeline.warehouse.raw.target import copy_raw, replaced_raw, rows_of
from comagic_pipeline.warehouse.target import Account, RejectedValue, Target, Written

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class LoadedDay:
    """What the ledger says of a day: its rows, and its shares of points and seconds."""

    day: date
    rows: int
    points: float
    seconds: float


@dataclass(frozen=True)
class LoadedDictionary:
    """How many rows of a dictionary are stored, how many the database refused, and what that changed."""

    rows: int
    refused: int
    changes: Changes


class DayLoad:
    """Replaces days of one report: `write` rows of days, then `complete` those days. Use it as a context manager.

    `rows` are what the target takes. `clock` gives aware datetimes. `facts` are the tables of the star that are made of
    the report: their days are due with every change. `filter_text` is what all rows were chosen by, for the ledger.
    `protection` keeps the rows of days that would lose too many, and the rows that go; None: neither.
    `changes` are those of all days that are complete, `refused` the days that kept their rows.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        target: Target,
        account: Account,
        run_id: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        facts: Collection[str] = (),
        filter_text: str | None = None,
        protection: Protection | None = None,
    ) -> None:
        self._warehouse, self._target, self._account, self._run_id = warehouse, target, account, run_id
        self._facts, self._filter_text = facts, filter_text
        self._clock = clock
        self._protection = protection
        self.changes = Changes()
        self.refused: dict[date, Refusal] = {}
        self._refused: dict[date, Refusal] = {}
        self._started = clock()
        self._emptied: set[date] = set()
        self._rows_of_day: Counter[date] = Counter()
        self._dropped: Counter[date] = Counter()
        self._refused_rows = 0
        self._values = account.values | {"table_name": target.name}

    def __enter__(self) -> "DayLoad":
        self._context = self._warehouse.connect()
        self._connection = self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def write(
        self,
        first_day: date,
        last_day: date,
        rows: Sequence[Any],
        rejected: Sequence[RejectedValue],
        unwanted: Mapping[date, int] | None = None,
    ) -> None:
        """Add rows of these days, both included; what the days held before the first `write` goes.

        Rows of a report that tells no time are of the first of these days. `unwanted` are the numbers of rows that came
        with them and are not wanted.
        """
        self._empty(first_day, last_day)
        loaded_at = self._clock()
        days = [self._target.day_of(row) or first_day for row in rows]
        self._rows_of_day.update(days)
        self._dropped.update(unwanted or {})
        self._dropped.update(value.day or first_day for value in rejected if value.column is None)
        written = self._target.write(self._connection, self._warehouse, self._account, rows, days, loaded_at)
        self._rows_of_day -= written.lost
        self._dropped += written.lost
        self._count_refused(written)
        _reject(self._connection, self._values, [*rejected, *written.rejected], loaded_at, first_day)

    def _count_refused(self, written: Written) -> None:
        """Raise RowsRefusedError when the database has refused very many rows since the last `complete`."""
        self._refused_rows += len(written.refused)
        if self._refused_rows > MOST_REFUSED:
            raise RowsRefusedError(self._target.name, written.refused[-1].reason)

    def complete(
        self,
        first_day: date,
        last_day: date,
        points: int,
        left_out: Collection[str] = (),
        unproven: Mapping[date, int] | None = None,
    ) -> list[LoadedDay]:
        """Commit the days, both included, with their lines in the ledger; `points` were spent on them.

        `left_out` are columns that the API did not give. `unproven` are the rows that the API counts for those of the
        days whose rows could not be proven complete; the marks of all other days are cleared (`doubtful_days`).
        """
        now = self._clock()
        changes = self._replace(now)
        seconds, self._started = (now - self._started).total_seconds(), now
        days = [first_day + number * _DAY for number in range((last_day - first_day).days + 1)]
        total = sum(self._rows_of_day[day] for day in days)
        loaded = []
        for day in (day for day in days if day not in self._refused):
            rows = self._rows_of_day[day]
            share = rows / total if total else 1 / len(days)
            loaded.append(LoadedDay(day, rows, round(points * share, 4), round(seconds * share, 4)))
        if loaded:
            self._connection.execute(_upsert_loaded_day, self._lines(loaded, now, left_out, unproven or {}))
        account_id, customer = self._account.account_id, self._account.customer_user_id
        # Days that were refused do not stay pending: a person decides, or the next refresh sees them right again.
        strike_off(self._connection, account_id, customer, self._target.name, first_day, last_day)
        if self._facts:
            expect(self._connection, account_id, self._facts, first_day, last_day, self._run_id, now)
        self._connection.commit()
        self.changes += changes
        # A day that changed while it was read comes twice: the last answer counts.
        done = {day.day for day in loaded}
        self.refused = {day: each for day, each in self.refused.items() if day not in done} | self._refused
        self._forget()
        return loaded

    def api_rows(self, differences: Mapping[date, int]) -> dict[date, int]:
        """Return what the API counts for days that are written, by how many rows more than it handed out."""
        of_day = {day: self._rows_of_day[day] + self._dropped[day] for day in differences}
        return {day: max(rows + differences[day], 0) for day, rows in of_day.items()}

    def _lines(
        self, loaded: Sequence[LoadedDay], now: datetime, left_out: Collection[str], unproven: Mapping[date, int]
    ) -> list[dict[str, Any]]:
        """Return the lines of the ledger for days."""
        return [
            self._values
            | {"day": day.day, "rows": day.rows, "points": Decimal(str(day.points)), "seconds": day.seconds}
            | {"run_id": self._run_id, "loaded_at": now}
            | {"filter": self._filter_text, "left_out": sorted(left_out)}
            | {"answered": day.rows + self._dropped[day.day], "api_rows": unproven.get(day.day)}
            for day in loaded
        ]

    def _replace(self, now: datetime) -> Changes:
        """Replace the rows of the days that were emptied, except of those that would lose too many."""
        place = (self._connection, self._warehouse, self._account)
        emptied = sorted(self._emptied)
        compared = self._target.compare(*place, emptied, now)
        lossy: Sequence[date] = ()
        if self._protection:
            name = self._target.name
            lossy = lossy_days(place[0], self._account, name, compared, self._protection, self._filter_text)
        if lossy:
            self._refuse(lossy, compared, now)
        accepted = [each for day, each in compared.items() if day not in lossy]
        keeps = self._protection is not None and self._protection.keeps_removed
        is_kept = keeps and any(each.vanished for each in accepted)
        removed = RemovedRows(self._warehouse, self._account, self._run_id, now) if is_kept else None
        self._target.finish(*place, [day for day in emptied if day not in lossy], removed)
        return sum((each.changes for each in accepted), Changes())

    def _refuse(self, lossy: Sequence[date], compared: Mapping[date | None, Compared], now: datetime) -> None:
        """Keep the rows of days, with what was rejected of them, and mark the days."""
        self._target.put_back(self._connection, self._warehouse, self._account, lossy)
        put_back(self._connection, self._warehouse, ops.rejected_rows, _rejected(self._values, lossy))
        rows = {day: self._rows_of_day[day] for day in lossy}
        mark_refused(self._connection, self._account, self._target.name, rows, now)
        customer = self._account.customer_user_id
        for day in lossy:
            self._refused[day] = Refusal(day, compared[day].before, rows[day], customer)

    def discard(self) -> None:
        """Take back what was written since the last `complete`: the days hold what they held before."""
        self._connection.rollback()
        self._forget()

    def _forget(self) -> None:
        """Forget what was written: it is committed, or void."""
        self._emptied.clear()
        self._refused = {}
        self._rows_of_day.clear()
        self._dropped.clear()
        self._refused_rows = 0

    def _empty(self, first_day: date, last_day: date) -> None:
        days = [first_day + number * _DAY for number in range((last_day - first_day).days + 1)]
        fresh = [day for day in days if day not in self._emptied]
        if not fresh:
            return
        with self._warehouse.begin() as connection:
            self._target.make_room(connection, self._warehouse, fresh[0], fresh[-1])
        # Two loads of the same day take turns, oldest day first: without this the second would not see, and so not
        # delete, what the first is about to commit.
        self._connection.execute(_lock_days, {"days": fresh, **self._values})
        self._target.empty(self._connection, self._warehouse, self._account, fresh)
        _forget_rejected(self._connection, self._values, fresh)
        self._emptied.update(fresh)


def replace_dictionary(
    warehouse: Warehouse,
    method: Method,
    account: Account,
    rows: Sequence[Any],
    rejected: Sequence[RejectedValue],
    loaded_at: datetime,
    protection: Protection | None = None,
    run_id: str = "",
) -> LoadedDictionary:
    """Replace all rows that the account has in a dictionary, in one transaction, and keep what changed as history.

    Raises LossRefusedError, and changes nothing, when it would lose more rows than the protection allows.
    """
    values = account.values | {"table_name": method.table}
    replaced, mine = replaced_raw(method), rows_of(method, account)
    with warehouse.begin() as connection:
        connection.execute(_lock_table, values)
        replaced.take_away(connection, mine)
        _forget_rejected(connection, values)
        ids = (account.account_id, account.customer_user_id)
        refused = copy_raw(
            connection,
            warehouse,
            method,
            lambda: ((*ids, *msgspec.structs.astuple(row), loaded_at) for row in rows),
        )
        stored = len(rows) - len(refused)
        _reject(connection, values, [*rejected, *refused], loaded_at, None)
        keep_versions(connection, warehouse, method, account.values, loaded_at)
        compared = replaced.compare(connection, mine).get(None, Compared())
        if protection and protection.limit and protection.limit.is_exceeded_by(compared):
            raise LossRefusedError(Refusal(None, compared.before, stored, account.customer_user_id))
        if protection and protection.keeps_removed and compared.vanished:
            removed = RemovedRows(warehouse, account, run_id, loaded_at)
            removed.keep(connection, replaced.table, replaced.vanished(mine, [None]), (), None, method.key)
        return LoadedDictionary(stored, len(refused), compared.changes)


def _rejected(values: Mapping[str, Any], days: Sequence[date] | None = None) -> ColumnElement[bool]:
    """Return what was rejected of a table of an account; of these days only, where days are given."""
    columns = ops.rejected_rows.c
    condition = and_(*(columns[name] == value for name, value in values.items()))
    return condition if days is None else condition & columns.event_date.in_(days)


def _forget_rejected(connection: Connection, values: Mapping[str, Any], days: Sequence[date] | None = None) -> None:
    connection.execute(delete(ops.rejected_rows).where(_rejected(values, days)))


def _reject(
    connection: Connection,
    values: Mapping[str, Any],
    rejected: Sequence[RejectedValue],
    loaded_at: datetime,
    first_day: date | None,
) -> None:
    if rejected:
        connection.execute(
            insert(ops.rejected_rows),
            [
                {**values, "event_date": value.day or first_day, "row_key": value.key, "column_name": value.column}
                | {"value": value.value, "reason": value.reason, "loaded_at": loaded_at}
                for value in rejected
            ],
        )


_OWNER = "cast(:table_name as text), cast(:account_id as int), cast(:customer_user_id as bigint)"
_LOCK = f"pg_advisory_xact_lock(hashtextextended(concat_ws(' ', {_OWNER} {{day}}), 0))"
_lock_table = text("select " + _LOCK.format(day=""))
_lock_days = text(f"select {_LOCK.format(day=', day')} from unnest(cast(:days as date[])) as day order by day")  # noqa: S608 - constants

_RENEWED = ("rows", "points", "seconds", "run_id", "loaded_at", "filter", "left_out", "answered", "api_rows")
_CLEARED = ("refused_rows", "refused_at")
_insert_loaded_day = postgresql.insert(ops.loaded_days)
_upsert_loaded_day = _insert_loaded_day.on_conflict_do_update(
    constraint=ops.loaded_days.primary_key,
    set_={name: _insert_loaded_day.excluded[name] for name in _RENEWED} | dict.fromkeys(_CLEARED),
)
