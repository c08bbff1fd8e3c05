"""The views with Russian names and the role that reads them, on a real PostgreSQL."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, make_url, text

from comagic_pipeline import catalog
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.star import views
from comagic_pipeline.warehouse.star.build import build
from comagic_pipeline.warehouse.star.kinds import KINDS
from comagic_pipeline.warehouse.star.marts import MARTS
from comagic_pipeline.warehouse.star.tables import metadata
from comagic_pipeline.warehouse.star.views import create_views, unique_names
from comagic_pipeline_tests.integration.star_reference import CALLS, JANUARY, MAIN, call, tag

MYBI: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "unit" / "warehouse" / "mybi_schema.json").read_text("utf-8")
)["tables"]
METHODS = [catalog.tables()[name] for name in ("calls_report", "campaigns")]
FACTS = {kind.facts.name for kind in KINDS}


@pytest.fixture(scope="module")
def lasting_warehouse(server: EmbeddedServer) -> Iterator[Warehouse]:
    """One warehouse for all tests here: copying a database for each takes most of their time."""
    server.ensure_database("star_views", synchronous_commit=False)
    with Warehouse(server.url("star_views")) as warehouse:
        upgrade(warehouse, METHODS)
        yield warehouse


@pytest.fixture
def warehouse(lasting_warehouse: Warehouse) -> Iterator[Warehouse]:
    """A warehouse without Russian views, and with marts as they should be."""
    yield lasting_warehouse
    with lasting_warehouse.begin() as connection:
        connection.execute(text("drop view if exists public.mine"))
        connection.execute(text("drop schema if exists comagic_views cascade"))
    upgrade(lasting_warehouse, METHODS)


@pytest.fixture
def reader(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name of the reader's role that no other test uses: roles are those of the whole server."""
    name = f"reader_{secrets.token_hex(4)}"
    monkeypatch.setattr(views, "READER", name)
    yield name
    with warehouse.begin() as connection:
        connection.execute(text(f"drop owned by {name}"))
        connection.execute(text(f"drop role {name}"))


def made(warehouse: Warehouse, prefix: str = "CM") -> list[str]:
    """What `create_views` says."""
    with warehouse.begin() as connection:
        return create_views(connection, Schemas(), prefix)


def columns(warehouse: Warehouse) -> dict[str, list[str]]:
    """The columns of every view of the schema."""
    with warehouse.connect() as connection:
        rows = connection.execute(
            text(
                "select table_name, array_agg(column_name::text order by ordinal_position)"
                " from information_schema.columns where table_schema = 'comagic_views' group by 1"
            )
        )
        return {row[0]: row[1] for row in rows}


