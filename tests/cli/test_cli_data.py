"""The command `minihash data`: list and convert."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from helpers import Run

from minihash.datasets.store import Store


def test_convert(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "a.csv", tmp_path / "a.mh"
    source.write_text("label,a,b\n" + "1,2,3\n" * 50 + "x,2,3\n")
    status, out, err = run("data", "convert", source, target, "--header", "--skip-bad", "1")
    assert (status, err) == (0, "") and re.fullmatch(
        rf"50 rows, [\d,]+ a second, 1 lines skipped: wrote {re.escape(str(target))}\n", out
    )
    assert len(Store(target)) == 50 and Store(target).features == 2
    target.unlink()
    status, out, err = run("data", "convert", source, target, "--header")
    assert status == 1 and "a.csv: line 52 has 'x', wanted finite numbers" in err and err.count("\n") == 1
    assert not target.exists()


def test_convert_with_weights(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "a.csv", tmp_path / "a.mh"
    source.write_text("1,2,3,4\n" * 5)
    assert run("data", "convert", source, target, "--weight", "-1")[0] == 0
    inputs, targets, weight = next(Store(target).batches(5))
    assert (inputs[0].tolist(), targets[0], weight[0]) == ([2, 3], 1, 4)


def test_a_long_conversion_is_announced(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first lines, of a header's and half a line's length nothing; packed, nobody knows how many."""
    monkeypatch.setattr("minihash.cli.data.LONG", 10**6)
    monkeypatch.setattr("minihash.cli.data.SAMPLE", 1000)
    source, target = tmp_path / "a.csv", tmp_path / "a.mh"
    source.write_text("the label,and a feature of a long name\n" + "1,2,3,4,5\n" * 200_000)
    first = run("data", "convert", source, target, "--header")[1].splitlines()[0]
    assert first == f"writing {target}: about 200,003 rows, 4 MB"
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    monkeypatch.setattr("minihash.cli.data.LONG", 1000)
    first = run("data", "convert", packed, target, "--header")[1].splitlines()[0]
    assert first == f"writing {target}, of {packed.stat().st_size / 1e6:,.0f} MB in {packed}"
    monkeypatch.undo()
    assert "writing" not in run("data", "convert", source, target, "--header")[1]
