"""Activations: functions of each number by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihash.layers.base import Layer
from minihash.layers.registry import register


@register
class ReLU(Layer):
    """Rectifier, `z = max(a, 0)`; its gradient at 0 is 0. Any shape (batch, features)."""

    activation = "relu"
    gain_before = math.sqrt(2)

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        xp = self.device.xp
        if inputs.dtype.kind == "c":  # a complex step follows the branch of the real part
            outputs = xp.where(inputs.real > 0, inputs, 0)
        else:
            outputs = xp.maximum(inputs, 0)  # and NaN stays NaN
        return outputs, outputs

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return grad_outputs * (saved.real > 0)


@register
class Tanh(Layer):
    """Hyperbolic tangent, `z = tanh(a)`. Any shape (batch, features)."""

    activation = "tanh"

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        outputs = self.device.xp.tanh(inputs)
        return outputs, outputs

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return grad_outputs * (1 - saved * saved)


@register
class Sigmoid(Layer):
    """Logistic function, `z = 1 / (1 + exp(−a))`. Any shape (batch, features)."""

    activation = "sigmoid"

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        xp = self.device.xp
        positive = inputs.real >= 0
        decay = xp.exp(xp.where(positive, -inputs, inputs))  # exp(−|a|): it cannot overflow
        outputs = xp.where(positive, 1, decay) / (1 + decay)
        return outputs, outputs

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return grad_outputs * (saved * (1 - saved))
