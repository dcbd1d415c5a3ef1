"""The kernels: both twins against plain loops, and as each other's transpose."""

from __future__ import annotations

from typing import NamedTuple

import naive
import numpy as np
import pytest
from helpers import integers
from hypothesis import example, given
from hypothesis import strategies as st

from minihash import hashing, kernels
from minihash.kernels import numba_cpu, numpy_cpu
from minihash.maps import BucketMap

TWINS = [numba_cpu, numpy_cpu]
both_twins = pytest.mark.parametrize("twin", TWINS, ids=["numba", "numpy"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])

LIMIT = 2**32 - 1  # rows and segments stop before it
SIGN = 2**31


class Block(NamedTuple):
    """Some rows of V and some of its columns, in the order of their places and without their signs."""

    kernels: str  # "element" or "tiles", which do single weights too
    num_buckets: int
    tile: int
    seed: int
    signed: bool
    origin: tuple[int, int]
    offset: int
    shape: tuple[int, int]

    @property
    def key(self):
        return self.seed, -(-self.num_buckets // self.tile), self.signed

    @property
    def span(self):
        return self.tile, self.offset

    def piece(self, row, column, shape):
        """The block of this shape that starts so many rows and columns further on."""
        segment, offset = divmod(self.offset + column, self.tile)
        origin = self.origin[0] + row, self.origin[1] + segment
        return self._replace(origin=origin, offset=offset, shape=shape)


lengths = st.integers(1, 9)
starts = st.one_of(st.integers(0, 50), st.integers(0, LIMIT - 9), st.just(LIMIT - 9))
batches = st.integers(0, 4)
uint32s = st.integers(0, 2**32 - 1) | st.just(2**32 - 1)


@st.composite
def blocks(draw, max_buckets=40):
    """Half of the blocks are of single weights; tiles often overlap, or go on beyond the block."""
    tile = draw(st.just(1) | st.integers(2, min(12, max_buckets)))
    return Block(
        draw(st.sampled_from(["element", "tiles"])) if tile == 1 else "tiles",
        draw(st.integers(tile, max_buckets)),
        tile,
        seed=draw(uint32s),
        signed=draw(st.booleans()),
        origin=(draw(starts), draw(starts)),
        offset=draw(st.integers(0, tile - 1)),
        shape=(draw(lengths), draw(lengths)),
    )


def at_the_limits(test):
    """Try the last block of the largest layer."""
    for name, tile in (("element", 1), ("tiles", 3)):
        block = Block(name, 10, tile, 2**32 - 1, True, (LIMIT - 9, LIMIT - 9), tile - 1, (9, 9))
        test = example(block=block)(test)
    return test


def slots_of(block):
    """The slots as the kernels want them."""
    rows, segments = block.shape[0], -(-(block.offset + block.shape[1]) // block.tile)
    slots = np.empty((rows, segments), np.uint32)
    for r in range(rows):
        for s in range(segments):
            hashed = naive.xxhash32(block.origin[0] + r, block.origin[1] + s, block.seed)
            tile, sign = naive.signed_bucket(hashed, block.key[1], block.signed)
            slots[r, s] = tile + SIGN * (sign < 0)
    return slots


def positions(block):
    """Buckets and signs of all places of the block, each (rows, columns)."""
    slots, found = slots_of(block).tolist(), []
    for r in range(block.shape[0]):
        for c in range(block.shape[1]):
            segment, offset = divmod(block.offset + c, block.tile)
            start = min(slots[r][segment] % SIGN * block.tile, block.num_buckets - block.tile)
            found.append((start + offset, -1 if slots[r][segment] >= SIGN else 1))
    return np.array(found).reshape(*block.shape, 2).transpose(2, 0, 1)


def virtual(weight, block):
    buckets, signs = positions(block)
    return signs * weight[buckets]


def summed(grad_panel, block, grad_weight):
    """`grad_weight` and, for each bucket, the sum over it."""
    total = grad_weight.copy()
    buckets, signs = positions(block)
    for bucket, sign, grad in zip(buckets.flat, signs.flat, grad_panel.flat):
        total[bucket] += sign * grad
    return total


def locate(twin, block):
    slots = np.full_like(slots_of(block), 7)
    twin.KERNELS[block.kernels].locate(block.key, block.origin, slots)
    return slots


def expand(twin, weight, block):
    panel = np.full(block.shape, np.nan, weight.dtype)
    twin.KERNELS[block.kernels].expand(weight, slots_of(block), block.span, panel)
    return panel


def aggregate(twin, grad_panel, block, grad_weight):
    """A copy of the panel is used up."""
    twin.KERNELS[block.kernels].aggregate(grad_panel.copy(), slots_of(block), block.span, grad_weight)
    return grad_weight


def multiply(twin, weight, block, inputs, outputs):
    where = block.key, block.origin, block.span
    twin.KERNELS[block.kernels].multiply(weight, *where, inputs, outputs)
    return outputs


def gradients(twin, weight, block, inputs, grad_outputs, grad_inputs, grad_weight):
    where = block.key, block.origin, block.span
    arguments = inputs, grad_outputs, grad_inputs, grad_weight
    twin.KERNELS[block.kernels].gradients(weight, *where, *arguments)
    return grad_inputs, grad_weight


def case(block, batch, dtype):
    """weight, inputs, grad_outputs"""
    rows, columns = block.shape
    shapes = block.num_buckets, (batch, columns), (batch, rows)
    return [integers(shape, dtype, seed) for seed, shape in enumerate(shapes)]


# ---------------------------------------------------------------------------------- plain loops


@both_twins
@given(block=blocks(max_buckets=2**30 - 1))
@at_the_limits
def test_locate_equals_naive(twin, block):
    np.testing.assert_array_equal(locate(twin, block), slots_of(block))


@both_twins
@given(seed=uint32s, tiles=st.integers(1, 2**30 - 1), signed=st.booleans(), row=starts, segment=starts)
@example(seed=2**32 - 1, tiles=2**30 - 1, signed=True, row=LIMIT - 9, segment=LIMIT - 9)
def test_locate_equals_slot_position_by_position(twin, seed, tiles, signed, row, segment):
    key, ref = (seed, tiles, signed), np.empty((3, 7), np.uint32)
    with np.errstate(over="ignore"):  # of scalars
        for r in range(3):
            for s in range(7):
                ref[r, s] = hashing.slot(key, np.uint32(row + r), np.uint32(segment + s))
    of_slot = twin.of_slot(hashing.slot)  # as if it were somebody's own
    for made in (*twin.KERNELS.values(), of_slot):
        slots = np.zeros_like(ref)
        made.locate(key, (row, segment), slots)
        np.testing.assert_array_equal(slots, ref)


def test_kernels_are_chosen_by_the_map():
    for twin in TWINS:
        assert set(twin.KERNELS) == {"element", "tiles"}
        for tile, name in ((1, "element"), (2, "tiles")):
            assert kernels.of_map(twin, BucketMap(8, 1, 5, tile)) is twin.KERNELS[name]
    assert kernels.get(BucketMap(8, 1, 5, 2)) is kernels.module().KERNELS["tiles"]


@both_twins
@every_dtype
@given(block=blocks())
@at_the_limits
def test_expand_equals_naive(twin, dtype, block):
    weight = np.random.default_rng(0).normal(size=block.num_buckets).astype(dtype)
    np.testing.assert_array_equal(expand(twin, weight, block), virtual(weight, block))


@both_twins
@both_dtypes
@given(block=blocks())
@at_the_limits
def test_expand_of_codes_equals_naive(twin, dtype, block):
    codes = np.random.default_rng(0).integers(-127, 128, block.num_buckets).astype(np.int8)
    panel = np.full(block.shape, np.nan, dtype)
    twin.KERNELS[block.kernels].expand(codes, slots_of(block), block.span, panel)
    np.testing.assert_array_equal(panel, virtual(codes.astype(int), block))


@both_twins
@both_dtypes
@given(block=blocks())
@at_the_limits
def test_aggregate_adds_to_what_is_there(twin, dtype, block):
    grad_panel, before = integers(block.shape, dtype), integers(block.num_buckets, dtype, seed=1)
    ref = summed(grad_panel, block, before)
    np.testing.assert_array_equal(aggregate(twin, grad_panel, block, before.copy()), ref)


@both_twins
@every_dtype
@given(block=blocks(), batch=batches)
def test_multiply_adds_to_what_is_there(twin, dtype, block, batch):
    weight, inputs, before = case(block, batch, dtype)
    ref = before + inputs @ virtual(weight, block).T
    np.testing.assert_array_equal(multiply(twin, weight, block, inputs, before.copy()), ref)


@both_twins
@both_dtypes
@given(block=blocks(), batch=batches, need_grad_inputs=st.booleans())
def test_gradients_add_to_what_is_there(twin, dtype, block, batch, need_grad_inputs):
    weight, inputs, grad_outputs = case(block, batch, dtype)
    before = integers((batch * need_grad_inputs, block.shape[1]), dtype, seed=3)
    weight_before = integers(block.num_buckets, dtype, seed=4)
    ref_grad_weight = summed(grad_outputs.T @ inputs, block, weight_before)
    ref_grad_inputs = before + grad_outputs @ virtual(weight, block) if need_grad_inputs else before
    grads = before.copy(), weight_before.copy()
    gradients(twin, weight, block, inputs, grad_outputs, *grads)
    np.testing.assert_array_equal(grads[0], ref_grad_inputs)
    np.testing.assert_array_equal(grads[1], ref_grad_weight)


@both_twins
@every_dtype
@given(
    shape=st.tuples(batches, lengths),
    seed=st.integers(0, 2**32 - 1),
    row=st.one_of(st.integers(0, 50), st.integers(2**32 - 4, 2**32 - 1)),
    rate=st.floats(0, 1),
)
def test_drop_equals_naive(twin, dtype, shape, seed, row, rate):
    inputs, outputs = integers(shape, dtype), np.full(shape, np.nan, dtype)
    threshold = min(round(rate * 2**32), 2**32 - 1)
    scale = np.finfo(dtype).dtype.type(2**32 / (2**32 - threshold))
    twin.drop(inputs, (seed, row, threshold), scale, outputs)
    np.testing.assert_allclose(outputs, naive.dropped(inputs, rate, seed, row), rtol=1e-6)


# ------------------------------------------------------------------------------------------ laws


@both_dtypes
@given(block=blocks())
@at_the_limits
def test_twins_are_equal_bit_for_bit(dtype, block):
    weight = np.random.default_rng(0).normal(size=block.num_buckets).astype(dtype)
    weight[::3] = 0  # its sign is a bit too
    grad_panel, nothing = integers(block.shape, dtype), np.zeros(block.num_buckets, dtype)
    ref, comp = (
        [locate(twin, block), expand(twin, weight, block), aggregate(twin, grad_panel, block, nothing.copy())]
        for twin in TWINS
    )
    assert [array.tobytes() for array in ref] == [array.tobytes() for array in comp]


@both_twins
@both_dtypes
@given(block=blocks())
def test_aggregate_is_the_transpose_of_expand(twin, dtype, block):
    weight, grad_panel = integers(block.num_buckets, dtype), integers(block.shape, dtype, seed=1)
    ref = (expand(twin, weight, block) * grad_panel).sum()
    comp = weight @ aggregate(twin, grad_panel, block, np.zeros(block.num_buckets, dtype))
    assert ref == comp


@both_twins
@both_dtypes
@given(block=blocks(), batch=batches)
def test_gradients_are_the_transpose_of_multiply(twin, dtype, block, batch):
    weight, inputs, grad_outputs = case(block, batch, dtype)
    ref = (multiply(twin, weight, block, inputs, np.zeros_like(grad_outputs)) * grad_outputs).sum()
    grads = np.zeros_like(inputs), np.zeros_like(weight)
    gradients(twin, weight, block, inputs, grad_outputs, *grads)
    assert (grads[0] * inputs).sum() == grads[1] @ weight == ref


def in_wider(array):
    """The same numbers as a part of a wider matrix: no slice is contiguous, and Numba compiles only once."""
    return np.hstack([array, array[:, :1]])[:, :-1]


@both_twins
@both_dtypes
@given(block=blocks(), cut=st.tuples(lengths, lengths))
def test_pieces_equal_the_whole(twin, dtype, block, cut):
    weight, *arrays = case(block, 2, dtype)
    inputs, grad_outputs = map(in_wider, arrays)
    grad_panel = integers(block.shape, dtype, seed=3)

    def sums():
        """outputs, grad_inputs, and grad_weight by `aggregate` and by `gradients`"""
        zeros = [np.zeros_like(array) for array in (grad_outputs, inputs, weight, weight)]
        return [*map(in_wider, zeros[:2]), *zeros[2:]]

    def add(piece, grad_panel, inputs, grad_outputs, outputs, grad_inputs, grad_weight, grad_weight_too):
        multiply(twin, weight, piece, inputs, outputs)
        aggregate(twin, grad_panel, piece, grad_weight)
        gradients(twin, weight, piece, inputs, grad_outputs, grad_inputs, grad_weight_too)

    panel, refs, comps = expand(twin, weight, block), sums(), sums()
    add(block, grad_panel, inputs, grad_outputs, *refs)
    for r in range(0, block.shape[0], cut[0]):
        for c in range(0, block.shape[1], cut[1]):
            rows, columns = np.s_[r : r + cut[0]], np.s_[c : c + cut[1]]
            ref = panel[rows, columns]
            piece = block.piece(r, c, ref.shape)
            np.testing.assert_array_equal(locate(twin, piece), slots_of(piece))
            np.testing.assert_array_equal(expand(twin, weight, piece), ref)
            outputs, grad_inputs, *grad_weights = comps
            parts = inputs[:, columns], grad_outputs[:, rows], outputs[:, rows], grad_inputs[:, columns]
            add(piece, grad_panel[rows, columns], *parts, *grad_weights)
    for comp, ref in zip(comps, refs):
        np.testing.assert_array_equal(comp, ref)


LAYOUTS = {
    "contiguous": np.copy,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "Fortran": lambda array: np.asfortranarray(array.copy()),
    "backwards": lambda array: np.flip(np.flip(array).copy()),
}


@both_twins
@pytest.mark.parametrize("tile", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_arguments_may_be_read_only_and_lie_anyhow_in_memory(twin, tile, layout):
    name = "tiles" if tile > 1 else "element"
    block = Block(name, 10, tile, 7, True, (3, 4), tile - 1, (4, 6))
    weight, inputs, grad_outputs = arrays = case(block, 3, np.float32)
    panel = expand(twin, weight, block)
    outputs = multiply(twin, weight, block, inputs, np.zeros_like(grad_outputs))
    refs = gradients(twin, weight, block, inputs, grad_outputs, np.zeros_like(inputs), np.zeros_like(weight))

    given_weight, given_inputs, given_grad_outputs = given_arrays = [layout(array) for array in arrays]
    for array in given_arrays:
        array.flags.writeable = False  # writing would raise
    np.testing.assert_array_equal(expand(twin, given_weight, block), panel)
    comp = multiply(twin, given_weight, block, given_inputs, layout(np.zeros_like(outputs)))
    np.testing.assert_array_equal(comp, outputs)
    nothing = layout(np.zeros_like(inputs)), np.zeros_like(weight)
    gradients(twin, given_weight, block, given_inputs, given_grad_outputs, *nothing)
    for comp, ref in zip(nothing, refs):
        np.testing.assert_array_equal(comp, ref)
    for array, kept in zip(given_arrays, arrays):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("twin", TWINS, ids=["numba", "numpy"])
def test_an_input_whose_hash_is_the_threshold_stays(twin):
    hashed, outputs = hashing.xxhash32(5, 0, 9), np.empty((1, 1))
    for threshold, kept in ((hashed, 1.0), (hashed + 1, 0.0)):
        twin.drop(np.ones((1, 1)), (9, 5, threshold), 1.0, outputs)
        assert outputs.item() == kept
