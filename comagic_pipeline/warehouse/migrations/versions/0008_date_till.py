"""Whether date_till belongs to the period

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "date_till",
        sa.Column("account_id", sa.Integer(), nullable=False, comment="Source, general_accounts.account_id"),
        sa.Column(
            "is_inclusive", sa.Boolean(), nullable=False, comment="Whether rows of the second date_till are counted"
        ),
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=False, comment="When the API was asked"),
        sa.PrimaryKeyConstraint("account_id", name="date_till_pkey"),
        schema="ops",
        comment="Whether the API takes date_till into the period of a request, learned once per account",
    )
