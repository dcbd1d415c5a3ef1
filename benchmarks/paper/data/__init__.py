"""The paper's data sets: MNIST, and those of Larochelle et al. 2007, read or made."""

from __future__ import annotations

import os

from benchmarks.paper.data import made
from minihash import checks, datasets
from minihash.datasets import Dataset


def names() -> tuple[str, ...]:
    """Return the names that `load` knows."""
    return (*datasets.names(), *made.RECIPES)


def load(
    name: str, data_dir: str | os.PathLike[str] | None = None, validation: int | None = None
) -> Dataset:
    """Load a data set of the paper, or one of `minihash.datasets.load`.

    Parameters
    ----------
    name : "basic", "rot", "bg-rand", "bg-img", "bg-img-rot" (12,000 training and 50,000 test digits, made
        from "mnist"), "rect" (1,200 and 50,000 outlines), "convex" (8,000 and 50,000 regions): read from the
        original .amat files where the folder has them, else made when they are first used, in up to a
        minute, and kept in the folder if it can be written.
    data_dir, validation : as in `minihash.datasets.load`; by default the last 2,000 training rows are set
        apart, 200 of "rect", 1,500 of "convex".

    Raises
    ------
    As `minihash.datasets.load`; ImportError if scikit-image is missing, from whose photographs "bg-img" and
    "bg-img-rot" are made.
    """
    checks.choice("name", name, names())
    if name not in made.RECIPES:
        return datasets.load(name, data_dir, validation)
    (train, test, origin), class_names = made.read(name, data_dir)
    wanted = made.RECIPES[name].validation if validation is None else validation
    return datasets.of_pixels(name, train, test, class_names, origin, wanted)
