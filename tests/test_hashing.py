"""The hash: golden vectors, the reference XXH32, and buckets and signs from one draw."""

from __future__ import annotations

import naive
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from minihash import hashing
from minihash.maps import BucketMap

MAX = 2**32 - 1
uint32s = st.one_of(st.integers(0, MAX), st.sampled_from([0, 1, MAX - 1, MAX]))

# (i, j, seed), XXH32, and for K = 1, 10, 12250: (signed bucket, sign), unsigned bucket. Part of the
# file format: these numbers may never change.
GOLDEN = [
    ((0, 0, 0), 0xDEB39513, [(0, -1), (7, -1), (9063, -1)], [0, 8, 10656]),
    ((0, 0, 1), 0xD1EA7DEA, [(0, -1), (6, -1), (7839, -1)], [0, 8, 10044]),
    ((0, 1, 0), 0xDA0A0754, [(0, -1), (7, -1), (8617, -1)], [0, 8, 10433]),
    ((1, 0, 0), 0x08ED6331, [(0, 1), (0, 1), (854, 1)], [0, 0, 427]),
    ((1, 0, 42), 0x4B34DE73, [(0, 1), (5, 1), (7197, 1)], [0, 2, 3598]),
    ((783, 999, 2015), 0xBDE1F6D1, [(0, -1), (4, -1), (5922, -1)], [0, 7, 9086]),
    ((999, 784, 2654435761), 0x0E5FC9D8, [(0, 1), (1, 1), (1375, 1)], [0, 0, 687]),
    ((MAX, 0, 7), 0x37E5528E, [(0, 1), (4, 1), (5349, 1)], [0, 2, 2674]),
    ((0, MAX, 7), 0x3D3165E6, [(0, 1), (4, 1), (5856, 1)], [0, 2, 2928]),
    ((MAX, MAX, MAX), 0xA01706A2, [(0, -1), (2, -1), (3071, -1)], [0, 6, 7660]),
    ((MAX - 1, MAX - 1, 3920205895), 0xF24BC728, [(0, -1), (8, -1), (10938, -1)], [0, 9, 11594]),
    ((123456789, 987654321, 3141592653), 0x1BDFA942, [(0, 1), (2, 1), (2667, 1)], [0, 1, 1333]),
]


# ------------------------------------------------------------------------------------ xxhash32


@pytest.mark.parametrize("position, ref, signed_buckets, buckets", GOLDEN)
def test_golden_vectors(position, ref, signed_buckets, buckets):
    i, j, seed = position
    comp = hashing.xxhash32(i, j, seed)
    assert type(comp) is int
    assert comp == ref == naive.xxhash32(i, j, seed)
    for num_buckets, signed_bucket, bucket in zip((1, 10, 12250), signed_buckets, buckets):
        for signed, bucket_and_sign in ((True, signed_bucket), (False, (bucket, 1))):
            assert naive.signed_bucket(ref, num_buckets, signed) == bucket_and_sign
            assert hashing.signed_bucket(np.uint32(ref), num_buckets, signed) == bucket_and_sign


def test_equals_the_reference_library_a_million_times():
    i, j, seed = np.random.default_rng(0).integers(0, 2**32, (3, 10**6), np.uint32)
    messages = np.stack([i, j], axis=1).astype("<u4").view("S8").ravel()
    raw, digest = messages.tobytes(), xxhash.xxh32_intdigest
    ref = [digest(raw[8 * n : 8 * n + 8], s) for n, s in enumerate(seed.tolist())]
    np.testing.assert_array_equal(hashing.xxhash32(i, j, seed), ref)


@given(uint32s, uint32s, uint32s)
def test_xxhash32_equals_naive(i, j, seed):
    ref = naive.xxhash32(i, j, seed)
    assert hashing.xxhash32(i, j, seed) == ref
    assert hashing.xxhash32(np.uint32(i), np.int64(j), np.uint64(seed)) == ref
    comp = hashing.xxhash32([i], j, seed)
    assert comp.dtype == np.uint32 and comp.tolist() == [ref]


def test_xxhash32_broadcasts():
    i, j, seeds = np.arange(3)[:, None, None], np.arange(4)[:, None], np.array([0, MAX])
    ref = [[[naive.xxhash32(a, b, s) for s in (0, MAX)] for b in range(4)] for a in range(3)]
    np.testing.assert_array_equal(hashing.xxhash32(i, j, seeds), ref)
    assert hashing.xxhash32(np.zeros((0, 3), int), 0, 0).shape == (0, 3)


