"""Data sets to learn from: `load("mnist-small")` needs no download."""

from __future__ import annotations

import os

from minihash import checks
from minihash.datasets import mnist
from minihash.datasets.dataset import Dataset

__all__ = ["Dataset", "load", "names"]


def names() -> tuple[str, ...]:
    """Return the names that `load` knows."""
    return (mnist.SMALL, *mnist.SOURCES)


def load(
    name: str = "mnist-small",
    data_dir: str | os.PathLike[str] | None = None,
    validation: int | None = None,
) -> Dataset:
    """Load a data set; every file read is checked against the official digest.

    Parameters
    ----------
    name : "mnist-small" (12,000 training and 10,000 test digits, in the package), "mnist" or
        "fashion-mnist" (60,000 and 10,000 images, downloaded with `minihash data fetch`).
    data_dir : folder with the idx files, or with a subfolder `name` of them. By default the
        environment's MINIHASH_DATA, then the user's data folder (~/.local/share/minihash).
    validation : how many of the last training rows to set apart; by default 10,000, and 2,000
        for "mnist-small". 0 leaves empty arrays.

    Returns
    -------
    A `Dataset` of raw pixels, inputs uint8 of shape (rows, 784), labels int64 of shape (rows,).

    Raises
    ------
    ValueError : unknown name, validation out of range, damaged file or other bytes than the
        official ones. FileNotFoundError : the data has not been fetched.
    """
    checks.choice("name", name, names())
    if name == mnist.SMALL:
        (inputs, labels), test = mnist.read_small()
        default, class_names = 2_000, mnist.DIGITS
    else:
        source = mnist.SOURCES[name]
        (inputs, labels), test = mnist.read_source(source, data_dir)
        default, class_names = 10_000, source.class_names

    wanted = default if validation is None else validation
    split = len(inputs) - checks.integer("validation", wanted, 0, len(inputs))
    return Dataset(
        name=name,
        train=(inputs[:split], labels[:split]),
        validation=(inputs[split:], labels[split:]),
        test=test,
        input_scale=1 / 255,
        class_names=class_names,
    )
