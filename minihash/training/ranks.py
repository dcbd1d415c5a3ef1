"""Ranks: the processes that train one network together. Here is the one that trains alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any


class Ranks:
    """One process, alone; `mpi.MpiRanks` has the same methods for several.

    All ranks call the same methods in the same order, `first`, `share`, `collect`, `gather` and `any` are
    for all of them to call. What is written or printed, the first does.

    rank, size : which process this is, from 0, of how many.
    """

    rank, size = 0, 1

    @property
    def is_first(self) -> bool:
        """Tell whether this is the process that writes and prints."""
        return self.rank == 0

    def first(self, work: Callable[[], Any]) -> Any:
        """Let the first do some work; return on all what it returned, or raise what it raised."""
        return work()

    def share(self, value: Any) -> Any:
        """Return the first's value on all."""
        return self.first(lambda: value)

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order, on all."""
        return [value]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order, on the first; an empty list on the others."""
        return [value]

    def any(self, flag: bool) -> bool:
        """Tell all whether it is so on any."""
        return any(self.collect(flag))

    def together(self) -> AbstractContextManager[None]:
        """Stop all ranks when an error stops one of them alone: the others would wait for it for ever."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def cores(self, exact: bool) -> Iterator[None]:
        """Take this rank's share of its machine's cores; `exact`, where no bit may depend on it."""
        yield


ALONE = Ranks()
