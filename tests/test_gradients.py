"""Gradients of whole networks of every kind, checked by `check_gradients`."""

from __future__ import annotations

import numpy as np
import pytest

from minihash import Dropout, HashedLinear, Linear, Network, Sigmoid, Tanh, losses, mlp, virtual_matrix
from minihash.gradient_check import check_gradients
from minihash.kernels import panels, shared
from minihash.testing import randomize

BATCH, FEATURES, OUTPUTS = 5, 4, 3
RNG = np.random.default_rng(2015)
INPUTS = RNG.normal(size=(BATCH, FEATURES))
WEIGHTS = RNG.uniform(0.5, 2, BATCH)
TARGETS = {
    "softmax_cross_entropy": np.array([0, 2, 1, 1, 0]),
    "mean_squared_error": RNG.normal(size=(BATCH, OUTPUTS)),
    "binary_cross_entropy": RNG.uniform(size=(BATCH, 1)),
}
PROBABILITIES = RNG.dirichlet(np.ones(OUTPUTS), BATCH)
TARGETS["distillation"] = losses.distillation_targets([0, 2, 1, 1, 0], RNG.normal(size=(BATCH, OUTPUTS)))
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def assert_right(network, loss=losses.softmax_cross_entropy, targets=TARGETS["softmax_cross_entropy"]):
    """Every gradient under a loss of rows of different weights is right, and there is one to check."""
    report = check_gradients(network, INPUTS, loss=lambda z, t: loss(z, t, WEIGHTS), targets=targets)
    report.raise_for_errors()
    assert {array.name for array in report.arrays} == {"inputs", *network.params}
    assert all(array.status == "ok" and array.checked == "every place" for array in report.arrays)
    assert {array.method for array in report.arrays} <= {"complex step", "float64 twin"}
    outputs = network.forward(INPUTS, training=True)
    grad_inputs = network.backward(loss(outputs, targets, WEIGHTS)[1])
    assert all(np.abs(grad).max() > 1e-3 for grad in (grad_inputs, *network.grads.values()))


def small(activation="tanh", outputs=OUTPUTS, **arguments):
    arguments = {"compression": 0.4, "dtype": np.float64, "seed": 19} | arguments
    return randomize(mlp([FEATURES, 6, 5, outputs], activation=activation, **arguments), 1)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
@both_dtypes
def test_gradients_of_hashed_networks(activation, bias, signed, dtype):
    assert_right(small(activation, bias=bias, signed=signed, dtype=dtype))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
@both_dtypes
def test_gradients_of_networks_with_tiles(bias, signed, dtype):
    assert_right(small(tile=[2, 1, 3], bias=bias, signed=signed, dtype=dtype))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
@both_dtypes
def test_gradients_of_networks_with_shared_products(bias, signed, dtype, share_always):
    network = small(tile=[3, 4, 4], bias=bias, signed=signed, dtype=dtype)
    assert all(layer.matrix.shares for layer in network.layers[::2])
    assert_right(network)


@pytest.mark.parametrize("bias", ["free", "none"])
@both_dtypes
def test_gradients_of_dense_networks(bias, dtype):
    assert_right(small(compression=None, bias=bias, dtype=dtype))


@pytest.mark.parametrize("buckets", [1, [1, 35, 18]])
def test_gradients_of_one_bucket_and_of_as_many_as_weights(buckets):
    assert_right(small(compression=None, num_buckets=buckets))


@both_dtypes
def test_gradients_of_a_network_with_dropout(dtype):
    network = small(dropout=(0.2, 0.4), dtype=dtype)
    assert sum(isinstance(layer, Dropout) for layer in network.layers) == 3
    assert_right(network)
    first, second = (network.forward(INPUTS, training=True) for _ in range(2))
    assert not np.array_equal(first, second)  # it does drop, and only the frozen mask hides it


@both_dtypes
def test_gradients_of_raw_inputs(dtype):
    assert_right(small(input_scale=[0.5, 2, -1, 1], input_shift=[0, 1, 0.1, -1], dtype=dtype))


@pytest.mark.parametrize("tile", [1, 2])
@both_dtypes
def test_gradients_of_many_small_panels(monkeypatch, tile, dtype):
    for name, value in (("PANEL_SIZE", 6), ("PANEL_SUMMED", 2), ("SMALL_BATCH", 0), ("SMALL_WORK", 0)):
        monkeypatch.setattr(panels, name, value)
    assert_right(small(tile=tile, dtype=dtype))


def all_kinds(dtype=np.float64):
    layers = [
        HashedLinear(FEATURES, 6, num_buckets=9, seed=1, dtype=dtype),
        Sigmoid(dtype),
        Dropout(0.3, dtype=dtype),
        Linear(6, 5, dtype=dtype),
        Tanh(dtype),
        HashedLinear(5, 5, num_buckets=12, seed=3, tile=2, dtype=dtype),  # by panels
        HashedLinear(5, 5, num_buckets=8, seed=4, tile=2, dtype=dtype),  # shared products
        HashedLinear(5, OUTPUTS, num_buckets=4, seed=2, bias="free", dtype=dtype),
    ]
    return randomize(Network(layers), 1)


@both_dtypes
def test_gradients_of_all_kinds_of_layers_at_once(dtype, share_always):
    assert_right(all_kinds(dtype))


@pytest.mark.parametrize("name", losses.LOSSES)
@both_dtypes
def test_gradients_of_every_loss(name, dtype):
    outputs = 1 if name == "binary_cross_entropy" else OUTPUTS
    assert_right(small(outputs=outputs, dtype=dtype), losses.LOSSES[name], TARGETS[name])


def test_gradients_of_softmax_with_probabilities():
    assert_right(small(), losses.softmax_cross_entropy, PROBABILITIES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "owner, name",
    [
        (Tanh, "_backward"),
        (Sigmoid, "_backward"),
        (Dropout, "_backward"),
        (HashedLinear, "_backward"),
        (Linear, "_backward"),
        (virtual_matrix.VirtualMatrix, "_arrange"),
        (virtual_matrix.VirtualMatrix, "_arrange_back"),
        (panels, "gradients"),
        (shared, "gradients"),
        (Network, "backward"),
    ],
)
def test_a_thousandth_anywhere_in_the_package_is_caught(monkeypatch, share_always, owner, name):
    right = getattr(owner, name)

    def wrong(*arguments):
        result = right(*arguments)
        if result is not None:
            return 1.001 * result
        grad_weight = arguments[4]  # that both `gradients` fill
        grad_weight *= 1.001

    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError, match="gradient check: [0-9]+ wrong"):
        assert_right(all_kinds())
