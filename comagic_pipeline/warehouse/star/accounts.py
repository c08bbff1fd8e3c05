"""The status of a source in general_accounts when a load fails; a build of the star sets it back."""

from sqlalchemy import Connection, update

from comagic_pipeline.warehouse.star.tables import metadata

FAILED = "ошибка"
"""The word that mybi connect writes there."""


def mark_failed(connection: Connection, account_id: int) -> None:
    """Say in general_accounts that the account's last load failed; no row, no change."""
    accounts = metadata.tables["star.general_accounts"].c
    statement = update(accounts.id.table).values(status=FAILED)
    is_other = accounts.status.is_distinct_from(FAILED)
    connection.execute(statement.where(accounts.account_id == account_id, is_other))
