"""Maps: how positions of the virtual matrix become buckets and signs.

A map is a function of (i, j), output and input unit, that returns the bucket h(i, j) and the sign
ξ(i, j). It is part of the file format (docs/format.md). The kernels know each map by its `name`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minihash import checks
from minihash.hashing import LIMIT_BUCKETS, LIMIT_FEATURES, LIMIT_SEED, signed_bucket, xxhash32

EVERY = 2**32 - 1  # in place of i or j, in a hash that does not depend on it


@dataclass(frozen=True)
class ElementMap:
    """The paper's map: every position (i, j) is hashed by itself.

    h(i, j) and ξ(i, j) of eqs. 7–8 are the signed bucket of `xxhash32(i, j, seed)`; with
    `signed=False` (eq. 3) the sign is +1.

    Parameters
    ----------
    num_buckets : K, 1 ≤ K < 2³⁰.
    seed : 0 ≤ seed < 2³².
    signed : draw a sign for every position.

    Examples
    --------
    >>> buckets, signs = ElementMap(5, seed=1)(np.arange(2)[:, None], np.arange(4))
    >>> buckets
    array([[3, 1, 0, 0],
           [3, 4, 3, 1]])
    >>> signs
    array([[-1,  1,  1,  1],
           [ 1,  1,  1,  1]], dtype=int8)

    Source: Chen et al., Compressing Neural Networks with the Hashing Trick, ICML 2015.
    """

    num_buckets: int
    seed: int
    signed: bool = True

    name: ClassVar[str] = "element"

    @property
    def key(self) -> tuple[int, ...]:
        """What kernels hash with."""
        return self.seed, self.num_buckets, self.signed

    def __post_init__(self) -> None:
        checks.integer("num_buckets", self.num_buckets, 1, LIMIT_BUCKETS)
        checks.integer("seed", self.seed, 0, LIMIT_SEED)

    def __call__(self, i: Any, j: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return buckets h(i, j) and signs ξ(i, j) (int8, ±1), broadcast over arrays of positions."""
        return signed_bucket(xxhash32(i, j, self.seed), self.num_buckets, self.signed)


