"""Matrices of small networks made whole, for a fused step, and where their gradients go."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash.hashing import SIGN
from minihash.kernels.devices import CPU
from minihash.layers import HashedLinear, Linear
from minihash.layers.registry import Forms

SPAN = (1, 0)  # of slots that hold a position each
DENSE = 12  # times: so much sooner is a dense layer as fast by itself
MATRICES: Forms[type[Dense]] = Forms("a fused step")


@MATRICES.register(Linear)
class Dense:
    """The whole matrix of a dense layer (out, in + 1), the bias its last column, and its gradient.

    Below each is a row of zeros (kernels/fused_numba.py).
    """

    def __init__(self, layer: Any, matrix: np.ndarray, gradient: np.ndarray) -> None:
        shape = layer.out_features + 1, layer.in_features + 1
        self.layer, self.matrix = layer, matrix.reshape(shape)[:-1]
        self.gradient = gradient.reshape(shape)[:-1]

    @staticmethod
    def times(layer: Any) -> float:
        """Return how much less there is to gain than from a hashed layer."""
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


@MATRICES.register(HashedLinear)
class Hashed(Dense):
    """The whole virtual matrix of a hashed layer.

    Where no bias is hashed, the last column is overwritten, and its gradient is not one of the weights.
    `slots` hold the bucket and the sign of every position, and do not change.
    """

    def __init__(self, layer: Any, matrix: np.ndarray, gradient: np.ndarray) -> None:
        super().__init__(layer, matrix, gradient)
        self.kernels = CPU.kernels.KERNELS["element"]
        buckets, signs = layer.bucket_map(np.arange(layer.out_features)[:, None], np.arange(layer.columns))
        self.slots = np.zeros(self.matrix.shape, np.uint32)
        self.slots[:, : layer.columns] = buckets.astype(np.uint32) | np.where(signs < 0, SIGN, 0)

    @staticmethod
    def times(layer: Any) -> float:
        return 1

    def expand(self) -> None:
        self.kernels.expand(self.layer.params["weight"], self.slots, SPAN, self.matrix)
        if self.layer.bias != "hashed":
            self.matrix[:, -1] = self.layer.params.get("bias", 0)

    def aggregate(self) -> None:
        grads, gradient = self.layer.grads, self.gradient
        if self.layer.bias != "hashed":
            if "bias" in grads:
                grads["bias"][...] = gradient[:, -1]
            gradient[:, -1] = 0
        grads["weight"].fill(0)
        self.kernels.aggregate(gradient, self.slots, SPAN, grads["weight"])
