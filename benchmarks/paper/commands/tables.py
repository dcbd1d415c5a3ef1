"""`python -m benchmarks.paper table1` …: tables and figures, trained cell by cell into a ledger."""

from __future__ import annotations

import argparse
from typing import Any

from minihash.cli.arguments import SEED, integer, number
from minihash.terminal import say

NAMES = ("table1", "table2", "figure2", "figure3", "figure4")
DESCRIPTION = (
    "Each result goes into a ledger in FOLDER at once: a run that is stopped goes on when it is called again."
)


def add_parser(subparsers: Any) -> None:
    """Add a command for each table and figure to the parser."""
    for name in NAMES:
        about = f"train the networks of {name.rstrip('1234')} {name[-1]} of the paper, and print it"
        _add_arguments(subparsers.add_parser(name, help=about, description=DESCRIPTION))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run)
    several: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    about = "methods: RER LRD NN DK HashNet HashNet_DK, or minihash's own such as 'HashNet, tiles'"
    parser.add_argument("--rows", help=f"{about} (default: the paper's)", **several)
    parser.add_argument("--datasets", help="data sets (default: the paper's)", **several)
    about = "default: both, or the figure's"
    parser.add_argument("--layers", nargs="+", type=int, choices=(3, 5), help=about)
    about = "train each network once with each (default: 0)"
    parser.add_argument("--seeds", nargs="+", type=SEED, default=[0], metavar="SEED", help=about)
    parser.add_argument("--epochs", type=integer(1), metavar="N", help="instead of the settings'")
    about = "begin no network after so many minutes"
    parser.add_argument("--budget-minutes", type=number(0, 1e6), metavar="MINUTES", help=about)
    about = "processes (default: 1)"
    parser.add_argument("--jobs", type=integer(1, 1025), default=1, metavar="N", help=about)
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder of the data")
    about = "for ledger, tables and figures (default: results)"
    parser.add_argument("--out", default="results", metavar="FOLDER", help=about)


def run(args: argparse.Namespace) -> int:
    """Train what is missing, then print and write the report."""
    from benchmarks.locks import locked
    from benchmarks.paper import report
    from benchmarks.paper.grids import grid
    from benchmarks.paper.reproduce import ledger_of, plan, reproduce
    from minihash import figures

    chosen = grid(args.command, args.rows, args.datasets, args.layers)
    if args.command.startswith("figure"):
        figures.require_matplotlib()
    planned = plan(chosen.cells(args.seeds), args.epochs, args.data_dir)
    ledger = ledger_of(args.out)
    todo = len(ledger.missing(planned))
    say(f"{args.command}: {len(planned)} networks, {len(planned) - todo} of them in {ledger.path}")
    missing = reproduce(
        planned,
        args.out,
        budget_minutes=args.budget_minutes,
        jobs=args.jobs,
        data_dir=args.data_dir,
        report=lambda record: say(_describe(record)),
    )
    with open(ledger.path.with_suffix(".lock"), "ab") as lock, locked(lock):  # who ends last writes last
        results = report.Results(ledger, planned)
        say("\n" + report.table(chosen, results, args.seeds) + "\n")
        paths = report.write(args.command, chosen, results, args.seeds, args.out)
    say(f"wrote {', '.join(map(str, paths))}")
    if missing:
        say(f"{missing} networks are missing, or with other processes: call again to go on")
    return 0


def _describe(record: dict[str, Any]) -> str:
    at = f"x {record['expansion']}" if record["expansion"] else record["compression"]
    place = f"{record['dataset']}, {record['layers']} layers, {record['row']} {at}, seed {record['seed']}"
    error = record.get("failure") or f"{record['test_error']:.2f} %"
    return f"{place}: {error} in {record['seconds']:.0f} s"
