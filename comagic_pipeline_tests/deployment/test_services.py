"""Services of a command: how long their start is waited for, and what becomes of their logs."""

import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from comagic_pipeline.cli.logs import OLDER_LOGS, rotate
from comagic_pipeline.cli.services import Service, ServiceError
from comagic_pipeline_tests.deployment.command_line import eventually

PRINTS = "import time\nwhile True: print('line', flush=True); time.sleep(0.02)"
COMPUTES = "while True: pass"
WAITS = "import time\ntime.sleep(1000)"
STOPS = """
import time
try:
    print("begun", flush=True)
    time.sleep(1000)
except KeyboardInterrupt:
    print("told to stop", flush=True)
"""


@contextmanager
def service(code: str, log: Path) -> Iterator[Service]:
    """A service that runs this code."""
    with Service("example", [sys.executable, "-c", code], log) as service:
        yield service


class Clock:
    """Each moment of sleep is ten seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        time.sleep(0.03)
        self.now += 10


def test_a_slow_start_is_waited_for_while_the_process_says_something(tmp_path: Path) -> None:
    """`up` gave up after 90 seconds, in which a busy machine does not start Dagster, and said nothing meanwhile."""
    log, clock, said = tmp_path / "example.log", Clock(), list[str]()
    with service(PRINTS, log) as slow:
        eventually(lambda: b"line" in log.read_bytes())
        slow.wait(lambda: clock.now >= 2000, said.append, clock, clock.sleep)
    assert said[3] == f"example is starting (40 s), see {log}"
    assert len(said) == 200


def test_a_slow_start_is_waited_for_while_the_process_computes(tmp_path: Path) -> None:
    """Ten minutes of silence are no end either, as long as the process uses the CPU: here a second of it is 120 s."""
    with service(COMPUTES, tmp_path / "example.log") as slow:

        def clock() -> float:
            return float(psutil.Process(slow.pid).cpu_times().user) * 120

        slow.wait(lambda: clock() > 700, clock=clock)


def test_a_start_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A process that is silent and idle for ten minutes is given up with its log named; one that ends, at once."""
    log, clock = tmp_path / "example.log", Clock()
    hung = rf"^example did nothing for 610 s and was given up; see {log}$"
    with service(WAITS, log) as hangs, pytest.raises(ServiceError, match=hung):
        hangs.wait(lambda: False, clock=clock, sleep=clock.sleep)
    ended = rf"^example ended with exit code 3; see {log}$"
    with service("raise SystemExit(3)", log) as ends, pytest.raises(ServiceError, match=ended):
        ends.wait(lambda: False)


def test_a_log_is_appended_to_and_bounded(tmp_path: Path) -> None:
    """Each start cut the log: what the service said before it ended was gone. Nothing bounded it while `up` ran."""
    log = tmp_path / "example.log"
    log.write_text("of an earlier version\n")
    log.chmod(0o644)
    for _ in range(2):
        with service("print('said')", log) as short:
            eventually(lambda: short.processes() == [] or short.processes()[0].status() == psutil.STATUS_ZOMBIE)
    lines = log.read_text().splitlines()
    assert [lines[0], lines[2], lines[4]] == ["of an earlier version", "said", "said"]
    assert lines[1].endswith(" UTC example starts")
    with service(PRINTS, log):
        for number in range(OLDER_LOGS + 2):
            eventually(lambda: log.stat().st_size > 300)
            rotate(log, longest=300)
            assert (tmp_path / "example.log.1").read_text().startswith("of an" if number == 0 else "line")
        eventually(lambda: log.read_bytes().startswith(b"line\n"))
    assert {path.name for path in tmp_path.iterdir()} == {"example.log", *(f"example.log.{n}" for n in (1, 2, 3))}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_services_of_a_command_in_the_background_heed_its_stop(tmp_path: Path) -> None:
    """`nohup comagic-pipeline up &` in a script: SIGINT was ignored, so that runs were killed after 20 s of waiting."""
    log = tmp_path / "example.log"
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with service(STOPS, log):
            eventually(lambda: b"begun" in log.read_bytes())
    finally:
        signal.signal(signal.SIGINT, heeded)
    assert "told to stop" in log.read_text()
