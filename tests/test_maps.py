"""The map: against plain loops, the laws of buckets and signs, and their randomness."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import hashing
from minihash.maps import BucketMap

MAX = 2**32 - 1
uint32s = st.one_of(st.integers(0, MAX), st.sampled_from([0, 1, MAX - 1, MAX]))
both_signs = pytest.mark.parametrize("signed", [True, False])
lengths = st.integers(1, 8)


@st.composite
def maps(draw, max_buckets=40):
    """A map, the same map in plain loops, and how many columns it has; half of them are the paper's."""
    num_buckets, columns = draw(st.integers(1, max_buckets)), draw(lengths)
    seed, signed = draw(uint32s), draw(st.booleans())
    tile = draw(st.just(1) | st.integers(1, min(columns, num_buckets)))
    bucket_map = BucketMap(num_buckets, seed, columns, tile, signed)
    return bucket_map, naive.tiles(seed, num_buckets, columns, tile, signed), columns


# ------------------------------------------------------------------------------ buckets and signs


@given(maps(max_buckets=2**30 - 1), st.data())
def test_a_bucket_and_its_sign_equal_naive(case, data):
    bucket_map, lookup, columns = case
    i, j = data.draw(uint32s), data.draw(st.integers(0, columns - 1))
    bucket, sign = bucket_map(i, j)
    assert (bucket, sign) == lookup(i, j)
    assert bucket.dtype == np.int64 and sign.dtype == np.int8


@given(st.integers(1, 2**30 - 1), uint32s, st.booleans(), uint32s, st.integers(0, MAX - 1))
def test_the_papers_map_reaches_the_last_column_of_the_widest_layer(num_buckets, seed, signed, i, j):
    bucket_map = BucketMap(num_buckets, seed, columns=MAX, signed=signed)
    assert bucket_map(i, j) == naive.element(seed, num_buckets, signed)(i, j)


@given(maps(), lengths)
def test_buckets_and_signs_broadcast(case, rows):
    bucket_map, lookup, columns = case
    ref = np.array([[lookup(i, j) for j in range(columns)] for i in range(rows)])
    i, j = np.arange(rows)[:, None], np.arange(columns)
    for comp in (bucket_map(i, j), bucket_map(i, j.tolist()), np.swapaxes(bucket_map(i.T, j[:, None]), 1, 2)):
        np.testing.assert_array_equal(np.stack(comp, axis=-1), ref)
    np.testing.assert_array_equal(np.stack(bucket_map(i.ravel(), columns - 1), axis=-1), ref[:, -1])


@given(maps(), lengths)
def test_virtual_weight_matrix_equals_naive(case, out_features):
    bucket_map, lookup, columns = case
    weight = np.random.default_rng(0).normal(size=bucket_map.num_buckets)
    ref = naive.virtual_matrix(weight, lookup, out_features, columns)
    comp = hashing.virtual_weight_matrix(weight, bucket_map, out_features, columns)
    np.testing.assert_array_equal(comp, ref)
    assert not np.shares_memory(comp, weight)


@given(maps(), lengths)
def test_occupancy_counts_every_virtual_weight_once(case, out_features):
    bucket_map, lookup, columns = case
    ref = naive.occupancy(lookup, bucket_map.num_buckets, out_features, columns)
    comp = hashing.occupancy(bucket_map, out_features, columns)
    np.testing.assert_array_equal(comp, ref)
    assert comp.shape == (bucket_map.num_buckets,)
    assert comp.sum() == out_features * columns


@given(maps(), st.integers(1, 4))
def test_an_output_is_the_weight_times_the_feature_hash(case, batch):
    bucket_map, lookup, columns = case
    rng = np.random.default_rng(0)
    inputs = rng.integers(-9, 10, (batch, columns)).astype(np.float64)
    weight = rng.integers(-9, 10, bucket_map.num_buckets).astype(np.float64)
    matrix = hashing.virtual_weight_matrix(weight, bucket_map, 3, columns)
    for i in range(3):
        ref = naive.feature_hash(inputs, lookup, bucket_map.num_buckets, i)
        comp = hashing.feature_hash(inputs, bucket_map, i)
        np.testing.assert_array_equal(comp, ref)
        np.testing.assert_array_equal(comp @ weight, inputs @ matrix[i])


