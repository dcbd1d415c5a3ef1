"""What targets and weights of rows losses take: looked at directly, in the memory of some rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import checks
from minihash.arrays import array_module, on_host

CHECKED_ROWS = 8192  # are looked at together


def check_outputs(outputs: Any, dimensions: tuple[int, ...], name: str = "outputs") -> np.ndarray:
    """Return `outputs` as a floating (or complex) array with a known number of dimensions."""
    outputs = checks.array(name, outputs)
    if outputs.dtype.kind not in "fc":
        raise ValueError(f"{name} has dtype {outputs.dtype}, wanted float32 or float64")
    if outputs.ndim not in dimensions or outputs.size == 0:
        wanted = " or ".join(("(batch,)", "(batch, features)")[d - 1] for d in dimensions)
        raise ValueError(f"{name} has shape {outputs.shape}, wanted {wanted}, not empty")
    return outputs


def beside(name: str, outputs: np.ndarray, values: Any) -> np.ndarray:
    """Return values as an array where the outputs are."""
    values = checks.array(name, values)
    return values if type(values) is type(outputs) else array_module(outputs).asarray(values)


def like(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return targets in the shape and dtype of the outputs."""
    return targets.astype(outputs.dtype, copy=False).reshape(outputs.shape)


def check_shape(targets: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse targets of another shape than the outputs'; (batch,) may stand for (batch, 1)."""
    if targets.shape != shape and (*targets.shape, 1) != shape:
        raise ValueError(f"targets has shape {targets.shape}, wanted {shape} as outputs")
    if targets.dtype.kind not in "fiubc":
        raise ValueError(f"targets has dtype {targets.dtype}, wanted numbers")


def check_numbers(targets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse targets that are not finite in the outputs' dtype."""
    check_shape(targets, shape)
    check_rows("targets", targets, np.isfinite, "a finite number", dtype)


def row_weights(sample_weight: Any, outputs: np.ndarray) -> np.ndarray:
    """Return the rows' weights (batch,), in float64, with the sum 1."""
    batch, xp = len(outputs), array_module(outputs)
    if sample_weight is None:
        return xp.full(batch, 1.0 / batch)
    weight = beside("sample_weight", outputs, sample_weight)
    if weight.shape != (batch,):
        raise ValueError(f"sample_weight has shape {weight.shape}, wanted ({batch},)")
    if weight.dtype.kind not in "fiub":
        raise ValueError(f"sample_weight has dtype {weight.dtype}, wanted numbers")
    weight = weight.astype(np.float64, copy=False)
    check_rows("sample_weight", weight, lambda w: (w >= 0) & np.isfinite(w), "a weight >= 0")
    total = weight.sum()
    if on_host(total) and not 0 < total < np.inf:
        raise ValueError(f"sample_weight has the sum {total:g}, wanted a positive one")
    return weight / total


def check_rows(
    name: str,
    values: np.ndarray,
    is_good: Callable[[np.ndarray], np.ndarray],
    wanted: str,
    dtype: np.dtype | None = None,
) -> None:
    """Raise a ValueError that names the first value that is not good, in a dtype, and its row, if at hand."""
    if not on_host(values):
        return
    for first in range(0, len(values), CHECKED_ROWS):
        block = values[first : first + CHECKED_ROWS].astype(dtype or values.dtype, copy=False)
        if not (good := is_good(block)).all():
            where = tuple(np.argwhere(~good)[0])
            raise ValueError(f"{name} is {block[where]} in row {first + where[0]}, wanted {wanted}")
