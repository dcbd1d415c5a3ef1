"""fit, evaluate and the callbacks: what is learned, in which order, to the last bit, and what is refused."""

from __future__ import annotations

import functools
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import (
    History,
    Network,
    callbacks,
    evaluate,
    fit,
    fused,
    losses,
    mlp,
    optimizers,
    schedules,
    sources,
)
from minihash.datasets.rows import ArrayRows
from minihash.kernels import threads
from minihash.training import Callback, evaluation, gradients, loop
from minihash.training.plan import Place
from minihash.training.progress import progress_bar
from minihash.training.ranks import Ranks

Params = dict[str, np.ndarray]


def make_data(rows: int = 300, classes: int = 3, features: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Clouds of points around one corner of a cube a class, as pixels: 0 … 255."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, classes, rows)
    centers = 60 + 135 * rng.integers(0, 2, (classes, features))
    return np.clip(centers[labels] + rng.normal(0, 20, (rows, features)), 0, 255).astype(np.uint8), labels


INPUTS, LABELS = make_data()
DATA = (INPUTS, LABELS)


def make_network(seed: int = 0, **arguments: Any) -> Network:
    return mlp([8, 12, 3], **{"compression": 0.5, "input_scale": 1 / 255, "seed": seed, **arguments})


def train(network: Network, data: Any = DATA, **arguments: Any) -> Params:
    """The parameters after two epochs."""
    fit(network, data, **{"epochs": 2, "batch_size": 32, **arguments})
    return {name: array.copy() for name, array in network.params.items()}


def same(left: Params, right: Params) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("compression", [None, 1.0, 0.5])
def test_learns_a_separable_problem(compression: float | None) -> None:
    network = make_network(compression=compression)
    assert evaluate(network, DATA)["error"] > 0.3
    history = fit(network, DATA, DATA, optimizer=optimizers.Adam(0.02), epochs=20, batch_size=32)
    assert evaluate(network, DATA)["error"] < 0.02
    assert history["loss"][-1] < 0.1 < history["loss"][0]
    assert history["validation_error"][-1] == evaluate(network, DATA)["error"]


@pytest.mark.parametrize("loss", ["mean_squared_error", "binary_cross_entropy"])
def test_learns_two_classes_with_one_output(loss: str) -> None:
    inputs, labels = make_data(classes=2)
    network = mlp([8, 12, 1], compression=0.5, input_scale=1 / 255)
    before = evaluate(network, (inputs, labels), loss=loss)["loss"]
    history = fit(network, (inputs, labels), loss=loss, optimizer=optimizers.Adam(0.02), epochs=20)
    assert history["loss"][-1] < before / 4


def test_history() -> None:
    start = time.perf_counter()
    history = fit(make_network(), DATA, DATA, epochs=3)
    assert history["seconds"][-1] < time.perf_counter() - start
    assert len(history) == 3 and history["epoch"] == [1, 2, 3]
    names = ["epoch", "learning_rate", "loss", "validation_loss", "validation_error", "seconds"]
    assert [list(record) for record in history.records] == [names] * 3
    assert 0 < history["seconds"][0] < history["seconds"][1] < history["seconds"][2]


def test_the_loss_of_an_epoch_is_the_mean_of_its_rows() -> None:
    network = make_network()
    expected = evaluate(network, DATA)["loss"]
    still = optimizers.SGD(learning_rate=0.0)
    for batch_size in (7, 128, 1000):  # a short last batch counts by its rows
        history = fit(network, DATA, optimizer=still, epochs=1, batch_size=batch_size)
        assert history["loss"] == pytest.approx([expected], rel=1e-5)
    weighted = (*DATA, (np.arange(300) % 2).astype(float))  # half of the batches have no weight
    history = fit(network, weighted, optimizer=still, epochs=1, batch_size=1)
    assert history["loss"] == pytest.approx([evaluate(network, weighted)["loss"]], rel=1e-5)


def test_defaults() -> None:
    network = make_network()
    assert len(fit(network, DATA)) == 10
    assert same(network.params, train(make_network(), epochs=10, batch_size=128, seed=0))


# The same bits


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_same_seed_same_bits(dropout: float) -> None:
    first = train(make_network(dropout=dropout), seed=5)
    assert same(first, train(make_network(dropout=dropout), seed=5))
    assert not same(first, train(make_network(dropout=dropout), seed=6))
    assert not same(first, train(make_network(1, dropout=dropout), seed=5))


def test_number_of_threads_does_not_change_a_bit(set_num_threads: Any) -> None:
    rng = np.random.default_rng(0)
    data = rng.random((64, 500), np.float32), rng.integers(0, 10, 64)
    results = []
    for count in (1, 2):
        set_num_threads(count)
        results.append(train(mlp([500, 700, 10], compression=1 / 64, dropout=0.2), data))
    assert same(*results)


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()
    train(make_network(dropout=0.3))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("validation", [DATA, (INPUTS[:1], LABELS[:1])], ids=["all", "one row"])
def test_validation_never_changes_the_training(validation: Any) -> None:
    without = train(make_network(dropout=0.3))
    assert same(without, train(make_network(dropout=0.3), validation=validation))


def test_inputs_of_any_kind() -> None:
    expected = train(make_network(), (INPUTS.astype(np.float32), LABELS))
    read_only = INPUTS.copy()
    read_only.flags.writeable = False
    wide = np.repeat(INPUTS, 2, axis=1)[:, ::2]
    for inputs in (INPUTS, read_only, wide, INPUTS.astype(np.float64), INPUTS.tolist()):
        assert same(train(make_network(), (inputs, LABELS)), expected)
    assert same(train(make_network(), [INPUTS.tolist(), LABELS.tolist()]), expected)
    # BLAS may sum another order of memory in another order.
    fortran = train(make_network(), (np.asfortranarray(INPUTS), LABELS))
    for name, array in fortran.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5)


