"""A disk of a few megabytes that a test fills and empties: a tmpfs, which only root may mount."""

import ctypes
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MS_RDONLY, _MS_REMOUNT = 1, 32  # linux/mount.h
_MNT_DETACH = 2
_PAGE = os.sysconf("SC_PAGE_SIZE")


class SmallDisk:
    """A folder that is a disk of its own, open to every user, with room for `megabytes`."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self._megabytes = folder, megabytes
        self._mount(0, megabytes << 20)

    def grow(self, megabytes: int) -> None:
        """Give it so much room in all."""
        self._megabytes = megabytes
        self._mount(_MS_REMOUNT, megabytes << 20)

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes of room, until it is emptied."""
        while True:
            room = os.statvfs(self.folder)
            used = (room.f_blocks - room.f_bfree) * room.f_frsize
            try:
                # A size of 0 would be none at all.
                return self._mount(_MS_REMOUNT, max(used + left, _PAGE))
            except OSError as error:
                if error.errno != errno.EINVAL:  # somebody wrote meanwhile
                    raise

    def empty(self) -> None:
        """Make room again."""
        self.grow(self._megabytes)

    def protect(self) -> None:
        """Let nobody write any more."""
        self._mount(_MS_REMOUNT | _MS_RDONLY, self._megabytes << 20)

    def _mount(self, flags: int, size: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"size={size},mode=755".encode()
        if libc.mount(b"tmpfs", os.fsencode(self.folder), b"tmpfs", ctypes.c_ulong(flags), options):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self.folder))


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """A disk that goes with the block; skips the test where this user may not mount one."""
    # Short, because sockets are made there, and open, because as root another user runs the server.
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    folder.chmod(0o755)
    try:
        try:
            disk = SmallDisk(folder, megabytes)
        except PermissionError:
            pytest.skip("this user may not mount a tmpfs (EPERM): run as root, in a container with CAP_SYS_ADMIN")
        try:
            yield disk
        finally:
            ctypes.CDLL(None).umount2(os.fsencode(folder), _MNT_DETACH)
    finally:
        folder.rmdir()
