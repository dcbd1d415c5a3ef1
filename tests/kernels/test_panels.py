"""The panel driver: equal to the dense products, whatever the panels, shards and threads."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import hashing, kernels
from minihash.kernels import numpy_cpu, panels

SEED = 2015


def integers(shape, dtype=np.float32, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def virtual(table, rows, columns):
    bucket_map = hashing.ElementMap(table.size, SEED, signed=False)
    return hashing.virtual_weight_matrix(table, bucket_map, rows, columns)


def case(batch, rows, columns, size=37, make=integers, dtype=np.float32):
    """inputs, table, grad_outputs"""
    return (
        make((batch, columns), dtype=dtype, seed=0),
        make(size, dtype=dtype, seed=1),
        make((batch, rows), dtype=dtype, seed=2),
    )


def multiply(inputs, table, rows):
    outputs = np.full((len(inputs), rows), np.nan, table.dtype)
    panels.multiply(inputs, table, SEED, outputs)
    return outputs


def gradients(inputs, table, grad_outputs, need_grad_inputs=True):
    grad_inputs = np.full(inputs.shape, np.nan, table.dtype) if need_grad_inputs else None
    return panels.gradients(inputs, table, SEED, grad_outputs, grad_inputs), grad_inputs


def assert_equals_dense(inputs, table, grad_outputs):
    rows, columns = grad_outputs.shape[1], inputs.shape[1]
    matrix = virtual(table, rows, columns)
    slots = virtual(np.arange(table.size), rows, columns)
    ref_grad_table = np.zeros_like(table)
    np.add.at(ref_grad_table, slots, grad_outputs.T @ inputs)

    np.testing.assert_array_equal(multiply(inputs, table, rows), inputs @ matrix.T)
    grad_table, grad_inputs = gradients(inputs, table, grad_outputs)
    np.testing.assert_array_equal(grad_inputs, grad_outputs @ matrix)
    np.testing.assert_array_equal(grad_table, ref_grad_table)
    grad_table, _ = gradients(inputs, table, grad_outputs, need_grad_inputs=False)
    np.testing.assert_array_equal(grad_table, ref_grad_table)


def shrink(monkeypatch, numbers, summed, dtype=np.float32):
    """Let a panel hold so many numbers, and so many along the summed dimension."""
    monkeypatch.setattr(panels, "PANEL_BYTES", numbers * np.dtype(dtype).itemsize)
    monkeypatch.setattr(panels, "SUMMED_LENGTH", summed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    batch=st.integers(0, 4),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    numbers=st.integers(1, 200),
    summed=st.integers(1, 50),
    threads=st.integers(1, 3),
)
def test_any_panels_equal_the_dense_products(dtype, batch, rows, columns, numbers, summed, threads):
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch, numbers, summed, dtype)
        monkeypatch.setenv("MINIHASH_NUM_THREADS", str(threads))
        assert_equals_dense(*case(batch, rows, columns, dtype=dtype))


@pytest.mark.parametrize("rows, columns", [(1, 3000), (3000, 1), (700, 900), (1100, 2300)])
def test_panels_of_the_real_size_equal_the_dense_products(rows, columns):
    assert_equals_dense(*case(3, rows, columns))


@pytest.mark.parametrize("need_grad_inputs", [True, False])
def test_every_position_is_hashed_once(monkeypatch, need_grad_inputs):
    rows, columns = 23, 31
    expanded, aggregated = np.zeros((2, rows, columns), int)
    blocks = []

    def expand(table, seed, row, column, panel):
        expanded[row : row + panel.shape[0], column : column + panel.shape[1]] += 1
        blocks.append((row, column, panel.size))
        numpy_cpu.expand(table, seed, row, column, panel)

    def aggregate(grad_panel, seed, row, column, grad_table):
        rows, columns = grad_panel.shape
        aggregated[row : row + rows, column : column + columns] += 1
        numpy_cpu.aggregate(grad_panel, seed, row, column, grad_table)

    shrink(monkeypatch, numbers=40, summed=8)
    monkeypatch.setattr(kernels, "get", lambda: SimpleNamespace(expand=expand, aggregate=aggregate))
    inputs, table, grad_outputs = case(2, rows, columns)

    multiply(inputs, table, rows)
    assert (expanded == 1).all() and not aggregated.any()
    starts, stops, sizes = map(set, zip(*blocks))
    assert len(starts) > 3 and len(stops) > 3 and max(sizes) <= 40  # cut in both directions

    expanded[...] = 0
    blocks.clear()
    gradients(inputs, table, grad_outputs, need_grad_inputs)
    assert (expanded == need_grad_inputs).all()
    assert (aggregated == 1).all()


def random(shape, dtype, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("numbers, summed", [(100, 8), (panels.PANEL_BYTES // 8, 1024)])
def test_threads_do_not_change_a_bit(monkeypatch, set_num_threads, dtype, numbers, summed):
    shrink(monkeypatch, numbers, summed, dtype)
    rows, columns = (60, 70) if numbers == 100 else (700, 900)
    inputs, table, grad_outputs = case(5, rows, columns, make=random, dtype=dtype)
    results = []
    for threads in (1, 2, 5, 5):
        set_num_threads(threads)
        arrays = multiply(inputs, table, rows), *gradients(inputs, table, grad_outputs)
        results.append(b"".join(array.tobytes() for array in arrays))
    assert len(set(results)) == 1


def test_panel_size_does_not_change_v(monkeypatch):
    # With the unit vectors as inputs, the outputs are V itself.
    rows, columns = 33, 41
    table = random(37, np.float32, seed=3)
    ref = virtual(table, rows, columns)
    for numbers, summed in [(1, 1), (7, 3), (100, 8), (10**4, 1024)]:
        shrink(monkeypatch, numbers, summed)
        comp = multiply(np.eye(columns, dtype=np.float32), table, rows).T
        np.testing.assert_array_equal(comp, ref)


@pytest.mark.parametrize("size", [1, 37])
def test_a_column_is_a_column_of_v(size):
    table, grad_column = integers(size), integers(20, seed=1)
    ref = virtual(table, 20, 12)[:, 11]
    comp = panels.expand_column(table, SEED, 20, 11)
    np.testing.assert_array_equal(comp, ref)

    grad_table = integers(size, seed=2)
    ref = grad_table.copy()
    np.add.at(ref, virtual(np.arange(size), 20, 12)[:, 11], grad_column)
    panels.aggregate_column(grad_column, SEED, 11, grad_table)
    np.testing.assert_array_equal(grad_table, ref)


@given(st.integers(1, 200), st.integers(1, 200))
def test_blocks_cut_a_range_evenly(length, longest):
    blocks = list(panels._blocks(length, longest))
    assert [n for start, stop in blocks for n in range(start, stop)] == list(range(length))
    sizes = [stop - start for start, stop in blocks]
    assert max(sizes) <= longest and max(sizes) - min(sizes) <= 1
    assert len(blocks) == -(-length // longest)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from([4, 8, 16]))
def test_panels_are_bounded_whatever_the_layer(kept, summed, itemsize):
    along_kept, along_summed = panels._panel_shape(kept, summed, itemsize)
    assert 1 <= along_kept <= kept and 1 <= along_summed <= summed
    assert along_kept * along_summed * itemsize <= panels.PANEL_BYTES


@pytest.mark.parametrize("compression", [1 / 64, 1 / 8, 1 / 2, 1])
def test_copies_of_the_gradient_stay_below_half_of_the_matrix(compression):
    virtual = 2000 * 2000
    table_size = int(2 * compression * virtual)
    shards = panels._count_shards(virtual, table_size, blocks=100)
    assert 1 <= shards <= panels.SHARDS
    assert shards == 1 or shards * table_size <= virtual / 2
