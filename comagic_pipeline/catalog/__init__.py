"""What the Data API offers, as data: methods, their columns, types, keys and time columns.

`methods.json` and `protocol.json` are the written specification of the API; only `unlocked_by` is added. This module
reads them into typed objects; request columns, decoding, warehouse tables, Dagster column schemas and docs derive from
them. No HTTP, no SQL, no Dagster here.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any


class ColumnType(StrEnum):
    """What a column holds, after the documentation's own confusions are sorted out."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    DATE = "date"
    JSON = "json"


@dataclass(frozen=True)
class Column:
    """A column of a method's rows; `filterable` and `sortable` say what a request may do with it.

    `filter_operators` are those that a condition on it may surely use. Where it is not `answered`, its value is the
    parameter of that name in the request. `is_text` when the API writes it as a text, whatever it holds. A nested
    column is an array (`is_array`) or an object; `nested` are the columns of its items, or of itself, and `item` the
    type of the items of an array of single values. `unlocked_by` is the parameter without which it stays empty.
    """

    name: str
    type: ColumnType
    description: str
    filterable: bool
    sortable: bool
    filter_operators: frozenset[str] = frozenset()
    answered: bool = True
    is_text: bool = False
    is_array: bool = False
    nested: tuple["Column", ...] = ()
    item: ColumnType | None = None
    unlocked_by: str | None = None


# get.ct_ac_summary_report needs a site and does not tell it in its rows.
_ASKED_SITE = Column("site_id", ColumnType.INTEGER, "Site that was asked for", False, False, answered=False)


