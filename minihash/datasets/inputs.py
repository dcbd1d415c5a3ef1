"""Rows to predict, from a file of the user's own."""

from __future__ import annotations

import os
import zipfile
import zlib

import numpy as np

from minihash.datasets.idx import read_idx

#: What NumPy raises for damaged npy and npz files.
DAMAGES = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def read_inputs(path: str | os.PathLike[str]) -> np.ndarray:
    """Read raw inputs as a matrix (rows, features) from an idx (or idx.gz), npy or npz file.

    An npz file holds one array, or one named `inputs`; dimensions after the first are flattened.

    Raises
    ------
    ValueError with the file's name if it is damaged or has no such array; OSError if it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(6)
    of_numpy = start.startswith((b"PK", b"\x93NUMPY"))
    array = _read_numpy(path) if of_numpy else read_idx(path)
    if array.ndim < 2:
        raise ValueError(f"{os.fspath(path)}: has shape {array.shape}, wanted (rows, features)")
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def _read_numpy(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if isinstance(arrays, np.ndarray):
                return arrays
            names = arrays.files
            name = "inputs" if "inputs" in names else names[0] if len(names) == 1 else None
            if name is None:
                raise ValueError(f"holds {', '.join(names) or 'nothing'}, wanted an array named inputs")
            return arrays[name]
    except DAMAGES as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
