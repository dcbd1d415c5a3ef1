"""`minihash evaluate`: the error of a saved network on a data set."""

from __future__ import annotations

import argparse
from typing import Any

from minihash.cli.arguments import add_data_arguments, add_device_arguments
from minihash.tasks import TASKS
from minihash.terminal import say


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("evaluate", help="measure a saved network on a data set")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    about = "of the data; all: every row of a file (default: %(default)s)"
    parts = ("train", "validation", "test", "all")
    parser.add_argument("--part", default="test", choices=parts, help=about)
    add_data_arguments(parser)
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, measure, print."""
    from minihash.cli.data_sets import count, describe, open_data, say_what_was_guessed
    from minihash.persistence import load
    from minihash.training import evaluate

    network = load(args.model).to(args.device, deterministic=args.deterministic)
    dataset = open_data(args, network)
    say_what_was_guessed(dataset, network.task or args.task)
    if args.part == "all" and not hasattr(dataset, "rows"):
        raise ValueError(f"--part is all and {args.data} is no file, wanted train, validation or test")
    rows = getattr(dataset, "rows" if args.part == "all" else args.part)
    if not count(rows):
        raise ValueError(f"{args.data} has no {args.part} rows, wanted one at least")
    try:
        scores = evaluate(network, rows, loss=TASKS[dataset.task])
    except ValueError as error:
        raise ValueError(f"{args.model} does not fit {args.data}: {error}") from None
    say(describe(args.part, scores, loss=True))
    return 0
