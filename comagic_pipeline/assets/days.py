"""Days that are done stay done: what a range run tells Dagster when it ends, and when it fails midway.

Dagster takes a range run as all or nothing. Days that were committed before a failure are therefore reported one by
one, so that the UI shows them and "re-execute from failure" asks only for the others (tried: dagster_notes, 1.5).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from dagster import AssetExecutionContext, AssetKey, AssetMaterialization


class DoneDays:
    """The days of a run that are committed, with their metadata, for each of the run's assets."""

    def __init__(self, context: AssetExecutionContext) -> None:
        self._context = context
        self._metadata: dict[tuple[AssetKey, date], dict[str, float]] = {}

    def add(self, key: AssetKey, day: date, rows: int | None, **metadata: float) -> None:
        """Note that this day of this asset is committed, with its rows where they are known; the last note counts."""
        counted = {} if rows is None else {"dagster/partition_row_count": rows}
        self._metadata[key, day] = counted | metadata

    def rows(self, key: AssetKey) -> int:
        """The rows of all days of an asset so far."""
        return sum(
            int(metadata["dagster/partition_row_count"])
            for (done, _), metadata in self._metadata.items()
            if done == key
        )

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Report the days: as metadata of the partitions when the block ends, as materializations when it fails."""
        try:
            yield
        except BaseException:
            for (key, day), metadata in self._metadata.items():
                self._context.log_event(AssetMaterialization(key, partition=day.isoformat(), metadata=metadata))
            raise
        for (key, day), metadata in self._metadata.items():
            self._context.add_asset_metadata(metadata, asset_key=key, partition_key=day.isoformat())
