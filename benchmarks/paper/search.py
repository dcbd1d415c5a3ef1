"""The search of a cell's settings: the same budget for every method."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.paper import methods
from benchmarks.paper.grids import ROWS, Cell
from benchmarks.paper.runs import build, sizes_of, teacher_cell, teacher_of, train
from benchmarks.paper.settings import Settings, settings_of
from minihash import search as searching
from minihash.datasets import Dataset
from minihash.network import Network
from minihash.search import SPACE, Found, Trial, Watch, checksum, epochs_of, split
from minihash.studies import Range

#: Of the methods with a teacher, besides.
TEACHER_SPACE: dict[str, Range] = {
    "temperature": Range(1.0, 20.0, log=True),
    "teacher_weight": Range(0.1, 1.0),
}


def search(
    cell: Cell,
    dataset: Dataset,
    *,
    trials: int = 60,
    epochs: int | tuple[int, int] | None = None,
    sizes: Sequence[int] | None = None,
    journal: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    report: Callable[[Trial], Any] = lambda trial: None,
) -> Found:
    """Search the settings with which the network of a cell errs least on validation rows.

    The teacher of a distilled method is trained once, on the rows that trials train on.

    Parameters
    ----------
    cell : what the network is; its seed is the search's too.
    dataset : `minihash.search.split` says which rows are trained on. Its test rows are not touched.
    epochs : of a trial, or the fewest and the most of them, to search this too; by default as settings.json
        says, as the first trial's settings are.
    sizes : units of the full network, instead of the cell's.
    trials, journal, minutes, report : as in `minihash.search.search`. Teachers are kept beside the journal.

    Raises
    ------
    As `minihash.search.search`.
    """
    most, epochs_space = epochs_of(epochs, settings_of(cell).epochs)
    fewest = int(epochs_space["epochs"].low) if epochs_space else most
    rows, sizes = split(dataset), list(sizes or sizes_of(cell, dataset))
    crc = checksum((rows.train, rows.validation))
    distilled = ROWS[cell.row].method in methods.DISTILLED
    teacher: Network | None = None

    def attempt(settings: Settings, watch: Watch) -> None:
        nonlocal teacher
        if distilled and teacher is None:  # at the first trial: a search that is finished needs none
            folder = None if journal is None else f"{os.fspath(journal)}.teachers-{crc}"
            teacher = _teacher(cell, rows, sizes, most, folder)
        network, _ = build(cell, settings, rows, sizes)
        train(network, rows.train, settings, cell.seed, teacher, callbacks=(watch,))

    return searching.search(
        attempt,
        rows.validation,
        settings_of(cell).with_epochs(most),
        SPACE | (TEACHER_SPACE if distilled else {}) | epochs_space,
        name=json.dumps([*cell.as_dict().values(), sizes, fewest, most, crc], allow_nan=False),
        trials=trials,
        seed=cell.seed,
        journal=journal,
        minutes=minutes,
        report=report,
    )


def _teacher(cell: Cell, rows: Dataset, sizes: list[int], epochs: int, folder: str | None) -> Network:
    """Return the teacher, which must not know the validation rows either."""
    seen = replace(rows, validation=rows.test)  # none
    settings = settings_of(teacher_cell(cell)).with_epochs(epochs)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary if folder is None else f"{folder}-{'-'.join(map(str, sizes))}")
        return teacher_of(cell, settings, seen, place, sizes)
