"""The embedded server while its backends, its postmaster, its watcher and its users are killed at random.

Users write rows and note each commit in a file of their own. Whatever is killed, the next user gets a server, the
server ends with its last user, and every row that was committed is there at the end.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comagic_pipeline.warehouse.embedded import EmbeddedServer, status, stop
from comagic_pipeline_tests.deployment.test_embedded_server import (
    alive,
    children,
    log_of,
    open_folder,
    query,
    servers,
    stopped,
    watchers,
)
from comagic_pipeline_tests.endurance.rounds import Progress, dice, rounds

pytestmark = pytest.mark.endurance

PATIENCE = 120.0
"""Seconds: a fast shutdown may have 60 before it is taken for hanging, and each core has other work."""
BATCH = 10

USER = """
import os, signal, sys, time
from pathlib import Path
import psycopg
from comagic_pipeline.warehouse.embedded import EmbeddedServer, EmbeddedServerError

folder, name, notes = Path(sys.argv[1]), int(sys.argv[2]), os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
leaves = []
signal.signal(signal.SIGTERM, lambda *_: leaves.append(True))

def note(line):
    os.write(notes, f"{line}\\n".encode())

number = 0
server = EmbeddedServer(folder)
while not leaves:
    began = time.monotonic()
    try:
        server.start()
        note(f"start {time.monotonic() - began:.2f}")
        url = server.url("postgres").replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS batch (name int, number int, filler text)")
            while not leaves:
                number += 1
                values = "SELECT %s, %s, repeat(md5(random()::text), 30) FROM generate_series(1, BATCH)"
                connection.execute(f"INSERT INTO batch {values}", [name, number])
                note(f"batch {number}")
                time.sleep(0.01)
    except psycopg.Error:
        pass
    except EmbeddedServerError as error:
        note(f"error after {time.monotonic() - began:.2f} s: {str(error).splitlines()[0]}")
server.close()
""".replace("BATCH", str(BATCH))


@dataclass
class User:
    """A process that uses the server, and what it has noted."""

    name: int
    notes: Path
    process: subprocess.Popen[bytes]

    def lines(self, kind: str) -> list[str]:
        """What it has noted of a kind; a killed one may have left half a line."""
        text = self.notes.read_text() if self.notes.exists() else ""
        return re.findall(rf"^{kind} (.+)\n", text, re.MULTILINE)

    def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)


@dataclass
class Chaos:
    """A server, its users, and what has been seen of them."""

    folder: Path
    random: random.Random
    users: list[User] = field(default_factory=list)
    left: list[User] = field(default_factory=list)
    longest_stop: float = 0.0
    longest_pause: float = 0.0

    @property
    def all_users(self) -> list[User]:
        """Those that are there, and those that were."""
        return self.left + self.users

    def come(self) -> None:
        """One more user."""
        name = len(self.all_users)
        notes = self.folder.parent / f"user-{name}"
        command = [sys.executable, "-c", USER, str(self.folder), str(name), str(notes)]
        self.users.append(User(name, notes, subprocess.Popen(command, stdin=subprocess.DEVNULL)))

    def leave(self, number: int) -> None:
        """Some users end, killed or not."""
        for user in self.random.sample(self.users, min(number, len(self.users))):
            user.end(self.random.choice([signal.SIGTERM, signal.SIGKILL]))
            self.users.remove(user)
            self.left.append(user)

    def kill_something(self) -> str:
        """Kill a part of the server; gives its name."""
        postmasters = [pid for pid in servers(self.folder) if children(pid)]
        victims = {
            "nothing": set(),
            "postmaster": set(postmasters),
            "watcher": watchers(self.folder),
            "backend": {each for pid in postmasters for each in children(pid, "postgres: postgres")},
            "process": {each for pid in postmasters for each in children(pid)},
        }
        name = self.random.choices(list(victims), [1, 2, 1, 4, 2])[0]
        if victims[name]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(sorted(victims[name])), signal.SIGKILL)
        if self.random.random() < 0.05:
            stop(self.folder)
            name += " and stop"
        return name

    def measured(self, condition: Callable[[], object]) -> float:
        """The seconds until the condition holds; fails after too many."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < PATIENCE, log_of(self.folder)[-2000:]
            time.sleep(0.05)
        return time.monotonic() - began

    def round(self) -> str:
        """Kill something, let users come and go; then either somebody writes, or the server ends."""
        while len(self.users) < self.random.randint(1, 3):
            self.come()
        time.sleep(self.random.uniform(0, 1))
        name = self.kill_something()
        if name == "watcher":
            # It is the next user that starts another one.
            self.come()
            self.measured(lambda: self.users[-1].lines("batch"))
        time.sleep(self.random.choice([0, self.random.uniform(0, 0.3)]))
        self.leave(self.random.choice([0, 0, 1, len(self.users)]))
        if not self.users and self.random.random() < 0.5:
            self.longest_stop = max(self.longest_stop, self.measured(lambda: stopped(self.folder)))
            return f"{name}, all left"
        if not self.users:
            self.come()
        before = self.written(self.users)
        self.longest_pause = max(self.longest_pause, self.measured(lambda: self.written(self.users) > before))
        return name

    def written(self, users: list[User]) -> int:
        """The batches that these users know to be committed."""
        return sum(len(user.lines("batch")) for user in users)

    def longest_start(self) -> float:
        """The seconds that a user has waited longest for a server."""
        return max(float(line) for user in self.all_users for line in user.lines("start"))


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    """A server that nobody has started yet; at the end no process of it is left."""
    with open_folder() as place:
        chaos = Chaos(place / "server", dice())
        try:
            yield chaos
        finally:
            for user in chaos.users:
                user.process.kill()
                user.process.wait()


def test_no_row_is_lost_and_nobody_waits_for_ever(chaos: Chaos) -> None:
    """Rows that users know to be committed are there, each batch whole; starts and stops end in time."""
    progress, total = Progress(), rounds()
    for number in range(1, total + 1):
        what = chaos.round()
        if number % 10 == 0 or number == total:
            rows = BATCH * chaos.written(chaos.all_users)
            progress.say(
                f"round {number} ({what}): {len(chaos.all_users)} users, {rows} rows, longest start"
                f" {chaos.longest_start():.1f} s, pause {chaos.longest_pause:.1f} s, stop {chaos.longest_stop:.1f} s"
            )
    chaos.leave(len(chaos.users))
    chaos.measured(lambda: stopped(chaos.folder))
    with EmbeddedServer(chaos.folder) as server:
        counted = query(server, "SELECT name, number, count(*) FROM batch GROUP BY 1, 2")
    found = {(name, number): rows for name, number, rows in counted}
    committed = {(user.name, int(line)) for user in chaos.all_users for line in user.lines("batch")}
    assert len(committed) > total
    assert committed - found.keys() == set()
    assert set(found.values()) == {BATCH}
    assert chaos.longest_start() < PATIENCE
    errors = [line for user in chaos.all_users for line in user.lines("error")]
    progress.say(f"{len(committed) * BATCH} rows, none lost; {len(errors)} starts failed and were tried again")
    for line in errors:
        progress.say(line)
    chaos.measured(lambda: not status(chaos.folder).running)
    log = sum(path.stat().st_size for path in (chaos.folder / "cluster/data/log").iterdir())
    progress.say(f"the log has {log / 1000:.0f} KB")
    assert log < 20_000 * total + 100_000
    assert not any(alive(user.process.pid) for user in chaos.all_users)
