"""Everything that Dagster sees, built from the configuration. Building it calls nobody and needs no secret."""

from collections.abc import Iterator
from typing import Any

from dagster import AssetsDefinition, Definitions, ResourceDefinition, definitions, in_process_executor
from dagster._config.pythonic_config import ConfigurableResourceFactory

from comagic_pipeline.assets.dictionaries import dictionary_asset
from comagic_pipeline.assets.reports import report_asset
from comagic_pipeline.assets.star import star_assets
from comagic_pipeline.config import Config, Source, load_config
from comagic_pipeline.jobs import load_job
from comagic_pipeline.resources import DataApi, WarehouseResource
from comagic_pipeline.schedules import load_schedules
from comagic_pipeline.tables import DICTIONARIES, REPORTS, star_of


def build_definitions(
    config: Config, **resources: ConfigurableResourceFactory[Any] | ResourceDefinition
) -> Definitions:
    """The definitions of a configuration; `resources` (api, warehouse) replace those that it describes."""
    jobs = {source.name: load_job(source) for source in config.sources}
    return Definitions(
        assets=[asset for source in config.sources for asset in _assets(config, source)],
        jobs=list(jobs.values()),
        schedules=[schedule for source in config.sources for schedule in load_schedules(source, jobs[source.name])],
        resources={
            "api": DataApi(config_file=str(config.path)),
            "warehouse": WarehouseResource(config_file=str(config.path)),
            **resources,
        },
        # Parallel work is for runs: a process for each step costs 20 times what the step itself does.
        executor=in_process_executor,
    )


def _assets(config: Config, source: Source) -> Iterator[AssetsDefinition]:
    chosen = source.chosen_tables
    schemas = config.warehouse.schemas
    yield from (report_asset(source, method, schemas) for method in REPORTS if method.table in chosen)
    yield from (dictionary_asset(source, method, schemas) for method in DICTIONARIES if method.table in chosen)
    yield from (star_assets(source, kind, tables, schemas) for kind, tables in star_of(chosen).items())


@definitions
def defs() -> Definitions:
    """The definitions of the configuration file that COMAGIC_CONFIG names; Dagster calls this."""
    return build_definitions(load_config())
