"""Nothing that is written anywhere holds a secret: not the files, the databases, the output, nor the UI's answers.

Loads succeed and fail in every way, `doctor` and `up` run, a server hands the key back in its errors; then every file
of the project and every value of every table is searched.
"""

import base64
import contextlib
import json
import secrets
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from comagic_pipeline.cli.services import free_port
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline_tests.deployment.command_line import finish, start
from comagic_pipeline_tests.deployment.services import Services

KEY, BAD_KEY, LITERAL_KEY = "k3y-Environment-9f2c", "k3y-Refused-77ab", "k3y-Literal-c0de"
LOGIN_PASSWORD, WAREHOUSE_PASSWORD = "pa55-Login-4e1d", "pa55-Warehouse-b3a8"
SECRETS = [KEY, BAD_KEY, LITERAL_KEY, LOGIN_PASSWORD, WAREHOUSE_PASSWORD]
DAYS = ("--from", "2026-03-02", "--till", "2026-03-03")
IMPATIENT = """
import comagic_pipeline.api.client
comagic_pipeline.api.client._FIRST_PAUSE = 0.01
from comagic_pipeline.cli.main import main
main()
"""
"""The command line with shorter pauses between the attempts of a call."""


@dataclass
class Written:
    """Where things were written, and how to look for a text in all of it."""

    folder: Path
    warehouse_url: str
    output: list[str] = field(default_factory=list)

    def places_of(self, needle: str) -> list[str]:
        """Every place that holds the text as it is, in base64 or in hex; compressed values are looked into."""
        text = needle.encode()
        forms = {text, base64.b64encode(text).rstrip(b"="), text.hex().encode()}
        return [place for place, content in self._contents() if any(form in content for form in forms)]

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        yield from ((f"output {number}", text.encode()) for number, text in enumerate(self.output))
        for path in self.folder.rglob("*"):
            if path.is_file() and path.suffix != ".yaml":
                yield str(path.relative_to(self.folder)), path.read_bytes()
        url = make_url(self.warehouse_url).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            tables = connection.execute(
                "select table_schema, table_name, column_name from information_schema.columns"
                " where table_schema not in ('information_schema', 'pg_catalog')"
            ).fetchall()
            for schema, table, column in tables:
                query = sql.SQL("select {} from {}.{}").format(*map(sql.Identifier, (column, schema, table)))
                for (value,) in connection.execute(query):
                    content = value if isinstance(value, bytes) else str(value).encode()
                    with contextlib.suppress(zlib.error):
                        content = zlib.decompress(content)
                    yield f"{schema}.{table}.{column}", content


class Echo(BaseHTTPRequestHandler):
    """A server that refuses everything and hands back what it was sent, in a way that the path names."""

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        call = json.loads(body)
        key = call["params"].get("access_token") or call["params"].get("password")
        mnemonic = self.path.strip("/")
        data = {"mnemonic": mnemonic, "field": f"access_token.{key}", "value": key, "params": {"object": key}}
        error = {"code": -32602, "message": f"bad {key} in {body}", "data": data}
        status, content = 200, json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error})
        if mnemonic.isdigit():
            status, content = int(mnemonic), f"<html>{body}</html>"
        self.send_response(status)
        self.send_header("Location", f"http://127.0.0.1:1/{key}")
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that echoes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def warehouse_url(warehouse_url: str) -> Iterator[str]:
    """The test's database under a role with a password of its own."""
    role, url = f"loader_{secrets.token_hex(4)}", make_url(warehouse_url)
    admin = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"create role {role} login superuser password '{WAREHOUSE_PASSWORD}'")
    yield url.set(username=role, password=WAREHOUSE_PASSWORD).render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"reassign owned by {role} to postgres")
        connection.execute(f"drop role {role}")


CONFIGURATION = """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
    ... on PythonError { message stack }
    ... on RepositoryLocation { repositories {
      allTopLevelResourceDetails { name resourceType description configuredValues { key value }
        configFields { name description defaultValueAsJson } }
      pipelines { name description tags { key value } modes { resources { name description } } } } } } } } } }"""
