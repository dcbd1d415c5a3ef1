"""Where a virtual weight lives: from a position (i, j) to a bucket and a sign.

i is the output unit, j the input unit (the bias is column j = in_features). Everything here is plain
NumPy and favours clearness; the kernels compile `slot` and what it calls, the one source of the hash for
NumPy, Numba and CUDA. The hash is part of the file format (docs/format.md): it may never change.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from minihash import checks

LARGEST = 2**32 - 1  # of uint32
LIMIT_FEATURES = LARGEST
LIMIT_BUCKETS = 2**30
LIMIT_SEED = 2**32
SIGN = np.uint32(1 << 31)  # of a slot, set for −1
TILE = np.uint32(SIGN - 1)  # the other bits: the tile, or where tiles are single weights, the bucket

PRIME3 = np.uint32(3266489917)
START = np.uint32(374761393 + 8)  # PRIME5 + the length of the message in bytes
_PRIME2 = np.uint32(2246822519)
_PRIME4 = np.uint32(668265263)


def hash_position(i: Any, j: Any, seed: Any) -> Any:
    """XXH32 of the 8 bytes `i, j` (little-endian uint32) with `seed`, all of them uint32.

    Every step is cast back to 32 bits because compilers widen: uint32 times uint32 is 64 bits wide in
    Numba, and wraps in NumPy (of scalars with a warning: `np.errstate(over="ignore")`).
    """
    return avalanche(absorb(absorb_row(i, seed), np.uint32(np.uint32(j) * PRIME3)))


def absorb_row(i: Any, seed: Any) -> Any:
    """Return the state after the first word of the message, which a whole row of positions shares."""
    return absorb(np.uint32(np.uint32(seed) + START), np.uint32(np.uint32(i) * PRIME3))


def absorb(h: Any, product: Any) -> Any:
    """Return the state after one more word of the message, given as `word · PRIME3`."""
    h = np.uint32(h + product)
    return np.uint32(np.uint32((h << np.uint32(17)) | (h >> np.uint32(15))) * _PRIME4)


def avalanche(h: Any) -> Any:
    """Return the hash of the final state, in which every bit depends on every other."""
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(15))) * _PRIME2)
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * PRIME3)
    return np.uint32(h ^ (h >> np.uint32(16)))


def scale_to_range(hashed: Any, size: Any) -> Any:
    """Scale a 32-bit hash to 0 … size − 1 by `(hash · size) >> 32`: no division, no modulo bias."""
    return np.uint32((np.uint64(hashed) * np.uint64(size)) >> np.uint64(32))


def slot(key: Any, row: Any, segment: Any) -> Any:
    """Return which tile a row of V has in a segment, and in the highest bit its sign, 1 for −1.

    The one place where this is said; kernels compile it. For the paper's map a tile is a weight, and a
    segment a column.

    Parameters
    ----------
    key : seed, T and whether signs are drawn (docs/format.md).
    row, segment : i and g, integers or arrays of uint32 that broadcast.
    """
    return signed_slot(hash_position(row, segment, key[0]), key[1], np.uint32(key[2]))


def signed_slot(hashed: Any, size: Any, signed: Any) -> Any:
    """Return a number below `size`, and in the highest bit a sign, from one draw.

    `s = (hash · 2 size) >> 32` is below `size`, with sign +1, exactly where the hash's highest bit is 0; so
    the number is the other bits scaled to `size`, and the highest bit is the sign. Unsigned (0 instead of 1,
    as uint32), the whole hash is scaled.
    """
    number = scale_to_range(np.uint32(hashed << signed), size)
    return np.uint32(number | np.uint32(hashed & np.uint32(signed << np.uint32(31))))


def split(slots: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers (int64) and the signs (int8, ±1) of slots, an array of uint32."""
    return (slots & ~SIGN).astype(np.int64), np.where(slots & SIGN, np.int8(-1), np.int8(1))


