"""MNIST, Fashion-MNIST, and the small MNIST that comes with the package."""

from __future__ import annotations

import hashlib
import io
import math
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from minihash.datasets.dataset import Part
from minihash.datasets.idx import DigestError, read_idx
from minihash.files import naming

SMALL = "mnist-small"
SMALL_FILE = "mnist-small.npz"
SMALL_SHA256 = "bd7d9856ec38c85c82356ea0de7b080a56a43c9fa064c90e4adc4d5f34f8e451"
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class IdxFile:
    """One file of a source: name without .gz, shape of its array, sha256 of its raw bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def nbytes(self) -> int:
        """Raw bytes of the file: header and one byte an item."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)

    def read(self, path: Path) -> np.ndarray:
        """Return the array in `path`, or raise the ValueError that says what else it holds."""
        return read_idx(path, sha256=self.sha256, max_bytes=self.nbytes)


@dataclass(frozen=True)
class IdxSource:
    """A data set of four idx files (train images and labels, test images and labels)."""

    name: str
    files: tuple[IdxFile, ...]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]


def _files(train: str, train_labels: str, test: str, test_labels: str) -> tuple[IdxFile, ...]:
    """Name the four files with their digests: Fashion-MNIST kept MNIST's names and shapes."""
    return (
        IdxFile("train-images-idx3-ubyte", (60_000, 28, 28), train),
        IdxFile("train-labels-idx1-ubyte", (60_000,), train_labels),
        IdxFile("t10k-images-idx3-ubyte", (10_000, 28, 28), test),
        IdxFile("t10k-labels-idx1-ubyte", (10_000,), test_labels),
    )


MNIST = IdxSource(
    name="mnist",
    files=_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    class_names=DIGITS,
)

FASHION_MNIST = IdxSource(
    name="fashion-mnist",
    files=_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST)}


def data_folders(data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders to look for data in; the first is the one to download to.

    `data_dir` where it is given; else the environment's MINIHASH_DATA and the user's data folder.
    """
    if data_dir is not None:
        return [Path(os.path.expanduser(data_dir))]
    share = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(share):  # the XDG specification: ignore a relative one
        share = os.path.expanduser("~/.local/share")
    folders = [Path(share, "minihash")]
    if chosen := os.environ.get("MINIHASH_DATA"):
        folders.insert(0, Path(os.path.expanduser(chosen)))
    return folders


def find_file(folder: Path, name: str) -> Path | None:
    """Return where `folder` holds the file `name`: as .gz, which is what `fetch` writes, or raw.

    Many tools that unpack it write a dot, such as in train-images.idx3-ubyte.
    """
    dotted = name.replace("-idx", ".idx")
    paths = (folder / each for each in (f"{name}.gz", name, f"{dotted}.gz", dotted))
    return next((path for path in paths if path.exists() and not path.is_dir()), None)


def find(source: IdxSource, data_dir: str | os.PathLike[str] | None = None) -> list[Path] | None:
    """Return the paths of the four files of `source`, or None where no folder holds all four.

    A subfolder with the source's name comes before the folders themselves, because the file names
    alone do not tell MNIST from Fashion-MNIST. The contents are not looked at.
    """
    folders = data_folders(data_dir)
    for folder in [folder / source.name for folder in folders] + folders:
        paths = [find_file(folder, file.name) for file in source.files]
        if all(paths):
            return [path for path in paths if path]
    return None


def read_source(source: IdxSource, data_dir: str | os.PathLike[str] | None) -> tuple[Part, Part]:
    """Return the official training rows and test rows of `source`; raises what `load` does."""
    paths = find(source, data_dir)
    if paths is None:
        looked = ", ".join(str(folder) for folder in data_folders(data_dir))
        names = ", ".join(file.name for file in source.files)
        raise FileNotFoundError(
            f"{source.name} is not in {looked} (nor in a subfolder {source.name}); "
            f"get it with: minihash data fetch {source.name}; "
            f"wanted are the files {names}, each with .gz or not, or with .idx for -idx"
        )
    arrays = [_read_checked(source, file, path) for file, path in zip(source.files, paths)]
    return _part(*arrays[:2]), _part(*arrays[2:])


def _read_checked(source: IdxSource, file: IdxFile, path: Path) -> np.ndarray:
    """Read one file; where it is another source's file of the same name, say so."""
    try:
        return file.read(path)
    except DigestError as error:
        for other in SOURCES.values():
            if error.actual in (twin.sha256 for twin in other.files):
                raise ValueError(f"{error}: this is {other.name}, not {source.name}") from None
        raise ValueError(f"{error}: not the official {source.name}") from None


def read_small() -> tuple[Part, Part]:
    """Return the 12,000 training rows and 10,000 test rows that come with the package."""
    file = resources.files("minihash.datasets").joinpath(SMALL_FILE)
    with naming(str(file)):
        content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SMALL_SHA256:
        raise ValueError(f"{file}: sha256 is {digest[:12]}..., wanted {SMALL_SHA256[:12]}...: damaged?")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        train, test = ((arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test"))
        return _part(*train), _part(*test)


def _part(images: np.ndarray, labels: np.ndarray) -> Part:
    """Return images as rows of pixels; labels as int64, in which sums and products cannot wrap."""
    return images.reshape(len(images), -1), labels.astype(np.int64)
