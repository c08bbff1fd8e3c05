"""The star of calls, built on a real PostgreSQL, against an independent computation (star_reference.py)."""

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, Table, create_engine, delete, insert, select, text, update
from sqlalchemy.schema import CreateSchema, DropSchema

from comagic_pipeline import catalog
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Schemas
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.raw.tables import create_missing
from comagic_pipeline.warehouse.star.accounts import set_status
from comagic_pipeline.warehouse.star.build import Account, BuildResult, Changes, build
from comagic_pipeline.warehouse.star.kinds.calls import KIND as CALLS_KIND
from comagic_pipeline.warehouse.star.tables import SHARED, metadata
from comagic_pipeline_tests.integration.star_reference import (
    CALLS,
    CAMPAIGNS,
    DURATIONS,
    JANUARY,
    LOADED,
    MAIN,
    NASTY_CAMPAIGNS,
    NO_DATE,
    OTHER,
    OWNER,
    Row,
    by_text,
    call,
    campaign,
    expect,
    nasty_calls,
    replaced,
    tables,
    tag,
)

STAR = (*SHARED, *CALLS_KIND.tables)


@dataclass(frozen=True)
class Warehouse:
    """Fresh raw and star schemas, seen through one connection."""

    connection: Connection
    schemas: Schemas

    def load(self, table: Table, *rows: Row) -> None:
        self.connection.execute(insert(table), list(rows))

    def build(self, days: tuple[date, date] = JANUARY, account: Account = MAIN) -> BuildResult:
        return build(self.connection, self.schemas, account, CALLS_KIND, *days)

    def rows(self, table: Table) -> list[Row]:
        return [dict(row) for row in self.connection.execute(select(table).order_by("id")).mappings()]

    def versions(self) -> dict[str, Any]:
        """Which version of every row there is, and how many ids were given out: differs after any write."""
        found: dict[str, Any] = {}
        for table in STAR:
            name = f'"{self.schemas.star}".{table.name}'
            rows = self.connection.execute(text(f"select id, ctid::text, xmin::text from {name} order by id"))
            ids = self.connection.execute(
                text(f'select last_value, is_called from "{self.schemas.star}".{table.name}_id_seq')
            )
            found[table.name] = ([tuple(row) for row in rows], tuple(ids.one()))
        return found


@pytest.fixture(scope="module")
def engine(server: EmbeddedServer) -> Iterator[Engine]:
    server.ensure_database("star", synchronous_commit=False)
    engine = create_engine(server.url("star"))
    yield engine
    engine.dispose()


@pytest.fixture
def schemas(engine: Engine) -> Iterator[Schemas]:
    """Fresh schemas with empty tables; their names need quotes."""
    name = uuid4().hex[:12]
    schemas = Schemas(raw=f"Raw {name}", star=f"Star {name}", ops=f"Ops {name}")
    with translated(engine, schemas) as connection, connection.begin():
        for schema in (schemas.raw, schemas.star, schemas.ops):
            connection.execute(CreateSchema(schema))
        create_missing(connection, [catalog.tables()["calls_report"], catalog.tables()["campaigns"]])
        metadata.create_all(connection)
        ops.metadata.create_all(connection)
        ensure_months(connection, schemas.raw, "calls_report", date(2026, 1, 1), date(2026, 12, 31))
    yield schemas
    with engine.begin() as connection:
        for schema in (schemas.star, schemas.raw, schemas.ops):
            connection.execute(DropSchema(schema, cascade=True))


def translated(engine: Engine, schemas: Schemas) -> Connection:
    return engine.connect().execution_options(schema_translate_map=asdict(schemas))


@pytest.fixture
def warehouse_connection(engine: Engine, schemas: Schemas) -> Iterator[Connection]:
    with translated(engine, schemas) as connection:
        yield connection


@pytest.fixture
def warehouse(warehouse_connection: Connection, schemas: Schemas) -> Warehouse:
    return Warehouse(warehouse_connection, schemas)


