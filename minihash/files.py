"""Files that are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes `path` when the block ends well, and else vanishes."""
    with replacing_all([path]) as (stream,):
        yield stream


@contextmanager
def replacing_all(paths: Sequence[str | os.PathLike[str]]) -> Iterator[Sequence[BinaryIO]]:
    """Open temporary files that become `paths` when the block ends well, none before all are on the disk."""
    for path in paths:
        check_writable(path)
    targets = [Path(os.path.realpath(path)) for path in paths]  # what a link leads to, not the link
    # In the same folder: a rename there is atomic.
    parts = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for path in targets]
    try:
        with ExitStack() as stack:
            streams = [stack.enter_context(open(part, "xb")) for part in parts]
            yield streams
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
        for part, path in zip(parts, targets):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that writing `path` would end in, before an hour of work and not after it."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, wanted a file", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file, and would be replaced by one", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to", str(path.parent))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot write into the folder", str(path.parent))


@contextmanager
def locked(file: IO) -> Iterator[None]:
    """Wait until no other process holds the lock of an open file, and hold it; without effect on Windows."""
    if fcntl is None:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def claimed(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a file that only one process at a time can hold, without waiting; without effect on Windows.

    Raises
    ------
    OSError if another process, or another thread, holds it.
    """
    with open(path, "ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = "is held by another training, wanted a folder of its own"
                raise OSError(errno.EBUSY, message, os.fspath(path)) from None
        yield


class Claims:
    """Claims of this process on things of any name, each held by one process at a time.

    They are locks of bytes of one file, which may be on a disk that several machines share. Whatever way a
    process ends, its claims end with it. Without effect on Windows.

    Parameters
    ----------
    path : the file, the same for all; it need not exist.
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
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_of(name))
            except (BlockingIOError, PermissionError):
                return False
        self._own.add(name)
        return True

    def release(self, name: str) -> None:
        """Give a claim up."""
        self._own.remove(name)
        if fcntl is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte_of(name))


def _byte_of(name: str) -> int:
    """Return a place in the file, beyond its end or not, that hardly two names share."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse a pipe where a file is opened more than once: what has been read of it is gone.

    Raises
    ------
    ValueError with its name; OSError if there is nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):  # to open a folder is an OSError
        found = f"{os.fspath(path)}: is no regular file"
        raise ValueError(f"{found}, wanted one (minihash data convert reads pipes)")


def check_not_read(path: str | os.PathLike[str] | None, *read: str | os.PathLike[str] | None) -> None:
    """Raise a ValueError if a file to be written is one of those that are read, and would be lost."""
    for source in read:
        if path is not None and source is not None and os.path.exists(path) and os.path.exists(source):
            if os.path.samefile(path, source):
                raise ValueError(f"{os.fspath(path)}: is read, wanted another file to write")
