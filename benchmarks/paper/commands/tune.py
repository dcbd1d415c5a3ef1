"""`python -m benchmarks.paper tune`: search the settings of one of the paper's networks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import integer
from minihash.cli.tune import Printer, add_search_arguments, share, tell, train_command, write_best
from minihash.terminal import say

if TYPE_CHECKING:
    from benchmarks.paper.grids import Cell
    from benchmarks.paper.settings import Settings
    from minihash.datasets import Dataset
    from minihash.search import Found


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser("tune", help="search the settings of a method at equal storage")
    parser.set_defaults(run=run)
    parser.add_argument("data", metavar="DATA", help="data set, see: python -m benchmarks.paper list")
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the files of data sets")
    network = parser.add_argument_group("network")
    about = "RER, LRD, NN, DK, HashNet, HashNet_DK, or a row such as 'HashNet, tiles' (default: %(default)s)"
    network.add_argument("--method", default="HashNet", help=about)
    about = "stored / virtual weights (default: %(default)s)"
    network.add_argument("--compression", type=share, default="1/64", help=about)
    sizes = network.add_mutually_exclusive_group()
    about = "inputs and outputs among them; hidden ones have 1,000 units (default: 3)"
    sizes.add_argument("--layers", type=int, choices=(3, 5), help=about)
    about = "instead, units of each hidden layer"
    sizes.add_argument("--hidden", type=integer(1), nargs="*", metavar="UNITS", help=about)
    output = add_search_arguments(parser)
    about = "put the searched ones, as a rule, into a file such as benchmarks/paper/settings.json"
    output.add_argument("--settings", metavar="FILE", help=about)


def run(args: argparse.Namespace) -> int:
    """Search, print, write."""
    from benchmarks.paper import data, grids, rules, search
    from benchmarks.paper.runs import sizes_of
    from minihash import checks, studies
    from minihash.files import check_outputs
    from minihash.search import split

    checks.choice("--method", args.method, tuple(grids.ROWS))
    if args.compression == "0":
        raise ValueError("--compression is 0, wanted a share of the full network's numbers")
    check_outputs([args.journal, args.out, args.settings])
    studies.require_optuna()
    if args.settings:
        if args.hidden is not None:
            raise ValueError("--settings is for the paper's networks: wanted no --hidden")
        rules.read_rules(args.settings)
    dataset = data.load(args.data, args.data_dir)
    layers = args.layers or 3 if args.hidden is None else len(args.hidden) + 2
    cell = grids.Cell(dataset.name, layers, args.method, args.compression, 0, args.seed)
    sizes = sizes_of(cell, dataset)
    sizes = sizes if args.hidden is None else [sizes[0], *args.hidden, sizes[-1]]

    def searching() -> Found:
        return search.search(
            cell,
            dataset,
            trials=args.trials,
            epochs=args.epochs,
            sizes=sizes,
            journal=args.journal,
            minutes=args.minutes,
            report=Printer(args.trials),
        )

    def write(found: Found) -> None:
        rule = rules.rule_of(cell, found)
        write_best(args, {**rule, "sizes": sizes, "settings": found.settings.as_dict()})
        if args.settings:
            rules.merge_rule(rule, args.settings)
            say(f"put them into {args.settings}")
        say(_command(args, cell, dataset, sizes, found.settings))

    title = f"{'-'.join(map(str, sizes))}, {cell.row} at {cell.compression}"
    return tell(args, dataset, split(dataset), title, searching, write)


def _command(
    args: argparse.Namespace, cell: Cell, dataset: Dataset, sizes: list[int], settings: Settings
) -> str:
    """Return the command of minihash that trains with the settings, where there is one."""
    from benchmarks.paper.grids import ROWS
    from benchmarks.paper.runs import build
    from minihash import datasets, search

    row = ROWS[cell.row]
    known = args.data in datasets.names() and row.method in ("HashNet", "NN")
    if not known or row.arguments.keys() - {"tile"}:
        return f"minihash train does not know {cell.row} on {args.data}: `runs.train` does"
    network: dict[str, Any] = {"compression": cell.compression, "hidden": sizes[1:-1], **row.arguments}
    if row.method == "NN":
        narrow, _ = build(cell, settings, dataset, sizes)
        widths = [layer.out_features for layer in narrow.layers if layer.params]
        network = {"compression": 0, "hidden": widths[:-1]}
    names = search.Settings().as_dict()
    plain = search.Settings(**{name: value for name, value in settings.as_dict().items() if name in names})
    return train_command(args, network, plain)
