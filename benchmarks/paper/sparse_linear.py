"""The sparse layer: a dense layer that keeps a few of its edges, at places that the hash chooses."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from minihash import checks
from minihash.hashing import xxhash32
from minihash.kernels.devices import Device
from minihash.layers.base import WeightLayer
from minihash.layers.registry import register

BLOCK = 2**18  # numbers in a temporary array
LIMIT = 2**31  # of what is counted in int32


@register
class SparseLinear(WeightLayer):
    """Linear layer without most of its edges (the paper's RER): `z_i = Σ_{j kept by i} W[i, j] a_j + b_i`.

    Row i keeps the inputs j with the smallest `xxhash32(i, j, seed)` (docs/format.md): a uniform draw without
    replacement, of an exact size, that nothing is stored for. In a row no two hashes are equal.

    Parameters
    ----------
    in_features, out_features : as in `WeightLayer`; in_features < 2³¹.
    num_weights : kept edges, 1 ≤ num_weights ≤ out_features · in_features (and < 2³¹). Every row keeps
        `num_weights // out_features` of them, and the first `num_weights % out_features` rows one more.
    compression : instead of num_weights, stored / virtual in (0, 1], biases among both, which are all kept:
        `num_weights = max(1, round(compression · out_features · (in_features + 1)) − out_features)`.
    seed : of the hash and of the initial weights; layers of one network need different ones.
    initializer, gain, dtype : as in `WeightLayer`. Fan-in is the number of edges that a row keeps (the most
        of any row), as they are the terms of its sum: with in_features outputs would shrink by √compression.

    `params` holds `weight` (num_weights,), row after row and in a row by ascending j, and `bias`
    (out_features,). Beside them the layer holds, from the first forward on, `indices` and `indptr`: as many
    int32 in memory as weights and rows. They come from the seed, are no parameters and not in the model file.

    Raises
    ------
    ValueError for a wrong argument.

    Source: Cireşan et al., High-Performance Neural Networks for Visual Object Classification, 2011; as a
    baseline in Chen et al., Compressing Neural Networks with the Hashing Trick, ICML 2015. The rule is ours.
    """

    hashed = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_weights: int | None = None,
        compression: float | None = None,
        seed: int = 0,
        initializer: str = "uniform",
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(
            in_features, out_features, initializer=initializer, gain=gain, seed=seed, dtype=dtype
        )
        checks.integer("in_features", self.in_features, 1, LIMIT)
        self.num_weights = self._count_weights(num_weights, compression)
        self._make_params(fan_in=-(-self.num_weights // self.out_features))

    def _count_weights(self, num_weights: int | None, compression: float | None) -> int:
        if (num_weights is None) == (compression is None):
            raise ValueError(
                f"num_weights is {num_weights} and compression is {compression}, "
                "wanted exactly one of them"
            )
        if compression is not None:
            compression = checks.number("compression", compression, 0, 1, open_low=True)
            num_weights = max(1, round(compression * self.num_virtual) - self.out_features)
        limit = min(self.out_features * self.in_features + 1, LIMIT)
        return checks.integer("num_weights", num_weights, 1, limit)

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        return {"weight": (config["num_weights"],), "bias": (config["out_features"],)}

    @functools.cached_property
    def indices(self) -> np.ndarray:
        """The input unit of every weight, (num_weights,) int32."""
        indices = np.empty(self.num_weights, np.int32)
        for rows, weights, count in self._blocks(self.in_features):
            indices[weights] = kept_columns(rows, self.in_features, count, self.seed).ravel()
        return indices

    @functools.cached_property
    def indptr(self) -> np.ndarray:
        """Where in `weight` each row starts, and its end: (out_features + 1,) int32."""
        each, more = divmod(self.num_weights, self.out_features)
        rows = np.arange(self.out_features + 1)
        return (each * rows + np.minimum(rows, more)).astype(np.int32)

    def _blocks(self, numbers: int, times: int = 1) -> Iterator[tuple[slice, slice, int]]:
        """Yield blocks of rows that keep equally many edges: the rows, their weights, and the edges of each.

        A row needs `numbers` in a temporary array of `times · BLOCK`; a block is one row at least.
        """
        each, more = divmod(self.num_weights, self.out_features)
        height = max(1, times * BLOCK // max(1, numbers))
        for first, end, count in ((0, more, each + 1), (more, self.out_features, each)):
            for start in range(first, end, height) if count else ():
                stop = min(start + height, end)
                yield slice(start, stop), slice(self.indptr[start], self.indptr[stop]), count

    def to(self, device: Device) -> None:
        if device.xp is not np:
            raise ValueError(f"a SparseLinear computes on the CPU, wanted cpu and not {device}")
        super().to(device)

    def _matrix(self) -> Any:
        """Return W as a sparse matrix, which shares its memory with the weights."""
        indices, indptr = self.indices, self.indptr
        return csr_array((self.weight, indices, indptr), shape=(self.out_features, self.in_features))

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        return (self._matrix() @ inputs.T).T + self.params["bias"], inputs

    def _backward(
        self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool
    ) -> np.ndarray | None:
        # ∂L/∂W[i, j] = Σ δ_i a_j over the batch, for the kept (i, j) alone: a_j is gathered for each of them.
        inputs, grads = np.ascontiguousarray(saved.T), np.ascontiguousarray(grad_outputs.T)
        indices, grad_weight = self.indices, self.grads["weight"]
        gathered = -(-self.num_weights // self.out_features) * len(saved)
        for rows, weights, count in self._blocks(gathered, self.device.panels):
            kept = inputs[indices[weights].reshape(-1, count)]  # (rows, count, batch)
            np.matmul(kept, grads[rows, :, None], out=grad_weight[weights].reshape(-1, count, 1))
        np.sum(grad_outputs, axis=0, out=self.grads["bias"])
        return (self._matrix().T @ grads).T if need_grad_inputs else None

    def virtual_weight_matrix(self) -> np.ndarray:
        """Return W with its zeros, (out_features, in_features): as large as a dense layer's."""
        return self._matrix().toarray()

    @property
    def num_virtual(self) -> int:
        return self.out_features * (self.in_features + 1)

    @property
    def multiplications(self) -> int:
        return self.num_weights

    @property
    def training_bytes(self) -> int:
        return 0 if "indices" in vars(self) else 4 * self.num_weights

    def config(self) -> dict[str, Any]:
        return {**super().config(), "num_weights": self.num_weights}


def kept_columns(rows: slice, in_features: int, count: int, seed: int) -> np.ndarray:
    """Return the inputs that some rows keep, (rows, count), ascending: those with the smallest hashes."""
    i = np.arange(rows.start, rows.stop)[:, None]
    hashed = np.asarray(xxhash32(i, np.arange(in_features), seed))
    return np.sort(np.argpartition(hashed, count - 1, axis=1)[:, :count], axis=1)
