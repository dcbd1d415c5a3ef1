"""Files of rows: a store, an .npy file or a CSV file, told apart by what is in them."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from minihash.datasets.blocks import BlockRows
from minihash.datasets.csv_rows import convert
from minihash.datasets.kinds import kind_of
from minihash.datasets.npy import NpyRows
from minihash.datasets.store import Store


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
        folder = TemporaryFolder()
        progress = convert(path, folder.path / "rows.mh", header=header, label_column=label_column)
        store = Store(folder.path / "rows.mh")
        store.name, store.folder, store.column_names = os.fspath(path), folder, progress.names
        return store
    wanted = "its arrays (numpy.load)" if kind == "npz" else "a file with a column of targets"
    raise ValueError(f"{os.fspath(path)}: is an {kind} file, wanted {wanted}")


class TemporaryFolder:
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
