"""Make one JSON-RPC call: envelope, key, retries, limits, masking. Which calls to make is decided by readers.

The key travels in the request body. No message that leaves this module contains it: echoes of the API are masked.
"""

import codecs
import logging
import random
import ssl
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

import httpx
import msgspec
import tenacity

from comagic_pipeline.api.columns import mentioned, pointed_at
from comagic_pipeline.api.connection import Connection, chunks_of
from comagic_pipeline.api.envelope import ErrorBlock, Result, decode_envelope
from comagic_pipeline.api.errors import (
    DayPointsSpentError,
    MinutePointsSpentError,
    PermanentError,
    SessionEndedError,
    TransientError,
    api_error,
)
from comagic_pipeline.api.quota import SPANS, Clock, Limits, Quota, Sleep, Span, Told, utc_now
from comagic_pipeline.core.printable import LONGEST, printable

_log = logging.getLogger(__name__)

ATTEMPTS = 7
"""How often one call is tried while its errors are transient: with the pauses below that is about a minute."""
_MINUTE_REFUSALS = 60
"""How often in a row the minute's limit may refuse a call, each time after it was waited out: about an hour."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_LONGEST_ANSWER = timedelta(minutes=10)  # a server that dribbles bytes keeps every single read short
_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# By our own clock: the Unix time that login.user tells would be wrong where the two clocks disagree.
_SESSION_LIFETIME, _RENEW_SESSION_BEFORE = timedelta(hours=1), timedelta(minutes=5)
_MASK = "***"
_LONGEST_NAME = 100  # characters of a mnemonic, a parameter or a column in messages
_NO_ROWS = msgspec.Raw(b"null")


@dataclass(frozen=True)
class Answer:
    """A successful answer: `data` is the JSON of the rows, `total_items` what the API says there are, if it says."""

    data: msgspec.Raw
    total_items: int | None
    limits: Limits


class Credentials(Protocol):
    """Gives the key for the next call; `renew` makes a new one and says whether that was possible."""

    def key(self, client: "Client") -> str:
        """Return the key to send."""

    def renew(self, client: "Client") -> bool:
        """Make a new key after the API refused the last one; return whether there is one."""


class Token:
    """A permanent or temporary key from the account."""

    def __init__(self, token: str) -> None:
        self._token = token

    def key(self, client: "Client") -> str:  # noqa: ARG002 - the protocol's shape; a token needs no call
        """Return the token."""
        return self._token

    def renew(self, client: "Client") -> bool:  # noqa: ARG002
        """Do nothing: a token cannot be renewed by a program."""
        return False


class Login:
    """A session of `login.user`: it lives one hour (protocol.json, "session") and is renewed a little earlier."""

    def __init__(self, login: str, password: str, clock: Clock = utc_now) -> None:
        self._login, self._password, self._clock = login, password, clock
        self._lock = threading.Lock()
        self._key: str | None = None
        self._ends_at = clock()

    def key(self, client: "Client") -> str:
        """Return the session's key; logs in when there is none or it is about to end."""
        with self._lock:
            if self._key is None or self._clock() >= self._ends_at - _RENEW_SESSION_BEFORE:
                self._log_in(client)
            assert self._key is not None  # noqa: S101
            return self._key

    def renew(self, client: "Client") -> bool:  # noqa: ARG002
        """Forget the session: the next call logs in again."""
        with self._lock:
            self._key = None
        return True

    def _log_in(self, client: "Client") -> None:
        answer = client.send("login.user", {"login": self._login, "password": self._password}, self._password)
        session = msgspec.json.decode(answer.data)
        session = session[0] if isinstance(session, list) and session else session
        if not isinstance(session, dict) or not isinstance(session.get("access_token"), str):
            raise TransientError("login.user: the answer holds no access_token")
        self._key = session["access_token"]
        client.hide(self._key)
        self._ends_at = self._clock() + _SESSION_LIFETIME


