"""The errors of the Data API as one tree: the class of an error decides what to do.

The API's mnemonics are mapped by `protocol.json`, "errors". Messages name what failed, what the API said and what to do
next. They never contain the key.
"""

from collections.abc import Sequence
from datetime import date, datetime

from comagic_pipeline.core.printable import printable


class ComagicError(Exception):
    """The root: anything that went wrong with the Data API."""

    may_pass = False
    """True when the same may succeed later though nobody changes anything."""
    mnemonic: str | None = None
    """What the API calls it, if it was the API that reported it."""
    names: frozenset[str] = frozenset()
    """The parameters or columns that the API pointed at, if it said."""
    mentioned: Sequence[frozenset[str]] = ()
    """The words of each place of the API's error that may name a column; the last place is its whole message."""
    parts: Sequence["ComagicError"] = ()
    """The errors that it stands for, when there are several."""


class PermanentError(ComagicError):
    """A person must change something (key, address list, account, config): no retry, all work of the source stops."""


class MethodUnavailableError(ComagicError):
    """The account or its user may not call this method: skip it, go on with the others."""


class RequestRefusedError(ComagicError):
    """The API calls the request wrong: a mistake of ours or a changed API. No retry."""


class UnexpectedParameterError(RequestRefusedError):
    """The API does not know a parameter or a column that the request named."""


class PeriodTooLongError(RequestRefusedError):
    """The period of the request is longer than the API allows: ask for a shorter one."""


class PeriodEndRefusedError(RequestRefusedError):
    """The API refuses `date_till`, as one that lies in the future: ask until now."""


class HistoryLimitError(PeriodTooLongError):
    """The API gives no days as old as those that were asked for; `first_day` is the first that it gives."""

    def __init__(self, method: str, first_day: date) -> None:
        super().__init__(f"{method}: the API gives no days before {first_day}: set start_date")
        self.first_day = first_day


class TransientError(ComagicError):
    """Network, server or a broken body: the same request may go through later. `retry_after` is in seconds."""

    may_pass = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnusableAnswerError(ComagicError):
    """The answer is larger, deeper or packed otherwise than is taken. The same request is not repeated at once."""

    may_pass = True


class MinutePointsSpentError(ComagicError):
    """The minute's, or the hour's, points are used up; `until` is when they are there again (aware)."""

    may_pass = True

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class DayPointsSpentError(ComagicError):
    """The day's points are used up, or down to the reserve; `until` is when they are there again (aware)."""

    may_pass = True

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class SessionEndedError(PermanentError):
    """The key is not (or no longer) valid: a login session is renewed once, a key needs a person."""


class IncompleteAnswerError(ComagicError):
    """The rows that were read do not add up to what the API says there are, try after try."""

    may_pass = True


# What a person does about it, by mnemonic; the texts end up in a one-line error.
_PERMANENT = {
    "access_token_blocked": "the key is blocked: unblock it or make a new one in the account",
    "auth_error": "login or password is wrong: correct them in the config",
    "ip_not_whitelisted": "add this address in the account: Administrator, Account, rules and security settings, API",
    "account_inactive": "the account is disabled: contact the vendor's support",
}
_SESSION_ENDED = {
    "access_token_invalid": "check the key and that base_url is the host of the account (CoMagic or UIS)",
    "access_token_expired": "the key ran out: make a new one in the account",
}
_UNAVAILABLE = {
    "forbidden": "give the user of the key the right to this method",
    "method_component_disabled": "connect the component, or leave the table out",
    "parameter_component_disabled": "connect the component, or leave the table out",
    "method_not_found": "the API has no such method for this account: leave the table out",
}
# Fall-back when an error carries no mnemonic (protocol.json, error_code_groups).
_MNEMONIC_BY_CODE = {
    -32601: "method_not_found",
    -32603: "internal_error",
    -32001: "access_token_invalid",
    -32003: "forbidden",
    -32008: "method_component_disabled",
    -32009: "account_inactive",
    -32029: "limit_exceeded",
}
_UNEXPECTED = "Unexpected method parameter"  # its code stands for a dozen errors


def api_error(
    method: str,
    *,
    code: int | None,
    mnemonic: str | None,
    message: str,
    names: frozenset[str] = frozenset(),
    mentioned: Sequence[frozenset[str]] = (),
) -> ComagicError:
    """Return the exception for an error of the API, except `limit_exceeded`, which needs the limits beside it.

    `names` are the parameters or columns that the API pointed at, `mentioned` the words that may name one. Source:
    protocol.json, "errors".
    """
    if mnemonic is None and message.startswith(_UNEXPECTED):
        mnemonic = "unexpected_parameters"
    mnemonic = mnemonic or _MNEMONIC_BY_CODE.get(code or 0, "error")
    error = _error_of(method, mnemonic, message, names)
    error.mnemonic, error.names, error.mentioned = mnemonic, names, mentioned
    return error


def _error_of(method: str, mnemonic: str, message: str, names: frozenset[str]) -> ComagicError:
    said = f'{method}: the API says {mnemonic}: "{message}"'
    if mnemonic in _PERMANENT:
        return PermanentError(f"{said}; {_PERMANENT[mnemonic]}")
    if mnemonic in _SESSION_ENDED:
        return SessionEndedError(f"{said}; {_SESSION_ENDED[mnemonic]}")
    if mnemonic in _UNAVAILABLE:
        return MethodUnavailableError(f"{said}; {_UNAVAILABLE[mnemonic]}")
    if mnemonic == "internal_error":
        return TransientError(said)
    if mnemonic == "unexpected_parameters":
        return UnexpectedParameterError(said)
    if mnemonic == "date_interval_limit_reached":
        return PeriodTooLongError(said)
    if mnemonic == "required_parameter_missed" and "user_id" in names:
        return PermanentError(f"{said}; the key belongs to an agent: name its customers in user_ids")
    if "date_till" in names or "date_till" in message:
        return PeriodEndRefusedError(said)
    return RequestRefusedError(f"{said} ({printable(', '.join(sorted(names)))})" if names else said)
