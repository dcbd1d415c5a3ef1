"""What float32 would lose is refused by name; statistics and shifts are taken before anything is rounded."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minihash import evaluate, fit, mlp
from minihash.datasets.csv_rows import convert
from minihash.datasets.file_dataset import read_table
from minihash.datasets.files import open_rows
from minihash.datasets.inputs import Inputs
from minihash.datasets.labelled import read_labelled
from minihash.datasets.rows import LOST, ArrayRows, Statistics, check_rounding
from minihash.datasets.store import Store, StoreWriter

RNG = np.random.default_rng(0)
TIME = 1.7e9 + RNG.uniform(0, 60, 500)  # seconds, of half a minute: the next float32 is 128 away
LABEL = np.arange(500) % 2
ADVICE = "and float32 would round it by .*: subtract 1.7e+09 first"


def csv(path, *columns, header=""):
    np.savetxt(path, np.column_stack(columns), delimiter=",", fmt="%.17g", header=header, comments="")
    return path


def refused(name, read, *args, **options):
    message = re.escape(name) + r" has the standard deviation 17\.\d around 17000000\d\d\.?\d*, "
    with pytest.raises(ValueError, match=message + ADVICE.replace("+", r"\+") + "$"):
        read(*args, **options)


def test_a_column_of_a_csv_file_is_named_as_the_file_counts_it(tmp_path):
    path = csv(tmp_path / "a.csv", LABEL, RNG.normal(size=500), TIME)
    refused("a.csv: column 2", convert, path, tmp_path / "a.mh")
    refused("a.csv: column 2", open_rows, path)
    refused("a.csv: column 2", read_table, path)
    assert not (tmp_path / "a.mh").exists()
    path = csv(tmp_path / "a.csv", TIME, RNG.normal(size=500), LABEL, header="when,what,y")
    options = {"header": True, "label_column": -1}
    refused("a.csv: column 0 (when)", open_rows, path, **options)
    refused("a.csv: column 0 (when)", open_rows, path, header=True)  # a target whose spread is lost
    assert convert(path, tmp_path / "a.mh", header=True, label_column=2, weight_column=0).rows == 500


def test_what_is_advised_helps(tmp_path):
    values = 1234567891.5 + RNG.uniform(0, 60, 500)
    with pytest.raises(ValueError, match=r"subtract (\S+) first$") as caught:
        open_rows(csv(tmp_path / "a.csv", LABEL, values))
    middle = float(re.search(r"subtract (\S+) first", str(caught.value))[1])
    rows = open_rows(csv(tmp_path / "a.csv", LABEL, values - middle))
    assert rows.statistics.std[0] == pytest.approx(values.std(), rel=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files(tmp_path, order):
    array = np.column_stack([LABEL, RNG.normal(size=500), TIME])
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))
    refused("a.npy: column 2", read_table, tmp_path / "a.npy")
    refused("a.npy: column 2", fit, mlp([2, 2]), tmp_path / "a.npy", progress=False)
    refused("a.npy: column 2", evaluate, mlp([2, 2]), tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", array.astype(np.int64))
    refused("a.npy: column 2", read_table, tmp_path / "a.npy")


def test_npz_files_and_stores(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.column_stack([LABEL, TIME]), labels=LABEL)
    refused("a.npz: column 1 of inputs", read_labelled, tmp_path / "a.npz")
    refused("a.npz: column 1 of inputs", read_table, tmp_path / "a.npz")
    with open(tmp_path / "a.mh", "wb") as file:
        writer = StoreWriter(file, 1)
        writer.append(np.column_stack([LABEL, TIME]))
        refused("column 1", writer.finish)


@pytest.mark.parametrize(
    "values",
    [
        np.full(500, 0.1),
        np.full(500, 1.7e9 + 1),
        1e6 + LABEL,
        2.0**30 + 128 * LABEL,
        np.where(LABEL, 1e-30, 0),
        RNG.normal(size=500) * 1e30,
        np.where(np.arange(500) < 9, TIME, 0),
    ],
    ids=["constant", "large constant", "1e6 and one more", "on the grid", "tiny", "huge", "some zero"],
)
def test_what_float32_holds_is_taken(tmp_path, values):
    """A constant has no spread, and its standard deviation is 0, however it is rounded."""
    rows = open_rows(csv(tmp_path / "a.csv", LABEL, values))
    np.testing.assert_allclose(rows.statistics.std, values.std() if np.ptp(values) else 0, rtol=1e-9)
    np.testing.assert_allclose(rows.statistics.mean, values.mean(), rtol=1e-12)
    np.save(tmp_path / "a.npy", np.column_stack([LABEL, values]))
    assert read_table(tmp_path / "a.npy").input_scale == pytest.approx(1 / (rows.statistics.std or 1))


def test_the_threshold():
    """The error of rounding to a grid of step u is u / sqrt(12), root mean square."""
    step, kept, lost = 128.0, 0.9, 1.1
    for factor, fits in ((kept, True), (lost, False)):
        std = step / np.sqrt(12) / LOST / factor
        values = 1.7e9 + std * np.sqrt(3) * RNG.uniform(-1, 1, (20_000, 1))
        found = Statistics(1)
        for block in np.array_split(values, 7):
            found.add(block, block[:, 0])
        assert found.std[0] == pytest.approx(values.std())
        assert found.rounding[0] == pytest.approx(step / np.sqrt(12), rel=0.02)
        if fits:
            found.check_rounding(["it"])
        else:
            with pytest.raises(ValueError, match="^it has the standard deviation"):
                found.check_rounding(["it"])


def test_statistics_of_a_csv_file_are_those_of_its_text(tmp_path):
    """An offset of a thousand standard deviations: in float32 the mean would be right to 1e-5 of one."""
    values = 1e3 + RNG.normal(size=500)
    found = open_rows(csv(tmp_path / "a.csv", LABEL, values)).statistics
    assert found.mean[0] == pytest.approx(values.mean(), rel=1e-14)
    assert found.std[0] == pytest.approx(values.std(), rel=1e-12)


def test_a_store_of_float32_is_the_one_it_was(tmp_path):
    """Its bytes, to the last one of the index, are those that earlier versions wrote."""
    rows = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
    with open(tmp_path / "a.mh", "wb") as file:
        writer = StoreWriter(file, 3)
        writer.append(rows)
        writer.finish()
    found = Statistics(3)  # block after block, of the features alone
    for first in range(0, len(rows), 8192):
        found.add(rows[first : first + 8192, 1:], rows[first : first + 8192, 0])
    assert (Store(tmp_path / "a.mh").statistics.mean == found.mean).all()
    assert (tmp_path / "a.mh").read_bytes()[16:][: rows.nbytes] == rows.tobytes()


def test_raw_rows_are_shifted_before_they_are_rounded(tmp_path):
    """A network that was given the shift predicts a file as it predicts the differences themselves."""
    other = RNG.normal(size=500)
    network = mlp([2, 8, 1], seed=1, input_shift=[1.7e9, 0], input_scale=[0.02, 1])
    plain = mlp([2, 8, 1], seed=1, input_scale=[0.02, 1])
    expected = plain.predict(np.column_stack([TIME - 1.7e9, other]).astype(np.float32))
    np.save(tmp_path / "a.npy", np.column_stack([TIME, other]))
    np.save(tmp_path / "b.npy", np.column_stack([TIME, LABEL, other]))
    csv(tmp_path / "a.csv", LABEL, TIME, other)
    for name, label_column in (("a.npy", 0), ("b.npy", 1), ("a.csv", 0)):
        rows = Inputs(tmp_path / name, network, target=str(label_column))
        found = np.concatenate([network.predict(chunk.inputs) for chunk in rows])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("label", [0, 1, -1])
def test_statistics_of_float32_npy_files_keep_their_bits(tmp_path, order, label):
    """A checkpoint holds the network's scaling: other last bits, and no older training could be resumed."""
    rows = np.random.default_rng(0).normal(size=(20_000, 9)).astype(np.float32) * 7 + 3
    np.save(tmp_path / "a.npy", np.asarray(rows, order=order))
    found = open_rows(tmp_path / "a.npy", label_column=label).statistics
    expected = ArrayRows(np.delete(rows, label, axis=1), rows[:, label]).statistics
    assert (found.mean == expected.mean).all() and (found.std == expected.std).all()
    if label == 0:  # as an earlier version printed it
        assert (found.mean[0].hex(), found.std[0].hex()) == ("0x1.7cc4916c32ca6p+1", "0x1.c162d274ef982p+2")


