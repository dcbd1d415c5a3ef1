"""`python -m benchmarks.higgs synthesize`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import Fails, Run

from minihash.datasets.store import Store


def test_synthesize(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.mh", "b.mh", "c.mh")]
    for path, seed in zip(paths, (("--seed", 1), ("--seed", 1), ())):
        status, out, err = run("synthesize", path, "--rows", 5000, *seed)
        name = re.escape(str(path))
        said = rf"writing {name}: 5,000 rows, 1 MB\n5,000 rows, [\d,]+ a second: wrote {name}, synthetic\n"
        assert (status, err) == (0, "") and re.fullmatch(said, out)
    assert len(Store(paths[0])) == 5000 and Store(paths[0]).features == 28
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()


def test_synthesize_says_how_far_it_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minihash.cli.data.SECONDS", 0)
    out = run("synthesize", tmp_path / "a.mh", "--rows", 10_000)[1]
    assert [line.partition(" rows, ")[0] for line in out.splitlines()[1:]] == ["8,192", "10,000", "10,000"]


def test_synthesize_fails(fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "a.mh"
    assert "--rows: '0' is not an integer" in fails(2, "synthesize", path, "--rows", 0)
    assert "--rows" in fails(2, "synthesize", path)
    seed = ("--seed", 2**32)
    assert "--seed: '4294967296' is not" in fails(2, "synthesize", path, "--rows", 5, *seed)
    none = tmp_path / "none" / "a.mh"
    assert "no such folder" in fails(1, "synthesize", none, "--rows", 5)
    assert "is a folder" in fails(1, "synthesize", tmp_path, "--rows", 5)
    assert list(tmp_path.iterdir()) == []
