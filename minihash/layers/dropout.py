"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.hashing import LIMIT_SEED
from minihash.layers.base import Layer


class Dropout(Layer):
    """Set each input to zero with probability `rate` in training, and scale the others by 1 / (1 − rate).

    Outside training it passes its inputs on, so the expected outputs agree.

    Parameters
    ----------
    rate : probability of dropping, 0 ≤ rate < 1.
    seed : of the layer's own random generator, `rng`.

    Source: Srivastava et al., Dropout, JMLR 2014 (in the inverted form).
    """

    def __init__(self, rate: float, *, seed: int = 0, dtype: Any = np.float32) -> None:
        super().__init__(dtype)
        self.rate = checks.number("rate", rate, 0.0, 1.0)
        if self.rate == 1.0:
            raise ValueError("rate is 1, wanted 0 <= rate < 1")
        self.seed = checks.integer("seed", seed, 0, LIMIT_SEED)
        self.rng = np.random.default_rng(self.seed)

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        if not training:
            return inputs.copy(), None  # not the caller's own array
        kept = self.rng.random(inputs.shape, dtype=np.float32) >= self.rate
        mask = kept * inputs.real.dtype.type(1 / (1 - self.rate))
        return inputs * mask, mask

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return grad_outputs * saved

    def config(self) -> dict[str, Any]:
        return {**super().config(), "rate": self.rate, "seed": self.seed}
