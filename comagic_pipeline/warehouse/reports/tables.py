"""Create and change the tables of structured reports.

New columns and tables are added. A change that would lose data is refused, with the command that does it on purpose.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Date,
    DateTime,
    Executable,
    Index,
    Inspector,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    delete,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateColumn, SetColumnComment

from comagic_pipeline.catalog import ColumnType
from comagic_pipeline.warehouse.engine import WarehouseError
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.raw.tables import SQL_TYPES
from comagic_pipeline.warehouse.replica_identity import identify_rows
from comagic_pipeline.warehouse.reports.declaration import ReportHome, ReportTable
from comagic_pipeline.warehouse.reports.json_target import comagic_reports
from comagic_pipeline.warehouse.star.replace_view import drop_views_of, lock_definitions

_WIDENINGS = {
    (ColumnType.INTEGER, ColumnType.DECIMAL),
    (ColumnType.DATE, ColumnType.TIMESTAMP),
    *((kind, ColumnType.TEXT) for kind in ColumnType if kind is not ColumnType.TEXT),
}
"""Changes of a column's type that lose nothing."""


class StructureChangedError(Exception):
    """The structure of a report changed in a way that would lose data."""


@cache
def sql_table(table: ReportTable) -> Table:
    """Return the table as SQLAlchemy knows it, partitioned by month of `simple_date`."""
    owner = ("account_id", "customer_user_id", "simple_date")

    def own(name: str, kind: Any, comment: str, label_ru: str | None = None) -> Column[Any]:
        return Column(name, kind, nullable=False, comment=comment, info={"label_ru": label_ru})

    return Table(
        table.name,
        MetaData(schema="star"),
        own("account_id", Integer, "Source, general_accounts.account_id", "Идентификатор подключенного аккаунта"),
        own("customer_user_id", BigInteger, "Customer of an agent, else 0"),
        own("processor_id", Integer, "Custom report, comagic_ops.custom_reports"),
        own("simple_date", Date, "Day of the row of the report", "Дата"),
        *(
            Column(
                each.name,
                SQL_TYPES[each.type],
                nullable=each.name not in table.key,
                comment=each.description,
                info={"label_ru": each.name},
            )
            for each in table.columns
        ),
        own("loaded_at", DateTime(timezone=True), "When the row was loaded"),
        PrimaryKeyConstraint(*owner, *table.key, name=f"{table.name}_pkey")
        if table.key
        else Index(f"{table.name}_idx", *owner),
        comment=table.description,
        info={"label_ru": table.label, "family": "comagic_report"},
        postgresql_partition_by="RANGE (simple_date)",
    )


@dataclass(frozen=True)
class Prepared:
    """What was done to make the tables of a report ready: lines for people, and whether anything changed."""

    lines: Sequence[str]
    is_changed: bool


def prepare(connection: Connection, home: ReportHome) -> Prepared:
    """Make the tables of a report be what it declares, in the caller's transaction; tells of additions.

    Raises StructureChangedError, before anything is changed, for what would lose data or is somebody else's.
    """
    lock_definitions(connection)
    known = connection.execute(select(ops.custom_reports).where(_is(home.processor_id))).one_or_none()
    held = list(known.tables) if known else []
    if gone := [name for name in held if name not in home.table_names]:
        raise _would_lose(home, f"its rows are in {', '.join(gone)}, which it does not have any more")
    schema = connection.get_execution_options()["schema_translate_map"]["star"]
    inspector = inspect(connection)
    changes = _Changes()
    for table in map(sql_table, home.tables):
        if not inspector.has_table(table.name, schema):
            changes.new_tables.append(table)
            if held:
                changes.said.append(f"the table {table.name} is new: days that are loaded already are not in it")
        elif table.name not in held:
            raise StructureChangedError(
                f"custom report {home.name!r}: the table {schema}.{table.name} is there already and not its own; "
                "give the table of the report another name, or drop that one"
            )
        else:
            _compare(home, table, schema, inspector, changes)
    for name in changes.widened:
        if problem := drop_views_of(connection, name):
            raise StructureChangedError(f"custom report {home.name!r}: a column changes its type, but {problem}")
    for table in changes.new_tables:
        table.create(connection)
        identify_rows(connection, [schema], table.name)
    for statement in changes.statements:
        connection.execute(statement)
    values = {
        "processor_id": home.processor_id,
        "account_id": home.account_id,
        "name": home.name,
        "asset_name": home.asset_name,
        "report": home.report,
        "tables": home.table_names,
    }
    if known is None or any(getattr(known, name) != value for name, value in values.items()):
        line = postgresql.insert(ops.custom_reports).values(**values, changed_at=func.now())
        renewed = {name: line.excluded[name] for name in (*values, "changed_at")}
        connection.execute(line.on_conflict_do_update(index_elements=["processor_id"], set_=renewed))
    return Prepared(changes.said, bool(changes.new_tables or changes.statements))


