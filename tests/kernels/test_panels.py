"""The panel driver: equal to the dense products, whatever the panels, shards and threads."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import integers
from hypothesis import given
from hypothesis import strategies as st

from minihash import kernels
from minihash.kernels import numpy_cpu, panels, threads
from minihash.kernels.panels import Part
from minihash.maps import BucketMap

SEED = 2015
tiles = pytest.mark.parametrize("tile", [1, 5])
both_paths = pytest.mark.parametrize("small", [True, False], ids=["small", "panels"])


def random(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def make_map(tile, columns):
    return BucketMap(37, SEED, columns, min(tile, columns))  # 37 weights: the last two tiles overlap


def positions(map, rows, columns):
    """Buckets and signs of V, its columns in the order of their places and without their signs."""
    j = np.argsort(map.places)[:columns]
    buckets, signs = map(np.arange(rows)[:, None], j)
    return buckets, signs * map.signs[j]


def case(map, batch, rows, columns, make=integers, dtype=np.float32):
    """inputs, weight, grad_outputs"""
    shapes = (batch, columns), map.num_buckets, (batch, rows)
    return [make(shape, dtype, seed) for seed, shape in enumerate(shapes)]


def in_parts(cut, inputs, grad_inputs=None):
    """The columns before `cut` and from it on, if there are any."""
    whole = Part(0, inputs, grad_inputs)
    return [whole.cut(*block) for block in ((0, cut), (cut, inputs.shape[1])) if block[0] < block[1]]


def multiply(map, inputs, weight, rows, cut=0):
    outputs = np.full((len(inputs), rows), np.nan, weight.dtype)
    panels.multiply(in_parts(cut, inputs), weight, map, outputs)
    return outputs


def gradients(map, inputs, weight, grad_outputs, need_grad_inputs=True, cut=0):
    grad_inputs = np.full_like(inputs, np.nan) if need_grad_inputs else None
    grad_weight = np.full_like(weight, np.nan)
    panels.gradients(in_parts(cut, inputs, grad_inputs), weight, map, grad_outputs, grad_weight)
    return grad_weight, grad_inputs


def assert_equals_dense(map, inputs, weight, grad_outputs, cut=0):
    rows, columns = grad_outputs.shape[1], inputs.shape[1]
    buckets, signs = positions(map, rows, columns)
    matrix = signs * weight[buckets]
    ref_grad_weight = np.zeros_like(weight)
    np.add.at(ref_grad_weight, buckets, signs * (grad_outputs.T @ inputs))

    np.testing.assert_array_equal(multiply(map, inputs, weight, rows, cut), inputs @ matrix.T)
    for need_grad_inputs in (True, False):
        grad_weight, grad_inputs = gradients(map, inputs, weight, grad_outputs, need_grad_inputs, cut)
        np.testing.assert_array_equal(grad_weight, ref_grad_weight)
        if need_grad_inputs:
            np.testing.assert_array_equal(grad_inputs, grad_outputs @ matrix)


def shrink(monkeypatch, small, numbers, summed):
    """Call all products small or none; let a panel, or a block of a small one, hold about so many numbers."""
    monkeypatch.setattr(panels, "PANEL_SIZE", numbers)
    monkeypatch.setattr(panels, "PANEL_SUMMED", summed)
    monkeypatch.setattr(panels, "SMALL_BLOCK", numbers)
    monkeypatch.setattr(panels, "SMALL_BATCH", 10**9 if small else -1)
    monkeypatch.setattr(panels, "SMALL_WORK", -1)


@tiles
@both_paths
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    batch=st.integers(0, 4),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    cut=st.integers(0, 40),
    numbers=st.integers(1, 200),
    summed=st.integers(1, 50),
    threads=st.integers(1, 3),
)
def test_any_panels_equal_the_dense_products(
    tile, small, dtype, batch, rows, columns, cut, numbers, summed, threads
):
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch, small, max(numbers, summed), summed)
        monkeypatch.setenv("MINIHASH_NUM_THREADS", str(threads))
        map = make_map(tile, columns)
        assert_equals_dense(map, *case(map, batch, rows, columns, dtype=dtype), min(cut, columns))


@tiles
@pytest.mark.parametrize("batch", [1, panels.SMALL_BATCH, panels.SMALL_BATCH + 1])
@pytest.mark.parametrize("rows, columns", [(1, 3000), (3000, 1), (2, 9000), (700, 900), (1100, 2300)])
def test_panels_of_the_real_size_equal_the_dense_products(tile, batch, rows, columns):
    map = make_map(tile, columns)
    assert_equals_dense(map, *case(map, batch, rows, columns))


class Spies:
    """The kernels of a map, and how often each did each position; they need a single thread."""

    def __init__(self, map, shape):
        spied = [kernel for kernel in kernels.Kernels._fields if hasattr(type(self), kernel)]
        self.counts = {kernel: np.zeros(shape, int) for kernel in spied}
        self.counts["locate"] = np.zeros((shape[0], -(-shape[1] // map.tile)), int)
        self.blocks, self.twin = [], kernels.of_map(numpy_cpu, map)
        self.located = None
        wrapped = {kernel: getattr(self, kernel) for kernel in self.counts}
        self.kernels = self.twin._replace(**wrapped)

    def count(self, kernel, origin, span, rows, columns):
        row, column = origin[0], origin[1] * span[0] + span[1]
        self.counts[kernel][row : row + rows, column : column + columns] += 1
        self.blocks.append((row, column, rows * columns))

    def locate(self, key, origin, slots):
        self.located = origin
        rows, segments = slots.shape
        self.counts["locate"][origin[0] : origin[0] + rows, origin[1] : origin[1] + segments] += 1
        self.twin.locate(key, origin, slots)

    def expand(self, weight, slots, span, panel):
        self.count("expand", self.located, span, *panel.shape)
        self.twin.expand(weight, slots, span, panel)

    def aggregate(self, grad_panel, slots, span, grad_weight):
        self.count("aggregate", self.located, span, *grad_panel.shape)
        self.twin.aggregate(grad_panel, slots, span, grad_weight)

    def multiply(self, weight, key, origin, span, inputs, outputs):
        self.count("multiply", origin, span, outputs.shape[1], inputs.shape[1])
        self.twin.multiply(weight, key, origin, span, inputs, outputs)

    def gradients(self, weight, key, origin, span, inputs, grad_outputs, grad_inputs, grad_weight):
        self.count("gradients", origin, span, grad_outputs.shape[1], inputs.shape[1])
        assert grad_inputs.shape[1] == inputs.shape[1] and len(grad_inputs) in (0, len(inputs))
        arguments = inputs, grad_outputs, grad_inputs, grad_weight
        self.twin.gradients(weight, key, origin, span, *arguments)


@tiles
@both_paths
@pytest.mark.parametrize("need_grad_inputs", [True, False])
def test_every_position_is_done_once(monkeypatch, set_num_threads, tile, small, need_grad_inputs):
    rows, columns = 23, 31
    map = make_map(tile, columns)
    inputs, weight, grad_outputs = case(map, 2, rows, columns)
    shrink(monkeypatch, small, numbers=40, summed=8)
    set_num_threads(3 if small else 1)  # a small product forward has a block for every thread

    def assert_done_once(product, *done, most=40):
        spies = Spies(map, (rows, columns))
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "get", {map: spies.kernels}.get)
            product()
        for kernel, counts in spies.counts.items():
            if kernel == "locate" and tile > 1:  # the columns of a segment may be in two blocks
                counts = np.minimum(counts, 1)
            assert (counts == (kernel in done)).all(), kernel
        of_rows, of_columns, sizes = [set(values) for values in zip(*spies.blocks)]
        assert max(sizes) <= 1.5**2 * most
        # Panels are cut in both directions, small products in the one that tasks own.
        assert sorted([len(of_rows) > 2, len(of_columns) > 2]) == [not small, True]

    forward = ["multiply"] if small else ["locate", "expand"]
    most = rows * columns // 3 if small else 40
    assert_done_once(lambda: multiply(map, inputs, weight, rows), *forward, most=most)
    expands = ["expand"] if need_grad_inputs else []
    backward = ["gradients"] if small else ["locate", "aggregate", *expands]
    assert_done_once(lambda: gradients(map, inputs, weight, grad_outputs, need_grad_inputs), *backward)


@tiles
@pytest.mark.parametrize(
    "batch, rows, columns",
    [(1, 2000, 500), (panels.SMALL_BATCH, 600, 700), (panels.SMALL_WORK // 1000, 20, 50), (0, 9, 9)],
)
def test_small_products_need_no_blas(monkeypatch, tile, batch, rows, columns):
    map = make_map(tile, columns)
    inputs, weight, grad_outputs = case(map, batch, rows, columns)
    monkeypatch.setattr(np, "matmul", None)  # cannot be called
    if rows * columns <= panels.SMALL_BLOCK:
        monkeypatch.setattr(threads, "run", None)  # which takes longer than the product
    multiply(map, inputs, weight, rows)
    gradients(map, inputs, weight, grad_outputs)


@tiles
@both_paths
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("numbers, summed", [(100, 8), (panels.PANEL_SIZE, panels.PANEL_SUMMED)])
def test_threads_do_not_change_a_bit(monkeypatch, set_num_threads, tile, small, dtype, numbers, summed):
    shrink(monkeypatch, small, numbers, summed)
    rows, columns = (60, 70) if numbers == 100 else (700, 900)
    map = make_map(tile, columns)
    inputs, weight, grad_outputs = case(map, 5, rows, columns, random, dtype)
    results = []
    for count in (1, 2, 5, 5):
        set_num_threads(count)
        arrays = multiply(map, inputs, weight, rows), *gradients(map, inputs, weight, grad_outputs)
        results.append(b"".join(array.tobytes() for array in arrays))
    assert len(set(results)) == 1


@tiles
@both_paths
def test_panel_size_does_not_change_v(monkeypatch, tile, small):
    # With the unit vectors as inputs, the outputs are V itself.
    rows, columns = 33, 41
    map = make_map(tile, columns)
    weight = random(map.num_buckets, seed=3)
    buckets, signs = positions(map, rows, columns)
    for numbers, summed in [(1, 1), (7, 3), (100, 8), (10**4, 1024)]:
        shrink(monkeypatch, small, numbers, summed)
        comp = multiply(map, np.eye(columns, dtype=np.float32), weight, rows).T
        np.testing.assert_array_equal(comp, signs * weight[buckets])


@given(st.integers(1, 5000), st.integers(8, 300), st.sampled_from([1, 4]))
def test_blocks_cut_a_range_evenly(length, about, multiple):
    blocks = panels._blocks(length, about, multiple)
    assert [n for start, stop in blocks for n in range(start, stop)] == list(range(length))
    sizes = [stop - start for start, stop in blocks]
    assert min(sizes) > 0 and max(sizes) <= 1.5 * about + panels.LINE
    assert max(sizes) - min(sizes) <= 2 * panels.LINE
    assert length < panels.ALIGNED * multiple or len(blocks) % multiple == 0


@given(st.integers(1, 10**6))
def test_panels_are_bounded_whatever_the_layer(summed):
    along_kept, along_summed = panels._panel_shape(summed)
    assert 1 <= along_kept <= panels.PANEL_SIZE and along_summed == panels.PANEL_SUMMED
    assert along_kept * min(summed, along_summed) <= panels.PANEL_SIZE


@pytest.mark.parametrize("compression", [1 / 64, 1 / 8, 1 / 2, 1])
def test_copies_of_the_gradient_stay_below_half_of_the_matrix(compression):
    virtual = 2000 * 2000
    num_buckets = int(compression * virtual)
    shards = panels.count_shards(virtual, num_buckets, most=4)
    assert 1 <= shards <= 4
    assert shards == 1 or shards * num_buckets <= virtual / 2
