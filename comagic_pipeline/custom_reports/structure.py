"""The tables of a custom report, derived from its description and the catalog."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from comagic_pipeline.catalog import ColumnType, Method
from comagic_pipeline.catalog.table_names import JSON_REPORTS, MARTS, STAR
from comagic_pipeline.core.suggestions import nearest
from comagic_pipeline.custom_reports.paths import (
    Key,
    Path,
    PathError,
    Place,
    follow,
    parse_path,
    whole_row,
)
from comagic_pipeline.warehouse.reports.declaration import OWN_COLUMNS, ReportColumn, ReportTable

TYPES = {
    "text": ColumnType.TEXT,
    "integer": ColumnType.INTEGER,
    "numeric": ColumnType.DECIMAL,
    "boolean": ColumnType.BOOLEAN,
    "date": ColumnType.DATE,
    "timestamp": ColumnType.TIMESTAMP,
    "json": ColumnType.JSON,
}
"""The types of columns, by the words of the configuration."""
POSITION = "position"
"""The column of a table of items: the number of the item in its array, from 1."""
PARENT = "parent_"
"""Before the names of the columns that say to which row an item belongs."""
_LONGEST_TABLE_NAME = 55
"""Bytes: eight more are for the month of a partition, and PostgreSQL's names end after 63."""
_LONGEST_COLUMN_NAME = 63
_MOST_KEY_COLUMNS = 16
_NAME = re.compile(r"[^\W\d]\w*")
_MONTH = re.compile(r"_\d{4}_\d\d$", re.ASCII)
_TAKEN = {*STAR, *MARTS, JSON_REPORTS}

Mistake = tuple[tuple[str | int, ...], str]
"""What is wrong: the place within the structure, and the problem with its mend."""


class ColumnWords(Protocol):
    """What the configuration says of a column; None where it says nothing."""

    @property
    def type(self) -> str | None:
        """Its type, one of TYPES."""

    @property
    def path(self) -> str | None:
        """The path of its values."""


class TableWords(Protocol):
    """What the configuration says of a table."""

    @property
    def table(self) -> str | None:
        """Its name."""

    @property
    def rows(self) -> str | None:
        """The path of the items that it has rows for; None for the rows of the report."""

    @property
    def key(self) -> Sequence[str]:
        """The columns that tell its rows apart."""

    @property
    def columns(self) -> Mapping[str, ColumnWords]:
        """By name."""


@dataclass(frozen=True)
class ColumnSource:
    """Where the values of a column come from: a field of the whole row, the item, or (neither) the item's number.

    `steps` lead on from there. `type` is what is found, as far as it is known.
    """

    column: ReportColumn
    field: str | None = None
    is_item: bool = False
    steps: tuple[Key, ...] = ()
    type: ColumnType = ColumnType.JSON


@dataclass(frozen=True)
class TableSource:
    """A table and where its rows come from: the rows of the report, or the `items` that steps lead to from `field`."""

    table: ReportTable
    columns: tuple[ColumnSource, ...]
    field: str | None = None
    items: tuple[Key, ...] = ()

    @property
    def fields(self) -> set[str]:
        """The fields of the report that it is made of."""
        return {name for name in (self.field, *(column.field for column in self.columns)) if name}


def default_table_name(processor_id: int) -> str:
    """Return the table of a report whose structure names none."""
    return f"comagic_report_{processor_id}"


def default_table(method: Method, fields: Sequence[str], processor_id: int) -> TableSource:
    """Return a table with a column for each field, typed from the catalog."""
    columns = tuple(
        ColumnSource(ReportColumn(name, column.type, column.description), name, type=column.type)
        for name in fields
        for column in (method.column(name),)
    )
    key = method.key if method.is_key_unique and set(method.key) <= set(fields) else ()
    table = ReportTable(
        default_table_name(processor_id), method.description, tuple(each.column for each in columns), key
    )
    return TableSource(table, columns)


