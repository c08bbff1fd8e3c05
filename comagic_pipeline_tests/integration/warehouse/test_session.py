"""What a session depends on is set whatever database, role and environment say, or refused in one line."""

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text

from comagic_pipeline.cli.doctor import Finding, examine
from comagic_pipeline.config import Config, ConfigError
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE, open_instance
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError
from comagic_pipeline.warehouse.requirements import missing_requirements

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"


@contextmanager
def admin(url: str) -> Iterator[psycopg.Connection[Any]]:
    """The driver's connection to a database, with the defaults of that database."""
    libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(libpq, autocommit=True, client_encoding="UTF8") as connection:
        yield connection


@contextmanager
def encoded(server: EmbeddedServer, encoding: str) -> Iterator[str]:
    """The URL of a database of an encoding."""
    name = f"test_{secrets.token_hex(6)}"
    with admin(server.url("postgres")) as connection:
        connection.execute(
            f"create database {name} template template0 encoding '{encoding}' locale_provider libc"
            " lc_collate 'C' lc_ctype 'C'"
        )
        try:
            yield server.url(name)
        finally:
            connection.execute(f"drop database {name} with (force)")


def read_back(warehouse: Warehouse) -> dict[str, Any]:
    """Values that come out otherwise under other settings."""
    with warehouse.connect() as connection:
        return dict(
            connection.execute(
                text(
                    r"select timestamptz '2026-01-02 03:04\:05+00' as moment, interval '1 day 2 hours' as span,"
                    r" 'Ц\d' as letters, '\x01'::bytea as bytes, to_jsonb('Ц'::text)::text as json,"
                    " 0.1::float8 + 0.2::float8 as number, current_setting('transaction_isolation') as isolation,"
                    " current_setting('transaction_read_only') as is_read_only, current_schema() as schema,"
                    " current_setting('TimeZone') as zone, current_setting('statement_timeout') as timeout,"
                    " current_setting('lock_timeout') as lock, current_setting('client_encoding') as encoding,"
                    " current_setting('idle_in_transaction_session_timeout') as idle".replace("::", r"\:\:")
                )
            )
            .mappings()
            .one()
        )


EXPECTED = {
    "moment": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "span": timedelta(days=1, hours=2),
    "letters": r"Ц\d",
    "bytes": b"\x01",
    "json": '"Ц"',
    "number": 0.1 + 0.2,
    "isolation": "read committed",
    "is_read_only": "off",
    "schema": "pg_catalog",
    "zone": "UTC",
    "timeout": "0",
    "lock": "0",
    "encoding": "UTF8",
    "idle": "0",
}
DBA = {
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Tokyo",
    "client_encoding": "LATIN1",
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
}


def test_settings_of_a_database_change_nothing(database_url: str) -> None:
    """With DateStyle German every command ended with NotImplementedError: can't parse timestamptz."""
    name = make_url(database_url).database
    with admin(database_url) as connection:
        for setting, value in DBA.items():
            connection.execute(f"alter database {name} set {setting} = '{value}'")
    with Warehouse(database_url) as warehouse:
        assert read_back(warehouse) == EXPECTED
        time.sleep(0.01)
        with warehouse.begin() as connection:
            connection.execute(text("create table public.t as select 1 as n from pg_sleep(0.02)"))