def signed_bucket(hashed: Any, num_buckets: int, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return bucket (int64) and sign (int8, ±1) of each hash, see `signed_slot`."""
    return split(signed_slot(np.atleast_1d(np.asarray(hashed, np.uint32)), num_buckets, np.uint32(signed)))


def xxhash32(i: Any, j: Any, seed: Any) -> Any:
    """Hash positions: XXH32 of the 8 bytes `i, j` as little-endian uint32, with `seed`.

    Parameters
    ----------
    i, j, seed : integers or integer arrays that broadcast, each in 0 … 2³² − 1.

    Returns
    -------
    int, or an array of uint32 if any argument is an array.

    Raises
    ------
    ValueError if an argument is not an integer or out of range.

    Examples
    --------
    >>> xxhash32(0, 1, seed=2015)
    1403150150
    >>> xxhash32(np.arange(3), 1, seed=2015)
    array([1403150150, 2731220082,  602231735], dtype=uint32)

    Source: XXH32, Yann Collet, https://github.com/Cyan4973/xxHash (doc/xxhash_spec.md).
    """
    arrays = [as_uint32(name, value) for name, value in (("i", i), ("j", j), ("seed", seed))]
    hashed = hash_position(*(np.atleast_1d(array) for array in arrays))  # scalars would warn
    if all(array.ndim == 0 for array in arrays):
        return int(hashed[0])
    return hashed


def as_uint32(name: str, value: Any) -> np.ndarray:
    """Return integers as uint32; ValueError, with their name, for others and for what is out of range."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        shown = repr(value) if array.ndim == 0 else f"an array of {array.dtype}"
        raise ValueError(f"{name} is {shown}, wanted integers")
    if array.size and (array.min() < 0 or array.max() >= 2**32):
        worst = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name} is {worst}, wanted 0 <= {name} < 2**32")
    return array.astype(np.uint32)


def layer_seed(position: int, network_seed: int) -> int:
    """Return the seed of the weight layer at `position` (0, 1, …): `xxhash32(position, 0, network_seed)`."""
    return int(xxhash32(position, 0, checks.integer("seed", network_seed, 0, LIMIT_SEED)))


class Map(Protocol):
    """What a map is: from positions to buckets h(i, j) and signs ξ(i, j), see maps.py."""

    @property
    def num_buckets(self) -> int: ...

    def __call__(self, i: Any, j: Any) -> tuple[np.ndarray, np.ndarray]: ...


def virtual_weight_matrix(
    weight: np.ndarray, bucket_map: Map, out_features: int, columns: int
) -> np.ndarray:
    """Return the virtual matrix V (out_features, columns), `V[i, j] = ξ(i, j) · w[h(i, j)]` (eq. 7).

    It is as large as the dense layer's: for tests, teaching and pictures. `weight` is (num_buckets,).
    """
    buckets, signs = _all_positions(bucket_map, out_features, columns)
    return weight[buckets] * signs.astype(weight.dtype)


def feature_hash(inputs: np.ndarray, bucket_map: Map, i: int) -> np.ndarray:
    """Return φ_i(a) (batch, num_buckets), the inputs hashed into buckets for output unit i (eq. 5).

    `[φ_i(a)]_k = Σ_{j: h(i,j)=k} ξ(i, j) · a_j`, so that `z_i = w · φ_i(a)` (eq. 6): the same layer
    seen as hashing the inputs instead of the weights.

    Parameters
    ----------
    inputs : (batch, columns), a hashed bias's constant 1 included.
    bucket_map : of the layer.
    i : output unit.

    Raises
    ------
    ValueError if `inputs` is not a matrix of real numbers.

    Examples
    --------
    >>> from minihash.maps import BucketMap
    >>> map, weight, inputs = BucketMap(5, seed=1, columns=4), np.arange(1.0, 6), np.array([[1.0, 2, 3, 4]])
    >>> feature_hash(inputs, map, 0)
    array([[ 7.,  2.,  0., -1.,  0.]])
    >>> feature_hash(inputs, map, 0) @ weight == inputs @ virtual_weight_matrix(weight, map, 1, 4)[0]
    array([ True])
    """
    inputs = np.asarray(checks.array("inputs", inputs))
    inputs = checks.matrix("inputs", inputs, None, np.result_type(inputs, np.float32))
    buckets, signs = bucket_map(i, np.arange(inputs.shape[1]))
    hashed = np.zeros((bucket_map.num_buckets, inputs.shape[0]), inputs.dtype)
    np.add.at(hashed, buckets, inputs.T * signs[:, None])
    return hashed.T


def occupancy(bucket_map: Map, out_features: int, columns: int) -> np.ndarray:
    """Return how many virtual weights share each bucket: (num_buckets,), sum = out_features · columns."""
    buckets, _ = _all_positions(bucket_map, out_features, columns)
    return np.bincount(buckets.ravel(), minlength=bucket_map.num_buckets)


def _all_positions(
    bucket_map: Map, out_features: int, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(checks.integer("out_features", out_features, 1, LIMIT_FEATURES))
    j = np.arange(checks.integer("columns", columns, 1, LIMIT_FEATURES + 1))
    return bucket_map(i[:, None], j)
