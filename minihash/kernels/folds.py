"""What V's panels are multiplied by: the inputs, for the window map signed and folded, for tiles arranged.

    fold:     a'[n, t(j)] += ξ₂(j) a[n, j]              (batch, columns) -> (batch, S)
    unfold:   ∂L/∂a[n, j] = ξ₂(j) ∂L/∂a'[n, t(j)]       its transpose
    arrange:  a'[n, p(j)] = ξ₂(j) a[n, j]               (batch, columns) -> (batch, G · B), zeros at the end

They are done once, for all rows of V. A hashed bias is the last column, with the input 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minihash import checks
from minihash.kernels.devices import CPU, Device


def fold(inputs: np.ndarray, map: Any, device: Device = CPU) -> np.ndarray:
    """Return the folded inputs (batch, S); for the element map the inputs themselves.

    Raises
    ------
    ValueError for a map whose folds are not known, as all functions here.
    """
    return _of(map).fold(inputs, map, device)


def unfold(grad_folded: np.ndarray, map: Any, features: int, device: Device = CPU) -> np.ndarray:
    """Return the gradient of the inputs (batch, features) from that of the folded, which is used up."""
    return _of(map).unfold(grad_folded, map, features, device)


def folds_bias(map: Any) -> bool:
    """Tell whether the folded inputs have the 1 of a hashed bias in them."""
    return _of(map).folds_bias


def _fold_window(inputs: np.ndarray, map: Any, device: Device) -> np.ndarray:
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


def _unfold_window(grad_folded: np.ndarray, map: Any, features: int, device: Device) -> np.ndarray:
    signs = device.resident(map.signs)
    if not map.folds:
        grad_inputs = grad_folded[:, :features]
        grad_inputs *= signs[:features].astype(grad_folded.dtype)
        return grad_inputs
    grad_inputs = device.xp.empty((len(grad_folded), features), grad_folded.dtype)
    device.kernels.unfold(grad_folded, signs, device.resident(map.places), grad_inputs)
    return grad_inputs


def _fold_tiles(inputs: np.ndarray, map: Any, device: Device) -> np.ndarray:
    features, signs = inputs.shape[1], map.signs.astype(inputs.dtype)
    arranged = device.xp.zeros((len(inputs), map.segments * map.tile), inputs.dtype)
    arranged[:, map.places[:features]] = inputs * signs[:features]
    arranged[:, map.places[features:]] = signs[features:]
    return arranged


def _unfold_tiles(grad_arranged: np.ndarray, map: Any, features: int, device: Device) -> np.ndarray:
    signs = map.signs[:features].astype(grad_arranged.dtype)
    return grad_arranged[:, map.places[:features]] * signs


class _Fold(NamedTuple):
    fold: Callable[..., np.ndarray]  # (inputs, map, device)
    unfold: Callable[..., np.ndarray]  # (grad_folded, map, features, device)
    folds_bias: bool


FOLDS = {
    "element": _Fold(
        lambda inputs, map, device: inputs,
        lambda grad_folded, map, features, device: grad_folded[:, :features],
        folds_bias=False,
    ),
    "window": _Fold(_fold_window, _unfold_window, folds_bias=True),
    "tile": _Fold(_fold_tiles, _unfold_tiles, folds_bias=True),
}


def _of(map: Any) -> _Fold:
    return FOLDS[checks.choice("map", map.name, tuple(FOLDS))]
