"""Data-parallel training on MPI (extra `mpi`): every rank has the network, and its own rows.

    mpiexec -n 4 minihash train … --distributed

A step: each rank fills the gradients of its shards of the batch; they are summed over the ranks, a vector
of `num_parameters` numbers, 1/64 of a dense network's; each rank's optimizer does the same step. There are
two ways to sum:

- exact: every shard has gradients of its own, and they are added along one binary tree (shards.py). Any
  number of ranks, up to that of the shards, gets the same bits.
- fast: a rank's rows are one batch, and `MPI_Allreduce` adds as it likes. The number of ranks changes the
  last bits; so may MPI.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from minihash import checks
from minihash.datasets.rows import Batch, total_weight
from minihash.kernels.devices import CPU
from minihash.layers.dropout import LEVELS
from minihash.network import Network
from minihash.sources import Source
from minihash.training.checkpoint import Checkpoint
from minihash.training.gradients import Gradients
from minihash.training.interrupts import Signals
from minihash.training.mpi import MpiRanks, world
from minihash.training.ranks import ALONE, Ranks
from minihash.training.shards import Range, Shards, nodes, tree_sum

Folder = str | os.PathLike[str]
MODES = ("exact", "fast")
SHARDS = 4


def mode_of(distributed: bool | str) -> str:
    """Return "exact" or "fast", or "" for a training in one process."""
    if isinstance(distributed, str):
        return checks.choice("distributed", distributed, MODES)
    return MODES[0] if checks.boolean("distributed", distributed) else ""


def ranks_of(mode: str) -> Ranks:
    """Return the ranks of a mode: all processes that MPI knows, or this one alone."""
    return world() if mode else ALONE


def shards_of(shards: int | None, ranks: Ranks, folder: Folder | None = None) -> int:
    """Return how many shards a batch is cut into: as said; else as in the training that is resumed.

    Parameters
    ----------
    shards : if somebody says it.
    ranks : else there are four, or the next power of two from their number on.
    folder : of the checkpoint to go on from, if there is one in it.
    """
    if shards is not None:
        return checks.integer("shards", shards, 1, 2**31)
    state = None if folder is None else Checkpoint(folder, ranks).read()
    setting = None if state is None else state.settings.get("distributed")
    if isinstance(setting, list) and len(setting) == 2:
        return checks.integer("shards of the checkpoint", setting[1], 1, 2**31)
    return max(SHARDS, 1 << (ranks.size - 1).bit_length())


def gradients_of(
    given: tuple[Network, Source, Callable, int, Signals],
    ranks: Ranks,
    mode: str,
    shards: int | None,
    folder: Folder | None,
) -> Gradients:
    """Return the gradients of one process, made of what is given, or of a rank, with `shards_of` the rest."""
    if isinstance(ranks, MpiRanks):
        count = shards_of(shards, ranks, folder)
        return ShardedGradients(*given, ranks=ranks, mode=mode, shards=count)
    if shards is not None:
        raise ValueError(f"shards is {shards} and distributed is False, wanted None")
    return Gradients(*given)


class ShardedGradients(Gradients):
    """The gradients of a batch of which every rank has some shards.

    Parameters
    ----------
    network, rows, loss, batch_size, signals : as in `Gradients`; all but signals the same on all ranks.
    ranks : all of them.
    mode : "exact" or "fast".
    shards : how many.

    Raises
    ------
    ValueError if there are fewer shards than ranks, or fewer rows in a batch than shards.
    """

    def __init__(
        self,
        network: Network,
        rows: Source,
        loss: Callable,
        batch_size: int,
        signals: Signals,
        *,
        ranks: MpiRanks,
        mode: str,
        shards: int,
    ) -> None:
        super().__init__(network, rows, loss, batch_size, signals)
        if shards < ranks.size:
            raise ValueError(f"shards is {shards}, wanted {ranks.size} at least, the number of ranks")
        if batch_size < shards:
            raise ValueError(f"batch_size is {batch_size}, wanted {shards} at least, the number of shards")
        self.ranks, self.exact, self.setting = ranks, mode == "exact", [mode, shards]
        if self.exact and network.device is not CPU and not getattr(network.device, "deterministic", False):
            raise ValueError(f"network is on {network.device}, wanted it deterministic for exact mode")
        self.shards = Shards(shards, len(rows.rows), batch_size)
        self._own = self.shards.of_rank(ranks.rank, ranks.size)
        self._dropouts = [layer for layer in network.layers if layer.row is not None]
        self._stop = False

    def stops(self) -> bool:
        return self._stop

    def batches(self, rng: np.random.Generator) -> Generator[Any, None, None]:
        """Yield the number of a step, and of each of this rank's shards what it has in it, or None."""
        shards, rows = self.shards, self.rows.rows
        seeds = rng.integers(2**63, size=shards.count)
        with contextlib.ExitStack() as stack:
            streams = []
            for shard in range(*self._own):
                stripe = rows.part(*shards.starts[shard : shard + 2])
                stream = stripe.batches(shards.sizes[shard], np.random.default_rng(seeds[shard]))
                streams.append(stack.enter_context(contextlib.closing(stream)))
            for step in range(-(-len(rows) // self.batch_size)):
                yield step, [next(stream, None) for stream in streams]

    def fill(self, batch: tuple[int, list[Batch | None]]) -> tuple[float, float]:
        step, parts = batch
        prepared = [None if part is None else self.rows.prepare(part) for part in parts]
        weights = self._weights(step, prepared)
        whole, (first, last) = float(sum(weights)), self._own
        sizes = [self.shards.rows_of(shard, step) for shard in range(self.shards.count)]
        starts = list(itertools.accumulate(sizes, initial=0))  # of the shards in the batch
        rows = [layer.row or 0 for layer in self._dropouts]

        def part_of(shards: Range, batch: Batch | None) -> np.ndarray:
            share = sum(weights[slice(*shards)]) / whole if whole else 0.0
            self._set_dropouts(rows, starts[shards[0]])
            return self._part(batch, share)

        def found(node: Range) -> np.ndarray | None:
            return part_of(node, prepared[node[0] - first]) if node[1] - node[0] == 1 else None

        if self.exact:
            own = nodes(self._own, (0, self.shards.count))
            total = self.ranks.exact_sum(self.shards, [tree_sum(node, found) for node in own])
        else:
            total = self.ranks.sum(part_of((first, last), _joined(prepared)))
        self._set_dropouts(rows, starts[-1])
        return self._take(total), whole

    def _weights(self, step: int, parts: list[Batch | None]) -> list[float]:
        """Return the weight of every shard in a step; ranks tell each other only where rows have weights."""
        if not self.rows.weighted:
            return [float(self.shards.rows_of(shard, step)) for shard in range(self.shards.count)]
        own = [0.0 if part is None else total_weight(len(part.inputs), part.weight) for part in parts]
        return list(itertools.chain(*self.ranks.collect(own)))

    def _part(self, batch: Batch | None, share: float) -> np.ndarray:
        """Return gradients and loss of some rows, times their share of the batch; and whether to stop."""
        grads = self.network.grads
        vector = np.zeros(sum(grad.size for grad in grads.values()) + 2, self.network.dtype)
        vector[-1] = self.signals.caught > 0
        if batch is not None and share:
            vector[-2] = self._fill_one(batch) * share
            get = self.network.device.get
            for target, grad in zip(self._split(vector), grads.values()):
                np.multiply(get(grad), share, out=target)
        return vector

    def _take(self, total: np.ndarray) -> float:
        """Fill the network's gradients from the sum; return the loss."""
        loss, stop = total[-2:].tolist()
        self._stop = stop > 0
        put = self.network.device.put
        for values, grad in zip(self._split(total), self.network.grads.values()):
            grad[...] = put(values)
        return loss

    def _split(self, vector: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the part of each gradient, in its shape."""
        start = 0
        for grad in self.network.grads.values():
            yield vector[start : start + grad.size].reshape(grad.shape)
            start += grad.size

    def _set_dropouts(self, rows: list[int], more: int) -> None:
        for layer, row in zip(self._dropouts, rows):
            layer.row = (row + more) % LEVELS


def _joined(parts: list[Batch | None]) -> Batch | None:
    """Return the rows of several shards as one batch, None if there are none."""
    some = [part for part in parts if part is not None]
    if len(some) < 2:
        return some[0] if some else None
    inputs, targets, weights = zip(*some)
    weight = None if weights[0] is None else np.concatenate(weights)
    return Batch(np.concatenate(inputs), np.concatenate(targets), weight)
