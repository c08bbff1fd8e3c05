"""Find days that Dagster shows as loaded and the warehouse does not have, after a restore or a move.

In the UI they would not count as missing, so nobody would load them. Reports are compared with the load log, the star
with the load log of its report.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain

from dagster import AssetKey, DagsterInstance, DagsterRun, RunsFilter

from comagic_pipeline.config import Config, Source
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.runs import UNFINISHED, period_of, tables_of
from comagic_pipeline.dagster.wipe_partitions import forget_days, newest_event
from comagic_pipeline.operations.ledger import held_days
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.tables import is_skipped
from comagic_pipeline.warehouse.retention.days import retained_from
from comagic_pipeline.warehouse.star.tables import star_of

_NAMED = 3
"""How many assets a sentence names."""


@dataclass(frozen=True)
class LostDays:
    """Days, as Dagster names them, that an asset is shown to have and the warehouse does not have."""

    key: AssetKey
    days: Sequence[str]


def told(lost: Sequence[LostDays]) -> str:
    """Return the lost days for a person: how many of each asset, and from which to which."""
    several = [f"{each.key.to_user_string()} {each.days[0]} to {each.days[-1]} ({len(each.days)})" for each in lost]
    more = f" and {len(several) - _NAMED} more assets" if len(several) > _NAMED else ""
    return ", ".join(several[:_NAMED]) + more


def take_back_days(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> list[LostDays]:
    """Let Dagster show the days as missing that it shows as materialized and the warehouse does not have.

    Return them. Days that are reported meanwhile keep what is reported.
    """
    before = newest_event(instance)
    lost = lost_days(config, instance, warehouse)
    for each in lost:
        forget_days(instance, each.key, each.days, before)
    return lost


def lost_days(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> list[LostDays]:
    """Return the days that Dagster shows as materialized and the warehouse does not have, oldest first.

    Days that an unfinished run has to load are left out.
    """
    # Dagster is asked before the ledger: a day is committed first and shown later.
    runs = instance.get_runs(RunsFilter(statuses=list(UNFINISHED)))
    return [lost for source in config.sources for lost in _lost_days(source, instance, warehouse, runs)]


def _lost_days(
    source: Source, instance: DagsterInstance, warehouse: Warehouse, runs: Sequence[DagsterRun]
) -> Iterator[LostDays]:
    star = star_of(source.chosen_tables).items()
    made_of = [(name, name, [asset_key(source, name)]) for name in source.reports]
    made_of += [(kind.facts.name, kind.report, [asset_key(source, table.name) for table in of]) for kind, of in star]
    shown = {key: instance.get_materialized_partitions(key) for key in chain(*(keys for _, _, keys in made_of))}
    with warehouse.connect() as connection:
        held = held_days(source, connection)
        # Days of a report that the account may not ask for are shown as done, without rows.
        skipped = {name for name in source.reports if is_skipped(connection, source.account_id, name)}
        # The star keeps days whose report retention has deleted.
        first_kept = retained_from(connection, source.account_id, "raw") or date.min
    for name, report, keys in made_of:
        begin = date.min if name == report else first_kept
        for key in keys if report not in skipped else ():
            lost = {day for day in shown[key] - held.get(report, set()) if day >= begin.isoformat()}
            if lost and (left := lost - _days_in_hand(source, name, instance, runs)):
                yield LostDays(key, sorted(left))


def _days_in_hand(source: Source, table: str, instance: DagsterInstance, runs: Sequence[DagsterRun]) -> set[str]:
    """Return the days of a table that unfinished runs are to load."""
    found: set[str] = set()
    for run in runs:
        if (period := period_of(run)) and table in tables_of(run, source, instance):
            number = (period[1] - period[0]).days + 1
            found |= {(period[0] + timedelta(days=each)).isoformat() for each in range(number)}
    return found