def test_data_is_not_changed() -> None:
    inputs, labels = INPUTS.copy(), LABELS.copy()
    train(make_network(dropout=0.3), (inputs, labels), validation=(inputs, labels))
    np.testing.assert_array_equal(inputs, INPUTS)
    np.testing.assert_array_equal(labels, LABELS)


# Batches


@given(rows=st.integers(1, 300), batch_size=st.integers(1, 320), seed=st.integers(0, 2**32 - 1))
def test_batches_cover_every_row_exactly_once(rows: int, batch_size: int, seed: int) -> None:
    numbers = np.arange(rows)
    found = list(ArrayRows(numbers[:, None], numbers).batches(batch_size, np.random.default_rng(seed)))
    parts = [batch.targets for batch in found]
    assert all((batch.inputs[:, 0] == batch.targets).all() for batch in found)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    assert all(len(part) == batch_size for part in parts[:-1]) and 0 < len(parts[-1]) <= batch_size


@given(rows=st.integers(20, 60), batch_size=st.integers(1, 64))
def test_every_epoch_sees_every_row_once_with_its_target(rows: int, batch_size: int) -> None:
    seen: list[np.ndarray] = []
    numbers = np.arange(rows, dtype=np.float32)

    def loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        np.testing.assert_allclose(outputs, identity.forward(targets), rtol=1e-6)
        seen.append(targets.ravel())
        return 0.0, np.zeros_like(outputs)

    identity = mlp([1, 1])
    fit(identity, (numbers[:, None], numbers[:, None]), loss=loss, epochs=2, batch_size=batch_size)
    order = np.concatenate(seen)
    first, second = order[:rows], order[rows:]
    assert sorted(first) == sorted(second) == list(numbers)
    assert list(first) != list(numbers) and list(first) != list(second)  # shuffled, and anew


# The learning rate


class RecordingSGD(optimizers.SGD):
    """SGD that remembers the learning rate of each step."""

    def __init__(self) -> None:
        super().__init__(0.125)
        self.rates: list[float] = []

    def step(self, params: Params, grads: Params) -> None:
        self.rates.append(self.learning_rate)
        super().step(params, grads)


