"""The virtual matrix V of a layer: products with it, and their gradients, without ever making it whole.

A layer knows V by this class alone. V's last column may be a bias, whose input is the constant 1. There are
two ways to multiply, and counts of multiplications choose between them:

    panels             V is made a block at a time (kernels/panels.py): rows · columns multiplications
    shared products    what a tile contributes to a segment of the inputs is computed once for all rows that
                       drew it (kernels/shared.py): T · G · B multiplications and rows · G additions
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash.kernels import panels, shared
from minihash.kernels.devices import CPU, Device
from minihash.kernels.folds import fold, folds_bias, unfold
from minihash.kernels.panels import Part


class VirtualMatrix:
    """V (rows, columns), `V[i, j] = ξ(i, j) · w[h(i, j)]` (eq. 7), by its map.

    Parameters
    ----------
    map : of maps.py.
    rows : of V, the outputs.
    features : inputs.
    bias : whether V has one more column, fed by the constant 1.
    """

    def __init__(self, map: Any, rows: int, features: int, bias: bool) -> None:
        self.map, self.rows, self.features = map, rows, features
        self.columns = features + bias

    @property
    def shares(self) -> bool:
        """Whether products can be shared: V is made of tiles, and of fewer than it has rows."""
        return self.map.name == "tile" and self.map.tiles < self.rows

    @property
    def multiplications(self) -> int:
        """Multiplications with weights that a row of inputs takes; the bias is not counted."""
        if self.shares:
            return self.map.tiles * self.features
        return self.rows * min(getattr(self.map, "window", self.features), self.features)

    def multiplies_shared(self, weight: np.ndarray, device: Device) -> bool:
        """Tell whether products are shared here: there are kernels for floats on the CPU."""
        return self.shares and weight.dtype.kind == "f" and device is CPU

    def multiply(
        self, inputs: np.ndarray, weight: np.ndarray, dtype: np.dtype, device: Device
    ) -> tuple[np.ndarray, Any]:
        """Return the product `inputs @ Vᵀ` (batch, rows), eq. 8, and what `gradients` needs of the inputs.

        Parameters
        ----------
        inputs : (batch, features), of `dtype`, as all but the weights.
        weight : (num_buckets,), or codes of eight or four bits: then V is made of whole numbers.
        dtype, device : of the arrays.
        """
        outputs = device.xp.empty((len(inputs), self.rows), dtype)
        if self.multiplies_shared(weight, device):
            return outputs, shared.multiply(inputs, weight, self.map, outputs)
        folded = self._fold(inputs, device)
        panels.multiply(self._parts(folded, device), weight, self.map, outputs, device)
        return outputs, folded

    def gradients(
        self,
        saved: Any,
        weight: np.ndarray,
        grad_outputs: np.ndarray,
        grad_weight: np.ndarray,
        need_grad_inputs: bool,
        device: Device,
    ) -> np.ndarray | None:
        """Fill `grad_weight` (eq. 12), and return `grad_outputs @ V` (batch, features) if it is needed."""
        if self.multiplies_shared(weight, device):
            shape = (len(grad_outputs), self.features)
            grad_inputs = np.empty(shape, weight.dtype) if need_grad_inputs else None
            shared.gradients(saved, weight, self.map, grad_outputs, grad_weight, grad_inputs)
            return grad_inputs
        grad_folded = device.xp.empty(saved.shape, weight.dtype) if need_grad_inputs else None
        parts = self._parts(saved, device, grad_folded)
        panels.gradients(parts, weight, self.map, grad_outputs, grad_weight, device)
        return None if grad_folded is None else unfold(grad_folded, self.map, self.features, device)

    def training_bytes(self, itemsize: int, device: Device) -> int:
        """Return what copies of the weights' gradient take in a training step."""
        most = panels.count_shards(self.rows * self.columns, self.map.num_buckets, device.shards)
        return (most - 1) * self.map.num_buckets * itemsize

    def _fold(self, inputs: np.ndarray, device: Device) -> np.ndarray:
        """Return what V's columns are multiplied by, unless the bias's 1 is left to `_parts`."""
        small = panels.is_small(len(inputs), self.rows, self.columns)
        if not (small and self.columns > self.features) or folds_bias(self.map):
            return fold(inputs, self.map, device)
        # One call of a kernel instead of two.
        with_bias = device.xp.empty((len(inputs), self.columns), inputs.dtype)
        with_bias[:, :-1] = inputs
        with_bias[:, -1] = 1
        return with_bias

    def _parts(
        self, folded: np.ndarray, device: Device, grad_folded: np.ndarray | None = None
    ) -> list[Part]:
        """Return V's columns with what they are multiplied by; a bias that is not folded with 1."""
        parts = [Part(0, folded, grad_folded)]
        if folded.shape[1] < self.columns and not folds_bias(self.map):
            parts.append(Part(self.features, device.xp.ones((len(folded), 1), folded.dtype)))
        return parts
