"""Exported C trains as Python does: the same losses and parameters, step by step."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from c_tools import Library, close, networks
from hypothesis import assume, given
from hypothesis import strategies as st

from minihash import Network, datasets, losses, mlp, testing
from minihash.export import to_c
from minihash.export.c.forms import FORMS
from minihash.export.plan import make_plan
from minihash.layers import HashedLinear, Linear, ReLU, Tanh
from minihash.optimizers import SGD

pytestmark = pytest.mark.slow  # needs a compiler

LEARNING_RATE = 0.02
STEEPEST = 20.0


def step(network: Network, optimizer: SGD, x: np.ndarray, label: int) -> float:
    """The same step in Python: dropout is left out, as on the device."""
    outputs = network.forward(x[None], training=True)
    loss, grad_outputs = losses.softmax_cross_entropy(outputs, [label])
    network.backward(grad_outputs, need_grad_inputs=False)
    optimizer.step(network.params, network.grads)
    return loss


def parameters(network: Network) -> np.ndarray:
    """All parameters in the order of C: layer by layer."""
    layers = make_plan(network.layers, FORMS, training=True).layers
    return np.concatenate([array.ravel() for layer in layers for array in layer.parameters.values()])


def assume_rounding_stays_small(network: Network) -> None:
    """Where one weight feeds layer after layer, gradients are so large that rounding errors grow."""
    assume(max(np.abs(grad).max() for grad in network.grads.values()) < STEEPEST)


@given(network=networks(training=True), momentum=st.sampled_from([None, 0.9, 0.5]), seed=testing.seeds())
def test_steps_agree(network: Network, momentum: float | None, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        to_c(network, name, training=True)
        library = Library(Path(name), network, *(["-DMODEL_MOMENTUM"] if momentum else []))
        library.set("learning_rate", LEARNING_RATE)
        if momentum:
            library.set("momentum", momentum)
        assert np.array_equal(library.parameters(), parameters(network))
        optimizer = SGD(LEARNING_RATE, momentum or 0.0)
        rng = np.random.default_rng(seed)
        for _ in range(6):
            x = rng.normal(size=library.inputs).astype(np.float32)
            label = int(rng.integers(network.out_features))
            loss = step(network, optimizer, x, label)
            assume_rounding_stays_small(network)
            assert library.train_step(x, label) == pytest.approx(loss, rel=1e-4, abs=1e-5)
            assert close(library.parameters(), parameters(network))


def test_a_step_can_be_taken_back(tmp_path: Path) -> None:
    network = mlp([6, 5, 4], compression=0.5, seed=3)
    to_c(network, tmp_path, training=True)
    library = Library(tmp_path, network, "-DMODEL_MOMENTUM")
    x, start = np.arange(6) / 6, library.parameters()
    first = library.train_step(x, 2)
    trained = library.parameters()
    assert library.train_step(x, 2) < first and not np.array_equal(trained, start)
    library.load_parameters(start)
    assert library.train_step(x, 2) == first and np.array_equal(library.parameters(), trained)
    for wrong in (-1, 4):
        assert library.train_step(x, wrong) == -1
    assert np.array_equal(library.parameters(), trained)


def test_learns_digits(tmp_path: Path, digits: datasets.Dataset) -> None:
    network = mlp([784, 20, 10], compression=1 / 8, input_scale=1 / 255, seed=0)
    to_c(network, tmp_path, training=True)
    library = Library(tmp_path, network, "-O2")
    library.set("learning_rate", 0.02)
    images, labels = digits.train
    for x, label in zip(images[:2000], labels[:2000]):
        library.train_step(x, int(label))
    test, wanted = digits.test[0][:500], digits.test[1][:500]
    assert np.mean(np.array(library.classify(test)) != wanted) < 0.25


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    for layers, found in (
        ([Linear(3, 1)], "wanted 2 outputs at least"),
        ([HashedLinear(3, 2, num_buckets=3), ReLU(), Tanh()], "wants one activation after a layer"),
    ):
        with pytest.raises(ValueError, match=found):
            to_c(Network(layers), tmp_path / "new", training=True)
        assert not (tmp_path / "new").exists()
        to_c(Network(layers), tmp_path)
