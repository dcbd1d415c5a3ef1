"""Quantisation: buckets of hashed layers in eight or four bits, after training or with a fine-tune."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.kernels.devices import check_on_host
from minihash.layers import HashedLinear, Layer, QuantizedHashedLinear
from minihash.layers.quantized_hashed_linear import BITS
from minihash.network import Network
from minihash.optimizers import Adam, Arrays, Optimizer
from minihash.training import Data, History, fit

CANDIDATES = np.linspace(0.2, 1.0, 81)  # scales, as parts of the one that clips nothing


def choose_scale(weight: np.ndarray, bits: int) -> float:
    """Return the scale s with the least squared error of `s · code` against the weights.

    `code = clip(round(w / s), ±(2^(bits − 1) − 1))`: a smaller scale rounds finer and clips more.
    """
    weight = weight.astype(np.float64)
    largest = float(np.abs(weight).max()) / _largest_code(bits)
    if largest == 0:
        return 1.0
    errors = [np.square(quantized(weight, part * largest, bits) - weight).sum() for part in CANDIDATES]
    return float(np.float32(CANDIDATES[int(np.argmin(errors))] * largest))


def codes_of(weight: np.ndarray, scale: float, bits: int) -> np.ndarray:
    """Return the codes (num_buckets,) int8 of weights at a scale."""
    largest = _largest_code(bits)
    return np.clip(np.rint(weight / scale), -largest, largest).astype(np.int8)


def quantized(weight: np.ndarray, scale: float, bits: int) -> np.ndarray:
    """Return the weights that the codes stand for, in the weights' dtype."""
    return codes_of(weight, scale, bits) * weight.dtype.type(scale)


def _largest_code(bits: int) -> int:
    return int(2 ** (bits - 1) - 1)


def quantize(network: Network, bits: int = 8, scales: dict[str, float] | None = None) -> Network:
    """Return a copy of a network whose hashed layers have their buckets in eight or four bits.

    Other layers are copied as they are.

    Parameters
    ----------
    network : with a hashed layer at least.
    bits : 8 or 4.
    scales : of weights by their names ("0.weight"); by default the best for each layer, `choose_scale`.

    Returns
    -------
    Network : it predicts, and does not train.

    Raises
    ------
    ValueError for a wrong argument, and for a network without hashed layers.
    """
    _check(network, bits)
    layers = [
        _quantize_layer(layer, bits, (scales or {}).get(f"{position}.weight"))
        for position, layer in enumerate(network.layers)
    ]
    return Network(
        layers,
        input_scale=network.input_scale,
        input_shift=network.input_shift,
        class_names=network.class_names,
    )


def _quantize_layer(layer: Layer, bits: int, scale: float | None) -> Layer:
    copy = type(layer)(**layer.config())
    if type(layer) is HashedLinear:
        made = QuantizedHashedLinear(**layer.config(), bits=bits)
        scale = choose_scale(layer.weight, bits) if scale is None else scale
        made.set_codes(codes_of(layer.weight, scale, bits), scale)
        copy = made
    for name, array in layer.params.items():
        if name in copy.params:
            copy.params[name][...] = array
    return copy


def _check(network: Any, bits: Any) -> None:
    if not isinstance(network, Network):
        raise ValueError(f"network is {network!r}, wanted a Network")
    check_on_host("network", network)
    if bits not in BITS or isinstance(bits, bool):
        raise ValueError(f"bits is {bits!r}, wanted 8 or 4")
    if not any(type(layer) is HashedLinear for layer in network.layers):
        raise ValueError("network has no hashed layer of floats, wanted one at least")


class StraightThrough(Optimizer):
    """An optimizer for weights that are used quantised: it keeps the ones in floating point.

    The gradient at `quantized(w)` moves w ("straight through" the rounding), and the parameters become
    `quantized(w)` again.

    Parameters
    ----------
    inner : the optimizer that moves w.
    network : whose hashed layers are used quantised from now on.
    bits : 8 or 4.

    `scales` are those of the weights by their names, as `quantize` takes them; they stay.

    Source: Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013; Courbariaux
    et al., BinaryConnect, 2015.
    """

    def __init__(self, inner: Optimizer, network: Network, bits: int) -> None:
        super().__init__(inner.learning_rate, inner.weight_decay)
        self.inner, self.bits = inner, bits
        names = [f"{p}.weight" for p, layer in enumerate(network.layers) if type(layer) is HashedLinear]
        self.weights = {name: network.params[name].copy() for name in names}
        self.scales = {name: choose_scale(weight, bits) for name, weight in self.weights.items()}
        self._use(network.params)

    def step(self, params: Arrays, grads: Arrays) -> None:
        self.inner.learning_rate = self.learning_rate
        self.inner.step({**params, **self.weights}, grads)
        self.steps = self.inner.steps
        self._use(params)

    def _use(self, params: Arrays) -> None:
        for name, weight in self.weights.items():
            params[name][...] = quantized(weight, self.scales[name], self.bits)


def fine_tune(
    network: Network,
    train: Data,
    validation: Data | None = None,
    *,
    bits: int = 8,
    optimizer: Optimizer | None = None,
    epochs: int = 5,
    **arguments: Any,
) -> tuple[Network, History]:
    """Train a network on with quantised weights, and return it quantised.

    Parameters
    ----------
    network : trained; it is changed: its weights become those of the result.
    train, validation, epochs, arguments : as in `fit`.
    bits : 8 or 4.
    optimizer : by default Adam at a learning rate of 1e-4, small against what trained the network.

    Returns
    -------
    (Network, History) : quantised, and what `fit` returned.

    Raises
    ------
    ValueError for a wrong argument; FloatingPointError as `fit`.
    """
    _check(network, bits)
    epochs = checks.integer("epochs", epochs, 1, 2**31)
    through = StraightThrough(Adam(1e-4) if optimizer is None else optimizer, network, bits)
    history = fit(network, train, validation, optimizer=through, epochs=epochs, **arguments)
    return quantize(network, bits, through.scales), history
