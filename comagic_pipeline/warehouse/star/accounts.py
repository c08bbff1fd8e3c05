"""The status of a source in general_accounts: that of the last load of every table, by the journal.

A build of the star does not set it, because it says nothing about loads that failed before.
"""

from datetime import timedelta

from sqlalchemy import Connection, case, exists, func, update

from comagic_pipeline.warehouse.ops.tables import journal
from comagic_pipeline.warehouse.star.shared import general_accounts

DONE, FAILED = "успешно", "ошибка"
"""The words that mybi connect writes there."""
REMEMBERED = timedelta(days=3)
"""How long a failure counts that no later load of its table has mended. Every table is loaded at least once a day, so
one that failed before that is no longer loaded: the source was told to leave it out."""


def set_status(connection: Connection, account_id: int) -> None:
    """Say in general_accounts whether the last load of one of the account's tables failed; no row, no change.

    To be called when the journal has got a line of a load that is done, skipped or failed, in the same transaction.
    """
    failed, later = journal.alias("failed").c, journal.alias("later").c
    is_mended = exists().where(
        later.account_id == failed.account_id,
        later.table_name == failed.table_name,
        later.event.in_(("done", "different", "refused", "skipped")),
        later.id > failed.id,
    )
    is_failed = exists().where(
        failed.account_id == account_id,
        failed.event == "failed",
        failed.happened_at > func.now() - REMEMBERED,
        ~is_mended,
    )
    status = case((is_failed, FAILED), else_=DONE)
    account = general_accounts.c
    statement = update(general_accounts).values(status=status)
    connection.execute(statement.where(account.account_id == account_id, account.status.is_distinct_from(status)))
