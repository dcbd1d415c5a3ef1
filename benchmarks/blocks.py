"""A map between "element" and "window", for comparison: blocks of inputs, one hash and one sign each.

    h(i, j) = (start(i, ⌊j / B⌋) + j mod B) mod K,   ξ(i, j) = ξ(i, ⌊j / B⌋),   B = 8 or 16

It hashes and looks up once a block. The package has no such map: it costs accuracy (trade.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from minihash import kernels
from minihash.hashing import PRIME3, signed_bucket, xxhash32
from minihash.kernels import Kernels, numba_cpu
from minihash.layers import HashedLinear
from minihash.virtual_matrix import VirtualMatrix

jit = numba.njit(nogil=True)
SIGN, BUCKET = numba_cpu.SIGN, numba_cpu.BUCKET


@dataclass(frozen=True)
class BlockMap:
    """Buckets and signs of blocks of `length` inputs."""

    num_buckets: int
    seed: int
    length: int
    signed: bool = True

    @property
    def name(self) -> str:
        return f"block{self.length}"

    def __call__(self, i: Any, j: Any) -> tuple[np.ndarray, np.ndarray]:
        j = np.asarray(j)
        starts, signs = signed_bucket(xxhash32(i, j // self.length, self.seed), self.num_buckets, self.signed)
        return (starts + j % self.length) % self.num_buckets, signs


class BlockLinear(HashedLinear):
    """A hashed layer with the block map."""

    def __init__(self, in_features: int, out_features: int, *, length: int, **arguments: Any) -> None:
        self.length = length
        super().__init__(in_features, out_features, **arguments)
        self.bucket_map = BlockMap(self.num_buckets, self.seed, self.length, self.signed)
        biased = self.columns > self.in_features
        self.matrix = VirtualMatrix(self.bucket_map, self.out_features, self.in_features, biased)


def _kernels(length: int) -> Kernels:
    """Return the kernels for one length: a constant, so that the copies become vector instructions."""
    absorb, avalanche = numba_cpu.absorb, numba_cpu.avalanche
    slot_of, start_hash = numba_cpu._slot, numba_cpu._start_hash

    @jit
    def locate(key, origin, slots):
        """Write the slot of each block where the block begins; the others are not read."""
        num_buckets, shift = np.uint64(key[1]), np.uint32(key[2])
        first, skipped = origin[1] // length, origin[1] % length
        count = (skipped + slots.shape[1] - 1) // length + 1
        assert skipped == 0 or count == 1, "panels start with blocks, or lie within one"
        products = np.empty(count, np.uint32)
        for b in range(count):
            products[b] = np.uint32(np.uint32(first + b) * PRIME3)
        hashed = np.empty(count, np.uint32)
        for r in range(slots.shape[0]):
            h = start_hash(origin[0] + r, key[0])
            for b in range(count):
                hashed[b] = slot_of(avalanche(absorb(h, products[b])), num_buckets, shift)
            for b in range(count):
                slots[r, b * length] = hashed[b]
            start = (np.uint64(hashed[0] & BUCKET) + np.uint64(skipped)) % num_buckets
            slots[r, 0] = np.uint32(start) | (hashed[0] & SIGN)

    @jit
    def expand(weight, slots, panel):
        columns = panel.shape[1]
        for r in range(panel.shape[0]):
            for c in range(0, columns, length):
                slot = slots[r, c]
                start = np.int64(slot & BUCKET)
                sign = weight.dtype.type(1) - 2 * weight.dtype.type(slot >> 31)
                stop = min(c + length, columns)
                if start + length <= weight.size and stop == c + length:
                    window, row = weight[start : start + length], panel[r, c : c + length]
                    for t in range(length):
                        row[t] = sign * window[t]
                else:
                    for t in range(stop - c):
                        panel[r, c + t] = sign * weight[(start + t) % weight.size]

    @jit
    def aggregate(grad_panel, slots, grad_weight):
        columns = grad_panel.shape[1]
        for r in range(grad_panel.shape[0]):
            for c in range(0, columns, length):
                slot = slots[r, c]
                start = np.int64(slot & BUCKET)
                sign = grad_weight.dtype.type(1) - 2 * grad_weight.dtype.type(slot >> 31)
                stop = min(c + length, columns)
                if start + length <= grad_weight.size and stop == c + length:
                    window, row = grad_weight[start : start + length], grad_panel[r, c : c + length]
                    for t in range(length):
                        window[t] += sign * row[t]
                else:
                    for t in range(stop - c):
                        grad_weight[(start + t) % grad_weight.size] += sign * grad_panel[r, c + t]

    def unused(*_: Any) -> None:
        raise NotImplementedError("blocks are for batches that make panels")

    return Kernels(locate, expand, aggregate, unused, unused, one_slot_a_row=False)


def register() -> None:
    """Tell the package's driver of panels about the block maps."""
    for length in (8, 16):
        kernels.module().KERNELS.setdefault(f"block{length}", _kernels(length))
