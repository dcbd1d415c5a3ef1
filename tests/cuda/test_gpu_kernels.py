"""The kernels on a card, against the CPU's: `pytest tests/cuda -m gpu` where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from numba import cuda

from minihash.kernels import numba_cpu, numba_cuda

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not cuda.is_available(), reason="needs a graphics card"),
]
BATCH, ROWS, COLUMNS = 5, 1000, 785
BUCKETS = {"few": 7, "in shared memory": 1021, "many": 100_003}

every_map = pytest.mark.parametrize("map", ["element", "window"])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_size = pytest.mark.parametrize("num_buckets", BUCKETS.values(), ids=BUCKETS)


def integers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def columns_of(map, num_buckets):
    return min(COLUMNS, num_buckets) if map == "window" else COLUMNS


def run(kernel, *arguments, **options):
    """Return the arrays among the arguments as the kernel leaves them; it works on copies."""
    on_card = kernel.__module__ == numba_cuda.__name__ or hasattr(kernel, "func")
    copies = [
        (cuda.to_device(value) if on_card else value.copy()) if isinstance(value, np.ndarray) else value
        for value in arguments
    ]
    kernel(*copies, **options)
    arrays = [value for value, given in zip(copies, arguments) if isinstance(given, np.ndarray)]
    return [value.copy_to_host() if on_card else value for value in arrays]


def slots_of(map, num_buckets):
    shape = ROWS, 1 if map == "window" else COLUMNS
    return (7, num_buckets, True), (3, 0), np.empty(shape, np.uint32)


@every_map
@every_dtype
@every_size
def test_kernels_equal_the_cpus(map, dtype, num_buckets):
    cpu, gpu = numba_cpu.KERNELS[map], numba_cuda.KERNELS[map]
    columns = columns_of(map, num_buckets)
    key, origin, slots = slots_of(map, num_buckets)
    (slots,) = run(cpu.locate, key, origin, slots)
    assert run(gpu.locate, key, origin, slots)[0].tobytes() == slots.tobytes()

    weight = np.random.default_rng(0).normal(size=num_buckets).astype(dtype)
    panel = np.empty((ROWS, columns), dtype)
    refs, comps = (run(twin.expand, weight, slots, panel) for twin in (cpu, gpu))
    assert comps[2].tobytes() == refs[2].tobytes()

    weight, grad_panel = integers(num_buckets, dtype), integers(panel.shape, dtype, 1)
    inputs, grad_outputs = integers((BATCH, columns), dtype, 2), integers((BATCH, ROWS), dtype, 3)
    np.testing.assert_array_equal(
        *(run(twin.aggregate, grad_panel, slots, weight)[2] for twin in (cpu, gpu))
    )
    np.testing.assert_array_equal(
        *(run(twin.multiply, weight, key, origin, inputs, grad_outputs)[2] for twin in (cpu, gpu))
    )
    for ref, comp in zip(
        *(
            run(twin.gradients, weight, key, origin, inputs, grad_outputs, inputs, weight)[3:]
            for twin in (cpu, gpu)
        )
    ):
        np.testing.assert_array_equal(comp, ref)


@every_map
@every_dtype
@every_size
def test_deterministic_sums_have_the_same_bits_every_time(map, dtype, num_buckets):
    key, origin, slots = slots_of(map, num_buckets)
    (slots,) = run(numba_cpu.KERNELS[map].locate, key, origin, slots)
    grad_panel = np.random.default_rng(0).normal(size=(ROWS, columns_of(map, num_buckets))).astype(dtype)
    aggregate, nothing = getattr(numba_cuda, f"aggregate_{map}"), np.zeros(num_buckets, dtype)
    sums = [run(aggregate, grad_panel, slots, nothing, deterministic=True)[2] for _ in range(5)]
    assert len({total.tobytes() for total in sums}) == 1
    ref = run(numba_cpu.KERNELS[map].aggregate, grad_panel, slots, nothing)[2]
    np.testing.assert_allclose(sums[0], ref, rtol=1e-3, atol=1e-3)


@every_dtype
def test_drop_has_the_bits_of_the_cpu(dtype):
    inputs = np.random.default_rng(0).normal(size=(BATCH, COLUMNS)).astype(dtype)
    arguments = inputs, (7, 2**32 - 2, 2**30), dtype(4 / 3), np.empty_like(inputs)
    refs, comps = (run(twin.drop, *arguments) for twin in (numba_cpu, numba_cuda))
    assert comps[1].tobytes() == refs[1].tobytes()


@every_dtype
def test_folds_have_the_bits_of_the_cpu(dtype):
    rng = np.random.default_rng(0)
    window = COLUMNS // 2
    inputs, folded = rng.normal(size=(BATCH, COLUMNS - 1)).astype(dtype), np.zeros((BATCH, window), dtype)
    signs = rng.choice(np.array([-1, 1], np.int8), COLUMNS)
    places = (rng.permutation(COLUMNS) % window).astype(np.uint32)
    refs, comps = (run(twin.fold, inputs, signs, places, folded) for twin in (numba_cpu, numba_cuda))
    assert comps[3].tobytes() == refs[3].tobytes()
    refs, comps = (run(twin.unfold, refs[3], signs, places, inputs) for twin in (numba_cpu, numba_cuda))
    assert comps[3].tobytes() == refs[3].tobytes()