def star(warehouse: Warehouse) -> dict[str, Any]:
    """What the warehouse holds, in the form of `expect`. Inner joins: a key without its member would lose a row."""
    t = tables
    execute = warehouse.connection.execute
    call = t.comagic_calls
    names = [column.name for column in call.columns if column.name not in (*OWNER, "call_id")]
    joined = (
        t.comagic_calls_facts.join(call)
        .join(t.general_dates)
        .join(t.general_clientids)
        .join(t.general_locations)
        .join(t.general_traffic)
        .join(t.general_sites)
        .join(t.comagic_campaigns, t.comagic_campaigns.c.id == t.comagic_calls_facts.c.campaigns_id)
    )
    columns = [
        t.comagic_calls_facts.c.account_id,
        t.comagic_calls_facts.c.customer_user_id,
        call.c.call_id,
        t.general_dates.c.full_date,
        t.general_clientids.c.clientid,
        *(t.general_locations.c[name] for name in ("country", "region", "city")),
        *(t.general_traffic.c[n] for n in ("source", "medium", "campaign", "content", "keyword", "landing_page")),
        t.general_sites.c.domain,
        t.comagic_campaigns.c.campaign_id,
        *(t.comagic_calls_facts.c[name] for name in DURATIONS),
        *(call.c[name] for name in names),
    ]
    facts = execute(select(*columns).select_from(joined).order_by(call.c.account_id, call.c.call_id))

    def children(table: Table) -> list[tuple[Any, ...]]:
        own = [c for c in table.columns if c.name not in ("id", "account_id", "calls_id")]
        rows = execute(select(call.c.account_id, call.c.call_id, *own).select_from(table.join(call)))
        return by_text(rows)

    def values(table: Table) -> list[tuple[Any, ...]]:
        return by_text(tuple(row.values())[1:] for row in warehouse.rows(table))

    return {
        "facts": [dict(row) for row in facts.mappings()],
        "tags": children(t.comagic_calls_tags),
        "attributes": children(t.comagic_calls_attributes),
        "employees": children(t.comagic_calls_employees),
        "campaigns": {
            (c["account_id"], c["campaign_id"]): (
                c["name"], c["description"], c["campaign_type"], c["engine"], c["status"], c["cost_ratio_operator"],
                c["costs"], c["cost_ratio"],
            )
            for c in warehouse.rows(t.comagic_campaigns)
        },
        "traffic": values(t.general_traffic),
        "locations": values(t.general_locations),
        "sites": values(t.general_sites),
        "clientids": values(t.general_clientids),
        "dates": sorted(
            ({k: v for k, v in row.items() if k != "id"} for row in warehouse.rows(t.general_dates)),
            key=lambda row: row["full_date"],
        ),
    }  # fmt: skip


NO_CHANGES = {table.name: Changes() for table in STAR}
A_DAY = (date(2026, 1, 10), date(2026, 1, 10))
NEXT_DAY = (date(2026, 1, 11), date(2026, 1, 11))


def days(period: tuple[date, date] = JANUARY) -> Iterator[date]:
    return (period[0] + timedelta(days=n) for n in range((period[1] - period[0]).days + 1))


@pytest.fixture
def nasty(warehouse: Warehouse) -> list[Row]:
    """A month of nasty calls of two accounts in raw; nothing is built yet."""
    calls = nasty_calls(MAIN, seed=1) + nasty_calls(OTHER, seed=2)
    warehouse.load(CALLS, *calls)
    warehouse.load(CAMPAIGNS, *NASTY_CAMPAIGNS)
    return calls


def test_star_equals_the_reference(warehouse: Warehouse, nasty: list[Row]) -> None:
    """Whatever the API sends, the star of two accounts holds it once, cut and completed by the rules."""
    warehouse.build()
    warehouse.build(account=OTHER)
    actual, expected = star(warehouse), expect(nasty, NASTY_CAMPAIGNS)
    for part, rows in expected.items():
        assert actual[part] == rows, part


def test_day_by_day_equals_the_month(warehouse: Warehouse, nasty: list[Row]) -> None:
    """Periods may be of any size, overlap and come in any order, here each day with its neighbour, backwards."""
    for account in (MAIN, OTHER):
        for day in reversed(list(days())):
            warehouse.build((day, day + timedelta(days=1)), account)
    assert star(warehouse) == expect(nasty, NASTY_CAMPAIGNS)


@pytest.mark.parametrize("duration", DURATIONS)
def test_durations_add_up(warehouse: Warehouse, duration: str) -> None:
    """No second is lost or doubled, also for calls with many tags, attributes and equal dimension values."""
    calls = [call(n, "2026-01-10 10:00:00", tags=[tag(1), tag(2)]) | {duration: n} for n in range(1, 101)]
    warehouse.load(CALLS, *calls)
    warehouse.build()
    facts = warehouse.rows(tables.comagic_calls_facts)
    assert sum(fact[duration] for fact in facts) == 5050
    assert sum(fact[name] for fact in facts for name in DURATIONS) == 5050


