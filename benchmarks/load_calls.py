"""How fast calls come into the warehouse, beside the floor: COPY of a ready file into the same table.

    .venv/bin/python benchmarks/load_calls.py [--rows 200000] [--runs 3]

The API's answers are taken from the sandbox once and then played back by another process, so that making them up is
not measured; everything else is real: HTTP, decoding all 105 columns, proof, COPY, commit, into an embedded server in
a temporary folder. Each run is a process of its own; medians and peak memory are printed. It reports, it tests nothing.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import psycopg
from rich.console import Console
from rich.table import Table

from comagic_pipeline.api.client import Client, Token
from comagic_pipeline.api.readers.periods import PeriodReader
from comagic_pipeline.api.readers.windows import DaysComplete, Rows
from comagic_pipeline.catalog import methods
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.embedded import EmbeddedServer
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.load import DayLoad
from comagic_pipeline.warehouse.losses import LossLimit, Protection
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.raw.target import RawTarget
from comagic_pipeline.warehouse.target import Account

METHOD = methods()["get.calls_report"]
FIRST_DAY, DAYS = date(2026, 1, 1), 80
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PROTECTION = Protection(LossLimit(percent=20, rows=10), today=NOW.date())
TABLE = '"comagic_raw"."calls_report"'


def play_back(rows: int, pipe: Connection) -> None:
    """Record the sandbox's answers for the period, then serve them until the process is ended."""
    answers: dict[str, bytes] = {}
    world = World(calls_per_day=rows // DAYS, now=lambda: NOW, cached_rows=1000)
    with running_sandbox(world, Settings(minute_limit=10**6)) as sandbox:
        recorder = _Recorder(sandbox.url, answers)
        for _ in PeriodReader(recorder, METHOD, ZoneInfo("Europe/Moscow")).read(FIRST_DAY, LAST_DAY):
            pass
        recorder.close()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = answers[_question(request["params"])]
            start = b'{"jsonrpc":"2.0","id":"' + request["id"].encode() + b'",'
            self.send_response(200)
            self.send_header("Content-Length", str(len(start) + len(body)))
            self.end_headers()
            self.wfile.write(start)
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send((server.server_address[1], sum(map(len, answers.values()))))
    server.serve_forever()


class _Recorder(Client):
    """A client that keeps the result of each answer by its question."""

    def __init__(self, url: str, answers: dict[str, bytes]) -> None:
        super().__init__(url, Token(SANDBOX_TOKEN))
        self._answers = answers

    def send(self, method: str, params: Any, secret: str) -> Any:
        answer = super().send(method, params, secret)
        metadata = json.dumps({"total_items": answer.total_items, "limits": {}}).encode()
        self._answers[_question(params)] = (
            b'"result":{"data":' + bytes(answer.data) + b',"metadata":' + metadata + b"}}"
        )
        return answer


def _question(params: Any) -> str:
    return json.dumps([params["date_from"], params["date_till"], params["offset"]])


def load(url: str, api: str) -> tuple[int, float]:
    """Read the period from the API and replace its days in the warehouse; gives rows and seconds."""
    started, rows = time.perf_counter(), 0
    with (
        Warehouse(url) as warehouse,
        Client(api, Token(SANDBOX_TOKEN)) as client,
        DayLoad(warehouse, RawTarget(METHOD), Account(1), "benchmark", protection=PROTECTION) as target,
    ):
        for step in PeriodReader(client, METHOD, ZoneInfo("Europe/Moscow")).read(FIRST_DAY, LAST_DAY):
            match step:
                case Rows():
                    target.write(step.first_day, step.last_day, step.rows, step.rejected)
                    rows += len(step.rows)
                case DaysComplete():
                    target.complete(step.first_day, step.last_day, step.points)
    return rows, time.perf_counter() - started


def copy_file(url: str, path: str) -> tuple[int, float]:
    """COPY the ready file into the emptied table: what nobody who uses this server can be faster than."""
    started = time.perf_counter()
    with Warehouse(url) as warehouse, warehouse.begin() as connection:
        driver = cast(psycopg.Connection[Any], connection.connection.driver_connection)
        with driver.cursor() as cursor, Path(path).open("rb") as file:
            with cursor.copy(f"copy {TABLE} from stdin (format binary)") as copy:
                while block := file.read(1 << 20):
                    copy.write(block)
            rows = cursor.rowcount
    return rows, time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "URL", "FROM"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, url, origin = arguments.one
        rows, seconds = load(url, origin) if what.startswith("load") else copy_file(url, origin)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        print(json.dumps({"rows": rows, "seconds": seconds, "peak": peak, "cpu": cpu}))
        return
    _measure(arguments.rows, arguments.runs, Console())


def _measure(rows: int, runs: int, console: Console) -> None:
    here, there = multiprocessing.Pipe()
    api = multiprocessing.get_context("spawn").Process(target=play_back, args=(rows, there), daemon=True)
    api.start()
    console.print("recording the answers ...")
    port, size = here.recv()
    origin = f"http://127.0.0.1:{port}/v2.0"
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder) / "postgres") as server:
        server.ensure_database("benchmark")
        url, ready = server.url("benchmark"), str(Path(folder) / "ready")
        with Warehouse(url) as warehouse:
            upgrade(warehouse, [METHOD])
            for _ in range(runs):
                _empty(warehouse)
                _run(results, "load, empty table", url, origin)
                _run(results, "load, replacing the same days", url, origin)
                _save(warehouse, ready)
                _empty(warehouse)
                _run(results, "COPY of a ready file", url, ready)
    table = Table("what", "rows", "seconds", "rows/s", "CPU s (client)", "peak memory, MB")
    for what, measured in results.items():
        seconds, count = statistics.median(run["seconds"] for run in measured), int(measured[0]["rows"])
        cpu, peak = (statistics.median(run[name] for run in measured) for name in ("cpu", "peak"))
        table.add_row(what, str(count), f"{seconds:.1f}", f"{count / seconds:,.0f}", f"{cpu:.1f}", f"{peak:.0f}")
    console.print(table)
    console.print(f"{len(METHOD.columns)} columns, {size / 2**20:.0f} MiB of JSON, medians of {runs} runs")
    api.terminate()


def _run(results: dict[str, list[dict[str, float]]], what: str, url: str, origin: str) -> None:
    command = [sys.executable, __file__, "--one", what, url, origin]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    results.setdefault(what, []).append(json.loads(output))


def _empty(warehouse: Warehouse) -> None:
    with warehouse.begin() as connection:
        connection.exec_driver_sql(f"truncate {TABLE}")


def _save(warehouse: Warehouse, path: str) -> None:
    with warehouse.begin() as connection:
        driver = cast(psycopg.Connection[Any], connection.connection.driver_connection)
        query = f"copy (select * from {TABLE}) to stdout (format binary)"
        with driver.cursor() as cursor, Path(path).open("wb") as file, cursor.copy(query) as copy:
            file.writelines(copy)


if __name__ == "__main__":
    main()