STAMPS = RNG.normal(1.7e9, 1000, 300)  # of an hour; float32 leaves some forty of 300 numbers


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_arrays_that_are_trained_on(dtype):
    inputs = np.column_stack([RNG.normal(0, 100, 300), STAMPS]).astype(dtype)
    message = r"^column 1 of train inputs has the standard deviation \S+ around 1[67]\d+\.?\d*, and float32 "
    options = {"epochs": 1, "progress": False}
    with pytest.raises(ValueError, match=message + r"would round it by 3\d\.?\d*: subtract 1\.7e\+09 first$"):
        fit(mlp([2, 2]), (inputs, LABEL[:300]), **options)
    less = r"^column 1 of train inputs less input_shift has .* around -1[67]\d{8}"
    with pytest.raises(ValueError, match=less):
        fit(mlp([2, 2], input_shift=[0, 3.4e9]), (inputs, LABEL[:300]), **options)
    with pytest.raises(ValueError, match=message):
        fit(mlp([2, 2]), ArrayRows(inputs, LABEL[:300]), **options)
    scale = [0.01, 0.001]
    fit(mlp([2, 2], input_shift=[0, 1.7e9], input_scale=scale), (inputs, LABEL[:300]), **options)
    fit(mlp([2, 2], dtype="float64", input_scale=scale[1] * 1e-6), (inputs, LABEL[:300]), **options)
    evaluate(mlp([2, 2]), (inputs[:2], LABEL[:2]))  # two rows that are close say nothing of the others