def tables_of(
    method: Method, words: Sequence[TableWords], processor_id: int, fields: Collection[str] | None = None
) -> tuple[tuple[TableSource, ...], list[Mistake]]:
    """Return the tables that the configuration describes, those of whole rows first, and the mistakes in it.

    Paths may begin with `fields` only, where these are given.
    """
    mistakes: list[Mistake] = []
    found: list[TableSource] = []
    names: set[str] = set()
    for is_of_items in (False, True):
        for number, table in enumerate(words):
            if (table.rows is not None) is is_of_items:
                reader = _TableReader(method, table, processor_id, fields, found)
                found.append(reader.read())
                name = reader.name.lower()
                if name in names:
                    reader.say("the name stands twice; give each table its own", "table" if table.table else None)
                names.add(name)
                mistakes += [((number, *place), message) for place, message in reader.mistakes]
    return tuple(found), mistakes


class _TableReader:
    """Reads the words of one table; `others` are the tables that were read before."""

    def __init__(
        self,
        method: Method,
        words: TableWords,
        processor_id: int,
        fields: Collection[str] | None,
        others: Sequence[TableSource],
    ) -> None:
        self.name = words.table or default_table_name(processor_id)
        self.mistakes: list[Mistake] = []
        self._method, self._words, self._fields, self._others = method, words, fields, others

    def say(self, message: str, *place: str | int | None) -> None:
        """Note a mistake."""
        self.mistakes.append((tuple(part for part in place if part is not None), message))

    def read(self) -> TableSource:
        words = self._words
        if words.table is not None and (problem := table_name_problem(words.table)):
            self.say(problem, "table")
        root = whole_row(self._method)
        rows: str | None = None
        items: tuple[Key, ...] = ()
        item = root
        if words.rows is not None and (followed := self._follow(root, words.rows, "rows", is_rows=True)):
            path, item = followed
            rows, items = str(path.steps[0]), path.steps[1:]
        columns = [
            self._column(name, column, root, item)
            for name, column in words.columns.items()
            if words.rows is None or rows is not None or (column.path or "").startswith("$.")
        ]
        self._check_names(words.columns)
        key, may_repeat = self._key({each.column.name: each for each in columns if each})
        own = [each for each in columns if each]
        if words.rows is not None:
            parent = self._parent()
            number = ReportColumn(POSITION, ColumnType.INTEGER, "Number of the item, from 1")
            own = [*parent, ColumnSource(number), *own]
            key = (*(each.column.name for each in parent), *(key or (POSITION,))) if self._method.is_key_unique else ()
        what = f"Items of {words.rows} of {self._method.table}" if words.rows else self._method.description
        table = ReportTable(self.name, what, tuple(each.column for each in own), key, may_repeat)
        return TableSource(table, tuple(own), rows, items)

    def _column(self, name: str, words: ColumnWords, root: Place, item: Place) -> ColumnSource | None:
        if problem := column_name_problem(name, is_of_items=self._words.rows is not None):
            self.say(problem, "columns", name)
        place = ("columns", name) if words.path is None else ("columns", name, "path")
        followed = self._follow(root if self._words.rows is None else item, words.path or name, *place)
        if followed is None:
            return None
        path, found = followed
        kind = found.type
        if words.type is not None:
            if words.type not in TYPES:
                self.say(
                    f"there is no type {words.type!r}{nearest(words.type, TYPES)}; there are {', '.join(TYPES)}",
                    *(("columns", name, "type") if words.path is not None else ("columns", name)),
                )
                return None
            kind = TYPES[words.type]
            is_nested = found.is_known and found.type is ColumnType.JSON
            if is_nested and kind not in (ColumnType.JSON, ColumnType.TEXT):
                inside = f"rows: {path.text}[]" if found.is_array else f"a path into it, as {path.text}.NAME"
                self.say(f"{path.text} is nested: its type can be json or text; for what is in it use {inside}", *place)
        is_of_row = self._words.rows is None or path.is_absolute
        column = ReportColumn(name, kind, found.description)
        if is_of_row:
            return ColumnSource(column, str(path.steps[0]), steps=path.steps[1:], type=found.type)
        return ColumnSource(column, None, True, path.steps, found.type)

    def _follow(self, place: Place, text: str, *where: str | int, is_rows: bool = False) -> tuple[Path, Place] | None:
        try:
            path = parse_path(text)
            if is_rows and (path.steps[-1:] != (None,) or path.is_absolute):
                raise PathError(f"{text!r} names no items; write an array with [] behind it, such as tags[]")
            if not is_rows and path.is_of_items:
                array = text[: text.rindex("[]") + 2]
                raise PathError(f"{text!r} leads to several values; make a table with rows: {array}")
            is_of_row = is_rows or path.is_absolute or self._words.rows is None
            if not path.steps and self._words.rows is None:
                raise PathError("@ is the item of an array; this table has none")
            start = whole_row(self._method) if is_of_row else place
            found = follow(start, path, "" if is_of_row else str(self._words.rows))
            if self._fields is not None and is_of_row and path.steps[0] not in self._fields:
                raise PathError(f"{path.steps[0]} is not among the fields; add it there")
        except PathError as error:
            self.say(str(error), *where)
            return None
        return path, found

    def _check_names(self, names: Collection[str]) -> None:
        seen: dict[str, str] = {}
        for name in names:
            if name.lower() in seen:
                self.say(f"{name!r} and {seen[name.lower()]!r} differ in letter case only", "columns", name)
            seen[name.lower()] = name

    def _key(self, columns: Mapping[str, ColumnSource]) -> tuple[tuple[str, ...], bool]:
        """Return the columns of the key, and whether several rows may have one."""
        declared = tuple(dict.fromkeys(self._words.key))
        for number, name in enumerate(declared):
            if name not in self._words.columns:
                self.say(f"the table has no column {name!r}{nearest(name, self._words.columns)}", "key", number)
            elif name in columns and columns[name].column.type is ColumnType.JSON:
                self.say(f"{name} holds json, which tells no rows apart", "key", number)
        if len(declared) > _MOST_KEY_COLUMNS:
            self.say(f"a key has at most {_MOST_KEY_COLUMNS} columns", "key")
        fields = {
            name: each.field for name, each in columns.items() if not each.steps and each.type is each.column.type
        }
        if self._words.rows is not None:
            return declared, bool(declared) and self._method.is_key_unique
        of_field = {field: name for name, field in fields.items()}
        sure = tuple(of_field[name] for name in self._method.key if name in of_field)
        is_sure = self._method.is_key_unique and len(sure) == len(self._method.key)
        if not declared:
            return (sure, False) if is_sure else ((), False)
        return declared, not (is_sure and {fields.get(name) for name in declared} >= set(self._method.key))

    def _parent(self) -> list[ColumnSource]:
        """Return the columns that say to which row an item belongs.

        The key of the table of whole rows, else the report's.
        """
        for other in self._others:
            if other.field is None and other.table.key and not other.table.may_repeat:
                named = [each for each in other.columns if each.column.name in other.table.key]
                return [replace(each, column=_renamed(each.column, each.column.name)) for each in named]
        columns = [self._method.column(name) for name in self._method.key]
        return [
            ColumnSource(ReportColumn(PARENT + each.name, each.type, each.description), each.name, type=each.type)
            for each in columns
        ]


