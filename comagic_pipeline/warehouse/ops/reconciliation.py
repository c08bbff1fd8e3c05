"""What the warehouse says of days that are compared with the API, and the books of what was found.

A call with several tags counts under each of them, once, and under none where it has no tag; so totals of a day are no
sums of its groups, and are compared apart. An empty campaign is campaign 0, an empty call source `unknown`, as in the
star. Customers of an agent are compared each for itself: they may have equal ids.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time

from sqlalchemy import Connection, case, delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.engine import Schemas
from comagic_pipeline.warehouse.ops.tables import (
    date_till,
    loaded_days,
    reconciled_days,
    reconciliation,
    rejected_rows,
)
from comagic_pipeline.warehouse.raw.tables import raw_table
from comagic_pipeline.warehouse.star.template import fill, names_of_schemas
from comagic_pipeline.warehouse.target import Account

NO_CAMPAIGN, NO_SOURCE = 0, "unknown"
"""What stands for an empty campaign and an empty call source."""

Group = tuple[int, str, int | None]
"""Campaign, call source and tag; no tag is None."""
Sums = tuple[int, int, int]
"""Calls, seconds of waiting, seconds of talking."""


@dataclass
class CallSums:
    """The calls of a day: of all of them, and by group."""

    total: Sums
    groups: dict[Group, Sums]

    @classmethod
    def empty(cls) -> "CallSums":
        """Return a day without calls."""
        return cls((0, 0, 0), {})


@dataclass(frozen=True)
class Difference:
    """One thing of which warehouse and API say something else; None where one of them has nothing of it.

    `grain` is day, group or row; `measure` is calls, waiting or talking, of a row: rows, or values where both have it.
    `customer_user_id` is the customer of an agent, else 0.
    """

    day: date
    layer: str
    grain: str
    measure: str
    in_warehouse: int | None
    in_api: int | None
    campaign_id: int | None = None
    call_source: str | None = None
    tag_id: int | None = None
    row_key: str | None = None
    customer_user_id: int = 0

    @property
    def difference(self) -> int:
        """Warehouse less API."""
        return (self.in_warehouse or 0) - (self.in_api or 0)


@dataclass(frozen=True)
class ComparedDay:
    """A loaded day that can be compared: what the API counted of it when it was loaded, where that is known.

    It `is_unproven` when the rows did not add up to that.
    """

    day: date
    customer_user_id: int
    answered: int | None
    is_unproven: bool


def compared_days(
    connection: Connection, account_id: int, table: str, first_day: date, last_day: date
) -> list[ComparedDay]:
    """Return the loaded days of a period, both ends included, of all customers, oldest first."""
    columns = loaded_days.c
    query = (
        select(
            columns.day,
            columns.customer_user_id,
            func.coalesce(columns.api_rows, columns.answered),
            columns.api_rows.is_not(None),
        )
        .where(columns.account_id == account_id, columns.table_name == table)
        .where(columns.day.between(first_day, last_day))
        .order_by(columns.day, columns.customer_user_id)
    )
    return [ComparedDay(*row) for row in connection.execute(query)]


def raw_sums(
    connection: Connection, schemas: Schemas, account: Account, days: Collection[date]
) -> dict[date, CallSums]:
    """Return the calls, waiting and talking of the account on each of these days, as raw has them."""
    return _sums(connection, _RAW_CALLS, schemas, account, days)


def star_sums(
    connection: Connection, schemas: Schemas, account: Account, days: Collection[date]
) -> dict[date, CallSums]:
    """Return the calls, waiting and talking of the account on each of these days, as the star has them."""
    return _sums(connection, _STAR_CALLS, schemas, account, days)


def _sums(
    connection: Connection, calls: str, schemas: Schemas, account: Account, days: Collection[date]
) -> dict[date, CallSums]:
    found = {day: CallSums.empty() for day in days}
    values = account.values | {"days": list(days), "no_source": NO_SOURCE}
    names = names_of_schemas(schemas)
    for row in connection.execute(text(fill(calls + _TOTALS, names)), values):
        found[row.day].total = (row.calls, int(row.waiting), int(row.talking))
    for row in connection.execute(text(fill(calls + _GROUPS, names)), values):
        sums = (row.calls, int(row.waiting), int(row.talking))
        found[row.day].groups[row.campaign_id, row.call_source, row.tag_id] = sums
    return found


_RAW_CALLS = """
with call as materialized (
    select event_date as day, coalesce(campaign_id, 0) as campaign_id,
           left(coalesce(nullif(source, ''), :no_source), 64) as call_source,
           coalesce(wait_duration, 0) as waiting, coalesce(talk_duration, 0) as talking,
           array(
               select distinct (tag ->> 'tag_id')::bigint
                 from jsonb_array_elements(case jsonb_typeof(tags) when 'array' then tags else '[]' end) as tag
                where tag ->> 'tag_id' ~ '^-?[0-9]{1,18}$'
           ) as tag_ids
      from {raw}.calls_report
     where account_id = :account_id and customer_user_id = :customer_user_id and event_date = any(:days)
)
"""
_STAR_CALLS = """
with call as materialized (
    select date.simple_date as day, campaign.campaign_id, dimension.call_source,
           facts.wait_duration as waiting, facts.talk_duration as talking,
           array(
               select tag.tag_id from {star}.comagic_calls_tags as tag where tag.calls_id = facts.calls_id
           ) as tag_ids
      from {star}.comagic_calls_facts as facts
      join {star}.general_dates as date on date.id = facts.dates_id
      join {star}.comagic_campaigns as campaign on campaign.id = facts.campaigns_id
      join {star}.comagic_calls as dimension on dimension.id = facts.calls_id
     where facts.account_id = :account_id
       and facts.customer_user_id = :customer_user_id
       and date.simple_date = any(:days)
)
"""
_TOTALS = """
select day, count(*) as calls, sum(waiting) as waiting, sum(talking) as talking from call group by day
"""
_GROUPS = """
select day, campaign_id, call_source, tag_id, count(*) as calls, sum(waiting) as waiting, sum(talking) as talking
  from call
  left join lateral unnest(tag_ids) as tag (tag_id) on true
 group by day, campaign_id, call_source, tag_id
