"""The maps: against plain loops, the laws of buckets and signs, and their randomness."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import hashing
from minihash.maps import ElementMap, WindowMap

MAX = 2**32 - 1
uint32s = st.one_of(st.integers(0, MAX), st.sampled_from([0, 1, MAX - 1, MAX]))
both_signs = pytest.mark.parametrize("signed", [True, False])
lengths = st.integers(1, 8)


@st.composite
def maps(draw, max_buckets=40):
    """A map, the same map in plain loops, and how many columns it has."""
    num_buckets, columns = draw(st.integers(1, max_buckets)), draw(lengths)
    seed, signed = draw(uint32s), draw(st.booleans())
    if draw(st.booleans()):
        bucket_map = ElementMap(num_buckets, seed, signed)
        return bucket_map, naive.element(seed, num_buckets, signed), columns
    window = draw(st.integers(1, min(columns, num_buckets)))
    bucket_map = WindowMap(num_buckets, seed, columns, window, signed)
    return bucket_map, naive.window(seed, num_buckets, columns, window, signed), columns


# ------------------------------------------------------------------------------ buckets and signs


@given(maps(max_buckets=2**30 - 1), st.data())
def test_a_bucket_and_its_sign_equal_naive(case, data):
    bucket_map, lookup, columns = case
    last = MAX if isinstance(bucket_map, ElementMap) else columns - 1
    i, j = data.draw(uint32s), data.draw(st.integers(0, last))
    bucket, sign = bucket_map(i, j)
    assert (bucket, sign) == lookup(i, j)
    assert bucket.dtype == np.int64 and sign.dtype == np.int8


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
    inputs = np.full((2, 5), 200, np.uint8)
    ref = hashing.feature_hash(inputs.astype(np.float32), ElementMap(4, 1), 0)
    comp = hashing.feature_hash(inputs, ElementMap(4, 1), 0)
    np.testing.assert_array_equal(comp, ref)
    assert comp.min() < 0  # a minus sign among them


@pytest.mark.parametrize("shape, name", [((0, 3), "out_features"), ((3, 0), "columns")])
def test_virtual_weight_matrix_refuses(shape, name):
    with pytest.raises(ValueError, match=f"^{name} is 0"):
        hashing.virtual_weight_matrix(np.ones(2), ElementMap(2, 0), *shape)


# ------------------------------------------------------------------------------------- WindowMap


@both_signs
@pytest.mark.parametrize("window", [1, 7, 250, 499, 500])
def test_columns_are_signed_and_folded_as_in_plain_loops(window, signed):
    bucket_map = WindowMap(600, 3, 500, window, signed)
    places, signs = zip(*naive.window_columns(3, 500, window, signed))
    assert bucket_map.places.tolist() == list(places) and bucket_map.places.dtype == np.uint32
    assert bucket_map.signs.tolist() == list(signs) and bucket_map.signs.dtype == np.int8
    assert bucket_map.folds == (window < 500)
    counts = np.bincount(bucket_map.places, minlength=window)
    assert counts.size == window and counts.max() - counts.min() <= 1  # the window is filled evenly


def test_rows_are_windows_that_wrap_around():
    bucket_map = WindowMap(9, 4, 6, 6, signed=False)
    buckets, _ = bucket_map(np.arange(50)[:, None], np.arange(6))
    assert (np.diff(buckets) % 9 == 1).all()
    assert (buckets[:, -1] < buckets[:, 0]).any() and set(buckets[:, 0]) == set(range(9))


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "change",
    [
        *({"num_buckets": value} for value in (0, -1, 2**30, 1.5, None, "8")),
        *({"seed": value} for value in (-1, 2**32, 0.0, None)),
        *({"columns": value} for value in (0, -1, 2**32, 4.0, None)),
        *({"window": value} for value in (0, -1, 6, 2.0, None)),
        {"window": 4, "num_buckets": 3},
    ],
)
def test_maps_refuse(change):
    name = next(iter(change))
    arguments = {"num_buckets": 8, "seed": 0}
    if name in arguments and len(change) == 1:
        with pytest.raises(ValueError, match=f"^{name} is .*, wanted"):
            ElementMap(**(arguments | change))
    with pytest.raises(ValueError, match=f"^{name} is .*, wanted"):
        WindowMap(**(arguments | {"columns": 5, "window": 1} | change))


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
    return draws(ElementMap(8, seed), np.arange(rows)[:, None], np.arange(columns))


def window_draws(seed, rows=60_000):
    """Where windows start, and the signs of rows."""
    return draws(WindowMap(8, seed, 1, 1), np.arange(rows), 0)


@both_signs
@pytest.mark.parametrize("num_buckets", [2, 64, 1000])
@pytest.mark.parametrize(
    "make, positions",
    [
        (ElementMap, (np.arange(200)[:, None], np.arange(300))),
        (lambda *arguments: WindowMap(*arguments[:2], 1, 1, arguments[2]), (np.arange(60_000), 0)),
    ],
    ids=["element", "window"],
)
def test_buckets_and_signs_are_uniform(make, positions, num_buckets, signed):
    bucket_map = make(num_buckets, 2015, signed)
    buckets, signs = bucket_map(*positions)
    assert_uniform(buckets, num_buckets)
    if signed:
        assert_uniform(draws(bucket_map, *positions), 2 * num_buckets)
    else:
        assert (signs == 1).all()


@pytest.mark.parametrize("make", [element_draws, window_draws])
def test_maps_of_two_seeds_are_independent(make):
    assert_uniform(make(0) * 16 + make(1), 256)


def test_neighbours_and_transposed_positions_are_independent():
    slots = element_draws(5, 300, 300)
    assert_uniform(slots[1:] * 16 + slots[:-1], 256)
    assert_uniform(slots[:, 1:] * 16 + slots[:, :-1], 256)
    upper = np.triu_indices(300, 1)
    assert_uniform(slots[upper] * 16 + slots.T[upper], 256)


def test_neighbouring_windows_are_independent():
    slots = window_draws(5)
    assert_uniform(slots[1:] * 16 + slots[:-1], 256)


def test_columns_of_the_window_are_independent():
    bucket_map = WindowMap(8, 5, 60_000, 8)
    folded = bucket_map.places.astype(int) + 8 * (bucket_map.signs < 0)
    assert_uniform(folded[1:] * 16 + folded[:-1], 256)
    other = WindowMap(8, 6, 60_000, 8)
    assert_uniform(folded * 16 + other.places + 8 * (other.signs < 0), 256)
