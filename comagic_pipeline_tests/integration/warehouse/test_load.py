"""Loading rows into raw tables: whole days or nothing, by several at once, and one clear line when it fails."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from comagic_pipeline.catalog import tables
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError
from comagic_pipeline.warehouse.load import DayLoad, replace_dictionary
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.raw.target import RawTarget
from comagic_pipeline.warehouse.target import Account

CALLS, CAMPAIGNS = tables()["calls_report"], tables()["campaigns"]
MAIN = Account(1)
FIRST, SECOND, THIRD = (date(2026, 3, number) for number in (1, 2, 3))
PHONE = "79001234567"
"""Personal data: it is stored, and shown nowhere."""

Call: Any = msgspec.defstruct("Call", [(column.name, Any, None) for column in CALLS.columns])
Campaign: Any = msgspec.defstruct("Campaign", [(column.name, Any, None) for column in CAMPAIGNS.columns])


@dataclass(frozen=True)
class Rejected:
    """A value that did not fit."""

    key: str
    day: date | None
    column: str | None = "wait_duration"
    value: str = "odd"
    reason: str = "not a value of type integer"


def call(key: int, day: date = FIRST, **columns: Any) -> Any:
    """A call at noon."""
    return Call(id=key, start_time=datetime.combine(day, datetime.min.time()) + timedelta(hours=12), **columns)


def load(
    warehouse: Warehouse, first: date, last: date, *rows: Any, account: Account = MAIN, rejected: tuple[Any, ...] = ()
) -> None:
    """Replace the days."""
    with DayLoad(warehouse, RawTarget(CALLS), account, "run") as days:
        days.write(first, last, rows, rejected)
        days.complete(first, last, 1)


def query(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    """Rows as tuples."""
    with warehouse.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def ids(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Owner, day and id of every call."""
    return query(
        warehouse,
        "select account_id, customer_user_id, event_date, id from comagic_raw.calls_report order by 1, 2, 3, 4",
    )


