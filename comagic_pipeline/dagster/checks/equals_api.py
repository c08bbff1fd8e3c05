"""The checks `equals_api`: loaded days equal the API, one result for each day and report.

All reports of a source are one step, because the Launchpad asks for the configuration of each step: one period, one
list of reports. The comparison is in `operations/reconciler.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast, get_args

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

from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.config import ConfigError, Source, parse_day
from comagic_pipeline.config.calendar import check_period, today
from comagic_pipeline.core.suggestions import nearest
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks.partitioned import daily_check, latest_materializations
from comagic_pipeline.dagster.loads.customers import Customers
from comagic_pipeline.dagster.loads.journal import NEXT_STEP, POINTS_SPENT_UNTIL, journaled
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource
from comagic_pipeline.dagster.runs import period_of, reconcile_job_name, reserve_of, tables_of
from comagic_pipeline.operations.customers import params_of
from comagic_pipeline.operations.reconciler import Found, Mode, Reconciler
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.reconciliation import Difference, record_days

NAME = "equals_api"
MODE = "comagic/reconcile_mode"
"""Run tag: how to compare; without it as the configuration says."""
_SHOWN = 20
"""How many differences of a day the UI shows; all of them are in the books."""
_NAMED = 10
"""Days that the journal names."""
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
    tables: list[str] = Field(
        default=[],
        description="Reports to compare, by the names of their raw tables; no others cost points. Empty: the reports "
        "whose checks the run selects; in a run of the whole job those of reconciliation.tables.",
    )


@dataclass(frozen=True)
class _Task:
    """What a run is to compare: reports, days (both included), and how."""

    methods: Sequence[Method]
    first_day: date
    last_day: date
    mode: Mode


def reconciled_reports(source: Source) -> list[Method]:
    """Return the reports of a source that can be compared with the API."""
    return [method for method in REPORTS if method.table in source.chosen_tables]


def default_period(source: Source, now: datetime) -> tuple[date, date]:
    """Return the days that are compared when nobody names others, both included: they are all over. `now` is aware."""
    last_day = today(source, now) - _DAY
    first_day = max(source.start_date, last_day - (source.reconciliation.days - 1) * _DAY)
    return max(first_day, source.horizon("raw", last_day + _DAY) or first_day), last_day


def step_name(source: Source) -> str:
    """Return the name of the step that compares the reports of a source, for the run's configuration.

    Names of assets have no two underscores in a row: the step of a custom report called `equals api` is another one.
    """
    return f"{source.name}__{NAME}"


def run_config(source: Source, tables: Sequence[str]) -> dict[str, Any]:
    """Return the run configuration that compares these reports of a source and no others."""
    return {"ops": {step_name(source): {"config": {"tables": list(tables)}}}}


def equals_api(source: Source) -> AssetChecksDefinition:
    """Return the checks of all reports of a source: one step, so that the Launchpad asks for one period."""
    specs = {
        method.table: daily_check(source, asset_key(source, method.table), NAME, _DESCRIPTION)
        for method in reconciled_reports(source)
    }

    @multi_asset_check(name=step_name(source), specs=[*specs.values()], can_subset=True, pool=source.pool)
    def check(
        context: AssetCheckExecutionContext, config: ReconcileConfig, api: DataApi, warehouse: WarehouseResource
    ) -> Iterator[AssetCheckEvaluation | Output[None]]:
        if tables_of(context.run, source, context.instance):
            # Dagster's own launches of assets bring their checks along: a load is to cost no more than its rows.
            context.log.info(f"not compared: launch the job {reconcile_job_name(source)} for that")
            return
        selected = [table for table, spec in specs.items() if spec.key in context.selected_asset_check_keys]
        task = _task(source, config, context.run, selected, datetime.now(UTC))
        failed: list[Failure] = []
        for method in task.methods:
            try:
                yield from _compared(context, source, method, task, api, warehouse.get())
            except Failure as failure:
                if POINTS_SPENT_UNTIL in failure.metadata:
                    raise  # there are none for the other reports either
                context.log.error(failure.description)
                failed.append(failure)
            else:
                yield Output(None, specs[method.table].get_python_identifier())
        if failed:
            raise _together(failed, len(task.methods))

    return check


def _task(source: Source, config: ReconcileConfig, run: DagsterRun, selected: Sequence[str], now: datetime) -> _Task:
    """Return what a run that selects the checks of some reports is to compare; `now` is aware.

    Raises Failure with all that is wrong with the words of the Launchpad.
    """
    known = [method.table for method in reconciled_reports(source)]
    # The Launchpad selects no checks for a whole job; Dagster then takes all of them.
    is_whole_job = not run.asset_check_selection and len(selected) == len(known)
    tables = config.tables or (source.reconciliation.tables if is_whole_job else selected)
    methods = [method for method in reconciled_reports(source) if method.table in tables]
    problems = list(_wrong_tables(source, config.tables, known, selected))
    if not methods and not config.tables:
        problems.append(f"tables: {source.name} loads none of {', '.join(tables)}; name some of {', '.join(known)}")
    mode = config.mode or run.tags.get(MODE) or source.reconciliation.mode
    if mode not in get_args(Mode):
        problems.append(f"mode: {mode!r} is none of {', '.join(get_args(Mode))}")
    first_day, last_day = period_of(run) or default_period(source, now)
    try:
        first_day = _day("first_day", config.first_day) or first_day
        last_day = _day("last_day", config.last_day) or last_day
        check_period(source, first_day, last_day, names=("first_day", "last_day"))
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise Failure(f"{NAME}: {'; '.join(problems)}", allow_retries=False)
    return _Task(methods, first_day, last_day, cast("Mode", mode))


def _wrong_tables(
    source: Source, tables: Sequence[str], known: Sequence[str], selected: Sequence[str]
) -> Iterator[str]:
    for table in tables:
        if table not in known:
            hint = nearest(table, known) or f": {', '.join(known)}"
            yield f"tables: {table!r} is not among the reports of the source {source.name}{hint}"
        elif table not in selected:
            yield f"tables: the run leaves out {table}; launch the whole job {reconcile_job_name(source)} for it"


def _day(name: str, text: str) -> date | None:
    try:
        return parse_day(text) if text else None
    except ValueError as error:
        raise ConfigError(f"{name}: {text!r} {error}") from None


def _compared(
    context: AssetCheckExecutionContext, source: Source, method: Method, task: _Task, api: DataApi, opened: Warehouse
) -> Iterator[AssetCheckEvaluation]:
    """Compare the days of a report, with a line in the journal; yields a result for each day. Raises Failure."""
    run, key, now = context.run, asset_key(source, method.table), datetime.now(UTC)
    period = task.first_day, task.last_day
    with (
        journaled(context, opened, source, f"{NAME} {method.table}", period) as entry,
        api.client(source.name, reserve_of(run, source), opened, run) as client,
    ):
        customers = Customers(source, method, client, opened, entry)
        different: Found = {}
        reconciler = Reconciler(client, opened, source, method, customers.accounts, params_of, customers.site_ids)
        try:
            for found in reconciler.compare(*period, task.mode, today(source, now).toordinal()):
                with opened.begin() as connection:
                    record_days(
                        connection, source.account_id, method.table, found, task.mode, run.run_id, datetime.now(UTC)
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


def _together(failed: Sequence[Failure], reports: int) -> Failure:
    """Return one failure that says what went wrong with each of the reports that failed."""
    if len(failed) == 1:
        return failed[0]
    steps = {str(each.metadata[NEXT_STEP].value): None for each in failed if NEXT_STEP in each.metadata}
    return Failure(
        f"{len(failed)} of {reports} reports could not be compared: {'; '.join(str(each) for each in failed)}",
        metadata={NEXT_STEP: " ".join(steps)} if steps else {},
        allow_retries=False,
    )


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


def _evaluations(instance: DagsterInstance, key: AssetKey, found: Found) -> Iterator[AssetCheckEvaluation]:
    """Yield a result for each day: red when it differs."""
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
