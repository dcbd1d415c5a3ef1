"""Threads over panels: how many, one pool, and BLAS held to one thread while they run.

Python threads that call `nogil` kernels and a single-threaded BLAS share the cores without fighting;
a threaded BLAS beside them is many times slower, because each pool's workers spin on the other's
cores (docs/decisions.md).
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from minihash import checks
from minihash.machine import cores

MAX_THREADS = 1024

_num_threads: int | None = None


def num_threads() -> int:
    """Return the number of threads of a layer: as set, else MINIHASH_NUM_THREADS, else one per core.

    NUMBA_NUM_THREADS and OMP_NUM_THREADS, by which others share out the cores, limit the last.
    """
    if _num_threads is not None:
        return _num_threads
    return _default_num_threads(os.environ.get("MINIHASH_NUM_THREADS", ""))


def set_num_threads(count: int | None) -> None:
    """Set the number of threads of a layer for this process; None returns to the default.

    The results do not depend on it, to the last bit.
    """
    global _num_threads
    _num_threads = None if count is None else checks.integer("count", count, 1, MAX_THREADS + 1)


@contextlib.contextmanager
def shared(processes: int) -> Iterator[None]:
    """Hold this process, BLAS among it, to its share of the cores; numbers of threads that were set stay."""
    global _num_threads
    before = _num_threads
    if before is None and not os.environ.get("MINIHASH_NUM_THREADS"):
        _num_threads = max(1, min(num_threads(), len(cores()) // processes))
    blas = ThreadpoolController().select(user_api="blas")
    least = min([num_threads(), *(library.num_threads for library in blas.lib_controllers)])
    try:
        with blas.limit(limits=least):
            yield
    finally:
        _num_threads = before


@functools.cache
def _default_num_threads(setting: str) -> int:
    if setting:
        value: Any = int(setting) if setting.isdecimal() else setting
        return checks.integer("MINIHASH_NUM_THREADS", value, 1, MAX_THREADS + 1)
    return min([len(cores()), *filter(None, map(_limit, ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")))])


def _limit(name: str) -> int | None:
    """Return the number, or the first of a list, that a variable of another library sets, if any."""
    first = os.environ.get(name, "").partition(",")[0].strip()
    return int(first) or None if first.isdecimal() else None


class _SingleThreadedBlas:
    """Hold BLAS to one thread while anyone is inside.

    The limit belongs to the process, so entries are counted: the first sets it, the last restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._libraries: list[Any] = []
        self._before: dict[str, int] = {}  # threads of those that are limited now
        self.complete = False  # whether all libraries are known

    def __enter__(self) -> None:
        with self._lock:
            if not self.complete:  # searching what is loaded takes a millisecond: once
                self.complete = True
                self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            for library in self._libraries:
                if library.filepath not in self._before and library.num_threads != 1:
                    self._before[library.filepath] = library.num_threads
                    _set(library, 1)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._restore()

    def _restore(self) -> None:
        for library in self._libraries:
            if library.filepath in self._before:
                _set(library, self._before.pop(library.filepath))

    def restore_after_fork(self) -> None:
        """Undo a limit that the parent held when it forked: whoever held it is not in the child."""
        if self._inside:
            self._restore()


def _set(library: Any, count: int) -> None:
    # threadpoolctl from 3.7 on lets only the thread that set a limit change it and ignores all others, but
    # who comes first here need not be who leaves last.
    clear = getattr(library, "clear_controlling_thread", lambda force: None)
    clear(force=True)
    library.set_num_threads(count)
    clear(force=True)


_single_threaded_blas = _SingleThreadedBlas()
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            # Its threads start only when there is work for one more.
            _pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="minihash")
        return _pool


def _after_fork() -> None:
    """A forked child has none of the parent's threads, and may have its locks held: start afresh."""
    global _pool, _pool_lock, _single_threaded_blas
    _single_threaded_blas.restore_after_fork()
    _pool, _pool_lock = None, threading.Lock()
    _single_threaded_blas = _SingleThreadedBlas()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def single_threaded_blas() -> AbstractContextManager[None]:
    """Hold BLAS to one thread in a `with` block of many short `run`s: each would take 75 µs for that."""
    return _single_threaded_blas


def blas_loaded() -> None:
    """Say that another BLAS has been loaded: whoever enters next finds it."""
    _single_threaded_blas.complete = False


def run(tasks: Iterable[Callable[[], None]]) -> None:
    """Run independent tasks on `num_threads()` threads, the calling one among them.

    A single task runs in the calling thread, and all do where no other can be started. BLAS has one thread
    inside, even then: its bits do not depend on what else runs. An exception of a task is raised here after
    all threads have stopped.
    """
    queue = collections.deque(tasks)  # its popleft and clear are atomic
    helpers: list[Future] = []
    with _single_threaded_blas:
        try:
            for _ in range(min(num_threads(), len(queue)) - 1):
                helper = _start(queue)
                if helper is None:
                    break
                helpers.append(helper)
            _drain(queue, np.geterr())
        except BaseException:
            queue.clear()
            raise
        finally:
            errors = [helper.exception() for helper in helpers]
    for error in errors:
        if error is not None:
            raise error


def _start(queue: collections.deque[Callable[[], None]]) -> Future | None:
    """Let another thread of the pool help; None where none can be started.

    The pool keeps what it has no thread for, and one that is busy now may come to it when the queue is no
    longer ours. So that is cancelled, and the pool given up.
    """
    global _pool
    pool, helper = _workers(), Future[None]()
    try:
        pool.submit(_help, helper, queue, np.geterr())
    except RuntimeError:
        with _pool_lock:
            _pool = None if _pool is pool else _pool
        pool.shutdown(wait=False)
        return None if helper.cancel() else helper
    return helper


def _help(helper: Future, queue: collections.deque[Callable[[], None]], errstate: Any) -> None:
    """Run tasks, unless the one who wanted help has done without."""
    if helper.set_running_or_notify_cancel():
        try:
            _drain(queue, errstate)
        except BaseException as error:  # raised where the tasks come from
            helper.set_exception(error)
        else:
            helper.set_result(None)


def _drain(queue: collections.deque[Callable[[], None]], errstate: Any) -> None:
    """Run tasks until none is left, or one fails: then nobody starts another."""
    with np.errstate(**errstate):  # of the calling thread: NumPy keeps one per thread
        while True:
            try:
                task = queue.popleft()
            except IndexError:
                return
            try:
                task()
            except BaseException:
                queue.clear()
                raise
