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
import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from minihash import checks
from minihash.datasets.rows import Batch, total_weight
from minihash.kernels import threads
from minihash.kernels.devices import CPU
from minihash.layers.dropout import LEVELS, Dropout
from minihash.machine import launched
from minihash.network import Network
from minihash.sources import Source
from minihash.training.checkpoint import Checkpoint
from minihash.training.gradients import Gradients
from minihash.training.ranks import ALONE, Ranks
from minihash.training.shards import Range, Shards, nodes, tree_sum

Folder = str | os.PathLike[str]
MODES = ("exact", "fast")
GRACE = 10.0  # seconds for the other ranks to fail as well, before one that failed alone stops them
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


@functools.cache
def world() -> MpiRanks:
    """Return the processes that mpiexec has started.

    Raises
    ------
    ImportError with the cure if mpi4py or an MPI library is missing, or mpiexec is that of another.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = f"distributed training needs mpi4py and an MPI library ({error})"
        raise ImportError(f"{reason}: pip install mpi4py mpich") from None
    found = MpiRanks(MPI)
    _, started = launched()
    if started > found.size:
        library = MPI.Get_library_version().split("\n")[0].strip()
        reason = f"mpiexec has started {started} processes, and mpi4py sees {found.size}"
        raise ImportError(f"{reason}: wanted the mpiexec of its MPI library, {library}")
    if found.size > 1:
        sys.excepthook = functools.partial(found.end_by_error, sys.excepthook)
    return found


class MpiRanks(Ranks):
    """The processes of an MPI run.

    received : bytes that arrived in exact sums so far, as counted by MPI.
    """

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._comm = mpi.COMM_WORLD.Dup()
        self._failures = mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        self.received = 0
        self._inside = 0  # of `together`

    def first(self, work: Callable[[], Any]) -> Any:
        value, error = None, None
        if self.is_first:
            try:
                value = work()
            except Exception as problem:  # it is all ranks' then
                error = problem
        value, error = self._comm.bcast((value, error))
        if error is not None:
            raise error
        return value

    def share(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def collect(self, value: Any) -> list[Any]:
        return self._comm.allgather(value)

    def gather(self, value: Any) -> list[Any]:
        return self._comm.gather(value) or []

    def any(self, flag: bool) -> bool:
        return self._comm.allreduce(bool(flag), self._mpi.LOR)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        self._inside += 1
        try:
            yield
        except BaseException as error:
            if self._inside == 1 and not self._all_fail():
                self._stop_all(error)
            raise
        finally:
            self._inside -= 1

    def _all_fail(self) -> bool:
        """Tell whether every rank comes here within a while."""
        request, until = self._failures.Ibarrier(), time.monotonic() + GRACE
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _stop_all(self, error: BaseException) -> None:
        text, known = " ".join(str(error).split()), isinstance(error, (ValueError, OSError, ArithmeticError))
        reason = text if known and text else f"{type(error).__name__}: {text}"
        message = f"minihash: error: rank {self.rank} of {self.size}: {reason}: all ranks are stopped\n"
        os.write(2, message.encode())  # whatever sys.stderr is: the command line silences all but the first
        self._comm.Abort(1)

    def end_by_error(self, before: Callable[..., Any], kind: type, error: BaseException, trace: Any) -> None:
        """Say what ended a program, as `before` does, and end the others too unless it ended them as well."""
        before(kind, error, trace)
        if not self._all_fail():
            self._comm.Abort(1)

    @contextlib.contextmanager
    def cores(self, exact: bool) -> Iterator[None]:
        local = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        own = threads.cores()
        neighbours = sum(bool(own & other) for other in local.allgather(own))  # some may be bound to others
        local.Free()
        # The bits of BLAS may depend on its threads.
        with threads.shared(neighbours), threads.single_threaded_blas() if exact else nullcontext():
            yield

    def sum(self, buffer: np.ndarray) -> np.ndarray:
        """Return the sum of the buffers of all ranks, in an order of MPI's."""
        self._comm.Allreduce(self._mpi.IN_PLACE, buffer)
        return buffer

    def exact_sum(self, shards: Shards, buffers: list[np.ndarray]) -> np.ndarray:
        """Return the sum of all shards, in the order of their tree.

        Each rank sums a slice of the vector, and gives the result to the others.

        Parameters
        ----------
        shards : of which each rank has its own.
        buffers : the sums of this rank's nodes, as `nodes` lists them.
        """
        whole = 0, shards.count
        of_ranks = [nodes(shards.of_rank(rank, self.size), whole) for rank in range(self.size)]
        slices = [buffers[0].size * rank // self.size for rank in range(self.size + 1)]
        own = slices[self.rank + 1] - slices[self.rank]
        stacked = np.stack(buffers)
        sent = [np.ascontiguousarray(stacked[:, a:b]) for a, b in itertools.pairwise(slices)]
        found = self._exchange(sent, [np.empty((len(each), own), stacked.dtype) for each in of_ranks])
        table = dict(zip(sum(of_ranks, []), itertools.chain(*found)))
        total = np.ascontiguousarray(tree_sum(whole, table.get))
        result = np.empty_like(buffers[0])
        self._exchange([total] * self.size, [result[a:b] for a, b in itertools.pairwise(slices)])
        return result

    def _exchange(self, sent: list[np.ndarray], found: list[np.ndarray]) -> list[np.ndarray]:
        """Send an array to every rank, and fill those that they send."""
        found[self.rank][...] = sent[self.rank]
        status = self._mpi.Status()
        for distance in range(1, self.size):
            to, source = (self.rank + distance) % self.size, (self.rank - distance) % self.size
            self._comm.Sendrecv(sent[to], to, recvbuf=found[source], source=source, status=status)
            self.received += status.Get_count(self._mpi.BYTE)
        return found


class ShardedGradients(Gradients):
    """The gradients of a batch of which every rank has some shards.

    Parameters
    ----------
    network, rows, loss, batch_size : as in `Gradients`; the same on all ranks.
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
        *,
        ranks: MpiRanks,
        mode: str,
        shards: int,
    ) -> None:
        super().__init__(network, rows, loss, batch_size)
        if shards < ranks.size:
            raise ValueError(f"shards is {shards}, wanted {ranks.size} at least, the number of ranks")
        if batch_size < shards:
            raise ValueError(f"batch_size is {batch_size}, wanted {shards} at least, the number of shards")
        self.ranks, self._mode, self.exact = ranks, mode, mode == "exact"
        if self.exact and network.device is not CPU and not getattr(network.device, "deterministic", False):
            raise ValueError(f"network is on {network.device}, wanted it deterministic for exact mode")
        self.shards = Shards(shards, len(rows.rows), batch_size)
        self._own = self.shards.of_rank(ranks.rank, ranks.size)
        self._dropouts = [layer for layer in network.layers if isinstance(layer, Dropout)]
        self._stop = False

    @property
    def setting(self) -> Any:
        return [self._mode, self.shards.count]

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
        rows = [layer.row for layer in self._dropouts]

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
        vector[-1] = self.caught()
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
