"""Runs a grid: cell after cell into a ledger, so that a killed run goes on where it was."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.ledger import Ledger, Record
from benchmarks.locks import Claims
from benchmarks.machine import machine
from benchmarks.paper import data, methods
from benchmarks.paper.grids import FIELDS, ROWS, Cell
from benchmarks.paper.runs import run, teacher_cell, teacher_of
from benchmarks.paper.settings import Settings, settings_of
from minihash.datasets import Dataset
from minihash.kernels import threads
from minihash.terminal import end_in_order

LEDGER = "ledger.jsonl"
CLAIMS = "ledger.lock"
TEACHERS = "teachers"
#: What a record is the result of: with other settings, another teacher or other data it is another result.
KEY = (*FIELDS, "settings", "teacher", "origin")


def ledger_of(folder: str | os.PathLike[str]) -> Ledger:
    """Return the ledger of a folder of results."""
    return Ledger(Path(folder, LEDGER), KEY)


def plan(cells: Iterable[Cell], epochs: int | None = None, data_dir: str | None = None) -> list[Record]:
    """Return the cells, each once, as records without results: with settings, teacher's settings and data.

    Parameters
    ----------
    cells : to train.
    epochs : instead of those of the settings, teachers included.
    data_dir : as in `data.load`. Every data set is loaded (or made), so that a missing one is found now.

    Raises
    ------
    ValueError, OSError, ImportError : as `data.load` does.
    """
    known: dict[str, Record] = {}
    records = []
    for cell in dict.fromkeys(cells):
        if cell.dataset not in known:
            dataset = data.load(cell.dataset, data_dir)
            known[cell.dataset] = {"origin": dataset.origin, "test_rows": len(dataset.test[1])}
        teacher = None
        if ROWS[cell.row].method in methods.DISTILLED:
            teacher = settings_of(teacher_cell(cell)).with_epochs(epochs).as_dict()
        settings = settings_of(cell).with_epochs(epochs).as_dict()
        records.append({**cell.as_dict(), "settings": settings, "teacher": teacher, **known[cell.dataset]})
    return records


def reproduce(
    planned: Sequence[Record],
    folder: str | os.PathLike[str],
    *,
    budget_minutes: float | None = None,
    jobs: int = 1,
    data_dir: str | None = None,
    report: Callable[[Record], Any] = lambda record: None,
) -> int:
    """Train what the ledger of a folder lacks of a plan; return how many are still missing.

    Any number of processes, on any machines that see the folder, may do so at once: each cell is trained by
    one of them, and when that one is killed, by another. What others are training at the end is missing.

    Parameters
    ----------
    planned : what `plan` returns, in the order to train in.
    folder : for the ledger and the teachers; made if it is not there.
    budget_minutes : begin no cell after so many minutes.
    jobs : processes, each with its share of the cores.
    data_dir : as in `plan`.
    report : called with each record when it is in the ledger.

    Raises
    ------
    ValueError for a damaged ledger; OSError if a file cannot be written, ChildProcessError if a process was
    killed.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    ledger = ledger_of(folder)
    todo = ledger.missing(planned)
    task = functools.partial(_do, Path(folder), data_dir)
    with Claims(Path(folder, CLAIMS)) as claims:
        # Twice: at the end, those that another process had and has lost by its death.
        free = _free(_within([*todo, *todo], budget_minutes), ledger, claims)
        for record in _map(task, free, jobs):
            ledger.append(record)
            claims.release(ledger.identity(record))
            report(record)
    return len(ledger.missing(planned))


def _free(todo: Iterable[Record], ledger: Ledger, claims: Claims) -> Iterator[Record]:
    """Yield the cells, claimed, that no other process has or has trained by now."""
    for record in todo:
        name = ledger.identity(record)
        if claims.take(name):
            if ledger.missing([record]):
                yield record
            else:
                claims.release(name)


def _within(todo: Iterable[Record], budget_minutes: float | None) -> Iterator[Record]:
    """Yield cells until the time is over."""
    start = time.monotonic()
    for record in todo:
        if budget_minutes is not None and time.monotonic() - start > 60 * budget_minutes:
            return
        yield record


def _map(task: Callable[[Record], Record], todo: Iterator[Record], jobs: int) -> Iterator[Record]:
    """Yield the records as they become known; a cell is drawn when a process is free for it."""
    if jobs == 1 or not can_start():  # a pool of processes takes threads, and would hang without
        yield from map(task, todo)
        return
    share = max(1, threads.num_threads() // jobs)
    # Spawned: a fork would copy locks that the parent's threads hold.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, context, _take_share, (share,)) as pool:
        running: set[Any] = set()
        try:
            while True:
                while len(running) < jobs and (record := next(todo, None)) is not None:
                    running.add(pool.submit(task, record))
                if not running:
                    return
                done, running = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise ChildProcessError("a process was killed (for its memory?): call again to go on") from None
        except BaseException:
            for child in multiprocessing.active_children():  # else they would be waited for
                child.terminate()
            raise


def can_start() -> bool:
    """Tell whether this process can start a thread: there may be a limit to how many it may have."""
    thread = threading.Thread(target=int)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def _take_share(share: int) -> None:
    """Hold a process to its share of the cores: hashed layers, and BLAS for the others."""
    end_in_order()
    threads.set_num_threads(share)
    threadpool_limits(share)


def _do(folder: Path, data_dir: str | None, planned: Record) -> Record:
    """Train one cell of a plan, as the plan says, whatever the settings are by now."""
    cell = Cell(**{name: planned[name] for name in FIELDS})
    dataset = _load(cell.dataset, data_dir)
    teacher = None
    if planned["teacher"] is not None:
        teacher = teacher_of(cell, Settings(**planned["teacher"]), dataset, folder / TEACHERS)
    found = run(cell, Settings(**planned["settings"]), dataset, teacher)
    return {**planned, **found, "machine": machine()}


@functools.lru_cache(maxsize=1)
def _load(name: str, data_dir: str | None) -> Dataset:
    return data.load(name, data_dir)
