"""The dense layer, for comparison and for whoever wants one beside hashed ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.layers.base import WeightLayer
from minihash.layers.registry import register


@register
class Linear(WeightLayer):
    """Dense layer, `z = a Wᵀ + b`.

    Parameters
    ----------
    in_features, out_features, initializer, gain, seed, dtype : as in `WeightLayer`.
    bias : whether to add b.

    Two layers of one shape and seed start with the same weights: give each a seed of its own, as `mlp` does.
    `params` holds `weight` (out_features, in_features) and `bias` (out_features,).

    Raises
    ------
    ValueError for a wrong argument.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        initializer: str = "uniform",
        gain: float = 1.0,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        start: dict[str, Any] = {"initializer": initializer, "gain": gain, "seed": seed, "dtype": dtype}
        super().__init__(in_features, out_features, **start)
        self.bias = checks.boolean("bias", bias)
        self._make_params(fan_in=self.in_features)

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        out_features = config["out_features"]
        shapes: dict[str, tuple[int, ...]] = {"weight": (out_features, config["in_features"])}
        if config["bias"]:
            shapes["bias"] = (out_features,)
        return shapes

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        outputs = inputs @ self.params["weight"].T
        if self.bias:
            outputs += self.params["bias"]
        return outputs, inputs

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray | None:
        xp = self.device.xp
        xp.matmul(grad_outputs.T, saved, out=self.grads["weight"])
        if self.bias:
            xp.sum(grad_outputs, axis=0, out=self.grads["bias"])
        return grad_outputs @ self.params["weight"] if need_grad_inputs else None

    @property
    def multiplications(self) -> int:
        return self.in_features * self.out_features

    def config(self) -> dict[str, Any]:
        return {**super().config(), "bias": self.bias}
