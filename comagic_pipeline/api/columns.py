"""Find and leave out columns that the API refuses, at no points where possible.

A refusal is free, an answer costs a point (protocol.json, "limits"). So the names in an error are tried first. If it
names none, the columns are left out one at a time: all requests but the last are refused, and the last is the one that
was wanted. Only when several columns are refused and none is named, the list is halved; the halves that the API accepts
cost a point each.
"""

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from comagic_pipeline.api.errors import ComagicError, UnexpectedParameterError
from comagic_pipeline.catalog import Method

_log = logging.getLogger(__name__)

T = TypeVar("T")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SEARCHED = 10_000
"""Characters of a message in which columns are looked for."""
_WHY: Mapping[str, str] = {
    "unexpected_parameters": "the API does not know {names} any more; left empty",
    "parameter_component_disabled": "the account has not the component for {names}; left empty",
}
_REFUSED = "the API refuses {names}; left empty"
_ABOUT_A_COLUMN = frozenset(_WHY)
_PERHAPS_ABOUT_A_COLUMN = frozenset({"invalid_parameter_value", "error"})
"""Errors that are about a column only where they point at one, or at `fields`."""


def pointed_at(data: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters or columns that the data of an error point at.

    `field` is a dotted path, `value` what was sent.
    """
    field, value = data.get("field"), data.get("value")
    names = {*field.split("."), field} if isinstance(field, str) else set()
    return frozenset(names | {item for item in _items(value) if isinstance(item, str)})


def mentioned(data: Mapping[str, Any], message: str) -> tuple[frozenset[str], ...]:
    """Return the words of the places of an error that may name columns.

    Each of its `params`, the list that ends the message.

    The last place is the whole message.
    """
    params = data.get("params")
    values = params.values() if isinstance(params, dict) else _items(params)
    texts = [" ".join(item for item in _items(value) if isinstance(item, str))[:_SEARCHED] for value in values]
    message = message[:_SEARCHED]
    places = [*texts, message.rpartition(":")[2] if ":" in message else "", message]
    return tuple(frozenset(_WORD.findall(place)) for place in places)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


class AskedColumns:
    """The columns that requests for a method name.

    `known` are the refused columns of the method, each with the line that says why; what is found is added to it, so
    that others need not find it again.
    """

    def __init__(self, method: Method, known: dict[str, str]) -> None:
        self._method, self._known = method, known
        self._all = [column.name for column in method.columns if column.answered]

    @property
    def names(self) -> list[str]:
        """What is asked for."""
        return [name for name in self._all if name not in self._known]

    @property
    def left_out(self) -> frozenset[str]:
        """The columns that are refused."""
        return frozenset(self._known).intersection(self._all)

    @property
    def warnings(self) -> list[str]:
        """What people should know of the columns that are left out, each line once."""
        return list(dict.fromkeys(self._known[name] for name in self._all if name in self._known))

    def ask(self, request: Callable[[Sequence[str]], T], others: Collection[str]) -> T:
        """Send a request for the columns, and again without those that the API refuses; return its answer.

        `others` are the request's parameters except `fields`. Raises what `request` raises for other reasons, and an
        error that says so when a column is refused that the table cannot do without.
        """
        before = self.warnings
        answer = self._ask(request, others)
        for line in self.warnings:
            if line not in before:
                _log.warning(line)
        return answer

    def _ask(self, request: Callable[[Sequence[str]], T], others: Collection[str]) -> T:
        named: list[str] = []
        while True:
            try:
                return request(self.names)
            except ComagicError as error:
                self._check(error, others)
                refusal = error
            if not _words(refusal).isdisjoint(named):
                # They are not asked for any more: those words were no columns.
                for name in named:
                    del self._known[name]
                return self._search(request, refusal, others)
            named = self._named(refusal)
            if not named:
                return self._search(request, refusal, others)
            self._leave_out(named, refusal)

    def _check(self, error: ComagicError, others: Collection[str]) -> None:
        """Raise the error when it is not about a column that can be left out."""
        if error.mnemonic not in _ABOUT_A_COLUMN | _PERHAPS_ABOUT_A_COLUMN:
            raise error
        points_at_fields = "fields" in error.names
        if not points_at_fields and not error.names.isdisjoint(others):
            raise error
        said = {"fields", *self._optional()} & _words(error)
        if error.mnemonic in _PERHAPS_ABOUT_A_COLUMN and not said:
            raise error

    def _named(self, error: ComagicError) -> list[str]:
        """Return the columns that an error names, and nothing else; none where it echoes the list that it was sent.

        Raises an error when the table cannot do without them.
        """
        asked = set(self.names)
        pointed_at = error.names & asked
        lists = [words for words in error.mentioned[:-1] if words <= asked]
        for words in (pointed_at, *lists):
            if not words or words == asked:
                continue
            if named := [name for name in self._optional() if name in words]:
                return named
            raise self._needed(error, words)
        return []

    def _search(self, request: Callable[[Sequence[str]], T], refusal: ComagicError, others: Collection[str]) -> T:
        """Find what is refused by trying; those first of which the error speaks."""
        spoken_of = _words(refusal)
        for name in sorted(self._optional(), key=lambda name: name not in spoken_of):
            try:
                answer = request([other for other in self.names if other != name])
            except ComagicError as error:
                self._check(error, others)
                if name in spoken_of and name not in _words(error):
                    # Now it speaks of another one.
                    self._leave_out([name], refusal)
                    return self._ask(request, others)
                continue
            self._leave_out([name], refusal)
            return answer

        def is_refused(names: Collection[str]) -> bool:
            needed = self._method.required_columns
            try:
                request([name for name in self.names if name in needed or name in names])
            except ComagicError as error:
                self._check(error, others)
                return True
            return False

        if is_refused(()):
            raise self._needed(refusal, self._method.required_columns)
        self._leave_out(_refused_among(self._optional(), is_refused), refusal)
        return request(self.names)

    def leave_out(self, names: Sequence[str], why: str) -> None:
        """Ask without columns from now on; `why` is the line for people."""
        self._known |= dict.fromkeys(names, why)

    def _optional(self) -> list[str]:
        return [name for name in self.names if name not in self._method.required_columns]

    def _leave_out(self, names: Sequence[str], error: ComagicError) -> None:
        why = _WHY.get(error.mnemonic or "", _REFUSED).format(names=", ".join(names))
        self.leave_out(names, f"{self._method.name}: {why}")

    def _needed(self, error: ComagicError, names: Collection[str]) -> ComagicError:
        needed = UnexpectedParameterError(
            f"{error}; the table {self._method.table} cannot do without {', '.join(sorted(names))}: leave it out"
        )
        needed.mnemonic, needed.names, needed.mentioned = error.mnemonic, error.names, error.mentioned
        return needed


def _words(error: ComagicError) -> set[str]:
    """Return all words of an error that may be names of columns."""
    return {*error.names}.union(*error.mentioned)


def _refused_among(names: Sequence[str], is_refused: Callable[[Collection[str]], bool]) -> list[str]:
    """Return the refused ones of columns that are refused together."""
    if len(names) == 1:
        return [*names]
    first, second = names[: len(names) // 2], names[len(names) // 2 :]
    found = _refused_among(first, is_refused) if is_refused(first) else []
    if not found or is_refused(second):
        found += _refused_among(second, is_refused)
    return found
