"""Choose the target of a custom report: the table of JSON reports, or its own tables."""

from datetime import tzinfo

from comagic_pipeline.custom_reports.mapping import day_of, json_of, place_of, rows_of
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.warehouse.reports.json_target import JsonReportTarget
from comagic_pipeline.warehouse.reports.structured_target import StructuredTarget
from comagic_pipeline.warehouse.target import Target


def target_of(report: CustomReport, zone: tzinfo) -> Target:
    """Return the target of a report; `zone` is the account's, for times that come with an offset after all."""
    if not report.tables:
        return JsonReportTarget(
            report.asset_name,
            report.processor_id,
            day_of(report.method),
            place_of(report.method),
            json_of(report.method, report.fields),
        )
    makers = [(source.table, rows_of(source, report.method, zone)) for source in report.tables]
    return StructuredTarget(report.asset_name, report.processor_id, day_of(report.method), makers)
