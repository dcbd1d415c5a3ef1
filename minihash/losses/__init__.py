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

from minihash.losses.base import LOSSES, Loss, check_targets, get, object_of, of_task, register
from minihash.losses.targets import row_weights

# In the order of messages:
# isort: off
from minihash.losses.softmax import class_probabilities, softmax_cross_entropy
from minihash.losses.squared import mean_squared_error
from minihash.losses.binary import binary_cross_entropy
from minihash.losses.distilled import distillation, distillation_targets

__all__ = [
    "LOSSES",
    "Loss",
    "binary_cross_entropy",
    "check_targets",
    "class_probabilities",
    "distillation",
    "distillation_targets",
    "get",
    "mean_squared_error",
    "object_of",
    "of_task",
    "register",
    "row_weights",
    "softmax_cross_entropy",
]
