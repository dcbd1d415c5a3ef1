"""Cross-entropy of what is yes or no."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihash.arrays import array_module
from minihash.losses.base import Loss, register
from minihash.losses.targets import check_rows, check_shape, like, row_weights


class BinaryCrossEntropy(Loss):
    """Cross-entropy between a probability and the sigmoid of the output; the mean over labels, if several.

    `p = 1 / (1 + exp(−z))`,  `l = 1/L · Σ −t log p − (1 − t) log(1 − p)`,  `∂l/∂z = 1/L · (p − t)`, with L
    labels a row, each computed as `max(z, 0) − t z + log(1 + exp(−|z|))`, which cannot overflow.

    Parameters
    ----------
    outputs : (batch, labels) or (batch,), floating, the logits z.
    targets : numbers in [0, 1], of the same shape, or (batch,) where outputs are (batch, 1).
    sample_weight : (batch,), non-negative and not all zero, or None for equal weights.

    Returns
    -------
    (loss, grad_outputs) : the weighted mean, and its gradient of the shape of `outputs`.

    Raises
    ------
    ValueError
        If the shapes do not match, the batch is empty, a target is outside [0, 1], or the weights
        cannot be averaged with.
    """

    name, scores = "binary_cross_entropy", ("error", "auc")
    classifies = binary = one_output = True

    def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        outputs, targets = self.checked(outputs, targets)
        row_weight = row_weights(sample_weight, outputs)

        xp, targets = array_module(outputs), like(outputs, targets)
        positive = outputs.real >= 0
        decay = xp.exp(xp.where(positive, -outputs, outputs))  # exp(−|z|), in (0, 1]
        losses = xp.where(positive, outputs, 0) - targets * outputs + xp.log1p(decay)

        grad_outputs = xp.where(positive, 1, decay) / (1 + decay) - targets
        rows = grad_outputs.reshape(len(outputs), -1)  # a view: what is done to it is done to grad_outputs
        rows *= (row_weight / rows.shape[1])[:, None]
        return (row_weight @ losses.reshape(rows.shape).mean(axis=1)).item(), grad_outputs

    @staticmethod
    def fused(outputs: Any, targets: Any, weight: Any, grad: Any) -> tuple[float, bool]:
        """Do the same, see `Loss`."""
        total, good, labels = 0.0, True, outputs.shape[1]
        for n in range(len(outputs)):
            for i in range(labels):
                z, t = outputs[n, i], targets[n, i]
                good = good and 0 <= t <= 1
                decay = math.exp(-abs(z))
                total += weight[n] * (max(z, 0) - t * z + math.log1p(decay)) / labels
                grad[n, i] = ((1 if z >= 0 else decay) / (1 + decay) - t) * weight[n] / labels
        return total, good

    def task_with(self, outputs: int | None) -> str | None:
        if outputs is None:
            return None
        return "binary" if outputs == 1 else "multilabel"

    def check_targets(self, targets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if targets.shape == shape[:1] and shape[1:] > (1,):
            wanted = f"{shape} numbers from 0 to 1; of one class a row, loss='softmax_cross_entropy'"
            raise ValueError(f"targets has shape {targets.shape}, wanted {wanted}")
        check_shape(targets, shape)
        check_rows("targets", targets, lambda t: (t.real >= 0) & (t.real <= 1), "0 <= target <= 1", dtype)

    def misfit(self, low: float, high: float, whole: bool, outputs: float) -> str:
        return "" if 0 <= low and high <= 1 else "numbers from 0 to 1"

    def labels(self, targets: np.ndarray) -> np.ndarray:
        return (targets.reshape(-1) > 0.5).astype(np.intp)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return those of no and yes, (rows, 2), or of several labels (rows, labels) that of yes for each."""
        from scipy.special import expit

        return np.hstack([expit(-outputs), expit(outputs)]) if outputs.shape[1] == 1 else expit(outputs)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        yes = (outputs > 0).astype(np.intp)
        return yes[:, 0] if outputs.shape[1] == 1 else yes


binary_cross_entropy = register(BinaryCrossEntropy())
