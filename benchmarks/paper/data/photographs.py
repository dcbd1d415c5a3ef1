"""Backgrounds of BG-IMG: patches of grey photographs, of scikit-image's or of any folder of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib import util
from pathlib import Path

import numpy as np

#: Files in scikit-image's wheel (nothing is downloaded). Left out: drawings and binary pictures, scans
#: of print (strokes like those of digits), thumbnails, and the right eye's twin of the motorcycle.
BUNDLED = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp")
MIN_DEVIATION = 10.0  # grey levels of 255, the standard deviation of a patch
MAX_REFUSED = 200  # patches in a row, for one that is wanted


def read_bundled() -> list[np.ndarray]:
    """Return scikit-image's photographs in grey; ImportError with the cure where it is missing."""
    spec = util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ImportError(
            "photographs for the background need scikit-image: pip install scikit-image, "
            "or name a folder of your own: python -m benchmarks.paper make NAME --photographs FOLDER"
        )
    folder = Path(spec.origin).with_name("data")  # the files: skimage.data's functions may download
    return [read_grey(folder / name) for name in BUNDLED]


def read_folder(folder: str | os.PathLike[str]) -> list[np.ndarray]:
    """Return all photographs of a folder in grey, by the order of their names.

    Files with other endings than ENDINGS are passed over, and so are subfolders.

    Raises
    ------
    ValueError : no photograph, or one that is damaged. OSError : the folder cannot be read.
    """
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in ENDINGS)
    if not paths:
        wanted = f"wanted files that end in {', '.join(ENDINGS)}"
        raise ValueError(f"{os.fspath(folder)}: has no photographs, {wanted}")
    return [read_grey(path) for path in paths]


def read_grey(path: Path) -> np.ndarray:
    """Return a photograph as luma, uint8 (rows, columns), at its own size; ValueError if damaged."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("reading photographs needs Pillow: pip install pillow") from None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except FileNotFoundError:
        raise
    # Pillow raises all of these for damaged files.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a photograph that can be read ({error})") from None


def digest(photographs: Sequence[np.ndarray]) -> str:
    """Return a sha256 of the pixels and sizes, by which two sets of photographs are told apart."""
    state = hashlib.sha256()
    for photograph in photographs:
        state.update(f"{photograph.shape}".encode())
        state.update(np.ascontiguousarray(photograph).tobytes())
    return state.hexdigest()


def draw_patches(
    photographs: Sequence[np.ndarray], shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Return random patches: a photograph, each as likely, then a place in it, each as likely.

    As in the paper, patches of low variance are refused and drawn again. Its threshold is not published:
    here a standard deviation of MIN_DEVIATION grey levels, which refuses plain sky and keeps grass.
    Photographs are not scaled. Training and test rows draw from the same ones.

    Parameters
    ----------
    photographs : uint8 (rows, columns) each, no smaller than a patch.
    shape : (count, height, width) of the patches.

    Raises
    ------
    ValueError : no photographs, or one smaller than a patch, or hardly a patch that is not plain.
    """
    count, *size = shape
    if not photographs:
        raise ValueError("photographs is empty, wanted at least one")
    for number, photograph in enumerate(photographs):
        if photograph.ndim != 2 or min(np.subtract(photograph.shape, size)) < 0:
            wanted = "at least " + " x ".join(map(str, size))
            raise ValueError(f"photographs[{number}] has shape {photograph.shape}, wanted {wanted} pixels")

    windows = [np.lib.stride_tricks.sliding_window_view(photograph, size) for photograph in photographs]
    patches = np.empty(shape, np.uint8)
    done = refused = 0
    while done < count:
        drawn = _draw(windows, min(4096, 2 * count), rng)
        kept = drawn[drawn.std(axis=(1, 2)) >= MIN_DEVIATION][: count - done]
        patches[done : done + len(kept)] = kept
        done += len(kept)
        refused += len(drawn) - len(kept)
        if refused > MAX_REFUSED * (done + 1) and done < count:
            raise ValueError(f"photographs are plain: {refused} patches of {refused + done} were refused")
    return patches


def _draw(windows: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` patches, plain or not."""
    which = rng.integers(len(windows), size=count)
    places = rng.random((count, 2))
    patches = np.empty((count, *windows[0].shape[2:]), np.uint8)
    for number, window in enumerate(windows):
        of_this = which == number
        rows, columns = (places[of_this] * window.shape[:2]).astype(int).T
        patches[of_this] = window[rows, columns]
    return patches
