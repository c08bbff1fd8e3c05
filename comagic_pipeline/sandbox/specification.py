"""The vendor's rules as data: methods, columns, operators and errors of ``methods.json`` and ``protocol.json``.

Only reads the two files. What the rules mean is up to the modules that use them.
"""

from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import msgspec

Row = dict[str, Any]
"""One row as the API returns it: column name to JSON value."""


class Column(msgspec.Struct, frozen=True):
    """A column of a method; ``default`` None means that the page does not say, see the legend of ``methods.json``."""

    name: str
    type: str
    filter: bool
    sort: bool
    default: bool | None
    items: str | None = None
    enum: list[str] | None = None
    items_enum: list[str] | None = None


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a method; ``max`` is the largest number it may hold."""

    name: str
    type: str
    required: bool = False
    default: Any = None
    max: int | None = None


class DateWindow(msgspec.Struct, frozen=True):
    """How many days one request may span."""

    max_days: int | None


class LoaderHints(msgspec.Struct, frozen=True):
    """Which columns identify a row, and which one the period applies to."""

    primary_key: list[str]
    time_field: str | None


class Method(msgspec.Struct, frozen=True, dict=True):
    """A ``get.*`` method."""

    name: str
    params: list[Parameter]
    fields: list[Column]
    date_window: DateWindow | None
    loader_hints: LoaderHints
    available_to: list[str]
    any_of_components: list[str]
    alias: str | None = None

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The columns by name, in the order of the docs."""
        return {column.name: column for column in self.fields}

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name."""
        return {parameter.name: parameter for parameter in self.params}

    @property
    def key(self) -> list[str]:
        """The columns that identify a row, within one period for a method that sums up periods."""
        return [name for name in self.loader_hints.primary_key if name in self.columns]

    @property
    def is_for_clients(self) -> bool:
        """Whether it tells of a client's account, not of an agent's customers."""
        return "client" in self.available_to

    @property
    def time_column(self) -> str | None:
        """The column that ``date_from`` and ``date_till`` apply to; None for a list without a period."""
        return self.loader_hints.time_field


class Operator(msgspec.Struct, frozen=True):
    """A filter operator and the column types it works on."""

    op: str
    types: list[str]


class ErrorRule(msgspec.Struct, frozen=True):
    """An error of the API; the message may hold ``{placeholders}``."""

    code: int
    mnemonic: str
    message: str


class _MethodsFile(msgspec.Struct):
    methods: list[Method]


class _Filter(msgspec.Struct):
    operators: list[Operator]


class _AbsentOn(msgspec.Struct):
    mnemonics: list[str]


class _Limits(msgspec.Struct):
    absent_on: _AbsentOn


class _ProtocolFile(msgspec.Struct):
    filter: _Filter
    limits: _Limits
    errors: list[ErrorRule]


def _read(name: str) -> bytes:
    return files("comagic_pipeline").joinpath("catalog", name).read_bytes()


@cache
def methods() -> dict[str, Method]:
    """Return every ``get.*`` method by name, and by its other name if the docs give one."""
    listed = msgspec.json.decode(_read("methods.json"), type=_MethodsFile).methods
    return {name: method for method in listed for name in (method.name, method.alias) if name is not None}


@cache
def _protocol() -> _ProtocolFile:
    return msgspec.json.decode(_read("protocol.json"), type=_ProtocolFile)


@cache
def operators() -> dict[str, Operator]:
    """Return every filter operator by its sign."""
    return {operator.op: operator for operator in _protocol().filter.operators}


@cache
def errors() -> dict[str, ErrorRule]:
    """Return every error by mnemonic; of two with one mnemonic the first, which is the one that ``get`` methods use."""
    return {rule.mnemonic: rule for rule in reversed(_protocol().errors)}


@cache
def errors_without_limits() -> frozenset[str]:
    """Return the mnemonics whose answers hold no limits."""
    return frozenset(_protocol().limits.absent_on.mnemonics)
