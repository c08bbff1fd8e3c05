"""The marts against plain Python over the raw rows that the star was built from, of an agent's two customers too."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text

from comagic_pipeline import catalog
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.star.marts import MARTS
from comagic_pipeline_tests.integration.star_reference import (
    LOADED,
    MAIN,
    READINGS,
    Reading,
    Row,
    by_text,
    expect_attributes,
    expect_tags,
    latest,
    shortened,
)
from comagic_pipeline_tests.integration.warehouse.test_star_kinds import (
    DAYS,
    build_both,
    load,
    rows_of,
)

OWNER_COLUMNS = ("account_id", "customer_user_id")
WITH_TAGS = [reading for reading in READINGS if reading.kind.name not in ("call_legs", "visitor_sessions")]


@dataclass(frozen=True)
class Built:
    """A warehouse with rows and facts of every kind, of two accounts, and its raw rows by kind."""

    warehouse: Warehouse
    rows: dict[str, list[Row]]

    def raw(self, reading: Reading) -> list[Row]:
        """The latest raw rows of a kind."""
        return latest(reading, self.rows[reading.kind.name])

    def mart(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of a mart, in the order of `by_text`."""
        with self.warehouse.connect() as connection:
            rows = connection.execute(text(f"select {', '.join(columns)} from comagic.{name}"))
            return by_text(tuple(row) for row in rows)


@pytest.fixture(scope="module")
def built(server: EmbeddedServer) -> Iterator[Built]:
    server.ensure_database("star_marts", synchronous_commit=False)
    rows = {reading.kind.name: of_two_customers(rows_of(reading)) for reading in READINGS}
    methods = [catalog.tables()[name] for name in ("campaigns", *(reading.kind.report for reading in READINGS))]
    with Warehouse(server.url("star_marts")) as warehouse:
        upgrade(warehouse, methods)
        with warehouse.begin() as connection:
            for reading, method in zip(READINGS, methods[1:], strict=True):
                ensure_months(connection, "comagic_raw", method.table, *DAYS)
                load(connection, reading, rows[reading.kind.name])
                build_both(connection, reading.kind)
        yield Built(warehouse, rows)


def of_two_customers(rows: list[Row]) -> list[Row]:
    """Every second row is another customer's too, with the same id."""
    return rows + [row | {"customer_user_id": 30} for row in rows[::2]]


def day_of(reading: Reading, row: Row) -> date:
    day: date = row[reading.time_column].date()
    return day


def owner_of(row: Row) -> tuple[int, int]:
    return row["account_id"], row["customer_user_id"]


def traffic_of(row: Row) -> tuple[str | None, str | None]:
    return shortened(row["utm_source"], 256), shortened(row["utm_medium"], 256)


def test_marts_have_the_columns_that_are_declared(built: Built) -> None:
    """Names, order and types; each mart tells what a row is. A second upgrade touches none of them."""
    versions = text("select oid, xmin::text from pg_class where relname like 'mart%' order by 1")
    with built.warehouse.connect() as connection:
        for declared in MARTS:
            columns = connection.execute(
                text(
                    "select attname, format_type(atttypid, null) from pg_attribute"
                    " where attrelid = to_regclass(:name) and attnum > 0 order by attnum"
                ),
                {"name": f"comagic.{declared.name}"},
            ).all()
            types = [str(c.type.compile(connection.dialect)).lower().split("(")[0] for c in declared.columns]
            same = {"varchar": "character varying", "decimal": "numeric"}
            written = [same.get(name, name) for name in types]
            assert [tuple(c) for c in columns] == list(zip(declared.columns.keys(), written, strict=True)), (
                declared.name
            )
            comment = connection.scalar(
                text("select obj_description(to_regclass(:name), 'pg_class')"), {"name": f"comagic.{declared.name}"}
            )
            assert comment == f"{declared.name}: {declared.comment}"
        before = connection.execute(versions).all()
    assert upgrade(built.warehouse, ()) == []
    with built.warehouse.connect() as connection:
        assert connection.execute(versions).all() == before
        assert len(before) >= len(MARTS)


def test_callers(built: Built) -> None:
    """A number that calls in several times a day is one caller, with the traffic of its first call."""
    reading = READINGS[0]
    calls_of: defaultdict[tuple[int, int, date, str], list[Row]] = defaultdict(list)
    for row in built.raw(reading):
        if row["direction"] == "in" and row["contact_phone_number"]:
            calls_of[(*owner_of(row), day_of(reading, row), row["contact_phone_number"][:32])].append(row)
    callers, by_traffic = [], Counter[tuple[Any, ...]]()
    for caller, calls in calls_of.items():
        calls.sort(key=lambda row: (row["start_time"], row["id"]))
        talked = sum(max(min(row["talk_duration"] or 0, 2**31 - 1), 1 - 2**31) for row in calls)
        lost = sum(bool(row["is_lost"]) for row in calls)
        callers.append((*caller, calls[0]["start_time"], len(calls), lost, talked, *traffic_of(calls[0])))
        by_traffic[(*caller[:3], *traffic_of(calls[0]))] += 1
    names = (*OWNER_COLUMNS, "simple_date", "phone_number", "first_call_time", "calls", "lost_calls", "talk_duration")
    assert built.mart("mart_unique_callers", *names, "source", "medium") == by_text(callers)
    assert max(len(calls) for calls in calls_of.values()) > 1
    expected = by_text((*traffic, count) for traffic, count in by_traffic.items())
    by_source = (*OWNER_COLUMNS, "simple_date", "source", "medium", "unique_callers")
    assert built.mart("mart_unique_callers_by_traffic", *by_source) == expected


