"""The layers of a network. Read hashed_linear.py first."""

from minihash.layers.activations import ReLU, Sigmoid, Tanh
from minihash.layers.base import Layer, WeightLayer
from minihash.layers.dropout import Dropout
from minihash.layers.hashed_linear import HashedLinear
from minihash.layers.linear import Linear
from minihash.layers.quantized_hashed_linear import QuantizedHashedLinear
from minihash.layers.registry import register
from minihash.layers.rounding import Rounding

__all__ = [
    "Dropout",
    "HashedLinear",
    "Layer",
    "Linear",
    "QuantizedHashedLinear",
    "ReLU",
    "Rounding",
    "Sigmoid",
    "Tanh",
    "WeightLayer",
    "register",
]
