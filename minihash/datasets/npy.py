"""Rows of an .npy file, read in blocks."""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from minihash import checks
from minihash.datasets.blocks import NUMBER, BlockRows

BLOCK_BYTES = 2**20
#: What NumPy raises for damaged npy files: their header is a piece of Python to it.
DAMAGES = (
    *(ValueError, TypeError, EOFError, OverflowError, MemoryError),
    *(RecursionError, SyntaxError, TokenError),
)


class NpyRows(BlockRows):
    """The rows of a file that `np.save` wrote: a matrix of real numbers, one column of it the targets.

    Parameters
    ----------
    path : of the file: an array (rows, 1 + features) in C order, of any real dtype; what is read is float32.
    label_column : which column is the target, from 0; −1 is the last. None: there are no targets, only
        features; what is read has zeros for them.

    Raises
    ------
    OSError if the file cannot be read; ValueError with its name if it holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, label_column: int | None = 0) -> None:
        path = Path(path)
        with open(path, "rb") as file:
            shape, self._dtype = _read_header(path, file)
            self._start, size = file.tell(), os.fstat(file.fileno()).st_size
        rows, columns = shape
        whole = size == self._start + rows * columns * self._dtype.itemsize
        if rows < 1 or columns < 1 + (label_column is not None) or not whole:
            found = f"{path}: has shape {shape} and {size} bytes"
            raise ValueError(f"{found}, wanted (rows, 1 + features), a row at least, all of it")
        self._order = list(range(columns))
        if label_column is not None:
            label = checks.integer("label_column", label_column, -columns, columns) % columns
            self._order.insert(0, self._order.pop(label))
        block_rows = max(1, BLOCK_BYTES // (columns * NUMBER.itemsize))
        super().__init__(path, rows, columns - (label_column is not None), False, block_rows)

    def read_block(self, file: BinaryIO, block: int, target: np.ndarray) -> int:
        count, columns, first = self._rows_of(block), len(self._order), block * self._block_rows
        file.seek(self._start + first * columns * self._dtype.itemsize)
        content = file.read(count * columns * self._dtype.itemsize)
        if len(content) != count * columns * self._dtype.itemsize:
            raise ValueError(f"{self.path}: ends in row {first}, wanted {self._file_rows} rows")
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
            values = np.frombuffer(content, self._dtype).reshape(count, columns)
            target[:count, -columns:] = values[:, self._order]
        target[:count, :-columns] = 0  # no targets
        bad = np.flatnonzero(~np.isfinite(target[:count]).all(axis=1))
        if len(bad):
            found = f"{self.path}: has NaN or infinity in row {first + bad[0]}"
            raise ValueError(f"{found}, wanted finite float32 numbers")
        return count


def check_header(file: BinaryIO) -> None:
    """Refuse a header said to be longer than the file, for which NumPy makes room; return to the beginning.

    Raises
    ------
    ValueError that says so.
    """
    start = file.read(12)
    length = int.from_bytes(start[8:10] if start[6:7] == b"\1" else start[8:12], "little")
    if length > os.fstat(file.fileno()).st_size:
        raise ValueError(f"its header is to have {length} bytes, more than the file")
    file.seek(0)


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, int], np.dtype]:
    """Return shape and dtype, and leave the file where the numbers start."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        check_header(file)
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = readers[version](file)
    except (*DAMAGES, KeyError) as error:
        raise ValueError(f"{path}: is no .npy file that can be read ({error})") from None
    if len(shape) != 2 or fortran or dtype.kind not in "fiub":
        order = "Fortran" if fortran else "C"
        found = f"{path}: has shape {shape} ({dtype}, {order} order)"
        raise ValueError(f"{found}, wanted a matrix of real numbers in C order")
    return shape, dtype
