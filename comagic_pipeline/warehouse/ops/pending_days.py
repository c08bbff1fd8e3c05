"""Pending days: requested and not loaded yet.

They are registered when a run begins, and removed in the transaction that loads them. Whatever ends a run, the days
that it did not load are still here.

Facts of the star are due as soon as their report has changed, and wait in the same table.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import product

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Integer,
    Text,
    cast,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql

from comagic_pipeline.warehouse.ops.tables import waiting_days

POINTS, FAILED, INTERRUPTED = "points", "failed", "interrupted"
"""Why days wait."""

_MOST_TRIES = 6
"""Runs without one loaded day of a table after which its days wait for a person, not for another run."""
_FIRST_PAUSE = timedelta(minutes=10)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class WaitingPeriod:
    """Days in a row, both included, of one table that the same run left, of any customers."""

    account_id: int
    table_name: str
    run_id: str
    first_day: date
    last_day: date
    asked_at: datetime
    not_before: datetime | None
    tries: int
    reason: str | None

    @property
    def is_given_up(self) -> bool:
        """True when so many runs came to nothing that no further one is to begin by itself."""
        return self.tries >= _MOST_TRIES


def expect(
    connection: Connection,
    account_id: int,
    table_names: Collection[str],
    first_day: date,
    last_day: date,
    run_id: str,
    asked_at: datetime,
) -> None:
    """Note that a run has these days of these tables to load, both included, for all customers."""
    _expect(connection, account_id, table_names, [0], (first_day, last_day), run_id, asked_at)


def _expect(
    connection: Connection,
    account_id: int,
    table_names: Collection[str],
    customers: Collection[int],
    period: tuple[date, date],
    run_id: str,
    asked_at: datetime,
) -> None:
    days = (period[0] + number * _DAY for number in range((period[1] - period[0]).days + 1))
    keys = list(product(customers, table_names, days))
    arrays = [[key[number] for key in keys] for number in range(3)]
    types = (BigInteger, Text, Date)
    key = func.unnest(*(literal(array, ARRAY(of)) for array, of in zip(arrays, types, strict=True)))
    columns = key.table_valued("customer_user_id", "table_name", "day").render_derived().c
    values = {
        "account_id": literal(account_id, Integer),
        "customer_user_id": columns.customer_user_id,
        "table_name": columns.table_name,
        "day": columns.day,
        "run_id": literal(run_id, Text),
        "asked_at": literal(asked_at, DateTime(timezone=True)),
        "tries": literal(0, Integer),
    }
    rows = postgresql.insert(waiting_days).from_select(list(values), select(*values.values()))
    renewed = {"run_id": rows.excluded.run_id, "tries": 0, "reason": None, "not_before": None}
    connection.execute(rows.on_conflict_do_update(constraint=waiting_days.primary_key, set_=renewed))


def take_over(
    connection: Connection, account_id: int, table_names: Collection[str], first_day: date, last_day: date, run_id: str
) -> None:
    """Note that a run has what waits of these days of these tables, and no more."""
    mine = _days(account_id, table_names, first_day, last_day)
    connection.execute(update(waiting_days).where(mine).values(run_id=run_id, reason=None, not_before=None))


def expect_of_customers(
    connection: Connection,
    account_id: int,
    table_name: str,
    customers: Collection[int],
    period: tuple[date, date],
    run_id: str,
    asked_at: datetime,
) -> None:
    """Note whose days they are, as soon as the customers of an agent are known (0: nobody's agent)."""
    if list(customers) == [0]:
        return
    of_all = _days(account_id, [table_name], *period) & (waiting_days.c.customer_user_id == 0)
    of_run = of_all & (waiting_days.c.run_id == run_id)
    days = connection.scalars(delete(waiting_days).where(of_run).returning(waiting_days.c.day)).all()
    for part in periods(sorted(days)):
        _expect(connection, account_id, [table_name], customers, part, run_id, asked_at)


def waiting_days_of(
    connection: Connection, account_id: int, customer_user_id: int, table_name: str, first_day: date, last_day: date
) -> list[tuple[date, date]]:
    """Return the days of a customer's table that wait within a period, as periods without gaps, both ends included."""
    columns = waiting_days.c
    mine = _days(account_id, [table_name], first_day, last_day) & (columns.customer_user_id == customer_user_id)
    days = connection.scalars(waiting_days.select().with_only_columns(columns.day).where(mine).order_by(columns.day))
    return periods(days.all())


def strike_off(
    connection: Connection, account_id: int, customer_user_id: int, table_name: str, first_day: date, last_day: date
) -> None:
    """Remove days that this transaction loads; the tries of the table's other days count from zero again."""
    mine = (waiting_days.c.account_id == account_id) & (waiting_days.c.table_name == table_name)
    mine &= waiting_days.c.customer_user_id == customer_user_id
    connection.execute(delete(waiting_days).where(mine & waiting_days.c.day.between(first_day, last_day)))
    connection.execute(update(waiting_days).where(mine, waiting_days.c.tries > 0).values(tries=0))


def forget(
    connection: Connection,
    account_id: int,
    table_names: Collection[str] | None = None,
    first_day: date = date.min,
    last_day: date = date.max,
    run_id: str | None = None,
) -> int:
    """Nobody waits for these days any more; gives their number. None stands for all tables, and for any run."""
    mine = _days(account_id, table_names, first_day, last_day)
    if run_id is not None:
        mine &= waiting_days.c.run_id == run_id
    return connection.execute(delete(waiting_days).where(mine)).rowcount


def leave_for_points(connection: Connection, account_id: int, table_name: str, until: datetime) -> None:
    """Let the days of a table wait for points, after a run ended because those of the day are spent.

    All days of the table wait: the older ones, left by other runs, are not to come before the newer ones.
    """
    mine = (waiting_days.c.account_id == account_id) & (waiting_days.c.table_name == table_name)
    connection.execute(update(waiting_days).where(mine).values(reason=POINTS, not_before=until, tries=0))


def leave_for_later(connection: Connection, account_id: int, table_name: str, run_id: str, now: datetime) -> None:
    """Let the days of a run wait after a failure that may pass, longer with every try."""
    pause = _FIRST_PAUSE * func.power(2, waiting_days.c.tries)
    mine = (waiting_days.c.account_id == account_id) & (waiting_days.c.table_name == table_name)
    values = {"reason": FAILED, "not_before": literal(now) + pause}
    connection.execute(update(waiting_days).where(mine, waiting_days.c.run_id == run_id).values(values))


def leave_interrupted(connection: Connection, account_id: int, run_ids: Collection[str]) -> None:
    """Let another run try at once the days of runs that ended without a word."""
    mine = (waiting_days.c.account_id == account_id) & waiting_days.c.run_id.in_(run_ids)
    silent = waiting_days.c.reason.is_(None) & waiting_days.c.not_before.is_(None)
    connection.execute(update(waiting_days).where(mine, silent).values(reason=INTERRUPTED))


def count_try(
    connection: Connection,
    account_id: int,
    table_names: Collection[str],
    first_day: date,
    last_day: date,
    not_before: datetime,
) -> None:
    """Count a run that is about to begin for these days; the next may begin at `not_before`."""
    mine = _days(account_id, table_names, first_day, last_day)
    connection.execute(
        update(waiting_days).where(mine).values(tries=waiting_days.c.tries + 1, not_before=not_before, reason=None)
    )


def waiting_periods(connection: Connection, account_id: int) -> list[WaitingPeriod]:
    """Return all that waits of an account, oldest first."""
    columns = waiting_days.c
    alike = [columns.table_name, columns.run_id, columns.not_before, columns.tries, columns.reason]
    rank = func.dense_rank().over(partition_by=alike, order_by=columns.day)
    # Days in a row less their rank are one and the same day.
    numbered = (
        select(*alike, columns.day, columns.asked_at, (columns.day - cast(rank, Integer)).label("island"))
        .where(columns.account_id == account_id)
        .subquery()
        .c
    )
    grouped = [numbered[column.name] for column in alike]
    first_day = func.min(numbered.day)
    found = (
        select(
            literal(account_id).label("account_id"),
            *grouped,
            first_day.label("first_day"),
            func.max(numbered.day).label("last_day"),
            func.min(numbered.asked_at).label("asked_at"),
        )
        .group_by(*grouped, numbered.island)
        .order_by(first_day, numbered.table_name)
    )
    return [WaitingPeriod(**row) for row in connection.execute(found).mappings()]


def periods(days: Sequence[date]) -> list[tuple[date, date]]:
    """Return days, oldest first, as periods without gaps, both ends included."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and day == found[-1][1] + _DAY:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _days(account_id: int, table_names: Collection[str] | None, first_day: date, last_day: date) -> ColumnElement[bool]:
    columns = waiting_days.c
    chosen = (columns.account_id == account_id) & columns.day.between(first_day, last_day)
    return chosen if table_names is None else chosen & columns.table_name.in_(table_names)
