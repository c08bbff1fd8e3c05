"""The customers of an agent in the keys of the star, and ids of JSON reports by key

Two customers whose calls or campaigns had equal ids shared a row. Rows of agents get their customer from raw, and their
days are noted for a build of the star, which adds the rows that were missing and costs no points. Rows of other
accounts get 0 without being rewritten.

Revision ID: 0006
Revises: 0005
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from comagic_pipeline.warehouse.migrations.columns import add_column, describe_column, real_schema, schema_name

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CUSTOMER = "Customer of an agent, else 0"
_ROW_KEY = "Hash of the row's key; empty until its day is loaded again"
_LEGS = "A call leg''s own parameters; comagic_calls joins on account_id, customer_user_id and call_id"
_KINDS = (
    # The kind, the column of its dimension with the API's id, and the column of raw that it comes from.
    ("calls", "call_id", "id"),
    ("call_legs", "leg_id", "id"),
    ("chats", "chat_id", "id"),
    ("offline_messages", "offline_message_id", "id"),
    ("goals", "communication_id", "communication_id"),
    ("visitor_sessions", "visitor_session_id", "id"),
)
_KEYS = (*((f"comagic_{kind}", key) for kind, key, _ in _KINDS), ("comagic_campaigns", "campaign_id"))


def upgrade() -> None:
    # A build holds its tables in another order than this does.
    _run("select pg_advisory_xact_lock(hashtextextended('star ' || :name, 0))", name=schema_name("star"))
    for table in (*(table for table, _ in _KEYS), *(f"comagic_{kind}_facts" for kind, _, _ in _KINDS)):
        add_column(table, "customer_user_id", "bigint not null default 0", _CUSTOMER, schema="star")
    if agents := _run("select distinct account_id from {ops}.loaded_days where customer_user_id <> 0").scalars().all():
        for kind, key, raw_key in _KINDS:
            _give_customers(
                agents, f"comagic_{kind}", key, f"{kind}_report", raw_key, "loaded_at desc, event_date desc"
            )
            _run(_FACTS, kind=kind, agents=agents)
        _give_customers(agents, "comagic_campaigns", "campaign_id", "campaigns", "id", "loaded_at desc")
        for kind, _, _ in _KINDS:
            _run(_CAMPAIGNS_OF_FACTS, kind=kind, agents=agents)
            _run(_EXPECT, kind=kind, agents=agents)
    # Behind the updates: they then need not write to the new index.
    for table, key in _KEYS:
        unique = f"add constraint {table}_key unique (account_id, customer_user_id, {key})"
        _run(f"alter table {{star}}.{table} drop constraint {table}_key, {unique}")
    _run(f"comment on table {{star}}.comagic_call_legs is '{_LEGS}'")
    add_column("comagic_reports", "row_key", "uuid", _ROW_KEY, schema="star")
    describe_column("comagic_reports", "id", "Surrogate key: that of a row's key, stable over reloads", schema="star")
    _run("drop index {star}.comagic_reports_key")
    key = "processor_id, simple_date, account_id, customer_user_id, row_key"
    _run(f"create unique index comagic_reports_key on {{star}}.comagic_reports ({key})")
    add_column("reconciliation", "customer_user_id", "bigint not null default 0", _CUSTOMER)


def _give_customers(agents: Sequence[int], table: str, key: str, raw: str, raw_key: str, order: str) -> None:
    """Copy the customers of the raw rows that the rows of a dimension were made of: of several, the one loaded last."""
    if _run("select to_regclass(:name)", name=f"{real_schema('raw')}.{raw}").scalar() is not None:
        names = {"table": table, "key": key, "report": raw, "raw_key": raw_key, "order": order}
        _run(_DIMENSION.format(**names, raw="{raw}", star="{star}"), agents=agents)


def _run(sql: str, kind: str = "", **values: Any) -> sa.CursorResult[Any]:
    """Run SQL with the names of schemas, and that of a kind, put into it; values are bound."""
    schemas = {name: real_schema(name) for name in ("raw", "star", "ops")}
    return op.get_bind().execute(sa.text(sql.format(**schemas, kind=kind)), values)


_DIMENSION = """
update {star}.{table} as own
   set customer_user_id = latest.customer_user_id
  from (
      select distinct on (account_id, {raw_key}) account_id, {raw_key} as key, customer_user_id
        from {raw}.{report}
       where account_id = any(:agents)
       order by account_id, {raw_key}, {order}, customer_user_id desc
  ) as latest
 where own.account_id = latest.account_id and own.{key} = latest.key and latest.customer_user_id <> 0
"""
_FACTS = """
update {star}.comagic_{kind}_facts as fact
   set customer_user_id = own.customer_user_id
  from {star}.comagic_{kind} as own
 where own.id = fact.{kind}_id and own.account_id = any(:agents) and own.customer_user_id <> 0
"""
# A campaign that raw does not have, no campaign among them, was one row for all customers: it becomes that of one of
# them, and the build makes those of the others.
_CAMPAIGNS_OF_FACTS = """
update {star}.comagic_campaigns as campaign
   set customer_user_id = used.customer_user_id
  from (
      select campaigns_id, min(customer_user_id) as customer_user_id
        from {star}.comagic_{kind}_facts
       where account_id = any(:agents) and customer_user_id <> 0
       group by campaigns_id
  ) as used
 where campaign.id = used.campaigns_id and campaign.customer_user_id = 0
"""
_EXPECT = """
insert into {ops}.waiting_days (account_id, customer_user_id, table_name, day, run_id, asked_at, tries, reason)
select distinct account_id, 0, 'comagic_{kind}_facts', day, 'migration 0006', now(), 0, 'interrupted'
  from {ops}.loaded_days
 where account_id = any(:agents)
   and table_name = '{kind}_report'
   and account_id in (select account_id from {star}.comagic_{kind}_facts)
on conflict do nothing
"""
