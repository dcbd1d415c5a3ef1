"""Writers: a whole file or none, and what is finished is not thrown away."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from benchmarks.locks import Claims, locked
from minihash import files
from minihash.files import (
    check_outputs,
    check_writable,
    claimed,
    naming,
    replacing,
    replacing_all,
    write_or_keep,
)


def failing(number: int) -> Any:
    def fail(*arguments: Any, **others: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    check_writable(path)
    with replacing(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole" and left(tmp_path) == [path.name]


def test_a_name_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError) as found:
        check_writable(tmp_path / ("x" * 256))
    assert found.value.errno == errno.ENAMETOOLONG and "xxx" in str(found.value.filename)


@pytest.mark.parametrize("before", [b"", b"old", b"old and much longer than the new one"])
def test_what_cannot_be_replaced_is_written_in_place(before: bytes, tmp_path: Path, monkeypatch: Any) -> None:
    """As a file that is a mount of its own, or another user's in a folder with the sticky bit."""
    path = tmp_path / "model"
    path.write_bytes(before)
    path.chmod(0o600)
    monkeypatch.setattr(os, "replace", failing(errno.EBUSY))
    with replacing(path) as file:
        file.write(b"the new one")
    assert path.read_bytes() == b"the new one" and left(tmp_path) == ["model"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("exists", [False, True])
def test_what_can_neither_be_replaced_nor_written_is_kept(
    exists: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "model"
    if exists:
        path.write_bytes(b"old")
        monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    monkeypatch.setattr(os, "replace", failing(errno.EBUSY))
    with pytest.raises(OSError) as found:
        with replacing(path) as file:
            file.write(b"the new one")
    assert found.value.errno == errno.EBUSY and found.value.filename == str(path)
    kept = re.search(r"what was to be written is (\S+)$", found.value.strerror or "")
    assert kept and Path(kept[1]).read_bytes() == b"the new one" and len(Path(kept[1]).name) < 40
    assert path.read_bytes() == b"old" if exists else not path.exists()


def test_of_several_files_those_that_have_no_name_yet_vanish(tmp_path: Path, monkeypatch: Any) -> None:
    names = [tmp_path / name for name in ("a", "b", "c")]
    original = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == "b":
            failing(errno.EBUSY)()
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="what was to be written is .*: '.*/b'"):
        with replacing_all(names) as streams:
            for stream in streams:
                stream.write(b"new")
    found = left(tmp_path)
    assert found[1:] == ["a"] and found[0].startswith(".minihash-")  # a is written, b kept, c gone


@pytest.mark.parametrize("count", [1, 2])
def test_a_full_disk_has_the_name_of_the_file(count: int, tmp_path: Path) -> None:
    with pytest.raises(OSError) as found:
        with replacing_all([tmp_path / "model", tmp_path / "other"][:count]):
            failing(errno.ENOSPC)()
    assert found.value.filename == str(tmp_path / "model" if count == 1 else tmp_path)
    assert left(tmp_path) == []


def test_errors_of_other_files_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found:
        with replacing(tmp_path / "model"):
            open(tmp_path / "none")
    assert found.value.filename == str(tmp_path / "none")
    with pytest.raises(OSError) as unsupported:
        with naming("model"):
            raise OSError("of a library")
    assert str(unsupported.value) == "of a library"


def test_a_network_that_has_no_room_is_kept_elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    disk, other = tmp_path / "disk", tmp_path / "tmp"
    disk.mkdir()
    other.mkdir()
    original = os.fsync
    monkeypatch.setattr(tempfile, "tempdir", str(other))

    def fsync(number: int) -> None:
        if str(disk) in os.readlink(f"/proc/self/fd/{number}"):
            failing(errno.ENOSPC)()
        original(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError) as found:
        write_or_keep(disk / "model", b"long work")
    kept = (found.value.strerror or "").rpartition(" ")[2]
    assert Path(kept).read_bytes() == b"long work" and Path(kept).parent.parent == other
    assert found.value.filename == str(disk / "model") and left(disk) == []
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device: '.*disk/model'$"):
        write_or_keep(disk / "model", b"long work")
    assert left(disk) == [] and len(left(other)) == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EFBIG, errno.EIO])