@pytest.mark.usefixtures("nasty")
def test_second_build_writes_nothing(warehouse: Warehouse) -> None:
    """With raw unchanged no row gets a new version and no id is used up, in the same transaction or in another."""
    for account in (MAIN, OTHER):
        warehouse.build(account=account)
    before = warehouse.versions()
    warehouse.connection.commit()
    results = [warehouse.build(period) for period in (JANUARY, A_DAY, A_DAY)]
    warehouse.connection.commit()
    results.append(warehouse.build(account=OTHER))
    assert [result.changes for result in results] == [NO_CHANGES] * 4
    assert warehouse.versions() == before


def test_result_counts_rows(warehouse: Warehouse) -> None:
    """A build tells what it wrote to each table, and the facts of every day of the period, also of empty days."""
    warehouse.load(CALLS, call(1, "2026-01-10 10:00:00", tags=[tag(1), tag(2)]), call(2, "2026-01-12 00:00:00"))
    result = warehouse.build((date(2026, 1, 10), date(2026, 1, 12)))
    assert result.facts_per_day == {date(2026, 1, 10): 1, date(2026, 1, 11): 0, date(2026, 1, 12): 1}
    assert result.changes["comagic_calls_facts"] == Changes(inserted=2)
    assert result.changes["comagic_calls_tags"] == Changes(inserted=2)
    assert result.changes["general_dates"] == Changes(inserted=3)


def test_period_that_ends_before_it_begins_is_refused(warehouse: Warehouse) -> None:
    """Swapped days are one clear error, not an empty build."""
    with pytest.raises(ValueError, match=r"the period ends \(2026-01-10\) before it begins \(2026-01-11\)"):
        warehouse.build((NEXT_DAY[0], A_DAY[0]))


def test_call_of_nulls_points_to_the_unknown_members(warehouse: Warehouse) -> None:
    """A call of which only id and start are known finds the members that mybi's users look for, by value."""
    warehouse.load(CALLS, call(1, "2026-01-10 10:00:00"))
    warehouse.build()
    traffic_hash = "a641512c0f95fbc686d9561e12daf68d"
    assert star(warehouse) | {"facts": [], "dates": []} == {
        "facts": [],
        "tags": [],
        "attributes": [],
        "employees": [],
        "campaigns": {(1, 0): (None,) * 8},
        "traffic": [(None,) * 7 + (traffic_hash,)],
        "locations": [(None,) * 7 + (traffic_hash,)],
        "sites": [(None, None)],
        "clientids": [("not available", None, None, None)],
        "dates": [],
    }
    assert NO_DATE in [row["full_date"] for row in warehouse.rows(tables.general_dates)]
    assert [(row["finish_reason"], row["is_lost"]) for row in warehouse.rows(tables.comagic_calls)] == [
        ("unknown", False)
    ]


def test_values_that_share_a_hash_stay_apart(warehouse: Warehouse) -> None:
    """Commas and the word None in a value make equal hashes; the rows are told apart by value, twice."""
    pairs = [("a,b", "c"), ("a", "b,c"), ("None", "x"), (None, "x"), ("", "x")]
    for n, (source, medium) in enumerate(pairs):
        warehouse.load(CALLS, call(n, "2026-01-10 10:00:00", utm_source=source, utm_medium=medium))
    warehouse.build()
    warehouse.build()
    rows = warehouse.rows(tables.general_traffic)
    assert by_text((row["source"], row["medium"]) for row in rows) == by_text(pairs)
    assert len({row["traffic_hash"] for row in rows}) == 3