@dataclass(frozen=True)
class Method:
    """A `get.*` method: what it is called, what its rows are and how they can be asked for.

    `alias` is another name of the method, where the documentation gives two. `table` is the object of the method and
    the name of its raw table. `key` tells rows of one account apart, surely so where `is_key_unique`. `time_column` is
    the column that a period applies to; a report without one sums up its period.
    `max_days` is the longest period of a request in days where the documentation gives one of its own; the general
    limit is 3 months. `parameters` are the names that a request may carry, `required` those that it must.
    """

    name: str
    alias: str | None
    table: str
    group: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    is_key_unique: bool
    time_column: str | None
    max_days: int | None
    parameters: frozenset[str]
    required: frozenset[str]

    @property
    def has_period(self) -> bool:
        """True for a report: a request names its first and last moment."""
        return "date_from" in self.parameters

    @property
    def is_time_sortable(self) -> bool:
        """True when answers can be ordered by the time column."""
        return any(column.name == self.time_column and column.sortable for column in self.columns)

    @property
    def required_columns(self) -> frozenset[str]:
        """The columns without which a row has no place in a table."""
        key = self.key if self.is_key_unique else ()
        return frozenset((*key, self.time_column) if self.time_column else key)

    @property
    def needs_site(self) -> bool:
        """True when a request names one site, so that an account takes a request for each."""
        return "site_id" in self.required

    def column(self, name: str) -> Column:
        """Return the column of that name; raises KeyError when the method has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def narrowed(self, names: Collection[str]) -> "Method":
        """Return the method with only these of its columns, and those that its rows cannot be told apart without.

        Where no key is surely unique all columns stay: rows are then told apart by everything that they say.
        """
        if not self.is_key_unique:
            return self
        wanted = {*names, *self.required_columns}
        return replace(self, columns=tuple(column for column in self.columns if column.name in wanted))


# "number" covers ids, counts and money in the documentation. These hold fractions; every other number is whole.
_DECIMAL_COLUMNS = frozenset(
    {
        "bonuses_charge", "cost_per_minute", "cost_ratio", "cost_sum", "costs", "daily_budget", "deal_revenue",
        "dt_ratio", "employee_raiting", "employee_rating", "last_answered_employee_rating", "rating", "revenue",
        "sale_cost", "total_charge", "weekly_budget",
    }
)  # fmt: skip

# The key of statistics is a guess, with columns that may be empty; a call leg may have several charges (see the notes).
_WITHOUT_UNIQUE_KEY = frozenset({"get.campaign_daily_stat", "get.financial_call_legs_report"})


@cache
def methods() -> Mapping[str, Method]:
    """Return every method of the catalog by its API name, in the order of the specification."""
    text = resources.files(__package__).joinpath("methods.json").read_text(encoding="utf-8")
    return MappingProxyType({entry["name"]: _method(entry) for entry in json.loads(text)["methods"]})


@cache
def tables() -> Mapping[str, Method]:
    """Return every method of the catalog by the name of its raw table."""
    return MappingProxyType({method.table: method for method in methods().values()})


def _method(entry: dict[str, Any]) -> Method:
    columns = tuple(_column(field) for field in entry["fields"])
    required = frozenset(parameter["name"] for parameter in entry["params"] if parameter["required"])
    if "site_id" in required and all(column.name != "site_id" for column in columns):
        columns = (_ASKED_SITE, *columns)
    names = {column.name for column in columns}
    hints = entry["loader_hints"]
    return Method(
        name=entry["name"],
        alias=entry.get("alias"),
        table=entry["name"].removeprefix("get."),
        group=entry["group"],
        description=entry["description"],
        columns=columns,
        # A few keys of the specification name values of the request ("window"): most of those are not columns.
        key=tuple(name for words in hints["primary_key"] if (name := words.split()[0]) in names),
        is_key_unique=entry["name"] not in _WITHOUT_UNIQUE_KEY,
        time_column=hints["time_field"],
        max_days=(entry["date_window"] or {}).get("max_days"),
        parameters=frozenset(parameter["name"] for parameter in entry["params"]),
        required=required,
    )


def _column(field: dict[str, Any]) -> Column:
    return Column(
        name=field["name"],
        type=_type(field),
        description=field["description"],
        filterable=bool(field["filter"]),
        sortable=bool(field["sort"]),
        filter_operators=_filter_operators(field),
        is_text=field["type"] in ("string", "enum", "iso8601") or _type(field) is ColumnType.TEXT,
        is_array=field["type"] == "array",
        nested=tuple(map(_column, field.get("children", ()))),
        item=_ITEM_TYPES.get(field.get("items", "")),
        unlocked_by=field.get("unlocked_by"),
    )


_ITEM_TYPES = {"number": ColumnType.INTEGER, "string": ColumnType.TEXT}


def _filter_operators(field: dict[str, Any]) -> frozenset[str]:
    # Clients see numbers for texts and texts for numbers: which of the two a condition takes is not known then.
    is_as_documented = (field["type"] == "number") is (_type(field) in (ColumnType.INTEGER, ColumnType.DECIMAL))
    if not field["filter"] or not is_as_documented:
        return frozenset()
    return frozenset(rule["op"] for rule in _operator_rules() if rule["everywhere"] and field["type"] in rule["types"])


@cache
def _operator_rules() -> list[dict[str, Any]]:
    text = resources.files(__package__).joinpath("protocol.json").read_text(encoding="utf-8")
    rules: list[dict[str, Any]] = json.loads(text)["filter"]["operators"]
    return rules


def _type(field: dict[str, Any]) -> ColumnType:
    match field["type"]:
        case "number" if field["name"].endswith("phone_number"):
            return ColumnType.TEXT  # clients see strings where the table says number (protocol.json, phones)
        case "number":
            return ColumnType.DECIMAL if field["name"] in _DECIMAL_COLUMNS else ColumnType.INTEGER
        case "string" | "enum":
            return ColumnType.DECIMAL if field["name"] in _DECIMAL_COLUMNS else ColumnType.TEXT
        case "boolean":
            return ColumnType.BOOLEAN
        case "iso8601":
            return ColumnType.DATE if field.get("format") == "YYYY-MM-DD" else ColumnType.TIMESTAMP
        case "array" | "object":
            return ColumnType.JSON
        case other:
            raise ValueError(f"methods.json: column {field['name']} has the unknown type {other!r}")
