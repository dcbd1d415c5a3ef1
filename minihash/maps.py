"""The map: how positions of the virtual matrix become buckets and signs.

It is a function of (i, j), output and input unit, that returns the bucket h(i, j) and the sign ξ(i, j), and
part of the file format (docs/format.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minihash import checks, hashing
from minihash.hashing import LIMIT_BUCKETS, LIMIT_FEATURES, LIMIT_SEED, xxhash32

EVERY = hashing.LARGEST  # in place of the row, in a hash that all rows share


@dataclass(frozen=True)
class BucketMap:
    """Rows of V are made of tiles: `V[i, j] = ξ₁(i, g) ξ₂(j) · w[s_τ(i, g) + u]`.

    With B = 1, the paper's map (eqs. 7 and 8), a tile is one weight: every position (i, j) is hashed by
    itself, and bucket and sign are the signed bucket in K of `xxhash32(i, j, seed)`; ξ₂ = +1.

    With more, the columns are permuted and cut into G segments of B; every row draws a tile of the weights
    for each segment, and many rows draw the same one. d(j) = `xxhash32(2³² − 1, j, seed)` gives ξ₂(j) = −1
    if its lowest bit is set, else +1, and the place p(j), the rank of column j when columns are sorted by
    (d(j), j). Its segment is g = p(j) div B, its offset u = p(j) mod B. τ(i, g) and ξ₁(i, g) are the signed
    bucket in T of `xxhash32(i, g, seed)`; tile τ starts at `s_τ = min(τ · B, K − B)`.

    Unsigned (eq. 3), all signs are +1.

    Parameters
    ----------
    num_buckets : K, 1 ≤ K < 2³⁰.
    seed : 0 ≤ seed < 2³².
    columns : of V, the hashed bias among them.
    tile : B, 1 ≤ B ≤ min(columns, K).
    signed : draw signs.

    `segments` is G = ceil(columns / B), `tiles` T = ceil(K / B). A map of your own is a subclass with another
    `slot` (docs/testing.md).

    Examples
    --------
    >>> buckets, signs = BucketMap(5, seed=1, columns=4)(np.arange(2)[:, None], np.arange(4))
    >>> buckets
    array([[3, 1, 0, 0],
           [3, 4, 3, 1]])
    >>> signs
    array([[-1,  1,  1,  1],
           [ 1,  1,  1,  1]], dtype=int8)
    >>> map = BucketMap(6, seed=1, columns=4, tile=2)
    >>> map.segments, map.tiles, map.places
    (2, 3, array([3, 1, 2, 0], dtype=uint32))
    >>> map(np.arange(2)[:, None], np.arange(4))[0]
    array([[3, 3, 2, 2],
           [5, 3, 4, 2]])

    Source: Chen et al., Compressing Neural Networks with the Hashing Trick, ICML 2015; tiles are ours.
    """

    num_buckets: int
    seed: int
    columns: int
    tile: int = 1
    signed: bool = True

    #: Where a weight is: `slot(key, row, segment)`. Kernels compile it, so it is a function of numbers.
    slot: ClassVar[Callable[..., Any]] = staticmethod(hashing.slot)

    def __post_init__(self) -> None:
        checks.integer("num_buckets", self.num_buckets, 1, LIMIT_BUCKETS)
        checks.integer("seed", self.seed, 0, LIMIT_SEED)
        checks.integer("columns", self.columns, 1, LIMIT_FEATURES + 1)
        checks.integer("tile", self.tile, 1, min(self.columns, self.num_buckets) + 1)

    def __call__(self, i: Any, j: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return buckets h(i, j) (int64) and signs ξ(i, j) (int8, ±1), broadcast over arrays of positions."""
        tiles, offsets, signs = self.draw(i, j)
        return np.minimum(tiles * self.tile, self.num_buckets - self.tile) + offsets, signs

    def draw(self, i: Any, j: Any) -> tuple[np.ndarray, Any, np.ndarray]:
        """Return tiles τ(i, g(j)) (int64), offsets in them u(j), and signs ξ(i, j) (int8, ±1)."""
        i, j = np.atleast_1d(hashing.as_uint32("i", i)), np.atleast_1d(hashing.as_uint32("j", j))
        segments, offsets = np.divmod(self.places[j], np.uint32(self.tile)) if self.tile > 1 else (j, 0)
        with np.errstate(over="ignore"):
            tiles, signs = hashing.split(self.slot(self.key, i, segments))
        return tiles, offsets, signs * self.signs[j] if self.tile > 1 else signs

    @property
    def key(self) -> tuple[int, ...]:
        """What `slot` hashes with: seed, T, and whether signs are drawn."""
        return self.seed, self.tiles, self.signed

    @property
    def segments(self) -> int:
        """G, segments of a row."""
        return -(-self.columns // self.tile)

    @property
    def tiles(self) -> int:
        """T, tiles of the weights."""
        return -(-self.num_buckets // self.tile)

    @functools.cached_property
    def signs(self) -> np.ndarray:
        """ξ₂(j), (columns,) int8."""
        flips = self._draws & np.uint32(self.signed and self.tile > 1)
        return np.where(flips, np.int8(-1), np.int8(1))

    @functools.cached_property
    def places(self) -> np.ndarray:
        """p(j), the place of every column among the segments, (columns,) uint32."""
        if self.tile == 1:
            return np.arange(self.columns, dtype=np.uint32)
        places = np.empty(self.columns, np.uint32)
        places[np.argsort(self._draws, kind="stable")] = np.arange(self.columns)
        return places

    @functools.cached_property
    def _draws(self) -> np.ndarray:
        return np.asarray(xxhash32(EVERY, np.arange(self.columns), self.seed))
