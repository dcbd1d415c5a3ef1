"""Dropout, whose draws are hashes of places: there is no mask to keep, only a count of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.hashing import LIMIT_SEED
from minihash.layers.base import Layer
from minihash.layers.registry import register

LEVELS = 2**32


@register
class Dropout(Layer):
    """Set each input to zero with probability `rate` in training, and scale the others by 1 / (1 − rate).

    Outside training it passes its inputs on, so the expected outputs agree. Unit j of a row is dropped where
    `xxhash32(row, j, seed) < rate · 2³²`, with `row` the number of rows the layer was trained on before: the
    same rows in other batches, or on another device, lose the same units.

    Parameters
    ----------
    rate : probability of dropping, 0 ≤ rate < 1; it is rounded to a multiple of 2⁻³².
    seed : of the hash.

    `row` is the number of the next row, modulo 2³²: all there is to save of it, or to set back.

    Source: Srivastava et al., Dropout, JMLR 2014 (in the inverted form).
    """

    row: int

    def __init__(self, rate: float, *, seed: int = 0, dtype: Any = np.float32) -> None:
        super().__init__(dtype)
        self.rate = checks.number("rate", rate, 0.0, 1.0)
        if self.rate == 1.0:
            raise ValueError("rate is 1, wanted 0 <= rate < 1")
        self.seed = checks.integer("seed", seed, 0, LIMIT_SEED)
        self.row = 0

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        if not training:
            return inputs.copy(), None  # not the caller's own array
        row, self.row = self.row, (self.row + len(inputs)) % LEVELS
        return self._drop(inputs, row), row

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return self._drop(grad_outputs, saved)

    def _drop(self, values: np.ndarray, row: int) -> np.ndarray:
        threshold = min(round(self.rate * LEVELS), LEVELS - 1)
        scale = values.real.dtype.type(LEVELS / (LEVELS - threshold))
        kept = self.device.xp.empty_like(values)
        self.device.kernels.drop(values, (self.seed, row, threshold), scale, kept)
        return kept

    def config(self) -> dict[str, Any]:
        return {**super().config(), "rate": self.rate, "seed": self.seed}
