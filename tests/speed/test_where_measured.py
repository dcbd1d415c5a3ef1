"""Where a figure was measured."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import machine as module
from benchmarks.machine import machine


def test_what_is_said() -> None:
    found = machine()
    assert found.keys() == {"date", "processor", "cores", "versions", "commit"}
    assert found["cores"] >= 1 and found["processor"] and found["date"].endswith("+00:00")
    assert {"python", "numpy", "scipy", "numba"} <= found["versions"].keys()


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = shutil.which("git")
    assert git, "the tests need git"

    def run(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run([git, "-C", tmp_path, *identity, *words], capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "minihash").mkdir()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "minihash" / "machine.py"))
    assert machine()["commit"] == ""  # no checkout
    run("init", "-q")
    (tmp_path / "minihash" / "machine.py").write_text("1\n")
    run("add", ".")
    run("commit", "-q", "-m", "first")
    head = run("rev-parse", "--short", "HEAD")
    assert head and machine()["commit"] == head
    (tmp_path / "minihash" / "machine.py").write_text("2\n")
    assert machine()["commit"] == head + "+"
