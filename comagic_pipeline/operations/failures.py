"""The cause of a failure in one line, for the terminal, the journal, the UI and alerts.

Exceptions are wrapped several times; the innermost one explains the failure. Its traceback goes to `errors.log` in the
state folder, which the line names. Expected errors have messages of their own (`next_steps.py`). A full disk is
reported as a full disk, whatever exception it caused. Events of Dagster are read in `dagster/run_failures.py`.
"""

import os
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir

from sqlalchemy import make_url

from comagic_pipeline.config import STORAGE_VARIABLE, config_path
from comagic_pipeline.core.disks import full_message, full_place, is_full_error, may_be_full
from comagic_pipeline.warehouse.engine import address_of, one_line
from comagic_pipeline.warehouse.errors import DiskFullError

STATE_VARIABLE = "COMAGIC_STATE_FOLDER"
"""Where logs are kept; the commands set it to .comagic/dagster for themselves and their children."""
ERRORS_LOG = "errors.log"
_LONGEST_LOG = 5_000_000
"""Bytes. A longer log moves to errors.log.1, in place of the one before."""
_LONGEST_LINE = 500
"""Letters of a message that are shown."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, the innermost last."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def in_one_line(error: BaseException) -> str:
    """Return the class and the text of the innermost cause, at most some 500 letters, without rows of the database."""
    *_, cause = chain(error)
    is_own = type(cause).__module__.startswith("comagic_pipeline.")
    return shortened(_text(cause) if is_own else f"{type(cause).__name__}: {_text(cause)}".removesuffix(": "))


def full_disk(error: BaseException, storage: str | None = None) -> DiskFullError | None:
    """Return the full disk that led to an error, as an error that names it; None when there was none.

    `storage` is the URL of Dagster's storage, by default that of the environment: the warehouse names its disk itself.
    """
    causes = (_full_disk(each, storage or os.environ.get(STORAGE_VARIABLE)) for each in chain(error))
    return next(filter(None, causes), None)


def _full_disk(error: BaseException, storage: str | None) -> DiskFullError | None:
    if isinstance(error, DiskFullError):
        return error
    is_sure = is_full_error(error)
    if not is_sure and not may_be_full(error):
        return None
    disk: Path | str | None
    if isinstance(error, OSError):
        disk = error.filename or full_place(_places()) or (_state_folder() if is_sure else None)
    elif storage is None or _is_embedded(storage):
        # There may be room again: a server that ends removes what it has begun.
        disk = _cluster() if is_sure or full_place([_cluster()]) else None
    else:
        disk = f"the database server at {address_of(make_url(storage))}" if is_sure else None
    return DiskFullError(full_message(disk)) if disk else None


def note_unexpected(error: BaseException) -> str:
    """Append the traceback to the log of errors, and return the cause in one line with the name of that file."""
    line, path = in_one_line(error), _log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LONGEST_LOG:
            path.replace(path.with_name(f"{ERRORS_LOG}.1"))
        with open(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {line}\n{_traceback(error)}\n")
    except OSError as failure:
        return f"{line} (the traceback could not be written to {path}: {failure.strerror})"
    return f"{line} (traceback in {path})"


def _text(error: BaseException) -> str:
    return one_line(error) if isinstance(error, Exception) else " ".join(str(error).split())


def shortened(text: str) -> str:
    """Return a text in one line of at most some 500 letters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


def _traceback(error: BaseException) -> str:
    """Return the stack of each error of the chain. Messages are in one line: the database's own show rows."""
    parts = (
        f"{type(each).__name__}: {_text(each)}\n{''.join(traceback.format_tb(each.__traceback__))}"
        for each in chain(error)
    )
    return "caused by ".join(parts)


def _log_path() -> Path:
    folder = os.environ.get(STATE_VARIABLE)
    return (Path(folder) if folder else _state_folder() / "dagster") / ERRORS_LOG


def _state_folder() -> Path:
    return config_path().absolute().parent / ".comagic"


def _places() -> list[Path]:
    """Return the folders of this machine that a command writes to."""
    try:
        temporary = gettempdir()
    except FileNotFoundError:
        temporary = "/tmp"  # noqa: S108 - it looked there, and could not write
    return [_state_folder(), _cluster(), Path(temporary)]


def _cluster() -> Path:
    """Return the folder of the embedded server's data and socket; as root it may lie elsewhere."""
    return (_state_folder() / "postgres" / "cluster").resolve()


def _is_embedded(url: str) -> bool:
    """Return whether a URL is one of the embedded server: by the folder of its socket."""
    return make_url(url).query.get("host") == str((_cluster() / "socket").resolve())
