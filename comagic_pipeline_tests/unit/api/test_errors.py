"""What is done about an error of the API: its class follows from what protocol.json says of it."""

import json
from importlib import resources
from typing import Any

import pytest

from comagic_pipeline.api import errors

PROTOCOL = json.loads(resources.files("comagic_pipeline.catalog").joinpath("protocol.json").read_text())
DOCUMENTED = [entry for entry in PROTOCOL["errors"] if entry["scope"] in ("any", "get") and entry["class"] != "wait"]

# By what protocol.json tells to do; where its class leaves a choice, the action decides.
BY_CLASS = {
    "retryable": errors.TransientError,
    "split": errors.PeriodTooLongError,
    "reauth_or_user_action": errors.SessionEndedError,
    "fatal_bug": errors.RequestRefusedError,
    "fatal_unknown": errors.RequestRefusedError,
}
BY_MNEMONIC = {
    "auth_error": errors.PermanentError,
    "access_token_blocked": errors.PermanentError,
    "ip_not_whitelisted": errors.PermanentError,
    "account_inactive": errors.PermanentError,
    "forbidden": errors.MethodUnavailableError,
    "method_component_disabled": errors.MethodUnavailableError,
    "parameter_component_disabled": errors.MethodUnavailableError,
    "method_not_found": errors.MethodUnavailableError,
    "unexpected_parameters": errors.UnexpectedParameterError,
}


@pytest.mark.parametrize("entry", DOCUMENTED, ids=lambda entry: str(entry["mnemonic"]))
def test_every_documented_error(entry: dict[str, Any]) -> None:
    """Every error that a get method can give has the class that its documented action demands, and one clear line."""
    error = errors.api_error(
        "get.calls_report", code=entry["code"], mnemonic=entry["mnemonic"], message=entry["message"]
    )
    assert type(error) is (BY_MNEMONIC.get(entry["mnemonic"]) or BY_CLASS[entry["class"]])
    assert str(error).startswith(f'get.calls_report: the API says {entry["mnemonic"]}: "{entry["message"]}"')
    assert "\n" not in str(error)


@pytest.mark.parametrize("mnemonic", [name for name, kind in BY_MNEMONIC.items() if "Unexpected" not in kind.__name__])
def test_errors_that_need_a_person_say_what_to_do(mnemonic: str) -> None:
    """After what the API says comes the mend."""
    assert '"; ' in str(errors.api_error("get.sites", code=None, mnemonic=mnemonic, message="said"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-32601, errors.MethodUnavailableError),
        (-32603, errors.TransientError),
        (-32001, errors.SessionEndedError),
        (-32003, errors.MethodUnavailableError),
        (-32008, errors.MethodUnavailableError),
        (-32009, errors.PermanentError),
        (-32602, errors.RequestRefusedError),
        (-32600, errors.RequestRefusedError),
        (-32700, errors.RequestRefusedError),
        (-32099, errors.RequestRefusedError),
        (-1, errors.RequestRefusedError),
        (None, errors.RequestRefusedError),
    ],
)
def test_an_error_without_a_mnemonic(code: int | None, expected: type[errors.ComagicError]) -> None:
    """Where the mnemonic is missing the code decides, and an unknown code stops the work."""
    assert type(errors.api_error("get.sites", code=code, mnemonic=None, message="said")) is expected


def test_the_mnemonic_outweighs_the_code() -> None:
    """Codes are not unique: forbidden is forbidden under the code of wrong parameters too."""
    error = errors.api_error("get.sites", code=-32602, mnemonic="forbidden", message="Permission denied")
    assert type(error) is errors.MethodUnavailableError


def test_an_agent_without_user_id() -> None:
    """A missing user_id is a matter of the config: the message says so."""
    error = errors.api_error(
        "get.sites", code=-32602, mnemonic="required_parameter_missed", message="", names=frozenset({"user_id"})
    )
    assert type(error) is errors.PermanentError
    assert "user_ids" in str(error)


def test_the_suspects_are_named() -> None:
    """The parameters that the API points at are in the message, or in the error for those who act on them."""
    names = frozenset({"sort", "name"})
    error = errors.api_error("get.sites", code=-32602, mnemonic="sort_prohibited", message="", names=names)
    assert "(name, sort)" in str(error)
    drift = errors.api_error("get.sites", code=-32602, mnemonic="unexpected_parameters", message="", names=names)
    assert isinstance(drift, errors.UnexpectedParameterError)
    assert drift.names == names