def test_feature_hash_of_pixels_does_not_wrap():
    inputs, bucket_map = np.full((2, 5), 200, np.uint8), BucketMap(4, 1, columns=5)
    ref = hashing.feature_hash(inputs.astype(np.float32), bucket_map, 0)
    comp = hashing.feature_hash(inputs, bucket_map, 0)
    np.testing.assert_array_equal(comp, ref)
    assert comp.min() < 0  # a minus sign among them


@pytest.mark.parametrize("shape, name", [((0, 3), "out_features"), ((3, 0), "columns")])
def test_virtual_weight_matrix_refuses(shape, name):
    with pytest.raises(ValueError, match=f"^{name} is 0"):
        hashing.virtual_weight_matrix(np.ones(2), BucketMap(2, 0, columns=3), *shape)


# ----------------------------------------------------------------------------------------- tiles


@both_signs
@pytest.mark.parametrize("tile", [1, 2, 7, 250, 499, 500])
def test_columns_are_signed_and_placed_as_in_plain_loops(tile, signed):
    bucket_map = BucketMap(600, 3, 500, tile, signed)
    places = list(range(500)) if tile == 1 else naive.tile_places(3, 500)
    signs = [1 if tile == 1 else naive.column_sign(3, j, signed) for j in range(500)]
    assert bucket_map.places.tolist() == places and bucket_map.places.dtype == np.uint32
    assert bucket_map.signs.tolist() == signs and bucket_map.signs.dtype == np.int8


@pytest.mark.parametrize(
    "num_buckets, columns, tile, segments, tiles, starts",
    [
        (10, 8, 3, 3, 4, [0, 3, 6, 7]),  # the last segment is short, the last tile overlaps the one before
        (9, 9, 3, 3, 3, [0, 3, 6]),
        (5, 8, 5, 2, 1, [0]),
        (9, 8, 8, 1, 2, [0, 1]),
        (4, 3, 1, 3, 4, [0, 1, 2, 3]),
    ],
)
def test_segments_and_tiles(num_buckets, columns, tile, segments, tiles, starts):
    bucket_map = BucketMap(num_buckets, 4, columns, tile)
    assert (bucket_map.segments, bucket_map.tiles) == (segments, tiles)
    assert bucket_map.key == (4, tiles, True)
    buckets, _ = bucket_map(np.arange(200)[:, None], np.argsort(bucket_map.places))
    assert sorted(set(buckets[:, ::tile].flat)) == starts
    inside = np.arange(1, columns) % tile > 0
    assert (np.diff(buckets)[:, inside] == 1).all()  # a segment is consecutive weights
    assert set(buckets.flat) <= set(range(num_buckets))


def test_a_tile_has_the_length_of_a_segment_at_most():
    """Every weight is used, and in a segment no weight twice."""
    bucket_map = BucketMap(10, 2015, 8, tile=3)
    buckets, _ = bucket_map(np.arange(500)[:, None], np.arange(8))
    assert set(buckets.flat) == set(range(10))
    segments = bucket_map.places // 3
    for g in range(3):
        assert all(len(set(row)) == row.size for row in buckets[:, segments == g])


# --------------------------------------------------------------------------------- a map of one's own


def every_third(key, row, segment):
    """Not random: neighbouring rows and segments draw tiles three apart; odd rows are negative."""
    row, segment = np.uint32(row), np.uint32(segment)
    sign = np.uint32(row & np.uint32(1)) << np.uint32(31)
    return np.uint32(np.uint32(row + np.uint32(3) * segment) % np.uint32(key[1])) | sign


class ThirdMap(BucketMap):
    slot = staticmethod(every_third)