def test_whatever_the_reason_a_network_is_kept(number: int, tmp_path: Path, monkeypatch: Any) -> None:
    disk, other = tmp_path / "disk", tmp_path / "tmp"
    disk.mkdir()
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))

    def failing_there(path: Any, mode: str) -> Any:
        return failing(number)() if disk in Path(path).parents else open(path, mode)

    monkeypatch.setattr(files, "open", failing_there, raising=False)
    with pytest.raises(OSError) as found:
        write_or_keep(disk / "model", b"long work")
    assert found.value.errno == number and found.value.filename == str(disk / "model")
    kept = (found.value.strerror or "").rpartition(" ")[2]
    assert Path(kept).read_bytes() == b"long work" and Path(kept).parent.parent == other


@pytest.mark.parametrize("name", ["gone/model", "é" * 255])
def test_a_network_without_its_folder_or_with_too_long_a_name_is_kept(
    name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OSError, match="what was to be written is") as found:
        write_or_keep(tmp_path / name, b"long work")
    assert Path((found.value.strerror or "").rpartition(" ")[2]).read_bytes() == b"long work"


def test_an_interrupt_leaves_no_folder(tmp_path: Path, monkeypatch: Any) -> None:
    disk, other = tmp_path / "disk", tmp_path / "tmp"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_or_keep(disk / "model", b"long work")  # the folder disk is not there
    assert left(other) == []


@pytest.mark.parametrize("stop", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_target_that_is_half_overwritten_is_called_damaged(
    stop: BaseException, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"the old one")

    def copy(source: Any, target: Any) -> None:
        target.write(source.read(3))
        raise stop

    monkeypatch.setattr(os, "replace", failing(errno.EBUSY))
    monkeypatch.setattr(files.shutil, "copyfileobj", copy)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(type(stop)) as found:
            write_or_keep(path, b"THE NEW ONE")
    said = str(found.value) if isinstance(stop, OSError) else str(warned[0].message)
    kept = re.search(r"it is damaged now; what was to be written is ([^\s:']+)", said)
    assert str(path) in said and kept and Path(kept[1]).read_bytes() == b"THE NEW ONE"
    assert path.read_bytes() == b"THE old one"


def test_outputs_end_no_other_file(tmp_path: Path) -> None:
    data, link = tmp_path / "data", tmp_path / "link"
    data.write_bytes(b"rows")
    link.symlink_to(data)
    check_outputs([tmp_path / "a", None, tmp_path / "b"], data, None)
    with pytest.raises(ValueError, match="link: is read, wanted another file to write"):
        check_outputs([tmp_path / "a", link], data)
    with pytest.raises(ValueError, match="a: is to be written twice, wanted a file for each output"):
        check_outputs([tmp_path / "a", tmp_path / "." / "a"])
    with pytest.raises(ValueError, match="link: is to be written twice"):
        check_outputs([data, link])
    with pytest.raises(OSError, match="there is no such folder"):
        check_outputs([tmp_path / "none" / "a"])
    assert left(tmp_path) == ["data", "link"]


def test_writing_is_tried_and_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "model").write_bytes(b"old")
    check_writable(tmp_path / "model")
    assert left(tmp_path) == ["model"] and (tmp_path / "model").read_bytes() == b"old"
    monkeypatch.setattr(files, "open", failing(errno.EROFS), raising=False)
    with pytest.raises(OSError) as found:
        check_writable(tmp_path / "model")
    assert found.value.errno == errno.EROFS and found.value.filename == str(tmp_path / "model")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: Any) -> None:
    assert files.fcntl is not None
    monkeypatch.setattr(files.fcntl, "flock", failing(number))
    monkeypatch.setattr(files.fcntl, "lockf", failing(number))
    with pytest.warns(UserWarning, match=f"{tmp_path}: its file system has no locks"):
        with claimed(tmp_path / "lock"):
            pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was said once
        with open(tmp_path / "lock", "ab") as file, locked(file):
            pass
        with Claims(tmp_path / "claims") as claims:
            assert claims.take("a") and not claims.take("a")
            claims.release("a")


def test_another_failure_of_a_lock_has_the_name_of_its_file(tmp_path: Path, monkeypatch: Any) -> None:
    assert files.fcntl is not None
    monkeypatch.setattr(files.fcntl, "flock", failing(errno.EIO))
    with pytest.raises(OSError) as found:
        with claimed(tmp_path / "lock"):
            pass
    assert found.value.filename == str(tmp_path / "lock")