@pytest.mark.usefixtures("nasty")
def test_vanished_calls_are_removed(warehouse: Warehouse) -> None:
    """A call that raw no longer holds leaves with its tags and attributes; other days and accounts stay as they are."""
    for account in (MAIN, OTHER):
        warehouse.build(account=account)
    before = star(warehouse)
    gone = (CALLS.c.account_id == MAIN.account_id) & (CALLS.c.event_date == A_DAY[0])
    warehouse.connection.execute(delete(CALLS).where(gone))
    result = warehouse.build(A_DAY)
    vanished = {
        (fact["account_id"], fact["call_id"])
        for fact in before["facts"]
        if fact["account_id"] == MAIN.account_id and fact["full_date"].date() == A_DAY[0]
    }
    after = star(warehouse)
    for part in ("tags", "attributes"):
        assert after[part] == [row for row in before[part] if row[:2] not in vanished]
    kept = [fact for fact in before["facts"] if (fact["account_id"], fact["call_id"]) not in vanished]
    assert after["facts"] == kept
    assert after["traffic"] == before["traffic"]
    assert result.changes["comagic_calls_facts"] == Changes(deleted=len(vanished))
    assert result.facts_per_day == {A_DAY[0]: 0}
    assert len(warehouse.rows(tables.comagic_calls)) == len(kept)


def test_changed_call_is_updated_in_place(warehouse: Warehouse) -> None:
    """Tags, flags and values that changed after the fact reach the star; ids and untouched rows stay."""
    old = call(1, "2026-01-10 10:00:00", tags=[tag(1), tag(2), tag(3)], attributes=["first", "lost"], wait_duration=1)
    warehouse.load(CALLS, old, call(2, "2026-01-10 11:00:00", tags=[tag(1)]))
    warehouse.build()
    ids = {row["tag_id"]: row["id"] for row in warehouse.rows(tables.comagic_calls_tags) if row["calls_id"] == 1}
    new = {"tags": [tag(2), tag(3, "Renamed"), tag(4)], "attributes": ["first", "target"], "is_lost": True}
    warehouse.connection.execute(
        update(CALLS).where(CALLS.c.id == 1).values(**new, wait_duration=2, visitor_city="Тверь")
    )
    result = warehouse.build(A_DAY)
    assert result.changes == NO_CHANGES | {
        "comagic_calls": Changes(updated=1),
        "comagic_calls_facts": Changes(updated=1),
        "comagic_calls_tags": Changes(inserted=1, updated=1, deleted=1),
        "comagic_calls_attributes": Changes(inserted=1, deleted=1),
        "general_locations": Changes(inserted=1),
    }
    tags = {row["tag_id"]: row["id"] for row in warehouse.rows(tables.comagic_calls_tags) if row["calls_id"] == 1}
    assert (tags[2], tags[3]) == (ids[2], ids[3])
    expected = [
        old | new | {"wait_duration": 2, "visitor_city": "Тверь"},
        call(2, "2026-01-10 11:00:00", tags=[tag(1)]),
    ]
    assert star(warehouse)["tags"] == expect(expected, [])["tags"]
    assert star(warehouse)["facts"] == expect(expected, [])["facts"]


def test_moved_call_keeps_its_one_fact(warehouse: Warehouse) -> None:
    """A call whose start was corrected to another day moves with its ids, and the day it left does not take it back."""
    old = call(1, "2026-01-10 23:59:59", tags=[tag(1)])
    moved = replaced(old, days=1)
    warehouse.load(CALLS, old)
    warehouse.build(A_DAY)
    ids = [[row["id"] for row in warehouse.rows(t)] for t in (tables.comagic_calls_facts, tables.comagic_calls)]
    warehouse.connection.execute(delete(CALLS))
    warehouse.load(CALLS, moved)
    assert warehouse.build(NEXT_DAY).facts_per_day == {NEXT_DAY[0]: 1}
    assert warehouse.build(A_DAY).changes["comagic_calls_facts"] == Changes()
    assert [[row["id"] for row in warehouse.rows(t)] for t in (tables.comagic_calls_facts, tables.comagic_calls)] == ids
    assert star(warehouse)["facts"] == expect([moved], [])["facts"]


@pytest.mark.parametrize(
    "order", [(A_DAY, NEXT_DAY), (NEXT_DAY, A_DAY), ((A_DAY[0], NEXT_DAY[0]),)], ids=["forth", "back", "both"]
)
@pytest.mark.parametrize("hours", [-1, 0, 1], ids=["older", "same load", "newer"])
def test_copy_loaded_last_wins(warehouse: Warehouse, order: tuple[tuple[date, date], ...], hours: int) -> None:
    """Of a call that raw holds on two days the copy loaded last is the fact, whichever day is built first."""
    first = call(1, "2026-01-10 10:00:00", source="first")
    second = replaced(first, days=1, hours=hours, source="second")
    warehouse.load(CALLS, first, second)
    for period in order:
        warehouse.build(period)
    assert star(warehouse)["facts"] == expect([first, second], [])["facts"]
    assert [warehouse.build(period).changes for period in order] == [NO_CHANGES] * len(order)


