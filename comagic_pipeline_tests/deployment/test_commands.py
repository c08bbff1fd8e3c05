"""Every command as a real process: what it prints, its exit code, and one clear line when it cannot go on."""

import contextlib
import json
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, text

from comagic_pipeline.cli.main import COMMANDS, command_of
from comagic_pipeline.cli.services import free_port
from comagic_pipeline.config import Config, load_config
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.sandbox.faults import Fault
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Quirks, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.embedded import status
from comagic_pipeline_tests.deployment.command_line import error, eventually, finish, run, start

PERIOD = ("--from", "2026-03-02", "--till", "2026-03-04")
TWO_DAYS = ("--from", "2026-03-02", "--till", "2026-03-03")


@dataclass
class Project:
    """A configured source whose API is a sandbox, and its warehouse."""

    write: Callable[..., Config]
    sandbox: Sandbox
    config: Config
    warehouse_url: str

    def variant(self, edit: str = "", old: str = "", new: str = "") -> str:
        """The path of a copy of comagic.yaml with one text ("old -> new"), or two, replaced."""
        text = self.config.path.read_text()
        for before, after in ((edit.split(" -> ") if edit else ("", "")), (old, new)):
            assert before in text
            text = text.replace(before, after, 1) if before else text
        path = self.config.path.with_name(f"{secrets.token_hex(4)}.yaml")
        path.write_text(text)
        return str(path)

    def contents(self) -> list[Any]:
        """What the warehouse holds: raw calls, ledger and facts."""
        tables = ("comagic_raw.calls_report", "comagic_ops.loaded_days", "comagic.comagic_calls_facts")
        with psycopg.connect(
            make_url(self.warehouse_url).set(drivername="postgresql").render_as_string(False)
        ) as connection:
            return [
                connection.execute(f"select to_jsonb(t) from {table} t order by 1::text").fetchall() for table in tables
            ]


@pytest.fixture
def project(project: Callable[..., Config], warehouse_url: str) -> Iterator[Project]:
    """A project of ten calls a day that may spend all its points."""
    with running_sandbox(World(calls_per_day=10), Settings(minute_limit=10_000)) as sandbox:
        source = {"base_url": sandbox.url, "token": SANDBOX_TOKEN, "day_points": "{reserve: 0}"}
        yield Project(project, sandbox, project(**source), warehouse_url)


def test_load_prints_a_summary_for_people_or_machines(project: Project) -> None:
    """A table by default; with --json nothing but JSON on standard output, exit code 0 either way."""
    result = run("load", *PERIOD)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"calls_report +│ +\d+ +│ +1 ", result.stdout), result.stdout
    result = run("load", "--json", *PERIOD, "--table", "calls_report", "--source", "main")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    calls = project.sandbox.world.rows("get.calls_report", "2026-03-02 00:00:00", "2026-03-04 23:59:59")
    assert summary["ok"] is True
    assert (summary["source"], summary["first_day"], summary["last_day"]) == ("main", "2026-03-02", "2026-03-04")
    assert summary["tables"]["calls_report"]["rows"] == len(calls)
    assert (summary["points"], summary["missing"], summary["error"]) == (1, [], None)


def test_load_says_when_the_points_are_spent(project: Project) -> None:
    """Exit code 3, the days that are missing by name, what was loaded stays."""
    project.sandbox.settings.day_limit = 2
    project.sandbox.settings.quirks = Quirks(short_pages=15)
    result = run("load", "--json", *PERIOD, "--table", "calls_report")
    assert result.returncode == 3, result.stderr
    summary = json.loads(result.stdout)
    assert summary["missing"]
    assert summary["points_spent_until"].startswith(str(datetime.now(UTC).date() + timedelta(days=1)))
    assert f"Not loaded: {len(summary['missing'])} day(s), from {summary['missing'][0]}" in result.stderr
    assert "the day's points are spent" in result.stderr


