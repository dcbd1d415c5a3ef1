"""The command `minihash data`: list and convert."""

from __future__ import annotations

import re
from pathlib import Path

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
