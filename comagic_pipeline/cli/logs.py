"""Logs of services: appended to, readable by their user only, bounded however long `up` runs.

A service writes to the file itself, so that its last words survive when `up` is killed. A long log is therefore copied
and emptied, not renamed: the service keeps the file open.
"""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

LONGEST_LOG = 5_000_000
"""Bytes. A longer log moves to `.1`."""
OLDER_LOGS = 3
"""How many older parts are kept: `.1` is the latest."""


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to, after making room in it; makes its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rotate(path)
    return os.fdopen(_open(path, os.O_APPEND), "ab", buffering=0)


def rotate(path: Path, longest: int = LONGEST_LOG) -> None:
    """Move what is in a log of more than `longest` bytes to `.1`, what was there to `.2`, and so on.

    Lines that a service writes in between, within a few milliseconds, are lost. Where the disk is full the log stays
    as it is.
    """
    if not path.exists() or path.stat().st_size <= longest:
        return
    copy = _older(path, 0)
    try:
        with path.open("rb") as log, os.fdopen(_open(copy, os.O_TRUNC), "wb") as target:
            shutil.copyfileobj(log, target)
    except OSError:
        copy.unlink(missing_ok=True)
        return
    for number in range(OLDER_LOGS - 1, -1, -1):
        if _older(path, number).exists():
            _older(path, number).replace(_older(path, number + 1))
    os.truncate(path, 0)


def rotate_all(folder: Path) -> None:
    """Do so with every log of a folder."""
    for path in folder.glob("*.log"):
        rotate(path)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _open(path: Path, flag: int) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | flag, 0o600)
    os.fchmod(descriptor, 0o600)  # one of an earlier version of this project
    return descriptor
