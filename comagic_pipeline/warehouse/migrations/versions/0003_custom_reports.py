"""Custom reports, and what the loaded days hold

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from comagic_pipeline.warehouse.migrations.columns import add_column, describe_column

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of days that are loaded already both stay unknown.
    add_column("loaded_days", "filter", "text", "Which rows were wanted; empty: all")
    add_column("loaded_days", "left_out", "text[]", "Columns of the table that the rows do not have; empty: not known")
    for table, comment in (
        ("loaded_days", "Raw table, or asset of a custom report"),
        ("rejected_rows", "Raw table, or asset of a custom report"),
        ("waiting_days", "Raw table, table of facts, or asset of a custom report"),
        ("journal", "Table, the star, or asset of a custom report"),
    ):
        describe_column(table, "table_name", comment)
    op.create_table(
        "custom_reports",
        sa.Column("processor_id", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the report"),
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name in the configuration"),
        sa.Column("asset_name", sa.Text(), nullable=False, comment="Name of its asset, without the source"),
        sa.Column("report", sa.Text(), nullable=False, comment="Report of the API that it takes its rows from"),
        sa.Column("tables", sa.ARRAY(sa.Text()), nullable=False, comment="Tables that hold its rows"),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, comment="When one of these last changed"),
        sa.PrimaryKeyConstraint("processor_id"),
        schema="ops",
        comment="The custom reports that were loaded, and where their rows are",
    )
    op.execute(sa.schema.CreateSequence(sa.Sequence("comagic_reports_id_seq", schema="star", data_type=sa.Integer())))
    op.create_table(
        "comagic_reports",
        sa.Column(
            "id",
            sa.Integer(),
            server_default=sa.Sequence("comagic_reports_id_seq", schema="star").next_value(),
            autoincrement=False,
            nullable=False,
            comment="Surrogate key, stable over reloads",
        ),
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column(
            "processor_id",
            sa.Integer(),
            nullable=False,
            comment="Custom report, comagic_ops.custom_reports.processor_id",
        ),
        sa.Column("simple_date", sa.Date(), nullable=False, comment="Day of the row"),
        sa.Column("row_id", sa.Integer(), nullable=False, comment="Number of the row within its day, by time and key"),
        sa.Column("row_data", sa.Text(), nullable=False, comment="The wanted fields as JSON"),
        sa.Column(
            "customer_user_id",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Customer of an agent, else 0",
        ),
        sa.PrimaryKeyConstraint("id", "simple_date", name="comagic_reports_pkey"),
        schema="star",
        comment="Rows of custom reports without a structure of their own",
        postgresql_partition_by="RANGE (simple_date)",
    )
    op.create_index(
        "comagic_reports_key",
        "comagic_reports",
        ["processor_id", "simple_date", "account_id", "customer_user_id", "row_id"],
        unique=True,
        schema="star",
    )
