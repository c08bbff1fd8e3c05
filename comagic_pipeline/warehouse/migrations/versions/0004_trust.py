"""Reconciliation, retention, a fuller journal, alerts

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from comagic_pipeline.warehouse.migrations.columns import add_column

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column(
        "loaded_days", "answered", "bigint", "Rows that the API counted, wanted and stored or not; empty: not known"
    )
    add_column(
        "journal", "trigger", "text", "What began the run: a schedule, a sensor, a backfill, a command or a person"
    )
    add_column("journal", "added", "bigint", "Rows that were not there before")
    add_column("journal", "updated", "bigint", "Rows that were there with other values")
    add_column("journal", "deleted", "bigint", "Rows that are no more")
    add_column("journal", "next_step", "text", "What a person does about it, where something went wrong")
    op.create_table(
        "reconciled_days",
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column("table_name", sa.Text(), nullable=False, comment="Raw table that was compared with the API"),
        sa.Column("day", sa.Date(), nullable=False, comment="Day, in the account's time zone"),
        sa.Column("mode", sa.Text(), nullable=False, comment="How it was compared last: quick, sampled or full"),
        sa.Column("is_equal", sa.Boolean(), nullable=False, comment="Whether warehouse and API said the same"),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False, comment="When it was compared last"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that compared it"),
        sa.Column(
            "heal_tries",
            sa.Integer(),
            nullable=False,
            comment="How often it was loaded again because it differed, in a row",
        ),
        sa.Column(
            "heal_asked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last loaded again because it differed",
        ),
        sa.PrimaryKeyConstraint("account_id", "table_name", "day", name="reconciled_days_pkey"),
        schema="ops",
        comment="The last comparison of each day with the API, and what was done about a difference",
    )
    op.create_table(
        "reconciliation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, comment="When"),
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column("table_name", sa.Text(), nullable=False, comment="Raw table that was compared with the API"),
        sa.Column("layer", sa.Text(), nullable=False, comment="What was compared with the API: raw or star"),
        sa.Column("day", sa.Date(), nullable=False, comment="Day, in the account's time zone"),
        sa.Column(
            "grain",
            sa.Text(),
            nullable=False,
            comment="day: the whole day; group: calls of a campaign, a call source and a tag; row: a row by its key",
        ),
        sa.Column("campaign_id", sa.BigInteger(), nullable=True, comment="Campaign of the group; empty: none"),
        sa.Column("call_source", sa.Text(), nullable=True, comment="Call source code of the group"),
        sa.Column("tag_id", sa.BigInteger(), nullable=True, comment="Tag of the group; empty: calls without a tag"),
        sa.Column("row_key", sa.Text(), nullable=True, comment="Key of a row that differs"),
        sa.Column(
            "measure",
            sa.Text(),
            nullable=False,
            comment="calls, waiting or talking (seconds); of a row: rows, or values where both have it",
        ),
        sa.Column(
            "in_warehouse",
            sa.BigInteger(),
            nullable=True,
            comment="What the warehouse says; empty: it has nothing of it",
        ),
        sa.Column("in_api", sa.BigInteger(), nullable=True, comment="What the API says; empty: it has nothing of it"),
        sa.Column("difference", sa.BigInteger(), nullable=False, comment="Warehouse less API"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that found it"),
        sa.PrimaryKeyConstraint("id"),
        schema="ops",
        comment="Differences between warehouse and API, as they were found",
    )
    op.create_index(
        "reconciliation_idx_1", "reconciliation", ["account_id", "table_name", "day"], unique=False, schema="ops"
    )
    op.create_table(
        "retained_from",
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column("layer", sa.Text(), nullable=False, comment="raw, star or custom_reports"),
        sa.Column("first_day", sa.Date(), nullable=False, comment="First day that is kept: older ones were deleted"),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False, comment="When"),
        sa.PrimaryKeyConstraint("account_id", "layer", name="retained_from_pkey"),
        schema="ops",
        comment="What retention has deleted",
    )
    op.create_table(
        "alerts",
        sa.Column("cause", sa.Text(), nullable=False, comment="What is wrong: one cause is told once"),
        sa.Column(
            "account_id",
            sa.Integer(),
            nullable=True,
            comment="Source, general_accounts.account_id; empty: none of them alone",
        ),
        sa.Column("message", sa.Text(), nullable=False, comment="What people were told"),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, comment="When it was last seen"),
        sa.Column(
            "told_at", sa.DateTime(timezone=True), nullable=True, comment="When people were told; empty: not yet"
        ),
        sa.Column(
            "recovered_at", sa.DateTime(timezone=True), nullable=True, comment="When it was over; empty: it goes on"
        ),
        sa.PrimaryKeyConstraint("cause", name="alerts_pkey"),
        schema="ops",
        comment="What people were told of, and whether it is over",
    )