class Client:
    """Calls methods of one host with one key: TLS verified, gzip, one kept-alive connection per thread in flight.

    A call is tried `attempts` times while its errors are transient. `clock`, `sleep` and `randomness` (the jitter of
    pauses) are passed in so that tests need not wait. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        quota: Quota | None = None,
        *,
        clock: Clock = utc_now,
        sleep: Sleep = time.sleep,
        randomness: random.Random | None = None,
        verify: ssl.SSLContext | bool = True,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.base_url = base_url
        self._attempts = attempts
        self.quota = quota or Quota(clock=clock, sleep=sleep)
        self._credentials = credentials
        self._clock = clock
        self._sleep = sleep
        self._randomness = randomness or random.Random()  # noqa: S311 - jitter, not cryptography
        self._secrets: tuple[str, ...] = ()
        self.left_out: defaultdict[tuple[str, Any], dict[str, str]] = defaultdict(dict)
        """The columns that the API refused, by method and customer, each with the line that says why."""
        self._connection = Connection(base_url, verify)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def hide(self, secret: str) -> None:
        """Mask this text in every message from now on."""
        # Longest first: a secret that begins another one must not leave the rest of it behind.
        self._secrets = tuple(sorted({*self._secrets, secret} - {""}, key=len, reverse=True))

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Call a method and return its answer; costs one point when it succeeds.

        Transient errors are tried again with growing pauses, the minute's limit is waited out, an ended login session
        is renewed once. Raises the other classes of `errors` at once; DayPointsSpentError before anything is sent
        when the day's points are down to the reserve.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=self._pause,
            before_sleep=self._tell_pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._authorised, method, dict(params or {}))
        except SessionEndedError:
            if not self._credentials.renew(self):
                raise
            return retrying(self._authorised, method, dict(params or {}))

    def _authorised(self, method: str, params: dict[str, Any]) -> Answer:
        refusals = 0
        while True:
            try:
                key = self._credentials.key(self)
                return self.send(method, {"access_token": key, **params}, key)
            except MinutePointsSpentError:
                # The quota has heard of it too: it waits before the next request.
                refusals += 1
                if refusals == _MINUTE_REFUSALS:
                    raise

    def send(self, method: str, params: Mapping[str, Any], secret: str) -> Answer:
        """Send one request, once, with `params` as they are; `secret` is masked in whatever goes wrong."""
        self.hide(secret)
        request_id = uuid.uuid4().hex
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        with self.quota.request(method) as told:
            try:
                return self._read(method, request_id, told, *self._post(method, body))
            except httpx.TimeoutException as error:
                raise TransientError(f"{method}: no answer from {self.base_url} in time ({_kind(error)})") from error
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise PermanentError(f"{method}: base_url {self.base_url} is not an http(s) URL: {error}") from error
            except (httpx.TransportError, OverflowError) as error:
                said = self._shown(str(error)) or _kind(error)
                proxy = self._connection.proxy_variable
                way = f" through the proxy of {proxy}" if proxy else ""
                raise TransientError(f"{method}: cannot reach {self.base_url}{way}: {said}") from error
            except (httpx.DecodingError, UnicodeDecodeError) as error:
                raise TransientError(f"{method}: the body of the answer is broken ({_kind(error)})") from error

    def _post(self, method: str, body: bytes) -> tuple[httpx.Response, bytearray]:
        # One growing buffer: httpx's own reading keeps 4-5 times the memory of a page.
        content, started = bytearray(), self._clock()
        utf8 = codecs.getincrementaldecoder("utf-8")()
        with self._connection.post(body) as response:
            for chunk in chunks_of(response, method):
                utf8.decode(chunk)
                content += chunk
                if self._clock() - started > _LONGEST_ANSWER:
                    raise TransientError(f"{method}: the answer takes longer than {_LONGEST_ANSWER}")
        utf8.decode(b"", final=True)
        return response, content

    def _read(self, method: str, request_id: str, told: Told, response: httpx.Response, content: bytearray) -> Answer:
        try:
            envelope = decode_envelope(method, content)
        except msgspec.MsgspecError as error:
            self._check_status(method, response)
            raise TransientError(f"{method}: {self.base_url} does not answer JSON as documented ({error})") from error
        # A caching proxy may hand over somebody else's answer; a null id is what errors before parsing carry.
        if envelope.id is not None and str(envelope.id) != request_id:
            raise TransientError(f"{method}: the answer belongs to another request")
        if envelope.error is not None:
            raise self._refused(method, envelope.error, told)
        self._check_status(method, response)
        match envelope.result:
            case None:
                raise TransientError(f"{method}: the answer of {self.base_url} has neither result nor error")
            case msgspec.Raw() as bare:
                data, metadata = bare, None
            case Result() as result:
                data, metadata = result.data or _NO_ROWS, result.metadata or result.meta_data
                if not result.data and not metadata:
                    raise TransientError(f"{method}: the answer of {self.base_url} has neither data nor metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        told.limits, told.charged = Limits.parse(metadata.get("limits")), True
        total = metadata.get("total_items")
        try:
            return Answer(data, None if total is None else int(total), told.limits)
        except (TypeError, ValueError, OverflowError) as error:
            raise TransientError(f"{method}: total_items is not a number") from error

    def _check_status(self, method: str, response: httpx.Response) -> None:
        """Raise for an answer that is not the API's: errors of the API come with HTTP 200."""
        status = response.status_code
        if status in _RETRYABLE_STATUS:
            raise TransientError(f"{method}: {self.base_url} answers HTTP {status}", _retry_after(response))
        if status != httpx.codes.OK:
            raise PermanentError(f"{method}: {self.base_url} answers HTTP {status}; check base_url in the config")

    def _refused(self, method: str, error: ErrorBlock, told: Told) -> Exception:
        """Return the exception for the error block of an answer."""
        data = error.data if isinstance(error.data, dict) else {}
        mnemonic = data.get("mnemonic")
        metadata = data.get("metadata")
        told.limits = Limits.parse(metadata.get("limits") if isinstance(metadata, dict) else None)
        message = self._shown(str(error.message))
        code = error.code if isinstance(error.code, int) else None
        if mnemonic == "limit_exceeded" or (mnemonic is None and code == -32029):
            params = data.get("params")
            params = params if isinstance(params, dict) else {}
            span = _exceeded(told.limits, f"{params.get('limit_type', '')} {message}")
            highest = Limits.parse({f"{span}_limit": params.get("limit_max_value")}).of(span)[0]
            spent = {f"{span}_limit": told.limits.of(span)[0] or highest, f"{span}_remaining": 0}
            told.limits = replace(told.limits, **spent)
            until = self.quota.refused_until(span, told.limits)
            if span == "day":
                return self.quota.day_spent(None, until)
            return MinutePointsSpentError(f"{method}: {message}", until)
        return api_error(
            method,
            code=code,
            mnemonic=self._shown(mnemonic, _LONGEST_NAME) if isinstance(mnemonic, str) else None,
            message=message,
            names=frozenset(self._shown(name, _LONGEST_NAME) for name in pointed_at(data)),
            mentioned=mentioned(data, str(error.message)),
        )

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next attempt: what the API asks for, else doubling with jitter."""
        error = state.outcome.exception() if state.outcome else None
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (state.attempt_number - 1))
        pause: float = longest * (0.5 + self._randomness.random() / 2)
        if isinstance(error, TransientError) and error.retry_after is not None:
            return max(pause, min(error.retry_after, 2 * _LONGEST_PAUSE))
        return pause

    def _tell_pause(self, state: tenacity.RetryCallState) -> None:
        """Log why and how long a call waits before its next attempt."""
        seconds = state.next_action.sleep if state.next_action else 0
        error = state.outcome.exception() if state.outcome else None
        _log.warning(
            f"{error}; attempt {state.attempt_number} of {self._attempts} failed, the next is in {seconds:.0f} s"
        )

    def _shown(self, text: str, longest: int = LONGEST) -> str:
        """Foreign text as messages show it: secrets masked, one short line, nothing that a terminal obeys."""
        # Twice: an escape within a secret would hide it, and what is cut or stripped first may leave a part of it.
        return printable(self._masked(printable(self._masked(text), len(text))), longest)

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text


def _exceeded(limits: Limits, words: str) -> Span:
    """Return which limit a request exceeded.

    The numbers are surer than the words: those of limit_type are not documented.
    """
    for span in SPANS:
        if limits.of(span)[1] == 0:
            return span
    return next((span for span in SPANS if span in words.lower()), "minute")


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None


def _kind(error: Exception) -> str:
    return type(error).__name__


__all__ = ["ATTEMPTS", "Answer", "Client", "Credentials", "DayPointsSpentError", "Login", "Token"]
