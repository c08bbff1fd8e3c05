"""Sensors: resume pending days, heal differing days, evaluate checks, send alerts. On by default.

Each sensor is a thin shell; what it decides is in the module of that name.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from dagster import (
    AssetCheckEvaluation,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)
from sqlalchemy.exc import SQLAlchemyError

from comagic_pipeline.api.quota import Clock, utc_now
from comagic_pipeline.config import Config, ConfigError, Source
from comagic_pipeline.dagster.automation.alerts import look
from comagic_pipeline.dagster.automation.continuation import Continuation, next_run
from comagic_pipeline.dagster.automation.healing import Healing, next_healing
from comagic_pipeline.dagster.checks import all_days_loaded
from comagic_pipeline.dagster.checks.all_days_loaded import missing_days
from comagic_pipeline.dagster.checks.finding import Finding
from comagic_pipeline.dagster.checks.points_suffice import forecast
from comagic_pipeline.dagster.checks.recent_rows import found_rhythms, timed_reports
from comagic_pipeline.dagster.checks.usual_volume import found_volumes
from comagic_pipeline.dagster.jobs.source_jobs import SourceJobs
from comagic_pipeline.dagster.private_names import UnresolvedAssetJobDefinition
from comagic_pipeline.operations.connections import connect_warehouse
from comagic_pipeline.operations.failures import full_disk
from comagic_pipeline.operations.notifier import Post
from comagic_pipeline.warehouse.embedded import EmbeddedServerError
from comagic_pipeline.warehouse.engine import Warehouse, WarehouseError, one_line

_SECONDS = 30
_RHYTHM_INTERVAL = timedelta(minutes=15)
"""How often freshness and volume are looked at outside of runs."""
_LOOKED_AT = "looked_at"
"""When that was last done, beside the results in the cursor."""
_ALERT_SECONDS = 60


_UNUSABLE = (ConfigError, WarehouseError, EmbeddedServerError, SQLAlchemyError)
"""Why a sensor does nothing this time, and looks again at its next tick."""


def continuation_sensor(config: Config, source: Source, jobs: SourceJobs, clock: Clock = utc_now) -> SensorDefinition:
    """Goes on with days that were asked for and are not loaded; keeps checks up to date that change without a run."""

    @sensor(
        name=f"continue_{source.name}",
        job=jobs.go_on,
        minimum_interval_seconds=_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Goes on with days that a load left: when the day's points are there again, after a crash, after "
        "an outage. Newest days first, one run at a time. Switch it off to pause; cancel its run to give up what it "
        f"has to load; the job forget_{source.name} gives up all that waits.",
    )
    def go_on(context: SensorEvaluationContext) -> SensorResult:
        try:
            with connect_warehouse(config) as warehouse:
                checks, cursor = _changed_checks(source, warehouse, clock, context.cursor)
                # Last, for it notes that a run begins: nothing may fail between that and the request for it.
                found = next_run(config, source, context.instance, warehouse, clock)
        except _UNUSABLE as error:
            return SensorResult(skip_reason=_reason(error))
        if isinstance(found, Continuation):
            return SensorResult(run_requests=[jobs.with_checks(found.request)], asset_events=checks, cursor=cursor)
        return SensorResult(skip_reason=found, asset_events=checks, cursor=cursor)

    return go_on


def healing_sensor(
    config: Config, source: Source, jobs: SourceJobs, reconcile: UnresolvedAssetJobDefinition, clock: Clock = utc_now
) -> SensorDefinition:
    """Return the sensor that loads differing days again, and compares them again."""

    @sensor(
        name=f"heal_{source.name}",
        jobs=[jobs.go_on, reconcile],
        minimum_interval_seconds=_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Loads days again that differ from what CoMagic says, at most {source.reconciliation.heal_days} a "
        "day, and compares them again. What two loads do not mend is left to you.",
    )
    def heal(context: SensorEvaluationContext) -> SensorResult:
        try:
            with connect_warehouse(config) as warehouse:
                found = next_healing(source, context.instance, warehouse, clock())
        except _UNUSABLE as error:
            return SensorResult(skip_reason=_reason(error))
        if isinstance(found, Healing):
            request = found.request(jobs.go_on.name, reconcile.name)
            return SensorResult(run_requests=[jobs.with_checks(request)])
        return SensorResult(skip_reason=found)

    return heal


def alert_sensor(config: Config, clock: Clock = utc_now) -> SensorDefinition:
    """Tells people what is wrong, each cause once, and when it is over."""

    @sensor(
        name="tell_people",
        minimum_interval_seconds=_ALERT_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Tells the addresses of alerts.urls of failures, red checks and spent points: each cause once, and "
        "once more when it is over. Switch it off for silence.",
    )
    def tell(context: SensorEvaluationContext) -> SensorResult:
        assert context.repository_def is not None  # noqa: S101 - sensors of a project are asked with it
        checks = context.repository_def.asset_graph.asset_check_keys
        try:
            post = Post(config, context.cursor)
            with connect_warehouse(config) as warehouse:
                told = look(config, context.instance, warehouse, checks, post, clock())
        except _UNUSABLE as error:
            return SensorResult(skip_reason=_reason(error))
        for address in told.failed:
            context.log.warning(f"{address} did not take a message; it is tried again")
        said = f"{told.causes} causes go on, {told.sent} messages sent"
        return SensorResult(skip_reason=said, cursor=post.state)

    return tell


def _reason(error: Exception) -> str:
    """Return in one line why a sensor does nothing; errors of our own name the place and the fix themselves."""
    error = full_disk(error) or error
    return (
        f"a query of the database failed: {one_line(error)}" if isinstance(error, SQLAlchemyError) else one_line(error)
    )


def _changed_checks(
    source: Source, warehouse: Warehouse, clock: Clock, cursor: str | None
) -> tuple[Sequence[AssetCheckEvaluation], str]:
    """Return the results of checks that differ from those that the cursor remembers, and the next cursor."""
    told, now = json.loads(cursor or "{}"), clock()
    findings = [missing.finding(source) for missing in missing_days(source, warehouse, now)]
    findings.append(forecast(source, warehouse, now).finding(source))
    looked_at = told.get(_LOOKED_AT)
    # By the clock they change slowly, and a look at the rhythm of rows reads weeks of raw.
    if looked_at is None or now - datetime.fromisoformat(looked_at) >= _RHYTHM_INTERVAL:
        looked_at = now.isoformat()
        findings += found_rhythms(source, warehouse, now, timed_reports(source))
        findings += found_volumes(source, warehouse, now, source.reports)
    results = {finding.key.to_user_string(): _what_counts(finding) for finding in findings}
    changed = [each.evaluation() for each in findings if told.get(each.key.to_user_string()) != _what_counts(each)]
    return changed, json.dumps(told | results | {_LOOKED_AT: looked_at})


def _what_counts(finding: Finding) -> str:
    """Return what of a finding must change to be worth an event: figures of most change with every look."""
    return finding.description if finding.check_name == all_days_loaded.NAME else "yes" if finding.passed else "no"
