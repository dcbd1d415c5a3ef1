"""Data sets of the user's own: what an npz file must hold, and how it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from minihash.datasets.labelled import read_labelled

INPUTS, LABELS = np.arange(24.0).reshape(6, 4), np.array([0, 1, 2, 2, 1, 0])


def test_all_rows_are_training_rows(tmp_path):
    np.savez(tmp_path / "mine.npz", inputs=INPUTS, labels=LABELS.astype(np.uint8), more=[1])
    data = read_labelled(tmp_path / "mine.npz")
    np.testing.assert_array_equal(data.train[0], INPUTS)
    np.testing.assert_array_equal(data.train[1], LABELS)
    assert data.train[1].dtype == np.int64 and data.class_names == ("0", "1", "2")
    assert (data.name, data.input_scale) == ("mine.npz", 1.0)
    assert [len(part) for part in (*data.validation, *data.test)] == [0] * 4
    assert len(data.train_and_validation()[0]) == 6


def test_pixels_are_scaled_and_images_flattened(tmp_path):
    np.savez_compressed(tmp_path / "mine.npz", inputs=np.zeros((6, 2, 5), np.uint8), labels=LABELS)
    data = read_labelled(tmp_path / "mine.npz")
    assert data.train[0].shape == (6, 10) and data.input_scale == 1 / 255


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"inputs": INPUTS}, "holds inputs, wanted the arrays inputs and labels"),
        ({"x": INPUTS, "y": LABELS}, "holds x, y, wanted the arrays inputs and labels"),
        ({}, "holds nothing, wanted the arrays inputs and labels"),
        ({"inputs": LABELS, "labels": LABELS}, r"inputs has shape \(6,\), wanted \(rows, features\)"),
        ({"inputs": INPUTS.astype(str), "labels": LABELS}, "inputs has dtype <U32, wanted real numbers"),
        ({"inputs": INPUTS * np.nan, "labels": LABELS}, "inputs has NaN or infinity in row 0"),
        ({"inputs": INPUTS, "labels": LABELS[:5]}, r"labels has shape \(5,\) \(int64\), wanted \(6,\) int"),
        ({"inputs": INPUTS, "labels": LABELS / 2}, r"labels has shape \(6,\) \(float64\), wanted \(6,\) int"),
        ({"inputs": INPUTS, "labels": LABELS + 1}, "labels has 3 classes from 1 to 3, wanted 0 … C - 1"),
        ({"inputs": INPUTS, "labels": LABELS * 1000}, "labels has 3 classes from 0 to 2000"),
        ({"inputs": INPUTS, "labels": LABELS * 0}, "labels has 1 classes from 0 to 0, .* at least two"),
        ({"inputs": INPUTS[:0], "labels": LABELS[:0]}, "labels has no rows, wanted"),
        ({"inputs": INPUTS, "labels": LABELS.astype(object)}, "Object arrays cannot be loaded"),
    ],
)
def test_wrong_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=f"mine.npz: {message}"):
        read_labelled(tmp_path / "mine.npz")


def test_other_files(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(FileNotFoundError):
        read_labelled(path)
    for content in (b"", b"a,b\n1,2\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="mine.npz: is no npz file"):
            read_labelled(path)
    np.savez(path, inputs=INPUTS, labels=LABELS)
    whole = bytearray(path.read_bytes())
    whole[120:140] = bytes(20)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="mine.npz: "):
        read_labelled(path)
