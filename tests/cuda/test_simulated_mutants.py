"""Bugs planted in the kernels, each with the test that catches it: the tests are tested.

The lockstep machine has to catch them in every order of its threads. Numba's own simulator passes the five
that lack an atomic operation.
"""

from __future__ import annotations

import itertools

import lockstep
import naive
import numpy as np
import pytest
import test_simulated_kernels as tests
from cards import Twin, make_small
from lockstep import Divergence, OutOfBounds, Race, Uninitialised

from minihash.maps import BucketMap

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")


def drawn(rows, segments, tiles, batch):
    """Slots, products and outputs; nobody draws the second tile."""
    rng = np.random.default_rng(0)
    slots = rng.integers(0, tiles, (rows, segments)).astype(np.uint32)
    slots[slots == 1] = 2
    slots |= rng.integers(0, 2, slots.shape).astype(np.uint32) << np.uint32(31)
    products = rng.integers(-6, 7, (tiles, segments, batch)).astype(np.float32)
    return slots, products, rng.integers(-6, 7, (rows, batch)).astype(np.float32)


BLOCK = tests.block_of(3, (3, 4), (9, 6))
TILES = tests.Block("tiles", 10, 4, 7, True, (3, 4), 1, (9, 6))
MAP = BucketMap(3, 5, 7, tile=3)
DRAWN = drawn(rows=9, segments=3, tiles=4, batch=6)
WRONG = AssertionError  # another result


def examples(test, **examples):
    """One example of a test, for every case in turn."""
    inner = test.hypothesis.inner_test if hasattr(test, "hypothesis") else test
    return lambda card: inner(card, **examples)


F4 = {"dtype": np.float32}
FAST, FIXED = {"name": "KERNELS", **F4}, {"name": "DETERMINISTIC", **F4}
locate = examples(tests.test_locate_equals_naive, block=BLOCK)
expand = examples(tests.test_expand_has_the_bits_of_the_cpu, block=BLOCK, **F4)
aggregate = examples(
    tests.test_aggregate_adds_to_what_is_there, block=BLOCK._replace(num_buckets=50), **FAST
)
aggregate_shared = examples(tests.test_aggregate_adds_to_what_is_there, block=BLOCK, **FAST)
aggregate_fixed = examples(tests.test_aggregate_adds_to_what_is_there, block=BLOCK, **FIXED)
multiply = examples(tests.test_multiply_adds_to_what_is_there, block=BLOCK, batch=4, **F4)
gradients = examples(
    tests.test_gradients_add_to_what_is_there, block=BLOCK, batch=4, need_grad_inputs=True, **FAST
)
expand_tiles = examples(tests.test_expand_has_the_bits_of_the_cpu, block=TILES, **F4)
arrange = examples(tests.test_arranging_is_that_of_the_cpu, case=(MAP, 6), batch=4)
gather = examples(tests.test_gather_and_scatter_equal_the_cpus, case=DRAWN)
drop = examples(tests.test_drop_has_the_bits_of_the_cpu, shape=(4, 7), row=2**32 - 2, **F4)
largest = examples(tests.test_deterministic_sums_of_the_largest_and_smallest, **F4)
not_finite = examples(tests.test_deterministic_sums_of_what_is_not_finite_are_nan, bad=np.inf, **F4)

BARRIER = "    cuda.syncthreads()\n"
ADD_SHARED = "cuda.atomic.add(partial, k, value)"
ADD_GLOBAL = "cuda.atomic.add(grad_weight, k, value)"
HAND_OVER = "cuda.atomic.add(grad_weight, k, partial[k])"
STORE = "            terms[t] += terms[t + half]\n"
SLOT = "slot(key, origin[0] + r, origin[1] + c)"

