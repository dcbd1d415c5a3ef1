"""Studies: the trials of a search, kept by Optuna in memory or in a journal that outlives the process."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minihash.files import check_writable, naming

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial

STEPS = 10  # how often a trial is looked at: after each tenth of its training, whatever its epochs


class Range(NamedTuple):
    """Where a setting is sought; `log`: by its order of magnitude; of integers, where both ends are."""

    low: float
    high: float
    log: bool = False


def require_optuna() -> Any:
    """Return the module optuna; ImportError with the cure if it is missing."""
    try:
        import optuna
    except ImportError:
        raise ImportError("the search needs optuna: pip install optuna") from None
    return optuna


def open_study(
    name: str, journal: str | os.PathLike[str] | None = None, *, larger_is_better: bool = False
) -> Study:
    """Return the study of that name, with the trials that a journal has of it.

    Its pruner stops a trial that is worse, from three tenths of its training on, than the median of those
    that were trained to their end; five must have been.

    Parameters
    ----------
    name, journal : of the study.
    larger_is_better : whether larger scores are, which `tell` is told.

    Raises
    ------
    ValueError for a damaged journal; OSError if it cannot be written; ImportError without Optuna.
    """
    optuna = require_optuna()
    storage = None if journal is None else _open_journal(os.fspath(journal))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3 * STEPS // 10)
    with _quiet():
        return optuna.create_study(
            storage=storage,
            study_name=name,
            pruner=pruner,
            load_if_exists=True,
            direction="maximize" if larger_is_better else "minimize",
        )


def ask(study: Study, space: dict[str, Range], start: dict[str, Any], seed: int) -> Trial:
    """Begin a trial: the first with what `start` says, the next ten at random, the others as TPE suggests."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    items = space.items()
    if all(trial.state == TrialState.FAIL for trial in study.get_trials(deepcopy=False)):
        study.enqueue_trial({name: min(max(start[name], low), high) for name, (low, high, _) in items})
    trial = study.ask()
    # A seed for every trial: with one for all, each process and each resumption would draw the same again.
    own = int(np.random.SeedSequence((seed, trial.number)).generate_state(1)[0])
    # Not multivariate, as `study.ask` would have drawn before there was a seed. And no constant liar: that
    # keeps away from trials that run, and one that was killed seems to run for ever.
    study.sampler = TPESampler(seed=own, multivariate=False, constant_liar=False)
    for name, (low, high, log) in items:
        if isinstance(low, int) and isinstance(high, int):
            trial.suggest_int(name, low, high, log=log)
        else:
            trial.suggest_float(name, low, high, log=log)
    return trial


def tell(study: Study, trial: Trial, score: float | None) -> None:
    """End a trial: with its score, or stopped early (None)."""
    from optuna.trial import TrialState

    study.tell(trial, score, TrialState.PRUNED if score is None else TrialState.COMPLETE)


def forget(study: Study, trial: Trial) -> None:
    """End a trial of which nothing is known."""
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL)


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that were trained to their end or stopped early, the first first."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def complete(study: Study) -> list[FrozenTrial]:
    """Return the trials that were trained to their end, the best first."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(found, key=lambda trial: (sign * trial.values[0], trial.number))


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna say only what is wrong."""
    logging = require_optuna().logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _open_journal(path: str) -> JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileOpenLock

    check_writable(path)
    lock = JournalFileOpenLock(path)
    lock.acquire()
    try:
        _check_journal(path)
    finally:
        lock.release()
    try:
        return JournalStorage(_backend(path, lock))
    except OSError:
        raise
    except Exception:  # whatever Optuna makes of other lines
        raise _damaged(path) from None


def _backend(path: str, lock: Any) -> JournalFileBackend:
    """Return Optuna's file of a journal, whose errors name it whenever the study reads or writes."""
    from optuna.storages.journal import JournalFileBackend

    class Named(JournalFileBackend):
        def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
            with naming(path):
                yield from super().read_logs(log_number_from)

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            with naming(path):
                super().append_logs(logs)

    return Named(path, lock_obj=lock)


def _check_journal(path: str) -> None:
    """Refuse a file of another kind; cut off the last line of a killed process, or the next would join it."""
    with naming(path), open(path, "ab+") as file:
        file.seek(0)
        content = file.read()
        if content and not content.startswith(b'{"op_code":'):
            raise _damaged(path)
        file.truncate(content.rfind(b"\n") + 1)


def _damaged(path: str) -> ValueError:
    return ValueError(f"{path}: is damaged, or no journal of a search")
