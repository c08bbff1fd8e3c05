"""Filters against two judges: PostgreSQL says which rows an expression wants, the sandbox what trees let through."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
from sqlalchemy import make_url

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.filters.parser import Tree, parse_filter
from comagic_pipeline.api.rows import Row, RowDecoder
from comagic_pipeline.catalog import Column, ColumnType, Method, methods
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World

ZONE = ZoneInfo("Europe/Moscow")
TEXTS = [
    "",
    "in",
    "In",
    "100%",
    "a_b",
    "a\\b",
    "aXb",
    "it's",
    "two\nlines",
    "Окна",
    "окна",
    "🪟",
    "%",
    "b",
    "aab",
    "abab",
    "baba",
]
PATTERNS = ["%", "", "%о%", "100\\%", "100%", "a\\_b", "a_b", "a\\\\b", "it''s", "%\n%", "%\\%%", "О%", "\\in", "%%"]
SQL_TYPES = {
    ColumnType.INTEGER: "bigint",
    ColumnType.DECIMAL: "numeric",
    ColumnType.TEXT: "text",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIMESTAMP: "timestamp",
    ColumnType.DATE: "date",
    ColumnType.JSON: "jsonb",
}
VALUES: dict[ColumnType, list[Any]] = {
    ColumnType.INTEGER: [None, -1, 0, 1, 7, 3331456735, 2**63 - 1],
    ColumnType.DECIMAL: [None, "-1.5", "0", "0.10", "0.1", "7", "12345678901234567890.123"],
    ColumnType.TEXT: [None, *TEXTS],
    ColumnType.BOOLEAN: [None, True, False],
    ColumnType.TIMESTAMP: [None, "2026-01-02 00:00:00", "2026-01-02 03:04:05", "2025-12-31 23:59:59"],
    ColumnType.DATE: [None, "2026-01-02", "2025-12-31", "2024-02-29"],
    ColumnType.JSON: [None, [], {}, [1], {"a": None}, [None]],
}
THINGS = Method(
    name="get.things_report",
    alias=None,
    table="things_report",
    group="",
    description="",
    columns=(
        Column("id", ColumnType.INTEGER, "", filterable=False, sortable=False),
        *(Column(f"{kind}_column", kind, "", filterable=False, sortable=False) for kind in ColumnType),
    ),
    key=("id",),
    is_key_unique=True,
    time_column=None,
    max_days=None,
    parameters=frozenset(),
    required=frozenset(),
)


class Expressions:
    """Random expressions over columns, in the words of both the filters and SQL; repeatable by the seed.

    `literals` holds texts of values by column.
    """

    def __init__(self, seed: str, columns: Sequence[Column], literals: Mapping[str, Sequence[str]]) -> None:
        self._random = Random(seed)
        self._columns, self._literals = columns, literals

    def one(self, depth: int = 4) -> str:
        """The next expression, with at most so many groups in each other."""
        random = self._random
        if depth and random.random() < 0.6:
            parts = [self.one(depth - 1) for _ in range(random.randint(1, 3))]
            joined = random.choice((" and ", " OR ")).join(parts)
            return random.choice(("({})", "not ({})", "not not ({})", "{}")).format(joined)
        return random.choice(("", "", "", "not ")) + self._condition()

    def _condition(self) -> str:
        random = self._random
        column = random.choice(self._columns)
        if column.type is ColumnType.JSON or random.random() < 0.15:
            return f"{column.name} is {random.choice(('', 'NOT '))}null"
        literals = self._literals[column.name]
        kind = random.choice(("compare", "compare", "in", "like"))
        if kind == "in":
            several = ", ".join(random.choices(literals, k=random.randint(1, 4)))
            return f"{column.name} {random.choice(('', 'not '))}in ({several})"
        if column.type is ColumnType.TEXT and kind == "like":
            return f"{column.name} {random.choice(('', 'not '))}like '{self._pattern()}'"
        has_order = column.type not in (ColumnType.TEXT, ColumnType.BOOLEAN)
        operator = random.choice(("=", "!=", "<>", *(("<", "<=", ">", ">=") if has_order else ())))
        return f"{column.name} {operator} {random.choice(literals)}"

    def _pattern(self) -> str:
        random = self._random
        if random.random() < 0.5:
            return random.choice(PATTERNS)
        return "".join(random.choices(("a", "b", "%", "_"), k=random.randint(1, 6)))


def literal(value: Any) -> str:
    """A value as it is written in an expression."""
    if isinstance(value, str | date):
        return "'" + str(value).replace("'", "''") + "'"
    return f"{value:f}" if isinstance(value, Decimal) else str(value).lower()


def test_rows_kept_are_those_of_a_where_clause(database_url: str) -> None:
    """PostgreSQL, asked with the same words over the same values, NULLs included, chooses the same rows."""
    random = Random("rows")
    raw = [
        {"id": number} | {f"{kind}_column": random.choice(values) for kind, values in VALUES.items()}
        for number in range(120)
    ]
    rows = RowDecoder(THINGS, ZONE).decode(msgspec.Raw(msgspec.json.encode(raw))).rows
    literals = {
        column.name: [
            str(value) if column.type is ColumnType.DECIMAL else literal(value)
            for value in VALUES[column.type]
            if value is not None
        ]
        for column in THINGS.columns
    }
    expressions = Expressions("where", THINGS.columns, literals)
    columns = ", ".join(f"{column.name} {SQL_TYPES[column.type]}" for column in THINGS.columns)
    sizes = set()
    with psycopg.connect(make_url(database_url).set(drivername="postgresql").render_as_string(False)) as connection:
        connection.execute(f"create temp table things ({columns})")
        for row in raw:
            # null, [] and {} are alike, says the specification: what is left of them here is NULL.
            nested = msgspec.json.encode(row["json_column"]).decode() if row["json_column"] else None
            values = row | {"json_column": nested}
            connection.cursor().execute(
                f"insert into things values ({', '.join(f'%({name})s' for name in values)})", values
            )
        for _ in range(1500):
            text = expressions.one()
            found = connection.execute(f"select id from things where {text} order by id").fetchall()
            keeps = parse_filter(text, THINGS).keeps
            assert [row.id for row in rows if keeps(row)] == [number for (number,) in found], text  # type: ignore[attr-defined]
            sizes.add(len(found))
    assert len(sizes) > 50


# Trees


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of a small account."""
    world = World(calls_per_day=40, now=lambda: datetime(2026, 4, 1, tzinfo=UTC))
    with (
        running_sandbox(world, Settings(minute_limit=10_000)) as sandbox,
        Client(sandbox.url, Token(SANDBOX_TOKEN), verify=ssl.create_default_context()) as client,
    ):
        yield client


