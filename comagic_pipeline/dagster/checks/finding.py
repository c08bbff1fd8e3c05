"""Building blocks of checks: a finding, its result in a run or outside of runs, and the definition.

What a check looks at, and when it is red, is in its module.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    DagsterInstance,
    multi_asset_check,
)

from comagic_pipeline.dagster.checks.partitioned import (
    failed_or_planned_days,
    latest_materializations,
)
from comagic_pipeline.dagster.private_names import AssetCheckEvaluationTargetMaterializationData
from comagic_pipeline.dagster.resources import WarehouseResource
from comagic_pipeline.dagster.runs import period_of
from comagic_pipeline.warehouse.engine import Warehouse

Figures = dict[str, int | float | str]
"""Metadata of a finding, by name."""
Period = tuple[date, date]
"""The first and the last day, both included."""

_SHOWN_DAYS = 5
"""How many days a finding names: the first ones; how many there are is counted."""


@dataclass(frozen=True)
class Finding:
    """What a check found: `description` is what a person should know, `metadata` are figures for the UI's plots."""

    asset_key: AssetKey
    check_name: str
    passed: bool
    description: str
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)
    severity: AssetCheckSeverity = AssetCheckSeverity.WARN
    day: date | None = None
    """The day that it is about, for a check with a result for each day (`partitioned`)."""

    @property
    def key(self) -> AssetCheckKey:
        """Which check of which asset."""
        return AssetCheckKey(self.asset_key, self.check_name)

    def evaluation(self, about: AssetCheckEvaluationTargetMaterializationData | None = None) -> AssetCheckEvaluation:
        """Return the event of the result; `about` is the materialization that the result of a day is about.

        A result without a day is about what its run materialized, or what had been materialized before.
        """
        return AssetCheckEvaluation(
            asset_key=self.asset_key,
            check_name=self.check_name,
            passed=self.passed,
            metadata=self.metadata,
            severity=self.severity,
            description=self.description,
            partition=self.day.isoformat() if self.day else None,
            target_materialization_data=about,
        )


@dataclass(frozen=True)
class Look:
    """A look at the warehouse that answers some checks.

    `find` gets the days of the run, or None when it has none: then it is about all that is held.
    """

    specs: Sequence[AssetCheckSpec]
    find: Callable[[Warehouse, Period | None], Iterable[Finding]]

    @property
    def keys(self) -> set[AssetCheckKey]:
        """The checks that it answers."""
        return {spec.key for spec in self.specs}


def checks(name: str, *looks: Look) -> AssetChecksDefinition:
    """Return the checks of some looks in one step; a run has those of the assets that it loads.

    Results are yielded as events and not as outputs: Dagster would store another event for each output, and look for
    the materialization that it is about, which takes longer than all of our SQL.
    """

    @multi_asset_check(name=name, specs=[spec for look in looks for spec in look.specs], can_subset=True)
    def check(context: AssetCheckExecutionContext, warehouse: WarehouseResource) -> Iterator[AssetCheckEvaluation]:
        wanted = context.selected_asset_check_keys
        for look in looks:
            if wanted.isdisjoint(look.keys):
                continue
            found = [each for each in look.find(warehouse.get(), period_of(context.run)) if each.key in wanted]
            yield from (finding.evaluation() for finding in found if finding.day is None)
            for spec in (spec for spec in look.specs if spec.partitions_def and spec.key in wanted):
                yield from _of_days(context.instance, spec, found)

    return check


def _of_days(
    instance: DagsterInstance, spec: AssetCheckSpec, found: Iterable[Finding]
) -> Iterator[AssetCheckEvaluation]:
    """Yield the results of a check with one for each day: bad ones, and good ones of days that are shown as bad.

    A good result of every day would be most of what a run stores, and say nothing.
    """
    of_day = {finding.day: finding for finding in found if finding.day and finding.key == spec.key}
    good = {day for day, finding in of_day.items() if finding.passed}
    left_out = good - failed_or_planned_days(instance, spec.key, good) if good else good
    wanted = {day: finding for day, finding in of_day.items() if day not in left_out}
    about = latest_materializations(instance, spec.asset_key, wanted)
    yield from (finding.evaluation(about.get(day)) for day, finding in sorted(wanted.items()))


def figures(days: Sequence[tuple[date, str]], **counts: int) -> Figures:
    """Metadata of counts, and of the first of the days that are not right, each with what is wrong with it."""
    named = "; ".join(f"{day}: {what}" for day, what in sorted(days)[:_SHOWN_DAYS])
    return {**counts, **({"first_days": named} if named else {})}
