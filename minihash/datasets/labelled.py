"""A data set of the user's own, from an npz file."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from minihash import checks
from minihash.datasets import npz
from minihash.datasets.dataset import Dataset
from minihash.datasets.rows import check_rounding
from minihash.files import naming

BRIGHT = 128  # the largest value of images is no less; 0/1 features, counts and fingerprints are below


def read_labelled(path: str | os.PathLike[str], classes: int | None = None) -> Dataset:
    """Read an npz file with the arrays `inputs` and `labels`, as `np.savez` writes it.

    Parameters
    ----------
    path : inputs are numbers of shape (rows, features), dimensions after the first are flattened; labels are
        integers of shape (rows,), the classes 0 … C − 1, each with a row at least.
    classes : C, if it is known: then not every class need have a row.

    Returns
    -------
    A `Dataset`, all of whose rows are training rows. Its input_scale is 1/255 for pixels: arrays of uint8 of
    shape (rows, height, width) or (rows, height, width, channels), or (rows, features) with a value of 128 or
    more. It is 1 for all others, those of uint8 too: features are best scaled to about 1 in the file. Its
    `notes` say what became of uint8.

    Raises
    ------
    ValueError with the file's name if it is damaged or an array is not what it should be, or float32 would
    lose the spread of a feature; OSError if it cannot be read.
    """
    with naming(path), open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            wanted = "wanted one with the arrays inputs and labels"
            raise ValueError(f"{os.fspath(path)}: is no npz file, {wanted}")
    inputs, labels = npz.read(path, _choose)
    try:
        if inputs.ndim < 2:
            raise ValueError(f"inputs has shape {inputs.shape}, wanted (rows, features)")
        scale, notes = _scaling(inputs)
        inputs = inputs.reshape(len(inputs), int(np.prod(inputs.shape[1:])))
        inputs = checks.data("inputs", inputs, None, np.dtype(np.float32))
        count = _count_classes(labels, len(inputs), classes)
        check_rounding("inputs", inputs)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
    labels = labels.astype(np.int64)
    nothing = inputs[:0], labels[:0]
    return Dataset(
        name=Path(path).name,
        train=(inputs, labels),
        validation=nothing,
        test=nothing,
        input_scale=scale,
        class_names=tuple(map(str, range(count))),
        origin=os.fspath(path),
        notes=notes,
    )


def _choose(names: list[str]) -> tuple[str, str]:
    if not {"inputs", "labels"} <= set(names):
        raise ValueError(f"holds {', '.join(names) or 'nothing'}, wanted the arrays inputs and labels")
    return "inputs", "labels"


def _scaling(inputs: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Return what inputs are to be multiplied by, 1/255 for pixels and else 1, and the notes on it."""
    if inputs.dtype != np.uint8 or not inputs.size:
        return 1.0, ()
    values = f"inputs: uint8 from {inputs.min()} to {inputs.max()}"
    if inputs.ndim in (3, 4) or inputs.max() >= BRIGHT:
        return 1 / 255, (f"{values}, taken for pixels and divided by 255",)
    return 1.0, (f"{values}, taken as they are (a matrix of pixels has values of {BRIGHT} or more)",)


def _count_classes(labels: np.ndarray, rows: int, known: int | None) -> int:
    """Return C of labels 0 … C − 1. A class without rows is refused: most often they begin at 1."""
    if labels.dtype.kind not in "iu" or labels.shape != (rows,):
        wanted = f"({rows},) integers, one a row of inputs"
        raise ValueError(f"labels has shape {labels.shape} ({labels.dtype}), wanted {wanted}")
    if known is not None and rows:
        low, high = labels.min(), labels.max()
        if low < 0 or high >= known:
            raise ValueError(f"labels has classes from {low} to {high}, wanted 0 to {known - 1}")
        return known
    classes = np.unique(labels)
    if len(classes) < 2 or classes[0] != 0 or classes[-1] != len(classes) - 1:
        held = f"{len(classes)} classes from {classes[0]} to {classes[-1]}" if rows else "no rows"
        raise ValueError(f"labels has {held}, wanted 0 … C - 1, at least two, each with a row")
    return len(classes)