def ledger(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Day and rows of every line of the ledger of the main account."""
    return query(warehouse, "select day, rows from comagic_ops.loaded_days where account_id = 1 order by 1")


def test_values_arrive_as_they_are(warehouse: Warehouse) -> None:
    """Every type of a column, its limits, null, and JSON that stays what it was."""
    tags = '[{"tag_id": 1, "name": "тег \\"!\\""}]'
    row = call(
        2**63 - 1,
        contact_phone_number=PHONE,
        sale_cost=Decimal("12345678901234567890.123456789"),
        is_lost=True,
        sale_date=datetime(2026, 3, 1, 23, 59, 59),
        tags=msgspec.Raw(tags.encode()),
        employees=msgspec.Raw(b"[]"),
        attributes=msgspec.Raw(b"null"),
    )
    load(warehouse, FIRST, FIRST, row)
    columns = "id, contact_phone_number, sale_cost, is_lost, sale_date, tags, employees, attributes, visitor_city"
    assert query(warehouse, f"select {columns} from comagic_raw.calls_report") == [
        (row.id, PHONE, row.sale_cost, True, row.sale_date, json.loads(tags), [], None, None)
    ]


def test_a_load_replaces_its_own_days_and_no_others(warehouse: Warehouse) -> None:
    """The rows of other days, accounts and customers stay."""
    load(warehouse, FIRST, THIRD, call(1, FIRST), call(2, SECOND), call(3, THIRD))
    load(warehouse, SECOND, SECOND, call(2, SECOND), account=Account(2))
    load(warehouse, SECOND, SECOND, call(2, SECOND), account=Account(1, 50))
    load(warehouse, SECOND, SECOND, call(9, SECOND))
    assert ids(warehouse) == [
        (1, 0, FIRST, 1),
        (1, 0, SECOND, 9),
        (1, 0, THIRD, 3),
        (1, 50, SECOND, 2),
        (2, 0, SECOND, 2),
    ]


def test_a_day_without_rows_is_emptied_and_in_the_ledger(warehouse: Warehouse) -> None:
    """No calls is an answer: the day is loaded, with 0 rows, and the points are shared among the days."""
    load(warehouse, FIRST, SECOND, call(1), call(2))
    load(warehouse, FIRST, SECOND)
    assert ids(warehouse) == []
    assert ledger(warehouse) == [(FIRST, 0), (SECOND, 0)]
    assert query(warehouse, "select sum(points) from comagic_ops.loaded_days") == [(Decimal(1),)]


def test_nothing_is_seen_before_the_days_are_complete(warehouse: Warehouse) -> None:
    """Others see the old rows while new ones are written, and keep them when the load is given up."""
    load(warehouse, FIRST, SECOND, call(1), rejected=(Rejected("1", FIRST),))
    before = (ids(warehouse), ledger(warehouse), query(warehouse, "select * from comagic_ops.rejected_rows"))
    with pytest.raises(RuntimeError, match="given up"), DayLoad(warehouse, RawTarget(CALLS), MAIN, "run") as days:  # noqa: PT012
        days.write(FIRST, SECOND, [call(2), call(3, SECOND)], [Rejected("2", FIRST)])
        days.write(SECOND, SECOND, [call(4, SECOND)], [])
        assert before[0] == ids(warehouse)
        raise RuntimeError("given up")
    assert before == (ids(warehouse), ledger(warehouse), query(warehouse, "select * from comagic_ops.rejected_rows"))


def test_days_that_are_complete_outlive_a_failure_after_them(warehouse: Warehouse) -> None:
    """The first day is committed with its ledger line, the second is as it was."""
    load(warehouse, FIRST, SECOND, call(1), call(2, SECOND))
    with pytest.raises(RuntimeError, match="given up"), DayLoad(warehouse, RawTarget(CALLS), MAIN, "run") as days:  # noqa: PT012
        days.write(FIRST, FIRST, [call(10), call(11)], [])
        assert [(each.day, each.rows, each.points) for each in days.complete(FIRST, FIRST, 3)] == [(FIRST, 2, 3.0)]
        days.write(SECOND, SECOND, [], [])
        raise RuntimeError("given up")
    assert ids(warehouse) == [(1, 0, FIRST, 10), (1, 0, FIRST, 11), (1, 0, SECOND, 2)]
    assert ledger(warehouse) == [(FIRST, 2), (SECOND, 1)]


def test_rows_and_their_line_of_the_ledger_come_together(warehouse: Warehouse) -> None:
    """When the ledger cannot be written, neither are the rows: a process may be killed between the two."""
    load(warehouse, FIRST, FIRST, call(1))
    with warehouse.begin() as connection:
        connection.execute(text("alter table comagic_ops.loaded_days add constraint full_up check (rows < 2)"))
    with pytest.raises(IntegrityError, match="full_up"):
        load(warehouse, FIRST, FIRST, call(2), call(3))
    assert ids(warehouse) == [(1, 0, FIRST, 1)]
    assert ledger(warehouse) == [(FIRST, 1)]


def test_a_day_may_come_in_parts_and_once_more(warehouse: Warehouse) -> None:
    """Parts of a day add up; the day that is read again in the same load replaces them."""
    with DayLoad(warehouse, RawTarget(CALLS), MAIN, "run") as days:
        days.write(FIRST, FIRST, [call(1)], [Rejected("1", FIRST)])
        days.write(FIRST, FIRST, [call(2)], [Rejected("2", FIRST)])
        days.complete(FIRST, FIRST, 1)
        assert ids(warehouse) == [(1, 0, FIRST, 1), (1, 0, FIRST, 2)]
        assert query(warehouse, "select row_key from comagic_ops.rejected_rows order by 1") == [("1",), ("2",)]
        days.write(FIRST, FIRST, [call(3)], [])
        days.complete(FIRST, FIRST, 1)
    assert ids(warehouse) == [(1, 0, FIRST, 3)]
    assert ledger(warehouse) == [(FIRST, 1)]
    assert query(warehouse, "select row_key from comagic_ops.rejected_rows") == []


def test_rows_that_the_server_refuses_are_one_line_without_their_values(warehouse: Warehouse) -> None:
    """A row without a key is a mistake of ours: nothing changes, and the error shows no personal data."""
    load(warehouse, FIRST, FIRST, call(1))
    with pytest.raises(WarehouseError, match="null value in column") as caught:
        load(warehouse, FIRST, FIRST, call(None, contact_phone_number=PHONE))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert PHONE not in str(caught.value)
    assert caught.value.__cause__ is None
    assert ids(warehouse) == [(1, 0, FIRST, 1)]


def test_a_lost_connection_is_one_line_and_the_next_load_works(warehouse: Warehouse) -> None:
    """The server ends the connection between two pages: the old rows stay."""
    load(warehouse, FIRST, FIRST, call(1))
    with pytest.raises(WarehouseError, match="terminating connection") as caught:  # noqa: PT012, SIM117
        with DayLoad(warehouse, RawTarget(CALLS), MAIN, "run") as days:
            days.write(FIRST, FIRST, [call(2)], [])
            query(
                warehouse,
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
                " and datname = current_database() and state = 'idle in transaction'",
            )
            days.write(FIRST, FIRST, [call(3)], [])
    assert "\n" not in str(caught.value)
    assert ids(warehouse) == [(1, 0, FIRST, 1)]
    load(warehouse, FIRST, FIRST, call(4))
    assert ids(warehouse) == [(1, 0, FIRST, 4)]


def test_two_loads_of_one_day_take_turns(warehouse: Warehouse) -> None:
    """The second waits for the first to end and then replaces its rows: never both, never a mix."""
    with ThreadPoolExecutor(1) as pool, DayLoad(warehouse, RawTarget(CALLS), MAIN, "first") as first:
        first.write(FIRST, SECOND, [call(1), call(2, SECOND)], [])
        second = pool.submit(load, warehouse, SECOND, THIRD, call(3, SECOND), call(4, THIRD))
        assert waiting(warehouse)
        assert ids(warehouse) == []
        first.complete(FIRST, SECOND, 1)
        second.result(timeout=10)
    assert ids(warehouse) == [(1, 0, FIRST, 1), (1, 0, SECOND, 3), (1, 0, THIRD, 4)]


def waiting(warehouse: Warehouse) -> bool:
    """True as soon as somebody waits for a lock."""
    for _ in range(200):
        if query(warehouse, "select 1 from pg_locks where not granted"):
            return True
        threading.Event().wait(0.02)
    return False


def test_overlapping_loads_at_once_end_well(warehouse: Warehouse) -> None:
    """Four loads of overlapping days over the end of a month, again and again: no deadlock, each day is of one load."""

    def work(number: int) -> None:
        for _ in range(3):
            first = date(2026, 1, 28) + timedelta(days=number)
            days = [first + timedelta(days=each) for each in range(5)]
            load(warehouse, days[0], days[-1], *(call(number * 10 + n, day) for n in range(3) for day in days))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    per_day: dict[date, set[int]] = {}
    for _, _, day, key in ids(warehouse):
        per_day.setdefault(day, set()).add(key)
    assert len(per_day) == 8
    assert all(keys in [{n * 10, n * 10 + 1, n * 10 + 2} for n in range(4)] for keys in per_day.values())
    assert ledger(warehouse) == [(day, 3) for day in sorted(per_day)]


def test_months_are_made_once_by_whoever_comes_first(warehouse: Warehouse) -> None:
    """Four at once need the same months while a load is open: nobody waits for it, each month is there once."""

    def work(_: int) -> None:
        with warehouse.begin() as connection:
            ensure_months(connection, "comagic_raw", CALLS.table, date(2025, 12, 31), date(2027, 1, 1))

    with DayLoad(warehouse, RawTarget(CALLS), MAIN, "run") as days:
        days.write(date(2026, 5, 1), date(2026, 5, 1), [call(1, date(2026, 5, 1))], [])
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(work, range(4), timeout=20))) == 4
        days.complete(date(2026, 5, 1), date(2026, 5, 1), 1)
    with warehouse.connect() as connection:
        partitions = sorted(
            name for name in inspect(connection).get_table_names("comagic_raw") if name.startswith("calls_report_")
        )
    assert partitions == [
        "calls_report_2025_12",
        *(f"calls_report_2026_{m:02}" for m in range(1, 13)),
        "calls_report_2027_01",
    ]
    assert len(ids(warehouse)) == 1


def test_a_column_that_came_later_gets_its_own_values(warehouse: Warehouse) -> None:
    """A column that was added to an old table stands last in it; rows are written by name, not by place."""
    with warehouse.begin() as connection:
        connection.execute(text("alter table comagic_raw.calls_report drop column visitor_city"))
    upgrade(warehouse, (CALLS, CAMPAIGNS))
    load(
        warehouse,
        FIRST,
        FIRST,
        call(1, visitor_city="Тверь", visitor_region="Тверская область", visitor_country="Россия"),
    )
    assert query(warehouse, "select visitor_country, visitor_region, visitor_city from comagic_raw.calls_report") == [
        ("Россия", "Тверская область", "Тверь")
    ]


@pytest.fixture
def dictionary(warehouse: Warehouse) -> Warehouse:
    """A warehouse with two campaigns of the main account and one of another, and something rejected."""
    now = datetime.now(UTC)
    replace_dictionary(warehouse, CAMPAIGNS, Account(2), [Campaign(id=1, name="other")], [], now)
    rows = [Campaign(id=1, name="one"), Campaign(id=2, name="two")]
    replace_dictionary(warehouse, CAMPAIGNS, MAIN, rows, [Rejected("2", None, "costs")], now)
    return warehouse


CAMPAIGN_NAMES = "select account_id, name from comagic_raw.campaigns order by 1, 2"
REJECTED = "select row_key, column_name, event_date from comagic_ops.rejected_rows"


def test_a_dictionary_is_replaced_whole(dictionary: Warehouse) -> None:
    """What is no longer in it goes, with what was rejected of it; other accounts' rows stay."""
    assert query(dictionary, REJECTED) == [("2", "costs", None)]
    replace_dictionary(dictionary, CAMPAIGNS, MAIN, [Campaign(id=2, name="zwei")], [], datetime.now(UTC))
    assert query(dictionary, CAMPAIGN_NAMES) == [(1, "zwei"), (2, "other")]
    assert query(dictionary, REJECTED) == []


def test_the_history_of_a_dictionary(warehouse: Warehouse) -> None:
    """A row that changes, disappears and comes back does so in the history; loading it twice adds nothing."""
    moments = [datetime(2026, 3, number, tzinfo=UTC) for number in range(1, 8)]
    raw = msgspec.Raw
    loads = (
        [Campaign(id=1, name="one", costs=Decimal("1.50"), dynamic_call_tracking=raw(b'{"a": 1}')), Campaign(id=2)],
        [Campaign(id=1, name="one", costs=Decimal("1.5"), dynamic_call_tracking=raw(b'{"a":1}')), Campaign(id=2)],
        [Campaign(id=1, name="uno"), Campaign(id=2)],
        [Campaign(id=2), Campaign(id=3, name="new")],
        [Campaign(id=2), Campaign(id=3, name="new")],
        [Campaign(id=1, name="uno"), Campaign(id=2)],
        [Campaign(id=1, name="one"), Campaign(id=2)],
    )
    ever = datetime(1900, 1, 1, tzinfo=UTC)
    for moment, rows in zip(moments, loads, strict=True):
        replace_dictionary(warehouse, CAMPAIGNS, MAIN, rows, [], moment)
        replace_dictionary(warehouse, CAMPAIGNS, Account(1, 50), [Campaign(id=1, name="other")], [], moment)
    sql = "select id, name, valid_from, valid_to from comagic_raw.campaigns_history where customer_user_id = {}"
    assert query(warehouse, sql.format(50)) == [(1, "other", ever, None)]
    assert query(warehouse, sql.format(0) + " order by id, valid_from") == [
        (1, "one", ever, moments[2]),
        (1, "uno", moments[2], moments[3]),
        (1, "uno", moments[5], moments[6]),
        (1, "one", moments[6], None),
        (2, None, ever, None),
        (3, "new", ever, moments[5]),
    ]


def test_a_dictionary_that_fails_stays_as_it_was(dictionary: Warehouse) -> None:
    """One row without a key: all the old ones are there."""
    with pytest.raises(WarehouseError, match="null value in column"):
        replace_dictionary(
            dictionary, CAMPAIGNS, MAIN, [Campaign(id=7), Campaign()], [Rejected("7", None)], datetime.now(UTC)
        )
    assert query(dictionary, CAMPAIGN_NAMES) == [(1, "one"), (1, "two"), (2, "other")]
    assert query(dictionary, REJECTED) == [("2", "costs", None)]
