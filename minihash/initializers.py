"""First values of parameters, with a second moment that does not depend on the draw.

The virtual weights of a hashed layer are copies of its few stored ones, so a layer with one bucket
would take over that bucket's luck: its variance would be anything from 0 to three times the wanted
one, or more. Both functions therefore rescale what they drew by its root mean square, and even
num_buckets = 1 starts with the variance of the dense layer.
"""

from __future__ import annotations

import math
from typing import Callable

import numpy as np

from minihash import checks

Shape = int | tuple[int, ...]
Initializer = Callable[..., np.ndarray]


def uniform(rng: np.random.Generator, shape: Shape, fan_in: float, gain: float = 1.0) -> np.ndarray:
    """Draw from a uniform distribution around 0, rescaled to an exact second moment.

    `u ~ U(−1, 1)`, then `w = gain / √fan_in · u / √mean(u²)`, so that `mean(w²) = gain² / fan_in`
    for every array, not only on average (up to rounding).

    Parameters
    ----------
    rng : numpy.random.Generator, the only source of randomness.
    shape : int or tuple, the shape of the float64 array, with at least one element.
    fan_in : inputs summed by one output; in_features of a layer, plus one for a hashed bias.
    gain : √2 suits ReLU, 1 suits linear and tanh layers.

    Raises
    ------
    ValueError if `rng` is no Generator, the array would be empty, or `fan_in` or `gain` is not positive.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, for the variance; the exact rescaling is ours.
    """
    _check_arguments(rng, shape)
    return _rescale(rng.uniform(-1.0, 1.0, shape), fan_in, gain)


def normal(rng: np.random.Generator, shape: Shape, fan_in: float, gain: float = 1.0) -> np.ndarray:
    """Draw from a normal distribution around 0, `u ~ N(0, 1)`; all else is as in `uniform`."""
    _check_arguments(rng, shape)
    return _rescale(rng.standard_normal(shape), fan_in, gain)


INITIALIZERS: dict[str, Initializer] = {"uniform": uniform, "normal": normal}


def get(name: str) -> Initializer:
    """Return the initializer called `name` ("uniform" or "normal"); ValueError for another name."""
    return INITIALIZERS[checks.choice("initializer", name, tuple(INITIALIZERS))]


def _rescale(draw: np.ndarray, fan_in: float, gain: float) -> np.ndarray:
    """Scale `draw` in place to the second moment gain² / fan_in."""
    fan_in = checks.number("fan_in", fan_in, 1, 2**32)
    gain = checks.number("gain", gain, 0, 1e6, open_low=True)
    if not draw.any():  # nothing to scale: once in 2⁵³ draws of a single number
        draw.fill(1.0)
    draw *= gain / math.sqrt(fan_in * float(np.mean(np.square(draw))))
    return draw


def _check_arguments(rng: np.random.Generator, shape: Shape) -> None:
    """Refuse what NumPy would answer with an AttributeError, or with an array of nothing."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng is {rng!r}, wanted a numpy.random.Generator")
    if not all(size > 0 for size in np.atleast_1d(shape)):
        raise ValueError(f"shape is {shape}, wanted at least one element")
