"""expand and aggregate: both twins against plain loops, and as each other's transpose."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minihash.kernels import numba_cpu, numpy_cpu

TWINS = [numba_cpu, numpy_cpu]
both_twins = pytest.mark.parametrize("kernels", TWINS, ids=["numba", "numpy"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])

LIMIT = 2**32 - 1  # rows and columns stop before it
lengths = st.integers(1, 9)
offsets = st.one_of(st.integers(0, 50), st.integers(0, LIMIT - 9), st.just(LIMIT - 9))
seeds = st.one_of(st.integers(0, 2**32 - 1), st.just(2**32 - 1))
blocks = st.tuples(seeds, offsets, offsets, st.tuples(lengths, lengths), st.integers(1, 40))
AT_THE_LIMITS = (2**32 - 1, LIMIT - 9, LIMIT - 9, (9, 9), 7)


def integers(shape, dtype, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def naive_slots(seed, row, column, shape, size):
    rows, columns = shape
    return np.array(
        [[naive.slot(row + r, column + c, seed, size) for c in range(columns)] for r in range(rows)]
    )


def expand(kernels, table, block):
    seed, row, column, shape, _ = block
    panel = np.full(shape, np.nan, table.dtype)
    kernels.expand(table, np.uint32(seed), row, column, panel)
    return panel


def aggregate(kernels, grad_panel, block, grad_table):
    seed, row, column, _, _ = block
    kernels.aggregate(grad_panel, np.uint32(seed), row, column, grad_table)
    return grad_table


@both_twins
@both_dtypes
@given(block=blocks)
@example(block=AT_THE_LIMITS)
def test_expand_equals_naive(kernels, dtype, block):
    seed, row, column, shape, size = block
    table = np.random.default_rng(0).normal(size=size).astype(dtype)
    ref = table[naive_slots(seed, row, column, shape, size)]
    comp = expand(kernels, table, block)
    np.testing.assert_array_equal(comp, ref)


@both_twins
@both_dtypes
@given(block=blocks)
@example(block=AT_THE_LIMITS)
def test_aggregate_adds_to_what_is_there(kernels, dtype, block):
    seed, row, column, shape, size = block
    grad_panel, before = integers(shape, dtype), integers(size, dtype, seed=1)
    ref = before.copy()
    for slot, grad in zip(naive_slots(seed, row, column, shape, size).flat, grad_panel.flat):
        ref[slot] += grad
    comp = aggregate(kernels, grad_panel, block, before.copy())
    np.testing.assert_array_equal(comp, ref)


@both_dtypes
@given(block=blocks)
def test_twins_are_equal_bit_for_bit(dtype, block):
    seed, row, column, shape, size = block
    table = np.random.default_rng(0).normal(size=size).astype(dtype)
    ref, comp = (expand(kernels, table, block) for kernels in TWINS)
    assert ref.tobytes() == comp.tobytes()

    grad_panel = integers(shape, dtype)
    ref, comp = (aggregate(twin, grad_panel, block, np.zeros(size, dtype)) for twin in TWINS)
    assert ref.tobytes() == comp.tobytes()


@both_twins
@both_dtypes
@given(block=blocks)
def test_aggregate_is_the_transpose_of_expand(kernels, dtype, block):
    *_, shape, size = block
    table, grad_panel = integers(size, dtype), integers(shape, dtype, seed=1)
    ref = (expand(kernels, table, block) * grad_panel).sum()
    comp = table @ aggregate(kernels, grad_panel, block, np.zeros(size, dtype))
    assert ref == comp


@both_twins
@both_dtypes
@given(block=blocks, cut=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_pieces_equal_the_whole(kernels, dtype, block, cut):
    seed, row, column, (rows, columns), size = block
    table, grad_panel = integers(size, dtype), integers((rows, columns), dtype, seed=1)
    ref = expand(kernels, table, block)
    ref_grad = aggregate(kernels, grad_panel, block, np.zeros(size, dtype))

    comp, comp_grad = np.full_like(ref, np.nan), np.zeros(size, dtype)
    for r in range(0, rows, cut[0]):
        for c in range(0, columns, cut[1]):
            piece = np.s_[r : r + cut[0], c : c + cut[1]]
            part = (seed, row + r, column + c, comp[piece].shape, size)
            comp[piece] = expand(kernels, table, part)
            aggregate(kernels, np.ascontiguousarray(grad_panel[piece]), part, comp_grad)
    np.testing.assert_array_equal(comp, ref)
    np.testing.assert_array_equal(comp_grad, ref_grad)


@both_twins
def test_arguments_may_be_read_only_and_keep_their_values(kernels):
    block = (7, 3, 5, (4, 6), 10)
    table, grad_panel = integers(10, np.float32), integers((4, 6), np.float32)
    kept = table.copy(), grad_panel.copy()
    table.flags.writeable = grad_panel.flags.writeable = False
    expand(kernels, table, block)
    aggregate(kernels, grad_panel, block, np.zeros(10, np.float32))
    np.testing.assert_array_equal(table, kept[0])
    np.testing.assert_array_equal(grad_panel, kept[1])