def test_communications(built: Built) -> None:
    """All of them and the target ones by day, kind and traffic, once; by tag, once under each of their tags."""
    once, by_tag = Counter[tuple[Any, ...]](), Counter[tuple[Any, ...]]()
    target, target_by_tag = Counter[tuple[Any, ...]](), Counter[tuple[Any, ...]]()
    for reading in WITH_TAGS:
        for row in built.raw(reading):
            place = (*owner_of(row), day_of(reading, row), reading.kind.name)
            is_target = any(flag[2] == "target" for flag in expect_attributes(row, reading.key))
            once[(*place, *traffic_of(row))] += 1
            target[(*place, *traffic_of(row))] += is_target
            for tag in expect_tags(row, reading.key):
                by_tag[(*place, tag[2], *traffic_of(row))] += 1
                target_by_tag[(*place, tag[2], *traffic_of(row))] += is_target
    names = (*OWNER_COLUMNS, "simple_date", "kind", "source", "medium", "communications", "target_communications")
    assert built.mart("mart_communications", *names) == by_text((*p, n, target[p]) for p, n in once.items())
    expected = by_text((*place, count, target_by_tag[place]) for place, count in by_tag.items())
    assert built.mart("mart_communications_by_tag", *names[:4], "tag_id", *names[4:]) == expected
    assert min(target.total(), target_by_tag.total()) > 0


def test_tag_changes(built: Built) -> None:
    """Tags by the day on which they were put, told apart by tag, by hand or by rule, and by whom."""
    counted = Counter(
        (*owner_of(row), tag[5].date(), reading.kind.name, tag[2], tag[4], tag[7], tag[8])
        for reading in WITH_TAGS
        for row in built.raw(reading)
        for tag in expect_tags(row, reading.key)
        if tag[5] is not None
    )
    names = (*OWNER_COLUMNS, "simple_date", "kind", "tag_id", "tag_type", "user_login", "employee_id", "tags")
    assert built.mart("mart_tag_changes", *names) == by_text((*key, count) for key, count in counted.items())
    assert {key[5] for key in counted} >= {"auto", "manual"}
    assert any(key[6] for key in counted)
    assert any(key[7] for key in counted)


def test_freshness(built: Built) -> None:
    """The last day of the ledger, also one without rows, beside the last fact; what was never loaded is not there.

    Each customer of an agent has a line: one who is behind was hidden by the others.
    """
    chats, legs = READINGS[2], READINGS[1]
    loaded = [
        (chats, DAYS[0], 0, 7),
        (chats, DAYS[1], 0, 5),
        (chats, DAYS[1], 30, 6),
        (chats, DAYS[0], 40, 8),
        (chats, DAYS[0], 50, 0),
        (legs, DAYS[1], 0, 5),
        (legs, DAYS[1] + timedelta(days=1), 0, 0),
    ]
    with built.warehouse.begin() as connection:
        connection.execute(
            insert(ops.loaded_days),
            [
                {"account_id": MAIN.account_id, "customer_user_id": customer, "table_name": reading.kind.report}
                | {"day": day, "rows": rows, "points": 1, "seconds": 1, "run_id": "run", "loaded_at": LOADED}
                for reading, day, customer, rows in loaded
            ],
        )

    def last(reading: Reading, customer: int) -> datetime | None:
        mine = [row for row in built.raw(reading) if row["account_id"] == MAIN.account_id]
        times = [row[reading.time_column] for row in mine if row["customer_user_id"] == customer]
        return max(times).replace(microsecond=0) if times else None

    def facts(customer: int, day: date) -> int:
        mine = [row for row in built.raw(chats) if row["account_id"] == MAIN.account_id]
        return sum(day_of(chats, row) == day and row["customer_user_id"] == customer for row in mine)

    names = (*OWNER_COLUMNS, "kind", "last_loaded_day", "last_day_rows", "last_fact_time", "last_day_facts")
    expected = [
        (MAIN.account_id, customer, "chats", day, rows, last(chats, customer), facts(customer, day))
        for customer, day, rows in ((0, DAYS[1], 5), (30, DAYS[1], 6), (40, DAYS[0], 8), (50, DAYS[0], 0))
    ]
    expected.append((MAIN.account_id, 0, "call_legs", loaded[-1][1], 0, last(legs, 0), 0))
    moment = LOADED.replace(tzinfo=None)
    assert built.mart("mart_freshness", *names, "last_day_loaded_at at time zone 'UTC'") == by_text(
        (*line, moment) for line in expected
    )
    assert min(facts(0, DAYS[1]), facts(30, DAYS[1])) > 0


def test_points(built: Built) -> None:
    """Points of a day and table, whatever runs asked; requests of commands count, and are no run."""
    spent = [
        (MAIN.account_id, DAYS[0], "calls_report", "one", 3),
        (MAIN.account_id, DAYS[0], "calls_report", "two", 4),
        (MAIN.account_id, DAYS[0], "calls_report", "", 1),
        (MAIN.account_id, DAYS[0], "tags", "one", 1),
        (MAIN.account_id, DAYS[1], "calls_report", "two", 2**31),
        (MAIN.account_id, DAYS[1], "account", "", 5),
        (MAIN.account_id + 1, DAYS[1], "calls_report", "two", 9),
    ]
    with built.warehouse.begin() as connection:
        connection.execute(
            insert(ops.points_spent), [dict(zip(ops.points_spent.columns.keys(), line, strict=True)) for line in spent]
        )
    points, runs = Counter[tuple[Any, ...]](), Counter[tuple[Any, ...]]()
    for *place, run, charged in spent:
        points[tuple(place)] += charged
        runs[tuple(place)] += run != ""
    expected = by_text((*place, runs[place], count) for place, count in points.items())
    assert built.mart("mart_points", "account_id", "day", "table_name", "runs", "points") == expected
