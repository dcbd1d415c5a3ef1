"""One cell: the network that it says, trained as its settings say, tested once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.paper import runs
from benchmarks.paper.grids import ROWS, Cell
from benchmarks.paper.runs import build, run, teacher_cell, teacher_of
from benchmarks.paper.settings import settings_of
from minihash import Dropout, search
from minihash.search import split

CELL = Cell("mnist", 3, "HashNet", "1/8", 0, 4)
SETTINGS = replace(settings_of(CELL), epochs=2, input_dropout=0.0, dropout=0.0, learning_rate=0.02)


@pytest.mark.parametrize("layers", [3, 5])
@pytest.mark.parametrize("row", ROWS)
def test_networks_are_what_the_cell_says(tiny, row, layers):
    network, budget = build(replace(CELL, row=row, layers=layers), SETTINGS, tiny)
    weights = [layer for layer in network.layers if layer.params]
    hidden = 12 if ROWS[row].method not in ("NN", "DK") else weights[0].out_features
    assert [layer.in_features for layer in weights] == [20, *[hidden] * (layers - 2)]
    assert weights[-1].out_features == 3 and network.class_names == ("a", "b", "c")
    dense = 21 * 12 + (layers - 3) * 13 * 12 + 13 * 3
    assert budget == round(dense / 8)
    arguments = ROWS[row].arguments
    assert all(layer.signed == arguments.get("signed", True) for layer in weights if "HashNet" in row)
    if segments := arguments.get("segments"):
        buckets = weights[0].num_buckets
        assert weights[0].tile == min(-(-21 // segments), buckets // 12)


def test_expansion_widens_and_keeps_the_storage(tiny):
    cell = replace(CELL, compression="1", expansion=8)
    network, budget = build(cell, SETTINGS, tiny)
    assert network.layers[0].out_features == 32 and network.num_parameters == budget == 21 * 4 + 5 * 3


def test_a_run(tiny):
    record = run(CELL, SETTINGS, tiny)
    assert record == run(CELL, SETTINGS, tiny) | {"seconds": record["seconds"]}
    assert (record["stored"], record["budget"]) == (37, 36)  # each layer is rounded by itself
    assert record["multiplications"] == 12 * 20 + 3 * 12
    assert 0 <= record["test_error"] <= 100 and record["loss"] > 0
    longer = run(CELL, replace(SETTINGS, epochs=60), tiny)
    assert longer["test_error"] < 10 < record["test_error"] and longer["loss"] < record["loss"]
    assert run(replace(CELL, seed=5), SETTINGS, tiny)["loss"] != record["loss"]


@pytest.mark.parametrize(
    "change", [{"momentum": 0.5}, {"weight_decay": 0.1}, {"dropout": 0.5}, {"batch_size": 7}]
)
def test_every_setting_changes_the_training(tiny, change):
    assert run(CELL, replace(SETTINGS, **change), tiny)["loss"] != run(CELL, SETTINGS, tiny)["loss"]


def test_the_two_dropouts_and_the_schedule(tiny):
    network, _ = build(CELL, replace(SETTINGS, input_dropout=0.1, dropout=0.3), tiny)
    rates = [layer.rate for layer in network.layers if isinstance(layer, Dropout)]
    assert rates == pytest.approx([0.1, 0.3])
    settings = replace(SETTINGS, epochs=10)
    history = runs.train(network, tiny.train, settings, 0)
    assert max(history["learning_rate"]) <= settings.learning_rate
    assert history["learning_rate"][0] > 1.5 * settings.learning_rate / 25  # rising
    assert history["learning_rate"][-1] < 0.1 * settings.learning_rate  # fallen


def test_the_teacher_does_not_see_test_rows(tiny, tmp_path):
    other = replace(tiny, test=(tiny.test[0] // 2, (tiny.test[1] + 1) % 3))
    first, second = (
        teacher_of(CELL, SETTINGS, dataset, tmp_path / name)
        for name, dataset in (("a", tiny), ("b", other))
    )
    for name, array in first.params.items():
        np.testing.assert_array_equal(array, second.params[name])


def test_all_rows_but_the_test_rows_are_trained_on(tiny):
    inputs, labels = tiny.train_and_validation()
    network, _ = build(CELL, SETTINGS, tiny)
    runs.train(network, (inputs, labels), SETTINGS, CELL.seed)
    errors = network.predict(tiny.test[0]).argmax(axis=1) != tiny.test[1]
    assert run(CELL, SETTINGS, tiny)["test_error"] == round(100 * errors.mean(), 4)


def test_a_teacher_teaches(tiny, tmp_path):
    cell = replace(CELL, row="DK")
    teacher = teacher_of(cell, replace(SETTINGS, epochs=30), tiny, tmp_path / "teachers")
    assert [layer.out_features for layer in teacher.layers if layer.params] == [12, 3]
    alone = run(replace(cell, row="NN"), SETTINGS, tiny)["loss"]
    taught = [
        run(cell, replace(SETTINGS, teacher_weight=weight, temperature=temperature), tiny, teacher)["loss"]
        for weight, temperature in ((0.0, 3.0), (0.5, 3.0), (0.5, 6.0))
    ]
    assert taught[0] == pytest.approx(alone, rel=1e-4) and len(set(taught)) == 3


def test_a_teacher_is_trained_once_for_its_settings(tiny, tmp_path, monkeypatch):
    first = teacher_of(CELL, SETTINGS, tiny, tmp_path / "teachers")
    monkeypatch.setattr(search, "fit", None)  # cannot be called
    other = replace(CELL, row="HashNet_DK", compression="1/64")
    again = teacher_of(other, SETTINGS, tiny, tmp_path / "teachers")
    for name, array in first.params.items():
        np.testing.assert_array_equal(array, again.params[name])
    with pytest.raises(TypeError):
        teacher_of(CELL, replace(SETTINGS, epochs=3), tiny, tmp_path / "teachers")
    assert teacher_cell(CELL) == Cell("mnist", 3, "NN", "1", 0, 4)


def test_a_cell_of_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="^row is 'HashedNet', wanted one of 'RER', 'LRD'"):
        replace(CELL, row="HashedNet")


def test_the_validation_split_is_a_fifth_of_the_rows_that_are_not_test_rows(tiny):
    rows = split(tiny)
    (train, train_labels), (validation, labels) = rows.train, rows.validation
    assert (len(train), len(validation)) == (160, 40)
    rows = np.concatenate([np.column_stack([train, train_labels]), np.column_stack([validation, labels])])
    wanted = np.column_stack(tiny.train_and_validation())
    order = np.lexsort(rows.T), np.lexsort(wanted.T)
    np.testing.assert_array_equal(rows[order[0]], wanted[order[1]])
    np.testing.assert_array_equal(split(tiny).validation[0], validation)
