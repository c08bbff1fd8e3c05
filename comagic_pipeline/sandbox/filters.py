"""The ``filter`` parameter: a condition or a tree of conditions, turned into a test of a row.

Nulls follow SQL: a null matches no condition but a test for null (the docs say nothing about ``!=`` and ``not_in``).
"""

import operator
import re
from collections.abc import Callable
from typing import Any

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.errors import ApiError
from comagic_pipeline.sandbox.specification import Column, Method, Row

RowTest = Callable[[Row], bool]
ValueTest = Callable[[Any], bool]

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_VALUE_TYPES: dict[str, type] = {"string": str, "enum": str, "iso8601": str, "boolean": bool}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?")


def read_filter(condition: Any, method: Method, path: str = "filter") -> RowTest:
    """Return the test that a filter stands for; ``path`` is its place in the parameters, for errors."""
    if not isinstance(condition, dict):
        raise ApiError("data_type_error", path, condition)
    if "filters" in condition:
        return _read_tree(condition, method, path)
    _expect_keys(condition, {"field", "operator"}, {"value"}, path)
    column = method.columns.get(condition["field"]) if isinstance(condition["field"], str) else None
    if column is None:
        raise ApiError("unexpected_parameters", path, condition["field"])
    if not column.filter:
        raise ApiError("filter_prohibited", path, column.name)
    matches = _read_value_test(column, condition["operator"], condition.get("value"), path)
    name = column.name
    return lambda row: matches(row.get(name))


def _read_tree(tree: Row, method: Method, path: str) -> RowTest:
    _expect_keys(tree, {"filters", "condition"}, set(), path)
    if not isinstance(tree["filters"], list):
        raise ApiError("data_type_error", f"{path}.filters", tree["filters"])
    tests = [read_filter(item, method, f"{path}.filters") for item in tree["filters"]]
    if not tests:
        raise ApiError("invalid_parameter_value", f"{path}.filters", [])
    if tree["condition"] == "and":
        return lambda row: all(test(row) for test in tests)
    if tree["condition"] == "or":
        return lambda row: any(test(row) for test in tests)
    raise ApiError("invalid_parameter_value", f"{path}.condition", tree["condition"])


def _expect_keys(condition: Row, required: set[str], optional: set[str], path: str) -> None:
    for missing in sorted(required - condition.keys()):
        raise ApiError("required_parameter_missed", f"{path}.{missing}")
    for unknown in sorted(condition.keys() - required - optional):
        raise ApiError("unexpected_parameters", f"{path}.{unknown}", condition[unknown])


def _read_value_test(column: Column, sign: Any, operand: Any, path: str) -> ValueTest:
    rule = specification.operators().get(sign) if isinstance(sign, str) else None
    searches_array = sign in ("overlap", "not_overlap") and column.type == "array"
    kind = (column.items or "") if searches_array else column.type
    # jsquery, the only operator of objects and of arrays of objects, is a language of its own: not understood here.
    if rule is None or kind not in rule.types or sign == "jsquery":
        raise ApiError("invalid_parameter_value", f"{path}.operator", sign)
    try:
        return _value_test(kind, sign, operand)
    except (ValueError, re.error):
        raise ApiError("invalid_parameter_value", f"{path}.value", operand) from None


def _value_test(kind: str, sign: str, operand: Any) -> ValueTest:
    """Raise ValueError or re.error for an operand that does not suit the operator or the type of the column."""
    match sign:
        case "=" | "is_null" | "!=" | "is_not_null" if operand is None:
            return (lambda value: value is None) if sign in ("=", "is_null") else (lambda value: value is not None)
        case "is_null" | "is_not_null":
            raise ValueError(operand)
        case "=":
            _expect_type(kind, operand)
            return lambda value: value is not None and bool(value == operand)
        case "!=":
            _expect_type(kind, operand)
            return lambda value: value is not None and bool(value != operand)
        case "in" | "not_in" | "overlap" | "not_overlap":
            return _membership(kind, sign, operand)
        case "regexp":
            _expect_type(kind, operand)
            return _search(re.compile(operand))
        case "like" | "ilike" | "not_like" | "not_ilike":
            _expect_type(kind, operand)
            found = _search(_like(operand, ignore_case="ilike" in sign))
            return found if not sign.startswith("not_") else lambda value: isinstance(value, str) and not found(value)
        case _:
            _expect_type(kind, operand)
            compare = _COMPARISONS[sign]
            return lambda value: _comparable(value, operand) and compare(value, operand)


def _membership(kind: str, sign: str, operand: Any) -> ValueTest:
    if not isinstance(operand, list):
        raise ValueError(operand)
    for item in operand:
        _expect_type(kind, item)
    members = frozenset(operand)
    match sign:
        case "in":
            return lambda value: value is not None and value in members
        case "not_in":
            return lambda value: value is not None and value not in members
        case "overlap":
            return lambda value: value is not None and not members.isdisjoint(value)
        case _:
            return lambda value: value is not None and members.isdisjoint(value)


def _expect_type(kind: str, operand: Any) -> None:
    is_number = isinstance(operand, int | float) and not isinstance(operand, bool)
    fits = is_number if kind == "number" else isinstance(operand, _VALUE_TYPES[kind])
    if not fits or (kind == "iso8601" and not _MOMENT.fullmatch(operand)):
        raise ValueError(operand)


def _comparable(value: Any, operand: Any) -> bool:
    return value is not None and isinstance(value, str) == isinstance(operand, str)


def _search(pattern: re.Pattern[str]) -> ValueTest:
    return lambda value: isinstance(value, str) and pattern.search(value) is not None


def _like(text: str, *, ignore_case: bool) -> re.Pattern[str]:
    """Return a pattern of SQL's LIKE.

    ``%`` any text, ``_`` any character, a backslash takes the meaning of the next one.
    """
    parts = []
    for escaped, character in re.findall(r"(\\?)(.)", text, re.DOTALL):
        wildcard = {"%": ".*", "_": "."}.get(character) if not escaped else None
        parts.append(wildcard or re.escape(character))
    return re.compile(rf"\A{''.join(parts)}\Z", re.DOTALL | (re.IGNORECASE if ignore_case else 0))