def _renamed(column: ReportColumn, name: str) -> ReportColumn:
    return replace(column, name=PARENT + name)


def table_name_problem(name: str) -> str | None:
    """Return why a table cannot have this name; None when it can."""
    if problem := _name_problem(name, _LONGEST_TABLE_NAME):
        return problem
    if _MONTH.search(name):
        return f"{name!r} ends like the name of a month's part of a table; choose another end"
    if name.lower() in _TAKEN or name.lower().startswith("pg_"):
        return f"{name!r} is a table of the pipeline or of PostgreSQL; choose another name"
    return None


def column_name_problem(name: str, *, is_of_items: bool) -> str | None:
    """Return why a column cannot have this name; None when it can."""
    if problem := _name_problem(name, _LONGEST_COLUMN_NAME):
        return problem
    lower = name.lower()
    is_taken = lower in OWN_COLUMNS or (is_of_items and (lower == POSITION or lower.startswith(PARENT)))
    return f"every such table has a column {lower!r} of its own; choose another name" if is_taken else None


def _name_problem(name: str, longest: int) -> str | None:
    if not _NAME.fullmatch(name):
        better = re.sub(r"\W+", "_", name).strip("_")
        hint = f", such as {better!r}" if _NAME.fullmatch(better) else ""
        return f"{name!r} is no name: use letters, digits and _, beginning with a letter{hint}"
    if len(name.encode()) > longest:
        return f"{name!r} has {len(name.encode())} bytes, {longest} fit (a Russian letter takes two)"
    return None
