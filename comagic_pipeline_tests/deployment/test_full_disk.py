"""Full and read-only disks: one line that names the place, and once there is room every row is loaded, once."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text

from comagic_pipeline.config import CONFIG_VARIABLE, Config, load_config, parse_config
from comagic_pipeline.dagster.instance import STATE_VARIABLE, STORAGE_VARIABLE, open_instance
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.operations.failures import note_unexpected
from comagic_pipeline.operations.files import ENDINGS, write_file
from comagic_pipeline.operations.translations import text_in
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.embedded import EmbeddedServer, EmbeddedServerError, status, stop
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.errors import DiskFullError
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline_tests.deployment.command_line import Process, Result, error, eventually, finish, run, start
from comagic_pipeline_tests.deployment.small_disk import SmallDisk, small_disk

DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")
LOAD = ("load", "--from", DAYS[0], "--till", DAYS[-1])
CALLS = "get.calls_report"
REPORT = "[{name: calls, report: calls_report, fields: [id, start_time, utm_campaign]}]"
FACTS = """
    select calls.call_id from comagic.comagic_calls_facts as facts
      join comagic.comagic_calls as calls on calls.id = calls_id order by 1"""
LEAST_ROOM, ROOM = 24, 400
"""Megabytes: too little for a new database, and enough for it and all rows."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account of 100 calls a day, given in pages of 100."""
    settings = Settings(minute_limit=10_000, quirks=Quirks(short_pages=100))
    with running_sandbox(World(calls_per_day=100), settings) as sandbox:
        yield sandbox


@pytest.fixture
def source(sandbox: Sandbox) -> dict[str, str]:
    """What comagic.yaml says of the source, beside what the fixture `project` does."""
    return {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "day_points": "{reserve: 0}"}


