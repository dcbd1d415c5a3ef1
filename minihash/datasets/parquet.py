"""A table in a Parquet file: its columns, some rows at a time (extra `tables`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minihash.encoding import Cells

CHUNK_ROWS = 4096
INDEX = "__index_level_"  # how pandas calls an index without a name


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file.

    path : of the file.
    names, width : of its columns; "" for an index of pandas.
    """

    path: str
    names: tuple[str, ...]
    decimal = "."

    @property
    def width(self) -> int:
        """Columns of the file."""
        return len(self.names)

    def chunks(self) -> Iterator[tuple[range, list[Cells]]]:
        """Yield the numbers of some rows, from 0, and the cells of each column in them.

        Raises
        ------
        ValueError with the file, and the column that holds neither numbers nor words; OSError if it cannot be
        read.
        """
        first = 0
        with _naming(self.path), _open(self.path) as file:
            for batch in file.iter_batches(CHUNK_ROWS):
                columns = zip(self.names, batch.schema.names, batch.columns)
                yield range(first, first + len(batch)), [
                    _cells(f"{self.path}: column {name or own!r}", column) for name, own, column in columns
                ]
                first += len(batch)


def open_parquet(path: str | os.PathLike[str]) -> ParquetTable:
    """Open a Parquet file.

    Raises
    ------
    ValueError with its name if it is damaged; OSError if it cannot be read; ImportError without pyarrow.
    """
    with _naming(os.fspath(path)), _open(os.fspath(path)) as file:
        names = file.schema_arrow.names
    return ParquetTable(os.fspath(path), tuple("" if name.startswith(INDEX) else name for name in names))


def _open(path: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ImportError(f"{path}: Parquet needs pyarrow: pip install pyarrow") from None
    return parquet.ParquetFile(path)


class _naming:
    """Tells what pyarrow says of a file with the file's name."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        from pyarrow import ArrowException

        if isinstance(error, ArrowException):
            raise ValueError(f"{self.path}: {error}") from None


def _cells(name: str, column: Any) -> Cells:
    """Return a column of pyarrow as numbers or texts; ValueError with its name for dates, lists and such."""
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind):
        return ["" if cell is None else str(cell) for cell in column.to_pylist()]
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind)):
        raise ValueError(f"{name} holds {kind}, wanted numbers or words, or to drop it")
    numbers = [np.nan if cell is None else cell for cell in column.to_pylist()]
    return np.array(numbers, np.float64)
