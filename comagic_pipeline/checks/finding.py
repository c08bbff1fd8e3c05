"""What every check is made of: a finding, told by a run or outside of runs, and the definition that finds.

What is looked at, and when it is red, is in the module of each check.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    multi_asset_check,
)

from comagic_pipeline.asked import period_of
from comagic_pipeline.resources import WarehouseResource
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

    @property
    def key(self) -> AssetCheckKey:
        """Which check of which asset."""
        return AssetCheckKey(self.asset_key, self.check_name)

    def result(self) -> AssetCheckResult:
        """What a run yields."""
        return AssetCheckResult(
            asset_key=self.asset_key,
            check_name=self.check_name,
            passed=self.passed,
            metadata=self.metadata,
            severity=self.severity,
            description=self.description,
        )

    def evaluation(self) -> AssetCheckEvaluation:
        """An event that no run reports."""
        return AssetCheckEvaluation(
            asset_key=self.asset_key,
            check_name=self.check_name,
            passed=self.passed,
            metadata=self.metadata,
            severity=self.severity,
            description=self.description,
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
    """The checks of some looks in one step; a run has those of the assets that it loads.

    Checks of one asset belong into one step: Dagster then looks only once for what they are about, which takes longer
    than all of our SQL.
    """

    @multi_asset_check(name=name, specs=[spec for look in looks for spec in look.specs], can_subset=True)
    def check(context: AssetCheckExecutionContext, warehouse: WarehouseResource) -> Iterator[AssetCheckResult]:
        wanted = context.selected_asset_check_keys
        for look in looks:
            if wanted.isdisjoint(look.keys):
                continue
            for finding in look.find(warehouse.get(), period_of(context.run)):
                if finding.key in wanted:
                    yield finding.result()

    return check


def figures(days: Sequence[tuple[date, str]], **counts: int) -> Figures:
    """Metadata of counts, and of the first of the days that are not right, each with what is wrong with it."""
    named = "; ".join(f"{day}: {what}" for day, what in sorted(days)[:_SHOWN_DAYS])
    return {**counts, **({"first_days": named} if named else {})}
