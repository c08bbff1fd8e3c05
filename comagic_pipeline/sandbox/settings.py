"""What can be set on a sandbox: who may call, how much, and which of the undocumented or odd behaviours it shows.

The rows are the business of the world, passing failures that of the faults.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from comagic_pipeline.core.sandbox_key import SANDBOX_TOKEN as SANDBOX_TOKEN

SANDBOX_LOGIN = "user@example.test"
SANDBOX_PASSWORD = "sandbox-password"  # noqa: S105 - as above


Refusal = Literal["forbidden", "method_component_disabled", "method_not_found"]


@dataclass
class Quirks:
    """Odd answers that the docs, their samples or clients report; all off by default."""

    metadata_name: Literal["metadata", "meta_data"] = "metadata"
    empty_limits: bool = False
    without_metadata: bool = False
    bare_list: bool | None = None
    """Whether ``result`` is the list of rows itself; None: with get.campaign_daily_stat only, as its sample shows."""
    null_for_empty_arrays: bool = False
    """Null in place of empty objects too."""
    short_pages: int | None = None
    """At most so many rows a page, although ``limit`` is larger and more remain."""
    numbers_as_strings: frozenset[str] = frozenset()
    """Number columns that come as text: ``"12"``."""
    strings_as_numbers: frozenset[str] = frozenset()
    """Text columns that come as numbers where they hold digits only."""
    extra_columns: dict[str, Any] = field(default_factory=dict)
    """Columns that nobody asked for and no catalog knows."""
    forgotten_columns: frozenset[str] = frozenset()
    """Columns that the API no longer knows: ``unexpected_parameters`` when asked for."""


@dataclass
class Settings:
    """The account as the API sees it. May be changed while the server runs."""

    tokens: dict[str, Literal["valid", "expired", "blocked"]] = field(default_factory=lambda: {SANDBOX_TOKEN: "valid"})
    logins: dict[str, str] = field(default_factory=lambda: {SANDBOX_LOGIN: SANDBOX_PASSWORD})
    """Passwords by login, for login.user."""
    allowed_addresses: list[str] = field(default_factory=lambda: ["127.0.0.1"])
    """Addresses or networks, as ``0.0.0.0/0``."""
    account_active: bool = True
    disabled_components: set[str] = field(default_factory=set)
    """Components of the catalog (``any_of_components``) that are not connected: methods that need one are refused."""
    refused_methods: dict[str, Refusal] = field(default_factory=dict)
    """The mnemonic with which a method is refused, by the name it is called; its other name, if any, still works."""
    refused_users: set[int] = field(default_factory=set)
    """Users of an agent's customers, of ``get.customer_users``, on whose behalf every request is ``forbidden``."""
    refused_methods_of_users: dict[int, dict[str, Refusal]] = field(default_factory=dict)
    """As ``refused_methods``, for single users of an agent's customers."""
    day_limit: int = 3000
    minute_limit: int = 60
    longest_period_days: int | None = None
    """How long a period of a report may be; None: 3 calendar months. The docs give both 90 days and 3 months."""
    date_till_inclusive: bool = True
    """Not documented, hence both."""
    unstable_order: bool = False
    """Rows that the sort leaves equal change their order with every request."""
    quirks: Quirks = field(default_factory=Quirks)