BAD_INPUT = [
    ("", ("--from", "03/02/2026"), "'03/02/2026' is no date; write it as YYYY-MM-DD"),
    ("", ("--from", "2026-03-05", "--till", "2026-03-01"), "is later than --till 2026-03-01: swap them"),
    ("", ("--from", "2025-12-31"), "--from 2025-12-31 is before start_date 2026-01-01 of the source main"),
    ("", ("--till", "2025-12-31"), "--till 2025-12-31 is before start_date 2026-01-01 of the source main"),
    ("", ("--till", "2099-01-01"), "--till 2099-01-01 lies in the future: the last day there is, is 20"),
    ("", ("--table", "calls_reprt"), "--table calls_reprt: not among the tables of the source main: calls_"),
    ("", ("--source", "mian"), "there is no source 'mian'; did you mean 'main'?"),
    ("", ("--tabel", "x"), "No such option '--tabel'"),
    ("start_date: 2026-01-01 -> start_date: 01.01.2026", (), "sources[0].start_date: is no date; write it as"),
    ("timezone: Europe/Moscow -> timezone: Moscow", (), "sources[0].timezone: 'Moscow' is no time zone"),
    ("  token: -> tokn:", (), "not valid YAML"),
    ("token: -> tokn:", (), "sources[0].tokn: unknown key; did you mean 'token'?"),
    ("name: main -> name: main\n    name: other", (), "the key 'name' stands twice"),
    ("base_url: http://127.0.0.1 -> base_url: http://dataapi.example", (), "use https://"),
    ("base_url: -> base_url: ${FOREIGN_URL} #", (), "sources.main.base_url: the key travels in the request"),
    ("token: -> token: ${NO_SUCH_VARIABLE} #", (), "sources.main.token: the environment variable NO_SUCH_VARIABLE"),
    ("url: ${WAREHOUSE_URL} -> url: ${NO_SUCH_VARIABLE}", (), "warehouse.url: the environment variable NO_"),
]  # fmt: skip
UNUSABLE = [
    ("url: ${WAREHOUSE_URL} -> url: postgresql://u:pw@127.0.0.1:1/db", "cannot reach the warehouse at"),
    (
        "url: ${WAREHOUSE_URL} -> url: mysql://u:pw@127.0.0.1/db",
        "warehouse.url names mysql; only postgresql is supported",
    ),
    ("url: ${WAREHOUSE_URL} -> url: nonsense", "warehouse.url is no URL; write postgresql://"),
]
REFUSED_BY_THE_API = [
    (f"token: {SANDBOX_TOKEN} -> token: wrong-key", Settings(), "access_token_invalid"),
    ("", Settings(allowed_addresses=["10.0.0.0/8"]), "ip_not_whitelisted"),
    ("", Settings(account_active=False), "account_inactive"),
    ("", Settings(tokens={SANDBOX_TOKEN: "blocked"}), "access_token_blocked"),
    ("/v2.0 -> /v3.0", Settings(), "answers HTTP 404; check base_url in the config"),
]


def test_what_is_wrong_is_one_line_and_nothing_is_touched(project: Project) -> None:
    """Wrong config, days, tables, warehouse, key, address: the line names it, the code is 2 or 1, the data stay."""
    assert run("load", *TWO_DAYS).returncode == 0
    before, requests = project.contents(), len(project.sandbox.requests)

    def bad_input(number: int) -> None:
        edit, arguments, expected = BAD_INPUT[number]
        environment = {"COMAGIC_CONFIG": project.variant(edit), "FOREIGN_URL": "http://dataapi.example/v2.0"}
        assert expected in error(run("load", *arguments, **environment), 2)

    def unusable(number: int) -> None:
        edit, expected = UNUSABLE[number]
        assert expected in error(run("load", *TWO_DAYS, COMAGIC_CONFIG=project.variant(edit)), 1)

    def refused(number: int) -> None:
        edit, settings, expected = REFUSED_BY_THE_API[number]
        with running_sandbox(project.sandbox.world, settings) as sandbox:
            path = project.variant(edit, project.sandbox.url.removesuffix("/v2.0"), sandbox.url.removesuffix("/v2.0"))
            # The tables share the dimensions and so wait for each other: one is enough.
            message = error(run("load", *TWO_DAYS, "--table", "calls_report", COMAGIC_CONFIG=path), 1)
        assert expected in message
        assert "Not loaded: 2 day(s), from 2026-03-02 to 2026-03-03" in message

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(bad_input, range(len(BAD_INPUT))))
        list(pool.map(unusable, range(len(UNUSABLE))))
        assert len(project.sandbox.requests) == requests
        list(pool.map(refused, range(len(REFUSED_BY_THE_API))))
    assert project.contents() == before


