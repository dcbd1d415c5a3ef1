"""The kernels of shared products, and how a batch is cut for them: both twins, and each other's transpose."""

from __future__ import annotations

import dataclasses

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash.kernels import numba_cpu, numpy_cpu, shared
from minihash.kernels.devices import CPU
from minihash.maps import BucketMap

SEED = 2015
TWINS = [numba_cpu, numpy_cpu]
both_twins = pytest.mark.parametrize("twin", TWINS, ids=["numba", "numpy"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
batches = st.integers(0, 20)  # kernels copy eight rows at a time


def integers(shape, dtype=np.float64, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-6, 7, shape).astype(dtype)


# ------------------------------------------------------------------------------------- arrange


@st.composite
def maps(draw):
    """A map of tiles, and how many of its columns are inputs."""
    features = draw(st.integers(1, 20))
    columns = features + draw(st.integers(0, 1) if features > 1 else st.just(1))  # a bias
    tile = draw(st.integers(2, columns))
    return BucketMap(tile, SEED, columns, tile, draw(st.booleans())), features


def arrange(twin, inputs, map):
    """The arranged inputs (B, G · batch)."""
    arranged = np.full((map.tile, map.segments * len(inputs)), np.nan, inputs.dtype)
    twin.arrange(inputs, map.places, map.signs, map.tile, arranged)
    return arranged


def arrange_back(twin, grad_arranged, map, shape):
    grad_inputs = np.full(shape, np.nan, grad_arranged.dtype)
    twin.arrange_back(grad_arranged, map.places, map.signs, map.tile, grad_inputs)
    return grad_inputs


@both_twins
@both_dtypes
@given(case=maps(), batch=batches)
def test_arrange_puts_signed_inputs_and_the_bias_in_their_places(twin, dtype, case, batch):
    map, features = case
    inputs = integers((batch, features), dtype)
    ref = np.zeros((map.tile, map.segments, batch), dtype)
    for j, place in enumerate(naive.tile_places(SEED, map.columns)):
        column = inputs[:, j] if j < features else 1
        sign = naive.column_sign(SEED, j, map.signed)
        ref[place % map.tile, place // map.tile] = sign * column
    np.testing.assert_array_equal(arrange(twin, inputs, map), ref.reshape(map.tile, -1))


@both_twins
@both_dtypes
@given(case=maps(), batch=batches)
def test_arrange_back_is_the_transpose_of_arrange(twin, dtype, case, batch):
    map, features = case
    inputs = integers((batch, features), dtype)
    linear = arrange(twin, inputs, map) - arrange(twin, np.zeros_like(inputs), map)  # without the bias's 1
    grad_arranged = integers(linear.shape, dtype, seed=1)
    grad_inputs = arrange_back(twin, grad_arranged, map, inputs.shape)
    assert (linear * grad_arranged).sum() == (inputs * grad_inputs).sum()


@given(case=maps(), batch=batches)
def test_arranging_twins_are_equal(case, batch):
    map, features = case
    inputs = integers((batch, features))
    arranged = [arrange(twin, inputs, map) for twin in TWINS]
    np.testing.assert_array_equal(*arranged)
    grads = integers(arranged[0].shape, seed=1)
    np.testing.assert_array_equal(*(arrange_back(twin, grads, map, inputs.shape) for twin in TWINS))


# ----------------------------------------------------------------------------- gather and scatter


@st.composite
def arrays(draw):
    """Slots, products and outputs of some rows, segments and rows of a batch."""
    rows, segments, tiles, batch = (draw(st.integers(1, high)) for high in (9, 9, 5, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    slots = rng.integers(0, tiles, (rows, segments)).astype(np.uint32)
    slots |= rng.integers(0, 2, slots.shape).astype(np.uint32) << np.uint32(31)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    products = rng.integers(-6, 7, (tiles, segments, batch)).astype(dtype)
    return slots, products, rng.integers(-6, 7, (rows, batch)).astype(dtype)


@both_twins
@given(arrays())
def test_gather_and_scatter_equal_plain_loops(twin, case):
    slots, products, grads = case
    outputs, grad_products = np.full_like(grads, np.nan), np.full_like(products, np.nan)
    twin.gather(products, slots, outputs)
    twin.scatter(grads, slots, grad_products)
    ref, grad_ref = np.zeros_like(grads), np.zeros_like(products)
    for i in range(slots.shape[0]):
        for g in range(slots.shape[1]):
            sign, tile = -1 if slots[i, g] >= 2**31 else 1, slots[i, g] % 2**31
            ref[i] += sign * products[tile, g]
            grad_ref[tile, g] += sign * grads[i]
    np.testing.assert_array_equal(outputs, ref)
    np.testing.assert_array_equal(grad_products, grad_ref)
    assert (outputs * grads).sum() == (products * grad_products).sum()  # each other's transpose


@both_twins
@both_dtypes
@given(case=maps(), rows=st.integers(1, 9))
def test_multiply_row_does_the_three_steps_of_one_row(twin, dtype, case, rows):
    map, features = case
    map = dataclasses.replace(map, num_buckets=5 * map.tile)
    inputs, tiles = integers((1, features), dtype), integers((map.tiles, map.tile), dtype, seed=1)
    arranged, outputs = np.full((map.segments, map.tile), np.nan, dtype), np.full(rows, np.nan, dtype)
    slots = np.asarray(map.slot(map.key, np.arange(rows)[:, None], np.arange(map.segments)))
    twin.multiply_row(inputs[0], map.places, map.signs, tiles, slots, arranged, outputs)
    column, ref = arrange(numpy_cpu, inputs, map), np.empty((rows, 1), dtype)
    numpy_cpu.gather((tiles @ column)[..., None], slots, ref)
    np.testing.assert_array_equal(arranged, column.T)
    np.testing.assert_array_equal(outputs, ref[:, 0])


@both_twins
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 9), (8, 8), (17, 40)])
def test_transpose(twin, shape):
    source, target = integers(shape), np.full(shape[::-1], np.nan)
    twin.transpose(source, target)
    np.testing.assert_array_equal(target, source.T)


# --------------------------------------------------------------------------------------- blocks


def test_blocks_cover_the_batch():
    map = BucketMap(1000, 1, 100, tile=10)
    for batch in range(300):
        blocks = shared._blocks(batch, 2000, map, 4, CPU)
        assert [row for start, stop in blocks for row in range(start, stop)] == list(range(batch))


@given(st.integers(2, 300), st.integers(0, 300), st.booleans())
def test_tiles_are_the_weights_and_the_last_may_overlap(num_buckets, tile, writable):
    map = BucketMap(num_buckets, 1, 300, max(2, min(tile, num_buckets)))
    weight = np.arange(num_buckets, dtype=np.float32)
    weight.flags.writeable = writable
    starts = [min(t * map.tile, num_buckets - map.tile) for t in range(map.tiles)]
    ref = [weight[start : start + map.tile] for start in starts]
    np.testing.assert_array_equal(shared._tiles(weight, map, weight.dtype, CPU), ref)
