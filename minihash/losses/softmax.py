"""Cross-entropy of classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihash.arrays import array_module, on_host
from minihash.losses.base import Loss, of_task, register
from minihash.losses.targets import check_rows, check_shape, row_weights


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy between target classes and the softmax of the outputs.

    `p_c = exp(z_c) / Σ_k exp(z_k)`,  `l = −Σ_c t_c log p_c`,  `∂l/∂z_c = p_c − t_c`.
    The largest output of a row is subtracted first, which changes nothing but the overflow.

    Parameters
    ----------
    outputs : (batch, classes), floating, the logits z.
    targets : (batch,) integer labels 0 … classes − 1, or (batch, classes) rows of probabilities t.
    sample_weight : (batch,), non-negative and not all zero, or None for equal weights.

    Returns
    -------
    (loss, grad_outputs) : the weighted mean, and its gradient of shape (batch, classes).

    Raises
    ------
    ValueError
        If the shapes do not match, the batch is empty, a label is no integer or out of range, a row
        of probabilities is negative or does not sum to 1, or the weights cannot be averaged with.

    Examples
    --------
    >>> loss, grad_outputs = softmax_cross_entropy(np.zeros((2, 2)), [0, 1])
    >>> round(loss, 6), grad_outputs.tolist()
    (0.693147, [[-0.25, 0.25], [0.25, -0.25]])

    Source
    ------
    Bridle: *Probabilistic Interpretation of Feedforward Classification Network Outputs*, 1990.
    """

    name, task, scores = "softmax_cross_entropy", "classification", ("error",)
    classifies, dimensions = True, (2,)

    def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        outputs, targets = self.checked(outputs, targets)
        row_weight = row_weights(sample_weight, outputs)

        xp = array_module(outputs)
        shifted = outputs - outputs.real.max(axis=1, keepdims=True)
        grad_outputs = xp.exp(shifted)
        totals = grad_outputs.sum(axis=1, keepdims=True)
        if targets.ndim == 1:
            chosen = xp.arange(len(outputs)), targets
            losses = xp.log(totals[:, 0]) - shifted[chosen]
            grad_outputs *= 1 / totals
            grad_outputs[chosen] -= 1
        else:
            targets = targets.astype(outputs.dtype, copy=False)
            losses = (targets * (xp.log(totals) - shifted)).sum(axis=1)
            # With Σ t written out, this is the gradient of the line above even where Σ t is 1 only nearly.
            grad_outputs *= targets.sum(axis=1, keepdims=True) / totals
            grad_outputs -= targets
        grad_outputs *= row_weight[:, None]
        return (row_weight @ losses).item(), grad_outputs

    @staticmethod
    def fused(outputs: Any, targets: Any, weight: Any, grad: Any) -> tuple[float, bool]:
        """Do the same for labels, see `Loss`."""
        total, classes = 0.0, outputs.shape[1]
        for n in range(len(outputs)):
            if not 0 <= targets[n, 0] < classes:
                return total, False
            label, largest, powers = int(targets[n, 0]), outputs[n].max(), 0.0
            for c in range(classes):
                grad[n, c] = math.exp(outputs[n, c] - largest)
                powers += grad[n, c]
            total += weight[n] * (math.log(powers) - (outputs[n, label] - largest))
            for c in range(classes):
                grad[n, c] /= powers
            grad[n, label] -= 1  # before the weight: where p is 1, nothing is left
            for c in range(classes):
                grad[n, c] *= weight[n]
        return total, True

    def check_targets(self, targets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
        batch, classes = shape
        if targets.shape == (batch,):
            if targets.dtype.kind not in "iu":
                if targets.dtype.kind == "f":
                    check_rows("targets", targets, np.isfinite, "a label")
                wanted = f"integer labels{_meant(targets, classes)}"
                raise ValueError(f"targets has dtype {targets.dtype}, wanted {wanted}")
            wanted = f"a label 0 <= label < {classes}"
            try:
                check_rows("targets", targets, lambda t: (t >= 0) & (t < classes), wanted)
            except ValueError as error:
                raise ValueError(f"{error}{_meant(targets, classes)}") from None
            return
        if targets.shape != shape:
            wanted = f"({batch},) labels or {shape} probabilities"
            wanted += ": targets.squeeze()" if targets.shape == (batch, 1) else ""
            raise ValueError(f"targets has shape {targets.shape}, wanted {wanted}")
        check_shape(targets, shape)
        check_rows("targets", targets, lambda t: t.real >= 0, "a probability", dtype)
        sums = targets.sum(axis=1, dtype=np.result_type(targets.dtype, dtype))
        check_rows("the sum of targets", sums, lambda sums: abs(sums - 1) <= 1e-3, "1")

    def misfit(self, low: float, high: float, whole: bool, outputs: float) -> str:
        fits = whole and 0 <= low and high < outputs
        return "" if fits else f"labels, whole numbers from 0 to less than {outputs}"

    def prepare(self, targets: np.ndarray) -> np.ndarray:
        return targets.astype(np.int64, copy=False) if targets.ndim == 1 else targets

    def labels(self, targets: np.ndarray) -> np.ndarray:
        return targets if targets.ndim == 1 else targets.argmax(axis=1)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        return softmax(outputs)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.argmax(axis=1)


def _meant(targets: np.ndarray, classes: int) -> str:
    """Return what to pass instead of targets (rows,) that are no labels; "" if nobody knows."""
    if targets.dtype.kind not in "fiub" or not on_host(targets):
        return ""
    if classes == 1:
        return "; with one output, loss='binary_cross_entropy', or of numbers 'mean_squared_error'"
    if targets.dtype.kind in "iu":
        return ": targets - 1" if targets.min() == 1 and targets.max() == classes else ""
    whole = (targets == np.rint(targets)).all()
    return ": targets.astype(int)" if whole else "; of numbers, loss='mean_squared_error'"


softmax_cross_entropy = register(SoftmaxCrossEntropy())


def class_probabilities(outputs: np.ndarray, task: str | None = "classification") -> np.ndarray:
    """Return the probabilities of the classes that the outputs of a network for a task stand for."""
    return of_task(task).probabilities(outputs)


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Return `exp(z_c) / Σ_k exp(z_k)` of each row, without overflow."""
    powers = array_module(outputs).exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
