"""What a network may be trained for, the loss of each task, and words for how its data are read."""

from __future__ import annotations

#: The loss of each task that rows of files may be for, with one target a row.
TASKS = {
    "classification": "softmax_cross_entropy",
    "binary": "binary_cross_entropy",
    "regression": "mean_squared_error",
}
#: The loss of each task.
LOSS_OF_TASK = TASKS | {"multilabel": "binary_cross_entropy"}
#: What may be done about empty cells of a table.
MISSING = ("mean", "drop")
#: Which rows of a file may be those to test on: some of all, or the last.
SPLITS = ("shuffled", "last")
