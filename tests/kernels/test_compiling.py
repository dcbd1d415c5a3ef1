"""The cache of machine code: used again, never stale, and not needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minihash

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


def run(folder: Path, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    found = subprocess.run(
        [sys.executable, "-c", ROW],
        env=kept | {"PYTHONPATH": str(folder)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()


def test_compiled_once_and_never_stale(package: Path) -> None:
    first = run(package)
    assert first[1] == "0"
    assert run(package) == [first[0], "1"]
    hashing = package / "minihash" / "hashing.py"  # another file than the kernels'
    hashing.write_text(hashing.read_text("utf-8").replace("2246822519", "2246822521"), "utf-8")
    changed = run(package)
    assert changed[0] != first[0] and changed[1] == "0"
    assert len(list(package.glob("minihash/kernels/__pycache__/minihash-*"))) == 2


def test_the_cache_goes_where_numba_is_told(package: Path) -> None:
    there = package / "there"
    run(package, NUMBA_CACHE_DIR=str(there))
    assert [path.name[:9] for path in there.iterdir()] == ["minihash-"]
    assert not list(package.glob("minihash/kernels/__pycache__/minihash-*"))


def test_without_a_place_to_write_to(package: Path) -> None:
    first = run(package, NUMBA_CACHE_DIR="/proc/nowhere")  # nobody can make a folder there, not even root
    assert run(package, NUMBA_CACHE_DIR="/proc/nowhere") == first and first[1] == "0"
