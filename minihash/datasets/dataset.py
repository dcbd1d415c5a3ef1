"""Dataset: rows of pixels and their labels, in three parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minihash.schema import Schema

Part = tuple[np.ndarray, np.ndarray]  # inputs, labels


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled rows to train on, to choose settings by, and to report.

    Parameters
    ----------
    name : what `load` calls it.
    train, validation, test : pairs of inputs, uint8 of shape (rows, 784), and labels, int64 of
        shape (rows,).
    input_scale : what a network multiplies the raw inputs by (1/255: pixels become 0 to 1).
    class_names : the name of each label.
    origin : where the rows are from, in words: "original files", "made from mnist", ...
    notes : sentences on what was taken for what, which commands print.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    input_scale: float
    class_names: tuple[str, ...]
    origin: str = ""
    notes: tuple[str, ...] = ()
    schema = Schema("classification")
    task = schema.task
    input_shift = output_shift = 0.0
    output_scale = 1.0

    @property
    def features(self) -> int:
        """Numbers in a row."""
        return int(self.train[0].shape[1])

    def train_and_validation(self) -> Part:
        """Return all rows that are not test rows: the training rows, then the validation rows."""
        inputs, labels = zip(self.train, self.validation)
        return np.concatenate(inputs), np.concatenate(labels)
