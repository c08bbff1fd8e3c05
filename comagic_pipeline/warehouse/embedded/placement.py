"""Which user runs the server, and where its files must lie so that this user can reach them.

PostgreSQL refuses to run as root. When root starts it, another user runs it; a clone below a private home such as
/root is closed to that user, and opening the home is not ours to do. The files then lie in a place of the system,
linked from the folder.
"""

import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comagic_pipeline.warehouse.embedded import binaries
from comagic_pipeline.warehouse.embedded.errors import EmbeddedServerError

SYSTEM_PLACES = (Path("/var/lib/comagic_pipeline"), Path("/var/tmp/comagic_pipeline"))  # noqa: S108 (checked below)
_LONGEST_SOCKET_PATH = 103
"""Bytes. Linux takes 107, macOS 103."""


@dataclass(frozen=True)
class Account:
    """The unprivileged user that runs the server on behalf of root."""

    uid: int
    gid: int

    def process_arguments(self) -> dict[str, Any]:
        """Keyword arguments of `subprocess.run` that run a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def reaches(self, path: Path) -> bool:
        """Return whether this user can enter the folder, or execute the file, `path`.

        Tried, not computed from permissions.
        """
        test = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
        return subprocess.run(test, cwd="/", check=False, **self.process_arguments()).returncode == 0  # noqa: S603


def account_for(data: Path) -> Account | None:
    """Return who runs the server: None for ourselves; as root the owner of existing data, else nobody.

    Raises EmbeddedServerError when the data belong to somebody else, or when there is no user nobody.
    """
    owner = data.stat() if data.exists() else None
    if os.geteuid() != 0:
        if owner and owner.st_uid != os.geteuid():
            raise EmbeddedServerError(f"{data} belongs to uid {owner.st_uid}: run as that user, or use another folder")
        return None
    if owner and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL does not run as root and there is no user `nobody` to run it: run as a normal user"
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def cluster_folder(folder: Path, account: Account | None) -> Path:
    """Return the folder of data and socket, made if missing.

    `cluster` in `folder`, possibly a link to a place of the system.

    Raises EmbeddedServerError when there are data in `folder` that `account` cannot reach.
    """
    cluster = folder / "cluster"
    if cluster.is_symlink():
        target = cluster.readlink()
        if target.parent not in SYSTEM_PLACES:
            return cluster
        if target.exists() and not _belongs_to_another(target, folder):
            (target / "folder").write_text(str(folder))
            return cluster
        cluster.unlink()
    elif account is None or account.reaches(folder):
        cluster.mkdir(exist_ok=True)
        return cluster
    elif cluster.exists():
        raise EmbeddedServerError(
            f"the data in {cluster} cannot be reached by uid {account.uid}, which runs PostgreSQL for root:"
            " move the project to a folder that is open to everyone"
        )
    # A new name each time: data that a deleted clone left behind must not come up in a new clone at the same path.
    place = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=_system_place(account)))
    place.chmod(0o711)
    (place / "folder").write_text(str(folder))
    cluster.symlink_to(place)
    return cluster


def installation_for(account: Account | None) -> Path:
    """Return the PostgreSQL installation that `account` can run.

    The wheel's own, or a copy in a place of the system.
    """
    installation = binaries.installed()
    if account is None or account.reaches(installation / "bin" / "postgres"):
        return installation
    return binaries.copied(_system_place(account))


def private_folder(path: Path, account: Account | None) -> None:
    """Make `path`, or check it: a real folder that only the server's user (and root) can enter.

    Raises EmbeddedServerError when it belongs to somebody else.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    present = path.lstat()
    if not stat.S_ISDIR(present.st_mode) or present.st_uid not in {os.geteuid(), account and account.uid}:
        raise EmbeddedServerError(f"{path} is not a folder of this user: remove it")
    if account:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    path.chmod(0o700)


def socket_folder(path: Path, file_name: str, account: Account | None = None) -> None:
    """Make `path`, the folder of a socket of that name: a private folder, or a link to one with a shorter path.

    Raises EmbeddedServerError when it belongs to somebody else.
    """
    if path.is_symlink():
        path.unlink()
    if len(os.fsencode(path / file_name)) <= _LONGEST_SOCKET_PATH:
        private_folder(path, account)
        return
    # Named after the path: a copied folder does not get the socket of the original. TMPDIR may be too long itself.
    short = Path("/tmp", f"comagic-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}")  # noqa: S108 (checked)
    private_folder(short, account)
    path.symlink_to(short)


def give(tree: Path, account: Account) -> None:
    """Make `account` the owner of all files of `tree`, without following links."""
    for folder, _, files in os.walk(tree):
        for path in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _belongs_to_another(place: Path, folder: Path) -> bool:
    """Return whether `folder` is a copy of the one that `place` was made for (and not the same one, moved)."""
    origin = Path((place / "folder").read_text())
    return origin != folder and (origin / "cluster").is_symlink() and (origin / "cluster").readlink() == place


def _system_place(account: Account | None) -> Path:
    """Return a folder of the system, owned by root, that `account` can enter.

    Raises EmbeddedServerError if there is none.
    """
    for place in SYSTEM_PLACES:
        try:
            place.mkdir(exist_ok=True)
            if place.lstat().st_uid == 0 and stat.S_ISDIR(place.lstat().st_mode):
                place.chmod(0o755)
                if account is None or account.reaches(place):
                    return place
        except OSError:
            continue
    places = " or ".join(map(str, SYSTEM_PLACES))
    raise EmbeddedServerError(f"PostgreSQL, which root runs as an unprivileged user, needs a folder: allow {places}")
