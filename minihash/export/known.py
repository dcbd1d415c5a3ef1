"""What exports know: whatever decides what is written is looked up, and refused if it is unknown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from minihash.kernels.devices import check_on_host
from minihash.layers import Dropout, HashedLinear, Layer, Linear, QuantizedHashedLinear, ReLU, Sigmoid, Tanh
from minihash.layers.hashed_linear import BIASES
from minihash.layers.registry import Forms
from minihash.maps import BucketMap
from minihash.network import Network

#: Parameters of the package's layers. One with another computes something else; of other kinds, forms know.
PARAMETERS: dict[type[Layer], set[str]] = {
    HashedLinear: {"weight", "bias"},
    QuantizedHashedLinear: {"codes", "scale", "bias"},
    Linear: {"weight", "bias"},
    **dict.fromkeys((ReLU, Tanh, Sigmoid, Dropout), set()),
}
STEPS = 8  # of float32 in the spread of a feature or an output, at least


def network_of(model: Any) -> Any:
    """Return the network of an estimator, and anything else as it is; refuse one that is not fitted."""
    if hasattr(model, "get_params") and not hasattr(model, "network_"):
        raise ValueError(f"network is a {type(model).__name__} that is not fitted, wanted fit before")
    return getattr(model, "network_", model)


def check_network(
    network: Any, forms: Forms[Any], bits: Collection[int], wanted: str, dtype: Any = None
) -> None:
    """Raise a ValueError for what a target cannot write, before any of it is written.

    Parameters
    ----------
    network : float32 or float64, on the CPU.
    forms : the target's, of layers.
    bits : of quantised weights that it has a form of.
    wanted : what dtypes it takes, for the message.
    dtype : that its numbers are written in; by default the network's.
    """
    if not isinstance(network, Network):
        raise ValueError(f"network is {network!r}, wanted a Network")
    if network.dtype not in (np.float32, np.float64):
        raise ValueError(f"network has dtype {network.dtype}, wanted {wanted} for {forms.target}")
    check_on_host("network", network)
    check_layers(network.layers, forms, bits)
    check_numbers(network, np.dtype(dtype or network.dtype))


def check_layers(layers: Sequence[Layer], forms: Forms[Any], bits: Collection[int]) -> None:
    """Raise a ValueError that names what a target has no form of."""
    for position, layer in enumerate(layers):
        place, kind = f"layers[{position}]", type(layer)
        forms.of(layer, place)
        for name in layer.params.keys() - PARAMETERS.get(kind, layer.params.keys()):
            raise ValueError(f"{place} has a parameter {name!r} that {forms.target} has no form of")
        if kind in (HashedLinear, QuantizedHashedLinear):
            _check_hashed(layer, place, f"wanted one that {forms.target} has a form of:", bits)


def _check_hashed(layer: Any, place: str, wanted: str, bits: Collection[int]) -> None:
    if type(layer.bucket_map) is not BucketMap:
        raise ValueError(f"{place} has the map {type(layer.bucket_map).__name__}, {wanted} BucketMap")
    known: dict[str, tuple[Any, Collection[Any]]] = {
        "the bias": (layer.bias, BIASES),
        "signed": (layer.signed, (True, False)),
    }
    if type(layer) is QuantizedHashedLinear:
        known["bits"] = layer.bits, bits
    for what, (value, values) in known.items():
        if value not in values:
            raise ValueError(f"{place} has {what} {value!r}, {wanted} {', '.join(map(repr, values))}")


def check_numbers(network: Network, dtype: np.dtype) -> None:
    """Raise a ValueError for parameters and a scaling that are not finite in a dtype, or of no use in it.

    Of a feature or an output whose mean is large beside its spread, numbers of the dtype are too coarse.
    """
    names = "input_scale", "input_shift", "output_scale", "output_shift"
    scaling = {name: getattr(network, name) for name in names}
    for name, array in {**network.params, **scaling}.items():
        if not (np.abs(array) <= np.finfo(dtype).max).all():
            raise ValueError(f"{name} has NaN or infinity, wanted numbers that are finite in {dtype}")
    for name, shift, scale in (
        ("input_shift of feature", network.input_shift, network.input_scale),
        ("output_shift of output", network.output_shift, 1 / network.output_scale),
    ):
        shift, scale = np.broadcast_arrays(shift, scale)
        steps = np.spacing(np.abs(shift).astype(dtype)).astype(np.float64)
        lost = np.flatnonzero(steps * np.abs(scale) * STEPS > 1)
        if lost.size:
            mean, size, step = (float(one.flat[lost[0]]) for one in (shift, np.abs(scale), steps))
            found = f"{name} {lost[0]} is {mean:.6g} with a spread of {1 / size:.3g}"
            wanted = f"wanted {STEPS} steps of {dtype} in the spread"
            raise ValueError(f"{found}, {wanted}: one is {step:.3g} there")
