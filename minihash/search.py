"""Search: with which settings a network is trained best, by Bayesian optimisation (Optuna, extra `search`).

A trial trains on 80 % of the rows that are not test rows, and the rest of them say how good it was: the test
set is not read.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minihash import checks, metrics, optimizers, schedules
from minihash.datasets.dataset import Dataset, Part
from minihash.network import Network
from minihash.studies import STEPS, Range, ask, complete, ended, forget, open_study, tell
from minihash.training import Callback, History, evaluate, fit

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial

SCORE = "error"  # of `evaluate`: what trials are compared by
SHARE = 0.2  # of the rows that are not test rows, to choose by: the paper's
SPACE: dict[str, Range] = {
    "learning_rate": Range(2e-4, 2e-2, log=True),
    "momentum": Range(0.8, 0.98),
    "weight_decay": Range(1e-8, 1e-3, log=True),  # the lowest is as good as none
    "input_dropout": Range(0.0, 0.4),
    "dropout": Range(0.0, 0.6),
}


@dataclass(frozen=True)
class Settings:
    """Of one training: Adam, one cycle. By default those of `minihash train`.

    Parameters
    ----------
    learning_rate : the peak of a one-cycle schedule.
    momentum : Adam's β₁.
    weight_decay : λ of the L2 penalty.
    input_dropout, dropout : rates of inputs and of hidden units.
    epochs, batch_size : of `fit`.
    """

    learning_rate: float = 0.002
    momentum: float = 0.9
    weight_decay: float = 0.0
    input_dropout: float = 0.1
    dropout: float = 0.25
    epochs: int = 50
    batch_size: int = 128

    as_dict = asdict

    def with_epochs(self, epochs: int | None) -> Any:
        """Return these settings with another number of epochs, unless that is None."""
        return self if epochs is None else replace(self, epochs=epochs)


class Trial(NamedTuple):
    """What became of one choice of settings.

    number : how many trials have ended, this one among them.
    settings, names : all of them, and which were searched.
    error : the fraction of wrong validation rows when it ended; infinite if training diverged.
    pruned : stopped early, as worse than half of the trials before it at the same part of their training.
    """

    number: int
    settings: Any
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

    settings: Any
    names: tuple[str, ...]
    error: float
    trials: int
    pruned: int

    def describe(self) -> dict[str, Any]:
        """Return how the settings were found, as JSON holds it."""
        return {
            "validation_error": round(100 * self.error, 3),
            "trials": self.trials,
            "pruned": self.pruned,
            "epochs": self.settings.epochs,
        }


class Stopped(KeyboardInterrupt):
    """A search was interrupted, which is its cause.

    found : the best of the trials that had ended.
    """

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found


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


def search(
    attempt: Callable[[Any, Watch], Any],
    validation: Part,
    start: Settings,
    space: dict[str, Range],
    *,
    name: str,
    trials: int = 60,
    seed: int = 0,
    journal: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    report: Callable[[Trial], Any] = lambda trial: None,
) -> Found:
    """Search the settings with which networks err least on validation rows.

    The first trial has the settings `start`, the next ones are drawn at random, those after the tenth by TPE;
    trial n draws from a seed of its own (`seed` and n), so that without a journal the same call finds the
    same.

    Parameters
    ----------
    attempt : called with the settings of a trial and a callback: trains a network so, watched by it.
    validation : rows to choose by, as `split` sets them apart.
    start : settings of the first trial, and of all that is not searched.
    space : what is searched; `SPACE`, or parts of it.
    name : of the search, in a journal: other networks, rows or epochs need another.
    trials : how many in all. A journal's are counted: of 60 a search killed after 20 does 40 more. One that
        was killed or interrupted itself is not counted. Each further process on one journal may end the last
        trial it has begun beyond this number.
    journal : a file to keep trials in as they end. The same search goes on from there, several processes may
        share it, and so may searches of different names.
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
    study = open_study(name, journal, larger_is_better=metrics.larger_is_better(SCORE))
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    try:
        while len(ended(study)) < trials and (time.monotonic() < end or not ended(study)):
            trial = ask(study, space, start.as_dict(), seed)
            settings = _settings(trial.params, start)
            report(_try(study, trial, settings, attempt, Watch(trial, validation, settings.epochs)))
    except KeyboardInterrupt as stop:
        if complete(study):
            raise Stopped(_best(study, start)) from stop
        raise
    return _best(study, start)


