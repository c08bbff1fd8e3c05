"""The storage of Dagster's runs and events in PostgreSQL, without a record of checks that a run intends to evaluate.

A full disk is named at once: Dagster would try again for six seconds, and print each attempt in several lines.

Dagster notes with each run which checks it is about to evaluate, with a row for each day. A check that the run leaves
out, because it costs points or because nothing is doubtful, would be shown as failed or skipped on each of these days,
and so would a check of a run that was killed. The rows also outnumber everything else in the storage: 7110 of the 8989
of a backfill of 90 days. Without them a check shows its latest result, and a day without a result shows none.
"""

from collections.abc import Mapping
from typing import Any, cast

from dagster import DagsterEventType, EventLogEntry
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import Engine, ExceptionContext, event

from comagic_pipeline.dagster.private_names import ConfigurableClassData, EventLogStorage, PostgresStorageConfig
from comagic_pipeline.operations.failures import full_disk


@event.listens_for(Engine, "handle_error")
def _name_full_disk(context: ExceptionContext) -> None:
    """Raise DiskFullError for errors of Dagster's engines, the only ones with psycopg2; it makes new ones at will."""
    if context.dialect.driver == "psycopg2" and (full := full_disk(context.original_exception)):
        raise full


class ResultStorage(PostgresEventLogStorage):
    """Events of runs, of checks their results alone."""

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event, unless it says that a check is about to be evaluated."""
        if event.dagster_event_type != DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            super().store_event(event)


class ProjectStorage(DagsterPostgresStorage):
    """What dagster.yaml names as the storage of the instance; takes the options of `storage: postgres`."""

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        self._results = ResultStorage(postgres_url, should_autocreate_tables)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "ProjectStorage":
        """Make the storage of a configuration."""
        url = pg_url_from_config(cast(PostgresStorageConfig, config_value))
        return cls(url, config_value.get("should_autocreate_tables", True), inst_data)

    @property
    def event_log_storage(self) -> EventLogStorage:
        """The storage of events."""
        return self._results