def versions(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Every view with the transaction that wrote it last, and the rights on it."""
    with warehouse.connect() as connection:
        rows = connection.execute(
            text(
                "select relname, oid, xmin::text, relacl::text from pg_class"
                " where relnamespace = 'comagic_views'::regnamespace order by 1"
            )
        )
        return [tuple(row) for row in rows]


@pytest.mark.usefixtures("reader")
def test_views_of_mybi_tables_are_mybis(warehouse: Warehouse) -> None:
    """Names and columns are those that mybi gives, so that dashboards keep working; ours follow. Nothing is cut."""
    assert made(warehouse) == []
    found = columns(warehouse)
    assert len(found) == len(metadata.tables) + len(MARTS) + 1  # and comagic_reports
    for table in metadata.sorted_tables:
        if table.name not in MYBI:
            continue
        mybi = MYBI[table.name]["columns"]
        shown = [column.get("label_ru_pg63", column["label_ru"]) for name, column in mybi.items()
                 if not name.endswith("_hash") and not (table.name in FACTS and name == "id")]  # fmt: skip
        prefix = "SHD" if table.name.startswith("general_") else "CM"
        expected = [*shown, "Дата"] if table.name in FACTS else shown
        assert found[f"{prefix} {MYBI[table.name]['human_name_ru']}"][: len(expected)] == expected
    before = versions(warehouse)
    assert made(warehouse) == []
    assert versions(warehouse) == before


def test_the_reader_reads_views_and_nothing_else(warehouse: Warehouse, reader: str) -> None:
    """Values come through the views; tables, other schemas and writing are refused."""
    with warehouse.begin() as connection:
        ensure_months(connection, "comagic_raw", METHODS[0].table, *JANUARY)
        values = {"direction": "in", "contact_phone_number": "79001234567", "talk_duration": 7}
        connection.execute(insert(CALLS), call(1, "2026-01-10 10:00:00", tags=[tag(5, "Продажа")]) | values)
        build(connection, Schemas(), MAIN, KINDS[0], *JANUARY)
    assert made(warehouse) == []
    with warehouse.connect() as connection:
        connection.execute(text(f"set local role {reader}"))
        joined = (
            'select "Дата"::text, "Длительность разговора", "Номер контакта", "Название тега"'
            ' from comagic_views."CM Звонки"'
            ' join comagic_views."CM Параметры звонков" using ("Идентификатор звонка")'
            ' join comagic_views."CM Теги звонков" using ("Идентификатор звонка")'
        )
        assert [tuple(row) for row in connection.execute(text(joined))] == [("2026-01-10", 7, "79001234567", "Продажа")]
        for name in columns(warehouse):
            connection.execute(text(f'select * from comagic_views."{name}"')).all()
        for statement in (
            "select * from comagic.comagic_calls",
            "select * from comagic.mart_communications",
            "select * from comagic_raw.calls_report",
            "select * from comagic_ops.journal",
            'delete from comagic_views."CM Параметры кампаний"',
            "create view comagic_views.mine as select 1",
        ):
            connection.rollback()
            connection.execute(text(f"set local role {reader}"))
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(text(statement))
        connection.rollback()
        login = text("select rolcanlogin from pg_roles where rolname = :role")
        assert connection.scalar(login, {"role": reader}) is False


@pytest.mark.usefixtures("reader")
def test_another_prefix_replaces_the_views_and_leaves_those_of_others(warehouse: Warehouse) -> None:
    """Old names go; a view of a person stays, and so does the one that it is made of, with a line that says so."""
    made(warehouse, "ЮИС: 100%")
    assert "ЮИС: 100% Звонки" in columns(warehouse)
    with warehouse.begin() as connection:
        connection.execute(text('create view comagic_views."CM Чаты" as select 1 as mine'))
        connection.execute(text(r'create view public.mine as select * from comagic_views."ЮИС\: 100% Заявки"'))
    warnings = made(warehouse)
    found = columns(warehouse)
    assert [name for name in found if name.startswith("ЮИС")] == ["ЮИС: 100% Заявки"]
    assert found["CM Чаты"] == ["mine"]
    assert len(warnings) == 2
    assert '"ЮИС: 100% Заявки" was left as it is, because others are made of it (view ' in warnings[0]
    assert '"CM Чаты" is not the pipeline\'s and was left alone' in warnings[1]


@pytest.mark.usefixtures("reader")
def test_views_and_marts_follow_columns_that_go_or_change(warehouse: Warehouse) -> None:
    """PostgreSQL replaces no view whose columns change: it is made anew, with the views that are made of it."""
    made(warehouse)
    before = columns(warehouse)
    with warehouse.begin() as connection:
        connection.execute(text('drop view comagic_views."CM Чаты"'))
        connection.execute(text('create view comagic_views."CM Чаты" as select 1 as "Дата", 2 as "Нет больше"'))
        connection.execute(text("""comment on view comagic_views."CM Чаты" is 'comagic_chats_facts: old'"""))
        connection.execute(text("drop view comagic.mart_unique_callers cascade"))
        connection.execute(text("create view comagic.mart_unique_callers as select 1 as account_id, 2 as old"))
        connection.execute(text("comment on view comagic.mart_unique_callers is 'mart_unique_callers: old'"))
        connection.execute(text("create view comagic.mart_gone as select account_id from comagic.mart_unique_callers"))
        connection.execute(text("comment on view comagic.mart_gone is 'mart_gone: old'"))
        connection.execute(
            text('create view comagic_views."CM Уникальные звонящие" as select old from comagic.mart_unique_callers')
        )
        connection.execute(
            text("""comment on view comagic_views."CM Уникальные звонящие" is 'mart_unique_callers: old'""")
        )
    assert upgrade(warehouse, ()) == []
    assert made(warehouse) == []
    assert columns(warehouse) == before
    with warehouse.connect() as connection:
        assert connection.scalar(text("select to_regclass('comagic.mart_gone')")) is None
        assert "phone_number" in connection.execute(text("select * from comagic.mart_unique_callers")).keys()  # noqa: SIM118


def test_a_mart_that_a_person_builds_on_stays_and_is_told(warehouse: Warehouse) -> None:
    """An upgrade that would have to drop the view of a person goes on without changing that mart."""
    with warehouse.begin() as connection:
        connection.execute(text("drop view comagic.mart_tag_changes"))
        connection.execute(text("create view comagic.mart_tag_changes as select 1 as old"))
        connection.execute(text("comment on view comagic.mart_tag_changes is 'mart_tag_changes: old'"))
        connection.execute(text("create view public.mine as select old from comagic.mart_tag_changes"))
    (line,) = upgrade(warehouse, ())
    assert line == (
        '"comagic"."mart_tag_changes" was left as it is, because others are made of it '
        "(view public.mine depends on view comagic.mart_tag_changes): drop those"
    )
    with warehouse.connect() as connection:
        assert connection.scalar(text("select old from public.mine")) == 1


def test_without_the_right_to_create_roles_there_are_views_and_a_warning(warehouse: Warehouse, reader: str) -> None:
    """A database user who may create a schema and no role gets the views, and one line for an administrator."""
    url = make_url(warehouse.url.render_as_string(False))
    user = f"user_{secrets.token_hex(4)}"
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(False), autocommit=True) as connection:
        connection.execute(f"create role {user} login")
        connection.execute(f'grant create on database "{url.database}" to {user}')
        connection.execute(f"grant usage on schema comagic to {user}")
        connection.execute(f"grant select on all tables in schema comagic to {user}")
        try:
            with Warehouse(url.set(username=user).render_as_string(False)) as other:
                (line,) = made(other)
                assert line.startswith(f"role {reader} cannot be set up (permission denied to create role)")
                assert line.endswith(f"let an administrator run CREATE ROLE {reader}")
                assert len(columns(warehouse)) == len(metadata.tables) + len(MARTS) + 1  # and comagic_reports
                connection.execute(f"create role {reader}")
                assert made(other) == []
                with other.begin() as theirs:
                    allowed = "select has_table_privilege(:reader, 'comagic_views.\"CM Звонки\"', 'select')"
                    assert theirs.scalar(text(allowed), {"reader": reader})
        finally:
            connection.execute(f"drop owned by {user}")
            connection.execute(f"drop role {user}")


def test_several_at_once_in_two_databases(warehouse: Warehouse, database_url: str, reader: str) -> None:
    """Processes of two warehouses on one server share the role: whoever comes second finds it."""
    with Warehouse(database_url) as second:
        upgrade(second, ())
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(made, [warehouse, second] * 3)) == [[]] * 6
        for each in (warehouse, second):
            assert len(columns(each)) == len(metadata.tables) + len(MARTS) + 1  # and comagic_reports
            with each.connect() as connection:
                connection.execute(text(f"set local role {reader}"))
                connection.execute(text('select * from comagic_views."CM Звонки"')).all()
        with second.begin() as connection:
            connection.execute(text(f"drop owned by {reader}"))


@pytest.mark.usefixtures("reader")
def test_a_prefix_that_makes_names_too_long_is_told(warehouse: Warehouse) -> None:
    """Every table still has a view, under a name that PostgreSQL holds, and a line says which."""
    prefix = "Приставка на тридцать букв вот"
    warnings = made(warehouse, prefix)
    found = columns(warehouse)
    assert len(found) == len(metadata.tables) + len(MARTS) + 1  # and comagic_reports
    assert all(len(name.encode()) <= 63 for name in found)
    assert len(warnings) == len([name for name in found if not name.startswith("SHD")])
    assert all("PostgreSQL's names end after 63 bytes" in line for line in warnings)
    assert made(warehouse, prefix) == warnings


def test_names_are_cut_at_letters_and_told_apart() -> None:
    """No letter is halved, and names that are alike after the cut get numbers, within the same length."""
    long = "Идентификатор подключенного аккаунта"
    assert unique_names([long]) == ["Идентификатор подключенного акка"]
    assert unique_names(["Дата", "Дата", long, long, f"{long} другой"]) == [
        "Дата",
        "Дата 2",
        "Идентификатор подключенного акка",
        "Идентификатор подключенного акк 2",
        "Идентификатор подключенного акк 3",
    ]
