"""Where a network rounds: the scales of inputs and activations, by how they are spread over some rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash.integers import FUNCTIONS
from minihash.layers import Dropout, HashedLinear, Layer, QuantizedHashedLinear, ReLU, Rounding, WeightLayer
from minihash.network import Network
from minihash.sources import Data, source

ROWS = 2048  # that scales are chosen by
VALUES = 2**17  # of a layer, at most
CANDIDATES = np.linspace(0.2, 1.0, 81)  # scales, as parts of the one that clips nothing
BYTE = 255
KNOWN = (HashedLinear, QuantizedHashedLinear, ReLU, Dropout, *FUNCTIONS)


def least_error_scale(
    values: np.ndarray, low: int, high: int, function: Callable[[np.ndarray], np.ndarray] | None = None
) -> float:
    """Return the scale s with the least squared error of `s · clip(⌊v / s + 1/2⌋, low, high)`.

    A smaller scale rounds finer and clips more.

    Parameters
    ----------
    values : of any shape; the scale is a number of their dtype.
    low, high : of the whole numbers.
    function : the error is that of its values, where one follows.
    """
    dtype, values = values.dtype, values.astype(np.float64)
    most = float(np.abs(values).max(initial=0.0))
    largest = most / max(abs(low), abs(high))
    if largest < np.finfo(dtype).tiny:  # nothing, or so little that scales would not be exact
        return 1.0
    # Relative to the largest, as squares of huge and tiny values have no room.
    seen = function or (lambda array: array / most)
    wanted = seen(values)

    def error(part: float) -> float:
        scale = float(dtype.type(part * largest))
        rounded = np.clip(np.floor(values / scale + 0.5), low, high) * scale
        return float(np.square(seen(rounded) - wanted).sum())

    return float(dtype.type(min(CANDIDATES, key=error) * largest))


def with_roundings(network: Network, rows: np.ndarray) -> Network:
    """Return a network of the same layers that rounds inputs and activations to eight bits between them.

    Parameters
    ----------
    network : of hashed layers, ReLU, Tanh, Sigmoid and Dropout.
    rows : (rows, in_features), raw: scales are those with which inputs and activations have the least
        squared error over them. Bytes that the network scales alike, such as pixels, stay what they are.

    Raises
    ------
    ValueError for other layers, by their places, and for a network that rounds already.
    """
    for place, layer in enumerate(network.layers):
        if type(layer) not in KNOWN:
            names = ", ".join(kind.__name__ for kind in KNOWN)
            found = f"layers[{place}] is a {type(layer).__name__}"
            raise ValueError(f"{found}, wanted for integers one of {names}")
    values = network.scale(rows)
    layers: list[Layer] = [_of_inputs(network, rows, values)]
    for place, layer in enumerate(network.layers):
        function = FUNCTIONS.get(type(layer))
        if function is not None:
            layers.append(_rounding(network, values, np.vectorize(function, otypes=[float])))
        layers.append(layer)
        values = layer.forward(values)
        if not isinstance(layer, Dropout) and _precedes_weights(network.layers[place + 1 :]):
            layers.append(_rounding(network, values))
    return network.with_layers(layers)


def _precedes_weights(layers: list[Layer]) -> bool:
    """Tell whether the next layer that computes something has weights."""
    return isinstance(next((layer for layer in layers if not isinstance(layer, Dropout)), None), WeightLayer)


def _of_inputs(network: Network, rows: np.ndarray, values: np.ndarray) -> Rounding:
    """Return the rounding of the inputs: none of bytes, as far as it can be."""
    if rows.dtype == np.uint8 and not network.input_scale.ndim and not network.input_shift.any():
        return Rounding(float(network.input_scale), low=0, high=BYTE, dtype=network.dtype)
    return _rounding(network, values)


def _rounding(network: Network, values: np.ndarray, function: Any = None) -> Rounding:
    """Return the rounding of inputs or activations; of positive ones half of the numbers are enough."""
    low = 0 if (values >= 0).all() else -128
    some = values.ravel()[:: max(1, values.size // VALUES)]
    return Rounding(least_error_scale(some, low, 127, function), low=low, dtype=network.dtype)


def some_inputs(network: Network, train: Data, loss: Any) -> np.ndarray:
    """Return inputs of training rows, drawn, as many as scales are chosen by."""
    rows = source("train", train, network, loss).rows
    return next(iter(rows.batches(ROWS, np.random.default_rng(0)))).inputs.copy()
