"""The check `equals_api` of a report: the days that are loaded say what CoMagic says, day by day.

Its result is one for each day (`partitioned`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    Config,
    DagsterInstance,
    DagsterRun,
    Failure,
    MetadataValue,
    Output,
    TableRecord,
    multi_asset_check,
)
from pydantic import Field

from comagic_pipeline.asked import period_of, reconcile_job_name, reserve_of
from comagic_pipeline.assets.customers import Customers, params_of
from comagic_pipeline.assets.describe import asset_key
from comagic_pipeline.assets.journal import journaled
from comagic_pipeline.catalog import Method
from comagic_pipeline.checks.partitioned import daily_check, latest_materializations
from comagic_pipeline.config import ConfigError, Source
from comagic_pipeline.partitions import check_period, today
from comagic_pipeline.reconciliation import Found, Reconciler
from comagic_pipeline.resources import DataApi, WarehouseResource
from comagic_pipeline.tables import REPORTS
from comagic_pipeline.warehouse.reconciliation import Difference, record_days

NAME = "equals_api"
MODE = "comagic/reconcile_mode"
"""Run tag: how to compare; without it as the configuration says."""
_SHOWN = 20
_NAMED = 10
"""Days that the journal names."""
"""How many differences of a day the UI shows; all of them are in the books."""
_DESCRIPTION = (
    "What is loaded is what CoMagic says: calls, waiting and talking by campaign, call source and tag, in raw and in "
    "the star; other reports row by row."
)
_DAY = timedelta(days=1)


class ReconcileConfig(Config):
    """What the Launchpad may ask for; what is left out is as the configuration says."""

    first_day: str = Field(default="", description="First day, YYYY-MM-DD.")
    last_day: str = Field(default="", description="Last day, included, YYYY-MM-DD.")
    mode: str = Field(default="", description="quick, sampled or full.")


def reconciled_reports(source: Source) -> list[Method]:
    """The reports of a source that can be compared with the API."""
    return [method for method in REPORTS if method.table in source.chosen_tables]


def default_period(source: Source, now: datetime) -> tuple[date, date]:
    """The days that are compared when nobody names others, both included: they are all over. `now` is aware."""
    last_day = today(source, now) - _DAY
    first_day = max(source.start_date, last_day - (source.reconciliation.days - 1) * _DAY)
    return max(first_day, source.horizon("raw", last_day + _DAY) or first_day), last_day


def equals_api(source: Source, method: Method) -> AssetChecksDefinition:
    """The check of a report of a source."""
    key = asset_key(source, method.table)

    @multi_asset_check(
        name=f"{source.name}_{method.table}_{NAME}",
        specs=[daily_check(source, key, NAME, _DESCRIPTION)],
        pool=source.pool,
    )
    def check(
        context: AssetCheckExecutionContext, config: ReconcileConfig, api: DataApi, warehouse: WarehouseResource
    ) -> Iterator[AssetCheckEvaluation | Output[None]]:
        run, now = context.run, datetime.now(UTC)
        output = context.op_def.output_defs[0].name
        if run.asset_selection:
            # Dagster's own launches of assets bring their checks along: a load is to cost no more than its rows.
            context.log.info(f"not compared: launch the job {reconcile_job_name(source)} for that")
            yield Output(None, output)
            return
        first_day, last_day = _period(source, config, run, now)
        mode: Any = config.mode or run.tags.get(MODE) or source.reconciliation.mode
        opened = warehouse.get()
        with (
            journaled(context, opened, source, f"{NAME} {method.table}", (first_day, last_day)) as entry,
            api.client(source.name, reserve_of(run, source), opened, run) as client,
        ):
            customers = Customers(source, method, client, opened, entry)
            different: Found = {}
            reconciler = Reconciler(client, opened, source, method, customers.accounts, params_of, customers.site_ids)
            try:
                for found in reconciler.compare(first_day, last_day, mode, today(source, now).toordinal()):
                    with opened.begin() as connection:
                        record_days(
                            connection, source.account_id, method.table, found, mode, run.run_id, datetime.now(UTC)
                        )
                    entry.rows += sum(map(len, found.values()))
                    context.log.info(f"{method.table}: {len(found)} days compared with the API")
                    different |= {day: differences for day, differences in found.items() if differences}
                    yield from _evaluations(context.instance, key, found)
                if different:
                    entry.differences = told(different)
                    entry.next_step = _healed(source)
            finally:
                entry.points += reconciler.points
                entry.warnings += reconciler.warnings
        yield Output(None, output)

    return check


def told(different: Found) -> str:
    """Return which days differ, and by what, in one line for the journal."""
    named = [f"{day} ({_what(differences)})" for day, differences in sorted(different.items())[:_NAMED]]
    if len(different) > _NAMED:
        named.append(f"and {len(different) - _NAMED} more days in comagic_ops.reconciliation")
    return f"{len(different)} days differ from what CoMagic says: {'; '.join(named)}"


def _healed(source: Source) -> str:
    if source.reconciliation.heal_days:
        return "Nothing at first: the days are loaded again by themselves while `up` runs."
    return "Load the days again, or let `comagic-pipeline reconcile --heal` do it."


def _period(source: Source, config: ReconcileConfig, run: DagsterRun, now: datetime) -> tuple[date, date]:
    """What a run is to compare: as its config or its partitions say, else as the configuration says."""
    first_day, last_day = period_of(run) or default_period(source, now)
    try:
        first_day = date.fromisoformat(config.first_day) if config.first_day else first_day
        last_day = date.fromisoformat(config.last_day) if config.last_day else last_day
        check_period(source, first_day, last_day, names=("first_day", "last_day"))
    except (ValueError, ConfigError) as error:
        raise Failure(f"{NAME}: {error}; write days as YYYY-MM-DD", allow_retries=False) from None
    return first_day, last_day


def _evaluations(instance: DagsterInstance, key: AssetKey, found: Found) -> Iterator[AssetCheckEvaluation]:
    """A result for each day: red when it differs."""
    targets = latest_materializations(instance, key, found)
    for day, differences in sorted(found.items()):
        yield AssetCheckEvaluation(
            asset_key=key,
            check_name=NAME,
            passed=not differences,
            metadata=_metadata(differences),
            target_materialization_data=targets.get(day),
            severity=AssetCheckSeverity.ERROR,
            description=_description(day, differences),
            partition=day.isoformat(),
        )


def _description(day: date, differences: Sequence[Difference]) -> str:
    if not differences:
        return f"{day} is what CoMagic says."
    return f"{day} is not what CoMagic says: {_what(differences)}. It is loaded again by itself, or load it yourself."


def _what(differences: Sequence[Difference]) -> str:
    totals = [each for each in differences if each.grain == "day"]
    said = ", ".join(map(_said, totals))
    if missing := sum(each.grain == "row" and each.in_warehouse is None for each in differences):
        rejected = f"{missing} rows could not be stored or are missing (comagic_ops.rejected_rows)"
        said = f"{said}; {rejected}" if said else rejected
    return said or f"{len(differences)} differences within it"


def _said(total: Difference) -> str:
    whose = f"customer {total.customer_user_id} " if total.customer_user_id else ""
    return f"{whose}{total.layer} {total.measure} {total.in_warehouse or 0} for {total.in_api or 0}"


def _metadata(differences: Sequence[Difference]) -> Mapping[str, Any]:
    if not differences:
        return {"differences": 0}
    place = ("layer", "grain", "customer_user_id", "campaign_id", "call_source", "tag_id", "row_key")
    names = (*place, "measure", "in_warehouse", "in_api")
    rows = [
        TableRecord({name: str(getattr(each, name)) if getattr(each, name) is not None else "" for name in names})
        for each in differences[:_SHOWN]
    ]
    return {"differences": len(differences), "what": MetadataValue.table(rows)}
