"""Load differing days again, once for each finding, and compare them again.

Findings are in `comagic_ops.reconciled_days`. After a bounded number of loads that did not help, a day is left to a
person, so healing cannot loop. The number of days healed each day is bounded too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from dagster import AssetCheckKey, AssetKey, DagsterInstance, RunRequest, RunsFilter

from comagic_pipeline.catalog.table_names import facts_of
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks import equals_api
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START, UNFINISHED
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.pending_days import periods
from comagic_pipeline.warehouse.ops.reconciliation import (
    DifferentDay,
    different_days,
    healed_since,
    note_healing,
)
from comagic_pipeline.warehouse.star.tables import star_of

HEALS = "comagic/heals"
"""The tag of a run that loads, or compares, days again because they differed: of which source."""
_MOST_TRIES = 2
"""Loads in a row that did not mend a day; then it is for a person."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Healing:
    """What is to be done about days in a row, both included, of a report: load them again, or compare them again."""

    source: Source
    table: str
    first_day: date
    last_day: date
    is_load: bool

    @property
    def assets(self) -> list[AssetKey]:
        """The assets to load: the report, and the star that is made of it."""
        facts = facts_of(self.table, self.source.chosen_tables)
        built = star_of(self.source.chosen_tables).items()
        star = [table.name for kind, tables in built if kind.facts.name in facts for table in tables]
        return [asset_key(self.source, name) for name in (self.table, *star)]

    def request(self, load_job: str, reconcile_job: str) -> RunRequest:
        """Return the request for the run."""
        period = self.first_day.isoformat(), self.last_day.isoformat()
        tags = {HEALS: self.source.name, RANGE_START: period[0], RANGE_END: period[1]}
        if self.is_load:
            return RunRequest(job_name=load_job, asset_selection=self.assets, tags=tags)
        tags |= {equals_api.MODE: "full"}
        keys = [AssetCheckKey(asset_key(self.source, self.table), equals_api.NAME)]
        return RunRequest(job_name=reconcile_job, asset_check_keys=keys, tags=tags)


def next_healing(source: Source, instance: DagsterInstance, warehouse: Warehouse, now: datetime) -> Healing | str:
    """Return what is to be done now, noted as begun; else why there is nothing, for a person. `now` is aware."""
    going_on = instance.get_runs(RunsFilter(tags={HEALS: source.name}, statuses=list(UNFINISHED)), limit=1)
    if going_on:
        return f"the run {going_on[0].run_id} mends days that differ"
    day = today(source, now)
    with warehouse.begin() as connection:
        first_day = max(source.start_date, source.horizon("raw", day) or source.start_date)
        known = different_days(connection, source.account_id, first_day)
        different = [each for each in known if each.table_name in source.chosen_tables]
        midnight = datetime.combine(day, time(), source.zone)
        left = source.reconciliation.heal_days - healed_since(connection, source.account_id, midnight)
        found = choose(source, different, left)
        if isinstance(found, Healing) and found.is_load:
            days = [found.first_day + number * _DAY for number in range((found.last_day - found.first_day).days + 1)]
            note_healing(connection, source.account_id, found.table, days, now)
    return found


def choose(source: Source, different: Sequence[DifferentDay], left: int) -> Healing | str:
    """Return what to do first about days that differ, newest first, while `left` days may be loaded again today."""
    loaded = [each for each in different if each.is_loaded_again]
    if loaded:
        first_day, last_day = _newest(loaded, loaded[0].table_name)
        return Healing(source, loaded[0].table_name, first_day, last_day, is_load=False)
    open_days = [each for each in different if each.refused_at is None]
    mendable = [each for each in open_days if each.heal_tries < _MOST_TRIES and not each.is_asked_for]
    if not mendable:
        return f"{len(different)} days differ and did not get right" if different else "no days differ"
    if left <= 0:
        return f"{len(mendable)} days differ; {source.reconciliation.heal_days} days were loaded again today, more wait"
    first_day, last_day = _newest(mendable, mendable[0].table_name)
    return Healing(source, mendable[0].table_name, max(first_day, last_day - (left - 1) * _DAY), last_day, is_load=True)


def _newest(days: Sequence[DifferentDay], table: str) -> tuple[date, date]:
    return periods(sorted(each.day for each in days if each.table_name == table))[-1]
