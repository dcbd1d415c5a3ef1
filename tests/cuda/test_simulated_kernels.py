"""The CUDA kernels against plain loops and against the CPU's bits, on every simulated GPU.

Sums are of whole numbers, so they are equal in any order. Arrays are a few elements: a thread costs what
a loop would. `lockstep.py` says what is watched meanwhile.
"""

from __future__ import annotations

import numpy as np
import pytest
from cards import every_card, every_dtype, fast_or_deterministic, kernels_on, twin_on
from hypothesis import example, given
from hypothesis import strategies as st
from kernels import test_kernels as cpu
from kernels import test_shared as shared
from kernels.test_kernels import Block, batches, case, integers

from minihash.kernels import numba_cpu, numpy_cpu

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # of uint32, wanted


def block_of(num_buckets, origin, shape, seed=7, signed=True):
    """A block of single weights."""
    return Block("element", num_buckets, 1, seed, signed, origin, 0, shape)


ONE_BUCKET = block_of(1, (3, 4), (9, 9))


def at_the_limits(test):
    return example(block=ONE_BUCKET)(cpu.at_the_limits(test))


@every_card
@given(block=cpu.blocks(max_buckets=2**30 - 1))
@at_the_limits
def test_locate_equals_naive(card, block):
    np.testing.assert_array_equal(cpu.locate(twin_on(card), block), cpu.slots_of(block))


@every_card
@every_dtype
@given(block=cpu.blocks())
@at_the_limits
def test_expand_has_the_bits_of_the_cpu(card, dtype, block):
    weight = np.random.default_rng(0).normal(size=block.num_buckets).astype(dtype)
    weight[::3] = 0  # its sign is a bit too
    panel = cpu.expand(twin_on(card), weight, block)
    np.testing.assert_array_equal(panel, cpu.virtual(weight, block))
    assert panel.tobytes() == cpu.expand(numba_cpu, weight, block).tobytes()


@every_card
@every_dtype
@fast_or_deterministic
@given(block=cpu.blocks())
@at_the_limits
def test_aggregate_adds_to_what_is_there(card, dtype, name, block):
    grad_panel, before = integers(block.shape, dtype), integers(block.num_buckets, dtype, seed=1)
    ref = cpu.summed(grad_panel, block, before)
    np.testing.assert_array_equal(cpu.aggregate(twin_on(card, name), grad_panel, block, before.copy()), ref)


@every_card
@every_dtype
@given(block=cpu.blocks(), batch=batches)
def test_multiply_adds_to_what_is_there(card, dtype, block, batch):
    weight, inputs, before = case(block, batch, dtype)
    ref = before + inputs @ cpu.virtual(weight, block).T
    comp = cpu.multiply(twin_on(card), weight, block, inputs, before.copy())
    np.testing.assert_array_equal(comp, ref)


@every_card
@every_dtype
@fast_or_deterministic
@given(block=cpu.blocks(), batch=batches, need_grad_inputs=st.booleans())
def test_gradients_add_to_what_is_there(card, dtype, name, block, batch, need_grad_inputs):
    weight, inputs, grad_outputs = case(block, batch, dtype)
    before = integers((batch * need_grad_inputs, block.shape[1]), dtype, seed=3)
    weight_before = integers(block.num_buckets, dtype, seed=4)
    ref_grad_weight = cpu.summed(grad_outputs.T @ inputs, block, weight_before)
    ref_grad_inputs = before + grad_outputs @ cpu.virtual(weight, block) if need_grad_inputs else before
    grads = before.copy(), weight_before.copy()
    cpu.gradients(twin_on(card, name), weight, block, inputs, grad_outputs, *grads)
    np.testing.assert_array_equal(grads[0], ref_grad_inputs)
    np.testing.assert_array_equal(grads[1], ref_grad_weight)


@every_card
@every_dtype
@given(shape=st.tuples(batches, st.integers(1, 12)), row=st.sampled_from([0, 2**32 - 2]))
def test_drop_has_the_bits_of_the_cpu(card, dtype, shape, row):
    inputs = np.random.default_rng(0).normal(size=shape).astype(dtype)
    results = []
    for twin in (twin_on(card), numba_cpu):
        outputs = np.full_like(inputs, np.nan)
        twin.drop(inputs, (7, row, 2**31), dtype(2), outputs)
        results.append(outputs.tobytes())
    assert results[0] == results[1]


# --------------------------------------------------------------------------------- shared products


