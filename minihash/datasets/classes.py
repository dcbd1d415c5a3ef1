"""What the targets of a file are: classes with names, or numbers."""

from __future__ import annotations

import numpy as np

from minihash.encoding import label_of, numbers_of
from minihash.schema import Model

FEW = 20  # different whole numbers are classes, unless one says what they are; more are numbers
MAX_CLASSES = 2**24  # float32, in which targets are read, holds all whole numbers up to here
LISTED = 10  # classes of a line


def count_classes(network: Model) -> int | None:
    """Return how many classes a network tells apart; None where it tells numbers."""
    if network.task == "regression":
        return None
    return 2 if network.out_features == 1 else network.out_features  # one output: yes or no


def understand(
    name: str, targets: np.ndarray, labels: tuple[str, ...] | None, task: str | None, like: Model | None
) -> tuple[str, tuple[str, ...], np.ndarray | None]:
    """Return the task, the names of classes, and the targets that stand for them if they are not 0, 1, ….

    Parameters
    ----------
    name : of the file.
    targets : all that there are, numbers; the order does not matter.
    labels : the names of the classes 0, 1, … where the file says them itself.
    task, like : as in `read_table`.

    Raises
    ------
    ValueError if targets do not fit.
    """
    known = None if like is None else like.task
    if task not in (None, known or task):
        raise ValueError(f"task is {task!r}, and the model was trained for {known!r}")
    task = known or task
    if task == "multilabel":
        raise ValueError(f"{name} has one target a row, and the model is for several labels")
    distinct, names = np.unique(targets), labels
    if names is None:
        whole = bool((distinct == np.rint(distinct)).all())
        if task == "regression" or task is None and not (whole and 1 < len(distinct) <= FEW):
            return "regression", (), None
        names = _names_of(distinct, like)
    guess = "binary" if len(names) == 2 else "classification"
    if task == "regression":
        raise ValueError(f"{name} has words as targets, wanted numbers for regression")
    if task == "binary" and len(names) != 2 or not 2 <= len(names) <= MAX_CLASSES:
        held = f"{len(names)} class{'es' * (len(names) != 1)}"
        raise ValueError(f"{name} has {held} ({_listed(names)}), wanted two{' or more' * (task != 'binary')}")
    values = np.arange(len(names)) if labels else _values_of(names)
    if wrong := sorted(set(distinct.tolist()) - set(values.tolist())):
        raise ValueError(f"{name} has the target {wrong[0]:g}, wanted one of {_listed(names)}")
    return task or guess, names, None if (values == np.arange(len(names))).all() else values


def _names_of(distinct: np.ndarray, like: Model | None) -> tuple[str, ...]:
    """Return the names of classes that numbers are: a network's, else the numbers themselves."""
    if like is not None and like.class_names is not None:
        return like.class_names
    classes = range(count_classes(like) or 0) if like is not None else distinct.tolist()
    if len(distinct) and like is None and not (distinct == np.rint(distinct)).all():
        raise ValueError(f"targets have {distinct[distinct != np.rint(distinct)][0]:g}, wanted whole numbers")
    return tuple(map(label_of, classes))


def _values_of(names: tuple[str, ...]) -> np.ndarray:
    """Return the numbers in a file that stand for classes: their names, or 0, 1, … where these are words."""
    numbers = [numbers_of([name]) for name in names]
    values = np.array([np.nan if isinstance(number, str) else number[0] for number in numbers])
    if np.isnan(values).any() or not (np.diff(values) > 0).all():
        return np.arange(len(names))
    return values


def standardization(targets: np.ndarray) -> tuple[float, float]:
    """Return what makes numbers of mean 0 and standard deviation 1, as `output_shift` and `output_scale`."""
    values = targets.astype(np.float64)
    std = float(values.std()) if len(values) else 0.0
    return (float(values.mean()) if len(values) else 0.0), std or 1.0


def describe(targets: np.ndarray, names: tuple[str, ...]) -> str:
    """Return what targets are, in words."""
    if names:
        return f"{len(names)} classes: {_listed(names)}"
    return f"numbers from {targets.min():g} to {targets.max():g}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:LISTED]) + ", …" * (len(names) > LISTED)
