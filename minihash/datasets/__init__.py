"""Data sets to learn from: `load("mnist-small")` needs no download."""

from __future__ import annotations

import os

from minihash import checks
from minihash.datasets import mnist
from minihash.datasets.dataset import Dataset, Part
from minihash.datasets.file_dataset import FileDataset, read_table
from minihash.datasets.files import open_rows

__all__ = ["Dataset", "FileDataset", "load", "names", "open_rows", "read_table"]


def names() -> tuple[str, ...]:
    """Return the names that `load` knows."""
    return (mnist.SMALL, *mnist.SOURCES)


def load(
    name: str = "mnist-small",
    data_dir: str | os.PathLike[str] | None = None,
    validation: int | None = None,
) -> Dataset:
    """Load a data set; the files of MNIST and Fashion-MNIST are checked against the official digests.

    Parameters
    ----------
    name : "mnist-small" (12,000 training and 10,000 test digits, in the package), "mnist" or
        "fashion-mnist" (60,000 and 10,000 images, downloaded with `minihash data fetch`).
    data_dir : folder with the files, or with a subfolder `name` of them. By default the environment's
        MINIHASH_DATA, then the user's data folder (~/.local/share/minihash).
    validation : how many of the last training rows to set apart; by default 10,000, of "mnist-small" 2,000.
        0 leaves empty arrays.

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
        default, class_names, origin = 2_000, mnist.DIGITS, "minihash"
    else:
        source = mnist.SOURCES[name]
        (inputs, labels), test = mnist.read_source(source, data_dir)
        default, class_names, origin = 10_000, source.class_names, "official files"

    wanted = default if validation is None else validation
    return of_pixels(name, (inputs, labels), test, class_names, origin, wanted)


def of_pixels(
    name: str, train: Part, test: Part, class_names: tuple[str, ...], origin: str, validation: int
) -> Dataset:
    """Return a data set of grey images, whose last training rows are set apart to choose by."""
    inputs, labels = train
    split = len(inputs) - checks.integer("validation", validation, 0, len(inputs))
    return Dataset(
        name=name,
        train=(inputs[:split], labels[:split]),
        validation=(inputs[split:], labels[split:]),
        test=test,
        input_scale=1 / 255,
        class_names=class_names,
        origin=origin,
    )
