"""Resources: the Data API and the warehouse, as assets get them.

Secrets are resolved when a run begins and are in no field, so no UI page and no log can show them. Resources have no
fields at all, because the Launchpad lets anybody set those: another file would name another address for the key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Self, cast

from dagster import ConfigurableResource, DagsterInstance, DagsterRun, InitResourceContext
from pydantic import PrivateAttr

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import (
    Config,
    load_config,
)
from comagic_pipeline.dagster.automation.overlaps import note_overlaps
from comagic_pipeline.dagster.runs import (
    asked_at,
    note_what_is_asked,
    period_of,
    reserve_of,
    tables_of,
)
from comagic_pipeline.operations.api_client import open_client, source_key
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.operations.points.plan import done_on, known_volumes, plan_load
from comagic_pipeline.operations.points.shared_quota import known_points
from comagic_pipeline.warehouse.engine import Warehouse


class _OfConfig:
    """What resources have of a configuration: its file, in the class, because fields can be set in the Launchpad."""

    config_file: ClassVar[Path]

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the resource of a configuration."""
        return cast("type[Self]", type(cls.__name__, (cls,), {"config_file": config.path}))()


class DataApi(_OfConfig, ConfigurableResource[None]):
    """The CoMagic Data API of the configured sources."""

    @contextmanager
    def client(self, source_name: str, reserve: int, warehouse: Warehouse, run: DagsterRun) -> Iterator[Client]:
        """Provide a client of one source for a run; it leaves `reserve` of the day's points untouched.

        A run that a command began asks whether there are points, though none are known to be left. Its points are in
        the book that the warehouse keeps. Raises ConfigError when a variable that the source needs is not set.
        """
        source = load_config(self.config_file).source(source_name)
        since = asked_at(run)
        with open_client(source, warehouse, run_id=run.run_id, reserve=reserve, trusts_since=since) as client:
            yield client


class WarehouseResource(_OfConfig, ConfigurableResource["WarehouseResource"]):
    """The SQL warehouse; a run gets it open and with all migrations applied."""

    _warehouse: Warehouse | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["WarehouseResource"]:
        """Open for the time of a run; starts the embedded server where the config names no URL."""
        config = load_config(self.config_file)
        with (
            open_warehouse(config) as self._warehouse,
            self._warehouse.holding(run_lock(context.run.run_id if context.run else "")),
        ):
            if context.run and context.instance:
                for warning in note_overlaps(config, context.run, context.instance, self._warehouse):
                    if context.log:
                        context.log.warning(warning)
                note_what_is_asked(config, context.run, context.instance, self._warehouse, utc_now())
                if tags := plan_tags(config, context.run, context.instance, self._warehouse, utc_now()):
                    context.instance.add_run_tags(context.run.run_id, tags)
            yield self

    def get(self) -> Warehouse:
        """Return the open warehouse; only within a run."""
        assert self._warehouse is not None, "the warehouse is open within a run only"  # noqa: S101
        return self._warehouse


def run_lock(run_id: str) -> str:
    """Return the name of the lock that a run holds in the warehouse as long as its process lives."""
    return f"run {run_id}"


def plan_tags(
    config: Config, run: DagsterRun, instance: DagsterInstance, warehouse: Warehouse, now: datetime
) -> dict[str, str]:
    """Return what the UI shows of a run over several days.

    The rows and points that it will take, and when it will be done.

    Judged by what is loaded, without a request: empty while nothing of the source is.
    """
    period = period_of(run)
    if period is None or period[0] == period[1]:
        return {}
    for source in config.sources:
        if not (tables := tables_of(run, source, instance) & source.reports.keys()):
            continue
        volumes = known_volumes(warehouse, source, *period, tables)
        plan = plan_load(source, volumes, *period, tables)
        if not volumes.rows_a_day:
            return {}
        day = known_points(warehouse, source_key(source), now).allowances["day"]
        done = done_on(plan.points, day, reserve_of(run, source), source, now)
        least = "at least " if plan.is_least else ""
        tags = {"comagic/expected_rows": f"{least}{plan.rows}", "comagic/expected_points": f"{least}{plan.points}"}
        return tags | ({"comagic/expected_done": done.isoformat()} if done else {})
    return {}
