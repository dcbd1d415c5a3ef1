"""The .amat files in which the variations, rectangles and convex sets were first given out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minihash.datasets.csv_rows import without_mark
from minihash.datasets.dataset import Part
from minihash.files import naming

SIDE = 28
FEATURES = SIDE * SIDE

#: Set -> training file (with the validation rows at its end), test file.
FILES = {
    "basic": ("mnist_train.amat", "mnist_test.amat"),
    "rot": (
        "mnist_all_rotation_normalized_float_train_valid.amat",
        "mnist_all_rotation_normalized_float_test.amat",
    ),
    "bg-rand": ("mnist_background_random_train.amat", "mnist_background_random_test.amat"),
    "bg-img": ("mnist_background_images_train.amat", "mnist_background_images_test.amat"),
    "bg-img-rot": (
        "mnist_all_background_images_rotation_normalized_train_valid.amat",
        "mnist_all_background_images_rotation_normalized_test.amat",
    ),
    "rect": ("rectangles_train.amat", "rectangles_test.amat"),
    "convex": ("convex_train.amat", "convex_test.amat"),
}
#: Saved column by column, as users of the files report (skdata's `TRANSPOSE_IMAGES`).
TRANSPOSED = ("bg-rand", "bg-img")
SUBFOLDER = "50k"  # where the archive of CONVEX has its test file


def find(name: str, folders: Iterable[Path]) -> tuple[Path, Path] | None:
    """Return the paths of a set's two files, or None where no folder holds one of them.

    Each folder's subfolder `name` is looked at first. Raises FileNotFoundError where there is but one
    of the two files: a set that is made instead would be another one than its owner expects.
    """
    folders = list(folders)
    for folder in [folder / name for folder in folders] + folders:
        places = [(folder / file, folder / SUBFOLDER / file) for file in FILES[name]]
        train, test = (next((path for path in paths if path.is_file()), None) for paths in places)
        if train and test:
            return train, test
        if train or test:
            there, missing = FILES[name] if train else FILES[name][::-1]
            raise FileNotFoundError(f"{folder}: has {there} and lacks {missing}, wanted both")
    return None


def read(path: str | os.PathLike[str], rows: int, classes: int, transposed: bool = False) -> Part:
    """Read rows of 784 pixels from 0 to 1 and a label, numbers in text apart by blanks.

    Parameters
    ----------
    rows : how many there must be.
    classes : labels must be 0 to classes - 1.
    transposed : the file holds each image column by column.

    Returns
    -------
    Pixels as uint8 (rows, 784): rounded to the nearest 255th, which all sets but the rotated ones are
    made of; and labels, int64 (rows,).

    Raises
    ------
    ValueError : naming file and line, for what is not such a row. OSError : the file cannot be read.
    """
    encoding = encoding_of(path)
    try:
        with naming(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file: reported below
            table = np.loadtxt(path, dtype=np.float32, ndmin=2, encoding=encoding)
    except ValueError:
        table = None  # its message counts rows and not lines
    if table is None or (table.size and not _is_right(table, classes)):
        raise ValueError(f"{os.fspath(path)}: {_first_wrong_line(path, classes)}")
    if len(table) != rows:
        raise ValueError(f"{os.fspath(path)}: has {len(table):,} rows, wanted {rows:,}")
    images = np.rint(table[:, :FEATURES] * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
    if transposed:
        images = images.transpose(0, 2, 1)
    return images.reshape(rows, FEATURES), table[:, FEATURES].astype(np.int64)


def encoding_of(path: str | os.PathLike[str]) -> str:
    """Return Python's name for the encoding of a text file: UTF-8 if it has that mark, else plain bytes.

    Raises ValueError if the mark says that it is UTF-16 or UTF-32; OSError if it cannot be read.
    """
    with naming(path), open(path, "rb") as file:
        start = file.read(4)
    return "latin-1" if without_mark(path, start) == start else "utf-8-sig"


def _is_right(table: np.ndarray, classes: int) -> bool:
    """Tell whether all rows are pixels from 0 to 1 and a label."""
    if table.shape[1] != FEATURES + 1:
        return False
    pixels, labels = table[:, :FEATURES], table[:, FEATURES]
    return bool(pixels.min() >= 0 and pixels.max() <= 1 and np.isin(labels, range(classes)).all())


def _first_wrong_line(path: str | os.PathLike[str], classes: int) -> str:
    """Say which line is the first that is not a row, and why; slow, and only for files that are wrong."""
    with naming(path), open(path, encoding=encoding_of(path), errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.partition("#")[0].split()
            if not fields:
                continue
            if len(fields) != FEATURES + 1:
                return f"line {number} has {len(fields)} numbers, wanted {FEATURES + 1}"
            for column, field in enumerate(fields, 1):
                try:
                    value = float(field)
                except ValueError:
                    return f"line {number}: number {column} is {field[:20]!r}, wanted a number"
                if column <= FEATURES and not 0 <= value <= 1:
                    return f"line {number}: pixel {column} is {field[:20]}, wanted 0 to 1"
                if column > FEATURES and value not in range(classes):
                    return f"line {number}: label is {field[:20]}, wanted 0 to {classes - 1}"
    return "cannot be read as rows of numbers"
