"""The hashed layer: a dense layer whose weight matrix is looked up in a short vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import checks
from minihash.hashing import LIMIT_BUCKETS, virtual_weight_matrix
from minihash.kernels import panels
from minihash.kernels.folds import fold, folds_bias, unfold
from minihash.kernels.panels import Part
from minihash.layers.base import Layer, WeightLayer
from minihash.maps import ElementMap, WindowMap

BIASES = ("hashed", "free", "none")


class HashedLinear(WeightLayer):
    """Linear layer with a virtual weight matrix V: `z = a Vᵀ + b`, `V[i, j] = ξ(i, j) · w[h(i, j)]`.

    Eqs. 7, 8 and 12 of the paper. V has out_features × in_features entries, the layer stores
    num_buckets of them and no index; V is made a panel at a time and never whole, in training and
    inference.

    Parameters
    ----------
    in_features, out_features, initializer, gain, dtype : as in `WeightLayer`.
    num_buckets : K, the number of stored weights, 1 ≤ K ≤ virtual weights (and K < 2³⁰).
    compression : instead of num_buckets, stored / virtual in (0, 1], such as 1/64:
        `num_buckets = max(1, round(compression · out_features · columns))`.
    seed : of the hash and of the initial weights; layers of one network need different ones.
    map : how positions become buckets: "element", the paper's, or "window", ours: a row of V is a
        window of consecutive weights (maps.py). It costs less: nothing is hashed for every weight.
    window : S, the length of the window map's windows: a number of weights, or a fraction of the
        columns (a float), or "full". A layer does out_features · S multiplications a row of inputs.
        By default, and for fractions at most, min(columns, num_buckets). None for "element".
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

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_buckets: int | None = None,
        compression: float | None = None,
        seed: int = 0,
        map: str = "element",
        window: Any = None,
        signed: bool = True,
        bias: str = "hashed",
        initializer: str = "uniform",
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(
            in_features, out_features, initializer=initializer, gain=gain, seed=seed, dtype=dtype
        )
        self.map = checks.choice("map", map, MAPS)
        self.signed = checks.boolean("signed", signed)
        self.bias = checks.choice("bias", bias, BIASES)
        self.columns = self.in_features + (self.bias == "hashed")
        self.num_buckets = self._count_buckets(num_buckets, compression)
        self.bucket_map = MAKE_MAP[self.map](self, window)
        self.window: int | None = getattr(self.bucket_map, "window", None)
        self._make_params(fan_in=self.columns)  # the bias's 1 is one more input

    def _count_buckets(self, num_buckets: int | None, compression: float | None) -> int:
        if (num_buckets is None) == (compression is None):
            raise ValueError(
                f"num_buckets is {num_buckets} and compression is {compression}, "
                "wanted exactly one of them"
            )
        virtual = self.out_features * self.columns
        if compression is not None:
            compression = checks.number("compression", compression, 0, 1, open_low=True)
            num_buckets = max(1, round(compression * virtual))
        limit = min(virtual + 1, LIMIT_BUCKETS)  # more buckets than virtual weights: some stay empty
        return checks.integer("num_buckets", num_buckets, 1, limit)

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"weight": (config["num_buckets"],)}
        if config["bias"] == "free":
            shapes["bias"] = (config["out_features"],)
        return shapes

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        folded = self._fold(inputs)
        outputs = self._multiply(folded, self.weight)
        if self.bias == "free":
            outputs += self.params["bias"]
        return outputs, folded

    def _multiply(self, folded: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the product with the virtual matrix of some weights."""
        outputs = self.device.xp.empty((folded.shape[0], self.out_features), self.dtype)
        panels.multiply(self._parts(folded), weight, self.bucket_map, outputs, self.device)
        return outputs

    def _backward(
        self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool
    ) -> np.ndarray | None:
        xp, map = self.device.xp, self.bucket_map
        grad_folded = xp.empty(saved.shape, self.dtype) if need_grad_inputs else None
        parts = self._parts(saved, grad_folded)
        panels.gradients(parts, self.weight, map, grad_outputs, self.grads["weight"], self.device)
        if self.bias == "free":
            xp.sum(grad_outputs, axis=0, out=self.grads["bias"])
        return None if grad_folded is None else unfold(grad_folded, map, self.in_features, self.device)

    def _fold(self, inputs: np.ndarray) -> np.ndarray:
        """Return what V's columns are multiplied by, unless the bias's 1 is left to `_parts`."""
        small = panels.is_small(len(inputs), self.out_features, self.columns)
        if not (small and self.bias == "hashed") or folds_bias(self.bucket_map):
            return fold(inputs, self.bucket_map, self.device)
        # One call of a kernel instead of two.
        with_bias = self.device.xp.empty((len(inputs), self.columns), self.dtype)
        with_bias[:, :-1] = inputs
        with_bias[:, -1] = 1
        return with_bias

    def _parts(self, folded: np.ndarray, grad_folded: np.ndarray | None = None) -> list[Part]:
        """Return V's columns with what they are multiplied by; a bias that is not folded with 1."""
        parts = [Part(0, folded, grad_folded)]
        if self.bias == "hashed" and folded.shape[1] < self.columns and not folds_bias(self.bucket_map):
            ones = self.device.xp.ones((len(folded), 1), self.dtype)
            parts.append(Part(self.in_features, ones))
        return parts

    def copy(self, **changes: Any) -> Layer:
        made = super().copy(**changes)
        if not isinstance(made, HashedLinear) or made.bucket_map != self.bucket_map:
            raise ValueError(f"{type(self).__name__} has a config() that does not settle its map")
        return made

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
        bias = self.out_features if self.bias == "free" else 0
        return self.out_features * self.columns + bias

    @property
    def training_bytes(self) -> int:
        copies = panels.count_shards(self.out_features * self.columns, self.num_buckets, self.device.shards)
        return (copies - 1) * self.num_buckets * self.dtype.itemsize

    def config(self) -> dict[str, Any]:
        return {
            **super().config(),
            "num_buckets": self.num_buckets,
            "map": self.map,
            "window": self.window,
            "signed": self.signed,
            "bias": self.bias,
        }


def _element_map(layer: HashedLinear, window: Any) -> ElementMap:
    if window is not None:
        raise ValueError(f"window is {window!r}, wanted None: the element map has no window")
    return ElementMap(layer.num_buckets, layer.seed, layer.signed)


def _window_map(layer: HashedLinear, window: Any) -> WindowMap:
    longest = min(layer.columns, layer.num_buckets)
    if window is None or isinstance(window, str) and window == "full":
        length = longest
    elif isinstance(window, (float, np.floating)):
        fraction = checks.number("window", window, 0, 1, open_low=True)
        length = min(longest, max(1, round(fraction * layer.columns)))
    else:
        length = checks.integer("window", window, 1, longest + 1)
    return WindowMap(layer.num_buckets, layer.seed, layer.columns, length, layer.signed)


MAKE_MAP: dict[str, Callable[[HashedLinear, Any], ElementMap | WindowMap]] = {
    "element": _element_map,
    "window": _window_map,
}
MAPS = tuple(MAKE_MAP)
