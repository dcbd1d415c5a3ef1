"""What is passed wrongly ends in one line that says what to pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from minihash import evaluate, fit, losses, mlp
from minihash.optimizers import SGD, Adam
from minihash.schedules import constant, one_cycle
from minihash.schema import Schema

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype(np.float32)
Y = np.arange(50) % 2
NUMBERS = X[:, 0]
WORDS = np.array(["cat", "dog"])[Y]
HOLED = np.where(Y == 1, 1.0, np.nan)


def network(*sizes: int, **options: Any) -> Any:
    return mlp(list(sizes or (3, 4, 2)), **options)


NAMED = network(class_names=["cat", "dog"])
PAIR = "fit takes the rows as a pair: fit(network, (inputs, targets))"
LABEL = "train targets is {} in row {}, wanted a label 0 <= label < {}"
CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "fit(network, X, y)": (lambda: fit(network(), X, Y), f"train is a ndarray, and {PAIR}"),  # type: ignore
    "lists": (lambda: fit(network(), X.tolist(), Y.tolist()), f"train is a list, and {PAIR}"),  # type: ignore
    "evaluate(network, X)": (
        lambda: evaluate(network(), X),  # type: ignore
        "data is a ndarray, and evaluate takes the rows as a pair: evaluate(network, (inputs, targets))",
    ),
    "fit(X, y)": (
        lambda: fit(X, Y),  # type: ignore
        "network is a ndarray, wanted a Network, and the rows after it",
    ),
    "evaluate(rows, network)": (
        lambda: evaluate((X, Y), network()),  # type: ignore
        "network is a tuple, wanted a Network, and the rows after it",
    ),
    "a fraction to validate": (
        lambda: fit(network(), (X, Y), 0.2),  # type: ignore
        "validation is a float, wanted a pair (inputs, targets), or three with the rows' weights, or rows, "
        "or a file of them",
    ),
    "mlp(3, 4, 2)": (
        lambda: mlp(3, 4, 2),  # type: ignore
        "sizes is 3 and others follow, wanted a list: mlp([3, 4, 2])",
    ),
    "mlp(3)": (
        lambda: mlp(3),  # type: ignore
        "sizes is 3, wanted a list of at least inputs and outputs, as [784, 10]",
    ),
    "one row": (
        lambda: network().predict(X[0]),
        "inputs has shape (3,), wanted (batch, 3): inputs[None] is a row",
    ),
    "one feature": (
        lambda: network(1, 2).predict(X[:, 0]),
        "inputs has shape (50,), wanted (batch, 1): inputs[:, None] is a column",
    ),
    "transposed": (
        lambda: fit(network(), (X.T, Y)),
        "train inputs has shape (3, 50), wanted (batch, 3): perhaps inputs.T",
    ),
    "images": (
        lambda: network(6, 2).predict(np.zeros((5, 2, 3))),
        "inputs has shape (5, 2, 3), wanted (batch, 6): inputs.reshape(len(inputs), -1)",
    ),
    "another shape": (
        lambda: network().predict(X[:, :2]),
        "inputs has shape (50, 2), wanted (batch, 3)",
    ),
    "ragged": (
        lambda: network().predict([[1, 2, 3], [1, 2]]),
        "inputs has rows of different lengths, wanted as many numbers in each",
    ),
    "objects": (
        lambda: network().predict(X.astype(object)),
        "inputs has dtype object, wanted real numbers: inputs.astype(float)",
    ),
    "a sparse matrix": (
        lambda: fit(network(), (scipy.sparse.csr_matrix(X), Y)),
        "train inputs is a sparse matrix, wanted an array: inputs.toarray()",
    ),
    "labels as floats": (
        lambda: fit(network(), (X, Y.astype(float))),
        "train targets has dtype float64, wanted integer labels: targets.astype(int)",
    ),
    "labels as bool": (
        lambda: fit(network(), (X, Y > 0)),
        "train targets has dtype bool, wanted integer labels: targets.astype(int)",
    ),
    "labels with holes": (
        lambda: fit(network(), (X, HOLED)),
        "train targets is nan in row 0, wanted a label",
    ),
    "labels from 1": (lambda: fit(network(), (X, Y + 1)), LABEL.format(2, 1, 2) + ": targets - 1"),
    "labels from -1": (lambda: fit(network(), (X, Y - 1)), LABEL.format(-1, 0, 2)),
    "labels of more classes": (lambda: fit(network(), (X, Y + 2)), LABEL.format(2, 0, 2)),
    "labels from 1, one too many": (lambda: fit(network(), (X, Y * 2 + 1)), LABEL.format(3, 1, 2)),
    "a column of labels": (
        lambda: fit(network(), (X, Y[:, None])),
        "train targets has shape (50, 1), wanted (50,) labels or (50, 2) probabilities: targets.squeeze()",
    ),
    "one-hot rows of other classes": (
        lambda: fit(network(), (X, np.eye(3)[Y])),
        "train targets has shape (50, 3), wanted (50,) labels or (50, 2) probabilities",
    ),
    "numbers for the loss of classes": (
        lambda: fit(network(), (X, NUMBERS)),
        "train targets has dtype float32, wanted integer labels; of numbers, loss='mean_squared_error'",
    ),
    "yes and no for the loss of classes": (
        lambda: fit(network(3, 1), (X, Y)),
        LABEL.format(1, 1, 1) + "; with one output, loss='binary_cross_entropy', or of numbers "
        "'mean_squared_error'",
    ),
    "numbers and one output": (
        lambda: fit(network(3, 1), (X, NUMBERS)),
        "train targets has dtype float32, wanted integer labels; with one output, "
        "loss='binary_cross_entropy', or of numbers 'mean_squared_error'",
    ),
    "labels for several yes and no": (
        lambda: fit(network(), (X, Y), loss="binary_cross_entropy"),
        "train targets has shape (50,), wanted (50, 2) numbers from 0 to 1; of one class a row, "
        "loss='softmax_cross_entropy'",
    ),
    "words without names": (
        lambda: fit(network(), (X, WORDS)),
        "train targets is 'cat' in row 0, wanted integers, or a network with names of classes: "
        "mlp(…, class_names=['cat', 'dog'])",
    ),
    "words of many classes": (
        lambda: fit(network(), (X, [f"{n:02d}" for n in range(50)])),
        "train targets is '00' in row 0, wanted integers, or a network with names of classes: "
        "mlp(…, class_names=['00', '01', '02', '03', '04', '05', '06', '07', '08', '09', … (50)])",
    ),
    "words as numbers": (
        lambda: fit(network(3, 1), (X, WORDS), loss="mean_squared_error"),
        "train targets has dtype <U3, wanted numbers",
    ),
    "an unknown word": (
        lambda: evaluate(NAMED, (X, np.where(np.arange(50) == 7, "bird", WORDS))),
        "data targets is 'bird' in row 7, wanted one of 'cat', 'dog'",
    ),
    "no word": (
        lambda: fit(NAMED, (X, [*WORDS[:49], ["dog"]])),
        "train targets has rows of different lengths, wanted as many numbers in each",
    ),
    "weights of an unknown word": (
        lambda: fit(NAMED, (X, Y), class_weight={"cow": 1.0}),
        "class_weight's label is 'cow', wanted one of 'cat', 'dog'",
    ),
    "an unknown optimizer": (
        lambda: fit(network(), (X, Y), optimizer="rmsprop"),
        "optimizer is 'rmsprop', wanted one of 'sgd', 'adam'",
    ),
    "a class for an optimizer": (
        lambda: fit(network(), (X, Y), optimizer=Adam, learning_rate=0.1),  # type: ignore
        "optimizer is <class 'minihash.optimizers.Adam'>, wanted one such as Adam(): it has no "
        "learning_rate, steps, state",
    ),
    "two learning rates": (
        lambda: fit(network(), (X, Y), optimizer=Adam(), learning_rate=0.1),
        "learning_rate is given and so is an optimizer Adam, wanted Adam(learning_rate=…), or a schedule "
        "beside it",
    ),
    "a rate and a schedule": (
        lambda: fit(network(), (X, Y), learning_rate=0.1, schedule=constant(0.1)),
        "learning_rate and schedule are given, wanted one of them",
    ),
    "a rate that is none": (
        lambda: fit(network(), (X, Y), learning_rate="fast"),  # type: ignore
        "learning_rate is 'fast', wanted a number",
    ),
    "probabilities of who knows what": (
        lambda: network().predict_proba(X),
        "predict_proba is for classifiers, and the network's task is None, wanted a network that `fit` has "
        "trained, or class_names",
    ),
    "labels of a regression": (
        lambda: trained("regression", 1).predict_labels(X),
        "predict_labels is for classifiers, and the network's task is 'regression', wanted predict",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_to_pass(case: str) -> None:
    call, line = CASES[case]
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == line


def trained(task: str, outputs: int, **options: Any) -> Any:
    made = network(3, outputs, **options)
    made.schema = Schema(task)
    return made


def test_one_hot_rows_are_probabilities() -> None:
    first, second = (network(class_names=["cat", "dog"]) for _ in range(2))
    ref, comp = fit(first, (X, Y)), fit(second, (X, np.eye(2, dtype=int)[Y]))
    np.testing.assert_allclose(comp["loss"], ref["loss"], rtol=1e-6)


# ------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("sizes", [(3, 4, 2), (3, 1)])
@pytest.mark.parametrize("kind", [np.asarray, list, lambda words: words.astype(object)])
def test_names_of_classes_are_labels(sizes: tuple[int, ...], kind: Callable) -> None:
    by_name, by_number = (network(*sizes, class_names=["cat", "dog"]) for _ in range(2))
    weights = {"cat": 3.0}, {0: 3.0}
    for one, targets, weight in zip((by_name, by_number), (kind(WORDS), Y), weights):
        fit(one, (X, targets), (X, targets), epochs=2, class_weight=weight)
    np.testing.assert_array_equal(by_name.predict(X), by_number.predict(X))
    assert evaluate(by_name, (X, kind(WORDS))) == evaluate(by_number, (X, Y))


def test_a_loss_of_your_own_gets_what_it_is_given() -> None:
    class Letters(losses.Loss):
        def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, Any]:
            return float(sum(map(len, targets))), np.zeros_like(outputs)

    assert evaluate(network(), (X, WORDS), loss=Letters()) == {"loss": 150.0}


# ------------------------------------------------------------------------ probabilities and labels


@pytest.mark.parametrize("names", [None, ("cat", "dog", "owl")])
def test_classes_of_a_softmax(names: Any) -> None:
    one = trained("classification", 3, class_names=names)
    outputs = one(X)
    np.testing.assert_array_equal(outputs, one.predict(X))
    np.testing.assert_allclose(one.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    likeliest = one.predict_proba(X).argmax(axis=1)
    assert one.predict_labels(X).tolist() == [names[k] if names else k for k in likeliest]


@pytest.mark.parametrize("names", [None, ("no", "yes")])
def test_classes_of_one_output(names: Any) -> None:
    one = trained("binary", 1, class_names=names)
    yes = 1 / (1 + np.exp(-one.predict(X)))
    np.testing.assert_allclose(one.predict_proba(X), np.hstack([1 - yes, yes]), rtol=1e-5)
    assert one.predict_labels(X).tolist() == [(names or (0, 1))[int(p > 0.5)] for p in yes[:, 0]]


def test_several_labels_a_row() -> None:
    one = trained("multilabel", 2, class_names=["red", "round"])
    np.testing.assert_allclose(one.predict_proba(X), 1 / (1 + np.exp(-one.predict(X))), rtol=1e-5)
    labels = one.predict_labels(X)
    assert labels.dtype.kind == "i" and 0 < labels.mean() < 1
    assert (labels == (one.predict_proba(X) > 0.5)).all()


@pytest.mark.parametrize("task, outputs", [("classification", 3), ("binary", 1), ("multilabel", 2)])
def test_no_rows_have_no_labels(task: str, outputs: int) -> None:
    one = trained(task, outputs)
    assert one.predict_proba(X[:0]).shape == (0, max(2, outputs))
    assert one.predict_labels(X[:0]).shape == ((0, 2) if task == "multilabel" else (0,))


def test_labels_are_what_the_error_counts() -> None:
    for outputs in (1, 2):
        one = network(3, outputs, class_names=["cat", "dog"])
        assert evaluate(one, (X, WORDS))["error"] == pytest.approx((one.predict_labels(X) != WORDS).mean())


# -------------------------------------------------------------------------------------- optimizers


@pytest.mark.parametrize(
    "given, same",
    [
        ({}, {"optimizer": Adam()}),
        ({"optimizer": "adam"}, {"optimizer": Adam()}),
        ({"optimizer": "sgd"}, {"optimizer": SGD()}),
        ({"learning_rate": 0.05}, {"optimizer": Adam(0.05)}),
        ({"optimizer": "sgd", "learning_rate": 0.5}, {"optimizer": SGD(0.5)}),
        ({"learning_rate": one_cycle(0.1)}, {"optimizer": Adam(), "schedule": one_cycle(0.1)}),
        ({"optimizer": "sgd", "schedule": one_cycle(0.1)}, {"optimizer": SGD(), "schedule": one_cycle(0.1)}),
    ],
)
def test_an_optimizer_by_name(given: dict[str, Any], same: dict[str, Any]) -> None:
    networks = network(), network()
    histories = [
        fit(one, (X, Y), epochs=3, batch_size=10, **options) for one, options in zip(networks, (given, same))
    ]
    np.testing.assert_array_equal(networks[0].predict(X), networks[1].predict(X))
    assert histories[0]["learning_rate"] == histories[1]["learning_rate"]
