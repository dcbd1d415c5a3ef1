"""Rows to predict, from a file of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minihash.datasets import npz
from minihash.datasets.idx import read_idx
from minihash.datasets.kinds import kind_of
from minihash.datasets.npy import DAMAGES, NpyRows, check_header
from minihash.datasets.profile import Table
from minihash.datasets.store import Store
from minihash.datasets.tables import (
    Layout,
    Seen,
    find_column,
    layout_like,
    open_table,
    read_rows,
    simple_layout,
)
from minihash.files import naming
from minihash.schema import Model
from minihash.text import counted

CHUNK_ROWS = 8192


class Chunk(NamedTuple):
    """Some rows.

    inputs : (rows, features), as the file holds them, those of a text file float64: a network shifts them
        before it rounds.
    kept : the cells of each column that is to be kept.
    """

    inputs: np.ndarray
    kept: Sequence[Sequence[str]] = ()


class Inputs:
    """The rows of a file, without the target if it has one, in bounded memory where the file allows it.

    Parameters
    ----------
    path : a text file or Parquet, a store, .npy; or what `read_inputs` reads.
    network : whose inputs they are to be.
    header : of a text file: whether the first line has names; None: what it looks like.
    target : of a file for a network that knows no table: the column to leave out; else it is left out where
        it is found.
    keep : columns whose cells are wanted too, of a text or Parquet file.

    `left_out` is the column that was left out as the target, "" if there is none. `seen` is what was met so
    far. Iterating yields `Chunk`s.

    Raises ValueError with the file's name if it is damaged or has other rows; OSError if it cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        network: Model,
        *,
        header: bool | None = None,
        target: str | None = None,
        keep: Sequence[str] = (),
    ) -> None:
        self.path, self.network, self.left_out, self.seen = os.fspath(path), network, "", Seen()
        self.kind, self._target = kind_of(path), target
        if self.kind in ("csv", "parquet"):
            self._table = open_table(path, header)
            self._layout = self._layout_of(self._table, header)
            self._keep = [find_column(self._table, "keep", name) for name in keep]
        elif keep:
            raise ValueError(f"{self.path}: has no columns to keep, wanted a text or Parquet file")

    def __iter__(self) -> Iterator[Chunk]:
        if self.kind in ("csv", "parquet"):
            yield from self._rows_of_table()
        elif self.kind == "store":
            yield from (Chunk(batch.inputs) for batch in Store(self.path).batches(CHUNK_ROWS))
        elif self.kind == "npy" and (rows := _npy(self.path)):
            place = self._place_of_target(rows.features)
            for chunk in rows.chunks(CHUNK_ROWS):
                yield Chunk(chunk if place is None else np.delete(chunk, place, axis=1))
        else:
            yield Chunk(read_inputs(self.path))

    def _rows_of_table(self) -> Iterator[Chunk]:
        chunk = None
        for chunk in read_rows(self._table, self._layout, self.seen, self._keep):
            yield Chunk(*chunk)
        if chunk is None:
            raise ValueError(f"{self.path}: has no rows, wanted one at least")

    def _layout_of(self, table: Table, header: bool | None) -> Layout:
        schema = self.network.schema
        if schema is not None and schema.table:
            layout = layout_like(table, schema, None, header=header, needs_target=False)
            place = layout.target
        else:
            place = self._place_of_target(table.width, table)
            layout = simple_layout(table, place)
        if place is not None:
            self.left_out = (table.names[place] if table.names else "") or f"column {place}"
        return replace(layout, target=None)

    def _place_of_target(self, width: int, table: Table | None = None) -> int | None:
        """Return the column that is the target in a file with one column more than the network has inputs."""
        schema, features = self.network.schema, self.network.in_features
        if width == features:
            return None
        if width - 1 != features:
            raise ValueError(f"{self.path}: has {counted(width, 'column')}, wanted {features}")
        if schema is not None and schema.columns is not None:
            place = schema.target
        elif table is not None:
            place = 0 if self._target is None else find_column(table, "target", self._target)
        else:
            place = int(self._target or 0) % width
        self.left_out = f"column {place}"
        return place


def _npy(path: str) -> NpyRows | None:
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
