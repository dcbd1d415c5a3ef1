"""Which arrays are images: their pixels are divided by 255, other numbers are taken as they are."""

from __future__ import annotations

import numpy as np

BRIGHT = 128  # the largest value of images is no less; 0/1 features, counts and fingerprints are below


def are_pixels(inputs: np.ndarray) -> bool:
    """Tell whether inputs are pixels from 0 to 255.

    They are if they are uint8 of the shape (rows, height, width) or (rows, height, width, channels), or, as
    a matrix (rows, features), if the largest of them is BRIGHT or more.
    """
    return inputs.dtype == np.uint8 and (inputs.ndim in (3, 4) or bool(inputs.max(initial=0) >= BRIGHT))


def scaling(inputs: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Return what inputs are to be multiplied by, 1/255 for pixels and else 1, and the notes on it."""
    if inputs.dtype != np.uint8 or not inputs.size:
        return 1.0, ()
    found = f"inputs: uint8 from {inputs.min()} to {inputs.max()}"
    if are_pixels(inputs):
        return 1 / 255, (f"{found}, taken for pixels and divided by 255",)
    return 1.0, (f"{found}, taken as they are (a matrix of pixels has values of {BRIGHT} or more)",)
