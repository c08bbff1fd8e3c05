"""The connection to the warehouse: wrong URLs and unreachable servers in one line that shows no password."""

import re

import pytest
from sqlalchemy import make_url, text

from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Schemas, Warehouse, WarehouseError, one_line

SECRET = "pass-W0rd"


def refusal(url: str) -> str:
    """What is said about a URL: one line without the password."""
    with pytest.raises(WarehouseError) as caught, Warehouse(url) as warehouse, warehouse.connect():
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("comagic", "warehouse.url is no URL; write postgresql://user:password@host:5432/database"),
        (f"postgresql://u:p@host:{SECRET}/db", "warehouse.url is no URL; write postgresql://"),
        (f"mysql://u:{SECRET}@host/db", "warehouse.url names mysql; only postgresql is supported"),
        (f"postgresql://u:p@{SECRET}@host/db", "warehouse.url: write an @ in the password as %40"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/db", "Connection refused"),
        (f"postgres://u:{SECRET}@127.0.0.1:1/db", "check warehouse.url"),
        (f"postgresql://127.0.0.1:1/db?user=u&password={SECRET}", "Connection refused"),
        (f"postgresql+psycopg2://u:{SECRET}@127.0.0.1:1/db", "Connection refused"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/db?no_such_option=1", 'invalid connection option "no_such_option"'),
        (f"postgresql://u:{SECRET}@nobody.invalid/db", "cannot reach the warehouse at"),
        (f"postgresql://u:{SECRET}@{'a' * 70}/db", "cannot reach the warehouse at"),
        (
            f"postgresql://u:{SECRET}@127.0.0.1:1/db?prepare_threshold=0",
            'invalid connection option "prepare_threshold"',
        ),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/db?autocommit=1", 'invalid connection option "autocommit"'),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/db?sslmode=a&sslmode=b", "the option sslmode is given 2 times"),
        (f"postgresql://u:{SECRET}@/db?host=127.0.0.1&port=abc", "warehouse.url: Received non-integer port"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/db?connect_timeout=abc", "bad value for connect_timeout"),
    ],
)
def test_a_wrong_url_is_told_in_one_line(url: str, expected: str) -> None:
    """What is wrong, where to mend it, and no password, wherever in the URL it stands."""
    assert expected in refusal(url)


def test_a_database_that_is_not_there_is_named(server: EmbeddedServer) -> None:
    """The server's own words are part of the line."""
    assert 'database "nowhere" does not exist; check warehouse.url' in refusal(server.url("nowhere"))


def test_an_old_server_is_refused(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest version that the SQL is written for is checked, and named in the error."""
    assert re.fullmatch(r"PostgreSQL [\d.]+, UTF8", warehouse.check())
    monkeypatch.setattr("comagic_pipeline.warehouse.session.OLDEST_SERVER", 99)
    assert "this is PostgreSQL 18; 99 or newer is needed" in refusal(warehouse.url.render_as_string(False))


def test_what_is_not_committed_is_rolled_back(warehouse: Warehouse) -> None:
    """`begin` commits at its end and only then; `connect` leaves that to the caller."""
    with warehouse.begin() as connection:
        connection.execute(text("create table public.t (n int)"))
    with warehouse.connect() as connection:
        connection.execute(text("insert into public.t values (1)"))
    with pytest.raises(RuntimeError), warehouse.begin() as connection:  # noqa: PT012
        connection.execute(text("insert into public.t values (2)"))
        raise RuntimeError
    with warehouse.begin() as connection:
        connection.execute(text("insert into public.t values (3)"))
    with warehouse.connect() as connection:
        assert connection.scalars(text("select n from public.t")).all() == [3]


def test_names_are_quoted(database_url: str) -> None:
    """A schema may be called anything; quotes inside a name are doubled."""
    with Warehouse(database_url, Schemas(raw='a"b', star="select")) as warehouse:
        assert warehouse.quote("raw", "calls") == '"a""b"."calls"'
        assert warehouse.quote("star", "calls") == '"select"."calls"'
        assert str(make_url(database_url).database) in warehouse.address


def test_errors_of_the_database_show_neither_statement_nor_row(warehouse: Warehouse) -> None:
    """A row is personal data: only the primary message of the server is told."""
    with warehouse.begin() as connection:
        connection.execute(text("create table public.t (phone text, n int not null)"))
    with pytest.raises(Exception, match="null value") as caught, warehouse.begin() as connection:
        connection.execute(text("insert into public.t values (:phone, null)"), {"phone": "79001234567"})
    assert "79001234567" in str(caught.value)
    assert one_line(caught.value) == 'null value in column "n" of relation "t" violates not-null constraint'