def test_variables_of_libpq_change_nothing(database_url: str) -> None:
    """With PGCLIENTENCODING tags and all JSON came out as gibberish, with exit code 0."""
    variables = {
        "PGCLIENTENCODING": "LATIN1",
        "PGDATESTYLE": "German",
        "PGTZ": "Asia/Tokyo",
        "PGHOSTADDR": "192.0.2.1",
        "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in DBA.items() if " " not in value),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        for url in (database_url, f"{database_url}&client_encoding=LATIN1&options=-c%20DateStyle%3DGerman"):
            with Warehouse(url) as warehouse:
                assert read_back(warehouse) == EXPECTED


@pytest.mark.parametrize("encoding", ["WIN1251", "SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding_is_refused(server: EmbeddedServer, encoding: str) -> None:
    """A WIN1251 database got tags as gibberish, an SQL_ASCII one ended with TypeError."""
    with (
        encoded(server, encoding) as url,
        Warehouse(url) as warehouse,
        pytest.raises(WarehouseError, match=f"the encoding of the database is {encoding}; UTF8 is needed") as caught,
    ):
        warehouse.check()
    assert "\n" not in str(caught.value)


def test_a_storage_of_another_encoding_is_refused(
    server: EmbeddedServer, project: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs and events hold Russian texts too."""
    config = project(base_url="sandbox", token="t")
    with encoded(server, "WIN1251") as url:
        monkeypatch.setenv(STORAGE_VARIABLE, url)
        with pytest.raises(ConfigError, match=f"{STORAGE_VARIABLE}: the encoding of the database is WIN1251"):
            open_instance(config).__enter__()


@pytest.fixture
def pooler() -> Iterator[Callable[[str, str], str]]:
    """Starts pgbouncer in a mode before a database; gives the URL."""
    processes = []
    # As root the pooler is another user's: pytest's own folders are closed to it.
    folder = Path(tempfile.mkdtemp(prefix="comagic-pooler-"))
    folder.chmod(0o755)

    def start(mode: str, url: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        target = make_url(url)
        path = folder / f"{mode}.ini"
        path.write_text(
            f"[databases]\n* = host={target.query['host']} port={target.query['port']} user=postgres\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        )
        owner = Path(str(target.query["host"])).stat().st_uid
        processes.append(
            subprocess.Popen([PGBOUNCER, "-q", path], user=owner, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        return f"postgresql://anybody@127.0.0.1:{port}/{target.database}"

    yield start
    for process in processes:
        process.terminate()
        process.wait()
    shutil.rmtree(folder)


@pytest.mark.skipif(not Path(PGBOUNCER).exists(), reason="needs pgbouncer")
def test_a_pooler_that_gives_sessions_away_is_refused(pooler: Callable[[str, str], str], database_url: str) -> None:
    """doctor was content, then a load ended with `prepared statement "_pg3_0" already exists`."""
    url = pooler("transaction", database_url)
    for _ in range(5):
        with (
            Warehouse(url) as warehouse,
            pytest.raises(WarehouseError, match=r"a pooler in transaction mode .* set pool_mode = session"),
        ):
            warehouse.check()
    # Nothing of ours is left in the session that other programs get.
    with admin(url) as connection:
        assert connection.execute("show search_path").fetchone() == ('"$user", public',)
    with Warehouse(pooler("session", database_url)) as warehouse:
        assert "through a pooler that keeps sessions" in warehouse.check()
        with warehouse.holding("a lock"):
            assert warehouse.is_held("a lock")
        assert read_back(warehouse) == EXPECTED


def test_doctor_names_missing_rights(warehouse: Warehouse, warehouse_url: str) -> None:
    """Rights that a load needs: schemas, temporary tables, own tables; each with the statement that gives it."""
    url = make_url(warehouse_url)
    role = f"loader_{url.database}"
    assert missing_requirements(warehouse) == []
    with admin(warehouse_url) as connection:
        connection.execute(f"create role {role} login")
        try:
            connection.execute(f"revoke temporary on database {url.database} from public")
            for schema in ("comagic_raw", "comagic", "comagic_ops"):
                connection.execute(f"grant usage on schema {schema} to {role}")
            with Warehouse(url.set(username=role).render_as_string(False)) as other:
                told = missing_requirements(other)
        finally:
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")
    assert f"GRANT TEMPORARY ON DATABASE {url.database} TO {role}" in told[0]
    assert f"GRANT USAGE, CREATE ON SCHEMA comagic_raw TO {role}" in " ".join(told)
    assert "is not the owner of comagic." in told[-1]


def test_doctor_tells_what_database_it_is(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """Version, encoding, and a publication that keeps rows from being deleted."""
    config = project(base_url="http://127.0.0.1:1/v2.0", token="t")
    with warehouse.begin() as connection:
        connection.execute(
            text(
                "create table comagic_raw.financial_call_legs_report_2026_01"
                " partition of comagic_raw.financial_call_legs_report for values from ('2026-01-01') to ('2026-02-01')"
            )
        )
        connection.execute(
            text("create publication published for table comagic_raw.financial_call_legs_report_2026_01 (account_id)")
        )
    findings: list[Finding] = []
    examine(config, findings.append)
    told = [finding.text for finding in findings if finding.check == "warehouse"]
    assert told[0].startswith("PostgreSQL 18")
    assert "UTF8, all migrations applied" in told[0]
    assert "a publication keeps rows of comagic_raw.financial_call_legs_report_2026_01 from being deleted" in told[1]
