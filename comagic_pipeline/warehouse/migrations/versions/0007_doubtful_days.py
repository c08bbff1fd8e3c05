"""Days that could not be proven, loads that were refused because they would remove too much, and removed rows

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from comagic_pipeline.warehouse.migrations.columns import add_column, describe_column

revision = "0007"
down_revision = "0006"
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
    describe_column("journal", "event", "done, different, refused, skipped, warning or failed")
    op.create_table(
        "removed_rows",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False, comment="When the load removed it"),
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column("customer_user_id", sa.BigInteger(), nullable=False, comment="Customer of an agent, else 0"),
        sa.Column("table_name", sa.Text(), nullable=False, comment="Table that held it"),
        sa.Column("day", sa.Date(), nullable=True, comment="Day of the row; empty for dictionaries"),
        sa.Column("row_key", sa.Text(), nullable=True, comment="Key of the row; empty where the table has none"),
        sa.Column("row", JSONB(), nullable=False, comment="The row as it was, by the names of its columns"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that removed it"),
        sa.PrimaryKeyConstraint("id"),
        schema="ops",
        comment="Rows that a load removed because the API has them no more, kept for keep_deleted_days",
    )
    op.create_index("removed_rows_idx_1", "removed_rows", ["account_id", "removed_at"], unique=False, schema="ops")
    op.create_index(
        "removed_rows_idx_2", "removed_rows", ["account_id", "table_name", "day"], unique=False, schema="ops"
    )
