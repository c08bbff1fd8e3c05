"""The command line as a user has it: real processes, their exit codes and what they print."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

PATIENCE = 240.0
"""Seconds until something that should take a few counts as never: both cores may be busy with other tests."""

Process = subprocess.Popen[str]
Result = subprocess.CompletedProcess[str]


def start(*arguments: str, program: Sequence[str] = ("-m", "comagic_pipeline.cli.main"), **environment: str) -> Process:
    """Start a command in the folder of COMAGIC_CONFIG, with this environment besides ours."""
    inherited = os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"} | environment
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        env=inherited,
        cwd=os.path.dirname(inherited.get("COMAGIC_CONFIG", "")) or None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: Process) -> Result:
    """Wait for the command to end; one that does not is killed, and the test fails."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def run(*arguments: str, **environment: str) -> Result:
    """Run a command to its end."""
    return finish(start(*arguments, **environment))


def error(result: Result, code: int) -> str:
    """The one line that a failed command leaves on standard error."""
    assert result.returncode == code, result.stderr + result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: "), result.stderr
    assert "Traceback" not in result.stdout
    return lines[0].removeprefix("Error: ")


def eventually(condition: Callable[[], Any]) -> Any:
    """The first true value of the condition; fails when there is none in time."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
    return value
