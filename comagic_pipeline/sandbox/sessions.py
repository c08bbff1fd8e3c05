"""Who may call: permanent keys, sessions of login.user, the list of addresses, the state of the account."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

from comagic_pipeline.sandbox.errors import ApiError
from comagic_pipeline.sandbox.settings import Settings

SESSION_LIFETIME = timedelta(hours=1)


class Sessions:
    """Keys of the settings, and the sessions that were opened with a login and a password."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._ends: dict[str, datetime] = {}

    def login(self, login: str, password: str) -> dict[str, Any]:
        """Return ``data`` of login.user without the account: a new key and when it ends, as a Unix timestamp."""
        if self._settings.logins.get(login) != password:
            raise ApiError("auth_error")
        token, end = secrets.token_hex(20), self._now() + SESSION_LIFETIME
        self._ends[token] = end
        return {"access_token": token, "expire_at": int(end.timestamp())}

    def logout(self, token: str) -> None:
        """End a session; a permanent key stays."""
        self.check_token(token)
        self._ends.pop(token, None)

    def check_token(self, token: str) -> None:
        """Raise the error of a key that is unknown, expired or blocked. A session that ended counts as unknown."""
        if token in self._ends:
            if self._now() >= self._ends[token]:
                raise ApiError("access_token_invalid")
            return
        state = self._settings.tokens.get(token, "invalid")
        if state != "valid":
            raise ApiError(f"access_token_{state}")

    def check_account(self, address: str) -> None:
        """Raise ``ip_not_whitelisted`` or ``account_inactive``."""
        if not any(ip_address(address) in ip_network(network) for network in self._settings.allowed_addresses):
            raise ApiError("ip_not_whitelisted", ip=address)
        if not self._settings.account_active:
            raise ApiError("account_inactive")