RUNS = """{ runsOrError { ... on Runs { results { status runConfigYaml tags { key value }
    eventConnection(limit: 1000) { events { __typename
      ... on MessageEvent { message }
      ... on ErrorEvent { error { message stack causes { message stack } } } } } } } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def test_no_secret_is_written_anywhere(
    project: Callable[..., Config],
    warehouse_url: str,
    echo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys from the environment and from the file, login and password, the warehouse's password: all stay inside."""
    written = Written(tmp_path, warehouse_url)
    monkeypatch.setenv("WAREHOUSE_URL", warehouse_url)
    monkeypatch.setenv(STORAGE_VARIABLE, make_url(warehouse_url).set(drivername="postgresql").render_as_string(False))
    monkeypatch.setenv("GOOD_KEY", KEY)
    monkeypatch.setenv("BAD_KEY", BAD_KEY)
    monkeypatch.setenv("LOGIN_PASSWORD", LOGIN_PASSWORD)
    settings = Settings(minute_limit=10_000, tokens={KEY: "valid", LITERAL_KEY: "valid"})
    settings.logins = {"me": LOGIN_PASSWORD}
    with running_sandbox(World(calls_per_day=10), settings) as sandbox:
        good = project(base_url=sandbox.url, token="${GOOD_KEY}").path

        def variant(**source: str) -> dict[str, str]:
            """The environment of a command with another config."""
            path = project(**source).path
            copy = path.rename(path.with_name(f"{secrets.token_hex(4)}.yaml"))
            return {"COMAGIC_CONFIG": str(copy)}

        password = {"login": "me", "password": "${LOGIN_PASSWORD}"}
        loads = [
            (0, variant(base_url=sandbox.url, token=LITERAL_KEY)),
            (0, variant(base_url=sandbox.url, **password)),
            (1, variant(base_url=sandbox.url, token="${BAD_KEY}")),
            *(
                (1, variant(base_url=f"{echo}/{path}", token=LITERAL_KEY))
                for path in ("unexpected_parameters", "302", "500")
            ),
            (1, variant(base_url=f"{echo}/auth_error", **password)),
            (1, variant(base_url=f"http://127.0.0.1:{free_port()}", token=LITERAL_KEY)),
        ]
        project(base_url=sandbox.url, token="${GOOD_KEY}")

        def load(expected: int, environment: dict[str, str]) -> None:
            process = start(*DAYS, "--table", "calls_report", program=("-c", IMPATIENT, "load"), **environment)
            result = finish(process)
            assert result.returncode == expected, result.stderr
            written.output.append(result.stdout + result.stderr)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda each: load(*each), loads))
        for environment in ({}, loads[2][1]):
            result = finish(start("doctor", **environment))
            written.output.append(result.stdout + result.stderr)
        broken = tmp_path / "broken.yaml"
        broken.write_text(good.read_text().replace("${GOOD_KEY}", f"*{LITERAL_KEY}"))
        unreachable = warehouse_url.replace("host=", "connect_timeout=1&host=/nowhere")
        for environment in (
            {"COMAGIC_CONFIG": str(broken)},
            {"WAREHOUSE_URL": unreachable},
            {STORAGE_VARIABLE: unreachable},
        ):
            result = finish(start("load", *DAYS, **environment))
            assert result.returncode in (1, 2)
            assert "Error: " in result.stderr
            written.output.append(result.stdout + result.stderr)

        with Services(tmp_path) as services:
            run = services.launch_run("main", date(2026, 3, 2), date(2026, 3, 2))
            services.wait(lambda: services.query(STATUS, id=run)["status"] == "SUCCESS")
            shown = [json.dumps(services.query(query)) for query in (CONFIGURATION, RUNS)]
            assert "load_main" in shown[0]
            assert "access_token_invalid" in shown[1]
            services.process.terminate()
            result = finish(services.process)
        written.output += [*shown, result.stdout + result.stderr]

    # What is looked for would be found: in output, files, columns and compressed snapshots.
    found = {place.split(" ")[0] for place in written.places_of("load_main")}
    assert {"output", "public.runs.run_body", "public.event_logs.event", "public.snapshots.snapshot_body"} <= found
    assert {"comagic_ops.journal.message"} <= set(written.places_of("access_token_invalid"))
    assert any("***" in text for text in written.output)
    assert {secret: written.places_of(secret) for secret in SECRETS} == {secret: [] for secret in SECRETS}