def _try(
    study: Study, trial: OptunaTrial, settings: Settings, attempt: Callable[[Any, Watch], Any], watch: Watch
) -> Trial:
    """Train, and tell the study how it went."""
    try:
        attempt(settings, watch)
    except FloatingPointError:  # diverged: a bad choice, and not the end of the search
        watch.error, watch.pruned = math.inf, True
    except BaseException:
        forget(study, trial)
        raise
    tell(study, trial, None if watch.pruned else watch.error)
    return Trial(len(ended(study)), settings, tuple(trial.params), watch.error, watch.pruned)


def _settings(params: dict[str, Any], start: Settings) -> Settings:
    """Return the settings of a trial, rounded to what one would write down: three digits."""
    values: dict[str, Any] = {name: float(f"{value:.3g}") for name, value in params.items()}
    if "epochs" in params:
        values["epochs"] = params["epochs"]
    return replace(start, **values)


def _best(study: Study, start: Settings) -> Found:
    every, best = ended(study), complete(study)
    if not best:
        raise ArithmeticError(f"none of {len(every)} trials was trained to its end: training diverged")
    settings = _settings(best[0].params, start)
    return Found(settings, tuple(best[0].params), best[0].values[0], len(every), len(every) - len(best))


def epochs_of(epochs: int | tuple[int, int] | None, default: int) -> tuple[int, dict[str, Range]]:
    """Return the most epochs of a trial, and what is searched of them: nothing if it is one number.

    Raises
    ------
    ValueError if the first is above the second.
    """
    epochs = default if epochs is None else epochs
    fewest, most = epochs if isinstance(epochs, tuple) else (epochs, epochs)
    most = checks.integer("epochs", most, 1, 2**31)
    fewest = checks.integer("epochs", fewest, 1, most + 1)
    return most, {"epochs": Range(fewest, most)} if fewest < most else {}


def split(dataset: Dataset) -> Dataset:
    """Return a data set of the rows that are not test rows: 80 % to train on, 20 % to choose by.

    They are drawn, the same ones every time.

    Raises
    ------
    ValueError if they are too few.
    """
    inputs, labels = dataset.train_and_validation()
    order = np.random.default_rng(0).permutation(len(inputs))
    count = round(SHARE * len(inputs))
    chosen, kept = order[:count], np.sort(order[count:])
    if not count:
        found = f"{dataset.name} has {len(inputs)} rows that are not test rows"
        raise ValueError(f"{found}, wanted at least 3")
    training, validation = (inputs[kept], labels[kept]), (inputs[chosen], labels[chosen])
    return replace(dataset, train=training, validation=validation, test=(inputs[:0], labels[:0]))


def checksum(parts: Iterable[Part]) -> str:
    """Return a number that other rows would most likely not have."""
    crc = 0
    for part in parts:
        for array in part:
            crc = zlib.crc32(array.tobytes(), crc)
    return f"{crc:08x}"


def train(
    network: Network,
    rows: Part,
    settings: Settings,
    seed: int,
    *,
    loss: Any = None,
    callbacks: tuple[Callback, ...] = (),
) -> History:
    """Train a network as the settings say: Adam, one cycle. Arguments and errors as of `fit`."""
    rate = settings.learning_rate
    return fit(
        network,
        rows,
        loss=loss,
        optimizer=optimizers.Adam(rate, beta1=settings.momentum, weight_decay=settings.weight_decay),
        schedule=schedules.one_cycle(rate),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=seed,
        callbacks=callbacks,
        progress=False,
    )
