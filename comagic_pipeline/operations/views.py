"""Create the Russian views over the star and over tables of custom reports."""

from comagic_pipeline.config import Config
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.reports.tables import present_tables
from comagic_pipeline.warehouse.star.views import create_views


def make_views(config: Config, warehouse: Warehouse) -> list[str]:
    """Make the Russian views equal to their definition; gives a line for each thing that is not as it should be."""
    homes = [report.home for source in config.sources for report in source.custom_reports]
    with warehouse.begin() as connection:
        reports = present_tables(connection, homes)
        return create_views(connection, warehouse.schemas, config.warehouse.views_prefix, reports)
