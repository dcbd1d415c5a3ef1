"""The reader of .amat files: round trips, and the file and line of whatever is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper.data import amat

ROW = "0.5 " * 784


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "some.amat"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (5, 784)), np.array([0, 9, 3, 3, 1])
    path = tmp_path / "some.amat"
    np.savetxt(path, np.column_stack([pixels / 255, labels]), fmt="%.5f", delimiter="   ", header="size: 5")
    inputs, targets = amat.read(path, 5, 10)
    assert inputs.dtype == np.uint8 and targets.dtype == np.int64
    np.testing.assert_array_equal(inputs, pixels)
    np.testing.assert_array_equal(targets, labels)


def test_transposed(tmp_path: Path) -> None:
    image = np.zeros((28, 28))
    image[3, 20] = 1
    path = written(tmp_path, " ".join(map(str, image.ravel())) + " 7")
    for transposed, place in ((False, (3, 20)), (True, (20, 3))):
        inputs, labels = amat.read(path, 1, 10, transposed)
        assert np.argwhere(inputs.reshape(28, 28)).tolist() == [list(place)] and inputs.max() == 255
        assert labels.tolist() == [7]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((ROW + "1", ROW), "line 2 has 784 numbers, wanted 785"),
        ((ROW, ROW), "line 1 has 784 numbers, wanted 785"),
        ((ROW + "1", "", "# note", ROW + "1 1"), "line 4 has 786 numbers, wanted 785"),
        ((ROW + "1", "x" + ROW[3:] + "1"), "line 2: number 1 is 'x', wanted a number"),
        ((ROW + "1", "nan" + ROW[3:] + "1"), "line 2: pixel 1 is nan, wanted 0 to 1"),
        ((ROW + "1", ROW[:-4] + "1.5 1"), "line 2: pixel 784 is 1.5, wanted 0 to 1"),
        ((ROW + "1", "-1" + ROW[3:] + "1"), "line 2: pixel 1 is -1, wanted 0 to 1"),
        ((ROW + "1", ROW + "2"), "line 2: label is 2, wanted 0 to 1"),
        ((ROW + "0.5", ROW + "1"), "line 1: label is 0.5, wanted 0 to 1"),
        ((ROW + "1",), "has 1 rows, wanted 2"),
        ((ROW + "1",) * 3, "has 3 rows, wanted 2"),
        (("",), "has 0 rows, wanted 2"),
    ],
)
def test_refused(lines: tuple[str, ...], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, *lines)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}$"):
        amat.read(path, 2, 2)


def test_bytes_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "some.amat"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(ValueError, match="some.amat: line 1 has "):
        amat.read(path, 2, 2)
