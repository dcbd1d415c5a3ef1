"""What `fit` and `evaluate` take: arrays, files and rows, trained on alike; weights of rows, of classes."""

from __future__ import annotations

import functools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from minihash import Network, datasets, evaluate, fit, mlp, optimizers, sources
from minihash.datasets import blocks
from minihash.datasets.csv_rows import convert
from minihash.datasets.rows import ArrayRows
from minihash.datasets.store import StoreWriter
from minihash.gradient_check import check_gradients
from minihash.quantization import quantize

ROWS = 200


@pytest.fixture
def rows() -> np.ndarray:
    """Rows of two numbers and a label that depends on both; the label first."""
    inputs = np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32)
    return np.column_stack([inputs.prod(axis=1) > 0, inputs]).astype(np.float32)


def write(path: Path, rows: np.ndarray, weighted: bool = False) -> Path:
    with open(path, "wb") as file:
        writer = StoreWriter(file, rows.shape[1] - 1 - weighted, weighted)
        writer.append(rows)
        writer.finish()
    return path


def trained(data, loss="softmax_cross_entropy", outputs=2, **options):
    network = mlp([2, 16, outputs], seed=1)
    options = {"batch_size": 32, "epochs": 3, "optimizer": optimizers.Adam(0.01)} | options
    history = fit(network, data, loss=loss, progress=False, **options)
    return network, history


def equal(first, second) -> bool:
    return all((first.params[name] == array).all() for name, array in second.params.items())


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error"])
def test_a_file_is_trained_on_as_its_rows_are(tmp_path, monkeypatch, rows, loss) -> None:
    """A store of one block in one buffer is shuffled as an array is: its rows, then nothing else."""
    outputs = 2 if loss.startswith("softmax") else 1
    targets = rows[:, 0].astype(np.int64) if outputs == 2 else rows[:, :1]
    np.save(tmp_path / "a.npy", rows)
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", fmt="%.9g")
    files = [write(tmp_path / "a.mh", rows), tmp_path / "a.npy", str(tmp_path / "a.csv")]
    found = [trained(file, loss, outputs, epochs=1) for file in files]
    assert all(equal(network, found[0][0]) for network, _ in found)

    rng = np.random.default_rng(0)
    rng.shuffle(np.arange(1))  # the one block
    order = rng.permutation(ROWS)
    monkeypatch.setattr(ArrayRows, "batches", functools.partialmethod(_in_order, order))
    network, history = trained((rows[:, 1:], targets), loss, outputs, epochs=1)
    assert equal(network, found[0][0]) and history["loss"] == found[0][1]["loss"]


def _in_order(self, order, batch_size, rng):
    for start in range(0, len(order), batch_size):
        yield self._take(order[start : start + batch_size])


def test_scores_of_a_file_are_those_of_its_rows(tmp_path, rows) -> None:
    path = write(tmp_path / "a.mh", rows)
    one_output = ("binary_cross_entropy", 1), ("mean_squared_error", 1)
    for loss, outputs in (("softmax_cross_entropy", 2), *one_output):
        network, _ = trained(path, loss, outputs)
        targets = rows[:, 0].astype(np.int64) if outputs == 2 else rows[:, 0]
        expected = evaluate(network, (rows[:, 1:], targets), loss=loss)
        assert evaluate(network, path, loss=loss) == pytest.approx(expected, rel=1e-6)
        assert evaluate(network, datasets.open_rows(path).part(0, 9), loss=loss) == pytest.approx(
            evaluate(network, (rows[:9, 1:], targets[:9]), loss=loss), rel=1e-6
        )


def test_a_network_learns_from_a_file_of_many_blocks(tmp_path, monkeypatch, rows) -> None:
    monkeypatch.setattr("minihash.datasets.store.BLOCK_ROWS", 16)
    monkeypatch.setattr(blocks, "BLOCKS", 3)
    path = write(tmp_path / "a.mh", rows)
    network, history = trained(path, "binary_cross_entropy", 1, epochs=60, validation=path)
    assert history["validation_error"][-1] < 0.05 and history["validation_auc"][-1] > 0.98
    again, _ = trained(path, "binary_cross_entropy", 1, epochs=60)
    assert equal(network, again)
    other, _ = trained(path, "binary_cross_entropy", 1, epochs=60, seed=1)
    assert not equal(network, other)


