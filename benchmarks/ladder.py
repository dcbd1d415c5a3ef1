"""The ladder: variants of the kernels and products, each held to tests/naive.py before it is timed.

    python benchmarks/ladder.py [--seconds 3] [SHAPE ...]        # a shape is rows,columns,num_buckets

The package keeps one of each; the others stand here with what they cost, in nanoseconds a weight. One thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from minihash import hashing
from minihash.bench.timing import Samples
from minihash.kernels import numba_cpu

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import naive  # noqa: E402

SEED, ROW, COLUMN = 2015, 3, 7
SIGN, BUCKET = numba_cpu.SIGN, numba_cpu.BUCKET
absorb, avalanche, scale_to_range = numba_cpu.absorb, numba_cpu.avalanche, numba_cpu.scale_to_range
jit = numba.njit(nogil=True)
inline = numba.njit(inline="always")


@inline
def hash_position(i, j, seed):
    h = absorb(np.uint32(np.uint32(seed) + hashing.START), np.uint32(np.uint32(i) * hashing.PRIME3))
    return avalanche(absorb(h, np.uint32(np.uint32(j) * hashing.PRIME3)))


@inline
def slot(hashed, num_buckets):
    bucket = scale_to_range(np.uint32(hashed << np.uint32(1)), num_buckets)
    return np.uint32(bucket | (hashed & SIGN))


# -------------------------------------------------------------------------- hashing a panel


@jit
def hash_whole(num_buckets, slots):
    """Each position by itself, both words of the message anew."""
    for r in range(slots.shape[0]):
        for c in range(slots.shape[1]):
            slots[r, c] = slot(hash_position(ROW + r, COLUMN + c, SEED), np.uint64(num_buckets))


@jit
def hash_rows(num_buckets, slots):
    """The first word once a row, j · PRIME3 once a panel, one loop."""
    products = (COLUMN + np.arange(slots.shape[1])).astype(np.uint32) * hashing.PRIME3
    for r in range(slots.shape[0]):
        h = absorb(np.uint32(SEED + hashing.START), np.uint32(np.uint32(ROW + r) * hashing.PRIME3))
        row = slots[r]
        for c in range(row.size):
            row[c] = slot(avalanche(absorb(h, np.uint32(products[c]))), np.uint64(num_buckets))


def hash_in_two_loops(num_buckets, slots):
    """As before, and scaled to buckets in a second loop over the whole panel: the package's."""
    numba_cpu.locate_element((SEED, num_buckets, 1), (ROW, COLUMN), slots)


# ----------------------------------------------------------------------- gathering the weights


