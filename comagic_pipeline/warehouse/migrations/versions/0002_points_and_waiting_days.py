"""Points and waiting days

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_points",
        sa.Column("key_id", sa.Text(), nullable=False, comment="Which key: a hash of the API's address and the key"),
        sa.Column(
            "day_limit", sa.Integer(), nullable=True, comment="Points of the day; empty where the API does not tell"
        ),
        sa.Column("day_remaining", sa.Integer(), nullable=True, comment="Points left of the day"),
        sa.Column("day_resets_at", sa.DateTime(timezone=True), nullable=True, comment="When the day starts anew"),
        sa.Column("day_began_at", sa.DateTime(timezone=True), nullable=True, comment="When the day last started anew"),
        sa.Column(
            "hour_limit", sa.Integer(), nullable=True, comment="Points of the hour; empty where the API does not tell"
        ),
        sa.Column("hour_remaining", sa.Integer(), nullable=True, comment="Points left of the hour"),
        sa.Column("hour_resets_at", sa.DateTime(timezone=True), nullable=True, comment="When the hour starts anew"),
        sa.Column(
            "hour_began_at", sa.DateTime(timezone=True), nullable=True, comment="When the hour last started anew"
        ),
        sa.Column(
            "minute_limit",
            sa.Integer(),
            nullable=True,
            comment="Points of the minute; empty where the API does not tell",
        ),
        sa.Column("minute_remaining", sa.Integer(), nullable=True, comment="Points left of the minute"),
        sa.Column("minute_resets_at", sa.DateTime(timezone=True), nullable=True, comment="When the minute starts anew"),
        sa.Column(
            "minute_began_at", sa.DateTime(timezone=True), nullable=True, comment="When the minute last started anew"
        ),
        sa.Column("answers", sa.BigInteger(), nullable=False, comment="Answers so far: tells late ones from new ones"),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True, comment="When the API last told limits"),
        sa.PrimaryKeyConstraint("key_id", name="key_points_pkey"),
        schema="ops",
        comment="What the API last said of a key's points, shared by all processes that use the key",
    )
    op.create_table(
        "points_spent",
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column("day", sa.Date(), nullable=False, comment="Day, in the account's time zone"),
        sa.Column(
            "table_name",
            sa.Text(),
            nullable=False,
            comment="Raw table that was asked for, or the method where it has none",
        ),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run; empty for a request of a command"),
        sa.Column("points", sa.BigInteger(), nullable=False, comment="Successful requests: each costs a point"),
        sa.PrimaryKeyConstraint("account_id", "day", "table_name", "run_id", name="points_spent_pkey"),
        schema="ops",
        comment="Where the points went",
    )
    op.create_table(
        "requests_under_way",
        sa.Column("ticket", sa.Text(), nullable=False, comment="Name of the request"),
        sa.Column("key_id", sa.Text(), nullable=False, comment="Which key"),
        sa.Column("method", sa.Text(), nullable=False, comment="Method that was called"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run; empty for a request of a command"),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False, comment="When"),
        sa.Column("answers", sa.BigInteger(), nullable=False, comment="key_points.answers at that moment"),
        sa.PrimaryKeyConstraint("ticket"),
        schema="ops",
        comment="Requests that were sent and not answered yet: each may cost a point that no answer has told of",
    )
    op.create_table(
        "waiting_days",
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column("customer_user_id", sa.BigInteger(), nullable=False, comment="Customer of an agent, else 0"),
        sa.Column("table_name", sa.Text(), nullable=False, comment="Raw table, or table of facts"),
        sa.Column("day", sa.Date(), nullable=False, comment="Day, in the account's time zone"),
        sa.Column(
            "run_id",
            sa.Text(),
            nullable=False,
            comment="Dagster run that has it to load, or had it and did not come so far",
        ),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False, comment="When it was first asked for"),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the next try may begin; empty: at once",
        ),
        sa.Column(
            "tries", sa.Integer(), nullable=False, comment="Runs that did not load one day of the table, in a row"
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=True,
            comment="Why it waits: points, failed or interrupted; empty while a run has it",
        ),
        sa.PrimaryKeyConstraint("account_id", "customer_user_id", "table_name", "day", name="waiting_days_pkey"),
        schema="ops",
        comment="Days that were asked for and are not loaded yet; a line goes in the transaction that loads its day",
    )
    op.create_index("requests_under_way_idx_1", "requests_under_way", ["key_id"], unique=False, schema="ops")