"""


def rows_in_last_second(connection: Connection, method: Method, account: Account, day: date) -> int:
    """Return how many raw rows of a day stand in its last second."""
    table = raw_table(method)
    mine = (table.c.account_id == account.account_id) & (table.c.customer_user_id == account.customer_user_id)
    last_second = datetime.combine(day, time(23, 59, 59))
    query = select(func.count()).where(
        mine, table.c.event_date == day, table.c[method.time_column or ""] >= last_second
    )
    return int(connection.scalar(query) or 0)


def rejected_keys(
    connection: Connection, account: Account, table: str, days: Collection[date]
) -> list[tuple[date, str]]:
    """Return the days and keys of rows that could not be stored when their days were loaded."""
    columns = rejected_rows.c
    query = select(columns.event_date, columns.row_key).where(
        columns.account_id == account.account_id,
        columns.customer_user_id == account.customer_user_id,
        columns.table_name == table,
        columns.event_date.in_(list(days)),
        columns.column_name.is_(None),
    )
    return [(row.event_date, row.row_key) for row in connection.execute(query)]


@dataclass(frozen=True)
class Probe:
    """A period of an account's loaded rows that ends at a second with rows.

    It holds `rows` of them, `last_rows` of which are of its last second.
    """

    start: datetime
    end: datetime
    rows: int
    last_rows: int


def probe_of(connection: Connection, method: Method, account: Account, days: Collection[date]) -> Probe | None:
    """Return the rows that tell whether `date_till` belongs to a period; None where no day has two seconds with rows.

    The day that was loaded last, because its rows are the least likely to have changed, and of it the second with the
    most rows, because all of them would have to vanish to mislead. No last second of a day: what arrives or vanishes
    there is what will be asked.
    """
    table, ledger = raw_table(method), loaded_days.c
    moment = table.c[method.time_column or ""]
    mine = (table.c.account_id == account.account_id) & (table.c.customer_user_id == account.customer_user_id)
    newest = (
        select(ledger.day)
        .where(ledger.account_id == account.account_id, ledger.customer_user_id == account.customer_user_id)
        .where(ledger.table_name == method.table, ledger.day.in_(list(days)), ledger.rows > 1)
        .order_by(ledger.loaded_at.desc(), ledger.day.desc())
        .limit(_PROBED_DAYS)
    )
    for day in connection.scalars(newest).all():
        last_second = datetime.combine(day, time(23, 59, 59))
        query = (
            select(func.date_trunc("second", moment).label("second"), func.count().label("number"))
            .where(mine, table.c.event_date == day, moment < last_second)
            .group_by(text("1"))
            .order_by(text("1"))
        )
        seconds = [(row.second, int(row.number)) for row in connection.execute(query)]
        if len(seconds) > 1:
            place = max(range(1, len(seconds)), key=lambda number: seconds[number][1])
            (start, before), (end, last) = seconds[place - 1], seconds[place]
            return Probe(start, end, before + last, last)
    return None


_PROBED_DAYS = 10
"""How many days are looked at for rows that tell; nearly every day has some."""


def is_date_till_inclusive(connection: Connection, account_id: int) -> bool | None:
    """Return whether rows of the second `date_till` belong to a period; None until it was learned."""
    return connection.scalar(select(date_till.c.is_inclusive).where(date_till.c.account_id == account_id))


def keep_date_till(connection: Connection, account_id: int, is_inclusive: bool, now: datetime) -> None:
    """Keep what was learned of `date_till`."""
    values = {"account_id": account_id, "is_inclusive": is_inclusive, "learned_at": now}
    line = postgresql.insert(date_till)
    connection.execute(line.on_conflict_do_update(constraint=date_till.primary_key, set_=values), values)


def record_days(
    connection: Connection,
    account_id: int,
    table: str,
    found: Mapping[date, Sequence[Difference]],
    mode: str,
    run_id: str,
    now: datetime,
) -> None:
    """Note how days compare: a line for each day, and the differences in place of those found before."""
    if not found:
        return
    columns = reconciliation.c
    of_table = (columns.account_id == account_id) & (columns.table_name == table)
    connection.execute(delete(reconciliation).where(of_table, columns.day.in_(list(found))))
    lines = [
        asdict(difference)
        | {"difference": difference.difference, "found_at": now, "account_id": account_id}
        | {"table_name": table, "run_id": run_id}
        for differences in found.values()
        for difference in differences
    ]
    if lines:
        connection.execute(insert(reconciliation), lines)
    line = postgresql.insert(reconciled_days)
    renewed = {name: line.excluded[name] for name in ("mode", "is_equal", "checked_at", "run_id")}
    # What was healed and is equal begins anew.
    tries = case((line.excluded.is_equal, 0), else_=reconciled_days.c.heal_tries)
    connection.execute(
        line.on_conflict_do_update(constraint=reconciled_days.primary_key, set_=renewed | {"heal_tries": tries}),
        [
            {"account_id": account_id, "table_name": table, "day": day, "mode": mode, "is_equal": not differences}
            | {"checked_at": now, "run_id": run_id, "heal_tries": 0}
            for day, differences in found.items()
        ],
    )


@dataclass(frozen=True)
class DifferentDay:
    """A day of which warehouse and API said something else when they were last compared."""

    table_name: str
    day: date
    checked_at: datetime
    heal_tries: int
    heal_asked_at: datetime | None
    loaded_at: datetime | None
    refused_at: datetime | None = None
    """When a load of it was refused: another one would be too, so that it is left to a person."""

    @property
    def is_loaded_again(self) -> bool:
        """True when it was loaded after it was compared, so that it is to be compared again."""
        return self.loaded_at is not None and self.loaded_at > self.checked_at

    @property
    def is_asked_for(self) -> bool:
        """True when a load that was to mend it has not loaded it yet: it waits, or was given up."""
        return self.heal_asked_at is not None and self.heal_asked_at > self.checked_at


def different_days(connection: Connection, account_id: int, first_day: date) -> list[DifferentDay]:
    """Return the days from a day on that differ, as far as is known, newest first."""
    days, ledger = reconciled_days.c, loaded_days.c
    of_day = (ledger.account_id == account_id, ledger.table_name == days.table_name, ledger.day == days.day)
    loaded_at = select(func.min(ledger.loaded_at)).where(*of_day).scalar_subquery()
    refused_at = select(func.max(ledger.refused_at)).where(*of_day).scalar_subquery()
    query = (
        select(days.table_name, days.day, days.checked_at, days.heal_tries, days.heal_asked_at, loaded_at, refused_at)
        .where(days.account_id == account_id, ~days.is_equal, days.day >= first_day)
        .order_by(days.day.desc(), days.table_name)
    )
    return [DifferentDay(*row) for row in connection.execute(query)]


def healed_since(connection: Connection, account_id: int, since: datetime) -> int:
    """Return how many days were told to be loaded again since a moment."""
    days = reconciled_days.c
    query = select(func.count()).where(days.account_id == account_id, days.heal_asked_at >= since)
    return int(connection.scalar(query) or 0)


def note_healing(connection: Connection, account_id: int, table: str, days: Iterable[date], now: datetime) -> None:
    """Days are loaded again because they differ."""
    columns = reconciled_days.c
    mine = (columns.account_id == account_id) & (columns.table_name == table) & columns.day.in_(list(days))
    values = {"heal_tries": columns.heal_tries + 1, "heal_asked_at": now}
    connection.execute(update(reconciled_days).where(mine, ~columns.is_equal).values(values))
