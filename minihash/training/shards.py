"""Shards: rows and batches cut the same way, however many ranks there are, and sums in an order of their own.

    rows      |------ shard 0 ------|------ shard 1 ------|------ shard 2 ------|------ shard 3 ------|
    a batch   some rows of shard 0,  some of shard 1,      some of 2,            some of 3
    two ranks |----------------- rank 0 ------------------|----------------- rank 1 ------------------|
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

Range = tuple[int, int]


class Shards:
    """Rows cut into `count` stripes, and a batch into as many parts, one from each stripe.

    A stripe is to all rows what its part is to a batch: they are used up together, and only the last batch of
    an epoch is shorter. Stripe s are rows `starts[s] … starts[s + 1] − 1`, with

        cut[s] = ⌊s · batch_size / count⌋,  starts[s] = ⌊rows · cut[s] / batch_size⌋.

    Parameters
    ----------
    count : of shards.
    rows : of the data.
    batch_size : rows of a batch, all shards together; at least `count`.

    sizes : rows of each shard in a batch.
    """

    def __init__(self, count: int, rows: int, batch_size: int) -> None:
        self.count = count
        cuts = [shard * batch_size // count for shard in range(count + 1)]
        self.sizes = [stop - start for start, stop in itertools.pairwise(cuts)]
        self.starts = [rows * cut // batch_size for cut in cuts]

    def rows_of(self, shard: int, step: int) -> int:
        """Return how many rows a shard has in a step of an epoch, from 0."""
        left = self.starts[shard + 1] - self.starts[shard] - step * self.sizes[shard]
        return min(left, self.sizes[shard])

    def of_rank(self, rank: int, size: int) -> Range:
        """Return the shards of a rank, from … to."""
        return rank * self.count // size, (rank + 1) * self.count // size


def nodes(shards: Range, whole: Range) -> list[Range]:
    """Return the largest nodes of the binary tree over `whole` that lie in `shards`."""
    if shards[0] <= whole[0] and whole[1] <= shards[1]:
        return [whole]
    if whole[1] <= shards[0] or shards[1] <= whole[0]:
        return []
    left, right = halves(whole)
    return nodes(shards, left) + nodes(shards, right)


def halves(node: Range) -> tuple[Range, Range]:
    """Return the two nodes below one of the tree."""
    middle = (node[0] + node[1]) // 2
    return (node[0], middle), (middle, node[1])


def tree_sum(node: Range, found: Callable[[Range], np.ndarray | None]) -> np.ndarray:
    """Return the sum of a node: what is found of it, else that of the node's halves.

    The order of sums is the tree's, whoever has summed which of its nodes before.
    """
    value = found(node)
    if value is None:
        left, right = halves(node)
        value = tree_sum(left, found) + tree_sum(right, found)
    return value
