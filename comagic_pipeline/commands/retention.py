"""`retention`: the source's job that deletes old days, in this process, recorded in the instance."""

from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from comagic_pipeline.asked import COMMAND
from comagic_pipeline.commands.load import failure_of
from comagic_pipeline.commands.project import open_project
from comagic_pipeline.config import Config, ConfigError, Source
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.retention import ROWS, retention_job_name, retention_op_name


@dataclass
class Summary:
    """How it ended; `tables` are the rows of each that were deleted, in a dry run those that would be."""

    source: str
    dry_run: bool
    run_id: str
    error: str | None = None
    tables: dict[str, int] = field(default_factory=dict)
    dropped_partitions: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """The summary for machines."""
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
                    "ops": {retention_op_name(source): {"config": {"dry_run": is_dry}}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                instance=instance,
                tags={COMMAND: "retention"},
                raise_on_error=False,
            )
        )
    summary = Summary(source.name, is_dry, result.run_id)
    summary.error, _ = failure_of(result)
    if not result.success:
        return summary
    (output,) = (event.step_output_data for event in result.all_events if event.is_successful_output)
    values = {name: value.value for name, value in output.metadata.items()}
    summary.tables = {str(name): int(rows) for name, rows in dict(values[ROWS]).items()}  # type: ignore[arg-type]
    summary.dropped_partitions = int(values["dropped_partitions"])  # type: ignore[arg-type]
    summary.seconds = float(values["seconds"])  # type: ignore[arg-type]
    return summary


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