def test_accounts_do_not_touch_each_other(warehouse: Warehouse) -> None:
    """The same call id in two accounts is two calls; building one account leaves the other's rows alone."""
    for account in (MAIN, OTHER):
        warehouse.load(
            CALLS, call(1, "2026-01-10 10:00:00", account, tags=[tag(1)], campaign_id=5, campaign_name=account.caption)
        )
        warehouse.build(account=account)
    assert {name: row[0] for name, row in star(warehouse)["campaigns"].items()} == {
        (1, 5): MAIN.caption,
        (2, 5): OTHER.caption,
    }
    assert len(warehouse.rows(tables.general_dates)) == 2
    warehouse.connection.execute(delete(CALLS).where(CALLS.c.account_id == MAIN.account_id))
    warehouse.build()
    assert {
        row["account_id"]
        for table in (tables.comagic_calls_facts, tables.comagic_calls, tables.comagic_calls_tags)
        for row in warehouse.rows(table)
    } == {2}


def test_account_row_tells_what_is_loaded(warehouse: Warehouse) -> None:
    """general_accounts holds one row per source, with the first and last day of the ledger over all its tables."""

    def loaded(table: str, day: date, customer_user_id: int = 0, account_id: int = 1) -> None:
        line = {"account_id": account_id, "customer_user_id": customer_user_id, "table_name": table, "day": day}
        line |= {"rows": 0, "points": 1, "seconds": 1, "run_id": "run", "loaded_at": LOADED}
        warehouse.connection.execute(insert(ops.loaded_days).values(line))

    loaded("calls_report", date(2026, 3, 5))
    loaded("calls_report", date(2026, 1, 10), customer_user_id=30)
    loaded("goals_report", date(2026, 11, 11))
    loaded("goals_report", date(2026, 12, 31), account_id=2)
    warehouse.build(A_DAY, Account(1, "x" * 200))
    warehouse.build(A_DAY)
    account = {
        "id": 1,
        "account_id": 1,
        "caption": MAIN.caption,
        "service": "CoMagic",
        "enabled": True,
        "status": None,
        "interval_start": date(2026, 1, 10),
        "interval_end": date(2026, 11, 11),
    }
    assert warehouse.rows(tables.general_accounts) == [account]
    warehouse.build(A_DAY, Account(3, "empty"))
    assert warehouse.rows(tables.general_accounts)[1]["interval_start"] is None


def test_status_is_that_of_the_last_load_of_every_table(warehouse: Warehouse) -> None:
    """A build of the star set the status back to fine after a load of another table had failed."""

    def status_after(event: str, table: str, days_ago: int = 0, account: Account = MAIN) -> str:
        ops.record(
            warehouse.connection,
            account_id=account.account_id,
            run_id="run",
            event=event,
            table_name=table,
            happened_at=datetime.now(UTC) - timedelta(days=days_ago),
        )
        set_status(warehouse.connection, MAIN.account_id)
        (row,) = warehouse.rows(tables.general_accounts)
        return str(row["status"])

    set_status(warehouse.connection, MAIN.account_id)
    assert warehouse.rows(tables.general_accounts) == []
    warehouse.build(A_DAY)
    # Of a table that the source no longer loads.
    assert status_after("failed", "goals_report", days_ago=4) == "успешно"
    assert status_after("failed", "chats_report", account=OTHER) == "успешно"
    assert status_after("done", "calls_report", days_ago=1) == "успешно"
    assert status_after("failed", "chats_report") == "ошибка"
    assert status_after("done", "calls_report") == "ошибка"
    assert status_after("warning", "chats_report") == "ошибка"
    warehouse.build(A_DAY)
    assert status_after("done", "star") == "ошибка"
    assert status_after("done", "chats_report") == "успешно"
    assert status_after("failed", "goals_report") == "ошибка"
    assert status_after("skipped", "goals_report") == "успешно"


