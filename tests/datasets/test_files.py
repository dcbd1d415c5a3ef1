"""Files of rows: parts, .npy files, what a file is told by, and data sets made of them."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import inputs_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from minihash.datasets import blocks, npy, open_rows, store
from minihash.datasets.classes import FEW
from minihash.datasets.file_dataset import read_table
from minihash.datasets.inputs import read_inputs
from minihash.datasets.npy import NpyRows
from minihash.datasets.rows import ArrayRows, Rows
from minihash.datasets.store import Store, StoreWriter
from minihash.schema import Split


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(store, "BLOCK_ROWS", 4)
    monkeypatch.setattr(npy, "BLOCK_BYTES", 64)
    monkeypatch.setattr(blocks, "BLOCKS", 3)


def write(path: Path, rows: np.ndarray, kind: str) -> Path:
    """Write rows as a file of a kind, the target first."""
    if kind == "npy":
        np.save(path, rows)
        return path.with_name(path.name + ".npy")
    if kind == "store":
        with open(path, "wb") as file:
            writer = StoreWriter(file, rows.shape[1] - 1)
            writer.append(rows)
            writer.finish()
    else:
        text = "\n".join(",".join(map(repr, row)) for row in rows.tolist()) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if kind == "csv.gz" else text.encode())
    return path


KINDS = ("store", "npy", "csv", "csv.gz")


def collected(rows: Rows, batch_size: int = 7, rng=None) -> np.ndarray:
    batches = [
        np.column_stack([batch.targets, batch.inputs]) for batch in rows.batches(batch_size, rng)
    ]
    return np.concatenate(batches) if batches else np.empty((0, 1 + rows.features))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_told_by_its_content(tmp_path, kind):
    rows = rows_of(30)
    found = open_rows(write(tmp_path / "rows", rows, kind))
    assert (len(found), found.features, found.weighted) == (30, 3, False)
    np.testing.assert_array_equal(collected(found), rows)
    assert found.name.startswith(str(tmp_path / "rows"))
    np.testing.assert_allclose(found.statistics.mean, rows[:, 1:].mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.statistics.std, rows[:, 1:].std(axis=0), rtol=1e-5)
    assert (found.statistics.low, found.statistics.high, found.statistics.whole) == (0, 29, True)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 50),
    kind=st.sampled_from(("store", "npy", "arrays")),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    again=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    batch_size=st.integers(1, 60),
    seed=st.none() | st.integers(0, 9),
)
def test_a_part_has_its_rows_and_no_others(tmp_path_factory, count, kind, cut, again, batch_size, seed):
    rows = rows_of(count)
    if kind == "arrays":
        found: Rows = ArrayRows(rows[:, 1:], rows[:, 0])
    else:
        found = open_rows(write(tmp_path_factory.mktemp("a") / "rows", rows, kind))
    for low, high in (cut, again):  # a part of a part
        start, stop = round(low * len(rows)), round(high * len(rows))
        found, rows = found.part(start, stop), rows[start:stop]
    read = collected(found, batch_size, None if seed is None else np.random.default_rng(seed))
    np.testing.assert_array_equal(read[np.argsort(read[:, 0], kind="stable")], rows)
    if seed is None:
        np.testing.assert_array_equal(read, rows)
    assert len(found) == len(rows)
    if len(rows):
        np.testing.assert_allclose(found.statistics.mean, rows[:, 1:].mean(axis=0), rtol=1e-4, atol=1e-6)
        assert found.statistics.high == rows[:, 0].max()


def test_a_part_beyond_the_rows_is_refused(tmp_path):
    found = open_rows(write(tmp_path / "rows", rows_of(9), "store"))
    with pytest.raises(ValueError, match="^stop is 10, wanted 2 <= stop < 10$"):
        found.part(2, 10)


def test_weights_of_rows(tmp_path):
    rows = np.abs(rows_of(20, 4))
    with open(tmp_path / "a.mh", "wb") as file:
        writer = StoreWriter(file, 3, weighted=True)
        writer.append(rows)
        with pytest.raises(ValueError, match="^row 20 has the weight -1, wanted one >= 0$"):
            writer.append(-np.ones((1, 5)))
        writer.finish()
    found = Store(tmp_path / "a.mh")
    assert found.weighted and found.features == 3
    for batch in found.batches(20):
        np.testing.assert_array_equal(batch.weight, rows[:, 1])
        np.testing.assert_array_equal(batch.inputs, rows[:, 2:])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">f8", "u1", "i8", "?"])
@pytest.mark.parametrize("label_column", [0, 2, -1, None])
def test_npy_files_of_any_type(tmp_path, dtype, label_column, order):
    array = (np.random.default_rng(0).random((23, 4)) * 200).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    found = NpyRows(tmp_path / "a.npy", label_column=label_column)
    label = np.zeros(23) if label_column is None else array[:, label_column]
    features = array if label_column is None else np.delete(array, label_column, axis=1)
    np.testing.assert_array_equal(collected(found), np.column_stack([label, features]).astype(np.float32))
    exact = features.astype(np.float64)
    np.testing.assert_allclose(found.statistics.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.statistics.std, exact.std(axis=0), rtol=1e-12)
    part = found.part(5, 21)
    np.testing.assert_array_equal(collected(part), collected(found)[5:21])
    np.testing.assert_allclose(part.statistics.mean, exact[5:21].mean(axis=0), rtol=1e-12)
    read = inputs_of(tmp_path / "a.npy", features.shape[1], target=str(label_column or 0))
    np.testing.assert_array_equal(read, features)
    assert read.dtype == array.dtype.newbyteorder("=")  # a network shifts them before they are rounded


def test_a_header_longer_than_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 2)))
    content = path.read_bytes()
    path.write_bytes(content[:6] + b"\3\0" + (2**31).to_bytes(4, "little") + content[10:])
    tracemalloc.start()
    for read in (NpyRows, read_inputs):
        with pytest.raises(ValueError, match=r"a\.npy: .*header is to have 2147483648 bytes, more than the"):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_npy_files_that_are_refused(tmp_path):
    path = tmp_path / "a.npy"

    def refused(array, match, **options):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ValueError, match=match):
            collected(NpyRows(path, **options))

    refused(np.zeros(3), r"a\.npy: has shape \(3,\) \(float64, C order\), wanted a matrix of real numbers")
    refused(np.zeros((3, 2, 1), order="F"), "Fortran order")
    refused(np.zeros((3, 2), complex), "complex128")
    refused(np.zeros((3, 2), object), "object")
    refused(np.zeros((0, 2)), "wanted .rows, 1 . features., a row at least")
    refused(np.zeros((3, 1)), "wanted .rows, 1 . features.")
    refused(np.zeros((3, 2)), "^label_column is 2, wanted -2 <= label_column < 2$", label_column=2)
    bad = np.zeros((50, 2))
    bad[33, 1] = 1e40
    refused(bad, r"a\.npy: has NaN or infinity in row 33, wanted finite float32 numbers")
    np.save(path, np.zeros((30, 2)))
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"x", content[:20], b"\x93NUMPY\x09\x00" + content[8:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.npy: "):
            open_rows(path)


def test_a_csv_file_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    found = open_rows(write(tmp_path / "rows", rows_of(30), "csv"))
    part = found.part(0, 5)
    del found
    assert len(collected(part)) == 5
    del part
    assert list((tmp_path / "temporary").iterdir()) == []


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.undo()  # blocks of their usual size
    rows = rows_of(300_000, 5)
    for kind, order in (("store", "C"), ("npy", "C"), ("npy", "F")):
        found = open_rows(write(tmp_path / kind, np.asarray(rows, order=order), kind))
        tracemalloc.start()
        for _ in found.batches(256, np.random.default_rng(0)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        bound = 2 * blocks.BLOCKS * found._block_rows * 6 * 4
        assert peak < min(1.5 * bound, len(rows) * 6 * 4 * 3) and bound < 18e6


# ------------------------------------------------------------------------------------ data sets


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_rows_are_for_testing(tmp_path, kind):
    rows = rows_of(40)
    split = Split("last", validation=5)
    data = read_table(write(tmp_path / "rows", rows, kind), task="regression", split=split)
    assert (len(data.train), len(data.validation), len(data.test)) == (31, 5, 4)
    np.testing.assert_array_equal(collected(data.train), rows[:31])
    np.testing.assert_array_equal(collected(data.validation), rows[31:36])
    np.testing.assert_array_equal(collected(data.test), rows[36:])
    np.testing.assert_array_equal(collected(data.train_and_validation()), rows[:36])
    scaled = (rows[:, 1:] - data.input_shift) * data.input_scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-6)
    assert data.features == 3 and data.class_names == ()


@pytest.mark.parametrize(
    "targets, task, classes",
    [
        ([0, 1, 1, 0], "binary", 2),
        ([0, 1, 2, 0], "classification", 3),
        ([0, 1.5, 2, 0], "regression", 0),
        ([-1, 1, 1, 0], "classification", 3),
        ([7, 7, 7, 7], "regression", 0),
        (list(range(FEW)), "classification", FEW),
        (list(range(FEW + 1)), "regression", 0),
    ],
)
def test_the_task_is_what_targets_look_like(tmp_path, targets, task, classes):
    rows = np.column_stack([targets, np.arange(len(targets))])
    data = read_table(write(tmp_path / "rows", rows, "npy"))
    assert (data.task, len(data.class_names)) == (task, classes)
    assert read_table(write(tmp_path / "rows", rows, "npy"), task="regression").class_names == ()


def test_targets_that_do_not_fit_the_task(tmp_path):
    rows = np.column_stack([[0, 3, 1, 0], np.arange(4)])
    path = write(tmp_path / "rows", rows, "npy")
    with pytest.raises(ValueError, match=r"rows.npy has 3 classes \(0, 1, 3\), wanted two$"):
        read_table(path, task="binary")
    with pytest.raises(ValueError, match="^task is 'cluster', wanted one of 'classification', 'binary',"):
        read_table(path, task="cluster")
    with pytest.raises(ValueError, match="^test is 4, wanted 0 <= test < 4$"):
        read_table(path, split=Split(test=4))
    with pytest.raises(ValueError, match="^validation is 3, wanted 0 <= validation < 3$"):
        read_table(path, split=Split(test=1, validation=3))


def test_constant_features_keep_their_scale(tmp_path):
    rows = rows_of(20)
    rows[:, 2] = 7
    data = read_table(write(tmp_path / "rows", rows, "store"))
    assert data.input_scale[1] == 1 and data.input_shift[1] == 7


def test_an_npz_file_is_a_data_set(tmp_path):
    inputs, labels = np.arange(196, 256, dtype=np.uint8).reshape(20, 3), np.arange(20) % 3
    np.savez(tmp_path / "a.npz", inputs=inputs, labels=labels)
    data = read_table(tmp_path / "a.npz")
    assert (data.task, data.input_scale, data.input_shift, data.class_names) == (
        "classification",
        1 / 255,
        0.0,
        ("0", "1", "2"),
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 2, 2)
    assert data.notes == (
        "inputs: uint8 from 196 to 255, taken for pixels and divided by 255",
        "warning: no validation row is of the class 0",
        "warning: no test row is of the class 0",
    )


def test_an_explicit_task_may_have_many_classes(tmp_path):
    """A guess stops at FEW; the labels of an npz file are labels."""
    labels = np.arange(3000) % 1500
    path = write(tmp_path / "rows", np.column_stack([labels, labels / 7]), "npy")
    assert read_table(path).task == "regression"
    data = read_table(path, task="classification")
    assert len(data.class_names) == 1500 and data.class_names[-1] == "1499"
    np.savez(tmp_path / "a.npz", inputs=labels[:, None] / 7, labels=labels)
    data = read_table(tmp_path / "a.npz")
    assert (data.task, len(data.class_names)) == ("classification", 1500)
    np.savez(tmp_path / "a.npz", inputs=labels[:, None] / 7, labels=labels % 2)
    assert read_table(tmp_path / "a.npz").task == "binary"


def test_targets_that_are_no_classes(tmp_path):
    path = write(tmp_path / "rows", np.column_stack([[0, 1.5, 2, 0], np.arange(4)]), "npy")
    with pytest.raises(ValueError, match="targets have 1.5, wanted whole numbers"):
        read_table(path, task="classification")
    path = write(tmp_path / "rows", np.column_stack([[3, 3, 3, 3], np.arange(4)]), "npy")
    with pytest.raises(ValueError, match=r"has 1 class \(3\), wanted two or more"):
        read_table(path, task="classification")


# --------------------------------------------------------------------------------- rows to predict


UNLABELLED = ("npy", False), ("csv", False), ("csv.gz", False)


@pytest.mark.parametrize("kind, labelled", [*((kind, True) for kind in KINDS), *UNLABELLED])
def test_inputs_with_and_without_targets(tmp_path, kind, labelled):
    rows = rows_of(30)
    path = write(tmp_path / "rows", rows if labelled else rows[:, 1:], kind)
    np.testing.assert_array_equal(inputs_of(path, 3), rows[:, 1:])


def test_images_are_still_inputs(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 2, 2), np.uint8))
    assert inputs_of(tmp_path / "a.npy", 4).shape == (5, 4)
    (tmp_path / "b.csv").write_text("1,2\n3,x\n")
    with pytest.raises(ValueError, match=r"b\.csv: column 1 has 'x' in line 2, wanted a number"):
        inputs_of(tmp_path / "b.csv", 2)
