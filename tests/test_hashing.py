"""The hash: golden vectors, the reference XXH32, and the laws of buckets and signs."""

from __future__ import annotations

import naive
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from minihash import hashing
from minihash.hashing import ElementMap

MAX = 2**32 - 1
uint32s = st.one_of(st.integers(0, MAX), st.sampled_from([0, 1, MAX - 1, MAX]))
both_signs = pytest.mark.parametrize("signed", [True, False])

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
        assert naive.bucket_and_sign(i, j, seed, num_buckets) == signed_bucket
        assert naive.bucket_and_sign(i, j, seed, num_buckets, signed=False) == (bucket, 1)
        assert ElementMap(num_buckets, seed)(i, j) == signed_bucket
        assert ElementMap(num_buckets, seed, signed=False)(i, j) == (bucket, 1)


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


@given(st.integers(0, 100), uint32s)
def test_layer_seed_equals_naive(position, network_seed):
    assert hashing.layer_seed(position, network_seed) == naive.layer_seed(position, network_seed)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, None])
def test_layer_seed_refuses(seed):
    with pytest.raises(ValueError, match="seed is"):
        hashing.layer_seed(0, seed)


# ---------------------------------------------------------------------------------- ElementMap

maps = st.builds(ElementMap, st.integers(1, 40), uint32s, st.booleans())
any_maps = st.builds(ElementMap, st.integers(1, 2**30 - 1), uint32s, st.booleans())
lengths = st.integers(1, 8)


def parts(bucket_map):
    return bucket_map.seed, bucket_map.num_buckets


@given(any_maps, uint32s, uint32s)
def test_bucket_and_sign_equal_naive(bucket_map, i, j):
    ref = naive.bucket_and_sign(i, j, *parts(bucket_map), bucket_map.signed)
    bucket, sign = bucket_map(i, j)
    assert (bucket, sign) == ref
    assert sign.dtype == np.int8


@given(maps, lengths, lengths)
def test_buckets_and_signs_broadcast(bucket_map, rows, columns):
    buckets, signs = bucket_map(np.arange(rows)[:, None], np.arange(columns))
    assert buckets.shape == signs.shape == (rows, columns)
    for i, j in np.ndindex(rows, columns):
        ref = naive.bucket_and_sign(i, j, *parts(bucket_map), bucket_map.signed)
        assert (buckets[i, j], signs[i, j]) == ref


@given(maps, lengths, lengths)
def test_virtual_weight_matrix_equals_naive(bucket_map, out_features, columns):
    weight = np.random.default_rng(0).normal(size=bucket_map.num_buckets)
    ref = naive.virtual_matrix(weight, bucket_map.seed, out_features, columns, bucket_map.signed)
    comp = hashing.virtual_weight_matrix(weight, bucket_map, out_features, columns)
    np.testing.assert_array_equal(comp, ref)
    assert not np.shares_memory(comp, weight)


@given(maps)
def test_fold_is_the_transpose_of_table(bucket_map):
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 10, bucket_map.num_buckets)
    table = bucket_map.table(weight)
    grad_table = rng.integers(-9, 10, table.shape)
    assert table @ grad_table == weight @ bucket_map.fold(grad_table)


@given(maps, lengths, lengths)
def test_slots_index_the_table(bucket_map, rows, columns):
    weight = np.arange(1, bucket_map.num_buckets + 1)
    i, j = np.arange(rows)[:, None], np.arange(columns)
    buckets, signs = bucket_map(i, j)
    comp = bucket_map.table(weight)[bucket_map.slots(i, j)]
    np.testing.assert_array_equal(comp, signs * weight[buckets])


@given(maps, lengths, lengths)
def test_occupancy_counts_every_virtual_weight_once(bucket_map, out_features, columns):
    ref = naive.occupancy(*parts(bucket_map), out_features, columns, bucket_map.signed)
    comp = hashing.occupancy(bucket_map, out_features, columns)
    np.testing.assert_array_equal(comp, ref)
    assert comp.shape == (bucket_map.num_buckets,)
    assert comp.sum() == out_features * columns


@given(maps, st.integers(1, 4), lengths)
def test_an_output_is_the_weight_times_the_feature_hash(bucket_map, batch, columns):
    rng = np.random.default_rng(0)
    inputs = rng.integers(-9, 10, (batch, columns)).astype(np.float64)
    weight = rng.integers(-9, 10, bucket_map.num_buckets).astype(np.float64)
    matrix = hashing.virtual_weight_matrix(weight, bucket_map, 3, columns)
    for i in range(3):
        ref = naive.feature_hash(inputs, *parts(bucket_map), i, bucket_map.signed)
        comp = hashing.feature_hash(inputs, bucket_map, i)
        np.testing.assert_array_equal(comp, ref)
        np.testing.assert_array_equal(comp @ weight, inputs @ matrix[i])


@pytest.mark.parametrize(
    "change",
    [
        *({"num_buckets": value} for value in (0, -1, 2**30, 1.5, None, "8")),
        *({"seed": value} for value in (-1, 2**32, 0.0, None)),
    ],
)
def test_element_map_refuses(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} is .*, wanted"):
        ElementMap(**({"num_buckets": 8, "seed": 0} | change))


@pytest.mark.parametrize("shape, name", [((0, 3), "out_features"), ((3, 0), "columns")])
def test_virtual_weight_matrix_refuses(shape, name):
    with pytest.raises(ValueError, match=f"^{name} is 0"):
        hashing.virtual_weight_matrix(np.ones(2), ElementMap(2, 0), *shape)


# ---------------------------------------------------------------------------------- randomness


def assert_uniform(values, size):
    """χ² of the counts of 0 … size − 1 is within five standard deviations of its mean."""
    counts = np.bincount(np.ravel(values), minlength=size)
    assert counts.size == size
    expected = np.size(values) / size
    assert expected > 20
    excess = ((counts - expected) ** 2).sum() / expected - (size - 1)
    assert abs(excess) < 5 * np.sqrt(2 * (size - 1))


def all_positions(bucket_map):
    return bucket_map(np.arange(200)[:, None], np.arange(300))


@both_signs
@pytest.mark.parametrize("num_buckets", [2, 64, 1000])
def test_buckets_and_signs_are_uniform(num_buckets, signed):
    buckets, signs = all_positions(ElementMap(num_buckets, 2015, signed))
    assert_uniform(buckets, num_buckets)
    if signed:
        assert_uniform(buckets + num_buckets * (signs < 0), 2 * num_buckets)
    else:
        assert (signs == 1).all()


def test_maps_of_two_seeds_are_independent():
    slots = [ElementMap(8, seed).slots(np.arange(200)[:, None], np.arange(300)) for seed in (0, 1)]
    assert_uniform(slots[0].astype(int) * 16 + slots[1], 256)


def test_neighbours_and_transposed_positions_are_independent():
    slots = ElementMap(8, 5).slots(np.arange(300)[:, None], np.arange(300)).astype(int)
    assert_uniform(slots[1:] * 16 + slots[:-1], 256)
    assert_uniform(slots[:, 1:] * 16 + slots[:, :-1], 256)
    upper = np.triu_indices(300, 1)
    assert_uniform(slots[upper] * 16 + slots.T[upper], 256)


def test_feature_hash_of_pixels_does_not_wrap():
    inputs = np.full((2, 5), 200, np.uint8)
    ref = hashing.feature_hash(inputs.astype(np.float32), hashing.ElementMap(4, 1), 0)
    comp = hashing.feature_hash(inputs, hashing.ElementMap(4, 1), 0)
    np.testing.assert_array_equal(comp, ref)
    assert comp.min() < 0  # a minus sign among them