@pytest.mark.parametrize("name", ["i", "j", "seed"])
@pytest.mark.parametrize("value", [-1, 2**32, 0.5, "0", None, True, [0, -1], np.float32(1), 2**70])
def test_xxhash32_refuses(name, value):
    with pytest.raises(ValueError, match=f"^{name} is"):
        hashing.xxhash32(**({"i": 0, "j": 0, "seed": 0} | {name: value}))


@given(uint32s, st.integers(1, 2**31))
def test_scale_to_range_equals_exact_integers(hashed, size):
    ref = hashed * size // 2**32
    assert hashing.scale_to_range(np.uint32(hashed), size) == ref < size


def test_shortcut_in_32_bits_gives_the_same_signed_bucket():
    hashed = np.random.default_rng(1).integers(0, 2**32, 500, np.uint32)
    hashed = np.concatenate([hashed, np.array([0, 1, 0xFFFF, 0x10000, MAX - 1, MAX], np.uint32)])
    sizes = np.concatenate([np.arange(2, 600, 2), np.arange(2**16 - 200, 2**16 + 1, 2)])
    sizes = sizes.astype(np.uint32)[:, None]
    high, low = hashed >> np.uint32(16), hashed & np.uint32(0xFFFF)
    shortcut = (high * sizes + (low * sizes >> np.uint32(16))) >> np.uint32(16)
    assert shortcut.dtype == np.uint32
    np.testing.assert_array_equal(shortcut, hashing.scale_to_range(hashed, sizes))


@given(uint32s, st.integers(1, 2**30 - 1), st.booleans())
def test_signed_bucket_equals_naive(hashed, num_buckets, signed):
    ref = naive.signed_bucket(hashed, num_buckets, signed)
    for value in (hashed, np.uint32(hashed), np.array([hashed], np.uint32)):
        bucket, sign = hashing.signed_bucket(value, num_buckets, signed)
        assert (bucket, sign) == ref
        assert bucket.dtype == np.int64 and sign.dtype == np.int8


@given(uint32s, st.integers(1, 2**30 - 1), st.booleans(), uint32s, uint32s)
def test_slot_equals_the_reference_library_and_naive(seed, tiles, signed, row, segment):
    message = row.to_bytes(4, "little") + segment.to_bytes(4, "little")
    hashed = xxhash.xxh32_intdigest(message, seed)
    assert hashed == naive.xxhash32(row, segment, seed)
    tile, sign = naive.signed_bucket(hashed, tiles, signed)
    key, rows = (seed, tiles, signed), np.array([[row], [0]], np.uint32)
    with np.errstate(over="ignore"):  # of scalars
        slot = hashing.slot(key, np.uint32(row), np.uint32(segment))
        slots = hashing.slot(key, rows, np.uint32([segment, 5]))
    assert type(slot) is np.uint32 and slot == tile + (2**31 if sign < 0 else 0)
    assert slots.shape == (2, 2) and slots.dtype == np.uint32 and slots[0, 0] == slot
    numbers, signs = hashing.split(slots)
    assert (numbers[0, 0], signs[0, 0]) == (tile, sign)
    assert numbers.dtype == np.int64 and signs.dtype == np.int8


@given(st.integers(0, 100), uint32s)
def test_layer_seed_equals_naive(position, network_seed):
    assert hashing.layer_seed(position, network_seed) == naive.layer_seed(position, network_seed)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, None])
def test_layer_seed_refuses(seed):
    with pytest.raises(ValueError, match="seed is"):
        hashing.layer_seed(0, seed)


@pytest.mark.parametrize(
    "value, message",
    [
        (0.5, "i is 0.5, wanted integers"),
        (np.array([0.5]), "i is an array of float64, wanted integers"),
        ([3, -2, -1], "i is -2, wanted 0 <= i < 2"),
        ([3, -1], "i is -1, wanted 0 <= i < 2"),
        ([0, 2**32], "i is 4294967296, wanted 0 <= i < 2"),
        ([3, 2**32, 2**32 + 7], "i is 4294967303, wanted 0 <= i < 2"),
    ],
)
def test_what_is_no_position_is_named(value, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        hashing.xxhash32(value, 0, 0)


@pytest.mark.parametrize(
    "shape, message", [((MAX, 1), "out_features is 4294967295"), ((1, 2**32), "columns is 4294967296")]
)
def test_matrices_that_no_layer_has_are_refused(shape, message):
    with pytest.raises(ValueError, match=f"^{message}, wanted"):
        hashing.occupancy(BucketMap(2, 0, columns=1), *shape)


def test_a_slot_has_31_bits_of_a_tile_and_one_of_a_sign():
    assert (hashing.SIGN, hashing.TILE) == (2**31, 2**31 - 1)
