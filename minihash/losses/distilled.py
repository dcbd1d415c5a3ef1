"""Cross-entropy with labels and with a teacher's outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.losses.base import Loss, register
from minihash.losses.softmax import softmax, softmax_cross_entropy
from minihash.losses.targets import check_outputs, check_rows


class Distillation(Loss):
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

    name, task, scores = "distillation", "classification", ("error",)
    classifies, dimensions = True, (2,)

    def __call__(
        self,
        outputs: Any,
        targets: Any,
        sample_weight: Any = None,
        *,
        temperature: float = 4.0,
        weight: float = 0.9,
    ) -> tuple[float, np.ndarray]:
        temperature = checks.number("temperature", temperature, 0, 1e6, open_low=True)
        weight = checks.number("weight", weight, 0, 1)
        outputs, targets = self.checked(outputs, targets)
        labels, teacher = targets[:, 0].astype(np.intp), targets[:, 1:]
        soft_targets = softmax(teacher / temperature)
        hard, grad_hard = softmax_cross_entropy(outputs, labels, sample_weight)
        soft, grad_soft = softmax_cross_entropy(outputs / temperature, soft_targets, sample_weight)
        loss = (1 - weight) * hard + weight * temperature**2 * soft
        return loss, (1 - weight) * grad_hard + weight * temperature * grad_soft

    def check_targets(self, targets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
        batch, classes = shape
        if targets.shape != (batch, 1 + classes) or targets.dtype.kind not in "fiu":
            raise ValueError(
                f"targets has shape {targets.shape} ({targets.dtype}), wanted {(batch, 1 + classes)}: "
                "a label and the teacher's outputs in each row"
            )

        def is_label(values: np.ndarray) -> np.ndarray:
            return (values >= 0) & (values < classes) & (values == np.rint(values))

        check_rows("targets", targets[:, 0], is_label, f"a label 0 <= label < {classes}")
        check_rows("the teacher's output in targets", targets[:, 1:], np.isfinite, "a finite number")

    def check_column(self, rows: str, outputs: float) -> None:
        raise ValueError(f"loss is {self.name!r} and {rows} has no outputs of a teacher, wanted arrays")

    def labels(self, targets: np.ndarray) -> np.ndarray:
        return targets[:, 0].astype(np.intp)


distillation = register(Distillation())


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
    distillation.check_targets(targets, teacher_outputs.shape, teacher_outputs.dtype)
    return targets