@jit
def gather_from_table(table, slots, panel):
    """From [w, −w], twice as long: no sign to apply, but more cache missed."""
    num_buckets = np.uint32(table.size // 2)
    for r in range(panel.shape[0]):
        for c in range(panel.shape[1]):
            s = slots[r, c]
            panel[r, c] = table[(s & BUCKET) + (s >> np.uint32(31)) * num_buckets]


@jit
def gather_in_one_loop(weight, slots, panel):
    """The sign in the same loop as the gather."""
    for r in range(panel.shape[0]):
        for c in range(panel.shape[1]):
            w = weight[slots[r, c] & BUCKET]
            panel[r, c] = -w if slots[r, c] & SIGN else w


@jit
def gather_bits(weight, slots, panel):
    """Of the floats' bits, and exclusive or for the signs in a second loop over the row."""
    weight_bits, panel_bits = weight.view(np.uint32), panel.view(np.uint32)
    for r in range(panel.shape[0]):
        places, row = slots[r], panel_bits[r]
        for c in range(row.size):
            row[c] = weight_bits[places[c] & BUCKET]
        for c in range(row.size):
            row[c] ^= places[c] & SIGN


def gather_then_negate(weight, slots, panel):
    """The signs in a second loop over the row, by a choice of floats: the package's."""
    numba_cpu.expand_element(weight, slots, panel)


# ------------------------------------------------------------------------ scattering the gradient


@jit
def scatter_in_one_loop(grad_panel, slots, grad_weight):
    for r in range(grad_panel.shape[0]):
        for c in range(grad_panel.shape[1]):
            g = grad_panel[r, c]
            grad_weight[slots[r, c] & BUCKET] += -g if slots[r, c] & SIGN else g


def negate_then_scatter(grad_panel, slots, grad_weight):
    """Signs first, in a loop that vectorises: the package's."""
    numba_cpu.aggregate_element(grad_panel, slots, grad_weight)


# ------------------------------------------------------------------------------------ products


def products(rows: int, columns: int, batch: int) -> dict:
    """Forward and backward products of one panel in several layouts; all read panels in the cache."""
    rng = np.random.default_rng(0)
    panel, grad_panel = rng.random((rows, columns), np.float32), np.empty((rows, columns), np.float32)
    a, delta = rng.random((batch, columns), np.float32), rng.random((batch, rows), np.float32)
    a_transposed, panel_transposed = np.ascontiguousarray(a.T), np.ascontiguousarray(panel.T)
    z, z_transposed = np.empty((batch, rows), np.float32), np.empty((rows, batch), np.float32)
    grad_a = np.empty((batch, columns), np.float32)
    return {
        "z = a @ panelᵀ": lambda: np.matmul(a, panel.T, out=z),
        "z = a @ panel stored transposed": lambda: np.matmul(a, panel_transposed, out=z),
        "zᵀ = panel @ aᵀ (the package's)": lambda: np.matmul(panel, a_transposed, out=z_transposed),
        "grad_a = δ @ panel (the package's)": lambda: np.matmul(delta, panel, out=grad_a),
        "grad_panel = δᵀ @ a (the package's)": lambda: np.matmul(delta.T, a, out=grad_panel),
    }


# ----------------------------------------------------------------------------------------- main


def check(rows: int, columns: int, num_buckets: int) -> None:
    """Hold every variant to the naive oracle, on a small corner."""
    lookup = naive.element(SEED, num_buckets)
    places = [[lookup(ROW + r, COLUMN + c) for c in range(columns)] for r in range(rows)]
    buckets, signs = np.moveaxis(np.array(places), 2, 0)
    weight = np.random.default_rng(0).integers(-9, 10, num_buckets).astype(np.float32)
    slots = np.zeros((rows, columns), np.uint32)
    for variant in (hash_whole, hash_rows, hash_in_two_loops):
        slots[...] = 0
        variant(num_buckets, slots)
        assert (slots == np.where(signs < 0, SIGN, 0) + buckets).all(), variant
    panel = np.empty((rows, columns), np.float32)
    for gather, source in gathers(weight).items():
        gather(source, slots, panel)
        assert (panel == signs * weight[buckets]).all(), gather
    for scatter in (scatter_in_one_loop, negate_then_scatter):
        found, wanted = np.zeros((2, num_buckets), np.float32)
        np.add.at(wanted, buckets, signs * panel)
        scatter(panel.copy(), slots, found)
        assert (found == wanted).all(), scatter


def gathers(weight: np.ndarray) -> dict:
    variants = (gather_in_one_loop, gather_bits, gather_then_negate)
    return {gather_from_table: np.concatenate([weight, -weight])} | {variant: weight for variant in variants}


def measure(rows: int, columns: int, num_buckets: int, seconds: float) -> None:
    weight = np.random.default_rng(0).random(num_buckets, np.float32)
    slots, panel = np.empty((rows, columns), np.uint32), np.empty((rows, columns), np.float32)
    hash_in_two_loops(num_buckets, slots)
    hashed = slots.copy()
    hashes = (hash_whole, hash_rows, hash_in_two_loops)
    sides = {f.__name__: (lambda f=f: f(num_buckets, slots)) for f in hashes}
    for f, source in gathers(weight).items():
        sides[f.__name__] = lambda f=f, source=source: f(source, hashed, panel)
    grad_panel, grad_weight = np.ones_like(panel), np.zeros_like(weight)
    for f in (scatter_in_one_loop, negate_then_scatter):
        sides[f.__name__] = lambda f=f: f(grad_panel, hashed, grad_weight)
    sides |= products(rows, columns, 128)
    samples = Samples(sides, seconds)
    print(f"\npanel {rows} x {columns}, {num_buckets} buckets; ns a weight (products: batch 128)")
    for name in sides:
        values = np.array(samples.seconds[name]) / (rows * columns) * 1e9
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        print(f"  {name:40s} {middle:6.2f}  ({low:.2f} … {high:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ["128,1024,16384", "1024,128,16384", "1024,128,98000", "1024,128,262144"]
    parser.add_argument("shapes", nargs="*", default=default, metavar="SHAPE")
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    check(5, 33, 20)
    check(33, 5, 70000)
    with threadpool_limits(1):
        for shape in arguments.shapes:
            measure(*map(int, shape.split(",")), arguments.seconds)


if __name__ == "__main__":
    main()
