"""What minihash is compared with: dense layers of PyTorch and NumPy, a hashed layer with a stored index.

Each peer computes the step of a layer, forward and backward, with the gradients of inputs and weights.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.speed.timing import Side
from minihash.kernels.devices import CPU, Device
from minihash.layers import HashedLinear


def torch() -> Any:
    """Return the module torch; ImportError with the cure if it is missing."""
    try:
        return import_module("torch")
    except ImportError:
        raise ImportError("bench compares with PyTorch: pip install torch") from None


def preallocated_step(inputs: np.ndarray, grad_outputs: np.ndarray) -> Side:
    """The three products of a dense layer in PyTorch, into arrays that stay."""
    torch_ = torch()
    a, delta = torch_.from_numpy(inputs), torch_.from_numpy(grad_outputs)
    weight = torch_.rand(delta.shape[1], a.shape[1])
    bias = torch_.rand(delta.shape[1])
    z, grad_a, grad_weight = torch_.empty_like(delta), torch_.empty_like(a), torch_.empty_like(weight)
    grad_bias = torch_.empty_like(bias)

    def step() -> None:
        torch_.addmm(bias, a, weight.t(), out=z)
        torch_.mm(delta, weight, out=grad_a)
        torch_.mm(delta.t(), a, out=grad_weight)
        torch_.sum(delta, 0, out=grad_bias)

    return step


def stored_index_layer(layer: HashedLinear) -> Any:
    """The usual HashedLinear of PyTorch: the index of every virtual weight is stored."""
    torch_ = torch()
    module: Any = torch_.nn.Module

    class StoredIndexLinear(module):
        def __init__(self) -> None:
            super().__init__()
            i, j = np.arange(layer.out_features)[:, None], np.arange(layer.columns)
            buckets, signs = layer.bucket_map(i, j)
            self.weight = torch_.nn.Parameter(torch_.from_numpy(layer.weight.copy()))
            self.register_buffer("buckets", torch_.from_numpy(buckets))
            self.register_buffer("signs", torch_.from_numpy(signs.astype(np.float32)))

        def forward(self, a: Any) -> Any:
            V = self.weight[self.buckets] * self.signs
            bias = V[:, -1] if layer.bias == "hashed" else None
            return torch_.nn.functional.linear(a, V[:, : a.shape[1]], bias)

    return StoredIndexLinear()


def module_step(module: Any, inputs: np.ndarray, grad_outputs: np.ndarray, where: str = "cpu") -> Side:
    """The step of a PyTorch module as users write it: gradients are made anew in every step."""
    a, delta = (torch().from_numpy(array.copy()).to(where) for array in (inputs, grad_outputs))
    a.requires_grad_()

    def step() -> Any:
        module.zero_grad()
        a.grad = None
        outputs = module(a)
        outputs.backward(delta)
        return outputs

    return step


def dense_step(inputs: np.ndarray, grad_outputs: np.ndarray, device: Device = CPU) -> Side:
    """A dense layer of NumPy, or of CuPy on a GPU, into arrays that stay."""
    xp, a, delta = device.xp, device.put(inputs), device.put(grad_outputs)
    weight = device.put(np.random.default_rng(0).random((delta.shape[1], a.shape[1]), np.float32))
    z, grad_a, grad_weight = xp.empty_like(delta), xp.empty_like(a), xp.empty_like(weight)

    def step() -> None:
        xp.matmul(a, weight.T, out=z)
        xp.matmul(delta, weight, out=grad_a)
        xp.matmul(delta.T, a, out=grad_weight)

    return step
