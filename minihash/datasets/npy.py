"""Rows of an .npy file, read in blocks."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, cast

import numpy as np

from minihash import checks
from minihash.datasets.blocks import NUMBER, BlockRows
from minihash.datasets.rows import STATISTICS_ROWS, Statistics, first_not_finite
from minihash.files import naming

BLOCK_BYTES = 2**20
#: What NumPy raises for damaged npy files: their header is a piece of Python to it.
DAMAGES = (
    *(ValueError, TypeError, EOFError, OverflowError, MemoryError),
    *(RecursionError, SyntaxError, TokenError),
)


class NpyRows(BlockRows):
    """The rows of a file that `np.save` wrote: a matrix of real numbers, one column of it the targets.

    path : of an array (rows, 1 + features) of any real dtype, in C or in Fortran order (a frame of pandas is
        in the latter); what is read is float32.
    label_column : which column is the target, from 0; −1 is the last. None: there are no targets, only
        features; what is read has zeros for them.

    `statistics` are taken of the numbers as they are in the file, before they are rounded to float32.

    Raises OSError if the file cannot be read; ValueError with its name if it holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, label_column: int | None = 0) -> None:
        path = Path(path)
        with naming(path), open(path, "rb") as file:
            shape, self._fortran, self._dtype = _read_header(path, file)
            self._start, size = file.tell(), os.fstat(file.fileno()).st_size
        rows, columns = shape
        whole = size == self._start + rows * columns * self._dtype.itemsize
        if rows < 1 or columns < 1 + (label_column is not None) or not whole:
            wanted = "(rows, 1 + features), a row at least, all of it"
            raise ValueError(f"{path}: has shape {shape} and {size} bytes, wanted {wanted}")
        self._order = list(range(columns))
        if label_column is not None:
            label = checks.integer("label_column", label_column, -columns, columns) % columns
            self._order.insert(0, self._order.pop(label))
        block_rows = max(1, BLOCK_BYTES // (columns * NUMBER.itemsize))
        super().__init__(path, rows, columns - (label_column is not None), False, block_rows)

    def read_block(self, file: BinaryIO, block: int, target: np.ndarray) -> int:
        count, columns, first = self._rows_of(block), len(self._order), block * self._block_rows
        target[:count, -columns:] = self._read(file, first, count)[:, self._order]
        target[:count, :-columns] = 0  # no targets
        return count

    def _read(self, file: BinaryIO, first: int, count: int) -> np.ndarray:
        """Return some rows of the open file (count, columns), in its dtype, all finite in float32."""
        columns, size = len(self._order), self._dtype.itemsize
        if self._fortran:  # column after column: of each a piece
            places, pieces = [column * self._file_rows + first for column in range(columns)], (columns, count)
        else:
            places, pieces = [first * columns], (1, count * columns)
        values = np.empty(pieces, self._dtype)
        for place, piece in zip(places, values.view(np.uint8)):
            file.seek(self._start + place * size)
            if cast(io.BufferedReader, file).readinto(piece) != len(piece):
                raise ValueError(f"{self.path}: ends in row {first}, wanted {self._file_rows} rows")
        rows = values.T if self._fortran else values.reshape(count, columns)
        if (bad := first_not_finite(rows)) is not None:
            where = f"{self.path}: has NaN or infinity in row {first + bad}"
            raise ValueError(f"{where}, wanted finite float32 numbers")
        return rows

    def chunks(self, chunk_rows: int) -> Iterator[np.ndarray]:
        """Yield the rows in order, (n, columns), as they are in the file: in its dtype, targets in place.

        Raises ValueError for a number that is not finite in float32; OSError if the file cannot be read.
        """
        with naming(self.path), open(self.path, "rb") as file:
            for first in range(self._first, self._end, chunk_rows):
                rows = self._read(file, first, min(chunk_rows, self._end - first))
                rows = rows if self._mask is None else rows[self._mask[first : first + len(rows)]]
                if len(rows):
                    yield rows

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Of all rows, which are read once; ValueError for a column whose spread float32 would lose."""
        label, features = self._order[: -self.features], self._order[-self.features :]
        of_features, of_label = Statistics(self.features), Statistics(len(label))
        for values in self.chunks(STATISTICS_ROWS):
            targets = values[:, label].astype(NUMBER) if label else np.zeros((len(values), 1))
            # In C order, as batches are: sums in another order have other last bits, and so another network.
            of_features.add(np.take(values, features, axis=1), targets)
            of_label.add(values[:, label], targets)
        try:
            for statistics, columns in ((of_label, label), (of_features, features)):
                statistics.check_rounding([f"column {column}" for column in columns])
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None
        return of_features


def check_header(file: BinaryIO) -> None:
    """Refuse a header said to be longer than the file, for which NumPy makes room; go back to the start."""
    start = file.read(12)
    length = int.from_bytes(start[8:10] if start[6:7] == b"\1" else start[8:12], "little")
    if length > os.fstat(file.fileno()).st_size:
        raise ValueError(f"its header is to have {length} bytes, more than the file")
    file.seek(0)


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, int], bool, np.dtype]:
    """Return shape, whether it is in Fortran order, and dtype; leave the file where the numbers start."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        check_header(file)
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = readers[version](file)
    except (*DAMAGES, KeyError) as error:
        raise ValueError(f"{path}: is no .npy file that can be read ({error})") from None
    if len(shape) != 2 or dtype.kind not in "fiub":
        held = f"shape {shape} ({dtype}, {'Fortran' if fortran else 'C'} order)"
        raise ValueError(f"{path}: has {held}, wanted a matrix of real numbers")
    return shape, fortran, dtype
