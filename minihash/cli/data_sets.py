"""The data that a command is given: a data set by its name, or a file."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from minihash.terminal import say
from minihash.text import meant

if TYPE_CHECKING:
    import numpy as np

    from minihash.datasets import Dataset
    from minihash.datasets.file_dataset import FileDataset
    from minihash.network import Network
    from minihash.schema import Split

#: What is printed besides the loss and the error, and how it is called.
NAMES = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "auc": "AUC"}


def open_data(
    args: argparse.Namespace, network: Network | None = None, *, measured: bool = False
) -> Dataset | FileDataset:
    """Return what the arguments of `add_data_arguments` name.

    Parameters
    ----------
    measured : as in `read_table`; where it is said how rows are shared, they are.
    args : with the options of a file: what nobody says is told by the network, else what is usual.
    network : which the data are for, of the file `args.model`; None for a new one.

    Raises
    ------
    ValueError if there is neither such a data set nor such a file, or it does not fit the network; else as
    `load` and `read_table`.
    """
    from minihash import datasets
    from minihash.cli.data import announce_conversion
    from minihash.datasets.file_dataset import read_table
    from minihash.datasets.kinds import kind_of
    from minihash.files import beside

    task = args.task if network is None else task_for(args, network)
    if args.data in datasets.names():
        _check_named(args, network)
        dataset = datasets.load(args.data, args.data_dir)
        if task not in (None, dataset.task):
            raise ValueError(f"{args.data} is for {dataset.task}, and {args.model} for {task}")
        return dataset
    if not os.path.exists(args.data):
        known = ", ".join(map(repr, datasets.names()))
        near = meant(os.path.basename(args.data), [*datasets.names(), *beside(args.data)])
        raise ValueError(f"data is {args.data!r}, wanted the name of a file, or one of {known}{near}")
    if kind_of(args.data) == "csv":
        announce_conversion(args.data, "a temporary store")
    return read_table(
        args.data,
        target=args.target,
        task=task,
        drop=args.drop,
        missing=args.missing,
        header=args.header,
        split=_split(args, network),
        like=network,
        measured=measured and (args.split, args.validation_rows, args.test_rows) == (None, None, None),
    )


def _check_named(args: argparse.Namespace, network: Network | None) -> None:
    """Refuse what is said of a file where there is none: its name has been forgotten."""
    options = {"target": args.target, "drop": args.drop or None, "missing": args.missing, "split": args.split}
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"--{name} is for files, and {args.data} is none, wanted the name of a file")
    if network is not None and network.schema is not None and network.schema.columns is not None:
        wanted = f"wanted the name of such a file, not {args.data}"
        raise ValueError(f"{args.model} was trained on a table, {wanted}")


def _split(args: argparse.Namespace, network: Network | None) -> Split:
    """Return which rows are trained on: what nobody says is as the network's data were."""
    from minihash.schema import Split

    schema = None if network is None else network.schema
    known = schema.split if schema and schema.split else Split(seed=getattr(args, "seed", 0))
    said = {"how": args.split, "validation": args.validation_rows, "test": args.test_rows}
    return replace(known, **{name: value for name, value in said.items() if value is not None})


def task_for(args: argparse.Namespace, network: Network) -> str | None:
    """Return what a network was trained for; None if it does not know, and nobody says.

    Raises
    ------
    ValueError if --task says otherwise.
    """
    known = network.task
    if args.task is not None and known not in (None, args.task):
        raise ValueError(f"--task is {args.task}, and {args.model} was trained for {known}")
    return known or args.task


def outputs_of(dataset: Dataset | FileDataset) -> int:
    """Return how many outputs a network for the data has."""
    return len(dataset.class_names) if dataset.task == "classification" else 1


def count(part: Any) -> int:
    """Return the rows of a part of a data set."""
    return len(part[0]) if isinstance(part, tuple) else len(part)


def say_what_it_is(dataset: Dataset | FileDataset) -> None:
    """Print what was taken for what, the target above all, and how many rows there are of each part."""
    from minihash.datasets.file_dataset import FileDataset

    for note in dataset.notes:
        say(note)
    if not isinstance(dataset, FileDataset):
        return
    parts = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
    rows = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    say(f"target: {dataset.target}; {dataset.what}; {len(dataset.rows):,} rows: {rows}")


def main_score(scores: dict[str, float]) -> tuple[str, str]:
    """Return the name of what `evaluate` found that matters most, and its value; "" of nothing."""
    if "error" in scores:
        return "error", f"{100 * scores['error']:.2f} %"
    name = "rmse" if "rmse" in scores else "loss"
    return NAMES.get(name, name), f"{scores[name]:.6g}" if scores else ""


def describe(part: str, scores: dict[str, float], *, loss: bool = False) -> str:
    """Return what `evaluate` found, a line a figure, the loss among them if wanted: test error: 2.53 %."""
    lines = {"loss": f"{scores['loss']:.4f}"} if loss else {}
    lines |= dict([main_score(scores)])
    lines |= {name: f"{scores[score]:.4g}" for score, name in NAMES.items() if score in scores}
    if "rmse" in scores and scores["r2"] < 1:
        lines["RMSE"] += f" (always the mean: {scores['rmse'] / math.sqrt(1 - scores['r2']):.4g})"
    return "\n".join(f"{part} {name}: {value}" for name, value in lines.items())


def describe_baseline(part: str, matrix: np.ndarray, names: tuple[str, ...]) -> str:
    """Return how often it would be wrong to say always the largest class; `matrix` as of `confusion`."""
    rows = matrix.sum(axis=1)
    return f"{part} error of always {names[rows.argmax()]!r}: {100 * (1 - rows.max() / rows.sum()):.2f} %"
