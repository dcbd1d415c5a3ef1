"""Losses of one's own, as a user adds them: a class in one place, and `register`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash import evaluate, fit, fused, losses, mlp
from minihash.fused import FusedNetwork
from minihash.gradient_check import check_gradients
from minihash.losses.targets import check_numbers, row_weights
from minihash.network import Network
from minihash.optimizers import Adam
from minihash.training import History

# ------------------------------------------------------------- what a user writes, in one new file


def slope(difference: float, delta: float) -> float:
    return max(-delta, min(delta, difference))


class Huber(losses.Loss):
    """`l = 1/D · Σ_d h(z_d − t_d)`, with `h(x) = x² / 2` up to |x| = delta, and a line from there."""

    name, task, scores = "huber", "regression", ("r2",)
    one_output = True
    check_targets = staticmethod(check_numbers)

    def __init__(self, delta: float = 1.0) -> None:
        def body(outputs: Any, targets: Any, weight: Any, grad: Any) -> tuple[float, bool]:
            total, good, features = 0.0, True, outputs.shape[1]
            for n in range(len(outputs)):
                for d in range(features):
                    good = good and math.isfinite(targets[n, d])
                    difference = outputs[n, d] - targets[n, d]
                    s = slope(difference, delta)
                    total += weight[n] * s * (difference - s / 2) / features
                    grad[n, d] = s * weight[n] / features
            return total, good

        self.delta, self.fused = delta, body

    def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        outputs, targets = self.checked(outputs, targets)
        difference = outputs - targets.reshape(outputs.shape)
        linear = abs(difference.real) > self.delta  # complex outputs are for complex steps
        s = np.where(linear, self.delta * np.sign(difference.real), difference)
        values, weight = s * (difference - s / 2), row_weights(sample_weight, outputs)
        rows = values.reshape(len(outputs), -1).mean(axis=1)
        scale = (weight / (outputs.size / len(outputs))).reshape(-1, *[1] * (outputs.ndim - 1))
        return (weight @ rows).item(), (s * scale).astype(outputs.dtype)


class MulticlassHinge(losses.Loss):
    """`l = max(0, 1 + max_{c ≠ t} z_c − z_t)` with the label t (Crammer and Singer, 2001)."""

    name, task, scores = "multiclass_hinge", "classification", ("error",)
    classifies, dimensions = True, (2,)

    def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        outputs, targets = self.checked(outputs, targets)
        weight, rows = row_weights(sample_weight, outputs), np.arange(len(outputs))
        others = outputs.copy()
        others[rows, targets] = -np.inf
        rival = others.real.argmax(axis=1)
        margins = 1 + outputs[rows, rival] - outputs[rows, targets]
        counted, grad = weight * (margins.real > 0), np.zeros_like(outputs)
        grad[rows, rival] = counted
        grad[rows, targets] = -counted
        return (counted @ margins).item(), grad

    @staticmethod
    def fused(outputs: Any, targets: Any, weight: Any, grad: Any) -> tuple[float, bool]:
        total, classes = 0.0, outputs.shape[1]
        for n in range(len(outputs)):
            if not 0 <= targets[n, 0] < classes:
                return total, False
            label, rival = int(targets[n, 0]), -1
            for c in range(classes):
                grad[n, c] = 0
                if c != label and (rival < 0 or outputs[n, c] > outputs[n, rival]):
                    rival = c
            margin = 1 + outputs[n, rival] - outputs[n, label]
            if margin > 0:
                total += weight[n] * margin
                grad[n, rival], grad[n, label] = weight[n], -weight[n]
        return total, True

    def check_targets(self, targets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if targets.shape != shape[:1] or targets.dtype.kind not in "iu":
            found = f"targets has shape {targets.shape} ({targets.dtype})"
            raise ValueError(f"{found}, wanted {shape[:1]} labels")

    def prepare(self, targets: np.ndarray) -> np.ndarray:
        return targets.astype(np.int64, copy=False)

    def labels(self, targets: np.ndarray) -> np.ndarray:
        return targets


OWN = Huber(), MulticlassHinge()

# ------------------------------------------------------------------------------------ and what works

RNG = np.random.default_rng(2015)
INPUTS = RNG.normal(size=(300, 5))
NUMBERS = INPUTS[:, 0] * 3 + RNG.standard_t(1.5, size=300)  # with outliers
LABELS = (INPUTS[:, 0] > 0).astype(np.uint8) + (INPUTS[:, 1] > 0)


@pytest.fixture(autouse=True)
def own() -> Iterator[dict[str, losses.Loss]]:
    """The losses above, registered."""
    found = {loss.name: losses.register(loss) for loss in OWN}
    yield found
    for name in found:
        del losses.LOSSES[name]


def data_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    return INPUTS, NUMBERS if name == "huber" else LABELS


def network_of(name: str, dtype: Any = None) -> Network:
    """One loss in float64 and one in float32: each is compiled once."""
    outputs, usual = (1, np.float64) if name == "huber" else (3, np.float32)
    return mlp([5, 20, outputs], compression=1 / 2, dtype=dtype or usual)


every_loss = pytest.mark.parametrize("name", ["huber", "multiclass_hinge"])


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient(name: str, weighted: bool) -> None:
    loss, network, (inputs, targets) = losses.get(name), network_of(name, dtype=np.float64), data_of(name)
    weight = RNG.integers(0, 4, 300) if weighted else None
    outputs = network.predict(inputs)
    check_gradients(lambda z: loss(z, targets, weight), outputs).raise_for_errors()
    smooth = mlp([5, 4, network.out_features], compression=1 / 2, activation="tanh")
    check_gradients(smooth, inputs[:20], loss=name, targets=targets[:20]).raise_for_errors()


@pytest.mark.parametrize("name, tolerance", [("huber", 1e-12), ("multiclass_hinge", 1e-5)])
def test_fused_as_unfused(name: str, tolerance: float) -> None:
    loss, network, (inputs, targets) = losses.get(name), network_of(name), data_of(name)
    weight = RNG.integers(0, 4, 300)
    step = fused.FusedNetwork(network)
    assert step._step(loss, inputs, targets, weight) is not None, "in one call a thread"
    for others in ((targets,), (targets, weight)):
        wanted, grad_outputs = loss(network.forward(inputs, training=True), *others)
        network.backward(grad_outputs, need_grad_inputs=False)
        grads = {key: grad.copy() for key, grad in network.grads.items()}
        assert step.loss_and_grads(loss, inputs, *others) == pytest.approx(wanted, rel=tolerance)
        for key, grad in network.grads.items():
            np.testing.assert_allclose(grad, grads[key], rtol=tolerance, atol=tolerance)


@every_loss
def test_fit_and_evaluate_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> tuple[Network, History]:
        network = network_of(name)
        return network, fit(network, data, data, loss=name, optimizer=Adam(0.01), epochs=30, batch_size=50)

    data = data_of(name)
    network, history = trained()
    assert network.task == losses.object_of(name).task
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    score = {"huber": "r2", "multiclass_hinge": "error"}[name]
    measured = evaluate(network, data, loss=name)
    assert measured.keys() == {"loss", score}
    assert measured["loss"] == history["validation_loss"][-1]
    assert measured[score] == history[f"validation_{score}"][-1]
    if score == "error":
        assert measured["error"] == (network.predict(INPUTS).argmax(axis=1) != LABELS).mean() < 0.1
    with monkeypatch.context() as patch:  # a panel at a time: the same but for rounding
        patch.setattr(fused, "LIMIT", 0)
        _, unfused = trained()
    np.testing.assert_allclose(history["loss"], unfused["loss"], rtol=1e-3)


def test_labels_have_class_weights() -> None:
    weight = np.where(LABELS == 2, 3.0, 1.0)
    data, found = (INPUTS, LABELS), []
    for train, classes in ((data, {2: 3}), ((*data, weight), None)):
        network = network_of("multiclass_hinge")
        fit(network, train, loss="multiclass_hinge", class_weight=classes, epochs=2)
        found.append(network.params)
    for key, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][key])
    with pytest.raises(ValueError, match="^class_weight is for classifiers, and loss is 'huber'$"):
        fit(network_of("huber"), (INPUTS, NUMBERS), loss="huber", class_weight="balanced")


def test_targets_are_checked_before_training(tmp_path: Path) -> None:
    spoiled = np.where(np.arange(300) == 7, np.nan, NUMBERS)
    with pytest.raises(ValueError, match="^train targets is nan in row 7, wanted a finite number$"):
        fit(network_of("huber"), (INPUTS, spoiled), loss="huber")
    with pytest.raises(ValueError, match="^targets is nan in row 7"):
        losses.check_targets("huber", spoiled, (300, 1))
    with pytest.raises(ValueError, match="^targets is nan in row 7"):
        FusedNetwork(network_of("huber")).loss_and_grads(losses.get("huber"), INPUTS, spoiled)
    path = tmp_path / "rows.csv"
    np.savetxt(path, np.column_stack([INPUTS, NUMBERS]), delimiter=",")
    assert "r2" in evaluate(network_of("huber"), path, loss="huber")
    with pytest.raises(ValueError, match="has one target a row, and network has 3 outputs, wanted one$"):
        evaluate(network_of("multiclass_hinge"), path, loss="huber")


def test_two_parameters_are_two_losses() -> None:
    """Each with compiled loops of its own, and with what is not registered too."""
    network = network_of("huber")
    step, outputs = FusedNetwork(network), network.predict(INPUTS)
    both = OWN[0], Huber(2.0)
    values = [step._step(loss, INPUTS, NUMBERS, None) for loss in both]
    assert values == pytest.approx([loss(outputs, NUMBERS)[0] for loss in both])
    assert values[0] != values[1]


def test_a_partial_asks_the_loss_and_is_not_fused() -> None:
    partial = functools.partial(losses.get("huber"), sample_weight=None)
    assert losses.object_of(partial) is losses.get("huber")
    assert FusedNetwork(network_of("huber"))._step(partial, INPUTS, NUMBERS, None) is None


def test_a_function_is_asked_nothing() -> None:
    def mean_squared_error(outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, Any]:
        return 1.0, np.zeros_like(outputs)

    unknown = losses.object_of(mean_squared_error)  # it only has the name
    assert unknown.name == "mean_squared_error" and not unknown.scores and unknown.task is None
    network = network_of("huber")
    fit(network, (INPUTS, np.full(300, "a")), loss=mean_squared_error, epochs=1)
    assert network.task is None
    assert evaluate(network, (INPUTS, NUMBERS), loss=mean_squared_error) == {"loss": 1.0}


def test_register_refuses(own: dict[str, losses.Loss]) -> None:
    assert losses.register(own["huber"]) is own["huber"]  # again
    with pytest.raises(ValueError, match="^a loss huber is registered already, wanted another name$"):
        losses.register(Huber(2.0))
    with pytest.raises(ValueError, match="^a Loss has no name, wanted one to register it by$"):
        losses.register(losses.Loss())


def test_their_loops_are_compiled_and_not_kept() -> None:
    fused_numba = pytest.importorskip("minihash.kernels.fused_numba")
    kept = fused_numba.step_with(losses.mean_squared_error.fused)
    not_kept = fused_numba.step_with(MulticlassHinge.fused)
    assert [type(step._cache).__name__ for step in (kept, not_kept)] == ["KernelCache", "NullCache"]
    assert fused_numba.step_with(losses.mean_squared_error.fused) is kept
    assert kept.py_func.__qualname__ != not_kept.py_func.__qualname__  # by which code is linked
