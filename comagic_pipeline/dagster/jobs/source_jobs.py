"""The jobs of a source: load, continue, reconcile, custom reports, forget, retain.

Backfills are launched from the asset pages instead, because jobs make a run for each day.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster import (
    AssetCheckKey,
    AssetChecksDefinition,
    AssetSelection,
    JobDefinition,
    OpExecutionContext,
    RunRequest,
    define_asset_job,
    job,
    op,
)
from dagster_shared.record import copy

from comagic_pipeline.config import Source
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks import equals_api
from comagic_pipeline.dagster.checks.equals_api import reconciled_reports
from comagic_pipeline.dagster.jobs.retention import retention_job
from comagic_pipeline.dagster.private_names import UnresolvedAssetJobDefinition
from comagic_pipeline.dagster.resources import WarehouseResource
from comagic_pipeline.dagster.runs import load_job_name, reconcile_job_name, report_job_name
from comagic_pipeline.warehouse.ops.pending_days import forget


@dataclass(frozen=True)
class SourceJobs:
    """The jobs of a source.

    `go_on` is what its sensors begin, `reconcile` is None where nothing can be compared, `retain` where all is kept.
    `checks` are those that come along with loads, at no points.
    """

    load: UnresolvedAssetJobDefinition
    go_on: UnresolvedAssetJobDefinition
    reconcile: UnresolvedAssetJobDefinition | None
    reports: Mapping[CustomReport, UnresolvedAssetJobDefinition]
    forget: JobDefinition
    retain: JobDefinition | None
    checks: Sequence[AssetCheckKey]

    @classmethod
    def of(cls, source: Source, checks: Iterable[AssetChecksDefinition]) -> "SourceJobs":
        """Return the jobs that a source with these checks has."""
        return cls(
            load_job(source),
            continuation_job(source),
            reconcile_job(source) if reconciled_reports(source) else None,
            {report: report_job(source, report) for report in source.custom_reports},
            forget_job(source),
            retention_job(source) if source.retention.keep_days is not None else None,
            [key for check in checks for key in check.check_keys if key.name != equals_api.NAME],
        )

    def with_checks(self, request: RunRequest) -> RunRequest:
        """Return a request for assets with the checks that come along: Dagster would add those that ask the API."""
        if request.asset_selection is None:
            return request
        assets = set(request.asset_selection)
        return copy(request, asset_check_keys=[key for key in self.checks if key.asset_key in assets])

    @property
    def all(self) -> Iterator[UnresolvedAssetJobDefinition | JobDefinition]:
        """Each of them."""
        yield self.load
        yield self.go_on
        yield self.forget
        yield from self.reports.values()
        if self.reconcile:
            yield self.reconcile
        if self.retain:
            yield self.retain


def load_job(source: Source) -> UnresolvedAssetJobDefinition:
    """Load the tables of a source and build its star, for a day or a range of days."""
    custom = [asset_key(source, report.asset_name) for report in source.custom_reports]
    return define_asset_job(
        load_job_name(source),
        selection=_without_reconciliation(
            source, AssetSelection.key_prefixes([source.name]) - AssetSelection.assets(*custom)
        ),
        description=f"Loads days of {source.name} from the Data API and builds the star of them.",
    )


def report_job(source: Source, report: CustomReport) -> UnresolvedAssetJobDefinition:
    """Load days of a custom report."""
    return define_asset_job(
        report_job_name(source, report),
        selection=AssetSelection.assets(asset_key(source, report.asset_name)),
        description=f"Loads days of the custom report {report.name}.",
    )


def reconcile_job(source: Source) -> UnresolvedAssetJobDefinition:
    """Compare loaded days of a source with the API."""
    keys = [AssetCheckKey(asset_key(source, method.table), equals_api.NAME) for method in reconciled_reports(source)]
    return define_asset_job(
        reconcile_job_name(source),
        selection=AssetSelection.checks(*keys),
        description=f"Compares loaded days of {source.name} with what CoMagic says: the reports and days of the "
        "configuration or, in the Launchpad, any others. Days that differ are loaded again by themselves.",
    )


def continuation_job(source: Source) -> UnresolvedAssetJobDefinition:
    """Return what the sensor of a source begins: whatever waits of its tables and custom reports."""
    return define_asset_job(
        f"continue_{source.name}",
        selection=_without_reconciliation(source, AssetSelection.key_prefixes([source.name])),
        description=f"What the sensor continue_{source.name} runs for days that wait. To load days yourself, launch "
        f"a backfill of the assets, or {load_job_name(source)}.",
    )


def _without_reconciliation(source: Source, selection: AssetSelection) -> AssetSelection:
    """Return a load costs no more points than its rows: comparing is a job of its own."""
    keys = [AssetCheckKey(asset_key(source, method.table), equals_api.NAME) for method in reconciled_reports(source)]
    return selection - AssetSelection.checks(*keys)


def forget_job(source: Source) -> JobDefinition:
    """Give up all days of a source that wait to be loaded."""

    @op(name=f"forget_waiting_days_of_{source.name}")
    def forget_waiting_days(context: OpExecutionContext, warehouse: WarehouseResource) -> None:
        with warehouse.get().begin() as connection:
            days = forget(connection, source.account_id)
        context.log.info(f"{days} days of tables do not wait any more")

    @job(
        name=f"forget_{source.name}",
        description=f"Gives up the days of {source.name} that wait for points or for the end of an outage. "
        "They stay missing until they are loaded by hand.",
    )
    def forget_all() -> None:
        forget_waiting_days()

    return forget_all
