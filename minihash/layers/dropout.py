"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.hashing import LIMIT_SEED
from minihash.layers.base import Layer

LEVELS = 2**16


class Dropout(Layer):
    """Set each input to zero with probability `rate` in training, and scale the others by 1 / (1 − rate).

    Outside training it passes its inputs on, so the expected outputs agree.

    Parameters
    ----------
    rate : probability of dropping, 0 ≤ rate < 1; it is rounded to a multiple of 2⁻¹⁶.
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
        # 16 random bits an input: random floats take six times as long.
        raw = self.rng.bit_generator.random_raw(-(-inputs.size // 4))
        draws = raw.astype("<u8", copy=False).view("<u2")[: inputs.size].reshape(inputs.shape)
        dropped = min(round(self.rate * LEVELS), LEVELS - 1)  # of the levels
        mask = (draws >= dropped) * inputs.real.dtype.type(LEVELS / (LEVELS - dropped))
        return inputs * mask, mask

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return grad_outputs * saved

    def config(self) -> dict[str, Any]:
        return {**super().config(), "rate": self.rate, "seed": self.seed}
