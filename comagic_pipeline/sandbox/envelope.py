"""The JSON-RPC envelope of a request: one call, with an id, or the error that the API gives instead."""

from dataclasses import dataclass
from typing import Any

import msgspec

from comagic_pipeline.sandbox.errors import ApiError


@dataclass(frozen=True)
class Call:
    """One request: its id, the method and the parameters."""

    id: str | int | float
    method: str
    params: dict[str, Any]

    @property
    def masked_params(self) -> dict[str, Any]:
        """The parameters without secrets."""
        return self.params | {name: "***" for name in ("access_token", "password") if name in self.params}


class EnvelopeError(ApiError):
    """The body is not a proper call; ``request_id`` is the id it had, if any."""

    def __init__(self, mnemonic: str, request_id: Any = None) -> None:
        super().__init__(mnemonic)
        self.request_id = request_id


def read_call(body: bytes) -> Call:
    """Return the call that a body holds; raises :class:`EnvelopeError`."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise EnvelopeError("parse_error") from None
    if isinstance(content, list):
        raise EnvelopeError("batch_opreations_not_supported")
    if not isinstance(content, dict):
        raise EnvelopeError("invalid_request")
    if "id" not in content:
        raise EnvelopeError("notifications_not_supported")
    request_id, method, params = content["id"], content.get("method"), content.get("params")
    if not isinstance(request_id, str | int | float) or isinstance(request_id, bool):
        raise EnvelopeError("invalid_request")
    if content.get("jsonrpc") != "2.0" or not isinstance(method, str) or not isinstance(params, dict):
        raise EnvelopeError("invalid_request", request_id)
    return Call(request_id, method, params)
