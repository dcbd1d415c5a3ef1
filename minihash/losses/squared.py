"""Squared differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihash.arrays import array_module
from minihash.losses.base import Loss, register
from minihash.losses.targets import check_numbers, like, row_weights


class MeanSquaredError(Loss):
    """Mean of squared differences, over the elements of a row and then over the rows.

    `l = 1/D · Σ_d (z_d − t_d)²`,  `∂l/∂z_d = 2/D · (z_d − t_d)`, with D elements a row.

    Parameters
    ----------
    outputs : (batch, features) or (batch,), floating, the predictions z.
    targets : of the same shape, or (batch,) where outputs are (batch, 1).
    sample_weight : (batch,), non-negative and not all zero, or None for equal weights.

    Returns
    -------
    (loss, grad_outputs) : the weighted mean, and its gradient of the shape of `outputs`.

    Raises
    ------
    ValueError
        If the shapes do not match, the batch is empty, a target is not finite, or the weights
        cannot be averaged with.
    """

    name, task, scores = "mean_squared_error", "regression", ("r2", "mae", "rmse")
    one_output = True
    check_targets = staticmethod(check_numbers)

    def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        outputs, targets = self.checked(outputs, targets)
        xp = array_module(outputs)
        difference = outputs - like(outputs, targets)
        row_weight = row_weights(sample_weight, outputs)

        rows = difference.reshape(len(outputs), -1)  # a view: what is done to it is done to difference
        losses = xp.square(rows).mean(axis=1)
        rows *= (2.0 / rows.shape[1]) * row_weight[:, None]
        return (row_weight @ losses).item(), difference

    @staticmethod
    def fused(outputs: Any, targets: Any, weight: Any, grad: Any) -> tuple[float, bool]:
        """Do the same, see `Loss`."""
        total, good, features = 0.0, True, outputs.shape[1]
        for n in range(len(outputs)):
            for d in range(features):
                good = good and math.isfinite(targets[n, d])
                difference = outputs[n, d] - targets[n, d]
                total += weight[n] * difference * difference / features
                grad[n, d] = difference * (2 * weight[n] / features)
        return total, good


mean_squared_error = register(MeanSquaredError())
