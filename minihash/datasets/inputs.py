"""Rows to predict, from a file of the user's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from minihash import checks
from minihash.datasets import npz
from minihash.datasets.csv_rows import Progress, read_chunks
from minihash.datasets.idx import read_idx
from minihash.datasets.kinds import kind_of
from minihash.datasets.npy import DAMAGES, NpyRows, check_header
from minihash.datasets.store import Store
from minihash.files import naming

CHUNK_ROWS = 8192


def input_chunks(
    path: str | os.PathLike[str],
    features: int | None,
    *,
    header: bool = False,
    label_column: int = 0,
    report: Callable[[int], object] = lambda column: None,
) -> Iterator[np.ndarray]:
    """Yield the raw inputs of a file, (n, features), in bounded memory where the file allows it.

    They are as the file holds them, those of a CSV file float64: a network shifts them before it rounds.

    path : a store, an .npy or a CSV file (.gz or not), which are read in chunks; or what `read_inputs` reads.
    features : how many a row is to have. A store's targets are passed over, and so is the column
        `label_column` of an .npy or CSV file that has one column more.
    header : of a CSV file: leave out the first line.
    report : called with the column that is left out as the target, if one is.

    Raises ValueError with the file's name if it is damaged or has other rows; OSError if it cannot be read.
    """
    kind = kind_of(path)
    if kind == "store":
        yield from (batch.inputs for batch in Store(path).batches(CHUNK_ROWS))
    elif kind == "npy" and (rows := _npy(path)):
        yield from _without_label(rows.chunks(CHUNK_ROWS), features, label_column, report)
    elif kind in ("npy", "npz", "idx"):
        yield read_inputs(path)
    elif kind == "csv":
        chunk, chunks = None, read_chunks(path, Progress(), header=header)
        for chunk in _without_label(chunks, features, label_column, report):
            yield chunk
        if chunk is None:
            raise ValueError(f"{os.fspath(path)}: has no rows, wanted one at least")
    else:
        raise ValueError(f"{os.fspath(path)}: is of the kind {kind}, which is not read")


def _without_label(
    chunks: Iterable[np.ndarray], features: int | None, label_column: int, report: Callable[[int], object]
) -> Iterator[np.ndarray]:
    """Yield rows without the column of targets, if they have one column more than features."""
    for number, chunk in enumerate(chunks):
        width = chunk.shape[1]
        if width - 1 == features:
            column = checks.integer("label_column", label_column, -width, width) % width
            if not number:
                report(column)
            chunk = np.delete(chunk, column, axis=1)
        yield chunk


def _npy(path: str | os.PathLike[str]) -> NpyRows | None:
    """Return the rows of an .npy file with a matrix; None if it holds another array, such as images."""
    try:
        return NpyRows(path, label_column=None)
    except ValueError:
        return None


def read_inputs(path: str | os.PathLike[str]) -> np.ndarray:
    """Read raw inputs as a matrix (rows, features) from an idx (or idx.gz), npy or npz file.

    An npz file holds one array, or one named `inputs`; dimensions after the first are flattened. Raises
    ValueError with the file's name if it is damaged or has no such array; OSError if it cannot be read.
    """
    kind = kind_of(path)
    if kind == "npz":
        (array,) = npz.read(path, _choose)
    else:
        array = _read_npy(path) if kind == "npy" else read_idx(path)
    if array.ndim < 2:
        raise ValueError(f"{os.fspath(path)}: has shape {array.shape}, wanted (rows, features)")
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def _read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        with naming(path), open(path, "rb") as file:
            check_header(file)
            return np.load(file, allow_pickle=False)
    except DAMAGES as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _choose(names: list[str]) -> list[str]:
    if "inputs" not in names and len(names) != 1:
        raise ValueError(f"holds {', '.join(names) or 'nothing'}, wanted an array named inputs")
    return ["inputs"] if "inputs" in names else names
