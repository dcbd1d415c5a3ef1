"""Sets that took a while to make, each kept in one file: whole and of the right recipe, or made again."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from minihash.datasets.dataset import Part
from minihash.datasets.npz import DAMAGES, check_packing
from minihash.files import replacing

Result = TypeVar("Result")
Array = Callable[[str], np.ndarray]  # name -> array in the file


def write(path: Path, recipe: str, train: Part, test: Part, origin: str) -> None:
    """Write a set to `path`, an npz file, and make its folder; OSError if that is not possible.

    Parameters
    ----------
    recipe : how the set was made; `read` returns only a set of the recipe that it is asked for.
    train, test : uint8 inputs (rows, features), and labels, of which every one fits a byte.
    origin : what it was made from, in words.
    """
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        np.savez_compressed(
            stream,
            recipe=np.array(recipe),
            origin=np.array(origin),
            train_inputs=train[0],
            train_labels=train[1].astype(np.uint8),
            test_inputs=test[0],
            test_labels=test[1].astype(np.uint8),
        )


def check_writable(path: Path) -> None:
    """Raise the OSError that `write` would end in, before anything is made.

    A folder without write permission counts for root too, who could: it was meant to stay as it is.
    """
    folder = next(parent for parent in path.parents if parent.exists())
    writable_by_anyone = folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if not writable_by_anyone or not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot write into the folder", str(folder))


def read(path: Path, recipe: str) -> tuple[Part, Part, str] | None:
    """Return training rows, test rows and origin; None where `path` holds no such set, or a damaged one.

    A damaged file is no error, because what was in it can be made again. Every array in it has a checksum,
    so no wrong byte is returned.
    """

    def pick(array: Array) -> tuple[Part, Part, str]:
        train = array("train_inputs"), array("train_labels").astype(np.int64)
        test = array("test_inputs"), array("test_labels").astype(np.int64)
        return train, test, str(array("origin"))

    return _read(path, recipe, pick)


def read_origin(path: Path, recipe: str) -> str | None:
    """Return the origin alone, without the time that `read` takes for the rows."""
    return _read(path, recipe, lambda array: str(array("origin")))


def _read(path: Path, recipe: str, pick: Callable[[Array], Result]) -> Result | None:
    try:
        with zipfile.ZipFile(path) as archive:
            check_packing(archive)

            def array(name: str) -> np.ndarray:
                # All bytes, so their checksum, come before the header: a damaged one raises anything.
                return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)

            return pick(array) if str(array("recipe")) == recipe else None
    except (OSError, RuntimeError, *DAMAGES):
        return None
