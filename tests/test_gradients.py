"""Gradients of whole networks against central differences, one number at a time."""

from __future__ import annotations

import numpy as np
import pytest

from minihash import Dropout, HashedLinear, Linear, ReLU, Sigmoid, Tanh, hashing, losses
from minihash.kernels import panels
from minihash.network import Network, mlp

STEP = np.finfo(np.float64).eps ** (1 / 3)  # balances truncation, STEP², and rounding, eps / STEP
TOLERANCE = 20 * (STEP**2 + np.finfo(np.float64).eps / STEP)  # about 2e-9, for values of order 1

BATCH, FEATURES, OUTPUTS = 5, 4, 3
SEED = 19  # of networks in which no ReLU is near its kink
RNG = np.random.default_rng(2015)
INPUTS = RNG.normal(size=(BATCH, FEATURES))
WEIGHTS = RNG.uniform(0.5, 2, BATCH)
TARGETS = {
    "softmax_cross_entropy": np.array([0, 2, 1, 1, 0]),
    "mean_squared_error": RNG.normal(size=(BATCH, OUTPUTS)),
    "binary_cross_entropy": RNG.uniform(size=(BATCH, 1)),
}
PROBABILITIES = RNG.dirichlet(np.ones(OUTPUTS), BATCH)


def settle(network):
    """Give every parameter a value of order 1, biases too; return the network."""
    rng = np.random.default_rng(1)
    for param in network.params.values():
        param[...] = rng.uniform(0.3, 1, param.shape) * rng.choice([-1, 1], param.shape)
    return network


def loss_and_grads(network, inputs, loss, targets, need_grads=True):
    """The loss, and the gradients of all parameters and of the inputs; random states restored."""
    states = [layer.rng.bit_generator.state for layer in network.layers if hasattr(layer, "rng")]
    outputs = network.forward(inputs, training=True)
    for layer in network.layers:
        if hasattr(layer, "rng"):
            layer.rng.bit_generator.state = states.pop(0)
    value, grad_outputs = loss(outputs, targets, WEIGHTS)
    if not need_grads:
        return value, None
    grads = {"inputs": network.backward(grad_outputs)}
    return value, grads | {name: grad.copy() for name, grad in network.grads.items()}


def central_differences(network, inputs, loss, targets):
    """∂L/∂x of every number x of the parameters and inputs, each moved on its own."""
    inputs = inputs.copy()
    grads = {}
    for name, array in {"inputs": inputs, **network.params}.items():
        grads[name] = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept, values = array[index], []
            for step in (STEP, -STEP):
                array[index] = kept + step
                values.append(loss_and_grads(network, inputs, loss, targets, False)[0])
            array[index] = kept
            grads[name][index] = (values[0] - values[1]) / (2 * STEP)
    return grads


def largest_error(network, loss=losses.softmax_cross_entropy, targets=None):
    """The largest difference between a gradient and its central difference."""
    targets = TARGETS["softmax_cross_entropy"] if targets is None else targets
    arguments = network, INPUTS, loss, targets
    ref = central_differences(*arguments)
    _, comp = loss_and_grads(*arguments)
    assert comp.keys() == ref.keys() == {"inputs", *network.params}
    assert all(np.abs(grad).max() > 1e-3 for grad in comp.values())  # something to compare
    return max(np.abs(comp[name] - ref[name]).max() for name in ref)


def small(activation="tanh", outputs=OUTPUTS, **arguments):
    arguments = {"compression": 0.4, "dtype": np.float64, "seed": SEED} | arguments
    network = mlp([FEATURES, 6, 5, outputs], activation=activation, **arguments)
    return settle(network)


def distance_to_kinks(network):
    """The smallest |input| of a ReLU: central differences hold where nothing crosses 0."""
    activations, distance = INPUTS, np.inf
    for layer in network.layers:
        if isinstance(layer, ReLU):
            distance = min(distance, np.abs(activations).min())
        activations = layer.forward(activations)
    return distance


