"""Add what revision 0001 lacked when it was first applied: kinds of the star beyond calls, details of tags, comments

Warehouses of version ebf6685 have a revision 0001 without these; it was changed afterwards. Comments of 0004 changed
likewise.

Revision ID: 0005
Revises: 0004
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.operations import Operations
from alembic.operations.ops import CreateIndexOp, CreateTableOp, MigrateOperation
from alembic.script import ScriptDirectory

from comagic_pipeline.warehouse.migrations.columns import add_column, describe_column, qualified

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


_TAGS = "comagic_calls_tags"
_DETAILS = (
    ("change_time", "timestamp", "When the tag was put, wall time"),
    ("user_id", "bigint", "User who put the tag"),
    ("user_login", "varchar(128)", "Login of that user"),
    ("employee_id", "bigint", "Employee who put the tag"),
    ("employee_full_name", "varchar(256)", "Name of that employee"),
)
# Built again from raw, which has the details already; that costs no points.
_REBUILD = """
insert into {waiting_days} (account_id, customer_user_id, table_name, day, run_id, asked_at, tries, reason)
select distinct account_id, 0, 'comagic_calls_facts', day, '', now(), 0, 'interrupted'
  from {loaded_days}
 where table_name = 'calls_report'
    on conflict do nothing
"""


class _MissingOfTheStar(Operations):
    """Operations that create what is not there of the star, describe what is there, and leave other schemas alone."""

    def invoke(self, operation: MigrateOperation) -> Any:
        if isinstance(operation, CreateTableOp | CreateIndexOp) and operation.schema == "star":
            operation.if_not_exists = True
            return super().invoke(operation)
        return None


def upgrade() -> None:
    if not _has_details():
        for name, kind, comment in _DETAILS:
            add_column(_TAGS, name, kind, comment, "star")
        op.execute(_REBUILD.format(**{name: qualified(name, "ops") for name in ("waiting_days", "loaded_days")}))
    context = op.get_context()
    assert context.config is not None  # noqa: S101 - `alembic_config` made it
    # A module of its own: the one that Alembic itself may run is another.
    first: Any = ScriptDirectory.from_config(context.config).get_revision("0001").module
    first.op = _MissingOfTheStar(context)
    first.upgrade()
    describe_column("journal", "event", "done, skipped, warning or failed")
    describe_column(
        "reconciliation", "measure", "calls, waiting or talking (seconds); of a row: rows, or values where both have it"
    )


def _has_details() -> bool:
    found = op.get_bind().scalar(
        sa.text("select exists (select from pg_attribute where attrelid = to_regclass(:tags) and attname = :name)"),
        {"tags": qualified(_TAGS, "star"), "name": _DETAILS[0][0]},
    )
    return bool(found)
