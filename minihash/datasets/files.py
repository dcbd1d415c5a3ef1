"""Files of rows: a store, an .npy file or a CSV file, told apart by what is in them."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minihash import checks
from minihash.datasets.blocks import BlockRows
from minihash.datasets.csv_rows import convert
from minihash.datasets.kinds import kind_of
from minihash.datasets.labelled import read_labelled
from minihash.datasets.npy import NpyRows
from minihash.datasets.rows import ArrayRows, Rows
from minihash.datasets.store import Store
from minihash.schema import Schema
from minihash.tasks import TASKS


def open_rows(path: str | os.PathLike[str], *, header: bool = False, label_column: int = 0) -> BlockRows:
    """Open a file of labelled rows, which may be larger than memory.

    Parameters
    ----------
    path : a store (`minihash data convert`); an .npy file, a matrix with a column of targets; else a CSV file
        of numbers, .gz or not, which is made a store in the folder of temporary files first, each time anew.
    header : of a CSV file: leave out the first line.
    label_column : of an .npy or a CSV file: which column is the target, from 0; −1 is the last.

    Returns
    -------
    `Rows` to give to `fit` and `evaluate`; what they yield is float32.

    Raises
    ------
    OSError if the file cannot be read; ValueError with its name, and the line of a CSV file, if it is damaged
    or holds something else.
    """
    kind = kind_of(path)
    if kind == "store":
        return Store(path)
    if kind == "npy":
        return NpyRows(path, label_column=label_column)
    if kind == "csv":
        folder = _TemporaryFolder()
        progress = convert(path, folder.path / "rows.mh", header=header, label_column=label_column)
        store = Store(folder.path / "rows.mh")
        store.name, store.folder, store.column_names = os.fspath(path), folder, progress.names
        return store
    wanted = "its arrays (numpy.load)" if kind == "npz" else "a file with a column of targets"
    raise ValueError(f"{os.fspath(path)}: is an {kind} file, wanted {wanted}")


class _TemporaryFolder:
    """A folder that vanishes with the last who has it: the rows, or a part of them."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="minihash-"))
        weakref.finalize(self, _remove, self.path)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise


MAX_CLASSES = 1000  # whole numbers up to here are taken for classes, unless one says what they are
LIMIT_CLASSES = 2**24  # float32, in which targets are read, holds all whole numbers up to here
MAX_TEST = 500_000  # rows to test on by default, as is usual for HIGGS


@dataclass(frozen=True, eq=False)
class FileDataset:
    """The rows of a file in three parts, and what a network needs to know of them.

    name : of the file.
    rows : all of them: those to train on, then those to choose settings by, then those to report.
    validation_rows, test_rows : how many they are.
    input_shift, input_scale : numbers, or one a feature, as in `Network`.
    schema : the task, and how the file is laid out.
    class_names : the name of each class; () for regression.
    notes : sentences on what was taken for what, which commands print.
    """

    name: str
    rows: Rows
    validation_rows: int
    test_rows: int
    input_shift: Any
    input_scale: Any
    schema: Schema
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """What the targets are: one of TASKS."""
        return self.schema.task

    @property
    def features(self) -> int:
        """Numbers in a row, the target not counted."""
        return self.rows.features

    @property
    def train(self) -> Rows:
        """The rows to train on."""
        return self.rows.part(0, self._test_start - self.validation_rows)

    @property
    def validation(self) -> Rows:
        """The rows to choose by, which may be none."""
        return self.rows.part(self._test_start - self.validation_rows, self._test_start)

    @property
    def test(self) -> Rows:
        """The rows to report, which may be none."""
        return self.rows.part(self._test_start, len(self.rows))

    @property
    def _test_start(self) -> int:
        return len(self.rows) - self.test_rows

    def train_and_validation(self) -> Rows:
        """Return all rows that are not test rows."""
        return self.rows.part(0, self._test_start)