@dataclass
class _Changes:
    """What has to be done to tables that are there, and `said` of it to people.

    `widened` are the quoted names of tables of which a column changes its type.
    """

    new_tables: list[Table] = field(default_factory=list)
    statements: list[Executable] = field(default_factory=list)
    widened: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)


def _compare(home: ReportHome, table: Table, schema: str, inspector: Inspector, changes: _Changes) -> None:
    """Add what brings a table up to date; raises StructureChangedError for what would lose data."""
    present = {column["name"]: column["type"] for column in inspector.get_columns(table.name, schema)}
    if gone := [name for name in present if name not in table.columns]:
        raise _would_lose(home, f"the table {table.name} has {', '.join(gone)}, which it does not name any more")
    key = set(inspector.get_pk_constraint(table.name, schema)["constrained_columns"])
    if key != {column.name for column in table.primary_key}:
        raise _would_lose(home, f"the key of the table {table.name} is another one")
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    quote = dialect.identifier_preparer.quote_identifier
    target = f"{quote(schema)}.{quote(table.name)}"
    for column in table.columns:
        wanted = column.type.compile(dialect=dialect)
        if column.name not in present:
            definition = CreateColumn(column).compile(dialect=dialect)
            changes.statements += [text(f"alter table {target} add column {definition}"), SetColumnComment(column)]
            changes.said.append(f"{table.name}.{column.name} is new: it is empty on days that are loaded already")
        elif (found := present[column.name].compile(dialect=dialect)) != wanted:
            if (found, wanted) not in _widenings():
                raise _would_lose(home, f"{table.name}.{column.name} is {found.lower()}, not {wanted.lower()}")
            name = quote(column.name)
            changes.statements.append(
                text(f"alter table {target} alter column {name} type {wanted} using cast({name} as {wanted})")
            )
            changes.widened.add(target)


@cache
def _widenings() -> frozenset[tuple[str, str]]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    names = {kind: Column("x", SQL_TYPES[kind]).type.compile(dialect=dialect) for kind in ColumnType}
    return frozenset((names[narrow], names[wide]) for narrow, wide in _WIDENINGS)


def drop_report(connection: Connection, processor_id: int, account_id: int, asset_name: str) -> list[str]:
    """Delete all that is held of a report: rows, tables, lines of the ledger; gives the names of the tables.

    In the caller's transaction. Raises WarehouseError when views of others are made of a table.
    """
    lock_definitions(connection)
    known = connection.execute(select(ops.custom_reports).where(_is(processor_id))).one_or_none()
    schema = connection.get_execution_options()["schema_translate_map"]["star"]
    quote = connection.dialect.identifier_preparer.quote_identifier
    for name in known.tables if known else ():
        if name == comagic_reports.name:
            connection.execute(delete(comagic_reports).where(comagic_reports.c.processor_id == processor_id))
        else:
            table = f"{quote(schema)}.{quote(name)}"
            if problem := drop_views_of(connection, table):
                raise WarehouseError(f"nothing was deleted: {problem}")
            connection.execute(text(f"drop table if exists {table}"))
    for book in (ops.loaded_days, ops.rejected_rows, ops.waiting_days):
        mine = (book.c.account_id == account_id) & (book.c.table_name == (known.asset_name if known else asset_name))
        connection.execute(delete(book).where(mine))
    connection.execute(delete(ops.custom_reports).where(_is(processor_id)))
    return list(known.tables) if known else []


def present_tables(connection: Connection, homes: Iterable[ReportHome]) -> list[Table]:
    """Return the tables of reports that are there already, with the columns that they have in the database.

    A structure that has changed alters its tables when the report is next loaded, or is refused then: until that views
    can only show what the tables have. Tables that no report ever made are somebody else's.
    """
    schema = connection.get_execution_options()["schema_translate_map"]["star"]
    held = set(connection.scalars(select(func.unnest(ops.custom_reports.c.tables))))
    declared = [table for home in homes for table in home.tables if table.name in held]
    if not declared:
        return []
    names = [table.name for table in declared]
    found = inspect(connection).get_multi_columns(schema, filter_names=names)
    present = {name: [column["name"] for column in columns] for (_, name), columns in found.items()}
    return [_as_it_is(sql_table(table), present[table.name]) for table in declared if table.name in present]


def _as_it_is(table: Table, present: Sequence[str]) -> Table:
    """Return the declared columns that are present, then those that are present and not declared any more."""
    columns = [
        Column(each.name, each.type, comment=each.comment, info=each.info)
        for each in table.columns
        if each.name in present
    ]
    columns += [Column(name, Text, info={"label_ru": name}) for name in present if name not in table.columns]
    return Table(table.name, MetaData(schema=table.schema), *columns, comment=table.comment, info=table.info)


def _is(processor_id: int) -> Any:
    return ops.custom_reports.c.processor_id == processor_id


def _would_lose(home: ReportHome, what: str) -> StructureChangedError:
    return StructureChangedError(
        f"custom report {home.name!r}: {what}. Nothing was changed. Take that back, or delete what is loaded and load "
        f'it anew: comagic-pipeline report "{home.name}" --rebuild --from YYYY-MM-DD'
    )
