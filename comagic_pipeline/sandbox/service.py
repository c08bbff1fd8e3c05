"""The Data API itself: one call in, one answer out. Rights, points, the query, the shape of the result. No HTTP."""

from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.envelope import Call
from comagic_pipeline.sandbox.errors import ApiError
from comagic_pipeline.sandbox.limits import Points
from comagic_pipeline.sandbox.paging import read_page
from comagic_pipeline.sandbox.parameters import check_parameters, read_query
from comagic_pipeline.sandbox.rows.served import is_served
from comagic_pipeline.sandbox.sessions import Sessions
from comagic_pipeline.sandbox.settings import Quirks, Settings
from comagic_pipeline.sandbox.specification import Method, Parameter, Row
from comagic_pipeline.sandbox.world import World


@dataclass(frozen=True)
class Answer:
    """What the API says to a call, and what it cost."""

    result: Any
    rows: int | None = None
    total_items: int | None = None
    points: int = 0


class Service:
    """Answers calls from a world, by the settings; those of an agent from the worlds of its customers.

    All points are the agent's (the docs do not say whose they are).
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self.points = Points(settings, world.now)
        self._world = world
        self._settings = settings
        self._sessions = Sessions(settings, world.now)
        self._shuffle = Random("order")  # noqa: S311 - mixes rows, guards nothing

    def answer(self, call: Call, address: str, *, is_lost: bool = False) -> Answer:
        """Return the result for a caller at an address; raises the :class:`ApiError` that the API gives instead.

        An answer that will be lost on its way counts as failed and costs no point.
        """
        if call.method in _SESSION_METHODS:
            return self._session(call, address)
        method = specification.methods().get(call.method)
        # "No such method, or it is closed to this account": lists of customers are for agents.
        if method is None or not is_served(method.name) or not (method.is_for_clients or self._world.customers):
            raise ApiError("method_not_found")
        check_parameters(_TOKEN, {name: value for name, value in call.params.items() if name in _TOKEN})
        self._sessions.check_token(call.params["access_token"])
        self._sessions.check_account(address)
        user_id, world = None, self._world
        if self._world.customers and method.is_for_clients:
            user_id, world = self._user(call.params)
        self._check_rights(call.method, method, user_id)
        self.points.check()
        return self._read(world, method, call.params, price=0 if is_lost else 1)

    def limits(self, error: ApiError | None = None) -> dict[str, int]:
        """``metadata.limits`` of an answer given now; those of ``limit_exceeded`` show nothing remaining."""
        exceeded = error.placeholders.get("limit_type") if error else None
        return {} if self._settings.quirks.empty_limits else self.points.limits(exceeded)

    def _session(self, call: Call, address: str) -> Answer:
        check_parameters(_SESSION_METHODS[call.method], call.params)
        self._sessions.check_account(address)
        data: Row
        if call.method == "login.user":
            data = self._sessions.login(call.params["login"], call.params["password"])
            data["app_id"] = self._world.cast.app_id
        else:
            self._sessions.logout(call.params["access_token"])
            data = {"success": True}
        return Answer({"data": data, "metadata": {"version": None, "limits": {}}})

    def _user(self, params: dict[str, Any]) -> tuple[int, World]:
        """Return the user on whose behalf an agent asks, and the account of its customer.

        The docs do not say what happens to a user of somebody else: taken to be a wrong value.
        """
        check_parameters(_USER, {name: value for name, value in params.items() if name in _USER})
        user_id: int = params["user_id"]
        customer_ids = {row["id"]: row["customer_id"] for row in self._world.rows("get.customer_users")}
        if customer_ids.get(user_id) not in self._world.customers:
            raise ApiError("invalid_parameter_value", "user_id", user_id)
        return user_id, self._world.customers[customer_ids[user_id]]

    def _check_rights(self, name: str, method: Method, user_id: int | None) -> None:
        """Raise the refusal of a method, called by a name, on behalf of an agent's user or of nobody."""
        settings = self._settings
        if user_id in settings.refused_users:
            raise ApiError("forbidden")
        of_user = settings.refused_methods_of_users.get(user_id, {}) if user_id is not None else {}
        refusal = of_user.get(name) or settings.refused_methods.get(name)
        components = set(method.any_of_components)
        if components and components <= settings.disabled_components:
            refusal = refusal or "method_component_disabled"
        if refusal == "method_component_disabled":
            raise ApiError(refusal, components=", ".join(method.any_of_components))
        if refusal is not None:
            raise ApiError(refusal)

    def _read(self, world: World, method: Method, params: dict[str, Any], price: int) -> Answer:
        settings, quirks = self._settings, self._settings.quirks
        if quirks.forgotten_columns:
            known = [column for column in method.fields if column.name not in quirks.forgotten_columns]
            method = msgspec.structs.replace(method, fields=known)
        query = read_query(method, params, settings)
        if quirks.short_pages is not None:
            query = query.with_limit(min(query.limit, quirks.short_pages))
        page = read_page(world, method, query, self._shuffle if settings.unstable_order else None)
        self.points.charge(price)
        data = [{name: row[name] for name in query.columns if name in row} for row in page.rows]
        if quirks != Quirks():
            data = [self._odd(row) for row in data]
        metadata = {"total_items": page.total_items, "version": None, "limits": self.limits()}
        result: Any = {"data": data, quirks.metadata_name: metadata}
        if quirks.without_metadata:
            result = {"data": data}
        if quirks.bare_list if quirks.bare_list is not None else method.name in _BARE_LISTS:
            result = data
        return Answer(result, len(data), page.total_items, price)

    def _odd(self, row: Row) -> Row:
        quirks = self._settings.quirks
        if quirks.null_for_empty_arrays:
            row = {name: None if value in ([], {}) else value for name, value in row.items()}
        texts = {name: str(row[name]) for name in quirks.numbers_as_strings if row.get(name) is not None}
        numbers = {name: int(row[name]) for name in quirks.strings_as_numbers if (row.get(name) or "").isdecimal()}
        return row | texts | numbers | quirks.extra_columns


_BARE_LISTS = ("get.campaign_daily_stat",)
"""Methods whose ``result`` is the list of rows itself, says the sample of the docs."""
_TOKEN = {"access_token": Parameter("access_token", "string", required=True)}
_USER = {"user_id": Parameter("user_id", "number", required=True)}
_SESSION_METHODS = {
    "login.user": {name: Parameter(name, "string", required=True) for name in ("login", "password")},
    "logout.user": _TOKEN,
}