def levels(tree: Tree | None) -> int:
    """How many groups stand in each other."""
    return 1 + max(map(levels, tree["filters"])) if tree and "filters" in tree else 0


@pytest.mark.parametrize(
    "name",
    [
        "get.calls_report",
        "get.communications_report",
        "get.goals_report",
        "get.campaign_daily_stat",
        "get.campaigns",
        "get.tags",
        "get.employees",
        "get.virtual_numbers",
    ],
)
def test_trees_let_through_all_rows_wanted(client: Client, name: str) -> None:
    """What the API gives with a tree holds every row that is kept, and not just all rows there are."""
    method = methods()[name]
    fixed: dict[str, Any] = {"fields": [column.name for column in method.columns], "limit": 10_000}
    if method.has_period:
        fixed |= {"date_from": "2026-03-02 00:00:00", "date_till": "2026-03-03 23:59:59"}
    if method.needs_site:
        fixed["site_id"] = 4501
    decoder = RowDecoder(method, ZONE)

    def ask(**params: Any) -> list[Row]:
        page = decoder.decode(client.call(name, {**fixed, **params}).data)
        assert not page.rejected
        return page.rows

    everything = ask()
    literals = {column.name: _literals(everything, column.name) for column in method.columns}
    columns = [column for column in method.columns if literals[column.name] or column.type is ColumnType.JSON]
    filterable = [column for column in columns if column.filterable]
    expressions = Expressions(name, [*columns, *filterable * 5], literals)
    saved = kept_some = 0
    for _ in range(60):
        chosen = parse_filter(expressions.one(3), method)
        wanted = list(filter(chosen.keeps, everything))
        came = ask(filter=chosen.tree) if chosen.tree else everything
        assert levels(chosen.tree) <= 3
        assert list(filter(chosen.keeps, came)) == wanted, chosen.text
        saved += len(came) < len(everything)
        kept_some += 0 < len(wanted) < len(everything)
    assert saved >= 20
    assert kept_some >= 20


def _literals(rows: Sequence[Row], column: str) -> list[str]:
    """The values of a column, and for times others nearby."""
    found = {getattr(row, column) for row in rows if not isinstance(getattr(row, column), msgspec.Raw)} - {None}
    if any(isinstance(value, date) for value in found):
        found |= {value + timedelta(days=days) for value in found for days in (-2, 2)}
    return [literal(value) for value in sorted(found)]
