"""A GPU that is none: strict arrays, and kernels of any twin that are handed what is in them."""

from __future__ import annotations

from typing import Any

import strict

from minihash.kernels import Kernels as KernelsOfAMap
from minihash.kernels.devices import GPU

#: Kernels that are not those of a map, and that a layer or shared products ask a device for.
KERNELS_OF_A_DEVICE = ("drop", "arrange", "arrange_back", "gather", "scatter", "transpose")


def unwrapping(kernel: Any) -> Any:
    def call(*arguments: Any, **options: Any) -> None:
        kernel(*map(strict._inner, arguments), **options)  # which refuses arrays of the host

    return call


class Kernels:
    """A module of kernels for strict arrays; of maps it knows what numba_cuda.py knows."""

    def __init__(self, module: Any, name: str = "KERNELS") -> None:
        known = getattr(module, name).items()
        self.KERNELS = {
            map: KernelsOfAMap(*(one and unwrapping(one) for one in kernels)) for map, kernels in known
        }
        for function in KERNELS_OF_A_DEVICE:
            setattr(self, function, unwrapping(getattr(module, function)))


class StrictCard(GPU):
    """A GPU with strict arrays."""

    def __init__(self, module: Any, name: str = "KERNELS") -> None:
        super().__init__(strict, Kernels(module, name))
        self.waited = 0

    def synchronize(self) -> None:
        self.waited += 1

    def __reduce__(self) -> Any:
        raise TypeError("a device is not copied")

    def __deepcopy__(self, memo: Any) -> StrictCard:
        return self
