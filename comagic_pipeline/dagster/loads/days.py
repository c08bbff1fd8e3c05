"""Report loaded days to Dagster, also when the run fails midway.

Dagster records nothing of a range run that fails. Days that were committed before the failure are therefore reported
one by one, so that the UI shows them and "re-execute from failure" asks only for the others (docs/decisions.md).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date

from dagster import AssetExecutionContext, AssetKey, AssetMaterialization, OpExecutionContext

ROWS = "dagster/partition_row_count"

Value = float | str


class DoneDays:
    """The days of a run that are committed, with their metadata, for each of the run's assets.

    A day of an agent's source is done when it is for all customers: `customers` is how many of them are loaded.
    """

    def __init__(self, context: AssetExecutionContext | OpExecutionContext) -> None:
        self.customers = 1
        self._context = context
        self._metadata: defaultdict[tuple[AssetKey, date], dict[int, Mapping[str, Value]]] = defaultdict(dict)

    def add(self, key: AssetKey, day: date, rows: int | None, customer_user_id: int = 0, **metadata: Value) -> None:
        """Note that this day of this asset is committed, with its rows where they are known; the last note counts.

        Numbers of several customers are added up, different texts stand beside each other.
        """
        counted = {} if rows is None else {ROWS: rows}
        self._metadata[key, day][customer_user_id] = counted | metadata

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Report the days: as metadata of the partitions when the block ends, as materializations when it fails."""
        try:
            yield
        except BaseException:
            for key, day, metadata in self._done():
                self._context.log_event(AssetMaterialization(key, partition=day.isoformat(), metadata=metadata))
            raise
        for key, day, metadata in self._done():
            assert isinstance(self._context, AssetExecutionContext)  # noqa: S101 - days are those of assets
            self._context.add_asset_metadata(metadata, asset_key=key, partition_key=day.isoformat())

    def _done(self) -> Iterator[tuple[AssetKey, date, dict[str, Value]]]:
        for (key, day), notes in self._metadata.items():
            if len(notes) >= self.customers:
                names = dict.fromkeys(name for note in notes.values() for name in note)
                yield key, day, {name: _joined([note.get(name, 0) for note in notes.values()]) for name in names}


def _joined(values: Sequence[Value]) -> Value:
    texts = sorted({value for value in values if isinstance(value, str)})
    return ", ".join(texts) if texts else sum(value for value in values if not isinstance(value, str))
