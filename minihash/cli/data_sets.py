"""The data that a command is given: a data set by its name, or a file."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import TYPE_CHECKING, Any

from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.datasets.files import FileDataset
    from minihash.network import Network
    from minihash.schema import Schema


def open_data(args: argparse.Namespace, network: Network | None = None) -> Dataset | FileDataset:
    """Return what the arguments of `add_data_arguments` name.

    Parameters
    ----------
    args : with the options of a file: what nobody says is told by the network, else what is usual.
    network : which the data are for, of the file `args.model`; None for a new one.

    Raises
    ------
    ValueError if there is neither such a data set nor such a file, or it does not fit the network; else as
    `load` and `open_dataset`.
    """
    from minihash import datasets
    from minihash.datasets.files import open_dataset

    task = args.task if network is None else task_for(args, network)
    if args.data in datasets.names():
        dataset = datasets.load(args.data, args.data_dir)
        if task not in (None, dataset.task):
            raise ValueError(f"{args.data} is for {dataset.task}, and {args.model} for {task}")
        return dataset
    if not os.path.exists(args.data):
        known = ", ".join(map(repr, datasets.names()))
        raise ValueError(f"data is {args.data!r}, wanted the name of a file, or one of {known}")
    return open_dataset(
        args.data,
        task=task,
        classes=_classes(network, task),
        **layout(args, args.data, network),
        validation=args.validation_rows,
        test=args.test_rows,
    )


def _classes(network: Network | None, task: str | None) -> int | None:
    """Return how many classes a network tells apart; None for a new one, or where there are none."""
    if network is None or task == "regression":
        return None
    return 2 if network.out_features == 1 else network.out_features  # one output: yes or no


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


def layout(
    args: argparse.Namespace, path: str, network: Network | None, *, targets: bool = True
) -> dict[str, Any]:
    """Return how a file is to be read: whether its first line is a header, and which column is the target.

    `targets` says whether the file must have them.

    Raises
    ------
    ValueError if --label-column, or the file's header or width, is not what the network was trained with.
    """
    schema = None if network is None else network.schema
    if schema is None or schema.columns is None:
        return {"label_column": args.label_column or 0, "header": bool(args.header)}
    if args.label_column is not None and args.label_column % schema.columns != schema.target:
        trained = f"{args.model} was trained with the target in column {schema.target} of {schema.columns}"
        raise ValueError(f"--label-column is {args.label_column}, and {trained}")
    header = schema.header if args.header is None else args.header
    _check_table(args, path, schema, header, targets)
    return {"label_column": schema.target, "header": header}


def _check_table(args: argparse.Namespace, path: str, schema: Schema, header: bool, targets: bool) -> None:
    """Refuse an .npy or CSV file whose columns, or their names, are not what a model's were."""
    from minihash.datasets.csv_rows import first_bytes, read_header
    from minihash.datasets.kinds import LOOKED_AT, kind_of
    from minihash.files import check_regular

    check_regular(path)
    kind, names = kind_of(path), None
    if kind == "csv" and header and first_bytes(path, LOOKED_AT).strip():
        names = read_header(path)
        if names is None and args.header is None:
            trained = f"{args.model} was trained with a header: wanted one, or --no-header"
            raise ValueError(f"{path}: its first line has numbers, and {trained}")
    width, columns = _width(path, kind, header), schema.columns or 0
    if width not in (None, columns, *([] if targets else [columns - 1])):
        wanted = "wanted as many" + f", or {columns - 1} without the target" * (not targets)
        trained = f"{args.model} was trained with {columns}, the target among them"
        raise ValueError(f"{path}: has {width} columns, and {trained}: {wanted}")
    if names is not None:
        _check_names(args, path, schema, names)


def _width(path: str, kind: str, header: bool) -> int | None:
    """Return the columns of an .npy or CSV file; None of another file, or an array that is no table."""
    from minihash.datasets.csv_rows import Progress, read_chunks
    from minihash.datasets.npy import NpyRows

    if kind == "npy":
        with contextlib.suppress(ValueError):  # images, or what its reader will refuse
            return NpyRows(path, label_column=None).features
    if kind != "csv":
        return None
    rows = next(read_chunks(path, Progress(), header=header), None)
    if rows is None:
        raise ValueError(f"{path}: has no rows, wanted one at least")
    return rows.shape[1]


def _check_names(args: argparse.Namespace, path: str, schema: Schema, names: tuple[str, ...]) -> None:
    """Refuse a CSV file with other features than a model's."""
    if schema.feature_names is None:
        return
    features = list(names)
    if len(features) == schema.columns and schema.target is not None:
        del features[schema.target]
    for place, (found, wanted) in enumerate(zip(features, schema.feature_names)):
        if found != wanted:
            raise ValueError(
                f"{path}: feature {place} is called {found!r}, and {args.model} was trained with {wanted!r}"
            )


def outputs_of(dataset: Dataset | FileDataset) -> int:
    """Return how many outputs a network for the data has."""
    return len(dataset.class_names) if dataset.task == "classification" else 1


def count(part: Any) -> int:
    """Return the rows of a part of a data set."""
    return len(part[0]) if isinstance(part, tuple) else len(part)


def say_what_was_guessed(dataset: Dataset | FileDataset, task: str | None) -> None:
    """Print the task that the targets of a file look like, unless one is given."""
    if task is None and hasattr(dataset, "rows"):
        found = dataset.rows.statistics
        classes = f" of {len(dataset.class_names)} classes" if dataset.task == "classification" else ""
        numbers = f"{'whole ' * found.whole}numbers from {found.low:g} to {found.high:g}"
        say(f"task: {dataset.task}{classes}, as targets are {numbers} (--task says otherwise)")


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
