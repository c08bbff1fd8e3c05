"""The parameters of a ``get.*`` method, checked against the catalog: which rows, which columns, which page."""

import calendar
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from comagic_pipeline.sandbox.errors import ApiError
from comagic_pipeline.sandbox.filters import RowTest, read_filter
from comagic_pipeline.sandbox.settings import Settings
from comagic_pipeline.sandbox.specification import Method, Parameter

_TYPES: dict[str, type] = {"string": str, "iso8601": str, "boolean": bool, "array": list, "object": dict}
_GENERAL = ("access_token", "user_id", "limit", "offset", "fields", "filter", "sort", "date_from", "date_till")
_INSTEAD_OF_PERIOD = ("chat_id", "chat_ids")
_GENERAL_MAXIMUM_DAYS = 90
"""The catalog's limit of a method that has no limit of its own: the text of the error calls it 3 months."""


@dataclass(frozen=True)
class Order:
    """One column of the sort."""

    column: str
    descending: bool


@dataclass(frozen=True)
class Query:
    """A question to a method: the period (both seconds included), conditions, order, page and columns."""

    columns: list[str]
    limit: int
    offset: int
    date_from: str | None = None
    date_till: str | None = None
    matches: RowTest | None = None
    order: list[Order] = field(default_factory=list)
    condition: str = ""
    """What ``matches`` was made of."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The parameters that only this method has, as sent."""

    def with_limit(self, limit: int) -> "Query":
        """Return the same query for a page of another size."""
        return replace(self, limit=limit)


def read_query(method: Method, params: dict[str, Any], settings: Settings) -> Query:
    """Return the query that the parameters ask for; raises the :class:`ApiError` of the first that is wrong."""
    # An agent passes user_id in every client method, also where the table of the page leaves it out (get.account).
    known = ({"user_id": Parameter("user_id", "number")} if method.is_for_clients else {}) | method.parameters
    check_parameters(known, params)
    for chat_id in params.get("chat_ids", []):
        if not _is_whole_number(chat_id):
            raise ApiError("data_type_error", "chat_ids", chat_id)
    sort = "sort" if "sort" in known else "order"  # get.lead_funnel_stages names it so
    asked = {parameter.name: parameter.default for parameter in method.params if parameter.default is not None} | params
    date_from, date_till = _read_period(method, params, settings)
    return Query(
        columns=_read_fields(params["fields"], method)
        if "fields" in params
        else [column.name for column in method.fields if column.default is not False],
        limit=asked.get("limit", sys.maxsize),
        offset=asked.get("offset", 0),
        date_from=date_from,
        date_till=date_till,
        matches=read_filter(params["filter"], method) if "filter" in params else None,
        order=[_read_order(item, method, sort) for item in params.get(sort, [])],
        condition=repr(params.get("filter")),
        options={name: value for name, value in params.items() if name not in _GENERAL},
    )


def check_parameters(known: Mapping[str, Parameter], params: dict[str, Any]) -> None:
    """Raise for a parameter that is unknown, missing, of the wrong type or too large."""
    for name, parameter in known.items():
        if parameter.required and name not in params:
            raise ApiError("required_parameter_missed", name)
    for name, value in params.items():
        if name not in known:
            raise ApiError("unexpected_parameters", name, value)
        if not _has_type(value, known[name]):
            raise ApiError("data_type_error", name, value)
        maximum = known[name].max
        if maximum is not None and not (1 if name == "limit" else 0) <= value <= maximum:
            raise ApiError("invalid_parameter_value", name, value)


def _has_type(value: Any, parameter: Parameter) -> bool:
    if parameter.type == "number":
        return _is_whole_number(value)
    return isinstance(value, _TYPES[parameter.type])


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_fields(fields: list[Any], method: Method) -> list[str]:
    if not fields:
        raise ApiError("invalid_parameter_value", "fields", fields)
    for name in fields:
        if not isinstance(name, str):
            raise ApiError("data_type_error", "fields", name)
        if name not in method.columns:
            raise ApiError("unexpected_parameters", "fields", name)
    return fields


def _read_order(item: Any, method: Method, path: str) -> Order:
    if not isinstance(item, dict):
        raise ApiError("data_type_error", path, item)
    for name in item.keys() - {"field", "order"}:
        raise ApiError("unexpected_parameters", f"{path}.{name}", item[name])
    if "field" not in item:
        raise ApiError("required_parameter_missed", f"{path}.field")
    name, order = item["field"], item.get("order", "asc")
    column = method.columns.get(name) if isinstance(name, str) else None
    if column is None:
        raise ApiError("unexpected_parameters", path, name)
    if not column.sort:
        raise ApiError("sort_prohibited", path, name)
    if order not in ("asc", "desc"):
        raise ApiError("invalid_parameter_value", f"{path}.order", order)
    return Order(column.name, order == "desc")


def _read_period(method: Method, params: dict[str, Any], settings: Settings) -> tuple[str | None, str | None]:
    if "date_from" not in params and "date_till" not in params:
        if "date_from" in method.parameters and params.keys().isdisjoint(_INSTEAD_OF_PERIOD):
            raise ApiError("required_parameter_missed", "date_from")
        return None, None
    for name in ("date_from", "date_till"):
        if name not in params:
            raise ApiError("required_parameter_missed", name)
    start, end = _read_moment("date_from", params), _read_moment("date_till", params)
    if end < start:
        raise ApiError("invalid_parameter_value", "date_till", params["date_till"])
    if end > _latest_end(start, method, settings):
        raise ApiError("date_interval_limit_reached", "date_till", params["date_till"])
    if not settings.date_till_inclusive:
        end -= timedelta(seconds=1)
    return str(start), str(end)


def _read_moment(name: str, params: dict[str, Any]) -> datetime:
    """Wall time of the account, written ``YYYY-MM-DD hh:mm:ss`` and in no other way."""
    try:
        moment = datetime.fromisoformat(params[name])
    except ValueError:
        moment = None
    if moment is None or str(moment) != params[name]:
        raise ApiError("invalid_parameter_value", name, params[name])
    return moment


def _latest_end(start: datetime, method: Method, settings: Settings) -> datetime:
    maximum = method.date_window.max_days if method.date_window else None
    if maximum is not None and maximum != _GENERAL_MAXIMUM_DAYS:
        return start + timedelta(days=maximum)
    if settings.longest_period_days is not None:
        return start + timedelta(days=settings.longest_period_days)
    year, month = divmod(start.year * 12 + start.month - 1 + 3, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last_day))
