"""Which inputs of uint8 are pixels, and that it is said."""

from __future__ import annotations

import numpy as np
import pytest

from minihash.datasets.file_dataset import read_table
from minihash.datasets.labelled import read_labelled

LABELS = np.arange(6) % 2


@pytest.mark.parametrize(
    "shape, largest, dtype, pixels",
    [
        ((6, 4), 128, "u1", True),
        ((6, 4), 127, "u1", False),
        ((6, 4), 1, "u1", False),
        ((6, 2, 2), 1, "u1", True),
        ((6, 2, 2, 3), 100, "u1", True),
        ((6, 2, 2), 255, "i4", False),
        ((6, 4), 255, "f4", False),
        ((6, 2, 1, 2, 1), 1, "u1", False),
    ],
)
def test_pixels_are_divided_by_255_and_nothing_else(tmp_path, shape, largest, dtype, pixels):
    inputs = np.zeros(shape, dtype)
    inputs.flat[5] = largest
    np.savez(tmp_path / "a.npz", inputs=inputs, labels=LABELS)
    for read in (read_labelled, read_table):
        data = read(tmp_path / "a.npz")
        assert data.input_scale == (1 / 255 if pixels else 1)
        if dtype != "u1":
            assert data.notes == ()
        else:
            (note,) = data.notes
            assert note.startswith(f"inputs: uint8 from 0 to {largest}, taken ")
            assert ("for pixels and divided by 255" in note) == pixels and ("as they are" in note) != pixels
