"""The hashed layer: a dense layer whose weight matrix is looked up in a short vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.hashing import LIMIT_BUCKETS, virtual_weight_matrix
from minihash.kernels.devices import Device
from minihash.layers.base import Layer, WeightLayer
from minihash.layers.registry import register
from minihash.maps import BucketMap
from minihash.virtual_matrix import VirtualMatrix

BIASES = ("hashed", "free", "none")


@register
class HashedLinear(WeightLayer):
    """Linear layer with a virtual weight matrix V: `z = a Vᵀ + b`, `V[i, j] = ξ(i, j) · w[h(i, j)]`.

    Eqs. 7, 8 and 12 of the paper. V has out_features × in_features entries, the layer stores
    num_buckets of them and no index; V is made a panel at a time and never kept, in training and
    inference.

    Parameters
    ----------
    in_features, out_features, initializer, gain, dtype : as in `WeightLayer`.
    num_buckets : K, the number of stored weights, 1 ≤ K ≤ virtual weights (and K < 2³⁰).
    compression : instead of num_buckets, stored / virtual in (0, 1], such as 1/64:
        `num_buckets = max(1, round(compression · out_features · columns))`.
    seed : of the hash and of the initial weights; layers of one network need different ones.
    tile : B, the weights of a tile. 1 is the paper's map: every position is hashed by itself. With more, a
        row of V is made of segments of B weights, each a tile of the weight vector that is drawn by a hash
        of row and segment (maps.py). Rows share tiles, so what a tile contributes to a segment of the inputs
        is computed once: the work falls with the storage. "auto" makes eight segments a row where at most
        1/16 is stored, else four, and at least as many tiles as rows, or 16 where there are more rows.
    signed : draw a sign ξ for every position (eq. 7); False is the paper's eq. 3.
    bias : "hashed": b is one more column of V, j = in_features, fed by the constant 1 (the paper's);
        "free": out_features floats of its own, 0 at the start; "none".

    `columns` is in_features, plus one for a hashed bias. `params` holds `weight` (num_buckets,) and,
    for a free bias, `bias` (out_features,).

    Raises
    ------
    ValueError for a wrong argument.

    Examples
    --------
    >>> layer = HashedLinear(784, 1000, compression=1 / 64)
    >>> layer.num_virtual, layer.num_buckets
    (785000, 12266)
    >>> layer.forward(np.zeros((32, 784))).shape
    (32, 1000)

    Source: Chen et al., Compressing Neural Networks with the Hashing Trick, ICML 2015.
    """

    hashed = own_threads = True
    map_type = BucketMap  # of a subclass: a map of its own

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_buckets: int | None = None,
        compression: float | None = None,
        seed: int = 0,
        tile: int | str = 1,
        signed: bool = True,
        bias: str = "hashed",
        initializer: str = "uniform",
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        start: dict[str, Any] = {"initializer": initializer, "gain": gain, "seed": seed, "dtype": dtype}
        super().__init__(in_features, out_features, **start)
        self.signed = checks.boolean("signed", signed)
        self.bias = checks.choice("bias", bias, BIASES)
        self.columns = self.in_features + (self.bias == "hashed")
        self.num_buckets = self._count_buckets(num_buckets, compression)
        self.tile = self._tile_length(tile)
        self.bucket_map = self.map_type(self.num_buckets, self.seed, self.columns, self.tile, self.signed)
        self.matrix = VirtualMatrix(self.bucket_map, self.out_features, self.columns)
        self._make_params(fan_in=self.columns)  # the bias's 1 is one more input

    def _count_buckets(self, num_buckets: int | None, compression: float | None) -> int:
        if (num_buckets is None) == (compression is None):
            given = f"num_buckets is {num_buckets} and compression is {compression}"
            raise ValueError(f"{given}, wanted exactly one of them")
        virtual = self.out_features * self.columns
        if compression is not None:
            compression = checks.number("compression", compression, 0, 1, open_low=True)
            num_buckets = max(1, round(compression * virtual))
        limit = min(virtual + 1, LIMIT_BUCKETS)  # more buckets than virtual weights: some stay empty
        return checks.integer("num_buckets", num_buckets, 1, limit)

    def _tile_length(self, tile: Any) -> int:
        if isinstance(tile, str):
            checks.choice("tile", tile, ("auto",))
            return auto_tile(self.out_features, self.columns, self.num_buckets)
        try:
            return checks.integer("tile", tile, 1, min(self.columns, self.num_buckets) + 1)
        except ValueError as error:
            shape = f"{self.in_features} -> {self.out_features}"
            raise ValueError(f"{error}, in a layer {shape} with {self.num_buckets} buckets") from None

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"weight": (config["num_buckets"],)}
        if config["bias"] == "free":
            shapes["bias"] = (config["out_features"],)
        return shapes

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        outputs, saved = self.matrix.multiply(inputs, self.weight, self.dtype, self.device)
        if self.bias == "free":
            outputs += self.params["bias"]
        return outputs, saved

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray | None:
        if self.bias == "free":
            self.device.xp.sum(grad_outputs, axis=0, out=self.grads["bias"])
        own = self.weight, grad_outputs, self.grads["weight"]
        return self.matrix.gradients(saved, *own, need_grad_inputs, self.device)

    def to(self, device: Device) -> None:
        device.kernels_of(self.bucket_map)  # refuses a map that it has no kernels of
        super().to(device)

    def virtual_weight_matrix(self) -> np.ndarray:
        """Return V without its bias column, (out_features, in_features): as large as a dense layer's."""
        weight = self.device.get(self.weight)
        return virtual_weight_matrix(weight, self.bucket_map, self.out_features, self.in_features)

    def virtual_bias(self) -> np.ndarray:
        """Return b (out_features,), zeros for bias="none"."""
        if self.bias == "hashed":
            buckets, signs = self.bucket_map(np.arange(self.out_features), self.in_features)
            return self.device.get(self.weight)[buckets] * signs.astype(self.dtype)
        if self.bias == "free":
            return self.device.get(self.params["bias"]).copy()
        return np.zeros(self.out_features, self.dtype)

    @property
    def num_virtual(self) -> int:
        return self.out_features * (self.columns + (self.bias == "free"))

    @property
    def multiplications(self) -> int:
        return self.matrix.multiplications(self.in_features)

    @property
    def training_bytes(self) -> int:
        return self.matrix.training_bytes(self.dtype.itemsize, self.device)

    def copy(self, **changes: Any) -> Layer:
        made = super().copy(**changes)
        if not isinstance(made, HashedLinear) or made.bucket_map != self.bucket_map:
            raise ValueError(f"{type(self).__name__} has a config() that does not settle its map")
        return made

    def config(self) -> dict[str, Any]:
        return {
            **super().config(),
            "num_buckets": self.num_buckets,
            "tile": self.tile,
            "signed": self.signed,
            "bias": self.bias,
        }


def auto_tile(rows: int, columns: int, num_buckets: int, segments: int | None = None) -> int:
    """Return the length of tiles for `tile="auto"`, or for so many segments a row.

    `B = max(1, min(ceil(columns / G), K div min(rows, 16)))`, G = 8 where 16 K ≤ rows · columns, else 4.
    """
    if segments is None:
        segments = 8 if 16 * num_buckets <= rows * columns else 4
    return max(1, min(-(-columns // segments), num_buckets // min(rows, 16)))
