"""The processes of an MPI run: what they tell each other, and how they end together."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from minihash.kernels import threads
from minihash.machine import cores, launched
from minihash.training.ranks import Ranks
from minihash.training.shards import Shards, nodes, tree_sum

GRACE = 10.0  # seconds for the other ranks to fail as well, before one that failed alone stops them


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

    def collect(self, value: Any) -> list[Any]:
        return self._comm.allgather(value)

    def gather(self, value: Any) -> list[Any]:
        return self._comm.gather(value) or []

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
        own = cores()
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
