"""The history of dictionaries: which name a campaign had when its calls came in. Free of points, part of each load."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from comagic_pipeline.catalog import Method
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.raw.tables import OWNER, history_table, raw_table

# 1900 and not -infinity, which few drivers can read.
_CLOSE = """
update {history} as version set valid_to = :loaded_at
 where {mine} and version.valid_to is null
   and not exists (select from {current} as current where {same_key} and {same_values})
"""
_OPEN = """
insert into {history} ({columns}, valid_from)
select {current_columns},
       case when exists (select from {history} as version where {same_key})
            then cast(:loaded_at as timestamptz) else '1900-01-01 00:00:00+00' end
  from {current} as current
 where {mine}
   and not exists (select from {history} as version where {same_key} and version.valid_to is null)
"""


def keep_versions(
    connection: Connection, warehouse: Warehouse, method: Method, account: Mapping[str, Any], loaded_at: datetime
) -> None:
    """Make the open versions equal to the rows that the dictionary of the account holds now.

    `account` holds account_id and customer_user_id. Runs in the transaction of the load.
    """
    quote = connection.dialect.identifier_preparer.quote
    names = [*OWNER, *(column.name for column in method.columns)]
    key = {*OWNER, *method.key}
    for statement, mine in ((_CLOSE, "version"), (_OPEN, "current")):
        sql = statement.format(
            history=warehouse.quote("raw", history_table(method).name),
            current=warehouse.quote("raw", raw_table(method).name),
            columns=", ".join(map(quote, names)),
            current_columns=", ".join(f"current.{quote(name)}" for name in names),
            mine=" and ".join(f"{mine}.{name} = :{name}" for name in OWNER),
            same_key=" and ".join(f"version.{quote(name)} = current.{quote(name)}" for name in names if name in key),
            same_values=" and ".join(
                f"version.{quote(name)} is not distinct from current.{quote(name)}" for name in names if name not in key
            )
            or "true",
        )
        connection.execute(text(sql), {**account, "loaded_at": loaded_at})
