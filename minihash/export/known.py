"""What exports know: whatever decides what is written is looked up, and refused if it is unknown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minihash.layers import HashedLinear, Layer, QuantizedHashedLinear
from minihash.layers.hashed_linear import BIASES
from minihash.maps import BucketMap
from minihash.network import Network

#: Names of parameters. A layer with another one computes something else.
PARAMETERS = {"weight", "bias", "codes", "scale"}
STEPS = 8  # of float32 in the spread of a feature, at least


@dataclass(frozen=True)
class Forms:
    """What a target has a form of: classes of layers, bits of quantised weights; of maps, `BucketMap`."""

    target: str
    layers: Collection[type[Layer]]
    bits: Collection[int]

    def check(self, layers: Sequence[Layer]) -> None:
        """Raise a ValueError that names what the target has no form of."""
        for position, layer in enumerate(layers):
            place = f"layers[{position}]"
            if type(layer) not in self.layers:
                wanted = f"layers that {self.target} has a form of: {_names(self.layers)}"
                raise ValueError(f"{place} is a {type(layer).__name__}, wanted {wanted}")
            for name in layer.params.keys() - PARAMETERS:
                raise ValueError(f"{place} has a parameter {name!r} that {self.target} has no form of")
            if isinstance(layer, HashedLinear):
                self._check_hashed(place, layer)

    def _check_hashed(self, place: str, layer: HashedLinear) -> None:
        if type(layer.bucket_map) is not BucketMap:
            found = f"{place} has the map {type(layer.bucket_map).__name__}"
            raise ValueError(f"{found}, wanted one that {self.target} has a form of: BucketMap")
        self._check_one(f"{place} has the bias", layer.bias, BIASES)
        self._check_one(f"{place} has signed", layer.signed, (True, False))
        if isinstance(layer, QuantizedHashedLinear):
            self._check_one(f"{place} has bits", layer.bits, self.bits)

    def _check_one(self, found: str, value: Any, known: Collection[Any]) -> None:
        if value not in known:
            wanted = ", ".join(map(repr, known))
            raise ValueError(f"{found} {value!r}, wanted one that {self.target} has a form of: {wanted}")


def _names(kinds: Collection[type]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)


def check_numbers(network: Network, dtype: Any) -> None:
    """Raise a ValueError for parameters and a scaling that are not finite in a dtype, or of no use in it.

    Of a feature whose mean is large beside its spread, numbers of the dtype are too coarse to hold data.
    """
    dtype = np.dtype(dtype)
    scaling = {"input_scale": network.input_scale, "input_shift": network.input_shift}
    for name, array in {**network.params, **scaling}.items():
        if not (np.abs(array) <= np.finfo(dtype).max).all():
            raise ValueError(f"{name} has NaN or infinity, wanted numbers that are finite in {dtype}")
    shift, scale = np.broadcast_arrays(network.input_shift, network.input_scale)
    steps = np.spacing(np.abs(shift).astype(dtype)).astype(np.float64)
    lost = np.flatnonzero(steps * np.abs(scale) * STEPS > 1)
    if lost.size:
        mean, size, step = (float(one.flat[lost[0]]) for one in (shift, np.abs(scale), steps))
        found = f"input_shift of feature {lost[0]} is {mean:.6g} with a spread of {1 / size:.3g}"
        raise ValueError(f"{found}, wanted {STEPS} steps of {dtype} in the spread: one is {step:.3g} there")