def open_dataset(
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    classes: int | None = None,
    header: bool = False,
    label_column: int = 0,
    validation: int | None = None,
    test: int | None = None,
) -> FileDataset:
    """Open a file of labelled rows as a data set: its last rows to test on, those before to choose by.

    A file whose rows are in an order of their own, such as by label, must be shuffled before. Features are
    standardised, with mean and standard deviation over the whole file, those of an .npz file excepted.

    Parameters
    ----------
    path, header, label_column : as in `open_rows`; or an .npz file, as in `read_labelled`.
    task : "classification" (targets are labels 0 … C − 1), "binary" (0 or 1), or "regression"; by default
        what the targets look like: whole numbers from 0 to less than MAX_CLASSES are labels, and the `labels`
        of an .npz file are, however many.
    classes : of a classification, all that there are; by default those up to the largest label.
    validation, test : rows; by default a tenth each, and at most MAX_TEST.

    Raises
    ------
    As `open_rows`; ValueError if the targets do not fit the task, or no row is left to train on.
    """
    notes: tuple[str, ...] = ()
    kind = kind_of(path)
    if kind == "npz":
        labelled = read_labelled(path, classes)
        rows: Rows = ArrayRows(*labelled.train)
        shift: Any = labelled.input_shift
        scale: Any = labelled.input_scale
        guess, notes = "binary" if len(labelled.class_names) == 2 else "classification", labelled.notes
    else:
        rows = open_rows(path, header=header, label_column=label_column)
        std = rows.statistics.std
        shift, scale = rows.statistics.mean, 1 / np.where(std > 0, std, 1)
        guess = _guess(rows)
    share = min(len(rows) // 10, MAX_TEST)
    test = checks.integer("test", share if test is None else test, 0, len(rows))
    validation = share if validation is None else validation
    validation = checks.integer("validation", validation, 0, len(rows) - test)
    task = checks.choice("task", guess if task is None else task, tuple(TASKS))
    names = tuple(map(str, range(_count_classes(rows, task, classes))))
    schema = _schema(task, kind, rows, header, label_column)
    return FileDataset(os.fspath(path), rows, validation, test, shift, scale, schema, names, notes)


def _schema(task: str, kind: str, rows: Rows, header: bool, label_column: int) -> Schema:
    """Return what a network must know of a file to read others like it."""
    if kind not in ("csv", "npy"):  # the others say themselves which numbers are targets
        return Schema(task, standardized=kind == "store")
    columns = rows.features + 1
    target = label_column % columns
    names = list(getattr(rows, "column_names", ()))
    features = (*names[:target], *names[target + 1 :]) if len(names) == columns else None
    return Schema(task, columns, target, header and kind == "csv", features, standardized=True)


def _guess(rows: Rows) -> str:
    """Return the task that the targets look like."""
    targets = rows.statistics
    if not targets.whole or targets.low < 0 or targets.high >= MAX_CLASSES:
        return "regression"
    return "binary" if targets.high <= 1 else "classification"


def _count_classes(rows: Rows, task: str, wanted: int | None) -> int:
    """Return how many classes a task has, 0 for regression; refuse targets that do not fit it."""
    low, high, whole = rows.statistics.low, rows.statistics.high, rows.statistics.whole
    classes = {"classification": wanted or int(high) + 1, "binary": 2, "regression": 0}[task]
    if not classes:
        return 0
    said = f"{rows.name} has targets from {low:g} to {high:g}"
    if not whole or low < 0 or high >= classes or classes < 2:
        labels = "whole numbers from 0 on, not all 0," if wanted is None else f"whole numbers below {wanted}"
        raise ValueError(f"{said}, wanted {'0 or 1' if task == 'binary' else labels} for {task}")
    if classes > LIMIT_CLASSES:
        memory = f"{4e-9 * classes:.3g} GB of outputs a row"
        raise ValueError(f"{said}: {classes} classes, {memory}, wanted {LIMIT_CLASSES} at most for {task}")
    return classes
