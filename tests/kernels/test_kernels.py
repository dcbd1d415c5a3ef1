"""The kernels of both maps: both twins against plain loops, and as each other's transpose."""

from __future__ import annotations

from typing import NamedTuple

import naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minihash.kernels import numba_cpu, numpy_cpu

TWINS = [numba_cpu, numpy_cpu]
both_twins = pytest.mark.parametrize("twin", TWINS, ids=["numba", "numpy"])
both_maps = pytest.mark.parametrize("map", ["element", "window"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])

LIMIT = 2**32 - 1  # rows and columns stop before it
SIGN = 2**31


class Block(NamedTuple):
    """Some rows and columns of V; of the window map's before its columns are signed and folded."""

    map: str
    key: tuple[int, int, bool]  # seed, num_buckets, signed
    origin: tuple[int, int]
    shape: tuple[int, int]

    @property
    def num_buckets(self):
        return self.key[1]


lengths = st.integers(1, 9)
offsets = st.one_of(st.integers(0, 50), st.integers(0, LIMIT - 9), st.just(LIMIT - 9))
batches = st.integers(0, 4)


@st.composite
def blocks(draw, max_buckets=40):
    seed = draw(st.one_of(st.integers(0, 2**32 - 1), st.just(2**32 - 1)))
    signed, rows, columns = draw(st.booleans()), draw(lengths), draw(lengths)
    if draw(st.booleans()):
        key = (seed, draw(st.integers(1, max_buckets)), signed)
        return Block("element", key, (draw(offsets), draw(offsets)), (rows, columns))
    key = (seed, draw(st.integers(columns, max_buckets)), signed)  # a window is not longer than the weights
    column = draw(st.sampled_from([0, key[1] - columns]) | st.integers(0, key[1] - columns))
    return Block("window", key, (draw(offsets), column), (rows, columns))


def at_the_limits(test):
    """Try the last block of the largest layer, and a window that comes round to where it started."""
    key = (2**32 - 1, 9, True)
    test = example(block=Block("element", key, (LIMIT - 9, LIMIT - 9), (9, 9)))(test)
    return example(block=Block("window", key, (LIMIT - 9, 0), (9, 9)))(test)


