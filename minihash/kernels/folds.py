"""What V's panels are multiplied by: the inputs, or for the window map the signed and folded inputs.

    fold:     a'[n, t(j)] += ξ₂(j) a[n, j]              (batch, columns) -> (batch, S)
    unfold:   ∂L/∂a[n, j] = ξ₂(j) ∂L/∂a'[n, t(j)]       its transpose

They are done once, for all rows of V. A hashed bias is the last column, with the input 1.
"""

from __future__ import annotations

import numpy as np

from minihash.kernels.devices import CPU, Device
from minihash.maps import ElementMap, WindowMap


def fold(inputs: np.ndarray, map: ElementMap | WindowMap, device: Device = CPU) -> np.ndarray:
    """Return the folded inputs (batch, S); for the element map the inputs themselves."""
    if not isinstance(map, WindowMap):
        return inputs
    batch, features = inputs.shape
    signs = device.resident(map.signs)
    if map.folds:
        folded = device.xp.zeros((batch, map.window), inputs.dtype)
        device.kernels.fold(inputs, signs, device.resident(map.places), folded)
    else:
        signs = signs.astype(inputs.dtype)
        folded = device.xp.empty((batch, map.columns), inputs.dtype)
        device.xp.multiply(inputs, signs[:features], out=folded[:, :features])
        folded[:, features:] = signs[features:]
    return folded


def unfold(
    grad_folded: np.ndarray, map: ElementMap | WindowMap, features: int, device: Device = CPU
) -> np.ndarray:
    """Return the gradient of the inputs (batch, features) from that of the folded, which is used up."""
    if not isinstance(map, WindowMap):
        return grad_folded[:, :features]
    signs = device.resident(map.signs)
    if not map.folds:
        grad_inputs = grad_folded[:, :features]
        grad_inputs *= signs[:features].astype(grad_folded.dtype)
        return grad_inputs
    grad_inputs = device.xp.empty((len(grad_folded), features), grad_folded.dtype)
    device.kernels.unfold(grad_folded, signs, device.resident(map.places), grad_inputs)
    return grad_inputs
