"""Send messages with Apprise. Addresses are secrets: only their scheme is ever shown."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum

from comagic_pipeline.config import Config

_KEPT = 50
"""How many messages are kept for addresses that do not take them, while others do."""

_TALKERS = ("apprise", "urllib3.connectionpool", "requests_oauthlib.oauth1_auth", "httpx", "httpcore.http11")


class Kind(StrEnum):
    """What a message is about."""

    WRONG = "wrong"
    OVER = "over"
    TEST = "test"


@dataclass(frozen=True)
class Message:
    """What people read."""

    kind: Kind
    title: str
    body: str


@dataclass(frozen=True)
class Refused:
    """Which addresses did not take a message, by their scheme, and whether none took it."""

    addresses: Sequence[str]
    by_all: bool


class Post:
    """Sends messages to all addresses of the configuration; raises ConfigError when a variable is not set.

    What an address did not take, while another one did, is in `state` and sent by the next `mend`.
    """

    def __init__(self, config: Config, state: str | None = None) -> None:
        self._urls = [url.resolve(f"alerts.urls[{number}]") for number, url in enumerate(config.alerts.urls)]
        self._left: list[tuple[int, Message]] = [
            (number, Message(Kind(kind), title, body)) for number, (kind, title, body) in json.loads(state or "[]")
        ]

    @property
    def state(self) -> str:
        """What is still to be sent; it holds no address."""
        return json.dumps([(number, [*asdict(message).values()]) for number, message in self._left[-_KEPT:]])

    def mend(self) -> list[str]:
        """Send what was left; gives the addresses that refuse it again."""
        left, self._left = self._left, []
        for number, message in left:
            if number < len(self._urls) and not _send(self._urls[number], message):
                self._left.append((number, message))
        return [scheme(self._urls[number]) for number, _ in self._left]

    def send(self, message: Message) -> Refused:
        """Send a message to each address."""
        refused = [number for number, url in enumerate(self._urls) if not _send(url, message)]
        by_all = len(refused) == len(self._urls)
        if not by_all:
            self._left += [(number, message) for number in refused]
        return Refused([scheme(self._urls[number]) for number in refused], by_all)

    def test(self) -> Iterator[tuple[str, bool]]:
        """Send a test message; gives the scheme of each address and whether it took it."""
        message = Message(Kind.TEST, "comagic_pipeline: a test", "Here you will be told when something goes wrong.")
        for url in self._urls:
            yield scheme(url), _send(url, message)


def scheme(url: str) -> str:
    """Return what may be shown of an address."""
    name, separator, _ = url.partition("://")
    return f"{name}://***" if separator and name.isalnum() and len(name) < 20 else "***"


@contextmanager
def _silent() -> Iterator[None]:
    """Keep those quiet who would write addresses into the log."""
    talkers = [logging.getLogger(name) for name in _TALKERS]
    before = [talker.disabled for talker in talkers]
    for talker in talkers:
        talker.disabled = True
    try:
        yield
    finally:
        for talker, was_disabled in zip(talkers, before, strict=True):
            talker.disabled = was_disabled


def _send(url: str, message: Message) -> bool:
    # Here, for it takes its time to come: only who is told something waits for it.
    import apprise

    kinds = {
        Kind.WRONG: apprise.NotifyType.WARNING,
        Kind.OVER: apprise.NotifyType.SUCCESS,
        Kind.TEST: apprise.NotifyType.INFO,
    }
    try:
        with _silent():
            service = apprise.Apprise()
            return bool(
                service.add(url)
                and service.notify(
                    body=message.body or message.title,
                    title=message.title,
                    notify_type=kinds[message.kind],
                    body_format=apprise.NotifyFormat.TEXT,
                )
            )
    except Exception:  # whatever a service raises may hold its address
        return False
