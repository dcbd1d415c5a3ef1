"""Losses: what a batch of outputs costs, and the gradient of that cost.

Every loss is called as `loss(outputs, targets, sample_weight=None)` and returns the pair

    L = Σ_n s_n l_n            the mean of the rows' losses, s_n = 1 / batch or weight_n / Σ weight
    grad_outputs = ∂L/∂outputs, of the shape and dtype of `outputs`

so the division by the batch is already in the gradient, and `Network.backward` takes it as it is.
Outputs may be on a device; their gradient is then, and the mean is a number read from there. Of targets and
weights on a device only shapes are checked, as to look at their numbers would take a transfer: a label out of
range is not noticed there. `fit` checks them before.
Complex outputs are computed by the same, analytic, lines (no absolute value, comparisons of real
parts only): they are for complex-step gradient checks, and then L is complex.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import numpy as np

from minihash import checks
from minihash.arrays import array_module
from minihash.losses.targets import (
    beside,
    check_classes,
    check_fractions,
    check_numbers,
    check_outputs,
    check_targets,
    check_teacher,
    like,
    row_weights,
)

__all__ = [
    "CLASSIFIERS",
    "LOSSES",
    "Loss",
    "binary_cross_entropy",
    "check_targets",
    "class_probabilities",
    "distillation",
    "distillation_targets",
    "get",
    "labels_of",
    "mean_squared_error",
    "name_of",
    "row_weights",
    "softmax_cross_entropy",
]

Loss = Callable[..., tuple[float, np.ndarray]]


def softmax_cross_entropy(
    outputs: Any, targets: Any, sample_weight: Any = None
) -> tuple[float, np.ndarray]:
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
    outputs = check_outputs(outputs, (2,))
    targets = beside("targets", outputs, targets)
    check_classes(targets, outputs.shape, outputs.dtype)
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


def mean_squared_error(
    outputs: Any, targets: Any, sample_weight: Any = None
) -> tuple[float, np.ndarray]:
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
    outputs = check_outputs(outputs, (1, 2))
    targets = beside("targets", outputs, targets)
    check_numbers(targets, outputs.shape, outputs.dtype)
    xp = array_module(outputs)
    difference = outputs - like(outputs, targets)
    row_weight = row_weights(sample_weight, outputs)

    rows = difference.reshape(len(outputs), -1)  # a view: what is done to it is done to difference
    losses = xp.square(rows).mean(axis=1)
    rows *= (2.0 / rows.shape[1]) * row_weight[:, None]
    return (row_weight @ losses).item(), difference


def binary_cross_entropy(
    outputs: Any, targets: Any, sample_weight: Any = None
) -> tuple[float, np.ndarray]:
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
    outputs = check_outputs(outputs, (1, 2))
    targets = beside("targets", outputs, targets)
    check_fractions(targets, outputs.shape, outputs.dtype)
    row_weight = row_weights(sample_weight, outputs)

    xp, targets = array_module(outputs), like(outputs, targets)
    positive = outputs.real >= 0
    decay = xp.exp(xp.where(positive, -outputs, outputs))  # exp(−|z|), in (0, 1]
    losses = xp.where(positive, outputs, 0) - targets * outputs + xp.log1p(decay)

    grad_outputs = xp.where(positive, 1, decay) / (1 + decay) - targets
    rows = grad_outputs.reshape(len(outputs), -1)  # a view, as above
    rows *= (row_weight / rows.shape[1])[:, None]
    return (row_weight @ losses.reshape(rows.shape).mean(axis=1)).item(), grad_outputs


def distillation(
    outputs: Any,
    targets: Any,
    sample_weight: Any = None,
    *,
    temperature: float = 4.0,
    weight: float = 0.9,
) -> tuple[float, np.ndarray]:
    """Cross-entropy with labels, and with the softened outputs of a teacher (dark knowledge).

    `l = (1 − w) · CE(t, softmax(z)) + w · T² · CE(softmax(v / T), softmax(z / T))` with the logits z of
    the student and v of the teacher; `∂l/∂z = (1 − w) · (p − t) + w · T · (softmax(z / T) − softmax(v / T))`.
    T² keeps the size of the second gradient where T changes.

    Parameters
    ----------
    outputs : (batch, classes), floating, the logits z.
    targets : (batch, 1 + classes), a label and the v of every row, as `distillation_targets` makes them.
    sample_weight : (batch,), non-negative and not all zero, or None for equal weights.
    temperature : T > 0; the larger, the more counts which wrong classes the teacher finds likelier.
    weight : w, 0 … 1, of the teacher.

    For `fit` and `evaluate` both are set by `functools.partial(distillation, temperature=…, weight=…)`.

    Returns
    -------
    (loss, grad_outputs) : the weighted mean, and its gradient of shape (batch, classes).

    Raises
    ------
    ValueError
        If the shapes do not match, the batch is empty, a label is no integer or out of range, an output
        of the teacher is not finite, or the weights cannot be averaged with.

    Source
    ------
    Hinton, Vinyals, Dean: *Distilling the Knowledge in a Neural Network*, 2015.
    """
    temperature = checks.number("temperature", temperature, 0, 1e6, open_low=True)
    weight = checks.number("weight", weight, 0, 1)
    outputs = check_outputs(outputs, (2,))
    targets = beside("targets", outputs, targets)
    check_teacher(targets, outputs.shape, outputs.dtype)
    labels, teacher = targets[:, 0].astype(np.intp), targets[:, 1:]
    soft_targets = _softmax(teacher / temperature)
    hard, grad_hard = softmax_cross_entropy(outputs, labels, sample_weight)
    soft, grad_soft = softmax_cross_entropy(outputs / temperature, soft_targets, sample_weight)
    loss = (1 - weight) * hard + weight * temperature**2 * soft
    return loss, (1 - weight) * grad_hard + weight * temperature * grad_soft


def distillation_targets(labels: Any, teacher_outputs: Any) -> np.ndarray:
    """Return the targets (rows, 1 + classes) of `distillation`: each label beside the teacher's logits.

    Parameters
    ----------
    labels : (rows,) integers 0 … classes − 1.
    teacher_outputs : (rows, classes), floating: what `teacher.predict(inputs)` returns.

    Raises
    ------
    ValueError if the shapes do not match, a label is no integer or out of range, or an output not finite.
    """
    teacher_outputs = check_outputs(teacher_outputs, (2,), "teacher_outputs")
    labels = np.asarray(checks.array("labels", labels))
    if labels.shape != teacher_outputs.shape[:1] or labels.dtype.kind not in "iu":
        wanted = f"{teacher_outputs.shape[:1]} integers"
        raise ValueError(f"labels has shape {labels.shape} ({labels.dtype}), wanted {wanted}")
    targets = np.column_stack([labels.astype(teacher_outputs.dtype), teacher_outputs])
    check_teacher(targets, teacher_outputs.shape, teacher_outputs.dtype)
    return targets


def class_probabilities(outputs: np.ndarray, task: str | None = None) -> np.ndarray:
    """Return the probabilities of the classes, (batch, classes), that the two cross-entropies imply.

    The softmax of logits (batch, classes); for one logit a row, `[1 − p, p]` with p its sigmoid; for the task
    "multilabel", of `Network.task`, the sigmoid of every logit.
    """
    from scipy.special import expit

    if task == "multilabel":
        return expit(outputs)
    if outputs.shape[1] == 1:
        return np.hstack([expit(-outputs), expit(outputs)])
    return _softmax(outputs)


LOSSES: dict[str, Loss] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "mean_squared_error": mean_squared_error,
    "binary_cross_entropy": binary_cross_entropy,
    "distillation": distillation,
}
#: Those whose targets are classes, and what makes labels (rows,) of them.
CLASSIFIERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax_cross_entropy": lambda targets: targets if targets.ndim == 1 else targets.argmax(axis=1),
    "distillation": lambda targets: targets[:, 0].astype(np.intp),
    "binary_cross_entropy": lambda targets: (targets.reshape(-1) > 0.5).astype(np.intp),
}


def labels_of(loss: str, targets: np.ndarray) -> np.ndarray:
    """Return the class of each row, (rows,) integers, from the targets of one of CLASSIFIERS."""
    return CLASSIFIERS[checks.choice("loss", loss, tuple(CLASSIFIERS))](targets)


def get(loss: str | Loss) -> Loss:
    """Return the loss of that name; a callable is returned as it is, for losses of one's own."""
    if callable(loss):
        return loss
    return LOSSES[checks.choice("loss", loss, tuple(LOSSES))]


def name_of(loss: str | Loss) -> str:
    """Return the name of a loss, a function, or a `functools.partial` of one; "" where it has none."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss if isinstance(loss, str) else getattr(loss, "__name__", "")


def _softmax(outputs: np.ndarray) -> np.ndarray:
    """Return `exp(z_c) / Σ_k exp(z_k)` of each row, without overflow."""
    powers = array_module(outputs).exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
