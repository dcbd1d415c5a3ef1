"""Search: how a network is best trained, by Bayesian optimisation (Optuna, extra `search`).

Every method gets the same budget, `trials` choices of settings of `epochs` epochs at most. A trial trains on
80 % of the rows that are not test rows, and the rest of them say how good it was: the test set is not read.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from minihash import checks, metrics
from minihash.datasets import Dataset
from minihash.datasets.dataset import Part
from minihash.experiments import methods
from minihash.experiments.grids import ROWS, Cell
from minihash.experiments.runs import build, sizes_of, teacher_cell, teacher_of, train, validation_split
from minihash.experiments.settings import Settings, settings_of
from minihash.experiments.studies import STEPS, Range, ask, complete, ended, forget, open_study, tell
from minihash.network import Network
from minihash.training import Callback, History, evaluate

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial

SCORE = "error"  # of `evaluate`: what trials are compared by
SPACE: dict[str, Range] = {
    "learning_rate": Range(2e-4, 2e-2, log=True),
    "momentum": Range(0.8, 0.98),
    "weight_decay": Range(1e-8, 1e-3, log=True),  # the lowest is as good as none
    "input_dropout": Range(0.0, 0.4),
    "dropout": Range(0.0, 0.6),
}
#: Of the methods with a teacher, besides.
TEACHER_SPACE: dict[str, Range] = {
    "temperature": Range(1.0, 20.0, log=True),
    "teacher_weight": Range(0.1, 1.0),
}


class Trial(NamedTuple):
    """What became of one choice of settings.

    number : how many trials have ended, this one among them.
    settings, names : all of them, and which were searched.
    error : the fraction of wrong validation rows when it ended; infinite if training diverged.
    pruned : stopped early, as worse than half of the trials before it at the same part of their training.
    """

    number: int
    settings: Settings
    names: tuple[str, ...]
    error: float
    pruned: bool


class Found(NamedTuple):
    """The best settings of a search.

    settings : all of them, those that were not searched too.
    names : of those that were.
    error : the fraction of wrong validation rows. The best of many, it is a little too good.
    trials, pruned : how many have ended, and how many of them early.
    """

    settings: Settings
    names: tuple[str, ...]
    error: float
    trials: int
    pruned: int


class Stopped(KeyboardInterrupt):
    """A search was interrupted, which is its cause.

    found : the best of the trials that had ended.
    """

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found


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

    The first trial has the settings of settings.json, the next ones are drawn at random, those after the
    tenth by TPE; trial n of a cell draws from a seed of its own (the cell's and n), so that without a
    journal the same call finds the same. The teacher of a distilled method is trained once, on the 80 %.

    Parameters
    ----------
    cell : what the network is; its seed is the search's too.
    dataset : `validation_split` says which rows are trained on. Its test rows are not touched.
    trials : how many in all. A journal's are counted: of 60 a search killed after 20 does 40 more. One that
        was killed or interrupted itself is not counted. Each further process on one journal may end the last
        trial it has begun beyond this number.
    epochs : of a trial, or the fewest and the most of them, to search this too; by default as settings.json
        says.
    sizes : units of the full network, instead of the cell's.
    journal : a file to keep trials in as they end. The same search goes on from there, several processes may
        share it, and so may different searches: each cell, size, number of epochs and data set has its own
        trials. Teachers are kept in a folder beside it.
    minutes : begin no trial after so many, those of the first excepted.
    report : called with each trial when it has ended.

    Raises
    ------
    ImportError without Optuna. ValueError for a wrong argument or a damaged journal; ArithmeticError if no
    trial was trained to its end; OSError if the journal cannot be written; `Stopped` after Ctrl-C, with the
    best of the trials so far, if one was trained to its end.

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NIPS 2011 (TPE). The paper tunes by
    Bayesian optimisation on 20 % of the training rows, too (section 6).
    """
    trials = checks.integer("trials", trials, 1, 2**31)
    fewest, most = _epochs(cell, epochs)
    start, space = settings_of(cell).with_epochs(most), space_of(cell, fewest, most)
    rows, sizes = split(dataset), list(sizes or sizes_of(cell, dataset))
    crc = _crc(rows)
    name = json.dumps([*cell.as_dict().values(), sizes, fewest, most, crc], allow_nan=False)
    study = open_study(name, journal, larger_is_better=metrics.larger_is_better(SCORE))
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    teacher = None
    try:
        if ROWS[cell.row].method in methods.DISTILLED and len(ended(study)) < trials:
            folder = None if journal is None else f"{os.fspath(journal)}.teachers-{crc}"
            teacher = _teacher(cell, rows, sizes, most, folder)
        while len(ended(study)) < trials and (time.monotonic() < end or not ended(study)):
            trial = ask(study, space, start.as_dict(), cell.seed)
            report(_try(study, trial, _settings(trial.params, start), cell, rows, sizes, teacher))
    except KeyboardInterrupt as stop:
        if complete(study):
            raise Stopped(_best(study, start)) from stop
        raise
    return _best(study, start)