# -------------------------------------------------------------------------------------- weights


def test_a_weight_counts_as_often_as_the_row_is_there(rows) -> None:
    """One batch: integer weights are repetitions."""
    weight = np.random.default_rng(1).integers(0, 4, ROWS)
    inputs, targets = rows[:, 1:].astype(np.float64), rows[:, 0].astype(np.int64)
    options = {"batch_size": 10 * ROWS, "epochs": 5, "optimizer": optimizers.SGD(0.1)}
    first, history = trained((inputs, targets, weight), **options)
    options["optimizer"] = optimizers.SGD(0.1)
    repeated = inputs.repeat(weight, axis=0), targets.repeat(weight)
    second, expected = trained(repeated, **options)
    for name, array in second.params.items():
        np.testing.assert_allclose(first.params[name], array, rtol=1e-4, atol=1e-6)
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert evaluate(first, (inputs, targets, weight)) == pytest.approx(evaluate(first, repeated), rel=1e-5)


def test_weights_in_a_file(tmp_path, rows) -> None:
    weight = np.random.default_rng(1).random(ROWS).astype(np.float32)
    weighted = np.column_stack([rows[:, 0], weight, rows[:, 1:]])
    np.savetxt(tmp_path / "a.csv", weighted, delimiter=",", fmt="%.17g")  # means are those of the text
    convert(tmp_path / "a.csv", tmp_path / "b.mh", weight_column=1)
    path = write(tmp_path / "a.mh", weighted, weighted=True)
    assert path.read_bytes() == (tmp_path / "b.mh").read_bytes()
    options = {"batch_size": ROWS, "epochs": 3}
    network, _ = trained(path, **options)
    other, _ = trained((rows[:, 1:], rows[:, 0].astype(np.int64), weight), **options)
    for name, array in other.params.items():
        np.testing.assert_allclose(network.params[name], array, rtol=1e-3, atol=1e-5)
    assert not equal(network, trained((rows[:, 1:], rows[:, 0].astype(np.int64)), **options)[0])


def test_batches_without_weight_are_left_out(rows) -> None:
    weight = np.zeros(ROWS)
    weight[:3] = 1
    network, history = trained((rows[:, 1:], rows[:, 0].astype(np.int64), weight), batch_size=5, epochs=1)
    assert np.isfinite(history["loss"][0])
    kept = rows[:3]
    expected = evaluate(network, (kept[:, 1:], kept[:, 0].astype(np.int64)))
    assert evaluate(network, (rows[:, 1:], rows[:, 0].astype(np.int64), weight)) == pytest.approx(expected)


def test_balanced_classes_count_the_same(rows) -> None:
    inputs, targets = rows[:, 1:], rows[:, 0].astype(np.int64)
    counts = np.bincount(targets)
    expected = {label: ROWS / (2 * count) for label, count in enumerate(counts)}
    first, _ = trained((inputs, targets), class_weight="balanced")
    second, _ = trained((inputs, targets), class_weight=expected)
    third, _ = trained((inputs, targets, np.array([expected[label] for label in targets])))
    assert equal(first, second) and equal(first, third)
    assert not equal(first, trained((inputs, targets))[0])
    binary, ways = ("binary_cross_entropy", 1), ("balanced", expected)
    first, second = (trained((inputs, targets), *binary, class_weight=how)[0] for how in ways)
    assert equal(first, second)


def test_a_class_without_rows_has_weight_1(rows) -> None:
    found = sources.source(
        "train", (rows[:, 1:], rows[:, 0].astype(np.int64)), mlp([2, 5]), "softmax_cross_entropy", "balanced"
    )
    assert found.class_weight is not None and list(found.class_weight[2:]) == [1, 1, 1]