@pytest.mark.parametrize("tile", [1, 2, 3])
def test_a_map_of_ones_own_draws_by_its_slot(tile):
    bucket_map, ordinary = ThirdMap(9, 4, 7, tile), BucketMap(9, 4, 7, tile)
    i, j = np.arange(20)[:, None], np.arange(7)
    buckets, signs = bucket_map(i, j)
    tiles = (i + 3 * (bucket_map.places // tile)) % bucket_map.tiles
    starts = np.minimum(tiles * tile, 9 - tile)
    np.testing.assert_array_equal(buckets, starts + bucket_map.places % tile)
    np.testing.assert_array_equal(signs, np.where(i % 2, -1, 1) * bucket_map.signs)
    np.testing.assert_array_equal(bucket_map.places, ordinary.places)
    assert bucket_map != ordinary and bucket_map == ThirdMap(9, 4, 7, tile)


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "change",
    [
        *({"num_buckets": value} for value in (0, -1, 2**30, 1.5, None, "8")),
        *({"seed": value} for value in (-1, 2**32, 0.0, None)),
        *({"columns": value} for value in (0, -1, 2**32, 4.0, None)),
        *({"tile": value} for value in (0, -1, 6, 2.0, None, "auto")),
        {"tile": 4, "num_buckets": 3},
    ],
)
def test_maps_refuse(change):
    name = next(iter(change))
    with pytest.raises(ValueError, match=f"^{name} is .*, wanted"):
        BucketMap(**({"num_buckets": 8, "seed": 0, "columns": 5} | change))


# ---------------------------------------------------------------------------------- randomness


def assert_uniform(values, size):
    """χ² of the counts of 0 … size − 1 is within five standard deviations of its mean."""
    counts = np.bincount(np.ravel(values), minlength=size)
    assert counts.size == size
    expected = np.size(values) / size
    assert expected > 20
    excess = ((counts - expected) ** 2).sum() / expected - (size - 1)
    assert abs(excess) < 5 * np.sqrt(2 * (size - 1))


def draws(bucket_map, i, j):
    """Bucket and sign as one number below 2K."""
    buckets, signs = bucket_map(i, j)
    return buckets + bucket_map.num_buckets * (signs < 0)


def element_draws(seed, rows=200, columns=300):
    return draws(BucketMap(8, seed, columns), np.arange(rows)[:, None], np.arange(columns))


def tile_draws(seed, rows=200, segments=300):
    """The tiles and signs of rows and segments; ξ₂ of a segment's first column is taken out."""
    bucket_map = BucketMap(16, seed, 2 * segments, tile=2)
    first = np.argsort(bucket_map.places)[::2]
    buckets, signs = bucket_map(np.arange(rows)[:, None], first)
    assert (buckets % 2 == 0).all()
    return buckets // 2 + 8 * (signs * bucket_map.signs[first] < 0)


def column_draws(seed, columns=60_000):
    """The segments of columns and their signs."""
    bucket_map = BucketMap(columns, seed, columns, tile=columns // 8)
    return bucket_map.places // (columns // 8) + 8 * (bucket_map.signs < 0)


@both_signs
@pytest.mark.parametrize("num_buckets", [2, 64, 1000])
def test_buckets_and_signs_are_uniform(num_buckets, signed):
    bucket_map = BucketMap(num_buckets, 2015, 300, signed=signed)
    positions = np.arange(200)[:, None], np.arange(300)
    buckets, signs = bucket_map(*positions)
    assert_uniform(buckets, num_buckets)
    if signed:
        assert_uniform(draws(bucket_map, *positions), 2 * num_buckets)
    else:
        assert (signs == 1).all()


@pytest.mark.parametrize("make", [tile_draws, column_draws])
def test_tiles_segments_and_signs_are_uniform(make):
    assert_uniform(make(2015), 16)


@pytest.mark.parametrize("make", [element_draws, tile_draws, column_draws])
def test_maps_of_two_seeds_are_independent(make):
    assert_uniform(make(0) * 16 + make(1), 256)


@pytest.mark.parametrize("make", [element_draws, tile_draws])
def test_neighbours_and_transposed_positions_are_independent(make):
    slots = make(5, 300, 300)
    assert_uniform(slots[1:] * 16 + slots[:-1], 256)
    assert_uniform(slots[:, 1:] * 16 + slots[:, :-1], 256)
    upper = np.triu_indices(300, 1)
    assert_uniform(slots[upper] * 16 + slots.T[upper], 256)


def test_neighbouring_columns_are_independent():
    places = column_draws(5)
    assert_uniform(places[1:] * 16 + places[:-1], 256)


def test_a_map_is_a_value_and_does_not_change():
    bucket_map = BucketMap(6, seed=1, columns=4)
    with pytest.raises(AttributeError):
        bucket_map.seed = 2
    assert hash(bucket_map) == hash(BucketMap(6, 1, 4)) != hash(BucketMap(6, 2, 4))
