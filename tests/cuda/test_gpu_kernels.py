"""The kernels on a GPU, against the CPU's: `pytest tests/cuda -m gpu` where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import integers
from numba import cuda

from minihash.kernels import devices, numba_cpu, numba_cuda, panels, shared_cuda
from minihash.maps import BucketMap

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not cuda.is_available(), reason="needs a GPU"),
]
BATCH, ROWS, COLUMNS = 5, 1000, 785
BUCKETS = {"few": 7, "in shared memory": 1021, "many": 100_003}

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_size = pytest.mark.parametrize("num_buckets", BUCKETS.values(), ids=BUCKETS)


def run(kernel, *arguments):
    """Return the arrays among the arguments as the kernel leaves them; it works on copies."""
    on_card = kernel.__module__ == numba_cuda.__name__ or hasattr(kernel, "func")
    copies = [
        (cuda.to_device(value) if on_card else value.copy()) if isinstance(value, np.ndarray) else value
        for value in arguments
    ]
    kernel(*copies)
    arrays = [value for value, given in zip(copies, arguments) if isinstance(given, np.ndarray)]
    return [value.copy_to_host() if on_card else value for value in arrays]


def where(num_buckets, tile=1):
    """Key, origin and span of the block."""
    return (7, -(-num_buckets // tile), True), (3, 0), (tile, 0)


@every_dtype
@every_size
@pytest.mark.parametrize("tile", [1, 6])
def test_kernels_equal_the_cpus(dtype, num_buckets, tile):
    name = "tiles" if tile > 1 else "element"
    cpu, gpu = numba_cpu.KERNELS[name], numba_cuda.KERNELS[name]
    key, origin, span = where(num_buckets, tile)
    slots = np.empty((ROWS, -(-COLUMNS // tile)), np.uint32)
    refs, comps = (run(twin.locate, key, origin, slots) for twin in (cpu, gpu))
    assert comps[0].tobytes() == refs[0].tobytes()

    (slots,) = refs
    weight = np.random.default_rng(0).normal(size=num_buckets).astype(dtype)
    panel = np.empty((ROWS, COLUMNS), dtype)
    refs, comps = (run(twin.expand, weight, slots, span, panel) for twin in (cpu, gpu))
    assert comps[2].tobytes() == refs[2].tobytes()

    weight, grad_panel = integers(num_buckets, dtype), integers(panel.shape, dtype, 1)
    inputs, grad_outputs = integers((BATCH, COLUMNS), dtype, 2), integers((BATCH, ROWS), dtype, 3)
    np.testing.assert_array_equal(
        *(run(twin.aggregate, grad_panel, slots, span, weight)[2] for twin in (cpu, gpu))
    )
    np.testing.assert_array_equal(
        *(run(twin.multiply, weight, key, origin, span, inputs, grad_outputs)[2] for twin in (cpu, gpu))
    )
    for ref, comp in zip(
        *(
            run(twin.gradients, weight, key, origin, span, inputs, grad_outputs, inputs, weight)[3:]
            for twin in (cpu, gpu)
        )
    ):
        np.testing.assert_array_equal(comp, ref)


@every_dtype
@every_size
def test_deterministic_sums_have_the_same_bits_every_time(dtype, num_buckets):
    key, origin, span = where(num_buckets)
    (slots,) = run(numba_cpu.locate, key, origin, np.empty((ROWS, COLUMNS), np.uint32))
    grad_panel = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(dtype)
    arguments = grad_panel, slots, span, np.zeros(num_buckets, dtype)
    sums = [run(numba_cuda.DETERMINISTIC["element"].aggregate, *arguments)[2] for _ in range(5)]
    assert len({total.tobytes() for total in sums}) == 1
    ref = run(numba_cpu.aggregate_element, *arguments)[2]
    np.testing.assert_allclose(sums[0], ref, rtol=1e-3, atol=1e-3)


@every_dtype
def test_shared_products_equal_the_cpus(dtype):
    """With arrays of CuPy, whose sort and assignment they use."""
    card = devices.get("cuda")
    map = BucketMap(12266, 7, COLUMNS, tile=99)
    inputs, grads = integers((BATCH, COLUMNS - 1), dtype), integers((ROWS, BATCH), dtype, 1)
    arranged = np.zeros((map.tile, map.segments * BATCH), dtype)
    products = integers((map.tiles, map.segments, BATCH), dtype, 2)
    slots = panels.locate(map, ROWS, devices.CPU)
    for name, *arguments in (
        ("arrange", inputs, map.places, map.signs, map.tile, arranged),
        ("arrange_back", integers(arranged.shape, dtype, 3), map.places, map.signs, map.tile, inputs),
        ("gather", products, slots, grads),
        ("scatter", grads, slots, products),
    ):
        copies = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]
        moved = [card.put(value) if isinstance(value, np.ndarray) else value for value in arguments]
        getattr(numba_cpu, name)(*copies)
        getattr(shared_cuda, name)(*moved)
        np.testing.assert_array_equal(card.get(moved[-1]), copies[-1])


@every_dtype
def test_drop_has_the_bits_of_the_cpu(dtype):
    inputs = np.random.default_rng(0).normal(size=(BATCH, COLUMNS)).astype(dtype)
    arguments = inputs, (7, 2**32 - 2, 2**30), dtype(4 / 3), np.empty_like(inputs)
    refs, comps = (run(twin.drop, *arguments) for twin in (numba_cpu, numba_cuda))
    assert comps[1].tobytes() == refs[1].tobytes()
