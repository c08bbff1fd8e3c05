"""`retention`: delete old days of a source, as a run of its job in this process."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import click
from dagster import ExecuteInProcessResult
from rich.console import Console
from rich.table import Table

from comagic_pipeline.cli.options import chosen_source
from comagic_pipeline.cli.outcome import fail
from comagic_pipeline.cli.project import open_project
from comagic_pipeline.config import Config, ConfigError, Source, load_config
from comagic_pipeline.dagster.jobs.retention import LEFT, ROWS, retention_job_name, run_config
from comagic_pipeline.dagster.run_failures import failure_message
from comagic_pipeline.dagster.runs import COMMAND
from comagic_pipeline.definitions import build_definitions


@dataclass
class Summary:
    """How it ended; `tables` are the rows of each that were deleted, in a dry run those that would be.

    `left` says of each month that has to stay what depends on it and what to do.
    """

    source: str
    dry_run: bool
    run_id: str
    error: str | None = None
    tables: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    dropped_partitions: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """Return the summary for machines."""
        return asdict(self) | {"rows": sum(self.tables.values())}


def retain(config: Config, source: Source, *, is_dry: bool) -> Summary:
    """Run the job; raises ConfigError where the source keeps all, and what `open_warehouse` raises."""
    if source.retention.keep_days is None:
        raise ConfigError(
            f"sources.{source.name}.retention.keep_days is not set: nothing is deleted. Set it to the number of days "
            "to keep"
        )
    with open_project(config) as (_, instance):
        result = (
            build_definitions(config)
            .resolve_job_def(retention_job_name(source))
            .execute_in_process(
                run_config={
                    **run_config(source, is_dry=is_dry),
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                instance=instance,
                tags={COMMAND: "retention"},
                raise_on_error=False,
            )
        )
    summary = Summary(source.name, is_dry, result.run_id)
    summary.error = failure_message(result)
    values = _metadata(result)
    if ROWS in values:
        summary.tables = {str(name): int(rows) for name, rows in dict(values[ROWS]).items()}
        summary.left = list(values[LEFT])
        summary.dropped_partitions = int(values["dropped_partitions"])
        summary.seconds = float(values["seconds"])
    return summary


def _metadata(result: ExecuteInProcessResult) -> dict[str, Any]:
    """Return what the only step tells, of its success or its failure."""
    for event in result.all_events:
        if event.is_successful_output:
            return {name: value.value for name, value in event.step_output_data.metadata.items()}
        if event.is_step_failure and (failure := event.step_failure_data.user_failure_data):
            return {name: value.value for name, value in failure.metadata.items()}
    return {}


def show(summary: Summary, console: Console) -> None:
    """For people."""
    done = "would be deleted" if summary.dry_run else "deleted"
    lines = {name: rows for name, rows in summary.tables.items() if rows}
    if lines:
        table = Table("table", "rows", title=f"{summary.source}: {done}")
        for name, rows in lines.items():
            table.add_row(name, str(rows))
        console.print(table)
    elif not summary.error:
        console.print(f"{summary.source}: nothing is older than what is kept")


@click.command("retention")
@click.option("--source", "source_name", help="Name of the source; may be left out when there is only one.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Delete nothing; count what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(source_name: str | None, is_dry: bool, as_json: bool) -> None:
    """Delete the days that are older than `retention.keep_days` of the configuration."""
    config = load_config()
    source = chosen_source(config, source_name)

    summary = retain(config, source, is_dry=is_dry)
    if as_json:
        click.echo(json.dumps(summary.as_json(), ensure_ascii=False))
    else:
        show(summary, Console())
    if summary.error:
        fail(summary.error, 1)
