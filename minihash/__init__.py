"""minihash: HashedNets, neural-network layers with virtual weight matrices.

The names below are imported at their first use: `import minihash`, and with it `minihash --help`, need not
wait for NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from minihash.version import __version__

if TYPE_CHECKING:
    from minihash import (
        callbacks,
        datasets,
        export,
        gradient_check,
        hashing,
        losses,
        optimizers,
        quantization,
        schedules,
    )
    from minihash.builders import mlp
    from minihash.datasets import read_table
    from minihash.layers import (
        Dropout,
        HashedLinear,
        Linear,
        QuantizedHashedLinear,
        ReLU,
        Sigmoid,
        Tanh,
    )
    from minihash.network import Network
    from minihash.persistence import load, save
    from minihash.training import History, evaluate, fit

_HOMES = {
    "Dropout": "layers",
    "HashedLinear": "layers",
    "Linear": "layers",
    "QuantizedHashedLinear": "layers",
    "ReLU": "layers",
    "Sigmoid": "layers",
    "Tanh": "layers",
    "Network": "network",
    "mlp": "builders",
    "load": "persistence",
    "save": "persistence",
    "read_table": "datasets",
    "History": "training",
    "evaluate": "training",
    "fit": "training",
}

__all__ = [
    "Dropout",
    "HashedLinear",
    "History",
    "Linear",
    "Network",
    "QuantizedHashedLinear",
    "ReLU",
    "Sigmoid",
    "Tanh",
    "__version__",
    "callbacks",
    "datasets",
    "evaluate",
    "export",
    "fit",
    "gradient_check",
    "hashing",
    "load",
    "losses",
    "mlp",
    "optimizers",
    "quantization",
    "read_table",
    "save",
    "schedules",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"minihash.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"minihash.{name}")
    raise AttributeError(f"module 'minihash' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
