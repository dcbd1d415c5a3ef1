"""The kernels on GPUs that are none: Numba's simulator, and the lockstep machine in three orders."""

from __future__ import annotations

import functools
import importlib

import lockstep
import numpy as np
import pytest
from strict_card import KERNELS_OF_A_DEVICE

CARDS = ("simulator", *lockstep.ORDERS)
every_card = pytest.mark.parametrize("card", CARDS)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
fast_or_deterministic = pytest.mark.parametrize("name", ["KERNELS", "DETERMINISTIC"])


def make_small(module):
    """Let tiny arrays have many blocks, the last of them partly empty, and threads several rows."""
    launcher = module.LAUNCHER
    launcher.threads, launcher.rows, launcher.blocks, launcher.down = 5, 2, 2, 3
    return module


@functools.cache
def kernels_on(card):
    """Return the module of kernels on a card."""
    if card == "simulator":
        return make_small(importlib.import_module("minihash.kernels.numba_cuda"))
    return make_small(lockstep.load(lockstep.Machine(card)))


class Twin:
    """A module of kernels as the CPU's tests want it, with its fast or its deterministic sums."""

    def __init__(self, module, name="KERNELS"):
        self.KERNELS = getattr(module, name)
        for function in KERNELS_OF_A_DEVICE:
            setattr(self, function, getattr(module, function))


def twin_on(card, name="KERNELS"):
    return Twin(kernels_on(card), name)