# ---------------------------------------------------------------------------------- all right


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_gradients_of_hashed_networks(activation, bias, signed):
    network = small(activation, bias=bias, signed=signed)
    assert distance_to_kinks(network) > 1000 * STEP
    assert largest_error(network) < TOLERANCE


@pytest.mark.parametrize("bias", ["free", "none"])
def test_gradients_of_dense_networks(bias):
    assert largest_error(small(compression=None, bias=bias)) < TOLERANCE


@pytest.mark.parametrize("buckets", [1, [1, 35, 18]])
def test_gradients_of_one_bucket_and_of_as_many_as_weights(buckets):
    assert largest_error(small(compression=None, num_buckets=buckets)) < TOLERANCE


def test_gradients_of_a_network_with_dropout():
    network = small(dropout=(0.2, 0.4))
    assert sum(isinstance(layer, Dropout) for layer in network.layers) == 3
    assert largest_error(network) < TOLERANCE
    first, second = (network.forward(INPUTS, training=True) for _ in range(2))
    assert not np.array_equal(first, second)  # it does drop, and only the restored state hides it


def test_gradients_of_raw_inputs():
    network = small(input_scale=[0.5, 2, -1, 1], input_shift=[0, 1, 0.1, -1])
    assert largest_error(network) < TOLERANCE


def test_gradients_of_many_small_panels(monkeypatch):
    monkeypatch.setattr(panels, "PANEL_BYTES", 6 * 8)
    monkeypatch.setattr(panels, "SUMMED_LENGTH", 2)
    assert largest_error(small()) < TOLERANCE


def test_gradients_of_all_kinds_of_layers_at_once():
    layers = [
        HashedLinear(FEATURES, 6, num_buckets=9, seed=1, dtype=np.float64),
        Sigmoid(np.float64),
        Dropout(0.3, dtype=np.float64),
        Linear(6, 5, dtype=np.float64),
        Tanh(np.float64),
        HashedLinear(5, OUTPUTS, num_buckets=4, seed=2, bias="free", dtype=np.float64),
    ]
    assert largest_error(settle(Network(layers))) < TOLERANCE


@pytest.mark.parametrize("name", losses.LOSSES)
def test_gradients_of_every_loss(name):
    targets = TARGETS[name]
    outputs = 1 if name == "binary_cross_entropy" else OUTPUTS
    assert largest_error(small(outputs=outputs), losses.LOSSES[name], targets) < TOLERANCE


def test_gradients_of_softmax_with_probabilities():
    loss = losses.softmax_cross_entropy
    assert largest_error(small(), loss, PROBABILITIES) < TOLERANCE


# --------------------------------------------------------------------- 0.1 % wrong is caught


def scaled(function):
    def wrong(*arguments, **keywords):
        return 1.001 * function(*arguments, **keywords)

    return wrong


@pytest.mark.parametrize(
    "owner, name",
    [
        (Tanh, "_backward"),
        (Sigmoid, "_backward"),
        (Dropout, "_backward"),
        (HashedLinear, "_backward"),
        (Linear, "_backward"),
        (hashing.ElementMap, "fold"),
        (panels, "gradients"),
        (Network, "backward"),
    ],
)
def test_a_gradient_wrong_by_a_thousandth_is_caught(monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, scaled(getattr(owner, name)))
    with pytest.raises(AssertionError, match="assert .* < "):
        test_gradients_of_all_kinds_of_layers_at_once()


def test_a_single_number_wrong_by_a_thousandth_is_caught():
    arguments = small(bias="free"), INPUTS, losses.softmax_cross_entropy, PROBABILITIES
    ref = central_differences(*arguments)
    _, comp = loss_and_grads(*arguments)
    for name, grad in comp.items():
        assert np.abs(grad - ref[name]).max() < TOLERANCE
        for index in np.argwhere(np.abs(grad) > 1e-5):  # not those of empty buckets
            wrong = grad.copy()
            wrong[tuple(index)] *= 1.001
            assert np.abs(wrong - ref[name]).max() > TOLERANCE
