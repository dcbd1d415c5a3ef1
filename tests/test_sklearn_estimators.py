"""minihash.sklearn: what its estimators do."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_sklearn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from test_sklearn import BENIGN, CANCER, CULTIVAR, DIABETES, FEW, WINE, same_weights

import minihash
from minihash.schema import Schema
from minihash.sklearn import HashedMLPClassifier, HashedMLPRegressor

PROGRESSION = (test_sklearn.PROGRESSION - 150) / 80
SPECTRA, LABELS = make_multilabel_classification(150, 10, n_classes=4, random_state=0)
RNG = np.random.default_rng(0)
INPUTS, TARGETS = RNG.normal(size=(24, 4)), RNG.normal(size=24)
CLASSES = np.digitize(TARGETS, [-0.5, 0.5])


def classifier(*sizes: int, **params: Any) -> HashedMLPClassifier:
    return HashedMLPClassifier(**{**FEW, "hidden_layer_sizes": sizes or (100,), **params})


def regressor(*sizes: int, **params: Any) -> HashedMLPRegressor:
    return HashedMLPRegressor(**{**FEW, "hidden_layer_sizes": sizes or (100,), **params})


# classes


def test_two_classes_have_one_output() -> None:
    names = np.array(["malignant", "benign"])[BENIGN]
    model = classifier().fit(CANCER, names)
    assert model.n_outputs_ == model.network_.out_features == 1 and model.n_layers_ == 3
    assert list(model.classes_) == ["benign", "malignant"] == list(model.network_.class_names)
    logits, probabilities = model.decision_function(CANCER), model.predict_proba(CANCER)
    assert logits.shape == (569,) and probabilities.shape == (569, 2)
    assert (model.predict(CANCER) == model.classes_[(logits > 0).astype(int)]).all()
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-9)
    assert model.score(CANCER, names) > 0.97


def test_more_classes_have_a_softmax() -> None:
    model = classifier().fit(WINE, CULTIVAR)
    assert model.n_outputs_ == 3 and model.decision_function(WINE).shape == (178, 3)
    probabilities = model.predict_proba(WINE)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.log(probabilities), model.predict_log_proba(WINE), rtol=1e-9, atol=1e-12)
    assert (model.predict(WINE) == probabilities.argmax(axis=1)).all()


def test_log_probabilities_are_finite() -> None:
    model = classifier().fit(CANCER, BENIGN)
    model.network_.params["2.weight"][...] *= 1e4
    assert model.predict_proba(CANCER).min() == 0 and np.isfinite(model.predict_log_proba(CANCER)).all()


def test_labels_have_a_sigmoid_each() -> None:
    model = classifier(max_iter=60).fit(SPECTRA, LABELS)
    assert model.n_outputs_ == 4 and list(model.classes_) == [0, 1, 2, 3]
    predicted = model.predict(SPECTRA)
    assert predicted.shape == LABELS.shape and (predicted == (model.predict_proba(SPECTRA) > 0.5)).all()
    assert (predicted == LABELS).mean() > 0.8
    dense = model.predict_proba(SPECTRA)
    assert (model.fit(SPECTRA, sparse.csr_array(LABELS)).predict_proba(SPECTRA) == dense).all()


@pytest.mark.parametrize("labels", [["b", "a", "c"], [True, False, True], [2.0, 7.0, -1.0], [10, 30, 20]])
def test_predictions_are_of_the_kind_of_the_labels(labels: list[Any]) -> None:
    y = np.array(labels)[CULTIVAR]
    for targets in (y, y.tolist(), *([y.astype(object)] if y.dtype.kind == "U" else [])):
        predicted = classifier().fit(WINE, targets).predict(WINE)
        assert set(predicted.tolist()) <= set(labels) and (predicted == y).mean() > 0.9


def test_class_weights() -> None:
    rare = np.flatnonzero((CULTIVAR != 0) | (np.arange(178) < 3))
    X, y = WINE[rare], np.array(["rare", "b", "c"])[CULTIVAR[rare]]
    counts = {label: (y == label).sum() for label in ("rare", "b", "c")}
    explicit = {label: len(y) / 3 / count for label, count in counts.items()}
    balanced = classifier(class_weight="balanced").fit(X, y)
    assert same_weights(balanced, classifier(class_weight=explicit).fit(X, y))
    assert not same_weights(balanced, classifier().fit(X, y))
    one = classifier(class_weight={"rare": 5}, standardize=False).fit(X, y)
    weight = np.where(y == "rare", 5.0, 1.0)  # of rows, which count in standardization too
    assert same_weights(one, classifier(standardize=False).fit(X, y, weight))
    some = y != "rare"  # a fold may lack a class that has a weight, but a wrong name is said
    classifier(class_weight=explicit).fit(X[some], y[some])
    with pytest.raises(ValueError, match="class_weight is of 'typo', wanted one of classes_"):
        classifier(class_weight={"typo": 5}).fit(X, y)


# the network


def test_the_network_takes_raw_rows(tmp_path: Any) -> None:
    model = classifier().fit(WINE, CULTIVAR)
    minihash.save(model.network_, tmp_path / "wine.safetensors")
    network = minihash.load(tmp_path / "wine.safetensors")
    assert (network.predict(WINE) == model.decision_function(WINE)).all()
    scaler = StandardScaler().fit(WINE)
    np.testing.assert_allclose(network.input_shift, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(network.input_scale, 1 / scaler.scale_, rtol=1e-12)


def test_standardize_off() -> None:
    network = classifier(standardize=False).fit(WINE / 100, CULTIVAR).network_
    assert network.input_scale == 1 and network.input_shift == 0


@pytest.mark.parametrize("params, X", [
    ({}, np.float32(16000) + np.linspace(-0.015, 0.015, 64, dtype=np.float32)),
    ({"dtype": "float32"}, 1.7e9 + 1000 * np.linspace(-1, 1, 64)),
    ({}, 0.1 + 1e-15 * np.arange(64)),
])
def test_a_small_spread_is_scaled(params: dict, X: np.ndarray) -> None:
    """What the type of X holds is there to learn from, far from 0 too."""
    y = np.linspace(-1, 1, 64)
    model = regressor(20, **params, learning_rate_init=0.02, max_iter=60).fit(X[:, None], y)
    spread = X.astype(np.float64).std()
    np.testing.assert_allclose(model.network_.input_scale, 1 / spread, rtol=0.05)  # of a mean that is rounded
    assert model.score(X[:, None], y) > 0.9


def test_rows_without_weight_do_not_make_a_spread() -> None:
    X, weight = np.full((30, 1), 0.3), np.ones(30)
    X[4], weight[4] = 5, 0
    assert regressor(5, max_iter=1).fit(X, X[:, 0], weight).network_.input_scale == 1


def test_the_network_knows_its_task_and_its_features(tmp_path: Any) -> None:
    names = ["left", "right"]
    frame = pd.DataFrame(INPUTS[:, :2], columns=names)
    for model, y, task in (
        (classifier(5), CLASSES > 1, "binary"),
        (classifier(5), CLASSES, "classification"),
        (classifier(5), np.eye(3, dtype=int)[CLASSES], "multilabel"),
        (regressor(5), TARGETS, "regression"),
    ):
        model.set_params(max_iter=1, warm_start=True, standardize=task != "binary").fit(frame, y)
        wanted = Schema(task, feature_names=names, standardized=task != "binary")
        assert model.network_.schema == wanted
        assert model.fit(frame, y).network_.schema == wanted
        minihash.save(model.network_, tmp_path / "model.safetensors")
        assert minihash.load(tmp_path / "model.safetensors").schema == wanted
    X = INPUTS[:, :2]
    assert regressor(5, max_iter=1).fit(X, TARGETS).network_.schema == Schema("regression", standardized=True)


def test_constant_features_are_shifted_only() -> None:
    X = np.tile([0.1, 1e-320, 3e7, 0], (1000, 1))
    X[:, 3] = RNG.normal(size=1000)
    network = classifier(8, max_iter=1).fit(X, X[:, 3] > 0).network_
    assert list(network.input_scale[:3]) == [1, 1, 1] and np.allclose(network.input_shift[:3], X[0, :3])


@pytest.mark.parametrize("compression, stored", [("auto", 1 / 8), (0.5, 0.5), (None, 1)])
def test_compression(compression: Any, stored: float) -> None:
    network = classifier(compression=compression, max_iter=1).fit(WINE, CULTIVAR).network_
    assert network.num_parameters / network.num_virtual == pytest.approx(stored, rel=0.01)
    assert "Hashed" in repr(network) or compression is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compression", ["auto", None])
def test_memory_bytes(compression: Any, dtype: str) -> None:
    model = classifier(compression=compression, memory_bytes=1000, dtype=dtype, max_iter=1)
    assert 970 <= model.fit(WINE, CULTIVAR).network_.nbytes <= 1000


DTYPES = ("f2 f4", "f4 f4", "f8 f8", "? f4", "u1 f4", "i2 f4", "i4 f8")


@pytest.mark.parametrize("given, wanted", [pair.split() for pair in DTYPES])
def test_dtype_is_that_which_holds_the_numbers(given: str, wanted: str) -> None:
    X = (INPUTS > 0).astype(given)
    model = classifier(8, max_iter=1).fit(X, CLASSES)
    assert model.network_.dtype == wanted == model.predict_proba(X).dtype
    assert classifier(8, max_iter=1, dtype=np.float32).fit(X, CLASSES).network_.dtype == np.float32


def test_architecture() -> None:
    model = classifier(12, 6, activation="logistic", tile=3, dropout=(0.1, 0.2), max_iter=1)
    found = repr(model.fit(WINE, CULTIVAR).network_.layers)
    assert found.count("Dropout(dtype='float64', rate=0.2") == 2 and "rate=0.1" in found
    assert found.count("Sigmoid") == 2 and found.count("tile=3,") == 3 and model.n_layers_ == 4
    assert len(HashedMLPClassifier(5, max_iter=1).fit(WINE, CULTIVAR).network_.layers) == 3
    assert len(HashedMLPClassifier((), max_iter=1).fit(WINE, CULTIVAR).network_.layers) == 1


def tiles_of(model: Any) -> list[int]:
    return [layer.tile for layer in model.network_.layers if layer.params]


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("tile, tiles", [(1, [1, 1]), (5, [5, 5]), (np.int64(5), [5, 5]), ("auto", [8, 13])])
def test_tiles(make: Any, tile: Any, tiles: list[int]) -> None:
    """The longest ones that are "auto": min(⌈31 / 4⌉, ⌊388 / 16⌋), and min(⌈101 / 4⌉, 13) of 13 weights."""
    model = make(tile=tile, max_iter=1)
    twin = clone(model)
    assert twin.get_params()["tile"] is tile and twin.get_params() == model.get_params()
    y = BENIGN if make is classifier else CANCER[:, 0]
    assert tiles_of(model.fit(CANCER, y)) == tiles == tiles_of(twin.fit(CANCER, y))
    assert same_weights(model, twin) and model.get_params()["tile"] is tile


def test_tiles_learn_and_can_be_chosen() -> None:
    model = classifier(tile="auto").fit(CANCER, BENIGN)
    assert model.score(CANCER, BENIGN) > 0.97
    search = GridSearchCV(classifier(max_iter=2), {"tile": [1, 5, "auto"]}, cv=2).fit(CANCER, BENIGN)
    wanted = {1: [1, 1], 5: [5, 5], "auto": [8, 13]}
    assert tiles_of(search.best_estimator_) == wanted[search.best_params_["tile"]]
    assert tiles_of(model.set_params(tile=5).fit(CANCER, BENIGN)) == [5, 5]


# training


def test_training_stops_where_nothing_improves() -> None:
    model = classifier(tol=10.0, n_iter_no_change=3, max_iter=50).fit(WINE, CULTIVAR)
    assert model.n_iter_ == len(model.loss_curve_) == 5  # the first epoch improves on nothing
    assert model.loss_ == model.loss_curve_[-1] and model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is None and model.best_validation_score_ is None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("matrix", [np.asarray, sparse.csr_array])
def test_early_stopping_keeps_the_best(matrix: Any, weighted: bool) -> None:
    X, y, weight = matrix(WINE / WINE.max(axis=0)), CULTIVAR, 1.0 + np.arange(178) if weighted else None
    model = classifier(early_stopping=True, max_iter=400, validation_fraction=0.25).fit(X, y, weight)
    scores = model.validation_scores_
    assert model.n_iter_ == len(scores) < 400 and model.best_validation_score_ == max(scores) > 0.8
    best = 1 + scores.index(max(scores))
    again = classifier(early_stopping=True, max_iter=best, validation_fraction=0.25).fit(X, y, weight)
    assert same_weights(model, again)


def test_rows_are_held_out_of_each_class_alike() -> None:
    from minihash.datasets.rows import Batch
    from minihash.sklearn.inputs import split

    y = np.repeat([0, 1, 2], [60, 30, 10])
    rng = np.random.default_rng(0)
    train, held_out = split(Batch(np.arange(100)[:, None], y), True, 0.2, rng)
    assert np.bincount(held_out.targets).tolist() == [12, 6, 2]
    assert sorted([*train.inputs[:, 0], *held_out.inputs[:, 0]]) == list(range(100))
    assert not (np.diff(held_out.inputs[:, 0]) == 5).all()


def test_scores_are_scikit_learns() -> None:
    weight = 1.0 + np.arange(len(CANCER))
    model = classifier(max_iter=2).fit(CANCER, BENIGN)
    expected = accuracy_score(BENIGN, model.predict(CANCER), sample_weight=weight)
    assert model._score(model.network_.predict(CANCER), BENIGN, weight) == pytest.approx(expected, rel=1e-12)
    several, weight = np.column_stack([PROGRESSION, PROGRESSION**2]), weight[:442]
    fitted = regressor().fit(DIABETES, several)
    expected = r2_score(several, fitted.predict(DIABETES), sample_weight=weight)
    found = fitted._score(fitted.network_.predict(DIABETES), several, weight)
    assert found == pytest.approx(expected, rel=1e-9)


def test_warm_start_goes_on() -> None:
    model = classifier(8, warm_start=True, max_iter=3).fit(WINE, CULTIVAR)
    network, before = model.network_, model.network_.params["0.weight"].copy()
    losses = list(model.loss_curve_)
    model.fit(WINE, CULTIVAR)
    assert model.network_ is network and (network.params["0.weight"] != before).any()
    assert model.loss_curve_[:3] == losses and len(model.loss_curve_) == 6 and model.n_iter_ == 3
    assert model.loss_curve_[3] < losses[0]
    with pytest.raises(ValueError, match="y has the class 'x', wanted one of classes_"):
        model.fit(WINE, np.where(CULTIVAR, "x", "y"))
    assert model.set_params(warm_start=False).fit(WINE, CULTIVAR).network_ is not network


def test_partial_fit_learns_in_parts() -> None:
    model = classifier(standardize=False)
    X = StandardScaler().fit_transform(WINE)
    for epoch in range(30):
        for part in np.array_split(np.arange(178), 3):  # in order: no part has all classes
            model.partial_fit(X[part], CULTIVAR[part], classes=[0, 1, 2] if epoch == 0 else None)
    assert model._optimizer.steps == 90 and model.n_iter_ == 1 and len(model.loss_curve_) == 90
    assert model.score(X, CULTIVAR) > 0.95
    model.set_params(learning_rate_init=0.5).partial_fit(X, CULTIVAR)
    assert model._optimizer.learning_rate == 0.5
    labelled = classifier().partial_fit(SPECTRA, LABELS).partial_fit(SPECTRA[:3], LABELS[:3])
    assert labelled.predict(SPECTRA).shape == LABELS.shape
    targets = regressor().partial_fit(DIABETES, PROGRESSION).partial_fit(DIABETES[:1], PROGRESSION[:1], [2.0])
    assert len(targets.loss_curve_) == 2


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_regressor(solver: str) -> None:
    model = regressor(solver=solver, max_iter=60, early_stopping=True).fit(DIABETES, PROGRESSION)
    assert model.predict(DIABETES).shape == (442,) and model.score(DIABETES, PROGRESSION) > 0.45
    assert (model.network_.predict(DIABETES)[:, 0] == model.predict(DIABETES)).all()


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("outputs", [1, 2])
def test_targets_are_standardised(make: Any, outputs: int) -> None:
    """Far from 0, and a million apart: the same training as of targets of mean 0 and standard deviation 1."""
    y = np.column_stack([PROGRESSION, -DIABETES[:, 0]])[:, :outputs]
    weight = 1.0 + np.arange(442) % 3
    mean = np.average(y, axis=0, weights=weight)
    std = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
    plain, units = (y - mean) / std, 1.7e9 + 1e6 * y if outputs == 1 else y * [1e6, 1e-3] + [1.7e9, 5]
    if outputs == 1:
        plain, units = plain[:, 0], units[:, 0]
    X = make(StandardScaler().fit_transform(DIABETES))
    model = regressor(max_iter=20).fit(X, units, weight)
    network, one = model.network_, regressor(max_iter=20, standardize=False)
    assert network.output_scale.shape == (() if outputs == 1 else (2,))
    np.testing.assert_allclose(network.standardize(units), plain, atol=1e-6)
    assert sparse.issparse(X) == bool(network.input_scale.ndim == 0)
    if sparse.issparse(X):
        wanted = one.fit(X, plain, weight)
        np.testing.assert_allclose(model.loss_curve_, wanted.loss_curve_, rtol=1e-6)
        found = network.standardize(model.predict(X).reshape(442, -1))
        np.testing.assert_allclose(found, wanted.predict(X).reshape(442, -1), atol=1e-5)
    assert model.loss_curve_[-1] < model.loss_curve_[0] < 3
    assert model.score(X, units) == pytest.approx(r2_score(units, model.predict(X)))
    assert not regressor(max_iter=1, standardize=False).fit(X, plain).network_.scales_outputs


def test_a_constant_target_is_shifted_only() -> None:
    model = regressor(5, max_iter=3, early_stopping=True).fit(INPUTS, np.full(len(INPUTS), 7.3e9))
    assert model.network_.output_scale == 1 and model.network_.output_shift == pytest.approx(7.3e9)
    assert np.abs(model.predict(INPUTS) - 7.3e9).max() < 5


def test_targets_of_several_units_are_predicted_in_them(tmp_path: Any) -> None:
    model = regressor(max_iter=60, early_stopping=True).fit(DIABETES, 1e9 + PROGRESSION)
    assert model.score(DIABETES, 1e9 + PROGRESSION) > 0.4 and max(model.validation_scores_) > 0.3
    minihash.save(model.network_, tmp_path / "model")
    assert np.array_equal(minihash.load(tmp_path / "model").predict(DIABETES)[:, 0], model.predict(DIABETES))
    found = minihash.evaluate(model.network_, (DIABETES, 1e9 + PROGRESSION))
    assert found["r2"] == pytest.approx(model.score(DIABETES, 1e9 + PROGRESSION))
    going_on = regressor(5).partial_fit(DIABETES, PROGRESSION)
    shift = going_on.network_.output_shift
    assert going_on.partial_fit(DIABETES, PROGRESSION + 50).network_.output_shift == shift


def test_verbose_prints_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    classifier(8, max_iter=2, verbose=True, early_stopping=True).fit(WINE, CULTIVAR)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1, loss ") and ", validation score 0." in second
    classifier(8, max_iter=2).fit(WINE, CULTIVAR)
    assert capsys.readouterr().out == ""


# laws


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2]), st.sampled_from([0, 0.3]))
def test_the_same_random_state_gives_the_same_weights(seed: int, tile: int, dropout: float) -> None:
    params = {"max_iter": 2, "tile": tile, "dropout": dropout}

    def fitted(random_state: Any) -> HashedMLPClassifier:
        return classifier(5, random_state=random_state, **params).fit(INPUTS, CLASSES)

    assert same_weights(fitted(seed), fitted(seed))
    assert same_weights(fitted(np.random.RandomState(seed)), fitted(np.random.RandomState(seed)))
    assert not same_weights(fitted(seed), fitted(seed ^ 1))
    state = np.random.RandomState(seed)
    assert not same_weights(fitted(state), fitted(state)) and not same_weights(fitted(None), fitted(None))


def test_random_state_leaves_the_global_one_alone() -> None:
    before = np.random.get_state()[1].copy()
    classifier(8, max_iter=1, random_state=None).fit(WINE, CULTIVAR)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("sizes", [(100,), (1000, 500)], ids=["fused", "panels"])
def test_threads_change_nothing(sizes: tuple[int, ...], set_num_threads: Any) -> None:
    models = []
    for count in (1, 3):
        set_num_threads(count)
        models.append(classifier(*sizes, max_iter=2).fit(CANCER, BENIGN))
    assert same_weights(*models)


@settings(deadline=None, max_examples=15)
@given(counts=st.lists(st.integers(0, 3), min_size=24, max_size=24))
def test_integer_weights_are_repetitions(counts: list[int]) -> None:
    assume(len(set(np.repeat(CLASSES, counts))) == 3)
    params = {"max_iter": 10, "activation": "tanh"}
    for model, y in ((classifier(6, **params), CLASSES), (regressor(6, **params), TARGETS)):
        repeated = model.fit(np.repeat(INPUTS, counts, 0), np.repeat(y, counts)).network_.predict(INPUTS)
        weighted = model.fit(INPUTS, y, counts).network_.predict(INPUTS)
        np.testing.assert_allclose(weighted, repeated, rtol=1e-6, atol=1e-8)


FORMATS = (sparse.csr_array, sparse.csc_matrix, sparse.coo_array)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 99), st.booleans(), st.sampled_from(FORMATS))
def test_sparse_is_as_good_as_dense(seed: int, weighted: bool, matrix: Any) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 7)) * (rng.random((60, 7)) < 0.3)
    y, weight = X.sum(axis=1) > 0, rng.random(60) if weighted else None
    params = {"standardize": False, "max_iter": 3, "batch_size": 16, "class_weight": {True: 2.0}}
    dense, compressed = (classifier(8, **params).fit(form(X), y, weight) for form in (np.asarray, matrix))
    assert same_weights(dense, compressed)
    assert (compressed.predict_proba(matrix(X)) == dense.predict_proba(X)).all()


def test_sparse_rows_with_several_targets() -> None:
    X, several = sparse.csr_array(INPUTS), np.column_stack([TARGETS, -TARGETS])
    for make, y in ((regressor, several), (classifier, (several > 0).astype(int))):
        dense, thin = (make(6, standardize=False, max_iter=3).fit(rows, y) for rows in (INPUTS, X))
        assert same_weights(dense, thin) and thin.predict(X).shape == y.shape


def test_sparse_rows_are_made_dense_in_parts() -> None:
    X = sparse.random(8000, 4000, density=0.001, format="csr", random_state=0)  # 256 MB, if it was dense
    model = classifier(4, max_iter=1)
    y = np.arange(8000) % 2
    model.fit(X[:300], y[:300]).predict(X[:300])  # compile
    tracemalloc.start()
    try:
        model.fit(X, y).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6


def test_data_are_left_alone() -> None:
    X, y, weight = WINE.copy(), CULTIVAR.copy(), np.ones(178)
    for array in (X, y, weight):
        array.setflags(write=False)
    model = classifier(8, max_iter=2, early_stopping=True).fit(X, y, weight)
    assert (X == WINE).all() and (y == CULTIVAR).all()
    assert (model.predict(X.tolist()) == model.predict(np.asfortranarray(X))).all()


# errors


@pytest.mark.parametrize(
    "params, message",
    [
        ({"compression": 2}, "compression is 2"),
        ({"compression": "half"}, "compression is 'half', wanted one of 'auto'"),
        ({"compression": 0.5, "memory_bytes": 900}, "memory_bytes is given and so is compression"),
        ({"memory_bytes": 1}, "memory_bytes is 1"),
        ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes is 0, wanted 1 <= hidden_layer_sizes"),
        ({"hidden_layer_sizes": (2.5,)}, "hidden_layer_sizes is 2.5, wanted an integer"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
        ({"tile": "rows"}, "tile is 'rows', wanted one of 'auto'"),
        ({"tile": 0}, "tile is 0, wanted 1 <= tile < 15"),
        ({"tile": 15}, "tile is 15, wanted 1 <= tile < 15"),  # of 14 columns
        ({"tile": 4.0}, "tile is 4.0, wanted an integer"),
        ({"tile": True}, "tile is True, wanted an integer"),
        ({"tile": None}, "tile is None, wanted an integer"),
        ({"tile": 4, "compression": None}, "tile is 4, wanted 1: a dense layer has no tiles"),
        ({"tile": "auto", "compression": None}, "tile is 'auto', wanted 1: a dense layer has no tiles"),
        ({"solver": "lbfgs"}, "solver is 'lbfgs', wanted one of 'adam', 'sgd'"),
        ({"learning_rate_init": 0}, "learning_rate_init is 0"),
        ({"solver": "sgd", "momentum": 2}, "momentum is 2"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": "all"}, "batch_size is 'all', wanted one of 'auto'"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"tol": None}, "tol is None, wanted a number"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
        ({"early_stopping": 1}, "early_stopping is 1, wanted True or False"),
        ({"early_stopping": True, "validation_fraction": 2}, "validation_fraction is 2"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "is 0.001 of 178 rows: 0 to hold out"),
        ({"warm_start": None}, "warm_start is None"),
        ({"standardize": "yes"}, "standardize is 'yes'"),
        ({"dtype": "int8"}, "dtype is int8, wanted float32 or float64"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": "x"}, "random_state is 'x', wanted an integer"),
        ({"class_weight": "equal"}, "class_weight is 'equal'"),
    ],
)
def test_parameters_are_checked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**params).fit(WINE, CULTIVAR)


@pytest.mark.parametrize("weight", [np.full(178, -1.0), np.full(178, np.nan), np.ones(7), np.zeros(178)])
def test_weights_are_checked(weight: np.ndarray) -> None:
    with pytest.raises(ValueError, match="^sample_weight (has|is)"):
        classifier().fit(WINE, CULTIVAR, weight)


def test_targets_are_checked() -> None:
    with pytest.raises(ValueError, match="y has 1 class, wanted two classes at least"):
        classifier().fit(WINE, np.zeros(178))
    with pytest.raises(ValueError, match="y has 4 columns and not only 0 and 1, wanted an indicator matrix"):
        classifier().fit(SPECTRA, LABELS + 1)
    with pytest.raises(ValueError, match="class_weight is 'balanced', wanted None for an indicator matrix"):
        classifier(class_weight="balanced").fit(SPECTRA, LABELS)
    with pytest.raises(ValueError, match=r"y has shape \(150, 3\), wanted \(rows, 4\) as before"):
        classifier(warm_start=True, max_iter=1).fit(SPECTRA, LABELS).fit(SPECTRA, LABELS[:, :3])
    with pytest.raises(ValueError, match="y has 2 outputs, wanted 1 as before"):
        model = regressor(warm_start=True, max_iter=1).fit(INPUTS, TARGETS)
        model.fit(INPUTS, np.column_stack([TARGETS, TARGETS]))


def test_partial_fit_is_checked() -> None:
    with pytest.raises(ValueError, match="classes is None, wanted all classes in the first call"):
        classifier().partial_fit(WINE, CULTIVAR)
    with pytest.raises(ValueError, match="y has the class 2, wanted one of classes_"):
        classifier().partial_fit(WINE, CULTIVAR, classes=[0, 1])
    with pytest.raises(ValueError, match="classes is 0, 1, 2, 3, wanted 0, 1, 2 as in the first call, or No"):
        classifier().partial_fit(WINE, CULTIVAR, [0, 1, 2]).partial_fit(WINE, CULTIVAR, [0, 1, 2, 3])
    for params in ({"early_stopping": True}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match=f"{next(iter(params))} is .*, wanted .* for partial_fit"):
            classifier(**params).partial_fit(WINE, CULTIVAR, [0, 1, 2])


def test_divergence_is_said() -> None:
    with pytest.raises(FloatingPointError, match="training diverged at learning rate 1e"):
        regressor(solver="sgd", learning_rate_init=1e6, max_iter=200).fit(DIABETES, PROGRESSION)


def test_masks_are_not_dropped() -> None:
    """To scikit-learn's checks a masked array is the numbers under its mask."""
    X, y, weight = np.ma.array(INPUTS), np.ma.array(TARGETS), np.ma.array(np.ones(len(TARGETS)))
    model = regressor(5, max_iter=1).fit(X, y, weight)
    X[3, 1] = y[3] = weight[3] = np.ma.masked
    wrong = {"X": (X, TARGETS), "y": (INPUTS, y), "sample_weight": (INPUTS, TARGETS, weight)}
    for name, rows in wrong.items():
        with pytest.raises(ValueError, match=f"^{name} has 1 masked entries, wanted none"):
            regressor(5, max_iter=1).fit(*rows)
    with pytest.raises(ValueError, match="^X has 1 masked entries, wanted none"):
        model.predict(X)
    for model, good in ((model, TARGETS), (classifier(5, max_iter=1).fit(INPUTS, CLASSES), CLASSES)):
        with pytest.raises(ValueError, match="^y has 1 masked entries, wanted none"):
            model.score(INPUTS, np.ma.array(good, mask=y.mask))
        with pytest.raises(ValueError, match="^sample_weight has 1 masked entries, wanted none"):
            model.score(INPUTS, good, weight)
