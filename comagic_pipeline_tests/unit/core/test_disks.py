"""Which errors are those of a full disk: the drivers, the system and PostgreSQL's programs say it differently."""

import errno
from pathlib import Path

import psycopg
import psycopg2  # type: ignore[import-untyped]
import pytest
from sqlalchemy.exc import OperationalError

from comagic_pipeline.config import CONFIG_VARIABLE
from comagic_pipeline.core.disks import full_place, is_full_error, may_be_full, says_full
from comagic_pipeline.dagster.instance import STORAGE_VARIABLE
from comagic_pipeline.operations.failures import full_disk

REFUSED = "connection failed: FATAL:  could not write init file: No space left on device"
LOST = "server closed the connection unexpectedly"
REMOTE = "postgresql+psycopg2://user:secret@db.example/dagster"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
        psycopg.errors.DiskFull("could not extend file"),
        psycopg.OperationalError(REFUSED),
        psycopg2.OperationalError(REFUSED),
        psycopg.OperationalError("ВАЖНО:  не удалось записать файл: На устройстве не осталось свободного места"),
    ],
)
def test_an_error_of_a_full_disk(error: Exception) -> None:
    """By its number, its SQLSTATE, or its text where it has neither."""
    assert is_full_error(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system"),
        ValueError("No space left on device"),
        psycopg.errors.UniqueViolation("Key (comment)=(No space left on device) already exists"),
        psycopg.OperationalError(LOST),
    ],
)
def test_an_error_of_another_kind(error: Exception) -> None:
    """A row may hold any text."""
    assert not is_full_error(error)


def test_what_a_full_disk_may_have_led_to() -> None:
    """A lost connection; not an error that the server explains."""
    for error in (psycopg.OperationalError(LOST), psycopg2.InterfaceError("closed"), psycopg.errors.AdminShutdown("")):
        assert may_be_full(error)
    for error in (psycopg.errors.LockNotAvailable(""), psycopg.errors.UndefinedTable(""), OSError(errno.EIO, "I/O")):
        assert not may_be_full(error)
    assert may_be_full(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"))


def test_a_disk_with_room(tmp_path: Path) -> None:
    """Places that do not exist yet are looked at too; words of a program are read as they are."""
    assert full_place([tmp_path, tmp_path / "not" / "yet"]) is None
    assert says_full("initdb: error: could not write: No space left on device\n")
    assert not says_full("initdb: error: permission denied")


def test_the_disk_is_named_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause may be wrapped several times, and the disk may be that of a server with a password."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "comagic.yaml"))
    monkeypatch.setenv(STORAGE_VARIABLE, REMOTE)
    wrapped = RuntimeError("too many retries for DB connection")
    wrapped.__cause__ = OperationalError("insert", {}, psycopg2.OperationalError(REFUSED))
    wrapped.__cause__.__cause__ = psycopg2.OperationalError(REFUSED)
    server = REMOTE.replace("secret", "***")
    assert str(full_disk(wrapped)) == f"the disk of the database server at {server} is full: make room on it"
    wrapped.__cause__.__cause__ = psycopg2.OperationalError(LOST)
    assert full_disk(wrapped) is None
    socket = tmp_path / ".comagic" / "postgres" / "cluster" / "socket"
    here = f"postgresql+psycopg2://postgres@/dagster?host={socket}&port=5432"
    assert full_disk(wrapped, here) is None
    wrapped.__cause__.__cause__ = psycopg2.OperationalError(REFUSED)
    assert str(full_disk(wrapped, here)) == f"the disk of {socket.parent} is full: make room on it"
    named = OSError(errno.ENOSPC, "No space left on device", "/data/file")
    assert str(full_disk(named)) == "the disk of /data/file is full: make room on it"