@every_card
@given(case=shared.maps(), batch=st.integers(0, 6))
def test_arranging_is_that_of_the_cpu(card, case, batch):
    map, features = case
    inputs = integers((batch, features), np.float32)
    arranged = [shared.arrange(twin, inputs, map) for twin in (twin_on(card), numpy_cpu)]
    np.testing.assert_array_equal(*arranged)
    grads = integers(arranged[0].shape, np.float32, seed=1)
    back = [shared.arrange_back(twin, grads, map, inputs.shape) for twin in (twin_on(card), numpy_cpu)]
    np.testing.assert_array_equal(*back)


@every_card
@given(shared.arrays())
def test_gather_and_scatter_equal_the_cpus(card, case):
    slots, products, grads = case
    found = []
    for twin in (twin_on(card), numpy_cpu):
        outputs, grad_products = np.full_like(grads, np.nan), np.full_like(products, np.nan)
        twin.gather(products, slots, outputs)
        twin.scatter(grads, slots, grad_products)
        found.append((outputs, grad_products))
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


# ----------------------------------------------------------------------------- sums in shared memory


@every_card
@every_dtype
@pytest.mark.parametrize("shared", [0, 48 * 1024])
def test_sums_in_shared_memory_and_not(card, dtype, shared, monkeypatch):
    module, block = kernels_on(card), block_of(6, (3, 0), (9, 6))
    monkeypatch.setattr(module.LAUNCHER, "shared", shared)
    grad_panel, before = integers(block.shape, dtype), integers(block.num_buckets, dtype, seed=1)
    plan = module.LAUNCHER.sums(grad_panel, before)
    assert plan == (((2, 1), 5, before.nbytes) if shared else ((2, 3), 5, 0))
    ref = cpu.summed(grad_panel, block, before)
    np.testing.assert_array_equal(cpu.aggregate(twin_on(card), grad_panel, block, before), ref)


# ------------------------------------------------------------------------------------- determinism


def deterministic_sum(card, grad_panel, block):
    with np.errstate(invalid="ignore"):
        nothing = np.zeros(block.num_buckets, grad_panel.dtype)
        return cpu.aggregate(twin_on(card, "DETERMINISTIC"), grad_panel, block, nothing)


@every_dtype
@given(block=cpu.blocks(max_buckets=9), exponent=st.integers(-300, 300))
@example(block=ONE_BUCKET, exponent=0)
def test_deterministic_sums_have_the_same_bits_in_every_order(dtype, block, exponent):
    if dtype == np.float32:
        exponent //= 8
    rng = np.random.default_rng(0)
    grad_panel = (rng.normal(size=block.shape) * 10.0**exponent).astype(dtype)
    sums = [deterministic_sum(card, grad_panel, block) for card in ("simulator", "forward", "shuffled")]
    assert len({total.tobytes() for total in sums}) == 1
    ref = cpu.summed(grad_panel.astype(np.longdouble), block, np.zeros(block.num_buckets, np.longdouble))
    # An addend is off by 2⁻³⁰ of the largest at most (docs/cuda.md), the sum is rounded once.
    slack = grad_panel.size * 2.0**-29 if dtype == np.float32 else grad_panel.size**2 * 2.0**-60
    tiny = np.finfo(dtype).smallest_normal * grad_panel.size
    atol = np.abs(grad_panel).max() * slack + tiny
    np.testing.assert_allclose(sums[0].astype(np.longdouble), ref, rtol=np.finfo(dtype).eps, atol=atol)


def test_atomic_sums_of_floats_depend_on_the_order():
    """Else the deterministic ones were no use, and the orders of the machine no test of them."""
    grad_panel = np.random.default_rng(0).normal(size=ONE_BUCKET.shape).astype(np.float32)
    sums = {
        cpu.aggregate(twin_on(card), grad_panel, ONE_BUCKET, np.zeros(1, np.float32)).tobytes()
        for card in ("forward", "reversed", "shuffled")
    }
    assert len(sums) > 1


@every_card
@every_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_deterministic_sums_of_what_is_not_finite_are_nan(card, dtype, bad):
    block = block_of(6, (3, 0), (5, 6))
    grad_panel = integers(block.shape, dtype)
    grad_panel[4, 5] = bad
    assert np.isnan(deterministic_sum(card, grad_panel, block)).all()


@every_card
@every_dtype
def test_deterministic_sums_of_the_largest_and_smallest(card, dtype):
    info = np.finfo(dtype)
    for value in (0, info.max, info.smallest_normal, info.smallest_subnormal):
        grad_panel = np.zeros((1, 5), dtype)
        grad_panel[0, 2] = value
        total = deterministic_sum(card, grad_panel, block_of(1, (0, 0), (1, 5), signed=False))
        if value != info.smallest_subnormal:
            assert total[0] == dtype(value)
        else:
            assert 0 <= total[0] <= value
