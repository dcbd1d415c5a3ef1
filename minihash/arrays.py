"""Arrays of NumPy and of devices: what is written against an array module runs on either.

An array module has NumPy's names: NumPy itself, or CuPy. Every function of layers, losses and optimizers asks
its arrays for theirs, and passes on what it gets; only devices.py moves arrays between memories.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def on_host(array: Any) -> bool:
    """Tell whether an array is in the memory of the host, so that looking at its numbers costs nothing."""
    return isinstance(array, np.ndarray) or getattr(array, "__cuda_array_interface__", None) is None


def array_module(array: Any) -> Any:
    """Return the module with the functions for an array: NumPy, or that of an array on a device."""
    return np if on_host(array) else sys.modules[type(array).__module__.partition(".")[0]]


def as_array(value: Any) -> Any:
    """Return an array on a device as it is, and anything else as an array of NumPy."""
    if type(value) is np.ndarray:  # as nearly always, and small layers take hardly longer than questions
        return value
    return np.asarray(value) if on_host(value) else value
