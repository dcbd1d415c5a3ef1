"""npz files that may come from others: nothing is unpacked that NumPy would not have packed so."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from minihash.datasets.npy import DAMAGES as DAMAGES_OF_NPY
from minihash.files import naming

#: What NumPy raises for damaged npz files, beside what it does for npy files.
DAMAGES = (*DAMAGES_OF_NPY, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def read(
    path: str | os.PathLike[str], choose: Callable[[list[str]], Sequence[str]]
) -> tuple[np.ndarray, ...]:
    """Return the arrays of an npz file whose names `choose` returns when it is told all of them.

    Raises ValueError with the file's name if it is damaged, encrypted, or packed otherwise than NumPy does;
    OSError if it cannot be read.
    """
    try:
        with naming(path), open(path, "rb") as file:
            with zipfile.ZipFile(file) as archive:
                check_packing(archive)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                chosen = {name: arrays[name] for name in choose(arrays.files)}
        for name, array in chosen.items():
            if not isinstance(array, np.ndarray):  # NumPy gives the bytes of whatever is no npy file
                raise ValueError(f"{name} is no array")
        return tuple(chosen.values())
    except DAMAGES as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def check_packing(archive: zipfile.ZipFile) -> None:
    """Refuse what is encrypted or LZMA, a few bytes of which take a gigabyte to unpack, and false sizes."""
    size = archive.fp.seek(0, os.SEEK_END) if archive.fp else 0
    for member in archive.infolist():
        if member.compress_size > size:  # as much would be made ready for it
            raise ValueError(f"{member.filename!r} ends early")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename!r} is packed otherwise than NumPy does")