@dataclass(frozen=True)
class WindowMap:
    """A map whose rows are windows of the weights: `h(i, j) = (r(i) + t(j)) mod K`, `ξ = ξ₁(i) ξ₂(j)`.

    r(i), ξ₁(i) are the signed bucket of `xxhash32(i, 2³² − 1, seed)`. `d(j) = xxhash32(2³² − 1, j, seed)`
    gives ξ₂(j) = −1 if its lowest bit is set, else +1, and the fold `t(j) = rank(j) mod S`, rank the
    place of column j when columns are sorted by (d(j), j); with S = columns nothing is folded,
    t(j) = j. So all rows share the S inputs `a'[t] = Σ_{t(j) = t} ξ₂(j) a[j]`, and row i is a window of S
    consecutive weights that starts at r(i) and wraps around: `z_i = ξ₁(i) Σ_t w[(r(i) + t) mod K] a'[t]`.

    Parameters
    ----------
    num_buckets, seed : as in `ElementMap`.
    columns : of V, the hashed bias among them.
    window : S, 1 ≤ S ≤ min(columns, K).
    signed : draw signs; without, all are +1 and r(i) is the unsigned bucket.

    Examples
    --------
    >>> buckets, signs = WindowMap(5, seed=1, columns=4, window=4)(np.arange(2)[:, None], np.arange(4))
    >>> buckets
    array([[2, 3, 4, 0],
           [3, 4, 0, 1]])

    Source: ours; the fold is feature hashing (Weinberger et al., ICML 2009) shared by all rows.
    """

    num_buckets: int
    seed: int
    columns: int
    window: int
    signed: bool = True

    name: ClassVar[str] = "window"

    @property
    def key(self) -> tuple[int, ...]:
        """What kernels hash with."""
        return self.seed, self.num_buckets, self.signed

    def __post_init__(self) -> None:
        checks.integer("num_buckets", self.num_buckets, 1, LIMIT_BUCKETS)
        checks.integer("seed", self.seed, 0, LIMIT_SEED)
        checks.integer("columns", self.columns, 1, LIMIT_FEATURES + 1)
        checks.integer("window", self.window, 1, min(self.columns, self.num_buckets) + 1)

    def __call__(self, i: Any, j: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return buckets h(i, j) and signs ξ(i, j) (int8, ±1), broadcast over arrays of positions."""
        starts, row_signs = signed_bucket(xxhash32(i, EVERY, self.seed), self.num_buckets, self.signed)
        return (starts + self.places[j]) % self.num_buckets, row_signs * self.signs[j]

    @functools.cached_property
    def signs(self) -> np.ndarray:
        """ξ₂(j), (columns,) int8."""
        draws = self._draws() if self.signed else np.zeros(self.columns, np.uint32)
        return np.where(draws & np.uint32(1), np.int8(-1), np.int8(1))

    @functools.cached_property
    def places(self) -> np.ndarray:
        """t(j), the place of every column in the window, (columns,) uint32."""
        if not self.folds:
            return np.arange(self.columns, dtype=np.uint32)
        places = np.empty(self.columns, np.uint32)
        places[np.argsort(self._draws(), kind="stable")] = np.arange(self.columns) % self.window
        return places

    @property
    def folds(self) -> bool:
        """Whether columns share places: S < columns."""
        return self.window < self.columns

    def _draws(self) -> np.ndarray:
        return np.asarray(xxhash32(EVERY, np.arange(self.columns), self.seed))


@dataclass(frozen=True)
class TileMap:
    """A map whose rows are made of tiles: `V[i, j] = ξ₁(i, g) ξ₂(j) · w[s_τ(i, g) + u]`.

    The columns are permuted and cut into G segments of B; every row draws a tile of the weights for each
    segment, and many rows draw the same one. d(j) = `xxhash32(2³² − 1, j, seed)` gives ξ₂(j) = −1 if its
    lowest bit is set, else +1, and the place p(j), the rank of column j when columns are sorted by (d(j), j).
    Its segment is g = p(j) div B, its offset u = p(j) mod B. τ(i, g) and ξ₁(i, g) are the signed bucket in T
    of `xxhash32(i, g, seed)`; tile τ starts at `s_τ = min(τ · B, K − B)`. Unsigned, all signs are +1.

    Parameters
    ----------
    num_buckets, seed, signed : as in `ElementMap`.
    columns : of V, the hashed bias among them.
    tile : B, 1 < B ≤ min(columns, K); with one weight a tile the map is `ElementMap`.

    `segments` is G = ceil(columns / B), `tiles` T = ceil(K / B).

    Examples
    --------
    >>> map = TileMap(6, seed=1, columns=4, tile=2)
    >>> map.segments, map.tiles, map.places
    (2, 3, array([3, 1, 2, 0], dtype=uint32))
    >>> buckets, signs = map(np.arange(2)[:, None], np.arange(4))
    >>> buckets
    array([[3, 3, 2, 2],
           [5, 3, 4, 2]])

    Source: ours.
    """

    num_buckets: int
    seed: int
    columns: int
    tile: int
    signed: bool = True

    name: ClassVar[str] = "tile"

    @property
    def key(self) -> tuple[int, ...]:
        """What kernels hash with."""
        return self.seed, self.num_buckets, self.signed, self.tile

    def __post_init__(self) -> None:
        checks.integer("num_buckets", self.num_buckets, 1, LIMIT_BUCKETS)
        checks.integer("seed", self.seed, 0, LIMIT_SEED)
        checks.integer("columns", self.columns, 1, LIMIT_FEATURES + 1)
        checks.integer("tile", self.tile, 2, min(self.columns, self.num_buckets) + 1)

    def __call__(self, i: Any, j: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return buckets h(i, j) and signs ξ(i, j) (int8, ±1), broadcast over arrays of positions."""
        segments, offsets = np.divmod(self.places[j].astype(np.int64), self.tile)
        tiles, signs = signed_bucket(xxhash32(i, segments, self.seed), self.tiles, self.signed)
        return self.starts[tiles] + offsets, signs * self.signs[j]

    @property
    def segments(self) -> int:
        """G, segments of a row."""
        return -(-self.columns // self.tile)

    @property
    def tiles(self) -> int:
        """T, tiles of the weights."""
        return -(-self.num_buckets // self.tile)

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """s_τ, where each tile starts, (T,) int64; the last may overlap the one before."""
        return np.minimum(np.arange(self.tiles) * self.tile, self.num_buckets - self.tile)

    @functools.cached_property
    def signs(self) -> np.ndarray:
        """ξ₂(j), (columns,) int8."""
        return _column_signs(self._draws, self.signed)

    @functools.cached_property
    def places(self) -> np.ndarray:
        """p(j), the place of every column among the segments, (columns,) uint32."""
        return _ranks(self._draws)

    @functools.cached_property
    def _draws(self) -> np.ndarray:
        return np.asarray(xxhash32(EVERY, np.arange(self.columns), self.seed))


def _column_signs(draws: np.ndarray, signed: bool) -> np.ndarray:
    return np.where(draws & np.uint32(signed), np.int8(-1), np.int8(1))


def _ranks(draws: np.ndarray) -> np.ndarray:
    """Return the place of each draw when they are sorted, equal ones by their number."""
    places = np.empty(len(draws), np.uint32)
    places[np.argsort(draws, kind="stable")] = np.arange(len(draws))
    return places
