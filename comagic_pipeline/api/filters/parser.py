"""Parse a filter: a small SQL-like expression, turned into the API's filter tree and a predicate over rows.

    direction = 'in' and (is_lost = false or talk_duration >= 30) and utm_source in ('yandex', 'google')

Conditions are `=` `!=` `<` `<=` `>` `>=`, `in (...)`, `like`, `is null` and their negations, joined by `and`, `or`,
`not` and parentheses. Texts and times stand in single quotes.

The tree goes with requests, so that unwanted rows cost no points. It is the strongest tree that surely passes every
wanted row. The predicate decides about the rows that come, because what the API does about NULL, letter case and time
zones is not fully documented.

NULL behaves as in SQL. Negations are moved down to the comparisons while parsing, where unknown is as good as false: no
third value is needed above.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from comagic_pipeline.api.filters.conditions import (
    COMPARISONS,
    NOT_NULL,
    NULL,
    Condition,
    Group,
    Predicate,
    columns_of,
    implies,
    passes,
)
from comagic_pipeline.api.rows import Row
from comagic_pipeline.catalog import Column, ColumnType, Method

MAX_NESTING = 50
"""How many parentheses may stand in each other."""
MAX_PARTS = 100
"""The most parts of a group that is sent: how many the API takes is not documented. The rest is left to `keeps`."""

Tree = dict[str, Any]
"""A filter of the API: a condition, or a group of filters joined by `and` or `or` (protocol.json, "filter")."""

_DAY = timedelta(days=1)
_NUMBERS = (ColumnType.INTEGER, ColumnType.DECIMAL)
_OPPOSITES = {"=": "!=", "<": ">=", ">": "<=", "in": "not_in", "like": "not_like", "and": "or"}
_OPPOSITES |= {opposite: word for word, opposite in _OPPOSITES.items()}
_KEYWORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "true", "false"})
_CONTENTS = {
    ColumnType.INTEGER: "a whole number of at most 64 bits",
    ColumnType.DECIMAL: "a number",
    ColumnType.TEXT: "a text in single quotes",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.TIMESTAMP: "a time, 'YYYY-MM-DD' or 'YYYY-MM-DD hh:mm:ss'",
    ColumnType.DATE: "a date, 'YYYY-MM-DD'",
}
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?", re.ASCII)
_TOKEN = re.compile(
    r"\s*(?:(?P<word>[^\W\d]\w*)|(?P<number>-?[0-9][\w.]*)|'(?P<text>(?:[^']|'')*)'|(?P<sign><=|>=|!=|<>|[=<>(),])"
    r"|(?P<other>\S)|(?P<end>\Z))"
)


class FilterError(ValueError):
    """The expression cannot be understood: one line says where, and what was perhaps meant."""


@dataclass(frozen=True)
class Filter:
    """A parsed expression. `tree` goes into requests, None when the API can apply none of it.

    `keeps` says of a row that came whether it is wanted; ask it of every row. `condition` is what it decides by.
    """

    text: str
    tree: Tree | None
    keeps: Callable[[Row], bool]
    condition: Condition

    @property
    def columns(self) -> frozenset[str]:
        """The columns that `keeps` looks at."""
        return columns_of(self.condition)

    def is_within(self, other: "Filter | None") -> bool:
        """Return whether the other filter surely keeps every row that this one keeps; None keeps all."""
        return other is None or implies(self.condition, other.condition)


def parse_filter(text: str, method: Method) -> Filter:
    """Parse an expression over the columns of a method.

    Raises FilterError for bad grammar, an unknown column (names the nearest) or a value that is not of the column's
    type. It gives the position and repeats nothing of what may be a value, for that may be a phone number.
    """
    part = _Parser(text, method).parse()
    return Filter(text, all_of(method, part.tree), part.keeps, part.condition)


def all_of(method: Method, *trees: Tree | None) -> Tree | None:
    """Return the tree that lets through what all of these do.

    A weaker one where it would be deeper than is documented.
    """
    return _shallow(_joined("and", trees), 2 if method.group == "report_constructor" else 3)


class _Part(NamedTuple):
    """A part of an expression: `keeps` is true of a row when the part is true, not when it is unknown."""

    keeps: Callable[[Row], bool]
    tree: Tree | None
    condition: Condition


class _Token(NamedTuple):
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        match self.kind:
            case "sign" | "other":
                return "a text without its end" if self.text == "'" else repr(self.text)
            case "word" if self.text in _KEYWORDS:
                return repr(self.text)
            case "end":
                return "the end"
            case kind:
                return f"a {kind}"


class _Parser:
    """Recursive descent, one token ahead. `negated` tells a rule that `not` stands before what it reads."""

    def __init__(self, text: str, method: Method) -> None:
        self._method = method
        self._tokens = map(_token, _TOKEN.finditer(text))
        self._token = next(self._tokens)
        self._nesting = 0

    def parse(self) -> _Part:
        part = self._any(negated=False)
        if self._token.kind != "end":
            raise self._unexpected("and, or, or the end")
        return part

    def _any(self, *, negated: bool) -> _Part:
        return self._group("or", self._all, negated=negated)

    def _all(self, *, negated: bool) -> _Part:
        return self._group("and", self._operand, negated=negated)

    def _group(self, word: str, rule: Callable[..., _Part], *, negated: bool) -> _Part:
        parts = [rule(negated=negated)]
        while self._take(word):
            parts.append(rule(negated=negated))
        if len(parts) == 1:
            return parts[0]
        joint = _OPPOSITES[word] if negated else word
        tests, decide = [part.keeps for part in parts], all if joint == "and" else any
        return _Part(
            lambda row: decide(test(row) for test in tests),
            _joined(joint, [part.tree for part in parts]),
            Group(joint, tuple(part.condition for part in parts)),
        )

    def _operand(self, *, negated: bool) -> _Part:
        while self._take("not"):
            negated = not negated
        if not self._take("("):
            return self._comparison(negated=negated)
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._error(f"more than {MAX_NESTING} parentheses stand in each other")
        part = self._any(negated=negated)
        self._require(")")
        self._nesting -= 1
        return part

    def _comparison(self, *, negated: bool) -> _Part:
        column = self._column()
        if self._take("is"):
            is_null = self._take("not") is negated
            self._require("null")
            return _null_test(column, is_null=is_null)
        operator = self._operator(column)
        is_list = operator in ("in", "not_in")
        if is_list:
            self._require("(")
        values = [self._value(column)]
        while is_list and not self._take(")"):
            self._require(",")
            values.append(self._value(column))
        return _comparison(column, _OPPOSITES[operator] if negated else operator, values)

    def _column(self) -> Column:
        name = self._token.text
        if self._token.kind != "word" or name in _KEYWORDS:
            raise self._unexpected("a column")
        try:
            column = self._method.column(name)
        except KeyError:
            near = difflib.get_close_matches(name, [column.name for column in self._method.columns], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise self._error(f"{self._method.table} has no such column{hint}") from None
        self._advance()
        return column

    def _operator(self, column: Column) -> str:
        if column.type is ColumnType.JSON:
            raise self._error(f"{column.name} is nested: only is null and is not null apply to it")
        is_opposite = self._take("not")
        operator = "!=" if self._token.text == "<>" else self._token.text
        known = ("in", "like") if is_opposite else (*COMPARISONS, "in", "like")
        if self._token.kind not in ("word", "sign") or operator not in known:
            raise self._unexpected("in or like" if is_opposite else "is, not, in, like, =, !=, <, <=, > or >=")
        is_text = column.type is ColumnType.TEXT
        has_order = not is_text and column.type is not ColumnType.BOOLEAN
        if (operator == "like" and not is_text) or (operator[0] in "<>" and not has_order):
            raise self._error(f"{operator} does not apply to {column.name}, which holds {_CONTENTS[column.type]}")
        self._advance()
        return _OPPOSITES[operator] if is_opposite else operator

    def _value(self, column: Column) -> Any:
        if self._token.kind == "word" and self._token.text == "null":
            raise self._error(f"nothing equals null: write {column.name} is null, or is not null")
        value = _value(column.type, self._token)
        if value is None:
            raise self._unexpected(f"{_CONTENTS[column.type]}, as {column.name} holds it")
        self._advance()
        return value

    def _take(self, word: str) -> bool:
        is_there = self._token.kind in ("word", "sign") and self._token.text == word
        if is_there:
            self._advance()
        return is_there

    def _require(self, word: str) -> None:
        if not self._take(word):
            raise self._unexpected(repr(word))

    def _advance(self) -> None:
        self._token = next(self._tokens)

    def _unexpected(self, expected: str) -> FilterError:
        return self._error(f"expected {expected}, found {self._token}")

    def _error(self, message: str) -> FilterError:
        return FilterError(f"filter of {self._method.table}, character {self._token.position + 1}: {message}")


def _token(match: re.Match[str]) -> _Token:
    kind = str(match.lastgroup)
    if kind == "text":
        return _Token(kind, match[kind].replace("''", "'"), match.start(kind) - 1)  # the quote before it
    return _Token(kind, match[kind].lower(), match.start(kind))


def _value(kind: ColumnType, token: _Token) -> Any:
    """Return the value of a literal; None when it is not of that type."""
    text = token.text
    match kind, token.kind:
        case ((ColumnType.INTEGER | ColumnType.DECIMAL), "number") if _NUMBER.fullmatch(text):
            number = Decimal(text)
            if kind is ColumnType.DECIMAL:
                return number
            return int(text) if "." not in text and -(2**63) <= number < 2**63 else None
        case ColumnType.TEXT, "text":
            return text
        case ColumnType.BOOLEAN, "word" if text in ("true", "false"):
            return text == "true"
        case ((ColumnType.TIMESTAMP | ColumnType.DATE), "text"):
            return _moment(kind, text)
    return None


def _moment(kind: ColumnType, text: str) -> date | None:
    if not _MOMENT.fullmatch(text):
        return None  # fromisoformat knows many more forms than the API writes
    try:
        return date.fromisoformat(text) if kind is ColumnType.DATE else datetime.fromisoformat(text)
    except ValueError:
        return None


def _null_test(column: Column, *, is_null: bool) -> _Part:
    value = attrgetter(column.name)
    tree = _condition(column, "=" if is_null else "!=", None)
    condition = Predicate(column.name, NULL if is_null else NOT_NULL)
    if column.type is not ColumnType.JSON:
        return _Part(lambda row: (value(row) is None) is is_null, tree, condition)
    # protocol.json, "observed_exceptions": null, [] and {} are alike
    return _Part(lambda row: (msgspec.json.decode(value(row)) in (None, [], {})) is is_null, tree, condition)


def _comparison(column: Column, operator: str, values: Sequence[Any]) -> _Part:
    condition = Predicate(column.name, operator, frozenset(values))
    value, test = attrgetter(column.name), passes(operator, condition.values)
    # The API's own in and not_in are not known to work everywhere.
    single = {"in": "=", "not_in": "!="}.get(operator, operator)
    trees = [_condition(column, single, operand) for operand in values]
    return _Part(
        lambda row: (found := value(row)) is not None and test(found),
        _joined("or" if operator == "in" else "and", trees),
        condition,
    )


def _condition(column: Column, operator: str, value: Any) -> Tree | None:
    """Return the strongest condition of the API that surely holds wherever the comparison does.

    None if there is none.
    """
    if operator not in column.filter_operators:
        return None
    if isinstance(value, date):
        # Whose wall time conditions mean is not documented: a day to either side is enough for any.
        bounds = {">=": _moved(value, -_DAY)} if operator in ("=", ">", ">=") else {}
        bounds |= {"<=": _moved(value, _DAY)} if operator in ("=", "<", "<=") else {}
        moments = [{"field": column.name, "operator": sign, "value": str(moment)} for sign, moment in bounds.items()]
        return _joined("and", moments)
    if operator == "like":
        # Documented is % alone: it stands in for all that the API may read in another way.
        value = re.sub(r"(?:\\.|[\\_%])+", "%", value, flags=re.DOTALL)
    if isinstance(value, Decimal):
        number = float(value)
        if Decimal(repr(number)) != value:
            return None  # JSON would carry another number
        value = number
    return {"field": column.name, "operator": operator, "value": value}


def _moved(moment: date, by: timedelta) -> date:
    try:
        return moment + by
    except OverflowError:
        return moment  # the first or last day there is


def _joined(condition: str, trees: Sequence[Tree | None]) -> Tree | None:
    """Return the strongest tree that lets through what all (`and`) or any (`or`) of these do.

    None lets through everything.
    """
    known = [tree for tree in trees if tree is not None]
    parts = [part for tree in known for part in (tree["filters"] if tree.get("condition") == condition else [tree])]
    if condition == "and":
        parts = parts[:MAX_PARTS]
    elif len(known) < len(trees) or len(parts) > MAX_PARTS:
        return None
    if len(parts) < 2:
        return parts[0] if parts else None
    return {"filters": parts, "condition": condition}


def _shallow(tree: Tree | None, levels: int) -> Tree | None:
    """Return the tree with at most so many groups in each other; weaker where it was deeper."""
    if tree is None or "field" in tree:
        return tree
    if levels:
        return _joined(tree["condition"], [_shallow(part, levels - 1) for part in tree["filters"]])
    return next((part for part in tree["filters"] if "field" in part and tree["condition"] == "and"), None)