def test_what_the_account_may_not_see_is_skipped(project: Project) -> None:
    """No right to a method is no failure: the load goes on, says so, and leaves what it has."""
    assert run("load", *TWO_DAYS).returncode == 0
    before = project.contents()
    with running_sandbox(project.sandbox.world, Settings(refused_methods={"get.calls_report": "forbidden"})) as sandbox:
        path = project.variant("", project.sandbox.url.removesuffix("/v2.0"), sandbox.url.removesuffix("/v2.0"))
        result = run("load", *TWO_DAYS, COMAGIC_CONFIG=path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "skipped calls_report: get.calls_report: the API says forbidden" in result.stdout
    assert project.contents() == before


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """Every command that needs the configuration says which file it looked for and what to do."""
    runs = [start(command, COMAGIC_CONFIG=str(tmp_path / "none.yaml")) for command in ("load", "up", "doctor", "stop")]
    for process in runs:
        message = error(finish(process), 2)
        assert "none.yaml: there is no such file; copy comagic.example.yaml to comagic.yaml" in message


def findings(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What doctor said: the first word and the text of each check."""
    assert result.stderr == ""
    lines = re.findall(r"^(ok|MEND) +([^:]+): (.*)$", result.stdout, re.MULTILINE)
    assert len(lines) == len(result.stdout.splitlines())
    return {f"{check} {verdict}": text for verdict, check, text in lines}


def test_doctor_finds_what_is_wrong(project: Project) -> None:
    """Everything in order, exit code 0; else 1 and a line for each thing to mend, all of them in one go."""
    storage = f"postgresql://u:pw@127.0.0.1:{free_port()}/db"
    url = "url: ${WAREHOUSE_URL} -> url: postgresql://u:pw@127.0.0.1:1/db"
    runs = {
        "good": start("doctor"),
        "servers": start("doctor", COMAGIC_CONFIG=project.variant(url), **{STORAGE_VARIABLE: storage}),
        "account": start(
            "doctor", COMAGIC_CONFIG=project.variant("{reserve: 0} -> {reserve: 5000}", "Europe/Moscow", "UTC")
        ),
        "key": start("doctor", COMAGIC_CONFIG=project.variant(f"token: {SANDBOX_TOKEN} -> token: wrong")),
        "variable": start("doctor", COMAGIC_CONFIG=project.variant("token: -> token: ${NO_SUCH_VARIABLE} #")),
    }
    results = {name: finish(process) for name, process in runs.items()}
    assert {name: result.returncode for name, result in results.items()} == dict.fromkeys(runs, 1) | {"good": 0}
    good = findings(results["good"])
    assert list(good) == ["config ok", "warehouse ok", "instance ok", "source main ok"]
    assert "points left today" in good["source main ok"]
    servers = findings(results["servers"])
    assert "check warehouse.url" in servers["warehouse MEND"]
    assert f"{STORAGE_VARIABLE}: cannot reach the storage of Dagster" in servers["instance MEND"]
    account = results["account"].stdout
    assert "the account's time zone is Europe/Moscow, the config says UTC: set timezone: Europe/Moscow" in account
    assert "points left today; of day_points.reserve 5000 only 1500 are kept, half of the day's limit" in account
    key = findings(results["key"])
    assert "access_token_invalid" in key["source main MEND"]
    variable = findings(results["variable"])
    assert variable["source main MEND"] == "sources.main.token: the environment variable NO_SUCH_VARIABLE is not set"


def test_the_sandbox_serves_the_account_that_was_asked_for(tmp_path: Path) -> None:
    """Its options reach the account; a port that is taken is one line; both signals end it quietly."""
    for number, stop in enumerate((signal.SIGTERM, signal.SIGINT)):
        port = free_port()
        arguments = ("--port", str(port), "--campaigns", str(3 + number), "--day-limit", "7", "--seed", "5")
        process = start("sandbox", *arguments, COMAGIC_CONFIG=str(tmp_path / "none"))
        call = {"jsonrpc": "2.0", "id": 1, "method": "get.campaigns", "params": {"access_token": SANDBOX_TOKEN}}

        def answer(port: int = port, call: dict[str, Any] = call) -> Any:
            with contextlib.suppress(httpx.TransportError):
                return httpx.post(f"http://127.0.0.1:{port}/v2.0", json=call).json()["result"]

        result = eventually(answer)
        assert result["metadata"]["total_items"] == 3 + number
        assert result["metadata"]["limits"]["day_limit"] == 7
        assert f"--port {port}: another process listens on this port" in error(run("sandbox", "--port", str(port)), 2)
        process.send_signal(stop)
        ended = finish(process)
        assert ended.returncode in (0, 130)
        assert "Traceback" not in ended.stderr
        assert SANDBOX_TOKEN in ended.stderr


def test_the_demo_makes_its_own_config_and_may_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder: 30 days, a config that loads, no server left; a second time; `stop`; never a real account."""
    for variable in (STORAGE_VARIABLE, "WAREHOUSE_URL", "COMAGIC_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    path = tmp_path / "comagic.yaml"
    monkeypatch.setenv("COMAGIC_CONFIG", str(path))
    first = run("demo")
    assert (first.returncode, first.stderr) == (0, ""), first.stderr
    assert f"made {path} for the sandbox" in first.stdout
    assert "comagic_calls_facts by utm_source" in first.stdout
    assert re.search(r"calls_report +│ +[5-9]\d{3} ", first.stdout), first.stdout
    postgres = tmp_path / ".comagic" / "postgres"
    eventually(lambda: not status(postgres).running)
    result = run("stop")
    assert (result.returncode, result.stdout) == (0, "it was not running\n")
    second = run("demo")
    assert (second.returncode, second.stderr) == (0, "")
    assert "made" not in second.stdout
    path.write_text(path.read_text().replace("base_url: sandbox", "base_url: https://dataapi.example/v2.0"))
    text = path.read_text()
    assert "it is set to a real account" in error(run("demo"), 2)
    assert path.read_text() == text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_load_that_is_told_to_stop_ends_in_order(
    project: Project, number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 130, no traceback, whole days stay with their lines of the ledger, the embedded server ends."""
    monkeypatch.delenv(STORAGE_VARIABLE)
    project.sandbox.settings.quirks = Quirks(short_pages=15)
    project.sandbox.faults.add(Fault(kind="slow_answer", method="get.calls_report", after=3, seconds=4))
    path = project.variant("url: ${WAREHOUSE_URL} -> schemas: {raw: comagic_raw}")
    days = ("--from", "2026-03-01", "--till", "2026-03-09", "--table", "calls_report")
    process = start("load", *days, COMAGIC_CONFIG=path)
    eventually(lambda: sum(request.method == "get.calls_report" for request in project.sandbox.requests) >= 3)
    time.sleep(1)
    process.send_signal(number)
    result = finish(process)
    assert result.returncode == 130, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert result.stderr.strip() == "stopped"
    eventually(lambda: not status(tmp_path / ".comagic" / "postgres").running)
    with open_warehouse(load_config(Path(path))) as warehouse, warehouse.connect() as connection:
        raw = connection.execute(text("select event_date, count(*) from comagic_raw.calls_report group by 1")).all()
        ledger = connection.execute(text("select day, rows from comagic_ops.loaded_days")).all()
    assert sorted(map(tuple, raw)) == sorted(map(tuple, ledger))
    assert 0 < len(raw) < 9


def test_help_tells_every_option() -> None:
    """Every command has a text of its own, and every option of it is explained."""
    overview = run("--help")
    assert (overview.returncode, overview.stderr) == (0, "")
    for name in COMMANDS:
        command = command_of(name)
        assert name in overview.stdout
        assert command.help
        page = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
        assert command.help in page
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                assert str(parameter.name).upper() in command.help
                continue
            assert isinstance(parameter, click.Option)
            assert parameter.opts[0] in page
            assert parameter.help
            assert " ".join(parameter.help.split()) in page
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("--version").stdout)


def test_load_names_the_days_that_kept_their_rows(project: Project) -> None:
    """History was replaced by nothing with exit code 0; now 1, with days, numbers and the way to accept it."""
    assert run("load", *TWO_DAYS, "--table", "calls_report").returncode == 0
    rows = project.sandbox.world.rows("get.calls_report", "2026-03-02 00:00:00", "2026-03-02 23:59:59")
    assert len(rows) >= 10
    for row in rows:
        project.sandbox.world.delete("get.calls_report", row["id"])
    told = run("load", "--json", *TWO_DAYS, "--table", "calls_report")
    assert told.returncode == 1
    assert f"2026-03-02 has {len(rows)}, the answer 0" in told.stderr
    assert "--accept-loss" in told.stderr
    summary = json.loads(told.stdout)
    assert (summary["ok"], summary["refused_days"]) == (False, {"calls_report": ["2026-03-02"]})
    result = run("reconcile", "--heal", "--json", *TWO_DAYS)
    assert result.returncode == 1
    assert "--accept-loss" in result.stderr
    assert json.loads(result.stdout)["different"] == {"calls_report": ["2026-03-02"]}
    result = run("reconcile", "--heal", "--accept-loss", "--json", *TWO_DAYS)
    assert result.returncode == 0, result.stderr
    assert run("load", *TWO_DAYS, "--table", "calls_report", "--accept-loss").returncode == 0