@pytest.mark.parametrize("compression, held", [(1 / 64, True), (None, False)])
def test_blas_is_held_for_an_epoch_where_all_products_are_in_our_threads(
    compression: float | None, held: bool
) -> None:
    network = mlp([300, 600, 3], compression=compression, tile=1 if compression is None else "auto")
    assert fused.obstacle(network)
    _, hold = gradients._step(network, losses.softmax_cross_entropy)
    assert (hold is threads.single_threaded_blas) == held


def test_nobody_asks_for_the_gradient_of_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    network, asked = make_network(dropout=0.5), []
    first = network.layers[0]
    backward = first.backward
    monkeypatch.setattr(first, "backward", lambda grad, need: asked.append(need) or backward(grad, need))
    fit(network, DATA, epochs=1, batch_size=300)
    assert asked == [False]


def test_schedule_sets_the_learning_rate_of_each_step() -> None:
    optimizer, schedule = RecordingSGD(), schedules.one_cycle(0.1)
    history = fit(
        make_network(), DATA, optimizer=optimizer, schedule=schedule, epochs=3, batch_size=100
    )  # three steps an epoch
    assert optimizer.rates == pytest.approx([schedule(step / 9) for step in range(9)])
    assert history["learning_rate"] == [optimizer.rates[step] for step in (2, 5, 8)]


def test_without_schedule_the_learning_rate_stays() -> None:
    optimizer = RecordingSGD()
    fit(make_network(), DATA, optimizer=optimizer, epochs=2, batch_size=100)
    assert optimizer.rates == [0.125] * 6


def test_default_optimizer_is_adam() -> None:
    assert same(train(make_network()), train(make_network(), optimizer=optimizers.Adam()))


# Callbacks


class Recorder(Callback):
    """A callback that writes down its calls, and stops after an epoch."""

    def __init__(self, name: str, calls: list[tuple[str, int]], stop_after: int | None = None) -> None:
        self.name, self.calls, self.stop_after = name, calls, stop_after

    def on_epoch_end(self, network: Network, history: History) -> bool:
        self.calls.append((self.name, len(history)))
        return len(history) == self.stop_after

    def on_train_end(self, network: Network, history: History) -> None:
        self.calls.append((self.name, -len(history)))

    def on_train_begin(self, network: Network) -> None:
        self.calls.append((self.name, 0))


@pytest.mark.parametrize("stopper", [0, 1, 2])
def test_all_callbacks_are_called_in_order_and_any_stops(stopper: int) -> None:
    calls: list[tuple[str, int]] = []
    recorders = [Recorder(name, calls, 2 if k == stopper else None) for k, name in enumerate("abc")]
    history = fit(make_network(), DATA, epochs=5, callbacks=recorders)
    assert len(history) == 2
    assert calls == [(name, call) for call in (0, 1, 2, -2) for name in "abc"]


class ScriptedErrors(Callback):
    """A callback that replaces the validation error of each epoch, and keeps the epoch's weights."""

    def __init__(self, *errors: float) -> None:
        self.errors = errors
        self.weights: list[Params] = []

    def on_epoch_end(self, network: Network, history: History) -> bool:
        history.records[-1]["validation_error"] = self.errors[len(history) - 1]
        self.weights.append({name: array.copy() for name, array in network.params.items()})
        return False


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize(
    "patience, epochs, best",
    [(1, 3, 2), (2, 6, 4), (3, 7, 4), (4, 8, 4), (5, 8, 4)],  # an equal error is no improvement
)
def test_early_stopping(patience: int, epochs: int, best: int, restore: bool) -> None:
    script = ScriptedErrors(0.9, 0.5, 0.6, 0.3, 0.3, 0.4, 0.31, 0.35)
    stopping = callbacks.EarlyStopping(patience, restore_best=restore)
    network = make_network()
    history = fit(network, DATA, epochs=8, callbacks=[script, stopping])
    assert len(history) == epochs
    assert (stopping.best_epoch, stopping.best) == (best, script.errors[best - 1])
    assert same(network.params, script.weights[best - 1 if restore else -1])