def test_targets_that_are_trained_on():
    inputs = RNG.normal(size=(300, 2))
    with pytest.raises(ValueError, match="^column 0 of train targets has the standard deviation"):
        fit(mlp([2, 1]), (inputs, STAMPS[:, None]), loss="mean_squared_error", epochs=1, progress=False)


@pytest.mark.parametrize("shift", [0.0, 1.7e9])
def test_the_look_at_the_ends_misses_no_column(shift):
    """The quick look, which spares statistics, at columns on either side of the limit."""
    grid = 128 / np.sqrt(12) / LOST
    for rows in (2, 3, 40, 20_000):
        values = 1.7e9 + RNG.normal(0, 1, (rows, 60)) * grid * np.geomspace(0.01, 1000, 60)
        values[:, :9] = values[0, 0] + RNG.normal(0, 100, (rows, 9)) * (np.arange(rows) < 2)[:, None]
        found = Statistics(60)
        found.add(values - shift, np.zeros(rows))
        wanted = np.flatnonzero((found.rounding > LOST * found.std) & (found.std > 0))
        if len(wanted):
            with pytest.raises(ValueError, match=f"^column {wanted[0]} of it has"):
                check_rounding("it", values, shift)
        for column in set(range(60)) - set(wanted.tolist()):
            check_rounding("it", values[:, [column]], shift)
        assert rows == 2 or shift or len(wanted)


def test_what_float32_holds_has_no_statistics(monkeypatch):
    """They take a while, and usual data lose nothing."""
    monkeypatch.setattr(Statistics, "add", None)
    for values in (RNG.normal(1, 1, (20_000, 3)), np.arange(600).reshape(300, 2), np.ones((5, 3))):
        check_rounding("it", values)