MUTANTS = {
    "non-atomic add in shared memory": (
        *(aggregate_shared, Race, ADD_SHARED, "partial[k] += value"),
    ),
    "non-atomic add to the buckets": (aggregate, Race, ADD_GLOBAL, "grad_weight[k] += value"),
    "blocks hand over without atomics": (aggregate_shared, Race, HAND_OVER, "grad_weight[k] += partial[k]"),
    "blocks overwrite each other's": (aggregate_shared, Race, HAND_OVER, "grad_weight[k] = partial[k]"),
    "non-atomic largest of a block": (
        *(aggregate_fixed, Race, "cuda.atomic.max(largest, 0, own)"),
        "largest[0] = max(largest[0], own)",
    ),
    "non-atomic largest of all": (
        *(aggregate_fixed, Race, "cuda.atomic.max(peak, 0, largest[0])"),
        "peak[0] = max(peak[0], largest[0])",
    ),
    "no barrier after sums are set to zero": (
        *(aggregate_shared, (Race, Uninitialised)),
        *("        k += cuda.blockDim.x\n" + BARRIER, "        k += cuda.blockDim.x\n"),
    ),
    "no barrier before sums are handed over": (
        *(aggregate_shared, Race),
        *('"""Add the block\'s own sums to all blocks\'."""\n' + BARRIER, '"""No barrier."""\n'),
    ),
    "sums not set to zero": (aggregate_shared, Uninitialised, "partial[k] = 0", "pass"),
    "the largest not set to zero": (aggregate_fixed, Uninitialised, "largest[0] = 0", "pass"),
    "no barrier before terms are summed": (
        *(multiply, (Race, Uninitialised), "terms.size\n" + BARRIER, "terms.size\n"),
    ),
    "no barrier between sums of terms": (
        *(multiply, Race, STORE + "        cuda.syncthreads()\n", STORE),
    ),
    "barrier for some of the threads": (
        *(multiply, (Divergence, Race), STORE + "        cuda", STORE + "            cuda"),
    ),
    "barrier after some have left": (
        *(aggregate_shared, Divergence, "            r += cuda.gridDim.y\n    _add_partial"),
        "            r += cuda.gridDim.y\n        _add_partial",
    ),
    "the odd term is lost": (multiply, WRONG, "half = (count + 1) >> 1", "half = count >> 1"),
    "locate goes one column too far": (locate, OutOfBounds, "c < slots.shape[1]", "c <= slots.shape[1]"),
    "locate goes one row too far": (locate, OutOfBounds, "r < slots.shape[0]", "r <= slots.shape[0]"),
    "expand goes one column too far": (expand, OutOfBounds, "c < panel.shape[1]", "c <= panel.shape[1]"),
    "expand goes one row too far": (expand, OutOfBounds, "r < panel.shape[0]", "r <= panel.shape[0]"),
    "aggregate goes one column too far": (
        *(aggregate, OutOfBounds, "c < grad_panel.shape[1]", "c <= grad_panel.shape[1]"),
    ),
    "aggregate goes one row too far": (
        *(aggregate, OutOfBounds, "r < grad_panel.shape[0]", "r <= grad_panel.shape[0]"),
    ),
    "multiply goes one column too far": (
        *(multiply, OutOfBounds, "c < inputs.shape[1]", "c <= inputs.shape[1]"),
    ),
    "the grid lacks its last block": (expand, WRONG, "-(-columns // threads)", "columns // threads"),
    "the stride skips a row": (expand, WRONG, "r += cuda.gridDim.y", "r += cuda.gridDim.y + 1"),
    "the block's last column is lost": (
        *(aggregate, WRONG, "c < grad_panel.shape[1]", "c < grad_panel.shape[1] - 1"),
    ),
    "the block's row is not hashed": (locate, WRONG, SLOT, "slot(key, r, origin[1] + c)"),
    "the block's column is not hashed": (locate, WRONG, SLOT, "slot(key, origin[0] + r, c)"),
    "products hash columns for rows": (
        *(multiply, WRONG, "slot(key, origin[0] + r, origin[1] + segment)"),
        "slot(key, origin[1] + segment, origin[0] + r)",
    ),
    "gradients are hashed as the first block's": (
        *(gradients, WRONG, "locate(key, origin, slots)", "locate(key, (0, 0), slots)"),
    ),
    "drop goes one column too far": (drop, OutOfBounds, "j < outputs.shape[1]", "j <= outputs.shape[1]"),
    "every batch drops the same": (drop, WRONG, "(key[1] + n) & hashing.LARGEST", "n"),
    "columns count from the block's own": (expand_tiles, WRONG, "np.uint32(span[1] + c)", "np.uint32(c)"),
    "the last tile does not overlap": (
        *(expand_tiles, (WRONG, OutOfBounds), "min((slot & TILE) * np.uint32(span[0]), np.uint32"),
        "max((slot & TILE) * np.uint32(span[0]), np.uint32",
    ),
    "a tile is its first weight": (expand_tiles, WRONG, "- span[0])) + offset", "- span[0]))"),
    "arrange goes one column too far": (arrange, OutOfBounds, "j < places.size", "j <= places.size"),
    "the bias has an input": (arrange, OutOfBounds, "if j < features else", "if j <= features else"),
    "arrange leaves out what is padded": (arrange, WRONG, "arranged[...] = 0", "pass"),
    "columns have no sign": (arrange, WRONG, "-value if signs[j] < 0 else value", "value"),
    "a row's products have no sign": (
        *(gather, WRONG, "-product if slots[r, g] & SIGN else product", "product"),
    ),
    "gather goes one column too far": (
        *(gather, OutOfBounds, "if n < outputs.shape[1]", "if n <= outputs.shape[1]"),
    ),
    "rows are not sorted": (gather, (WRONG, Uninitialised, OutOfBounds), "LAUNCHER.sort(keys)", "pass"),
    "segments are sorted together": (
        *(gather, (WRONG, OutOfBounds), "np.uint64(segments) + np.uint64(g)", "np.uint64(segments)"),
    ),
    "what nobody drew begins nowhere": (
        *(gather, (WRONG, Uninitialised, OutOfBounds), "first <= place:", "first == place:"),
    ),
    "sums of gradients have no sign": (gather, WRONG, "-grad if row & SIGN else grad", "grad"),
    "sums go one column too far": (
        *(gather, OutOfBounds, "n < grad_products.shape[1]", "n <= grad_products.shape[1]"),
    ),
    "the sign is lost": (aggregate, WRONG, "-grad if drawn & SIGN else grad", "grad"),
    "grad_inputs are overwritten": (
        *(gradients, WRONG, "grad_inputs[n, c] += total", "grad_inputs[n, c] = total"),
    ),
    "a digit too many": (largest, (WRONG, OverflowError), "digits = 30 if", "digits = 32 if"),
    "work is not set to zero": (aggregate_fixed, (WRONG, OverflowError), "_set_zero(work)", "pass"),
    "what is not finite goes unseen": (
        *(not_finite, (WRONG, OverflowError), "<= 2 * point[3]", "<= 3 * point[3]"),
    ),
}


