"""`minihash evaluate`: the errors of a saved network on a data set."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import add_data_arguments, add_device_arguments
from minihash.tasks import TASKS
from minihash.terminal import say
from minihash.text import table

if TYPE_CHECKING:
    import numpy as np

MOST = 20  # classes of which the confusion matrix is printed


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("evaluate", help="measure a saved network on a data set")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    about = "of the data; all: every row of a file (default: %(default)s)"
    parts = ("train", "validation", "test", "all")
    parser.add_argument("--part", default="test", choices=parts, help=about)
    parser.add_argument("--plot", metavar="FILE", help="draw the confusion matrix (png, svg or pdf)")
    add_data_arguments(parser)
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, measure, print."""
    from minihash import figures, plots
    from minihash.cli.data_sets import count, describe, describe_baseline, open_data, say_what_it_is
    from minihash.files import check_outputs
    from minihash.persistence import load
    from minihash.training import evaluate
    from minihash.training.evaluation import confusion

    check_outputs([args.plot], args.model, args.data)
    if args.plot:
        figures.check_format(args.plot)
        figures.require_matplotlib()
    network = load(args.model).to(args.device, deterministic=args.deterministic)
    dataset = open_data(args, network, measured=True)
    if args.part == "all" and not hasattr(dataset, "rows"):
        raise ValueError(f"--part is all and {args.data} is no file, wanted train, validation or test")
    rows = getattr(dataset, "rows" if args.part == "all" else args.part)
    if not count(rows):
        raise ValueError(f"{args.data} has no {args.part} rows, wanted one at least, or --part all")
    if args.plot and not dataset.class_names:
        raise ValueError(f"--plot draws the confusion matrix of classes, and {args.data} has numbers")
    try:
        scores = evaluate(network, rows, loss=TASKS[dataset.task])
        matrix = confusion(network, rows, TASKS[dataset.task]) if dataset.class_names else None
    except ValueError as error:
        raise ValueError(f"{args.model} does not fit {args.data}: {error}") from None
    say_what_it_is(dataset)
    say(describe(args.part, scores, loss=True))
    if matrix is not None:
        say(describe_baseline(args.part, matrix, dataset.class_names))
        say(_classes(matrix, dataset.class_names))
        if args.plot:
            plots.confusion_matrix(matrix, dataset.class_names, args.plot)
            say(f"drew {args.plot}")
    return 0


def _classes(matrix: np.ndarray, names: tuple[str, ...]) -> str:
    """Return precision and recall of each class, and of few classes who was taken for whom."""
    right, actual, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    rows = [
        (name, _share(right[k], predicted[k]), _share(right[k], actual[k]), f"{actual[k]:,}")
        for k, name in enumerate(names)
    ]
    tables = [table(("class", "precision", "recall", "rows"), rows)]
    if len(names) <= MOST:
        cells = [(name, *(f"{number:,}" for number in row)) for name, row in zip(names, matrix)]
        tables.append(table(("is \\ predicted", *names), cells))
    return "\n" + "\n\n".join(tables)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
