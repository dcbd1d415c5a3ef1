"""The two kernels that hold all the hashing maths, `expand` and `aggregate`, and the choice of a twin.

`numba_cpu` is used wherever Numba can be imported, else `numpy_cpu`; the environment variable
MINIHASH_KERNELS (numba or numpy) forces one. Numba is imported at the first use, not before.
"""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType

from minihash import checks

NAMES = ("numba", "numpy")


def get() -> ModuleType:
    """Return the kernel module in use.

    Raises
    ------
    ValueError if MINIHASH_KERNELS names no kernels, ImportError if it asks for Numba and there is none.
    """
    return _load(os.environ.get("MINIHASH_KERNELS", ""))


@functools.cache
def _load(name: str) -> ModuleType:
    if name:
        checks.choice("MINIHASH_KERNELS", name, NAMES)
        return importlib.import_module(f"minihash.kernels.{name}_cpu")
    try:
        return importlib.import_module("minihash.kernels.numba_cpu")
    except ImportError:
        return importlib.import_module("minihash.kernels.numpy_cpu")
