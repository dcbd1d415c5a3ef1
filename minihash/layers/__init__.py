"""The layers of a network. Read hashed_linear.py first."""

from minihash.layers.activations import ReLU, Sigmoid, Tanh
from minihash.layers.base import Layer, WeightLayer
from minihash.layers.dropout import Dropout
from minihash.layers.hashed_linear import HashedLinear
from minihash.layers.linear import Linear
from minihash.layers.quantized_hashed_linear import QuantizedHashedLinear
from minihash.layers.registry import register

__all__ = [
    "Dropout",
    "HashedLinear",
    "Layer",
    "Linear",
    "QuantizedHashedLinear",
    "ReLU",
    "Sigmoid",
    "Tanh",
    "WeightLayer",
    "register",
]
