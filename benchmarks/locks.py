"""Locks between processes, on one machine or on several that share a disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from minihash.files import fcntl, lock


@contextmanager
def locked(file: IO) -> Iterator[None]:
    """Wait until no other process holds the lock of an open file, and hold it.

    Without effect on Windows, and with a warning where the file system has no locks.
    """
    if fcntl is not None:
        lock(file, fcntl.flock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if fcntl is not None:
            lock(file, fcntl.flock, fcntl.LOCK_UN)


class Claims:
    """Claims of this process on things of any name, each held by one process at a time.

    They are locks of bytes of one file, the same for all; it need not exist. Whatever way a process ends, its
    claims end with it. Without effect on Windows, and where the file system has no locks.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "ab")
        self._own: set[str] = set()

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def take(self, name: str) -> bool:
        """Claim a name; False if another process, or this one, has claimed it."""
        if name in self._own:
            return False
        if fcntl is not None:
            try:
                lock(self._file, fcntl.lockf, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_of(name))
            except (BlockingIOError, PermissionError):
                return False
        self._own.add(name)
        return True

    def release(self, name: str) -> None:
        """Give a claim up."""
        self._own.remove(name)
        if fcntl is not None:
            lock(self._file, fcntl.lockf, fcntl.LOCK_UN, 1, _byte_of(name))


def _byte_of(name: str) -> int:
    """Return a place in the file, beyond its end or not, that hardly two names share."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
