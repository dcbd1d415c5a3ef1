"""What a network may be trained for, and the loss of each task."""

from __future__ import annotations

#: The loss of each task that rows of files may be for, with one target a row.
TASKS = {
    "classification": "softmax_cross_entropy",
    "binary": "binary_cross_entropy",
    "regression": "mean_squared_error",
}
#: The loss of each task.
LOSSES = TASKS | {"multilabel": "binary_cross_entropy"}
