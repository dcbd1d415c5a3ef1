"""What is measured on a GPU: steps of hashed layers beside dense ones, of CuPy and of PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.speed import peers
from benchmarks.speed.cases import Case, Result, check_layer, layer_step
from benchmarks.speed.timing import Samples, Side
from minihash.kernels import devices
from minihash.kernels.devices import Device
from minihash.layers import HashedLinear

BASE = "CuPy dense"
COMPRESSION = 1 / 64
SIDES: dict[str, dict[str, Any]] = {"element": {}, "tiles": {"tile": "auto"}}
SHAPES = {"layer-1024": (1024, 128), "layer-4096": (4096, 128), "batch-1024": (4096, 1024), "row": (4096, 1)}


def gpu_cases() -> dict[str, Case]:
    """Return the cases by name."""
    return {name: functools.partial(layer_case, *shape) for name, shape in SHAPES.items()}


def layer_case(width: int, batch: int, budget: float) -> Iterator[Result]:
    """Measure steps, forward and backward with all gradients, of square layers; each is waited for.

    Raises
    ------
    ImportError or OSError if there is no GPU.
    """
    inputs, grad_outputs = np.random.default_rng(0).normal(size=(2, batch, width)).astype(np.float32)
    device, fixed = devices.get("cuda"), devices.get("cuda", deterministic=True)
    sides = {BASE: _waited_for(peers.dense_step(inputs, grad_outputs, device), device)}
    for name, arguments in SIDES.items():
        sides[name] = _hashed_step(device, inputs, grad_outputs, **arguments)
    sides["element, deterministic"] = _hashed_step(fixed, inputs, grad_outputs)
    sides |= _torch_steps(inputs, grad_outputs)
    samples = Samples(sides, budget)
    for name in list(sides)[1:]:
        case = f"GPU: {width} x {width}, 1/{round(1 / COMPRESSION)}, batch {batch}"
        yield Result(case, name, BASE, 1, samples.ratio(name, BASE))


def _hashed_step(device: Device, inputs: np.ndarray, grad_outputs: np.ndarray, **arguments: Any) -> Side:
    """Return the step of a layer on a device, once it has been held to the dense products on the host."""
    layer = HashedLinear(inputs.shape[1], grad_outputs.shape[1], compression=COMPRESSION, **arguments)
    layer.to(device)
    check_layer(layer, inputs[:2], grad_outputs[:2])
    return _waited_for(layer_step(layer, device.put(inputs), device.put(grad_outputs)), device)


def _waited_for(step: Side, device: Device) -> Side:
    def call() -> None:
        step()
        device.synchronize()

    return call


def _torch_steps(inputs: np.ndarray, grad_outputs: np.ndarray) -> dict[str, Side]:
    """Return the step of a dense layer of PyTorch as users write it, if PyTorch is here and sees the GPU."""
    try:
        torch = peers.torch()
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    module = torch.nn.Linear(inputs.shape[1], grad_outputs.shape[1]).cuda()
    step = peers.module_step(module, inputs, grad_outputs, "cuda")

    def call() -> None:
        step()
        torch.cuda.synchronize()

    return {"PyTorch dense": call}
