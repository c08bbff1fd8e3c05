"""The customers of an agent: the users on whose behalf a source sends requests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from comagic_pipeline.config import Source
from comagic_pipeline.warehouse.target import Account


def user_ids(source: Source, customer_users: Callable[[], Sequence[Mapping[str, Any]]]) -> Sequence[int]:
    """Return the users on whose behalf a source asks, one for each customer; 0 for an account that is nobody's agent.

    `customer_users` gives id and customer_id of the agent's list; called only where the config names nobody.
    """
    if source.user_ids is None:
        return [0]
    if source.user_ids != "all":
        return source.user_ids
    # Several users may belong to a customer and see the same rows.
    of_customer: dict[int, int] = {}
    for row in customer_users():
        of_customer[row["customer_id"]] = min(row["id"], of_customer.get(row["customer_id"], row["id"]))
    return sorted(of_customer.values())


def params_of(account: Account) -> dict[str, Any]:
    """Return the parameters of requests on behalf of a customer."""
    return {"user_id": account.customer_user_id} if account.customer_user_id else {}
