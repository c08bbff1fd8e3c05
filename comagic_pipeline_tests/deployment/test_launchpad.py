"""What the Launchpad of the UI sends, over GraphQL, on the real services of `comagic-pipeline up`."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from comagic_pipeline.config import Config
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.deployment.services import Services
from comagic_pipeline_tests.integration.raw_reference import query

TODAY = datetime.now(UTC).date()
FIRST, LAST = str(TODAY - timedelta(days=9)), str(TODAY - timedelta(days=7))
"""Three days that no schedule loads."""

_LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
_RUNS = """query($job: String!) { runsOrError(filter: {pipelineName: $job}) { ... on Runs { results { runId } } } }"""
_RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status stepStats { stepKey status } } } }"""
_LOGS = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
    ... on MessageEvent { message } } } } }"""
_ENUMS = """query($job: PipelineSelector!) { runConfigSchemaOrError(selector: $job) { ... on RunConfigSchema {
    allConfigTypes { ... on EnumConfigType { values { value } } } } } }"""
_RESULTS = """query($key: AssetKeyInput!) { assetCheckExecutions(assetKey: $key, checkName: "equals_api", limit: 20) {
    evaluation { success partition } } }"""


class Launchpad:
    """The Launchpad of a job, as the UI fills in the selection: empty for a whole job."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def selector(self, job: str, *assets: str) -> dict[str, Any]:
        return {
            "repositoryName": "__repository__",
            "repositoryLocationName": "comagic_pipeline",
            "pipelineName": job,
            "assetSelection": [{"path": ["main", name]} for name in assets],
            "assetCheckSelection": [],
        }

    def launch(self, job: str, step: str = "", config: Any = None, *assets: str) -> Any:
        """Press the button; gives what Dagster answers."""
        span = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST}
        tags = [{"key": name, "value": day} for name, day in span.items()] if assets else []
        selector = self.selector(job, *assets)
        if assets:
            # Without a selection of checks Dagster takes every check of the assets.
            del selector["assetCheckSelection"]
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": {"ops": {step: {"config": config}}} if step else {},
            "executionMetadata": {"tags": tags},
        }
        return self.services.query(_LAUNCH, params=params)

    def finished(self, answer: Any) -> tuple[str, Any]:
        """Wait for the end of a run; gives its id, and its status and steps."""
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id = answer["run"]["runId"]

        def look() -> Any:
            run = self.services.query(_RUN, id=run_id)
            return run if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        return run_id, self.services.wait(look)

    def runs(self, job: str) -> list[str]:
        return [run["runId"] for run in self.services.query(_RUNS, job=job)["results"]]

    def compared(self, table: str) -> set[str]:
        """The days of a report that have a result of the comparison, all of them right."""
        results = self.services.query(_RESULTS, key={"path": ["main", table]})
        evaluations = [each["evaluation"] for each in results if each["evaluation"]]
        assert all(each["success"] for each in evaluations)
        return {each["partition"] for each in evaluations}


def test_the_launchpads(project: Callable[..., Config], warehouse: Warehouse) -> None:
    """Reports that are wrong begin no run; a launch of assets compares nothing; a comparison only what it names."""
    with running_sandbox(World(calls_per_day=10, now=lambda: datetime.now(UTC)), Settings(minute_limit=10_000)) as api:
        config = project(
            base_url=api.url,
            token=SANDBOX_TOKEN,
            tables="[calls_report, goals_report]",
            start_date=FIRST,
            day_points="{reserve: 0}",
            refresh_days=1,
            reconciliation="{schedule: off}",
        )
        with Services(config.path.parent) as services:
            launchpad = Launchpad(services)
            assert_wrong_reports_begin_no_run(launchpad)
            # A launch of assets brings the step along.
            run_id, run = launchpad.finished(launchpad.launch("__ASSET_JOB", "", None, "calls_report", "goals_report"))
            assert run["status"] == "SUCCESS", run
            assert "main__equals_api" in {step["stepKey"] for step in run["stepStats"]}
            messages = [event.get("message") for event in services.query(_LOGS, id=run_id)["events"]]
            assert sum("not compared: launch the job reconcile_main" in (each or "") for each in messages) == 1
            assert launchpad.compared("calls_report") == launchpad.compared("goals_report") == set()

            words = {"first_day": FIRST, "last_day": FIRST, "mode": "full", "tables": ["goals_report"]}
            run_id, run = launchpad.finished(launchpad.launch("reconcile_main", "main__equals_api", words))
            assert run["status"] == "SUCCESS", run
            assert (launchpad.compared("calls_report"), launchpad.compared("goals_report")) == (set(), {FIRST})
            whole_id, run = launchpad.finished(
                launchpad.launch("reconcile_main", "main__equals_api", {"first_day": LAST, "last_day": LAST})
            )
            assert run["status"] == "SUCCESS", run
            assert (launchpad.compared("calls_report"), launchpad.compared("goals_report")) == ({LAST}, {FIRST})
        lines = query(
            warehouse,
            "select run_id, table_name from comagic_ops.journal where table_name like 'equals_api%' order by id",
        )
        assert [(line["run_id"], line["table_name"]) for line in lines] == [
            (run_id, "equals_api goals_report"),
            (whole_id, "equals_api calls_report"),
        ]


def assert_wrong_reports_begin_no_run(launchpad: Launchpad) -> None:
    """The first line of the answer names the field and what to write; the schema names sources and reports."""
    words = {"report": "calls_report", "fields": ["id", "tagz"], "first_day": FIRST, "last_day": LAST}
    refused = launchpad.launch("adhoc_report", "load_adhoc_report", words)
    assert refused["__typename"] == "PythonError", refused
    first_line = refused["message"].splitlines()[0]
    assert first_line.endswith("fields[1]: calls_report has no field 'tagz'; did you mean 'tags'?")
    refused = launchpad.launch("adhoc_report", "load_adhoc_report", words | {"report": "call_report"})
    assert refused["__typename"] == "RunConfigValidationInvalid", refused
    (error,) = refused["errors"]
    assert "config:report not in enum type (calls_report | call_legs_report | " in error["message"]
    assert launchpad.runs("adhoc_report") == []
    schema = launchpad.services.query(_ENUMS, job=launchpad.selector("adhoc_report"))
    values = [[each["value"] for each in kind["values"]] for kind in schema["allConfigTypes"] if "values" in kind]
    assert ["main"] in values
    assert any("goals_report" in names for names in values)
    run_id, run = launchpad.finished(
        launchpad.launch("adhoc_report", "load_adhoc_report", words | {"fields": ["id", "tags"]})
    )
    assert run["status"] == "SUCCESS", run
    assert launchpad.runs("adhoc_report") == [run_id]