@pytest.mark.parametrize("order", lockstep.ORDERS)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_caught(mutant, order, monkeypatch):
    check, fault, *edit = MUTANTS[mutant]
    run(check, monkeypatch, order)  # without the bug it passes
    with pytest.raises(fault):
        run(check, monkeypatch, order, tuple(edit))


def run(check, monkeypatch, order, *edits):
    module = make_small(lockstep.load(lockstep.Machine(order), *edits))
    with monkeypatch.context() as patched:
        patched.setattr(tests, "kernels_on", lambda card: module)
        patched.setattr(tests, "twin_on", lambda card, name="KERNELS": Twin(module, name))
        check("mutant")


# ------------------------------------------------------------------------- the types that Numba infers

LIMITS = [(0, 0), (783, 999), (2**32 - 2, 2**32 - 2)]
POSITIONS = [*LIMITS, *np.random.default_rng(0).integers(0, 2**32 - 1, (50, 2)).tolist()]
KEYS = list(itertools.product((0, 2**32 - 1), (1, 24500, 2**30 - 1), (True, False)))


def check_scalars(*edits):
    """Slots by the device functions, compiled, against naive."""
    module = lockstep.load(lockstep.Scalars(), *edits)
    for key in KEYS:
        buckets = naive.element(*key)
        for i, j in POSITIONS:
            bucket, sign = buckets(i, j)
            assert module.slot(key, i, j) == bucket + (sign < 0) * 2**31
            assert module.hash_position(i, j, key[0]) == naive.xxhash32(i, j, key[0])


def test_slots_have_32_bits_when_compiled():
    check_scalars()


#: The cast that is left out, by what it belongs to.
PROMOTED = {
    "message": ("h = np.uint32(h + product)", "h = h + product"),
    "first product": ("np.uint32(np.uint32(h ^ (h >> np.uint32(15))", "(np.uint32(h ^ (h >> np.uint32(15))"),
    "second product": ("np.uint32(np.uint32(h ^ (h >> np.uint32(13))", "(np.uint32(h ^ (h >> np.uint32(13))"),
    "sign shifted out": ("scale_to_range(np.uint32(hashed << signed)", "scale_to_range((hashed << signed)"),
}


@pytest.mark.parametrize("mutant", PROMOTED)
def test_wrong_promotion_of_uint32_is_caught(mutant):
    with pytest.raises(AssertionError):
        check_scalars(PROMOTED[mutant])