def test_early_stopping_forgets_the_run_before() -> None:
    stopping = callbacks.EarlyStopping(9)
    fit(make_network(), DATA, epochs=1, callbacks=[ScriptedErrors(0.1), stopping])
    network, script = make_network(), ScriptedErrors(0.9, 0.8, 0.85)
    fit(network, DATA, epochs=3, callbacks=[script, stopping])
    assert (stopping.best_epoch, stopping.best) == (2, 0.8)
    assert same(network.params, script.weights[1])


def test_early_stopping_keeps_the_arrays_of_the_network() -> None:
    network = make_network()
    before = network.params
    fit(network, DATA, DATA, epochs=3, callbacks=[callbacks.EarlyStopping(1)])
    assert all(array is before[name] for name, array in network.params.items())


def test_early_stopping_watches_any_figure() -> None:
    stopping = callbacks.EarlyStopping(1, monitor="loss")
    history = fit(
        make_network(), DATA, optimizer=optimizers.SGD(0.0), epochs=9, batch_size=300, callbacks=[stopping]
    )
    assert stopping.best == min(history["loss"])


def test_early_stopping_arguments() -> None:
    with pytest.raises(ValueError, match="monitor is 'validation_error', wanted .*learning_rate, loss"):
        fit(make_network(), DATA, epochs=1, callbacks=[callbacks.EarlyStopping()])
    for patience in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"patience is {patience}"):
            callbacks.EarlyStopping(patience)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="restore_best is 1"):
        callbacks.EarlyStopping(restore_best=1)  # type: ignore[arg-type]


# Guards


@pytest.mark.parametrize("layers", [None, 0.5], ids=["dense", "hashed"])
def test_divergence_names_epoch_step_and_learning_rate(layers: float | None) -> None:
    network = make_network(compression=layers)
    message = r"loss is (nan|inf) in epoch \d+, step \d+ of 10: .* learning rate 1e\+06"
    with pytest.raises(FloatingPointError, match=message):
        fit(
            network,
            (INPUTS, np.eye(3)[LABELS]),
            loss="mean_squared_error",
            optimizer=optimizers.SGD(1e6, momentum=0.9),
            epochs=100,
            batch_size=32,
        )


def test_divergence_leaves_the_weights_before_it_and_restores_the_best() -> None:
    calls: list[float] = []

    def loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append(float("nan") if len(calls) == 4 else 1.0)
        return calls[-1], np.ones_like(outputs)

    script = ScriptedErrors(0.3, 0.2, 0.4, 0.5)
    stopping = callbacks.EarlyStopping(9)
    network = make_network()
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 5"):
        fit(network, DATA, loss=loss, epochs=9, batch_size=300, callbacks=[script, stopping])
    assert stopping.best_epoch == 2 and same(network.params, script.weights[1])

    calls.clear()
    network, script = make_network(), ScriptedErrors(0.3, 0.2, 0.4, 0.5)
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 5"):
        fit(network, DATA, loss=loss, epochs=9, batch_size=300, callbacks=[script])
    assert same(network.params, script.weights[3])


def test_divergence_in_the_last_step_is_noticed() -> None:
    def loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        return 1.0, np.full_like(outputs, np.inf)  # a good loss, and a step to nowhere

    message = "a parameter is not finite in epoch 1, step 1 of 1: .* rate 0.5;"
    with pytest.raises(FloatingPointError, match=message):
        fit(make_network(), DATA, loss=loss, optimizer=optimizers.SGD(0.5), epochs=1, batch_size=300)


def test_nan_guard_counts_steps_from_one() -> None:
    def loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        steps.append(len(targets))
        return float("nan") if len(steps) == 5 else 1.0, np.zeros_like(outputs)

    steps: list[int] = []
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 2, step 2 of 3: .* rate 0.5;"):
        fit(make_network(), DATA, loss=loss, optimizer=optimizers.SGD(0.5), epochs=3, batch_size=100)
    assert len(steps) == 5


