"""Declare tables of the star: their metadata and functions that make columns. The tables are elsewhere.

The schema name `star` is a placeholder: translate it with
`connection.execution_options(schema_translate_map={"star": <real name>})`.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Integer, MetaData, Table, text
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    schema="star",
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_key",
        "fk": "%(table_name)s_%(referred_table_name)s",
    },
)


def table(name: str, label_ru: str, comment: str, *items: SchemaItem, metadata: MetaData = metadata) -> Table:
    """Return a table; `label_ru` names its Russian view, `comment` says what a row is."""
    return Table(name, metadata, *items, comment=comment, info={"label_ru": label_ru})


def column(
    name: str,
    kind: TypeEngine[Any] | type[TypeEngine[Any]],
    label_ru: str | None,
    comment: str,
    *constraints: SchemaItem,
    nullable: bool = False,
    default: str | None = None,
) -> Column[Any]:
    """Return a column that is NOT NULL unless said otherwise; `default` is an SQL expression.

    `label_ru` names it in the Russian view; None leaves it out of there.
    """
    return Column(
        name,
        kind,
        *constraints,
        nullable=nullable,
        server_default=None if default is None else text(default),
        comment=comment,
        info={"label_ru": label_ru},
    )


def surrogate_id(label_ru: str = "Идентификатор записи") -> Column[Any]:
    """Return the primary key `id`, given by the database."""
    comment = "Surrogate key, stable over rebuilds"
    return Column("id", Integer, Identity(), primary_key=True, comment=comment, info={"label_ru": label_ru})


def account_id() -> Column[Any]:
    """Return the source that a row belongs to."""
    return column("account_id", Integer, "Идентификатор подключенного аккаунта", "Source, general_accounts.account_id")


def customer_user_id() -> Column[Any]:
    """Return the customer of an agent that a row belongs to, as in raw. It stands behind the columns that mybi has."""
    comment = "Customer of an agent, else 0"
    return column("customer_user_id", BigInteger, "Идентификатор клиента агента", comment, default="0")


def key(name: str, target: Table, label_ru: str, comment: str) -> Column[Any]:
    """Return a key to the surrogate id of another table."""
    return column(name, Integer, label_ru, comment, ForeignKey(target.c.id))
