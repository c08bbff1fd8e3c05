"""Recognize full disks, and word what people read about them. Standard library only.

Add another way in which a program reports a full disk to `_TEXTS`. What happens after such an error is decided where it
is caught: `warehouse/engine.py`, `warehouse/embedded` and `operations/failures.py`.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL = "53100"
_CONNECTION_LOST = ("08", "57P")
"""SQLSTATEs: disk_full, and the beginnings of those of a server that is gone or goes."""
_TEXTS = (
    # A connection that is refused has no SQLSTATE, and programs of PostgreSQL only print.
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "На устройстве не осталось свободного места",
    "Превышена дисковая квота",
    "Check free disk space",
)
_NO_TEMPORARY_FOLDER = "No usable temporary directory"
_LEAST_BYTES = 32_000_000
"""A disk with less room counts as full. PostgreSQL that cannot make a file of 16 MB of its log removes what it wrote of
it before it ends: the disk that killed it is not quite full any more."""


def is_full_error(error: BaseException) -> bool:
    """Return whether this error, by its number, SQLSTATE or text, says itself that a disk is full."""
    if isinstance(error, OSError):
        return error.errno in _FULL_ERRORS or says_full(str(error))
    if not _is_of_database(error):
        return False
    state = _sqlstate(error)
    return state == _DISK_FULL if state else says_full(str(error))


def may_be_full(error: BaseException) -> bool:
    """Return whether a full disk may have led to this error, though it does not say so: see whether one is full.

    A server that cannot write its log ends, and its clients only learn that it is gone. Python looks for a folder of
    temporary files by writing to all that it knows.
    """
    if isinstance(error, OSError):
        return _NO_TEMPORARY_FOLDER in str(error)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if not _is_of_database(error) or kinds.isdisjoint(("OperationalError", "InterfaceError")):
        return False
    state = _sqlstate(error)
    return state is None or state.startswith(_CONNECTION_LOST)


def says_full(text: str) -> bool:
    """Return whether a program's words say that a disk is full."""
    return any(each in text for each in _TEXTS)


def full_place(places: Iterable[Path]) -> Path | None:
    """Return the first of the places, files or folders that may not exist yet, whose disk is full."""
    return next((place for place in places if _is_full(place)), None)


def full_message(disk: Path | str) -> str:
    """Return the line that people read. It has no numbers: alerts know a cause that lasts by its unchanged words."""
    return f"the disk of {disk} is full: make room on it"


def _is_full(place: Path) -> bool:
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        room = os.statvfs(place)
    except OSError:
        return False
    # Some file systems do not count inodes and say 0 of 0.
    return room.f_bavail * room.f_frsize < _LEAST_BYTES or room.f_favail == 0 < room.f_files


def _is_of_database(error: BaseException) -> bool:
    """Return whether a driver raised it: psycopg and psycopg2 call its SQLSTATE differently."""
    return hasattr(error, "sqlstate") or hasattr(error, "pgcode")


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
