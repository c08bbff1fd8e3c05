"""Resources: the Data API and the warehouse, as assets get them. They know the configuration file and hold no secret.

Secrets are looked up when a run begins; they are in no field, so no UI page and no log can show them. Resources have no
fields at all because the Launchpad lets anybody set those: another file would name another address for the key.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Self, cast

from dagster import ConfigurableResource, DagsterInstance, DagsterRun, InitResourceContext
from pydantic import PrivateAttr

from comagic_pipeline.api.client import ATTEMPTS, Client, Login, Token
from comagic_pipeline.api.errors import PermanentError
from comagic_pipeline.api.quota import Clock, Quota, Sleep, utc_now
from comagic_pipeline.config import (
    SANDBOX,
    SANDBOX_PORT,
    SANDBOX_URL_VARIABLE,
    Config,
    ConfigError,
    Source,
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
from comagic_pipeline.operations.connections import connect_warehouse as connect_warehouse
from comagic_pipeline.operations.connections import embedded_folder as embedded_folder
from comagic_pipeline.operations.connections import open_warehouse as open_warehouse
from comagic_pipeline.operations.points.plan import done_on, known_volumes, plan_load
from comagic_pipeline.operations.points.shared_quota import SharedBook, key_id, known_points
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.reports.tables import present_tables
from comagic_pipeline.warehouse.star.views import create_views


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
        """A client of one source for a run; it leaves `reserve` of the day's points untouched.

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
        """The open warehouse; only within a run."""
        assert self._warehouse is not None, "the warehouse is open within a run only"  # noqa: S101
        return self._warehouse


def run_lock(run_id: str) -> str:
    """The name of the lock that a run holds in the warehouse as long as its process lives."""
    return f"run {run_id}"


def open_client(
    source: Source,
    warehouse: Warehouse | None = None,
    *,
    run_id: str = "",
    reserve: int = 0,
    attempts: int = ATTEMPTS,
    insists: bool = False,
    trusts_since: datetime | None = None,
    clock: Clock = utc_now,
    sleep: Sleep = time.sleep,
) -> Client:
    """A client of the source; raises ConfigError when a variable that it needs is not set, or names what is unusable.

    With a warehouse it shares the key's points with all who use the key, and what it spends is counted there. One that
    `insists` asks even when the day's points are known to be spent, one with `trusts_since` until the API has told so
    since that moment.
    """
    secret = _secret(source)
    credentials = Token(secret) if source.login is None else Login(secret, _password(source), clock)
    book = SharedBook(warehouse, source, key_id(api_url(source), secret), run_id, clock) if warehouse else None
    quota = Quota(reserve, clock, sleep, book, insists=insists, trusts_since=trusts_since)
    try:
        return Client(api_url(source), credentials, quota, clock=clock, sleep=sleep, attempts=attempts)
    except PermanentError as error:
        raise ConfigError(f"sources.{source.name}: {error}") from error


def plan_tags(
    config: Config, run: DagsterRun, instance: DagsterInstance, warehouse: Warehouse, now: datetime
) -> dict[str, str]:
    """What the UI shows of a run over several days: the rows and points that it will take, and when it will be done.

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


def source_key(source: Source) -> str:
    """The name of the source's key in the book of points; raises ConfigError as `open_client` does."""
    return key_id(api_url(source), _secret(source))


def api_url(source: Source) -> str:
    """The address of the source's API."""
    if source.base_url == SANDBOX:
        return os.environ.get(SANDBOX_URL_VARIABLE) or f"http://127.0.0.1:{SANDBOX_PORT}/v2.0"
    return source.resolved_base_url()


def _secret(source: Source) -> str:
    """The token, or the login: what tells keys apart."""
    if source.token is None:
        assert source.login is not None  # noqa: S101 - the config checked it
        return source.login.resolve(f"sources.{source.name}.login", is_key=True)
    try:
        return source.token.resolve(f"sources.{source.name}.token", is_key=True)
    except ConfigError:
        # The sandbox's key is public: the demo needs no variable.
        if source.base_url == SANDBOX:
            return SANDBOX_TOKEN
        raise


def _password(source: Source) -> str:
    assert source.password is not None  # noqa: S101 - the config checked it
    return source.password.resolve(f"sources.{source.name}.password")


def make_views(config: Config, warehouse: Warehouse) -> list[str]:
    """Make the Russian views equal to their definition; gives a line for each thing that is not as it should be."""
    homes = [report.home for source in config.sources for report in source.custom_reports]
    with warehouse.begin() as connection:
        reports = present_tables(connection, homes)
        return create_views(connection, warehouse.schemas, config.warehouse.views_prefix, reports)
