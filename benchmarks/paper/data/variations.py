"""The variations of MNIST's digits: BASIC, ROT, BG-RAND, BG-IMG and BG-IMG-ROT.

The recipe is that of Larochelle, Erhan, Courville, Bergstra and Bengio, "An empirical evaluation of
deep architectures on problems with many factors of variation" (ICML 2007), as far as it is
published. What is not is chosen here, and said where it is chosen: which digits (`draw_digits`),
the interpolation (`rotate`), how digit and background are joined (`overlay`), and which patches of
photographs count as too plain (`photographs.draw_patches`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.paper.data.photographs import draw_patches
from minihash import checks
from minihash.datasets.dataset import Part

NAMES = ("basic", "rot", "bg-rand", "bg-img", "bg-img-rot")
WITH_PHOTOGRAPHS = ("bg-img", "bg-img-rot")
SEED = 2007  # the year of the paper; part of what the sets are


def make(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    photographs: Sequence[np.ndarray] = (),
    *,
    train: int = 12_000,
    test: int = 50_000,
    seed: int = SEED,
) -> tuple[Part, Part]:
    """Return the training rows (the paper's 2,000 validation rows at their end) and the test rows.

    With the same seed, row r of every variation is the same digit, at the same angle wherever it is
    turned, before the same patch wherever that is of a photograph: errors on two variations differ
    by what is varied and not by the draw.

    Parameters
    ----------
    name : one of NAMES.
    images, labels : the digits to draw from, uint8 (count, height, width) and integers (count,).
    photographs : grey ones, uint8 (rows, columns) each; needed by those of WITH_PHOTOGRAPHS.
    train, test : rows wanted; no digit is in two of them.
    seed : of everything that is drawn.

    Raises
    ------
    ValueError : unknown name, too few digits, or photographs that are missing or too plain.
    """
    checks.choice("name", name, NAMES)
    digit_rng, angle_rng, background_rng = (np.random.default_rng([seed, part]) for part in range(3))
    rows = draw_digits(len(images), train + test, digit_rng)
    images, labels = images[rows], labels[rows]
    if name in ("rot", "bg-img-rot"):
        images = rotate(images, angle_rng.uniform(0, 2 * np.pi, len(images)))
    if name == "bg-rand":
        images = overlay(images, background_rng.integers(0, 256, images.shape, dtype=np.uint8))
    elif name in WITH_PHOTOGRAPHS:
        images = overlay(images, draw_patches(photographs, images.shape, background_rng))
    inputs = images.reshape(len(images), -1)
    return (inputs[:train], labels[:train]), (inputs[train:], labels[train:])


def draw_digits(available: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Return which of the `available` digits are taken, int64 (wanted,): none of them twice.

    The authors do not say which of MNIST's 70,000 digits they took. As the 50,000 test rows are more
    than MNIST's own 10,000, all 70,000 are shuffled; so a writer may be in training and test rows.
    """
    if available < wanted:
        raise ValueError(f"images has {available} digits, wanted at least {wanted}")
    return rng.permutation(available)[:wanted]


def rotate(images: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return images turned counterclockwise about their centres; what comes in at the edges is black.

    Bilinear interpolation: the authors' is not published, and this one neither rings nor makes a value
    that is not between those of the digit.

    Parameters
    ----------
    images : uint8 (count, height, width).
    angles : radians, (count,).

    Returns
    -------
    uint8 (count, height, width), rounded.
    """
    from scipy import ndimage  # slow to import

    turned = np.empty_like(images)
    centre = (np.array(images.shape[1:]) - 1) / 2
    for image, out, cos, sin in zip(images, turned, np.cos(angles), np.sin(angles)):
        back = np.array([[cos, sin], [-sin, cos]])  # from a place (row, column) to where it came from
        pixels = ndimage.affine_transform(
            image, back, centre - back @ centre, order=1, mode="grid-constant", output=np.float32
        )
        out[...] = np.rint(pixels)
    return turned


def overlay(images: np.ndarray, backgrounds: np.ndarray) -> np.ndarray:
    """Return the brighter of digit and background, pixel by pixel.

    How the authors joined them is not published. The other obvious way, the digit wherever it has ink,
    leaves a dark rim of faint ink around every stroke, by which it is told from any background.
    """
    return np.maximum(images, backgrounds)
