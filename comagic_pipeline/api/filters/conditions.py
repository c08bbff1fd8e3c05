"""Conditions on the values of a row: parsed by `parser`, evaluated on rows, compared with each other.

NULL behaves as in SQL: a comparison with it is unknown, which keeps no row. Negations are part of the operators.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import eq, ge, gt, le, lt, ne
from typing import Any

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
NULL, NOT_NULL = "null", "not_null"


@dataclass(frozen=True)
class Predicate:
    """A test of one column: an operator and its values, several for `in` and `not_in`, none for the tests of NULL."""

    column: str
    operator: str
    values: frozenset[Any] = frozenset()


@dataclass(frozen=True)
class Group:
    """Conditions joined by `and` or `or`."""

    word: str
    parts: "tuple[Condition, ...]"


Condition = Predicate | Group


def columns_of(condition: Condition) -> frozenset[str]:
    """Return the columns that decide."""
    if isinstance(condition, Predicate):
        return frozenset({condition.column})
    return frozenset().union(*map(columns_of, condition.parts))


@cache
def implies(condition: Condition, other: Condition) -> bool:
    """Return whether every row that the condition keeps is surely kept by the other one too.

    What is not seen to follow counts as not following: the answer may be too careful, and is never wrong.
    """
    if condition == other:
        return True
    if isinstance(condition, Group) and condition.word == "or":
        return all(implies(part, other) for part in condition.parts)
    if isinstance(other, Group) and other.word == "and":
        return all(implies(condition, part) for part in other.parts)
    if isinstance(condition, Group) and any(implies(part, other) for part in condition.parts):
        return True
    if isinstance(other, Group):
        return any(implies(condition, part) for part in other.parts)
    return isinstance(condition, Predicate) and _test_implies(condition, other)


def _test_implies(test: Predicate, other: Predicate) -> bool:
    if test.column != other.column or test.operator == NULL:
        return False
    if other.operator == NOT_NULL:
        return True
    if other.operator == NULL or test.operator == NOT_NULL:
        return False
    if test.operator in ("=", "in"):
        return all(map(passes(other.operator, other.values), test.values))
    if other.operator in ("!=", "not_in"):
        if test.operator in ("!=", "not_in"):
            return other.values <= test.values
        return not any(map(passes(test.operator, test.values), other.values))
    if test.operator[0] in "<>" and test.operator[0] == other.operator[0]:
        (bound,), (other_bound,) = test.values, other.values
        within = bound < other_bound if test.operator[0] == "<" else bound > other_bound
        return within or (bound == other_bound and len(test.operator) <= len(other.operator))
    return False


def passes(operator: str, values: frozenset[Any]) -> Callable[[Any], bool]:
    """Return whether a value that is not null passes a test."""
    if operator in ("in", "not_in"):
        is_in = operator == "in"
        return lambda found: (found in values) is is_in
    (value,) = values
    if operator in ("like", "not_like"):
        matches, is_like = _like(value).fullmatch, operator == "like"
        return lambda found: (matches(found) is not None) is is_like
    compare = COMPARISONS[operator]
    return lambda found: compare(found, value)


def _like(pattern: str) -> re.Pattern[str]:
    """SQL's LIKE: % is any text, _ any character, a backslash takes the meaning of the next.

    What stands between two % is looked for once, from the left: going back for it could take for ever on a long text.
    """
    pieces = [""]
    for part in re.findall(r"\\.|.", pattern, re.DOTALL):
        if part == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if part == "_" else re.escape(part[-1])
    first, *middle = pieces[:-1] or [""]
    expression = first + "".join(f"(?>.*?{piece})" for piece in middle) + (".*" if pieces[1:] else "") + pieces[-1]
    return re.compile(expression, re.DOTALL)
