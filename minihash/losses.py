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
from minihash.arrays import array_module, as_array, on_host

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
    outputs = _check_outputs(outputs, (2,))
    targets = _check_classes(targets, outputs)
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
    outputs = _check_outputs(outputs, (1, 2))
    targets = _match_shape(targets, outputs)
    xp = array_module(outputs)
    _check_rows("targets", targets, np.isfinite, "a finite number")
    difference = outputs - targets
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
    outputs = _check_outputs(outputs, (1, 2))
    targets = _match_shape(targets, outputs)
    _check_rows("targets", targets, lambda t: (t.real >= 0) & (t.real <= 1), "0 <= target <= 1")
    row_weight = row_weights(sample_weight, outputs)

    xp = array_module(outputs)
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
    outputs = _check_outputs(outputs, (2,))
    labels, teacher = _split_targets(targets, outputs)
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
    teacher_outputs = _check_outputs(teacher_outputs, (2,), "teacher_outputs")
    labels = np.asarray(labels)
    if labels.shape != teacher_outputs.shape[:1] or labels.dtype.kind not in "iu":
        wanted = f"{teacher_outputs.shape[:1]} integers"
        raise ValueError(f"labels has shape {labels.shape} ({labels.dtype}), wanted {wanted}")
    targets = np.column_stack([labels.astype(teacher_outputs.dtype), teacher_outputs])
    _split_targets(targets, teacher_outputs)
    return targets


def class_probabilities(outputs: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes, (batch, classes), that the two cross-entropies imply.

    The softmax of logits (batch, classes); for one logit a row, `[1 − p, p]` with p its sigmoid.
    """
    from scipy.special import expit

    if outputs.shape[1] == 1:
        return np.hstack([expit(-outputs), expit(outputs)])
    return _softmax(outputs)


LOSSES: dict[str, Loss] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "mean_squared_error": mean_squared_error,
    "binary_cross_entropy": binary_cross_entropy,
    "distillation": distillation,
}
#: Those whose targets are classes.
CLASSIFIERS = ("softmax_cross_entropy", "distillation", "binary_cross_entropy")


def labels_of(loss: str, targets: np.ndarray) -> np.ndarray:
    """Return the class of each row, (rows,) integers, from the targets of one of CLASSIFIERS."""
    if loss == "distillation":
        return targets[:, 0].astype(np.intp)
    if loss == "binary_cross_entropy":
        return (targets.reshape(-1) > 0.5).astype(np.intp)
    return targets if targets.ndim == 1 else targets.argmax(axis=1)


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


def _check_outputs(outputs: Any, dimensions: tuple[int, ...], name: str = "outputs") -> np.ndarray:
    """Return `outputs` as a floating (or complex) array with a known number of dimensions."""
    outputs = as_array(outputs)
    if outputs.dtype.kind not in "fc":
        raise ValueError(f"{name} has dtype {outputs.dtype}, wanted float32 or float64")
    if outputs.ndim not in dimensions or outputs.size == 0:
        wanted = " or ".join(("(batch,)", "(batch, features)")[d - 1] for d in dimensions)
        raise ValueError(f"{name} has shape {outputs.shape}, wanted {wanted}, not empty")
    return outputs


def _beside(outputs: np.ndarray, values: Any) -> np.ndarray:
    """Return values as an array where the outputs are."""
    values = as_array(values)
    return values if type(values) is type(outputs) else array_module(outputs).asarray(values)


def _match_shape(targets: Any, outputs: np.ndarray) -> np.ndarray:
    """Return `targets` in the shape and dtype of `outputs`; (batch,) may stand for (batch, 1)."""
    targets = _beside(outputs, targets)
    if targets.shape != outputs.shape and (*targets.shape, 1) != outputs.shape:
        raise ValueError(f"targets has shape {targets.shape}, wanted {outputs.shape} as outputs")
    return targets.astype(outputs.dtype, copy=False).reshape(outputs.shape)


def _check_classes(targets: Any, outputs: np.ndarray) -> np.ndarray:
    """Return integer labels (batch,) as they are, and rows of probabilities in the outputs' dtype."""
    targets = _beside(outputs, targets)
    batch, classes = outputs.shape
    if targets.shape == (batch,):
        if targets.dtype.kind not in "iu":
            raise ValueError(f"targets has dtype {targets.dtype}, wanted integer labels")
        wanted = f"a label 0 <= label < {classes}"
        _check_rows("targets", targets, lambda t: (t >= 0) & (t < classes), wanted)
        return targets
    if targets.shape != outputs.shape:
        wanted = f"({batch},) labels or {outputs.shape} probabilities"
        raise ValueError(f"targets has shape {targets.shape}, wanted {wanted}")
    targets = targets.astype(outputs.dtype, copy=False)
    _check_rows("targets", targets, lambda t: t.real >= 0, "a probability")
    _check_rows("the sum of targets", targets.sum(axis=1), lambda sums: abs(sums - 1) <= 1e-3, "1")
    return targets


def _split_targets(targets: Any, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels (batch,) and the teacher's logits (batch, classes) of targets of `distillation`."""
    targets = _beside(outputs, targets)
    wanted = outputs.shape[0], 1 + outputs.shape[1]
    if targets.shape != wanted or targets.dtype.kind not in "fiu":
        raise ValueError(
            f"targets has shape {targets.shape} ({targets.dtype}), wanted {wanted}: "
            "a label and the teacher's outputs in each row"
        )
    labels, teacher, classes = targets[:, 0], targets[:, 1:], outputs.shape[1]
    wanted_label = f"a label 0 <= label < {classes}"
    _check_rows("targets", labels, lambda t: (t >= 0) & (t < classes) & (t == np.rint(t)), wanted_label)
    _check_rows("the teacher's output in targets", teacher, np.isfinite, "a finite number")
    return labels.astype(np.intp), teacher


def row_weights(sample_weight: Any, outputs: np.ndarray) -> np.ndarray:
    """Return the rows' weights (batch,), in float64, with the sum 1."""
    batch, xp = len(outputs), array_module(outputs)
    if sample_weight is None:
        return xp.full(batch, 1.0 / batch)
    weight = _beside(outputs, sample_weight).astype(np.float64, copy=False)
    if weight.shape != (batch,):
        raise ValueError(f"sample_weight has shape {weight.shape}, wanted ({batch},)")
    _check_rows("sample_weight", weight, lambda w: (w >= 0) & np.isfinite(w), "a weight >= 0")
    total = weight.sum()
    if on_host(total) and not 0 < total < np.inf:
        raise ValueError(f"sample_weight has the sum {total:g}, wanted a positive one")
    return weight / total


def _check_rows(
    name: str, values: np.ndarray, is_good: Callable[[np.ndarray], np.ndarray], wanted: str
) -> None:
    """Raise a ValueError that names the first value that is not good, and its row, if they are at hand."""
    if on_host(values) and not (good := is_good(values)).all():
        where = tuple(np.argwhere(~good)[0])
        raise ValueError(f"{name} is {values[where]} in row {where[0]}, wanted {wanted}")
