"""The sets of Larochelle et al. 2007: the original files, or what was made before, or made now.

Every load makes or finds the same set: a set is its recipe (`Recipe.key`: version and seed) and what it
is made from. BG-IMG and BG-IMG-ROT have whatever photographs they were made with by `make` until they
are made again; their origin, which the file keeps, has the digest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.paper.data import amat, cache, photographs, shapes, variations
from minihash import checks
from minihash.datasets import mnist
from minihash.datasets.dataset import Part

Folder = str | os.PathLike[str] | None  # of the data, None: the default ones
Parts = tuple[Part, Part, str]  # training rows with the validation rows at their end, test rows, origin


@dataclass(frozen=True)
class Recipe:
    """A set that is made.

    Parameters
    ----------
    name : what `load` calls it; the papers write it in capitals.
    train, validation, test : rows; the validation rows are the last of the training rows.
    class_names : the name of each label.
    seed : of everything that is drawn.
    version : one more with every change of what is made, so that no older set is read again.
    """

    name: str
    train: int = 12_000
    validation: int = 2_000
    test: int = 50_000
    class_names: tuple[str, ...] = mnist.DIGITS
    seed: int = variations.SEED
    version: int = 1

    @property
    def key(self) -> str:
        """What a file must say to be read as this set."""
        return f"minihash {self.name} version {self.version}, seed {self.seed}"


#: RECT's and CONVEX's validation rows are what users of the original files take.
RECIPES = {
    recipe.name: recipe
    for recipe in (
        *(Recipe(name) for name in variations.NAMES),
        Recipe("rect", 1_200, 200, class_names=shapes.RECT_NAMES, seed=shapes.SEED),
        Recipe("convex", 8_000, 1_500, class_names=shapes.CONVEX_NAMES, seed=shapes.SEED),
    )
}


def path_of(name: str, data_dir: Folder = None) -> Path:
    """Return the file that keeps a made set: in the first folder of the data, beside MNIST's."""
    return mnist.data_folders(data_dir)[0] / name / f"{name}.npz"


def make(name: str, data_dir: Folder = None, folder: Folder = None) -> Path:
    """Make a set, also where it was made before, and keep it where `load` finds it.

    The same versions of NumPy and SciPy make the same bytes.

    Parameters
    ----------
    name : one of RECIPES.
    data_dir : as of `load`; all but RECT and CONVEX are made from the MNIST in it.
    folder : photographs for BG-IMG and BG-IMG-ROT; by default scikit-image's.

    Returns
    -------
    The file.

    Raises
    ------
    ValueError : unknown name, photographs for a set that has none, unsuitable ones. FileNotFoundError :
        no MNIST. ImportError : no scikit-image. OSError : the file cannot be written.
    """
    checks.choice("name", name, tuple(RECIPES))
    if folder is not None and name not in variations.WITH_PHOTOGRAPHS:
        raise ValueError(f"{name} has no photographs, only {' and '.join(variations.WITH_PHOTOGRAPHS)} have")
    path = path_of(name, data_dir)
    cache.check_writable(path)  # before a minute of work
    cache.write(path, RECIPES[name].key, *_make(RECIPES[name], data_dir, folder))
    return path


def read(name: str, data_dir: Folder = None) -> tuple[Parts, tuple[str, ...]]:
    """Return the rows of a set and the names of its classes; raises what `load` does.

    The user's original files come first, then what was made before. What is made now is kept, where the
    folder lets us; that a folder is read-only or full is no reason to fail.
    """
    recipe = RECIPES[name]
    files = amat.find(name, mnist.data_folders(data_dir))
    if files is not None:
        return _read_amat(recipe, files), tuple(map(str, range(len(recipe.class_names))))
    path = path_of(name, data_dir)
    found = cache.read(path, recipe.key)
    if found is None:
        found = _make(recipe, data_dir)
        try:
            cache.write(path, recipe.key, *found)
        except OSError:
            pass
    return found, recipe.class_names


def where(name: str, data_dir: Folder = None) -> str:
    """Say in a few words where `read` would take a set from; nothing is made."""
    try:
        files = amat.find(name, mnist.data_folders(data_dir))
    except FileNotFoundError as error:
        return str(error)
    if files is not None:
        return f"original files in {files[0].parent}"
    path = path_of(name, data_dir)
    origin = cache.read_origin(path, RECIPES[name].key)
    if origin is not None:
        return f"{origin}, in {path.parent}"
    if name in variations.NAMES and mnist.find(mnist.MNIST, data_dir) is None:
        return "made from mnist; get that with: minihash data fetch mnist"
    return "made when it is first used"


def _read_amat(recipe: Recipe, files: tuple[Path, Path]) -> Parts:
    """Read the original files; which of their labels means what is not known, so classes are numbers."""
    train, test = (
        amat.read(path, rows, len(recipe.class_names), recipe.name in amat.TRANSPOSED)
        for path, rows in zip(files, (recipe.train, recipe.test))
    )
    return train, test, "original files"


def _make(recipe: Recipe, data_dir: Folder, folder: Folder = None) -> Parts:
    """Make a set by its recipe."""
    if recipe.name in variations.NAMES:
        return _make_variation(recipe, data_dir, folder)
    draw = shapes.rectangles if recipe.name == "rect" else shapes.convex_and_not
    images, labels = draw(recipe.train + recipe.test, recipe.seed)
    inputs = images.reshape(len(images), -1)
    train, test = slice(recipe.train), slice(recipe.train, None)
    return (inputs[train], labels[train]), (inputs[test], labels[test]), f"made, seed {recipe.seed}"


def _make_variation(recipe: Recipe, data_dir: Folder, folder: Folder) -> Parts:
    """Make one of the variations of the MNIST that is in `data_dir`."""
    (images, labels), (more_images, more_labels) = mnist.read_source(mnist.MNIST, data_dir)
    origin, pictures = f"made from mnist, seed {recipe.seed}", []
    if recipe.name in variations.WITH_PHOTOGRAPHS:
        pictures = photographs.read_bundled() if folder is None else photographs.read_folder(folder)
        whose = "of scikit-image" if folder is None else "of the user's"
        digest = photographs.digest(pictures)[:12]
        origin += f", and photographs {whose} ({len(pictures)}, sha256 {digest})"
    images = np.concatenate([images, more_images]).reshape(-1, shapes.SIDE, shapes.SIDE)
    labels = np.concatenate([labels, more_labels])
    counts = {"train": recipe.train, "test": recipe.test}
    parts = variations.make(recipe.name, images, labels, pictures, seed=recipe.seed, **counts)
    return *parts, origin
