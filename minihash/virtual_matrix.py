"""The virtual matrix V: what a layer multiplies by, and sums gradients into, without keeping it.

V is multiplied in one of two ways (docs/decisions.md):

    panels             V is made a block at a time (kernels/panels.py): rows · columns multiplications. A V of
                       tiles that is no larger than a block, with fewer rows than the batch, is put in order
                       itself; else the inputs are
    shared products    what a tile contributes to a segment of the inputs is computed once for all rows that
                       drew it (kernels/shared.py): T · G · B multiplications and rows · G additions
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minihash.kernels import panels, shared
from minihash.kernels.devices import Device
from minihash.kernels.panels import Part

ADDITION = 16  # multiplications inside a matrix product that take as long as one addition outside


class VirtualMatrix:
    """V (rows, columns), `V[i, j] = ξ(i, j) · w[h(i, j)]` (eq. 7), by its map.

    Where inputs have a feature less than V has columns, the last column is a bias, fed by the constant 1.

    Parameters
    ----------
    map : of maps.py, or one of your own.
    rows, columns : of V; outputs, and inputs with the bias among them.
    """

    def __init__(self, map: Any, rows: int, columns: int) -> None:
        self.map, self.rows, self.columns = map, rows, columns

    @property
    def shares(self) -> bool:
        """Whether shared products cost less than panels: T · G · B multiplications and rows · G additions."""
        map = self.map
        return map.tiles * map.tile + ADDITION * self.rows < self.rows * map.tile

    def multiplications(self, features: int) -> int:
        """Return the multiplications with weights that a row of inputs takes; the bias is not counted."""
        return (self.map.tiles if self.shares else self.rows) * features

    def _shares(self, batch: int) -> bool:
        """Tell whether products are shared here: small ones take one call without."""
        return self.shares and batch * self.rows * self.columns > panels.SMALL_WORK

    def multiply(
        self, inputs: np.ndarray, weight: np.ndarray, dtype: np.dtype, device: Device
    ) -> tuple[np.ndarray, Any]:
        """Return the product `inputs @ Vᵀ` (batch, rows), eq. 8, and what `gradients` needs of the inputs.

        Parameters
        ----------
        inputs : (batch, columns), or (batch, columns − 1) without the bias's 1; of `dtype`, as all but the
            weights.
        weight : (num_buckets,), floats or codes: then V is made of whole numbers.
        dtype, device : of the arrays.
        """
        outputs = device.xp.empty((len(inputs), self.rows), dtype)
        arranged: Any = inputs
        if self._shares(len(inputs)):
            arranged = shared.multiply(inputs, weight, self.map, outputs, device)
        elif self._puts_rows_in_order(len(inputs)):
            device.run([functools.partial(self._multiply_in_order, inputs, weight, outputs, device)])
        else:
            arranged = self._arrange(inputs, device)
            panels.multiply(self._parts(arranged, device), weight, self.map, outputs, device)
        return outputs, (inputs.shape[1], arranged)

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
        (features, arranged), batch = saved, len(grad_outputs)
        if self._shares(batch):
            grad_inputs = device.xp.empty((batch, features), weight.dtype) if need_grad_inputs else None
            shared.gradients(arranged, weight, self.map, grad_outputs, grad_weight, grad_inputs, device)
            return grad_inputs
        grad_arranged = device.xp.empty_like(arranged) if need_grad_inputs else None
        if self._puts_rows_in_order(batch):
            step = arranged, weight, grad_outputs, grad_weight, grad_arranged, device
            device.run([functools.partial(self._gradients_in_order, *step)])
            return grad_arranged
        parts = self._parts(arranged, device, grad_arranged)
        panels.gradients(parts, weight, self.map, grad_outputs, grad_weight, device)
        return None if grad_arranged is None else self._arrange_back(grad_arranged, features, device)

    def _puts_rows_in_order(self, batch: int) -> bool:
        """Tell whether columns of V are put in order instead of those of the inputs, which are more."""
        size = self.rows * self.columns
        few = self.rows < batch and size <= panels.PANEL_SIZE
        return few and self.map.tile > 1 and not panels.is_small(batch, self.rows, self.columns)

    def _multiply_in_order(
        self, inputs: np.ndarray, weight: np.ndarray, outputs: np.ndarray, device: Device
    ) -> None:
        slots, features = panels.locate(self.map, self.rows, device), inputs.shape[1]
        matrix = self._rows_in_order(slots, weight, outputs.dtype, device)
        device.xp.matmul(inputs, matrix[:, :features].T, out=outputs)
        if features < self.columns:  # the bias
            outputs += matrix[:, features]

    def _rows_in_order(
        self, slots: np.ndarray, weight: np.ndarray, dtype: np.dtype, device: Device
    ) -> np.ndarray:
        """Return V (rows, columns), its columns in the order of the inputs."""
        by_place = panels.expand(weight, self.map, slots, self.columns, dtype, device)
        places, signs = self._places_and_signs(device)
        return by_place[:, places] * signs

    def _gradients_in_order(
        self,
        inputs: np.ndarray,
        weight: np.ndarray,
        grad_outputs: np.ndarray,
        grad_weight: np.ndarray,
        grad_inputs: np.ndarray | None,
        device: Device,
    ) -> None:
        """Fill `grad_weight` from ∂L/∂V, whose columns go back to their places, and `grad_inputs`."""
        map, features = self.map, inputs.shape[1]
        grad_matrix = device.xp.empty((self.rows, self.columns), grad_weight.dtype)
        grad_matrix[:, :features] = grad_outputs.T @ inputs
        if features < self.columns:
            grad_matrix[:, features] = grad_outputs.sum(axis=0)
        by_place = device.xp.empty_like(grad_matrix)
        places, signs = self._places_and_signs(device)
        by_place[:, places] = grad_matrix * signs
        grad_weight.fill(0)
        slots = panels.locate(map, self.rows, device)
        device.kernels_of(map).aggregate(by_place, slots, (map.tile, 0), grad_weight)
        if grad_inputs is not None:
            matrix = self._rows_in_order(slots, weight, weight.dtype, device)
            device.xp.matmul(grad_outputs, matrix[:, :features], out=grad_inputs)

    def training_bytes(self, itemsize: int, device: Device) -> int:
        """Return what copies of the weights' gradient take in a training step, at least."""
        copies = panels.count_shards(self.rows * self.columns, self.map.num_buckets, device.shards) - 1
        if self.map.tile > 1:  # as few as a batch has blocks, where products are shared
            copies = int(self.shares)
        return copies * self.map.num_buckets * itemsize

    def _arrange(self, inputs: np.ndarray, device: Device) -> np.ndarray:
        """Return what V's columns are multiplied by, unless the bias's 1 is left to `_parts`.

        With tiles, `a'[n, p(j)] = ξ₂(j) a[n, j]`, zeros up to whole tiles.
        """
        map, (batch, features) = self.map, inputs.shape
        small = panels.is_small(batch, self.rows, self.columns)
        if map.tile > 1:
            transposed = device.xp.empty((map.segments * map.tile, batch), inputs.dtype)
            # As if tiles were of one weight: then places follow each other.
            device.kernels.arrange(inputs, *self._places_and_signs(device), 1, transposed.reshape(1, -1))
            return device.xp.ascontiguousarray(transposed.T) if small else transposed.T
        if features == self.columns or not small:
            return inputs
        # One call of a kernel instead of two.
        with_bias = device.xp.empty((batch, self.columns), inputs.dtype)
        with_bias[:, :-1] = inputs
        with_bias[:, -1] = 1
        return with_bias

    def _arrange_back(self, grad_arranged: np.ndarray, features: int, device: Device) -> np.ndarray:
        """Return the gradient of the inputs from that of the arranged: the transpose of `_arrange`."""
        if self.map.tile == 1:
            return grad_arranged[:, :features]
        grad_inputs = device.xp.empty((len(grad_arranged), features), grad_arranged.dtype)
        flat = grad_arranged.T.reshape(1, -1)
        device.kernels.arrange_back(flat, *self._places_and_signs(device), 1, grad_inputs)
        return grad_inputs

    def _places_and_signs(self, device: Device) -> tuple[np.ndarray, np.ndarray]:
        return device.resident(self.map.places), device.resident(self.map.signs)

    def _parts(
        self, arranged: np.ndarray, device: Device, grad_arranged: np.ndarray | None = None
    ) -> list[Part]:
        """Return V's columns with what they are multiplied by: the bias's with 1 if it is not among them."""
        parts = [Part(0, arranged, grad_arranged)]
        if arranged.shape[1] < self.columns:
            parts.append(Part(arranged.shape[1], device.xp.ones((len(arranged), 1), arranged.dtype)))
        return parts
