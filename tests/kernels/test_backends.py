"""The choice of kernels, each in a fresh interpreter: Numba, NumPy, no JIT, the CUDA simulator."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

TINY_STEP = """
import numpy as np
import minihash
from minihash import kernels, virtual_matrix
from minihash.kernels import panels

panels.SMALL_WORK = virtual_matrix.ADDITION = 0  # small products may be shared too
network = minihash.Network([
    minihash.HashedLinear(5, 7, compression=0.25, seed=1),
    minihash.Tanh(),
    minihash.HashedLinear(7, 8, num_buckets=9, seed=2, tile=3),  # shared products
    minihash.HashedLinear(8, 3, num_buckets=9, seed=3, tile=2),
])
rng = np.random.default_rng(0)
inputs, targets = rng.normal(size=(4, 5)), np.array([0, 2, 1, 0])
losses = []
for _ in range(5):
    loss, grad = minihash.losses.softmax_cross_entropy(network.forward(inputs, True), targets)
    network.backward(grad)
    for name, param in network.params.items():
        param -= 0.1 * network.grads[name]
    losses.append(loss)
assert losses[-1] < losses[0]
print(kernels.module().__name__)
names = {0: "element", 2: "tiles", 3: "tiles"}
for place, name in names.items():
    assert kernels.get(network.layers[place].bucket_map) is kernels.module().KERNELS[name]
assert [network.layers[place].matrix.shares for place in names] == [False, True, False]
print([f"{loss:.5f}" for loss in losses])
"""

BLOCK_NUMBA = """
import sys

class NoNumba:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "llvmlite"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, NoNumba())
"""


def run_python(code, *options, **environment):
    """Run `code` in a fresh interpreter; return its standard output."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MINIHASH_", "NUMBA_"))
    }
    process = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def strict(code, **environment):
    return run_python(code, "-W", "error", **environment)


@pytest.fixture(scope="module")
def numpy_step():
    no_numba = "import sys; assert 'numba' not in sys.modules"
    return strict(TINY_STEP + no_numba, MINIHASH_KERNELS="numpy")


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"MINIHASH_KERNELS": "numba"}])
def test_numba_kernels_train_like_the_numpy_ones(numpy_step, environment):
    name, ref = numpy_step.splitlines()
    assert name == "minihash.kernels.numpy_cpu"
    name, comp = run_python(TINY_STEP, **environment).splitlines()
    assert name == "minihash.kernels.numba_cpu"
    assert comp == ref


def test_numpy_kernels_stand_in_where_numba_is_missing(numpy_step):
    assert strict(BLOCK_NUMBA + TINY_STEP) == numpy_step


def test_numba_asked_for_and_missing_is_an_import_error():
    strict(
        BLOCK_NUMBA
        + textwrap.dedent("""
            from minihash import kernels, maps
            try:
                kernels.get(maps.BucketMap(2, 1, 3))
            except ImportError as error:
                assert "blocked" in str(error)
            else:
                raise AssertionError
            """),
        MINIHASH_KERNELS="numba",
    )


def test_unknown_kernels_are_refused():
    strict(
        """
        from minihash import kernels, maps
        try:
            kernels.get(maps.BucketMap(2, 1, 3))
        except ValueError as error:
            assert "MINIHASH_KERNELS is 'cupy'" in str(error) and "'numba', 'numpy'" in str(error)
        else:
            raise AssertionError
        """,
        MINIHASH_KERNELS="cupy",
    )


def test_importing_minihash_does_not_import_numba():
    strict(
        """
        import sys
        import minihash
        minihash.HashedLinear(3, 2, num_buckets=2)
        assert "numba" not in sys.modules
        """
    )


def test_kernels_are_right_without_jit():
    run_python(
        """
        import warnings
        import numpy as np
        from minihash.kernels import numba_cpu, numpy_cpu

        warnings.filterwarnings("ignore", "overflow encountered")  # of NumPy's scalars, wanted here
        warnings.filterwarnings("error", category=DeprecationWarning)
        assert not hasattr(numba_cpu.locate, "py_func")  # not compiled
        rng = np.random.default_rng(0)
        inputs, weight, grad_outputs, grad_panel = (
            rng.integers(-9, 10, shape).astype(np.float32) for shape in [(3, 9), 37, (3, 12), (12, 9)]
        )
        signs, places = rng.choice(np.array([-1, 1], np.int8), 10), rng.permutation(10).astype(np.uint32)

        def results(twin):
            for name, kernels in twin.KERNELS.items():
                for signed in (True, False):
                    span, tiles, segments = {"element": ((1, 0), 37, 9), "tiles": ((5, 3), 8, 3)}[name]
                    where = (4294967295, tiles, signed), (4, 2)
                    slots = np.zeros((12, segments), np.uint32)
                    kernels.locate(*where, slots)
                    panel, grad_weight, outputs = map(np.zeros_like, (grad_panel, weight, grad_outputs))
                    kernels.expand(weight, slots, span, panel)
                    kernels.aggregate(grad_panel.copy(), slots, span, grad_weight)
                    kernels.multiply(weight, *where, span, inputs, outputs)
                    grads = np.zeros_like(inputs), np.zeros_like(weight)
                    kernels.gradients(weight, *where, span, inputs, grad_outputs, *grads)
                    yield from (slots, panel, grad_weight, outputs, *grads)
            arranged, grad_inputs = np.zeros((4, 9), "f4"), np.zeros((3, 9), "f4")
            twin.arrange(inputs, places, signs, 4, arranged)
            twin.arrange_back(arranged, places, signs, 4, grad_inputs)
            kept = np.empty_like(inputs)
            twin.drop(inputs, (7, 4294967294, 2**31), np.float32(2), kept)
            yield from (arranged, grad_inputs, kept)

        for comp, ref in zip(results(numba_cpu), results(numpy_cpu), strict=True):
            np.testing.assert_array_equal(comp, ref)
        """,
        NUMBA_DISABLE_JIT="1",
    )


def test_hash_is_right_in_a_cuda_kernel_under_the_simulator():
    run_python(
        """
        import numpy as np
        from numba import cuda
        from minihash import hashing

        absorb, avalanche, scale_to_range = (
            cuda.jit(device=True)(function)
            for function in (hashing.absorb, hashing.avalanche, hashing.scale_to_range)
        )

        @cuda.jit
        def hash_all(positions, hashes, slots):
            n = cuda.grid(1)
            if n < hashes.size:
                i, j, seed = positions[n]
                h = absorb(np.uint32(seed + hashing.START), np.uint32(i * hashing.PRIME3))
                hashes[n] = avalanche(absorb(h, np.uint32(j * hashing.PRIME3)))
                slots[n] = scale_to_range(hashes[n], 24500)

        golden = np.array(  # i, j, seed, XXH32, (XXH32 · 24500) >> 32
            [
                (0, 0, 0, 0xDEB39513, 21313),
                (1, 0, 42, 0x4B34DE73, 7197),
                (783, 999, 2015, 0xBDE1F6D1, 18172),
                (4294967295, 4294967295, 4294967295, 0xA01706A2, 15321),
            ],
            dtype=np.uint32,
        )
        hashes, slots = np.zeros((2, 4), np.uint32)
        hash_all[1, 8](golden[:, :3].copy(), hashes, slots)
        np.testing.assert_array_equal(hashes, golden[:, 3])
        np.testing.assert_array_equal(slots, golden[:, 4])
        """,
        NUMBA_ENABLE_CUDASIM="1",
    )
