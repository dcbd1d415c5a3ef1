"""Rounding to whole numbers times a scale: what a network in integers does between its layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.layers.base import Layer
from minihash.layers.registry import register


@register
class Rounding(Layer):
    """Values of eight bits times a scale, `z = scale · clip(⌊a / scale + 1/2⌋, low, high)`. Any shape.

    Where nothing is clipped gradients pass as through the identity ("straight through"), so that what comes
    before can be trained with it; elsewhere they are 0.

    Parameters
    ----------
    scale : above 0.
    low, high : of the whole numbers: a range within −128 … 127, or within 0 … 255.

    Raises
    ------
    ValueError for a wrong argument.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference, 2018.
    """

    def __init__(self, scale: float, *, low: int = -128, high: int = 127, dtype: Any = np.float32) -> None:
        super().__init__(dtype)
        self.scale = checks.number("scale", scale, 0, float(np.finfo(np.float32).max), open_low=True)
        self.low, self.high = checks.integer("low", low, -128, 256), checks.integer("high", high, -128, 256)
        if not self.low < self.high or (self.high > 127 and self.low < 0):
            raise ValueError(f"low is {low} and high is {high}, wanted a range in -128 … 127 or 0 … 255")

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        xp = self.device.xp
        scale = inputs.real.dtype.type(self.scale)
        codes = xp.floor(inputs / scale + inputs.real.dtype.type(0.5))
        within = (codes >= self.low) & (codes <= self.high)
        return xp.clip(codes, self.low, self.high) * scale, within

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return grad_outputs * saved

    def config(self) -> dict[str, Any]:
        return {**super().config(), "scale": self.scale, "low": self.low, "high": self.high}