# -------------------------------------------------------------------------------------- refused


def refused(match: str, data, loss="softmax_cross_entropy", outputs=2, **options) -> None:
    with pytest.raises(ValueError, match=match):
        trained(data, loss, outputs, **options)


def test_what_does_not_fit_is_refused(tmp_path, rows) -> None:
    inputs, targets = rows[:, 1:], rows[:, 0].astype(np.int64)
    path = write(tmp_path / "a.mh", rows)
    with pytest.raises(ValueError, match=r"a\.mh has 200 rows of 2 features, wanted one at least, of 3$"):
        fit(mlp([3, 2]), path)
    with pytest.raises(ValueError, match="wanted one at least, of 2$"):
        fit(mlp([2, 2]), datasets.open_rows(path).part(5, 5))
    rows[7, 0] = 2
    other = write(tmp_path / "b.mh", rows)
    refused(r"b\.mh has targets from 0 to 2, wanted labels, whole numbers from 0 to less than 2$", other)
    refused(r"b\.mh has targets from 0 to 2, wanted numbers from 0 to 1$", other, "binary_cross_entropy", 1)
    no_teacher = r"^loss is 'distillation' and .*b\.mh has no outputs of a teacher, wanted arrays$"
    refused(no_teacher, other, "distillation")
    refused("^train is a tuple, wanted a pair .inputs, targets., or three", (inputs,))
    refused("^train sample_weight is -1.0 in row 0, wanted a weight >= 0", (inputs, targets, -np.ones(ROWS)))
    refused(r"^train sample_weight has shape \(3,\) \(float64\), wanted", (inputs, targets, np.ones(3)))
    refused("^class_weight is 'even', wanted one of 'balanced'$", (inputs, targets), class_weight="even")
    refused("^class_weight's label is 2, wanted 0 <=", (inputs, targets), class_weight={2: 1.0})
    refused("^class_weight of 1 is -1, wanted 0 <=", (inputs, targets), class_weight={1: -1})
    message = "^class_weight is for classifiers, and loss is 'mean_squared_error'$"
    refused(message, (inputs, rows[:, :1]), "mean_squared_error", 1, class_weight="balanced")
    several = np.stack([targets, targets], axis=1)
    message = "^class_weight is for two classes, and network has 2 outputs, wanted one$"
    refused(message, (inputs, several), "binary_cross_entropy", 2, class_weight="balanced")
    with pytest.raises(FileNotFoundError):
        fit(mlp([2, 2]), tmp_path / "none.mh")


def test_labels_of_many_classes_take_the_memory_of_the_labels(rows) -> None:
    """Outputs of fifty thousand rows and two thousand classes are 400 MB; no label needs them."""
    labels = np.random.default_rng(0).integers(0, 2000, 50_000)
    inputs = np.zeros((len(labels), 2), np.float32)
    network = mlp([2, 2000])
    tracemalloc.start()
    sources.source("train", (inputs, labels), network, "softmax_cross_entropy")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    labels[40_000] = 2000
    with pytest.raises(ValueError, match="^train targets is 2000 in row 40000, wanted a label"):
        sources.source("train", (inputs, labels), network, "softmax_cross_entropy")


def _own_loss(outputs, targets, weight=None):
    return 0.0, np.zeros_like(outputs)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", _own_loss])
