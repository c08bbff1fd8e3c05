"""`comagic-pipeline up` as a process, steered over GraphQL as the UI does it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from comagic_pipeline.cli.services import free_port
from comagic_pipeline.config import CONFIG_VARIABLE
from comagic_pipeline_tests.deployment.command_line import PATIENCE, start

BACKFILL_PATIENCE = 600.0
"""Seconds for a backfill: the daemon looks at it every 30, four times at most, and writes 4000 events one by one."""

_RANGES = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetPartitionStatuses { ... on TimePartitionStatuses { ranges { startKey endKey status } } } } } }"""
_LAUNCH_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    ... on LaunchBackfillSuccess { backfillId } } }"""
_RETRY_BACKFILL = """mutation($id: String!) { reexecutePartitionBackfill(reexecutionParams: {
    parentRunId: $id, strategy: FROM_FAILURE}) { ... on LaunchBackfillSuccess { backfillId } } }"""
_BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
    status runs { id } assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
        assetKey { path } numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed } } } } } }"""
_LAUNCH_RUN = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    ... on LaunchRunSuccess { run { runId } } } }"""


class Services:
    """The services of a project folder. Kill them at the end, or use them as a context manager."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port, self.said = free_port(), ""
        self.process = start(
            "up", "--port", str(self.port), **{CONFIG_VARIABLE: str(folder / "comagic.yaml")} | environment
        )
        try:
            self.wait(self.answers)
        except BaseException:
            self.process.terminate()
            raise

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal to `up`; gives its exit code. What it has printed is in `said` then."""
        self.process.send_signal(number)
        try:
            self.said = "".join(self.process.communicate(timeout=PATIENCE))
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode

    def wait(self, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """The first true value of the condition; fails when there is none in time or `up` has ended."""
        deadline = time.monotonic() + patience
        while not (value := condition()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.3)
        return value

    def answers(self) -> bool:
        """Whether the code location is loaded: `up` tells its address a little earlier."""
        with contextlib.suppress(httpx.TransportError, ValueError):
            return bool(
                self.query("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")["nodes"]
            )
        return False

    def page(self, path: str) -> httpx.Response:
        """A page of the web server."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=30)

    def query(self, query: str, **variables: Any) -> Any:
        """The answer to a GraphQL query of one field."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"http://127.0.0.1:{self.port}/graphql", json=body, timeout=30).json()
        assert "errors" not in answer, answer
        (data,) = answer["data"].values()
        return data

    def launch_run(self, source: str, first_day: date, last_day: date) -> str:
        """Start the source's job for days, both included; gives the run's id."""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "comagic_pipeline",
            "pipelineName": f"load_{source}",
        }
        span = {"dagster/asset_partition_range_start": first_day, "dagster/asset_partition_range_end": last_day}
        tags = [{"key": name, "value": str(day)} for name, day in span.items()]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        return str(self.query(_LAUNCH_RUN, params=params)["run"]["runId"])

    def launch_backfill(self, source: str, tables: Iterable[str], days: Sequence[date]) -> str:
        """Select assets of a source and press "materialize" for these days; gives the backfill's id."""
        assets = [{"path": [source, table]} for table in tables]
        params = {"assetSelection": assets, "partitionNames": [str(day) for day in days]}
        return str(self.query(_LAUNCH_BACKFILL, params=params)["backfillId"])

    def retry_backfill(self, backfill: str) -> str:
        """Press "re-execute from failure"; gives the id of the new backfill."""
        return str(self.query(_RETRY_BACKFILL, id=backfill)["backfillId"])

    def finished_backfill(self, backfill: str) -> Any:
        """The backfill after its end: status, runs, what became of the partitions."""

        def look() -> Any:
            state = self.query(_BACKFILL, id=backfill)
            return state if state["status"].startswith("COMPLETED") else None

        return self.wait(look, BACKFILL_PATIENCE)

    def green(self, source: str, table: str) -> set[date]:
        """The days that the page of an asset shows as materialized."""
        key = {"path": [source, table]}
        ranges = self.query(_RANGES, key=key)["assetPartitionStatuses"]["ranges"]
        spans = [
            (date.fromisoformat(part["startKey"]), date.fromisoformat(part["endKey"]))
            for part in ranges
            if part["status"] == "MATERIALIZED"
        ]
        return {first + timedelta(days=number) for first, last in spans for number in range((last - first).days + 1)}


def living_processes(folder: Path) -> set[int]:
    """The living processes that have the project folder in their command, environment or place."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (process / "environ").read_bytes().decode(errors="replace")
            traces = f"{command} {environment} {os.readlink(process / 'cwd')}"
            if str(folder) in traces and int(process.name) != os.getpid():
                found.add(int(process.name))
    return found
