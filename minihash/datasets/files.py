"""Files of rows: a store, an .npy file or a CSV file, told apart by what is in them."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minihash import checks
from minihash.datasets.blocks import BlockRows
from minihash.datasets.csv_rows import convert
from minihash.datasets.labelled import read_labelled
from minihash.datasets.npy import NpyRows
from minihash.datasets.rows import ArrayRows, Rows
from minihash.datasets.store import MAGIC, Store
from minihash.files import check_regular


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
    check_regular(path)
    with open(path, "rb") as file:
        start = file.read(len(MAGIC))
    if start == MAGIC:
        return Store(path)
    if start.startswith(b"\x93NUMPY"):
        return NpyRows(path, label_column=label_column)
    if start.startswith(b"PK"):
        raise ValueError(f"{os.fspath(path)}: is an npz file, wanted its arrays (numpy.load)")
    folder = _TemporaryFolder()
    convert(path, folder.path / "rows.mh", header=header, label_column=label_column)
    store = Store(folder.path / "rows.mh")
    store.name, store.folder = os.fspath(path), folder
    return store


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


TASKS = ("classification", "binary", "regression")
MAX_CLASSES = 1000  # whole numbers up to here are taken for classes, unless one says that they are not
MAX_TEST = 500_000  # rows to test on by default, as is usual for HIGGS


@dataclass(frozen=True, eq=False)
class FileDataset:
    """The rows of a file in three parts, and what a network needs to know of them.

    Parameters
    ----------
    name : of the file.
    rows : all of them: those to train on, then those to choose settings by, then those to report.
    validation_rows, test_rows : how many they are.
    input_shift, input_scale : numbers, or one a feature, as in `Network`.
    task : one of TASKS.
    class_names : the name of each class; () for regression.
    """

    name: str
    rows: Rows
    validation_rows: int
    test_rows: int
    input_shift: Any
    input_scale: Any
    task: str
    class_names: tuple[str, ...]

    @property
    def features(self) -> int:
        """Numbers in a row, the target not counted."""
        return self.rows.features

    @property
    def train(self) -> Rows:
        """The rows to train on."""
        return self.rows.part(0, len(self.rows) - self.validation_rows - self.test_rows)

    @property
    def validation(self) -> Rows:
        """The rows to choose by, which may be none."""
        end = len(self.rows) - self.test_rows
        return self.rows.part(end - self.validation_rows, end)

    @property
    def test(self) -> Rows:
        """The rows to report, which may be none."""
        return self.rows.part(len(self.rows) - self.test_rows, len(self.rows))

    def train_and_validation(self) -> Rows:
        """Return all rows that are not test rows."""
        return self.rows.part(0, len(self.rows) - self.test_rows)


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
        what the targets look like: whole numbers from 0 to less than MAX_CLASSES are labels.
    classes : of a classification, all that there are; by default those up to the largest label.
    validation, test : rows; by default a tenth each, and at most MAX_TEST.

    Raises
    ------
    As `open_rows`; ValueError if the targets do not fit the task, or no row is left to train on.
    """
    check_regular(path)
    if zipfile.is_zipfile(path):
        labelled = read_labelled(path)
        rows: Rows = ArrayRows(*labelled.train)
        shift: Any = 0.0
        scale: Any = labelled.input_scale
    else:
        rows = open_rows(path, header=header, label_column=label_column)
        std = rows.statistics.std
        shift, scale = rows.statistics.mean, 1 / np.where(std > 0, std, 1)
    share = min(len(rows) // 10, MAX_TEST)
    test = checks.integer("test", share if test is None else test, 0, len(rows))
    wanted = share if validation is None else validation
    validation = checks.integer("validation", wanted, 0, len(rows) - test)
    task, classes = _task(rows, task, classes)
    names = tuple(map(str, range(classes)))
    return FileDataset(os.fspath(path), rows, validation, test, shift, scale, task, names)


def _task(rows: Rows, task: str | None, wanted: int | None) -> tuple[str, int]:
    """Return the task, by default the one that the targets look like, and how many classes it has."""
    low, high, whole = rows.statistics.low, rows.statistics.high, rows.statistics.whole
    labels = whole and low >= 0 and high < MAX_CLASSES
    if task is None:
        task = "regression" if not labels else "binary" if high <= 1 else "classification"
    if checks.choice("task", task, TASKS) == "regression":
        return task, 0
    classes = 2 if task == "binary" else wanted or int(high) + 1
    if not labels or high >= classes or classes < 2:
        wanted = "0 or 1" if task == "binary" else f"whole numbers from 0 to less than {MAX_CLASSES}"
        raise ValueError(f"{rows.name} has targets from {low:g} to {high:g}, wanted {wanted} for {task}")
    return task, classes
