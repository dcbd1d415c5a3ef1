"""What V's panels are multiplied by: the inputs, or for the window map the signed and folded inputs.

    fold:     a'[n, t(j)] += ξ₂(j) a[n, j]              (batch, columns) -> (batch, S)
    unfold:   ∂L/∂a[n, j] = ξ₂(j) ∂L/∂a'[n, t(j)]       its transpose

They are done once, for all rows of V. A hashed bias is the last column, with the input 1.
"""

from __future__ import annotations

import numpy as np

from minihash import kernels
from minihash.maps import ElementMap, WindowMap


def fold(inputs: np.ndarray, map: ElementMap | WindowMap) -> np.ndarray:
    """Return the folded inputs (batch, S); for the element map the inputs themselves."""
    if not isinstance(map, WindowMap):
        return inputs
    batch, features = inputs.shape
    if map.folds:
        folded = np.zeros((batch, map.window), inputs.dtype)
        kernels.module().fold(inputs, map.signs, map.places, folded)
    else:
        signs = map.signs.astype(inputs.dtype)
        folded = np.empty((batch, map.columns), inputs.dtype)
        np.multiply(inputs, signs[:features], out=folded[:, :features])
        folded[:, features:] = signs[features:]
    return folded


def unfold(grad_folded: np.ndarray, map: ElementMap | WindowMap, features: int) -> np.ndarray:
    """Return the gradient of the inputs (batch, features) from that of the folded, which is used up."""
    if not isinstance(map, WindowMap):
        return grad_folded[:, :features]
    if not map.folds:
        grad_inputs = grad_folded[:, :features]
        grad_inputs *= map.signs[:features].astype(grad_folded.dtype)
        return grad_inputs
    grad_inputs = np.empty((len(grad_folded), features), grad_folded.dtype)
    kernels.module().unfold(grad_folded, map.signs, map.places, grad_inputs)
    return grad_inputs
