"""Files that are whole or not there, and locks."""

from __future__ import annotations

import errno
import functools
import os
import secrets
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from minihash.text import meant

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTS = ".minihash-*.part"  # temporary files: their names are short, whatever they become
MAX_NAME = 60  # letters of the name under which something is kept, of four bytes at most
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a file system without any


@contextmanager
def naming(path: str | os.PathLike[str], *others: str | os.PathLike[str]) -> Iterator[None]:
    """Let an OSError of the block name `path` where it names nothing (as of a full disk) or `others`.

    Where there is no such file, it also says what was probably meant.
    """
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or str(error.filename) in [str(other) for other in others]
        missing = str(error.filename) == str(path) and error.strerror == os.strerror(errno.ENOENT)
        if error.errno is None or not (unnamed or missing):
            raise
        hint = meant(Path(path).name, beside(path)) if missing else ""
        raise OSError(error.errno, f"{error.strerror}{hint}", os.fspath(path)) from None


def beside(path: str | os.PathLike[str]) -> list[str]:
    """Return the names in the folder of a file that is not there."""
    try:
        return [name for name in os.listdir(Path(path).parent) if name != Path(path).name]
    except OSError:
        return []


@contextmanager
def naming_values(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put `path` before what a ValueError of the block says, unless it begins so."""
    try:
        yield
    except ValueError as error:
        named = str(error).startswith(os.fspath(path))
        raise ValueError(f"{error}" if named else f"{os.fspath(path)}: {error}") from None


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes `path` when the block ends well, and else vanishes.

    Raises OSError with the name of `path` if it cannot be written. Where the last step alone fails, as for a
    file that is a mount of its own, `path` is written in place; if that fails too, the finished temporary
    file stays, and the error names it. It says so where `path` is damaged: it was half written.
    """
    with replacing_all([path]) as (stream,):
        yield stream


@contextmanager
def replacing_all(paths: Sequence[str | os.PathLike[str]]) -> Iterator[Sequence[BinaryIO]]:
    """Open temporary files that become `paths` when the block ends well, none before all are on the disk."""
    targets = [Path(os.path.realpath(path)) for path in paths]  # what a link leads to, not the link
    parts = [_part(path) for path in targets]
    unfinished = list(parts)
    whole = targets[0] if len(targets) == 1 else targets[0].parent
    try:
        with naming(whole), ExitStack() as stack:  # a file that is closed may fail, too
            streams = []
            for part, path in zip(parts, targets):
                _check_target(path)
                with naming(path, part):
                    streams.append(stack.enter_context(open(part, "xb")))
            yield streams
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
        for part, path in zip(parts, targets):
            try:
                os.replace(part, path)
            except OSError as error:
                unfinished.remove(part)  # from here on it may be all that is whole
                _copy_over(part, path, OSError(error.errno, error.strerror, str(path)))
                part.unlink()
    finally:
        for part in unfinished:
            part.unlink(missing_ok=True)


def write_or_keep(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file that took long to make.

    Raises OSError as `replacing`. Whatever the reason, the content is then kept in the folder of temporary
    files, if that is possible, and the error names it.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        if hasattr(error, "kept"):
            raise
        kept = _write_elsewhere(Path(path).name[:MAX_NAME], content)
        raise error if kept is None else _kept(error, kept) from None


def _write_elsewhere(name: str, content: bytes) -> Path | None:
    """Write a file of that name into a new folder of temporary files; None if that fails."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="minihash-"))
        with replacing(folder / name) as file:
            file.write(content)
        return folder / name
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        return None


@contextmanager
def tolerated(what: str) -> Iterator[None]:
    """Warn of an OSError in the block, and of `what` becomes of it, instead of raising it."""
    try:
        yield
    except OSError as error:
        warnings.warn(f"{error.filename}: {error.strerror}; {what}", stacklevel=3)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that writing `path` would end in, before an hour of work and not after it."""
    target = Path(os.path.realpath(path))
    _check_target(target)
    part = _part(target)
    with naming(target, part):
        try:
            open(part, "xb").close()
        finally:
            part.unlink(missing_ok=True)


def check_outputs(
    paths: Iterable[str | os.PathLike[str] | None], *read: str | os.PathLike[str] | None
) -> None:
    """Refuse files to be written, before any work, that cannot be, or would end another file.

    paths : all files that a command will write; None where one is not wanted.
    read : the files that it reads.

    Raises OSError as `check_writable`; ValueError if a file is read, too, or written twice.
    """
    names: set[str] = set()
    for path in [each for each in paths if each is not None]:
        check_not_read(path, *read)
        check_writable(path)
        name = os.path.normcase(os.path.realpath(path))
        if name in names:
            raise ValueError(f"{os.fspath(path)}: is to be written twice, wanted a file for each output")
        names.add(name)


def _part(path: Path) -> Path:
    """Return the name of a temporary file in the same folder: a rename there is atomic."""
    return path.with_name(PARTS.replace("*", secrets.token_hex(6)))


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, wanted a file", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file, and would be replaced by one", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to", str(path.parent))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot write into the folder", str(path.parent))


def _copy_over(part: Path, path: Path, failure: OSError) -> None:
    """Copy a file over another.

    Raises OSError, made of `failure`, if that is not possible: there is still what was there, unless an
    error came in the middle. Then the message calls `path` damaged; an interrupt is passed on with a warning.
    """
    begun = False
    try:
        with open(part, "rb") as source, open(path, "r+b") as target:
            size, before = (os.fstat(file.fileno()).st_size for file in (source, target))
            if size > before and hasattr(os, "posix_fallocate"):
                _make_room(target, size, before)
            begun = True
            shutil.copyfileobj(source, target)
            target.truncate(size)
            target.flush()
            os.fsync(target.fileno())
    except OSError:
        raise _kept(failure, part, damaged=begun) from None
    except BaseException:
        kept = _kept(failure, part, damaged=begun)
        warnings.warn(f"{path}: {kept.strerror}", stacklevel=2)
        raise


def _make_room(file: BinaryIO, size: int, before: int) -> None:
    """Make room for a longer content; if there is none, give the file its length again, and raise."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        file.truncate(before)
        if error.errno in FULL:
            raise


def _kept(error: OSError, where: Path, damaged: bool = False) -> OSError:
    """Return an error of the same kind that says where the content is; `kept` is the place."""
    harm = "; it is damaged now" if damaged else ""
    message = f"{error.strerror}{harm}; what was to be written is {where}"
    kept = OSError(error.errno, message, error.filename)
    kept.kept = where  # type: ignore[attr-defined]
    return kept


@contextmanager
def claimed(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a file that only one process at a time can hold, without waiting; where there are locks.

    Raises OSError if another process, or another thread, holds it.
    """
    with open(path, "ab") as file:
        try:
            if fcntl is not None:
                lock(file, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "is held by another training, wanted a folder of its own"
            raise OSError(errno.EBUSY, message, os.fspath(path)) from None
        yield


def lock(file: IO, function: Callable[..., object], *arguments: int) -> None:
    """Lock or unlock a file; go on where its file system cannot, such as Lustre without -o flock."""
    try:
        with naming(file.name):
            function(file, *arguments)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _warn_of_no_locks(os.path.dirname(os.path.abspath(file.name)))


@functools.cache  # once a folder
def _warn_of_no_locks(folder: str) -> None:
    warnings.warn(f"{folder}: its file system has no locks; let one process at a time use it", stacklevel=4)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse a pipe where a file is opened more than once: what has been read of it is gone.

    Raises ValueError with its name; OSError if there is nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):  # to open a folder is an OSError
        wanted = "wanted one (minihash data convert reads pipes)"
        raise ValueError(f"{os.fspath(path)}: is no regular file, {wanted}")


def check_not_read(path: str | os.PathLike[str], *read: str | os.PathLike[str] | None) -> None:
    """Raise a ValueError if a file to be written is one of those that are read, and would be lost."""
    for source in [each for each in read if each is not None]:
        if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
            raise ValueError(f"{os.fspath(path)}: is read, wanted another file to write")
