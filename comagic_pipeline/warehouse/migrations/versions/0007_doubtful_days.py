"""Days that could not be proven, and loads that were refused because they would remove too much

Revision ID: 0007
Revises: 0004
"""

from comagic_pipeline.warehouse.migrations.columns import add_column

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column(
        "loaded_days",
        "api_rows",
        "bigint",
        "Rows that the API counts for the day, where the stored rows could not be proven complete; empty: proven",
    )
    add_column(
        "loaded_days",
        "refused_rows",
        "bigint",
        "Rows of the latest answer that was refused because it would remove too many; empty: none since the load",
    )
    add_column("loaded_days", "refused_at", "timestamptz", "When that answer was refused")
