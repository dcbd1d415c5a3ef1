"""The cache of machine code: used again, never stale, and not needed."""

from __future__ import annotations

import compileall
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minihash

compiling = pytest.importorskip("minihash.kernels.compiling")

ROW = """
import numpy as np
from minihash import HashedLinear
print(HashedLinear(8, 1, num_buckets=8, bias="none").forward(np.eye(8)).ravel().tolist())
from minihash.kernels import numba_cpu
print(sum(numba_cpu.multiply_element.stats.cache_hits.values()))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, in a folder to import it from."""
    source = Path(minihash.__file__).parent
    shutil.copytree(source, tmp_path / "minihash", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    return tmp_path


def run(folder: Path, program: str = ROW, **environment: str) -> list[str]:
    """Return what a program prints: by default a row of V, and how often the cache had the kernel."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | {"PYTHONPATH": str(folder)} | environment,
        cwd=folder.anchor,  # not beside the package
        capture_output=True,
        text=True,
        check=True,
    )
    assert not found.stderr
    return found.stdout.splitlines()


@pytest.mark.slow
def test_compiled_once_and_never_stale(package: Path) -> None:
    first = run(package)
    assert first[1] == "0"
    assert run(package) == [first[0], "1"]
    hashing = package / "minihash" / "hashing.py"  # another file than the kernels'
    hashing.write_text(hashing.read_text("utf-8").replace("2246822519", "2246822521"), "utf-8")
    changed = run(package)
    assert changed[0] != first[0] and changed[1] == "0"
    assert len(list(package.glob("minihash/kernels/__pycache__/minihash-*"))) == 2


@pytest.mark.slow
def test_the_cache_goes_where_numba_is_told(package: Path) -> None:
    there = package / "there"
    run(package, NUMBA_CACHE_DIR=str(there))
    assert [path.name[:9] for path in there.iterdir()] == ["minihash-"]
    assert not list(package.glob("minihash/kernels/__pycache__/minihash-*"))


@pytest.mark.slow
def test_without_a_place_to_write_to(package: Path) -> None:
    # Nobody can make a folder there, not even root.
    assert run(package, NUMBA_CACHE_DIR="/proc/nowhere")[1] == "0"


@pytest.mark.slow
def test_without_source_files_and_in_a_zip(package: Path) -> None:
    names = "from minihash.kernels.compiling import directories; print([one.name for one in directories()])"
    ref = run(package, program=names)
    compileall.compile_dir(package, quiet=2, legacy=True)
    for path in package.rglob("*.py"):
        path.unlink()
    assert run(package, program=names) == ref and ref != ["[]"]
    archive = Path(shutil.make_archive(str(package / "packed"), "zip", package, "minihash"))
    home = {"HOME": str(package / "home"), "XDG_CACHE_HOME": ""}
    first = run(archive, **home)
    assert first[1] == "0" and run(archive, **home) == [first[0], "1"]
    assert list(package.glob("home/.cache/minihash/minihash-*/*.nbc"))


# ------------------------------------------------------------------------------ one kernel's files


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories of the cache, to be changed by a test."""
    places = [tmp_path / "first", tmp_path / "second"]
    monkeypatch.setattr(compiling, "directories", lambda: places)
    monkeypatch.setattr(compiling, "_used", set())
    monkeypatch.setattr(compiling, "_lost", [])
    return places


def twice() -> Any:
    """The same kernel each time, as another process would have it."""

    def double(values):  # type: ignore[no-untyped-def]
        return values * 2

    return compiling.kernel(double)


def hits(dtype: type = np.float64) -> int:
    """Use the kernel for the first time; return how often the cache had it."""
    dispatcher = twice()
    assert dispatcher(np.ones(2, dtype)).tolist() == [2, 2]
    return sum(dispatcher.stats.cache_hits.values())


def files(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.exists() else []


def test_a_file_for_each_signature(places: list[Path]) -> None:
    assert [hits(), hits(np.float32), hits(), hits(np.float32)] == [0, 0, 1, 1]
    assert len(files(places[0])) == 2 and not files(places[1])
    assert compiling.used_directories() == places[:1]


@pytest.mark.parametrize("damage", ["empty", "half", "bit", "pickle"])
def test_damaged_files_are_replaced(places: list[Path], damage: str) -> None:
    hits()
    (path,) = files(places[0])
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    nothing = compiling.hashlib.sha256(b"nothing").digest() + b"nothing"
    half = whole[: len(whole) // 2]
    path.write_bytes({"empty": b"", "half": half, "bit": flipped, "pickle": nothing}[damage])
    assert hits() == 0
    assert hits() == 1 and files(places[0]) == [path]


def test_damaged_files_that_cannot_be_replaced(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hits()
    (path,) = files(places[0])
    path.write_bytes(b"")
    monkeypatch.setattr(Path, "unlink", failing(errno.EROFS))
    monkeypatch.setattr(os, "replace", failing(errno.EROFS))
    assert hits() == 0 and hits() == 0 and not compiling.used_directories()


def failing(reason: int) -> Callable:
    def fail(*arguments: Any, **others: Any) -> None:
        raise OSError(reason, os.strerror(reason))

    return fail


def test_a_full_disk_keeps_nothing_half(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", failing(errno.ENOSPC))
    assert hits() == 0 and hits() == 0
    assert not files(places[0]) and not files(places[1]) and not compiling.used_directories()


def test_what_can_only_be_read_is_used(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hits()
    write = compiling._write

    def write_elsewhere(path: Path, content: bytes) -> None:
        if path.parent == places[0]:
            raise PermissionError(errno.EACCES, "not for you")
        write(path, content)

    monkeypatch.setattr(compiling, "_write", write_elsewhere)
    assert hits() == 1 and not files(places[1])
    assert hits(np.float32) == 0 and hits(np.float32) == 1
    assert len(files(places[0])) == len(files(places[1])) == 1
    assert compiling.used_directories() == places


def test_files_and_folders_that_are_in_the_way(places: list[Path]) -> None:
    places[0].write_text("a file")
    assert hits() == 0 and hits() == 1
    (path,) = files(places[1])
    path.unlink()
    path.mkdir()
    assert hits() == 0 and path.is_dir() and not compiling.used_directories()


def test_without_a_home_the_working_directory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(compiling._config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (beside,) = compiling.directories.__wrapped__()
    assert beside.parent == Path(compiling.__file__).with_name("__pycache__")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    found = [place.parent for place in compiling.directories.__wrapped__()]
    assert found == [Path("/cache/minihash"), beside.parent]


def test_code_that_cannot_be_told_apart_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "MODULES", ("sys",))  # a module without code in Python
    assert compiling.directories.__wrapped__() == []


def test_what_identifies_code() -> None:
    def text(source: str, path: str = "a.py") -> str:
        return compiling._text(compile(source, path, "exec"))

    source = "def f(x):\n    return x + 1 if x in {'a', 'b', 'c'} else 0"
    assert text(source) == text("\n\n" + source, "b.py")
    changed = ("x + 1", "x - 1"), ("'c'", "'d'"), ("+ 1", "+ 1.0"), ("(x)", "(*x)")
    assert len({text(source), *(text(source.replace(*pair)) for pair in changed)}) == 1 + len(changed)