def test_campaigns_follow_raw_and_outlive_it(warehouse: Warehouse) -> None:
    """A campaign is updated when raw changes, stays when it vanishes, and a deleted one is known by its calls."""
    warehouse.load(CAMPAIGNS, campaign(1, name="Old"), campaign(2, name="Gone"))
    warehouse.load(
        CALLS,
        call(1, "2026-01-10 10:00:00", campaign_id=1, campaign_name="Name in the call"),
        call(2, "2026-01-10 10:00:00", campaign_id=9, campaign_name="Before"),
        call(3, "2026-01-10 11:00:00", campaign_id=9, campaign_name="Deleted"),
        call(4, "2026-01-10 12:00:00", campaign_id=9),
    )
    warehouse.build()
    warehouse.connection.execute(delete(CAMPAIGNS).where(CAMPAIGNS.c.id == 2))
    warehouse.connection.execute(update(CAMPAIGNS).where(CAMPAIGNS.c.id == 1).values(name="New"))
    result = warehouse.build()
    assert result.changes["comagic_campaigns"] == Changes(updated=1)
    names = {campaign_id: row[0] for (_, campaign_id), row in star(warehouse)["campaigns"].items()}
    assert names == {1: "New", 2: "Gone", 9: "Deleted"}


def test_dimension_rows_that_are_there_twice_double_no_fact(warehouse: Warehouse) -> None:
    """A warehouse taken over from mybi may hold a dimension value twice: facts take the lower id."""
    for domain in ("shop.example", "shop.example"):
        warehouse.connection.execute(insert(tables.general_sites).values(domain=domain))
    warehouse.load(CALLS, call(1, "2026-01-10 10:00:00", site_domain_name="shop.example"))
    warehouse.build()
    assert [fact["sites_id"] for fact in warehouse.rows(tables.comagic_calls_facts)] == [1]


def test_concurrent_builds_take_turns(engine: Engine, schemas: Schemas, warehouse: Warehouse, nasty: list[Row]) -> None:
    """Sources that are built at the same time wait for each other, so that shared dimension values are not doubled."""
    warehouse.connection.commit()
    start = threading.Barrier(2)
    failures: list[BaseException] = []

    def build_in_thread(account: Account) -> None:
        try:
            with engine.begin() as connection:
                start.wait(timeout=10)
                build(connection, schemas, account, CALLS_KIND, *JANUARY)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=build_in_thread, args=(account,)) for account in (MAIN, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert star(warehouse) == expect(nasty, NASTY_CAMPAIGNS)


def test_cost_does_not_grow_with_the_table(warehouse: Warehouse) -> None:
    """Building a day reads its month of raw and its own rows of the star, not the year; a first build is no slower."""
    raw, connection = warehouse.schemas.raw, warehouse.connection
    connection.execute(
        text(
            f'insert into "{raw}".calls_report (account_id, loaded_at, id, start_time, event_date, ua_client_id) '
            "select 1, now(), n, moment, moment::date, n::text from generate_series(1, 36500) as n, "
            "lateral (select timestamp '2026-01-01' + n * interval '14 minutes') as m (moment)"
        )
    )
    # Comparing all client ids with each other, as joins once did here, takes minutes.
    connection.execute(text("set local statement_timeout = '20s'"))
    warehouse.build((date(2026, 1, 1), date(2026, 12, 31)))
    for table in (f'"{raw}".calls_report', *(f'"{warehouse.schemas.star}".{t.name}' for t in STAR)):
        connection.execute(text(f"analyze {table}"))
    connection.commit()

    calls = warehouse.build((date(2026, 6, 15), date(2026, 6, 15))).facts_per_day[date(2026, 6, 15)]
    counters = "relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables"
    read = connection.execute(
        text(f"select {counters} where schemaname in (:raw, :star)"), {"raw": raw, "star": warehouse.schemas.star}
    )
    most = {name: count for name, count in read if count > 20 * calls}
    assert calls > 100
    assert list(most) in ([], ["calls_report_2026_06"])


def test_duration_beyond_the_columns_type_is_cut(warehouse: Warehouse) -> None:
    """A duration above 32 bits failed the build of its whole period; it is cut instead."""
    warehouse.load(CALLS, call(1, "2026-01-05 10:00:00", wait_duration=2**40, talk_duration=7))
    warehouse.build()
    facts = warehouse.rows(tables.comagic_calls_facts)
    assert [(fact["wait_duration"], fact["talk_duration"]) for fact in facts] == [(2**31 - 1, 7)]
