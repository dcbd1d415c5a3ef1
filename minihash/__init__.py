"""minihash: HashedNets, neural-network layers with virtual weight matrices."""

from minihash import callbacks, datasets, hashing, losses, optimizers, schedules
from minihash.layers import Dropout, HashedLinear, Linear, ReLU, Sigmoid, Tanh
from minihash.network import Network, mlp
from minihash.persistence import load, save
from minihash.training import History, evaluate, fit
from minihash.version import __version__

__all__ = [
    "Dropout",
    "HashedLinear",
    "History",
    "Linear",
    "Network",
    "ReLU",
    "Sigmoid",
    "Tanh",
    "__version__",
    "callbacks",
    "datasets",
    "evaluate",
    "fit",
    "hashing",
    "load",
    "losses",
    "mlp",
    "optimizers",
    "save",
    "schedules",
]