@contextmanager
def disk_of_a_project(megabytes: int, source: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """A disk with comagic.yaml, on which the embedded server has warehouse and storage."""
    for variable in ("DAGSTER_HOME", "WAREHOUSE_URL", STORAGE_VARIABLE, STATE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    values = {"name": "main", "account_id": 1, "timezone": "Europe/Moscow", "start_date": "2026-01-01"}
    lines = [f"    {key}: {value}" for key, value in (values | {"tables": "[comagic_calls_facts]"} | source).items()]
    with small_disk(megabytes) as disk:
        (disk.folder / "comagic.yaml").write_text("\n".join(["sources:", "  -", *lines, ""]))
        monkeypatch.setenv(CONFIG_VARIABLE, str(disk.folder / "comagic.yaml"))
        try:
            yield disk
        finally:
            disk.grow(ROOM)
            stop(postgres(disk))
            eventually(lambda: not status(postgres(disk)).running)


@pytest.fixture
def tablespace(server: EmbeddedServer) -> Iterator[SmallDisk]:
    """The disk of the tablespace `small` of the tests' server: what lies there has no room, what else there is has."""
    with small_disk(64) as disk:
        folder = disk.folder / "tablespace"
        folder.mkdir()
        owner = (server.data_folder / "data").stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        administrate(server, f"create tablespace small location '{folder}'")
        yield disk
        administrate(server, "drop tablespace small")


def administrate(server: EmbeddedServer, statement: Any) -> None:
    """Run a statement outside of a transaction, as the server's administrator."""
    with psycopg.connect(libpq(server.url("postgres")), autocommit=True) as connection:
        connection.execute(statement)


def libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def postgres(disk: SmallDisk) -> Path:
    """The folder of the embedded server."""
    return disk.folder / ".comagic" / "postgres"


def full(disk: Path | str) -> str:
    """What people read of a full disk."""
    return f"the disk of {disk} is full: make room on it"


def start_load(sandbox: Sandbox) -> Process:
    """Start a load that has a page of rows and waits for the next one."""
    sandbox.faults.clear()
    asked = requests(sandbox)
    sandbox.faults.add(Fault(kind="slow_answer", method=CALLS, after=1, seconds=3))
    process = start(*LOAD)
    eventually(lambda: process.poll() is not None or requests(sandbox) >= asked + 2)
    return process


def requests(sandbox: Sandbox) -> int:
    return sum(request.method == CALLS for request in sandbox.requests)


def assert_is_named(result: Result, line: str) -> None:
    """The command failed, and each line of its errors names the disk: Dagster has one for an event it cannot store."""
    assert result.returncode == 1, result.stderr
    said = [each for each in result.stderr.splitlines() if not each.startswith("Falling back to storing")]
    assert said
    assert all(line in each for each in said), result.stderr
    assert said[-1].startswith("Error: ")
    assert "Traceback" not in result.stdout


def assert_is_loaded(sandbox: Sandbox, config: Config) -> None:
    """The warehouse holds the calls of the account, each once, and the ledger says so."""
    calls = sandbox.world.rows(CALLS, f"{DAYS[0]} 00:00:00", f"{DAYS[-1]} 23:59:59")
    expected = sorted(call["id"] for call in calls)
    assert len(expected) > 100
    with open_warehouse(config) as warehouse, warehouse.connect() as connection:
        assert (
            connection.execute(text("select id from comagic_raw.calls_report order by 1")).scalars().all() == expected
        )
        assert connection.execute(text(FACTS)).scalars().all() == expected
        days = connection.execute(text("select day::text, rows from comagic_ops.loaded_days order by 1")).all()
        assert [tuple(day) for day in days] == [
            (day, sum(call["start_time"].startswith(day) for call in calls)) for day in DAYS
        ]
        assert connection.execute(text("select table_name, day from comagic_ops.waiting_days")).all() == []


def test_a_load_goes_on_when_there_is_room_again(
    sandbox: Sandbox, source: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, at start or in mid-load, was called a mistake of ours, a wrong setting, or shown as a server's log.

    It may refuse rows, or kill the server.
    """
    with disk_of_a_project(LEAST_ROOM, source, monkeypatch) as disk:
        line = full(postgres(disk) / "cluster")
        assert error(run(*LOAD), 1) == f"{line}, 100 MB for a new database"

        disk.grow(ROOM)
        process = start_load(sandbox)
        disk.fill()
        assert_is_named(finish(process), line)
        eventually(lambda: not status(postgres(disk)).running)
        with pytest.raises(EmbeddedServerError) as caught, open_warehouse(load_config()):
            pass
        assert str(caught.value) in (line, f"PostgreSQL did not start: {line}")

        disk.empty()
        process = start_load(sandbox)
        disk.fill(left=4 << 20)
        kill_by_its_log(postgres(disk))
        assert_is_named(finish(process), line)

        disk.empty()
        sandbox.faults.clear()
        done = run(*LOAD)
        assert (done.returncode, done.stderr) == (0, "")
        assert_is_loaded(sandbox, load_config())


def kill_by_its_log(folder: Path) -> None:
    """Let the server write to its log until there is no room for the next part: PostgreSQL has to end then."""
    write = "select pg_logical_emit_message(true, '', repeat('x', 1000000)) from generate_series(1, 64)"
    url = libpq(EmbeddedServer(folder).url("postgres"))
    with pytest.raises(psycopg.OperationalError), psycopg.connect(url) as connection:
        connection.execute(write)


def test_days_wait_for_room_in_the_warehouse(
    tablespace: SmallDisk,
    project: Callable[..., Config],
    source: dict[str, str],
    sandbox: Sandbox,
    warehouse: Warehouse,
) -> None:
    """The journal quoted a file of the server, another one each time, so that each try was a new cause to alerts."""
    config = project(**source)
    with open_instance(config), warehouse.begin() as connection:
        connection.execute(text(f"alter database {connection.engine.url.database} set default_tablespace = small"))
    tablespace.fill(left=100_000)
    line = full(f"the database server at {warehouse.address}")
    told = error(run(*LOAD), 1)
    assert told.startswith(f"main/calls_report {DAYS[0]} to {DAYS[-1]}: {line} Not loaded: 3 day(s), from {DAYS[0]}")
    with warehouse.connect() as connection:
        failed = "select message, next_step from comagic_ops.journal where event = 'failed' and table_name = :table"
        (message, step) = connection.execute(text(failed), {"table": "calls_report"}).one()
        waiting = "select day::text, reason from comagic_ops.waiting_days where table_name = :table order by day"
        assert connection.execute(text(waiting), {"table": "calls_report"}).all() == [(day, "failed") for day in DAYS]
    assert message == line
    assert step == "Make room on the disk that the message names; then it is tried again by itself while `up` runs."
    for english in (message, step):
        assert "room" not in text_in("ru", english)

    tablespace.empty()
    done = run(*LOAD, "--missing")
    assert (done.returncode, done.stderr) == (0, "")
    assert_is_loaded(sandbox, config)


def test_a_full_storage_of_dagster(
    tablespace: SmallDisk,
    server: EmbeddedServer,
    project: Callable[..., Config],
    source: dict[str, str],
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was `DagsterPostgresException: too many retries for DB connection`, or a SQL statement of many lines."""
    config = project(**source)
    administrate(server, "create database storage tablespace small")
    try:
        storage = make_url(server.url("storage", "psycopg2"))
        monkeypatch.setenv(STORAGE_VARIABLE, storage.render_as_string(hide_password=False))
        process = start_load(sandbox)
        tablespace.fill()
        # The server is of this machine, but it is not the project's own, whose disk has room.
        assert_is_named(finish(process), full(f"the database server at {storage}"))
        with pytest.raises(DiskFullError, match=r"^the disk of the database server at .*/storage\?"):
            open_and_note(config)
        tablespace.empty()
        open_and_note(config)
    finally:
        administrate(server, "drop database storage with (force)")


def open_and_note(config: Config) -> None:
    """Open the instance and store more than fits into what is there."""
    with open_instance(config) as instance:
        instance.run_storage.set_cursor_values({"note": secrets.token_hex(500_000)})


def test_a_file_on_a_full_disk(project: Callable[..., Config], source: dict[str, str]) -> None:
    """`report --out` found out after the load, and Excel files were called a mistake of ours, with a traceback."""
    project(REPORT, **source)
    with small_disk(8) as disk:
        out = disk.folder / "calls.csv"
        report = ("report", "calls", *LOAD[1:], "--out", str(out))
        disk.fill(left=16_384)  # enough for a file to begin
        assert error(run(*report), 1).startswith(f"--out {out}: {full(disk.folder)}")
        disk.fill()
        assert error(run(*report), 2) == f"--out {out}: no file can be written there: {full(disk.folder)}"
        assert list(disk.folder.iterdir()) == []


def test_no_half_of_a_file_stays(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Excel files had an error of their own, printed a traceback later and left temporary files on the full disk."""
    source = "{name: main, account_id: 1, base_url: sandbox, start_date: 2026-03-01, token: x}"
    content = f"{{sources: [{source}], custom_reports: {REPORT}}}"
    report = parse_config(content, tmp_path / "comagic.yaml").sources[0].custom_reports[0]
    day = date(2026, 3, 2)
    # Half a megabyte, however well it is compressed.
    rows = """insert into comagic.comagic_reports (account_id, processor_id, simple_date, row_id, row_data)
        select 1, :processor, :day, number, json_build_object('id', number, 'start_time', null, 'utm_campaign',
               (select string_agg(md5(number || '.' || part), '') from generate_series(1, 4) part))
          from generate_series(1, 8000) number"""
    with warehouse.begin() as connection:
        ensure_months(connection, warehouse.schemas.star, "comagic_reports", day, day)
        connection.execute(text(rows), {"processor": report.processor_id, "day": day})
    with small_disk(8) as disk:
        disk.fill(left=200_000)
        files = [disk.folder / f"calls{ending}" for ending in ENDINGS]
        for out in (*files, tmp_path / "calls.xlsx"):
            out.write_bytes(b"before")
            if out.parent == tmp_path:
                monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
            with pytest.raises(OSError, match="No space left on device"):
                write_file(warehouse, report, (day, day), out, is_agent=False)
            assert out.read_bytes() == b"before"
        assert sorted(disk.folder.iterdir()) == sorted(files)
        assert list(tmp_path.iterdir()) == [out]


def test_the_log_of_errors_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours is told even where its traceback cannot be stored."""
    with small_disk(8) as disk:
        monkeypatch.setenv(STATE_VARIABLE, str(disk.folder))
        (disk.folder / "file").write_bytes(b"x")
        disk.fill()
        line = f"KeyError: 'x' (the traceback could not be written to {disk.folder}/errors.log: "
        assert note_unexpected(KeyError("x")).startswith(line)


def test_a_place_that_cannot_be_used(source: dict[str, str], project: Callable[..., Config]) -> None:
    """Both were a traceback: a state folder on a read-only disk, and a DAGSTER_HOME that does not exist."""
    config = project(**source)
    nowhere = start(*LOAD, DAGSTER_HOME="/nowhere")
    with small_disk(8) as disk:
        path = disk.folder / "comagic.yaml"
        path.write_text(config.path.read_text())
        disk.protect()
        protected = [start(command, COMAGIC_CONFIG=str(path)) for command in ("load", "up")]
        for process in protected:
            assert error(finish(process), 1) == f"{disk.folder}/.comagic: Read-only file system"
    assert error(finish(nowhere), 2).startswith("DAGSTER_HOME /nowhere is not the home of this project")
