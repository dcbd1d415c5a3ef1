"""The low-rank layer: a dense layer whose matrix is a learned factor times a random one."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from minihash import checks
from minihash.hashing import xxhash32
from minihash.layers.base import WeightLayer
from minihash.layers.registry import register


@register
class LowRankLinear(WeightLayer):
    """Linear layer with a factored weight matrix (the paper's LRD): `z = U (G a) + b`, G fixed and random.

    `G[r, j] = Φ⁻¹((xxhash32(r, j, seed) + ½) / 2³²) / √in_features` is Gaussian, N(0, 1 / in_features), and
    made from the seed (docs/format.md): only U and b are learned and stored.

    Parameters
    ----------
    in_features, out_features : as in `WeightLayer`.
    rank : of the product U G, 1 ≤ rank ≤ in_features.
    compression : instead of rank, about stored / virtual in (0, 1], biases among both:
        `rank = max(1, round(compression · (in_features + 1)) − 1)`, and out_features · (rank + 1) are stored.
    seed : of G and of the initial U; layers of one network need different ones.
    initializer, gain, dtype : as in `WeightLayer`. Fan-in is the rank: G keeps the mean square of the inputs,
        so U starts as a dense layer with `rank` inputs would.

    `params` holds `weight`, which is U (out_features, rank), and `bias` (out_features,). Beside them the
    layer holds, from the first forward on, G: rank · in_features float32 in memory, as many as it stores
    where in_features = out_features. G is no parameter and not in the model file.

    Raises
    ------
    ValueError for a wrong argument.

    Source: Denil et al., Predicting Parameters in Deep Learning, NIPS 2013; as a baseline in Chen et al.,
    Compressing Neural Networks with the Hashing Trick, ICML 2015.
    """

    hashed = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int | None = None,
        compression: float | None = None,
        seed: int = 0,
        initializer: str = "uniform",
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(
            in_features, out_features, initializer=initializer, gain=gain, seed=seed, dtype=dtype
        )
        self.rank = self._choose_rank(rank, compression)
        self._make_params(fan_in=self.rank)

    def _choose_rank(self, rank: int | None, compression: float | None) -> int:
        if (rank is None) == (compression is None):
            raise ValueError(
                f"rank is {rank} and compression is {compression}, wanted exactly one of them"
            )
        if compression is not None:
            compression = checks.number("compression", compression, 0, 1, open_low=True)
            rank = max(1, round(compression * (self.in_features + 1)) - 1)
        return checks.integer("rank", rank, 1, self.in_features + 1)

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        out_features = config["out_features"]
        return {"weight": (out_features, config["rank"]), "bias": (out_features,)}

    @functools.cached_property
    def fixed_factor(self) -> np.ndarray:
        """G, (rank, in_features) float32."""
        return gaussian_factor(self.rank, self.in_features, self.seed)

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        projected = inputs @ self.device.resident(self.fixed_factor).T  # (batch, rank)
        return projected @ self.weight.T + self.params["bias"], projected

    def _backward(
        self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool
    ) -> np.ndarray | None:
        xp = self.device.xp
        xp.matmul(grad_outputs.T, saved, out=self.grads["weight"])
        xp.sum(grad_outputs, axis=0, out=self.grads["bias"])
        fixed_factor = self.device.resident(self.fixed_factor)
        return grad_outputs @ self.weight @ fixed_factor if need_grad_inputs else None

    def virtual_weight_matrix(self) -> np.ndarray:
        """Return U G, (out_features, in_features): as large as a dense layer's."""
        return self.device.get(self.weight) @ self.fixed_factor

    @property
    def num_virtual(self) -> int:
        return self.out_features * (self.in_features + 1)

    @property
    def multiplications(self) -> int:
        return self.rank * (self.in_features + self.out_features)

    @property
    def training_bytes(self) -> int:
        return 0 if "fixed_factor" in vars(self) else 4 * self.rank * self.in_features

    def config(self) -> dict[str, Any]:
        return {**super().config(), "rank": self.rank}


def gaussian_factor(rank: int, in_features: int, seed: int) -> np.ndarray:
    """Return G (rank, in_features), rounded to float32: the quantiles of hashes, not draws of a generator.

    NumPy may change how its generators make normal numbers (NEP 19); a model file cannot.
    """
    from scipy.special import ndtri

    columns, factor = np.arange(in_features), np.empty((rank, in_features), np.float32)
    for row in range(rank):  # a row at a time: its float64 are no second G
        factor[row] = ndtri((xxhash32(row, columns, seed) + 0.5) / 2**32) / math.sqrt(in_features)
    return factor
