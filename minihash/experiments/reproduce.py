"""Runs a grid: cell after cell into a ledger, so that a killed run goes on where it was."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minihash import datasets
from minihash.experiments import methods
from minihash.experiments.grids import ROWS, Cell
from minihash.experiments.ledger import Ledger, Record
from minihash.experiments.runs import run, teacher_cell, teacher_of
from minihash.experiments.settings import settings_of
from minihash.kernels import threads
from minihash.machine import machine

LEDGER = "ledger.jsonl"
TEACHERS = "teachers"
#: What a record is the result of: another choice of settings is another result.
KEY = ("dataset", "layers", "row", "compression", "expansion", "seed", "settings")
CELLS_A_PROCESS = 16  # then a fresh one: whatever grows in it goes


def ledger_of(folder: str | os.PathLike[str]) -> Ledger:
    """Return the ledger of a folder of results."""
    return Ledger(Path(folder, LEDGER), KEY)


def wanted(cells: Iterable[Cell], epochs: int | None = None) -> list[Record]:
    """Return the cells as records without results, with their settings; in so many epochs, if given."""
    return [
        {**cell.as_dict(), "settings": settings_of(cell).with_epochs(epochs).as_dict()} for cell in cells
    ]


def reproduce(
    cells: Sequence[Cell],
    folder: str | os.PathLike[str],
    *,
    epochs: int | None = None,
    budget_minutes: float | None = None,
    jobs: int = 1,
    data_dir: str | None = None,
    report: Callable[[Record], Any] = lambda record: None,
) -> int:
    """Train what the ledger of a folder lacks of some cells; return how many are still missing.

    Parameters
    ----------
    cells : what to train, in this order.
    folder : for the ledger and the teachers; made if it is not there.
    epochs : instead of those of the settings, teachers included.
    budget_minutes : begin no cell after so many minutes.
    jobs : processes, each with its share of the cores.
    data_dir : as in `datasets.load`.
    report : called with each record when it is in the ledger.

    Raises
    ------
    ValueError, OSError : as `datasets.load` does, or for a damaged ledger.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    ledger = ledger_of(folder)
    todo = ledger.missing(wanted(cells, epochs))
    end = None if budget_minutes is None else time.monotonic() + 60 * budget_minutes
    task = _Task(Path(folder), epochs, data_dir, jobs)
    found, where = 0, machine()
    for record in _map(task, todo, jobs, end):
        record["machine"] = where
        ledger.append(record)
        report(record)
        found += 1
    return len(todo) - found


def _map(task: _Task, todo: list[Record], jobs: int, end: float | None) -> Iterator[Record]:
    """Yield the records as they become known; begin nothing after `end`, by the monotonic clock."""

    def begun() -> Iterator[Record]:
        for cell in todo:
            if end is not None and time.monotonic() > end:
                return
            yield cell

    if jobs == 1:
        yield from map(task, begun())
        return
    # Spawned: a fork would copy the parent's threads' locks. A process asks for a cell when it is free.
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=CELLS_A_PROCESS) as pool:
        waiting: list[Any] = []
        for cell in begun():
            waiting.append(pool.apply_async(task, (cell,)))
            while len(waiting) >= jobs:
                yield from _take(waiting)
        while waiting:
            yield from _take(waiting)
        pool.close()  # and not terminated, which leaves semaphores behind
        pool.join()


def _take(waiting: list[Any]) -> Iterator[Record]:
    """Yield what is ready, and wait a little for it."""
    waiting[0].wait(0.2)
    for result in [result for result in waiting if result.ready()]:
        waiting.remove(result)
        yield result.get()


class _Task:
    """What a process does with a cell."""

    def __init__(self, folder: Path, epochs: int | None, data_dir: str | None, jobs: int) -> None:
        self.folder, self.epochs, self.data_dir, self.jobs = folder, epochs, data_dir, jobs

    def __call__(self, record: Record) -> Record:
        if self.jobs > 1:
            threads.set_num_threads(max(1, (os.cpu_count() or 1) // self.jobs))
        cell = Cell(**{name: record[name] for name in KEY if name != "settings"})
        settings = settings_of(cell).with_epochs(self.epochs)
        dataset = datasets.load(cell.dataset, self.data_dir)
        teacher = None
        if ROWS[cell.row].method in methods.DISTILLED:
            of_teacher = settings_of(teacher_cell(cell)).with_epochs(self.epochs)
            teacher = teacher_of(cell, of_teacher, dataset, self.folder / TEACHERS)
        return run(cell, settings, dataset, teacher)