def spoiled(value: float) -> np.ndarray:
    inputs = INPUTS.astype(np.float32)
    inputs[13, 2] = value
    return inputs


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"train": (spoiled(np.nan), LABELS)}, "train inputs has NaN or infinity in row 13"),
    ({"train": (spoiled(-np.inf), LABELS)}, "train inputs has NaN or infinity in row 13"),
    ({"validation": (spoiled(np.nan), LABELS)}, "validation inputs has NaN or infinity in row 13"),
    ({"train": (INPUTS, LABELS[:-1])}, r"train has 300 rows of inputs and targets of shape \(299,\)"),
    ({"validation": (INPUTS[1:], LABELS)}, "validation has 299 rows"),
    ({"train": (INPUTS[:0], LABELS[:0])}, "train has 0 rows"),
    ({"validation": (INPUTS[:0], LABELS[:0])}, "validation has 0 rows"),
    ({"train": (INPUTS[:, 1:], LABELS)}, r"train inputs has shape \(300, 7\), wanted \(batch, 8\)"),
    ({"train": (INPUTS.ravel(), LABELS)}, r"train inputs has shape \(2400,\)"),
    ({"train": (INPUTS.astype(str), LABELS)}, "train inputs has dtype <U"),
    ({"train": (INPUTS * 1j, LABELS)}, "train inputs has dtype complex128"),
    ({"train": INPUTS}, r"train is a ndarray, and fit takes the rows as a pair: fit\("),
    ({"train": (INPUTS, LABELS, None, LABELS)}, "train is a tuple, wanted a pair"),
    ({"train": (INPUTS, LABELS + 0.5)}, "targets has dtype float64"),
    ({"train": (INPUTS, LABELS + 1)}, "targets is 3 in row"),
    ({"train": (INPUTS, LABELS - 1)}, "targets is -1 in row"),
    ({"validation": (INPUTS, LABELS + 1)}, "targets is 3 in row"),
    ({"epochs": 0}, "epochs is 0"),
    ({"epochs": 1.5}, "epochs is 1.5"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"batch_size": "x"}, "batch_size is 'x'"),
    ({"epochs": 2**31, "callbacks": [Recorder("a", [], 1)]}, f"epochs is {2**31}, wanted .* < {2**31}"),
    ({"batch_size": 2**31}, f"batch_size is {2**31}, wanted 1 <= batch_size < {2**31}"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": 2**32}, f"seed is {2**32}"),
    ({"loss": "hinge"}, "loss is 'hinge', wanted one of 'softmax_cross_entropy'"),
]


@pytest.mark.parametrize("arguments, message", REFUSED, ids=[message for _, message in REFUSED])
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    network = make_network()
    with pytest.raises(ValueError, match=message):
        fit(network, **{"train": DATA, "epochs": 1, "batch_size": 300, **arguments})


@pytest.mark.parametrize("arguments, message", REFUSED, ids=[message for _, message in REFUSED])
def test_refused_before_the_first_step(arguments: dict[str, Any], message: str) -> None:
    network, fresh = make_network(), make_network()
    with pytest.raises(ValueError):
        fit(network, **{"train": DATA, "epochs": 1, "batch_size": 10, **arguments})
    assert same(network.params, fresh.params)


def test_wrong_label_is_found_among_many_batches() -> None:
    labels = LABELS.copy()
    labels[200] = 3
    with pytest.raises(ValueError, match="train targets is 3 in row 200, wanted .* label < 3"):
        fit(make_network(), (INPUTS, labels), batch_size=10)


# The bar