def space_of(cell: Cell, fewest: int, most: int) -> dict[str, Range]:
    """Return what is searched for a cell, with as many epochs as said."""
    distilled = ROWS[cell.row].method in methods.DISTILLED
    epochs = {"epochs": Range(fewest, most)} if fewest < most else {}
    return SPACE | (TEACHER_SPACE if distilled else {}) | epochs


def split(dataset: Dataset) -> Dataset:
    """Return a data set of the rows that are not test rows: 80 % to train on, 20 % to choose by.

    Raises
    ------
    ValueError if they are too few.
    """
    training, validation = validation_split(dataset)
    if not len(validation[0]):
        found = f"{dataset.name} has {len(training[0])} rows that are not test rows"
        raise ValueError(f"{found}, wanted at least 3")
    return replace(dataset, train=training, validation=validation, test=_none(training))


def _none(part: Any) -> Any:
    return part[0][:0], part[1][:0]


class Watch(Callback):
    """Tells a study the validation error after each tenth of a trial, and stops what its pruner gives up.

    After training `error` is the last one, and `pruned` says whether it was stopped.
    """

    def __init__(self, trial: OptunaTrial, validation: Part, epochs: int) -> None:
        self.trial, self.validation, self.epochs = trial, validation, epochs
        self.error, self.pruned = math.inf, False

    def on_epoch_end(self, network: Network, history: History) -> bool:
        epoch = len(history)
        step = STEPS * epoch // self.epochs
        if step > STEPS * (epoch - 1) // self.epochs:
            self.error = evaluate(network, self.validation)[SCORE]
            self.trial.report(self.error, step)
            self.pruned = epoch < self.epochs and self.trial.should_prune()
        return self.pruned


def _try(
    study: Study,
    trial: OptunaTrial,
    settings: Settings,
    cell: Cell,
    rows: Dataset,
    sizes: list[int],
    teacher: Network | None,
) -> Trial:
    """Train, and tell the study how it went."""
    watch = Watch(trial, rows.validation, settings.epochs)
    try:
        network, _ = build(cell, settings, rows, sizes)
        train(network, rows.train, settings, cell.seed, teacher, callbacks=(watch,))
    except FloatingPointError:  # diverged: a bad choice, and not the end of the search
        watch.error, watch.pruned = math.inf, True
    except BaseException:
        forget(study, trial)
        raise
    tell(study, trial, None if watch.pruned else watch.error)
    return Trial(len(ended(study)), settings, tuple(trial.params), watch.error, watch.pruned)


def _epochs(cell: Cell, epochs: int | tuple[int, int] | None) -> tuple[int, int]:
    if epochs is None:
        epochs = settings_of(cell).epochs
    fewest, most = epochs if isinstance(epochs, tuple) else (epochs, epochs)
    most = checks.integer("epochs", most, 1, 2**31)
    return checks.integer("epochs", fewest, 1, most + 1), most


def _teacher(cell: Cell, rows: Dataset, sizes: list[int], epochs: int, folder: str | None) -> Network:
    """Return the teacher, which must not know the validation rows either."""
    seen = replace(rows, validation=_none(rows.train))
    settings = settings_of(teacher_cell(cell)).with_epochs(epochs)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary if folder is None else f"{folder}-{'-'.join(map(str, sizes))}")
        return teacher_of(cell, settings, seen, place, sizes)


def _settings(params: dict[str, Any], start: Settings) -> Settings:
    """Return the settings of a trial, rounded to what one would write down: three digits."""
    values = {name: value if name == "epochs" else float(f"{value:.3g}") for name, value in params.items()}
    return Settings(**{**start.as_dict(), **values})


def _best(study: Study, start: Settings) -> Found:
    every, best = ended(study), complete(study)
    if not best:
        raise ArithmeticError(f"none of {len(every)} trials was trained to its end: training diverged")
    settings = _settings(best[0].params, start)
    return Found(settings, tuple(best[0].params), best[0].values[0], len(every), len(every) - len(best))


def _crc(rows: Dataset) -> str:
    """Return a number that other data would most likely not have."""
    crc = 0
    for array in (*rows.train, *rows.validation):
        crc = zlib.crc32(array.tobytes(), crc)
    return f"{crc:08x}"
