"""Grids and shared memory at the sizes of real layers: within every card's limits, nothing left out."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import cuda

from minihash.kernels import numba_cuda
from minihash.kernels.cuda_launching import Launcher

LAUNCHER = Launcher()  # as it is for a card
lengths = st.one_of(st.integers(1, 300), st.integers(1, 2**31))


def of_shape(*shape):
    """What a launcher asks of an array of any size."""
    size = math.prod(shape)
    return SimpleNamespace(shape=shape, size=size, nbytes=4 * size, dtype=np.dtype(np.float32))


def check_limits(plan):
    (across, down), threads, shared = plan
    assert 1 <= across < 2**31 and 1 <= down < 2**16
    assert threads % 32 == 0 and 32 <= threads <= 256 and 0 <= shared <= 48 * 1024


@given(rows=lengths, columns=lengths)
def test_a_grid_covers_every_column_and_no_block_is_idle(rows, columns):
    plan = (across, down), threads, shared = LAUNCHER.elements(of_shape(rows, columns))
    check_limits(plan)
    assert (across - 1) * threads < columns <= across * threads
    assert down <= rows and shared == 0


@given(rows=lengths, columns=lengths, num_buckets=st.integers(1, 2**30 - 1))
def test_sums_in_shared_memory_halve_the_additions_or_are_not_made(rows, columns, num_buckets):
    panel, buckets = of_shape(rows, columns), of_shape(num_buckets)
    plan = (across, down), threads, shared = LAUNCHER.sums(panel, buckets)
    check_limits(plan)
    assert across * threads >= columns and down <= rows
    if shared:
        assert shared == 4 * num_buckets and 2 * across * down * num_buckets <= rows * columns


@given(batch=lengths, rows=st.integers(1, 2**31 - 1))
def test_dot_products_have_a_block_each(batch, rows):
    plan = LAUNCHER.dots(of_shape(batch, rows))
    check_limits(plan)
    assert plan[0][0] == rows and plan[2] == 4 * plan[1]


@pytest.mark.parametrize("num_buckets, shared", [(12_288, 48 * 1024), (12_289, 0)])
def test_where_all_buckets_fit(num_buckets, shared):
    assert LAUNCHER.sums(of_shape(2**16, 2**10), of_shape(num_buckets))[2] == shared


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_kernels_take_arrays_of_the_device():
    rng = np.random.default_rng(0)
    grad_panel = cuda.to_device(rng.integers(-9, 10, (3, 4)).astype(np.float32))
    ref = grad_panel.copy_to_host().sum()
    kernels, slots = numba_cuda.DETERMINISTIC["element"], cuda.device_array((3, 4), np.uint32)
    grad_weight = cuda.to_device(np.zeros(1, np.float32))
    kernels.locate((7, 1, False), (0, 0), slots)
    kernels.aggregate(grad_panel, slots, (1, 0), grad_weight)
    assert grad_weight.copy_to_host()[0] == ref


def test_nothing_is_started_for_no_elements():
    nothing = np.zeros((0, 4), np.float32)
    for kernels in (numba_cuda.KERNELS, numba_cuda.DETERMINISTIC):
        slots = np.zeros((0, 4), np.uint32)
        kernels["element"].aggregate(nothing, slots, (1, 0), np.zeros(3, np.float32))
