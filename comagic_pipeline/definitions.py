"""Everything that Dagster sees, built from the configuration, without a request and without a secret."""

from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetsDefinition,
    AssetSpec,
    Definitions,
    ResourceDefinition,
    ScheduleDefinition,
    SensorDefinition,
    definitions,
    in_process_executor,
)

from comagic_pipeline.catalog.table_names import DICTIONARIES, REPORTS
from comagic_pipeline.config import Config, Source, load_config
from comagic_pipeline.dagster.assets.custom_reports import custom_report_asset
from comagic_pipeline.dagster.assets.dictionaries import dictionary_asset
from comagic_pipeline.dagster.assets.reports import report_asset
from comagic_pipeline.dagster.assets.star import star_assets
from comagic_pipeline.dagster.automation.schedules import (
    load_schedules,
    reconcile_schedules,
    report_schedules,
    retention_schedule,
)
from comagic_pipeline.dagster.automation.sensors import (
    alert_sensor,
    continuation_sensor,
    healing_sensor,
)
from comagic_pipeline.dagster.checks.of_source import checks_of
from comagic_pipeline.dagster.checks.points_suffice import points_asset
from comagic_pipeline.dagster.jobs.adhoc_report import adhoc_report_job
from comagic_pipeline.dagster.jobs.housekeeping import housekeeping_job, housekeeping_schedule
from comagic_pipeline.dagster.jobs.source_jobs import SourceJobs
from comagic_pipeline.dagster.private_names import ConfigurableResourceFactory
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource
from comagic_pipeline.warehouse.star.tables import star_of


def build_definitions(
    config: Config, **resources: ConfigurableResourceFactory[Any] | ResourceDefinition
) -> Definitions:
    """Return the definitions of a configuration; `resources` (api, warehouse) replace those that it describes."""
    checks = {source.name: list(checks_of(source)) for source in config.sources}
    jobs = {source.name: SourceJobs.of(source, checks[source.name]) for source in config.sources}
    housekeeping = housekeeping_job()
    return Definitions(
        assets=[asset for source in config.sources for asset in _assets(config, source)],
        asset_checks=[check for of_source in checks.values() for check in of_source],
        jobs=[*(job for of_source in jobs.values() for job in of_source.all), adhoc_report_job(config), housekeeping],
        sensors=[
            *(sensor for source in config.sources for sensor in _sensors(config, source, jobs[source.name])),
            *([alert_sensor(config)] if config.alerts.urls else ()),
        ],
        schedules=[
            *(schedule for source in config.sources for schedule in _schedules(config, source, jobs[source.name])),
            housekeeping_schedule(config, housekeeping),
        ],
        resources={
            "api": DataApi.of(config),
            "warehouse": WarehouseResource.of(config),
            **resources,
        },
        # Parallel work is for runs: a process for each step costs 20 times what the step itself does.
        executor=in_process_executor,
    )


def _sensors(config: Config, source: Source, jobs: SourceJobs) -> Iterator[SensorDefinition]:
    yield continuation_sensor(config, source, jobs)
    if jobs.reconcile and source.reconciliation.heal_days:
        yield healing_sensor(config, source, jobs, jobs.reconcile)


def _schedules(config: Config, source: Source, jobs: SourceJobs) -> Iterator[ScheduleDefinition]:
    yield from load_schedules(config, source, jobs)
    yield from report_schedules(config, source, jobs)
    if jobs.reconcile:
        yield from reconcile_schedules(source, jobs.reconcile)
    if jobs.retain:
        yield from retention_schedule(source, jobs.retain)


def _assets(config: Config, source: Source) -> Iterator[AssetsDefinition | AssetSpec]:
    chosen = source.chosen_tables
    schemas = config.warehouse.schemas
    yield points_asset(source, schemas)
    yield from (report_asset(source, method, schemas) for method in REPORTS if method.table in chosen)
    yield from (dictionary_asset(source, method, schemas) for method in DICTIONARIES if method.table in chosen)
    yield from (star_assets(source, kind, tables, schemas) for kind, tables in star_of(chosen).items())
    yield from (custom_report_asset(config, source, report) for report in source.custom_reports)


@definitions
def defs() -> Definitions:
    """Return the definitions of the configuration file that COMAGIC_CONFIG names; Dagster calls this."""
    return build_definitions(load_config())