def test_masks_are_not_dropped(rows, loss) -> None:
    inputs, targets, weight = rows[:, 1:], rows[:, 0].astype(np.int64), np.ones(ROWS)
    trained((np.ma.array(inputs), np.ma.array(targets), np.ma.array(weight)), loss, epochs=1)
    masked = [np.ma.array(array) for array in (inputs, targets, weight)]
    for array in masked:
        array[3] = np.ma.masked
    wanted = "masked entries, wanted none: fill them or leave out their rows$"
    refused(f"^train inputs has 2 {wanted}", (masked[0], targets), loss)
    refused(f"^train targets has 1 {wanted}", (inputs, masked[1]), loss)
    refused(f"^train sample_weight has 1 {wanted}", (inputs, targets, masked[2]), loss)
    with pytest.raises(ValueError, match=f"^data inputs has 2 {wanted}"):
        evaluate(mlp([2, 2]), (masked[0], targets), loss=loss)
    for call in (mlp([2, 2]).predict, mlp([2, 2]).forward, mlp([2, 2]).layers[0].forward):
        with pytest.raises(ValueError, match=f"^inputs has 2 {wanted}"):
            call(masked[0])


def test_masks_are_not_dropped_where_rows_and_networks_are_made(tmp_path, rows) -> None:
    inputs, targets, weight = rows[:, 1:], rows[:, 0], np.ones(ROWS)
    given = (inputs, targets, weight, rows, np.ones(2), np.arange(3))
    masked = [np.ma.array(array, mask=np.arange(array.size).reshape(array.shape) == 1) for array in given]
    layer = mlp([2, 2], num_buckets=3).layers[0]
    quantized = quantize(Network([layer]), 8).layers[0]
    with open(tmp_path / "a.mh", "wb") as file:
        writer = StoreWriter(file, 2)
        for name, call in {
            "inputs": lambda: ArrayRows(masked[0], targets),
            "targets": lambda: ArrayRows(inputs, masked[1]),
            "weight": lambda: ArrayRows(inputs, targets, masked[2]),
            "rows": lambda: writer.append(masked[3]),
            "input_shift": lambda: mlp([2, 2], input_shift=masked[4]),
            "input_scale": lambda: mlp([2, 2], input_scale=masked[4]),
            "codes": lambda: quantized.set_codes(masked[5], 1.0),
        }.items():
            with pytest.raises(ValueError, match=f"^{name} has 1 masked entries, wanted none: fill them or"):
                call()
        writer.append(np.ma.array(rows))  # a mask of nothing
        assert writer.rows == ROWS and len(ArrayRows(np.ma.array(inputs), targets)) == ROWS
    for target in (layer, mlp([2, 2]), lambda inputs: (inputs.sum(), np.ones_like(inputs))):
        with pytest.raises(ValueError, match="^inputs has 1 masked entries, wanted none: fill them or"):
            check_gradients(target, masked[0])


@pytest.mark.parametrize("loss, outputs", [("softmax_cross_entropy", 2), ("mean_squared_error", 1)])
def test_missing_values_of_frames_are_told_in_one_line(rows, loss, outputs) -> None:
    inputs, targets = rows[:, 1:], rows[:, 0].astype(np.int64)
    missing = inputs.astype(object)
    missing[3, 1] = None  # as pandas' NA: an object
    cast = r"^train inputs has dtype object, wanted real numbers: inputs\.astype\(float\)$"
    refused(cast, (missing, targets), loss, outputs)
    unknown = targets.astype(object)
    unknown[3] = None
    refused("^train targets has dtype object, wanted ", (inputs, unknown), loss, outputs)
    weight = np.ones(ROWS).astype(object)
    refused("^train sample_weight has .* .object., wanted", (inputs, targets, weight), loss, outputs)


def test_damage_in_the_middle_ends_training_with_the_files_name(tmp_path, rows) -> None:
    path = write(tmp_path / "a.mh", rows)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    refused(r"a\.mh: block 0 of 1 is damaged", path)


def test_scores_of_several_labels_a_row() -> None:
    rng = np.random.default_rng(0)
    inputs, labels, weight = rng.normal(size=(40, 2)), rng.integers(0, 2, (40, 3)), rng.random(40)
    network = mlp([2, 3], seed=1)
    scores = evaluate(network, (inputs, labels, weight), loss="binary_cross_entropy")
    wrong = ((network.predict(inputs) > 0) != labels).mean(axis=1)
    assert scores["error"] == pytest.approx(weight @ wrong / weight.sum()) and 0 < scores["auc"] < 1