@pytest.mark.parametrize("progress", [None, False, True, "bar"])
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bar(
    progress: Any, terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    fit(make_network(), DATA, DATA, epochs=2, batch_size=100, progress=progress)
    out, err = capsys.readouterr()
    assert out == ""
    if terminal if progress in (None, "bar") else progress:
        assert "100%" in err and "epoch 2, loss " in err and "validation error " in err
        settings = "2 epochs of 3 steps of 100, softmax_cross_entropy, Adam (learning_rate 0.001, "
        assert (settings in err) == (progress != "bar") and err.count("fit: ") == (progress != "bar")
    else:
        assert err == ""


def test_a_bar_begins_where_the_training_does() -> None:
    plan = SimpleNamespace(epochs=5, steps=7)
    bar = progress_bar(plan, Place({}, epoch=3, step=4), progress=False)
    assert (bar.n, bar.total) == (18, 35)


def test_progress_without_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw, or with 2>&-
    assert len(fit(make_network(), DATA, epochs=1)) == 1
    fit(make_network(), DATA, epochs=1, progress=True)
    assert capsys.readouterr().out == ""


# evaluate


def test_evaluate_softmax_cross_entropy() -> None:
    network = make_network()
    outputs = network.predict(INPUTS)
    wrong = np.mean([row.argmax() != label for row, label in zip(outputs, LABELS)])
    loss = losses.softmax_cross_entropy(outputs, LABELS)[0]
    assert evaluate(network, DATA) == {"loss": loss, "error": wrong}
    assert evaluate(network, (INPUTS, np.eye(3)[LABELS])) == {"loss": pytest.approx(loss), "error": wrong}
    assert evaluate(network, DATA, loss=losses.softmax_cross_entropy) == evaluate(network, DATA)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_evaluate_binary_cross_entropy(shape: tuple[int, ...]) -> None:
    inputs, labels = make_data(classes=2)
    network = mlp([8, 1], compression=0.5, input_shift=127, input_scale=0.01)
    outputs = network.predict(inputs)
    wrong = np.mean([(z > 0) != (label == 1) for z, label in zip(outputs[:, 0], labels)])
    assert 0 < wrong < 1
    loss = losses.binary_cross_entropy(outputs, labels)[0]
    result = evaluate(network, (inputs, labels.reshape(shape)), loss="binary_cross_entropy")
    positive = labels == 1
    above = np.sign(outputs[positive] - outputs[~positive, 0]).mean()
    assert result == {"loss": loss, "error": wrong, "auc": pytest.approx((above + 1) / 2)}
    half = evaluate(network, (inputs, labels * 0.6), loss="binary_cross_entropy")  # above ½ is positive
    assert half["auc"] == result["auc"] and half["error"] == wrong


def test_evaluate_mean_squared_error() -> None:
    network = make_network()
    targets = np.random.default_rng(0).random((300, 3))
    loss = np.mean((network.predict(INPUTS) - targets) ** 2)
    missed = network.predict(INPUTS) - targets
    explained = 1 - (missed**2).mean(axis=0) / targets.var(axis=0)
    expected = {
        "loss": pytest.approx(loss),
        "r2": pytest.approx(explained.mean()),
        "mae": pytest.approx(np.abs(missed).mean()),
        "rmse": pytest.approx(np.sqrt((missed**2).mean(axis=0)).mean()),
    }
    assert evaluate(network, (INPUTS, targets), loss="mean_squared_error") == expected


def test_evaluate_distillation() -> None:
    network = make_network()
    targets = losses.distillation_targets(LABELS, make_network(seed=1).predict(INPUTS))
    data = (INPUTS, targets)
    assert evaluate(network, data, loss="distillation") == {
        "loss": pytest.approx(losses.distillation(network.predict(INPUTS), targets)[0]),
        "error": evaluate(network, DATA)["error"],
    }
    soft = functools.partial(losses.distillation, temperature=2, weight=0.5)
    history = fit(network, data, data, loss=soft, epochs=1)
    assert history["validation_error"] == [evaluate(network, DATA)["error"]]
    assert history["validation_loss"] == [soft(network.predict(INPUTS), targets)[0]]


def test_labels_of_any_own_loss_are_checked_before_training() -> None:
    network = make_network()
    targets = losses.distillation_targets(LABELS, network.predict(INPUTS))
    targets[-1, 0] = 3
    before = {name: array.copy() for name, array in network.params.items()}
    for loss in ("distillation", losses.distillation, functools.partial(losses.distillation, weight=0.5)):
        with pytest.raises(ValueError, match="^train targets is 3.0 in row 299"):
            fit(network, (INPUTS, targets), loss=loss, batch_size=1)
    assert same(before, network.params)


def test_evaluate_does_not_drop_units() -> None:
    network = make_network(dropout=0.5)
    assert evaluate(network, DATA) == evaluate(network, DATA) == evaluate(make_network(), DATA)


def test_evaluate_refuses() -> None:
    for data, message in (
        ((INPUTS, LABELS[1:]), "data has 300 rows"),
        ((spoiled(np.nan), LABELS), "data inputs has NaN or infinity in row 13"),
        ((INPUTS[:0], LABELS[:0]), "data has 0 rows"),
        (INPUTS, "data is a ndarray"),
        ((INPUTS, LABELS + 1), "targets is 3 in row"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(make_network(), data)  # type: ignore[arg-type]


class OneOf(Ranks):
    """One of some ranks, one after the other: the first comes last, and gathers what they have left."""

    def __init__(self, rank: int, size: int, left: dict[int, list[Any]]) -> None:
        self.rank, self.size, self.left = rank, size, left

    def gather(self, value: list[Any]) -> list[Any]:
        self.left.setdefault(self.rank, []).append(value)
        return [] if self.rank else [self.left[rank].pop(0) for rank in range(self.size)]


@pytest.mark.parametrize(
    "rows, shares",
    [(300, [108, 96, 96]), (20, [8, 8, 4]), (24, [8, 8, 8]), (284, [96, 96, 92]), (50, [32, 18])],
)
def test_ranks_measure_what_one_does(rows: int, shares: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PREDICT_ROWS", 4)
    monkeypatch.setattr(evaluation, "TURN", 16)
    network, left, predicted = make_network(), {}, []
    loss = losses.get("softmax_cross_entropy")
    weights = np.random.default_rng(0).random(rows)
    source = sources.source("data", (INPUTS[:rows], LABELS[:rows], weights), network, loss)
    expected = evaluation.scores_of(network, source, loss)
    forward = network.forward_rows
    counting = lambda inputs: predicted.append(len(inputs)) or forward(inputs)  # noqa: E731
    monkeypatch.setattr(network, "forward_rows", counting)
    for rank in reversed(range(len(shares))):
        found = evaluation.scores_of(network, source, loss, OneOf(rank, len(shares), left))
        assert (sum(predicted), max(predicted)) == (shares[rank], 4)
        predicted.clear()
    assert found == expected  # of the first


@pytest.mark.parametrize("distributed, exact", [(True, True), ("exact", True), ("fast", False)])
def test_cores_are_shared_for_exact_bits(distributed: Any, exact: bool, monkeypatch: Any) -> None:
    ranks = Ranks()
    monkeypatch.setattr(ranks, "cores", lambda exact: said.append(exact) or Ranks.cores(ranks, exact))
    for module in (evaluation, loop):
        monkeypatch.setattr(module, "ranks_of", lambda mode: ranks)
    said: list[bool] = []
    evaluate(make_network(), DATA, distributed=distributed)
    evaluate(make_network(), DATA)
    fit(make_network(), DATA, epochs=1)  # whose sums are those of one process
    assert said == [exact, False, False]


def test_options_of_evaluate_have_names() -> None:
    network = make_network()
    assert evaluate(network=network, data=DATA) == evaluate(network, DATA)
    with pytest.raises(TypeError, match="positional"):
        evaluate(network, DATA, "mean_squared_error")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": 0.1}, r"optimizer is 0.1, wanted one such as Adam\(\)"),
        ({"optimizer": optimizers.Adam}, r"optimizer is <class .*Adam'>, wanted one such as Adam\(\)"),
        ({"callbacks": callbacks.EarlyStopping()}, r"callbacks is <.*EarlyStop.*>, wanted one such as "),
        ({"callbacks": [callbacks.EarlyStopping]}, r"callbacks\[0\] is <class .*>, wanted one such as Early"),
    ],
)
def test_what_is_no_optimizer_or_callback_is_named(arguments, message):
    data = np.zeros((4, 2), np.float32), np.zeros(4, int)
    with pytest.raises(ValueError, match=message):
        fit(mlp([2, 2]), data, **arguments)
