"""What should go wrong, and when: rules that tests lay down for the requests to come."""

from collections.abc import Iterable
from random import Random
from typing import Any, Literal

import msgspec

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.world import World


class Mutation(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One change of the world: ``add`` takes the columns, ``delete`` and ``restore`` the key, ``change`` both."""

    action: Literal["add", "change", "delete", "restore"]
    method: str
    key: Any = None
    columns: dict[str, Any] = {}

    def apply(self, world: World) -> None:
        """Change the world; raises ValueError for a row that it cannot hold."""
        key = tuple(self.key) if isinstance(self.key, list) else self.key
        match self.action:
            case "add":
                world.add(self.method, self.columns)
            case "change":
                world.change(self.method, key, self.columns)
            case "delete":
                world.delete(self.method, key)
            case "restore":
                world.restore(self.method, key)


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule: what happens to which of the next requests.

    - ``http_status``: an HTML page with ``status``
    - ``error``: the JSON-RPC error ``mnemonic``; ``window`` says which limit ``limit_exceeded`` means
    - ``broken_body``: 200 with HTML in place of JSON
    - ``truncated_body``: the JSON ends in the middle, Content-Length agrees with what was sent
    - ``closed_early``: the connection is closed before Content-Length bytes were sent
    - ``reset``: the connection is reset in place of an answer
    - ``slow_answer``: the right answer, ``seconds`` late
    - ``slow_body``: the right answer, its body sent bit by bit over ``seconds``
    - ``world_change``: the right answer, after ``mutations``

    The rule leaves the first ``after`` requests (of ``method``, if given) alone, then takes ``times`` of them, each
    with ``probability``.
    """

    kind: Literal[
        "http_status",
        "error",
        "broken_body",
        "truncated_body",
        "closed_early",
        "reset",
        "slow_answer",
        "slow_body",
        "world_change",
    ]
    method: str | None = None
    after: int = 0
    times: int = 1
    probability: float = 1.0
    status: int = 503
    mnemonic: str = "internal_error"
    window: Literal["minute", "day"] = "minute"
    seconds: float = 1.0
    mutations: list[Mutation] = []

    def __post_init__(self) -> None:
        if self.mnemonic not in specification.errors():
            raise ValueError(f"protocol.json has no error {self.mnemonic!r}")

    @property
    def name(self) -> str:
        """What the record of a request calls it: ``http_503``, ``internal_error``, ``reset``."""
        return {"http_status": f"http_{self.status}", "error": self.mnemonic}.get(self.kind, self.kind)


class Faults:
    """The rules in force. A request is offered to them in order; the first that wants it takes it."""

    def __init__(self, rules: Iterable[Fault] = (), seed: int = 1) -> None:
        self.rules = list(rules)
        self._random = Random(seed)  # noqa: S311 - a repeatable accident, not a secret

    def add(self, *rules: Fault) -> None:
        """Lay down rules after those in force."""
        self.rules += rules

    def clear(self) -> None:
        """Let everything go well from now on."""
        self.rules.clear()

    def take(self, method: str) -> Fault | None:
        """Return the rule that takes a request to the method, None if all leave it alone. Counts the request."""
        for rule in self.rules:
            if rule.method not in (None, method):
                continue
            if rule.after > 0:
                rule.after -= 1
            elif self._random.random() < rule.probability:
                rule.times -= 1
                if rule.times == 0:
                    self.rules.remove(rule)
                return rule
        return None