def integers(shape, dtype, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def positions(block):
    """Buckets and signs of all places of the block, each (rows, columns)."""
    (seed, num_buckets, signed), (row, column) = block.key, block.origin
    if block.map == "element":
        lookup = naive.element(seed, num_buckets, signed)
    else:
        of_row = naive.window_rows(seed, num_buckets, signed)

        def lookup(i, j):
            start, sign = of_row(i)
            return (start + j) % num_buckets, sign

    rows, columns = block.shape
    found = [[lookup(row + r, column + c) for c in range(columns)] for r in range(rows)]
    return np.moveaxis(np.array(found), -1, 0)


def slots_of(block):
    """The slots as the kernels want them."""
    buckets, signs = positions(block)
    slots = (buckets + SIGN * (signs < 0)).astype(np.uint32)
    return slots if block.map == "element" else slots[:, :1].copy()


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
    twin.KERNELS[block.map].locate(block.key, block.origin, slots)
    return slots


def expand(twin, weight, block):
    panel = np.full(block.shape, np.nan, weight.dtype)
    twin.KERNELS[block.map].expand(weight, slots_of(block), panel)
    return panel


def aggregate(twin, grad_panel, block, grad_weight):
    """A copy of the panel is used up."""
    twin.KERNELS[block.map].aggregate(grad_panel.copy(), slots_of(block), grad_weight)
    return grad_weight


def multiply(twin, weight, block, inputs, outputs):
    twin.KERNELS[block.map].multiply(weight, block.key, block.origin, inputs, outputs)
    return outputs


def gradients(twin, weight, block, inputs, grad_outputs, grad_inputs, grad_weight):
    arguments = inputs, grad_outputs, grad_inputs, grad_weight
    twin.KERNELS[block.map].gradients(weight, block.key, block.origin, *arguments)
    return grad_inputs, grad_weight


def case(block, batch, dtype):
    """weight, inputs, grad_outputs"""
    rows, columns = block.shape
    shapes = block.num_buckets, (batch, columns), (batch, rows)
    return [integers(shape, dtype, seed) for seed, shape in enumerate(shapes)]


# ---------------------------------------------------------------------------------- plain loops


def test_slots_come_by_the_position_or_by_the_row():
    for twin in TWINS:
        assert {map: kernels.one_slot_a_row for map, kernels in twin.KERNELS.items()} == {
            "element": False,
            "window": True,
            "tile": False,
        }


@both_twins
@given(block=blocks(max_buckets=2**30 - 1))
@at_the_limits
def test_locate_equals_naive(twin, block):
    np.testing.assert_array_equal(locate(twin, block), slots_of(block))


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
def test_expand_packed_equals_naive(twin, dtype, block):
    codes = np.random.default_rng(0).integers(-7, 8, block.num_buckets)
    halves = np.append(codes + 8, [8] * (len(codes) % 2)).astype(np.uint8)
    panel = np.full(block.shape, np.nan, dtype)
    packed = halves[::2] | halves[1::2] << 4
    twin.KERNELS[block.map].expand_packed(packed, block.num_buckets, slots_of(block), panel)
    np.testing.assert_array_equal(panel, virtual(codes, block))


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


@pytest.mark.parametrize("signed", [True, False])
def test_multiply_windows_in_the_order_of_their_starts(signed):
    num_buckets = numba_cpu.CACHED + 1000  # so many that the kernel reorders its rows
    block = Block("window", (7, num_buckets, signed), (3, 0), (500, 30))
    weight, inputs, before = case(block, 2, np.float32)
    ref = before + inputs @ virtual(weight, block).T
    np.testing.assert_array_equal(multiply(numba_cpu, weight, block, inputs, before.copy()), ref)


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


@st.composite
def folds(draw):
    """Numbers of rows, of inputs and of places, and of each column the sign and the place."""
    features, window = draw(lengths), draw(lengths)
    columns = features + draw(st.integers(0, 1))  # a bias
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    signs = rng.choice(np.array([-1, 1], np.int8), columns)
    return draw(batches), features, window, signs, rng.integers(0, window, columns).astype(np.uint32)


@both_twins
@every_dtype
@given(fold=folds())
def test_fold_adds_every_input_to_its_place(twin, dtype, fold):
    batch, features, window, signs, places = fold
    inputs, folded = integers((batch, features), dtype), np.zeros((batch, window), dtype)
    ref = np.zeros((batch, window), dtype)
    for n in range(batch):
        for j, (sign, place) in enumerate(zip(signs, places)):
            ref[n, place] += sign * (inputs[n, j] if j < features else 1)
    twin.fold(inputs, signs, places, folded)
    np.testing.assert_array_equal(folded, ref)


@both_twins
@both_dtypes
@given(fold=folds())
def test_unfold_takes_the_gradient_of_every_place(twin, dtype, fold):
    batch, features, window, signs, places = fold
    grad_folded = integers((batch, window), dtype)
    grad_inputs = np.full((batch, features), np.nan, dtype)
    ref = np.empty_like(grad_inputs)
    for n in range(batch):
        for j in range(features):
            ref[n, j] = signs[j] * grad_folded[n, places[j]]
    twin.unfold(grad_folded, signs, places, grad_inputs)
    np.testing.assert_array_equal(grad_inputs, ref)


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


@both_twins
@both_dtypes
@given(fold=folds())
def test_unfold_is_the_transpose_of_fold(twin, dtype, fold):
    batch, features, window, signs, places = fold
    signs, places = signs[:features], places[:features]
    inputs, grad_folded = integers((batch, features), dtype), integers((batch, window), dtype, seed=1)
    folded, grad_inputs = np.zeros_like(grad_folded), np.empty_like(inputs)
    twin.fold(inputs, signs, places, folded)
    twin.unfold(grad_folded, signs, places, grad_inputs)
    assert (folded * grad_folded).sum() == (inputs * grad_inputs).sum()


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
            piece = block._replace(origin=(block.origin[0] + r, block.origin[1] + c), shape=ref.shape)
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
@both_maps
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_arguments_may_be_read_only_and_lie_anyhow_in_memory(twin, map, layout):
    block = Block(map, (7, 10, True), (3, 4), (4, 6))
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


@both_twins
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_folds_may_be_read_only_and_lie_anyhow_in_memory(twin, layout):
    signs, places = np.array([1, -1, 1, -1], np.int8), np.array([0, 2, 1, 2], np.uint32)
    inputs, grad_folded = integers((2, 3), np.float32), integers((2, 3), np.float32, seed=1)
    refs = np.zeros((2, 3), np.float32), np.empty((2, 3), np.float32)
    twin.fold(inputs, signs, places, refs[0])
    twin.unfold(grad_folded, signs, places, refs[1])

    given_inputs, given_grad_folded = layout(inputs), layout(grad_folded)
    for array in (signs, places, given_inputs, given_grad_folded):
        array.flags.writeable = False
    comps = np.zeros((2, 3), np.float32), np.empty((2, 3), np.float32)
    twin.fold(given_inputs, signs, places, comps[0])
    twin.unfold(given_grad_folded, signs, places, comps[1])
    for comp, ref in zip(comps, refs):
        np.testing.assert_array_equal(comp, ref)
