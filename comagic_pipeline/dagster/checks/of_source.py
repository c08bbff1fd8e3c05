"""The checks of a source. List a new one here.

The checks of one asset are a step of their own, so that an asset that fails to load keeps no other from being checked.
"""

from collections.abc import Iterator

from dagster import AssetChecksDefinition

from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.config import Source
from comagic_pipeline.dagster.checks.all_days_loaded import all_days_loaded
from comagic_pipeline.dagster.checks.equals_api import equals_api, reconciled_reports
from comagic_pipeline.dagster.checks.finding import checks
from comagic_pipeline.dagster.checks.no_doubtful_days import no_doubtful_days
from comagic_pipeline.dagster.checks.points_suffice import points_suffice
from comagic_pipeline.dagster.checks.raw_integrity import custom_report_is_right, raw_is_right
from comagic_pipeline.dagster.checks.recent_rows import recent_rows, timed_reports
from comagic_pipeline.dagster.checks.star_integrity import star_is_right
from comagic_pipeline.dagster.checks.usual_volume import usual_volume
from comagic_pipeline.warehouse.star.tables import kinds_of


def checks_of(source: Source) -> Iterator[AssetChecksDefinition]:
    """Yield all checks of a source."""
    chosen, timed = source.chosen_tables, timed_reports(source)
    yield checks(f"{source.name}_points_suffice", points_suffice(source))
    for method in REPORTS:
        if method.table in chosen:
            looks = [
                raw_is_right(source, method),
                usual_volume(source, method.table),
                no_doubtful_days(source, method.table),
            ]
            looks += [recent_rows(source, method)] if method in timed else []
            yield checks(f"{source.name}_{method.table}_checks", *looks)
    for report in source.custom_reports:
        looks = [
            custom_report_is_right(source, report),
            usual_volume(source, report.asset_name),
            no_doubtful_days(source, report.asset_name),
        ]
        yield checks(f"{source.name}_{report.asset_name}_checks", *looks)
    for kind in kinds_of(chosen):
        yield checks(f"{source.name}_{kind.facts.name}_checks", star_is_right(source, kind))
    if source.reports:
        # One look at the ledger answers for all of them.
        yield checks(f"{source.name}_all_days_loaded", all_days_loaded(source))
    if reconciled_reports(source):
        yield equals_api(source)
