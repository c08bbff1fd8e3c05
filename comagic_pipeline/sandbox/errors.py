"""JSON-RPC errors of the API: the exception that every module raises, and the envelope it becomes.

Codes and messages come from ``protocol.json``; nothing here decides when an error happens.
"""

from typing import Any

from comagic_pipeline.sandbox import specification

_SECRETS = ("access_token", "password")


class ApiError(Exception):
    """The API refuses a request, by its mnemonic.

    ``field`` and ``value`` tell what was wrong with the request; ``placeholders`` fill those of the message.
    """

    def __init__(self, mnemonic: str, field: str | None = None, value: Any = None, **placeholders: Any) -> None:
        super().__init__(mnemonic)
        self.mnemonic = mnemonic
        self.field = field
        self.value = value
        self.placeholders = placeholders

    def envelope(self, request_id: Any, limits: dict[str, int]) -> dict[str, Any]:
        """Return the whole answer; without limits for the errors that are given before points are counted."""
        rule = specification.errors()[self.mnemonic]
        data: dict[str, Any] = {"mnemonic": self.mnemonic}
        if self.field is not None:
            data["field"] = self.field
            if self.field not in _SECRETS:
                data["value"] = self.value
        if self.placeholders:
            data["params"] = self.placeholders
        data["extended_helper"] = None
        data["metadata"] = {} if self.mnemonic in specification.errors_without_limits() else {"limits": limits}
        message = rule.message.format_map(_Placeholders(self.placeholders))
        return {"jsonrpc": "2.0", "id": request_id, "error": {"code": rule.code, "message": message, "data": data}}


class _Placeholders(dict[str, Any]):
    """Leaves a placeholder that nobody filled as it is, as when a fault asks for any mnemonic."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"
