"""The data that a command is given: a data set by its name, or a file."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.datasets.files import FileDataset

LOSSES = {
    "classification": "softmax_cross_entropy",
    "binary": "binary_cross_entropy",
    "regression": "mean_squared_error",
}


def open_data(args: argparse.Namespace) -> Dataset | FileDataset:
    """Return what the arguments of `add_data_arguments` name.

    Raises
    ------
    ValueError if there is neither such a data set nor such a file; else as `load` and `open_dataset`.
    """
    from minihash import datasets
    from minihash.datasets.files import open_dataset

    if args.data in datasets.names():
        return datasets.load(args.data, args.data_dir)
    if not os.path.exists(args.data):
        known = ", ".join(map(repr, datasets.names()))
        raise ValueError(f"data is {args.data!r}, wanted the name of a file, or one of {known}")
    return open_dataset(
        args.data,
        task=args.task,
        header=args.header,
        label_column=args.label_column,
        validation=args.validation_rows,
        test=args.test_rows,
    )


def outputs_of(dataset: Dataset | FileDataset) -> int:
    """Return how many outputs a network for the data has."""
    return len(dataset.class_names) if dataset.task == "classification" else 1


def count(part: Any) -> int:
    """Return the rows of a part of a data set."""
    return len(part[0]) if isinstance(part, tuple) else len(part)


def main_score(scores: dict[str, float]) -> tuple[str, str]:
    """Return the name of what `evaluate` found that matters most, and its value; "" of nothing."""
    if "error" in scores:
        return "error", f"{100 * scores['error']:.2f} %"
    return "loss", f"{scores['loss']:.6g}" if scores else ""


def describe(part: str, scores: dict[str, float], *, loss: bool = False) -> str:
    """Return what `evaluate` found, a line a figure, the loss among them if wanted: test error: 2.53 %."""
    lines = {"loss": f"{scores['loss']:.4f}"} if loss else {}
    lines |= dict([main_score(scores)])
    for name, score in (("AUC", "auc"), ("R²", "r2")):
        if score in scores:
            lines[name] = f"{scores[score]:.4f}"
    return "\n".join(f"{part} {name}: {value}" for name, value in lines.items())
