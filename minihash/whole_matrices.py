"""Matrices of small networks made whole, for a fused step, and where their gradients go."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash.kernels.devices import CPU
from minihash.layers import HashedLinear, Layer, Linear

DENSE = 12  # times: so much sooner is a dense layer as fast by itself


class _Dense:
    """The whole matrix of a dense layer (out, in + 1), the bias its last column, and its gradient.

    Below each is a row of zeros (kernels/fused_numba.py).
    """

    def __init__(self, layer: Any, matrix: np.ndarray, gradient: np.ndarray) -> None:
        shape = layer.out_features + 1, layer.in_features + 1
        self.layer, self.matrix = layer, matrix.reshape(shape)[:-1]
        self.gradient = gradient.reshape(shape)[:-1]

    @staticmethod
    def times(layer: Any) -> float:
        """Return how much less there is to gain than from a hashed layer without folds."""
        return DENSE

    def expand(self) -> None:
        """Fill the matrix."""
        self.matrix[:, :-1] = self.layer.params["weight"]
        self.matrix[:, -1] = self.layer.params.get("bias", 0)

    def aggregate(self) -> None:
        """Fill the layer's gradients from that of the matrix, which is used up."""
        grads = self.layer.grads
        grads["weight"][...] = self.gradient[:, :-1]
        if "bias" in grads:
            grads["bias"][...] = self.gradient[:, -1]


class _Hashed(_Dense):
    """The whole virtual matrix of a hashed layer.

    Where no bias is hashed, the last column is overwritten, and its gradient is not one of the weights.
    `slots` do not change.
    """

    def __init__(self, layer: Any, matrix: np.ndarray, gradient: np.ndarray) -> None:
        super().__init__(layer, matrix, gradient)
        map, (rows, columns) = layer.bucket_map, self.matrix.shape
        self.kernels = CPU.kernels_of(map.name)
        self.slots = np.zeros((rows, 1 if self.kernels.one_slot_a_row else columns), np.uint32)
        self._locate(map)

    def _locate(self, map: Any) -> None:
        """Fill the slots."""
        self.kernels.locate(map.key, (0, 0), self.slots)

    @staticmethod
    def times(layer: Any) -> float:
        return 1

    def expand(self) -> None:
        self._fill(self.layer.params["weight"])
        if self.layer.bias != "hashed":
            self.matrix[:, -1] = self.layer.params.get("bias", 0)

    def aggregate(self) -> None:
        grads, gradient = self.layer.grads, self.gradient
        if self.layer.bias != "hashed":
            if "bias" in grads:
                grads["bias"][...] = gradient[:, -1]
            gradient[:, -1] = 0
        grads["weight"].fill(0)
        self._sum(grads["weight"])

    def _fill(self, weight: np.ndarray) -> None:
        self.kernels.expand(weight, self.slots, self.matrix)

    def _sum(self, grad_weight: np.ndarray) -> None:
        self.kernels.aggregate(self.gradient, self.slots, grad_weight)


class _Window(_Hashed):
    """A window is unfolded: then it is multiplied by the inputs as they are."""

    def __init__(self, layer: Any, matrix: np.ndarray, gradient: np.ndarray) -> None:
        super().__init__(layer, matrix, gradient)
        map, (rows, columns) = layer.bucket_map, self.matrix.shape
        more = 0, columns - map.columns
        self.folding = np.pad(map.signs, more), np.pad(map.places, more)
        self.window = np.empty((rows, map.window), layer.dtype)

    @staticmethod
    def times(layer: Any) -> float:
        return layer.columns / layer.window

    def _fill(self, weight: np.ndarray) -> None:
        self.kernels.expand(weight, self.slots, self.window)
        CPU.kernels.unfold(self.window, *self.folding, self.matrix)

    def _sum(self, grad_weight: np.ndarray) -> None:
        self.window.fill(0)
        CPU.kernels.fold(self.gradient, *self.folding, self.window)
        self.kernels.aggregate(self.window, self.slots, grad_weight)


class _Tiles(_Hashed):
    """Tiles are put back into the order of the inputs, with the signs of the columns."""

    def _locate(self, map: Any) -> None:
        arranged = np.empty((len(self.slots), map.segments * map.tile), np.uint32)
        self.kernels.locate(map.key, (0, 0), arranged)
        flips = np.where(map.signs < 0, np.uint32(1 << 31), np.uint32(0))
        self.slots[:, : map.columns] = arranged[:, map.places] ^ flips


#: By the type of a layer and the name of its map.
KINDS: dict[tuple[type[Layer], str], type[_Dense]] = {
    (Linear, ""): _Dense,
    (HashedLinear, "element"): _Hashed,
    (HashedLinear, "window"): _Window,
    (HashedLinear, "tile"): _Tiles,
}


def kind(layer: Layer) -> tuple[type[Layer], str]:
    """Return what KINDS may have by."""
    return type(layer), layer.bucket_map.name if isinstance(layer, HashedLinear) else ""


def describe(layer: Layer) -> str:
    """Return the kind of a layer in words."""
    of, map = kind(layer)
    return f"{of.__name__} with map {map!r}" if map else of.__name__
