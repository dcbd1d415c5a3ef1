"""`minihash tune`: search how a network is best trained, for the paper's data sets or the user's own."""

from __future__ import annotations

import argparse
import math
import os
import shlex
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import SEED, integer, number
from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.experiments.grids import Cell
    from minihash.experiments.search import Found, Trial
    from minihash.experiments.settings import Settings


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("tune", help="search the settings with which a network is trained best")
    parser.set_defaults(run=run)
    about = "data set, see: minihash data list; or an npz file with the arrays inputs and labels"
    parser.add_argument("data", metavar="DATA", help=about)
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the files of data sets")

    network = parser.add_argument_group("network")
    about = "RER, LRD, NN, DK, HashNet, HashNet_DK, or a row such as 'HashNet, tiles' (default: %(default)s)"
    network.add_argument("--method", default="HashNet", help=about)
    about = "stored / virtual weights (default: %(default)s)"
    network.add_argument("--compression", type=_share, default="1/64", help=about)
    sizes = network.add_mutually_exclusive_group()
    about = "3 or 5, inputs and outputs among them; hidden ones have 1,000 units (default: 3)"
    sizes.add_argument("--layers", type=int, choices=(3, 5), help=about)
    sizes.add_argument(
        "--hidden", type=integer(1), nargs="*", metavar="UNITS", help="instead, units of each hidden layer"
    )

    search = parser.add_argument_group("search")
    search.add_argument(
        "--trials", type=integer(1), default=60, metavar="N", help="in all (default: %(default)s)"
    )
    about = "of a trial; two numbers, such as 10-40, to search them too (default: as in minihash's own runs)"
    search.add_argument("--epochs", type=_range, metavar="N", help=about)
    search.add_argument("--minutes", type=number(0, 1e9), metavar="N", help="begin no trial after so many")
    about = "of the search, hashes, weights, order and dropout (default: %(default)s)"
    search.add_argument("--seed", type=SEED, default=0, help=about)
    about = "keep the trials in this file as they end, and go on from what is in it; processes may share it"
    search.add_argument("--journal", metavar="FILE", help=about)

    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE", help="write the best settings (json)")
    about = "put the searched ones, as a rule for these networks, among those of a file such as settings.json"
    output.add_argument("--settings", metavar="FILE", help=about)


def _share(text: str) -> str:
    """Parse a compression, as the grids write it: 0.125 is 1/8."""
    if not number(0, 1)(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return str(Fraction(text))


def _range(text: str) -> tuple[int, int]:
    """Parse 10 or 10-40."""
    fewest, dash, most = text.partition("-")
    low = integer(1)(fewest)
    return low, integer(low)(most) if dash else low


def run(args: argparse.Namespace) -> int:
    """Search, print, write."""
    from minihash import checks
    from minihash.experiments import grids, rules, search, studies
    from minihash.files import check_outputs
    from minihash.kernels import threads
    from minihash.training.interrupts import held_back

    checks.choice("--method", args.method, tuple(grids.ROWS))
    check_outputs([args.journal, args.out, args.settings], args.data)
    studies.require_optuna()
    threads.num_threads()  # refuses a wrong MINIHASH_NUM_THREADS
    if args.settings:
        if args.hidden is not None or not _is_name(args.data):
            raise ValueError("--settings is for the paper's networks: wanted a known data set, no --hidden")
        rules.read_rules(args.settings)
    dataset = _load(args)
    layers = args.layers or 3 if args.hidden is None else len(args.hidden) + 2
    cell = grids.Cell(dataset.name, layers, args.method, args.compression, 0, args.seed)
    sizes = _sizes(args, cell, dataset)
    for note in dataset.notes:
        say(note)
    say(_title(args, cell, dataset, sizes))
    stop = None
    try:
        found = search.search(
            cell,
            dataset,
            trials=args.trials,
            epochs=args.epochs,
            sizes=sizes,
            journal=args.journal,
            minutes=args.minutes,
            report=_Printer(args.trials),
        )
    except search.Stopped as stopped:
        found, stop = stopped.found, stopped.__cause__
        say(f"interrupted after {found.trials} of {args.trials} trials")
    early = f" ({found.pruned} stopped early)" if found.pruned else ""
    say(f"best of {found.trials} trials{early}: {_percent(found.error)} of the validation rows wrong with")
    say(f"  {_describe(found.settings, found.names)}")
    with held_back():
        _write(args, cell, sizes, found)
    say(_use(args, cell, dataset, sizes, found.settings))
    if stop:
        raise stop
    return 0


def _is_name(data: str) -> bool:
    from minihash import datasets

    return data in datasets.names()


def _load(args: argparse.Namespace) -> Dataset:
    from minihash import datasets
    from minihash.datasets.labelled import read_labelled

    if _is_name(args.data):
        return datasets.load(args.data, args.data_dir)
    if not os.path.exists(args.data):
        known = ", ".join(datasets.names())
        raise ValueError(f"DATA is {args.data!r}, wanted the path of an npz file, or one of {known}")
    return read_labelled(args.data)


def _sizes(args: argparse.Namespace, cell: Cell, dataset: Dataset) -> list[int]:
    """Return the units of the full network."""
    from minihash.experiments.runs import sizes_of

    sizes = sizes_of(cell, dataset)
    return sizes if args.hidden is None else [sizes[0], *args.hidden, sizes[-1]]


def _title(args: argparse.Namespace, cell: Cell, dataset: Dataset, sizes: list[int]) -> str:
    """Return what will be done."""
    from minihash.experiments.runs import validation_split

    training, validation = (len(labels) for _, labels in validation_split(dataset))
    units = "-".join(map(str, sizes))
    rows = f"{training:,} rows to train on, {validation:,} to choose by"
    return f"{units}, {cell.row} at {cell.compression}: {rows}; {args.trials} trials"


class _Printer:
    """Says what became of each trial, in a line."""

    def __init__(self, trials: int) -> None:
        from minihash import metrics
        from minihash.experiments.search import SCORE

        self.trials, self._larger = trials, metrics.larger_is_better(SCORE)
        self._better, self.best = metrics.better, metrics.worst(self._larger)

    def __call__(self, trial: Trial) -> None:
        if not trial.pruned and self._better(trial.error, self.best, self._larger):
            self.best = trial.error
        if not math.isfinite(trial.error):
            what = "diverged"
        elif trial.pruned:
            what = f"stopped at {_percent(trial.error)}"
        else:
            what = f"{_percent(trial.error)}, best {_percent(self.best)}"
        say(f"trial {trial.number} of {self.trials}: {what}: {_describe(trial.settings, trial.names)}")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def _describe(settings: Settings, names: Iterable[str]) -> str:
    values = settings.as_dict()
    return ", ".join(f"{name} {values[name]:g}" for name in names)


def _write(args: argparse.Namespace, cell: Cell, sizes: list[int], found: Found) -> None:
    """Write what was asked for, and say how to go on."""
    from minihash import strict_json
    from minihash.experiments.rules import merge_rule, rule_of
    from minihash.files import replacing

    rule = rule_of(cell, found)
    if args.out:
        everything = {**rule, "sizes": sizes, "settings": found.settings.as_dict()}
        with replacing(args.out) as file:
            file.write(strict_json.dumps(everything, indent=2).encode() + b"\n")
        say(f"wrote {args.out}")
    if args.settings:
        merge_rule(rule, args.settings)
        say(f"put them into {args.settings}")
    if args.journal:
        say(f"{args.journal} keeps the trials: the same command with a larger --trials goes on from there")


def _use(
    args: argparse.Namespace, cell: Cell, dataset: Dataset, sizes: list[int], settings: Settings
) -> str:
    """Return the command that trains with the settings, where there is one."""
    from minihash.experiments.grids import ROWS
    from minihash.experiments.runs import build

    row = ROWS[cell.row]
    if not _is_name(args.data) or row.method not in ("HashNet", "NN") or row.arguments.keys() - {"tile"}:
        unknown = f"minihash train does not know {cell.row} on {args.data}: " if _is_name(args.data) else ""
        return f"{unknown}docs/search.md trains with these settings in Python"
    words: list[Any] = ["minihash", "train", "--data", args.data, "--final"]
    words += ["--data-dir", args.data_dir] if args.data_dir else []
    if row.method == "NN":
        network, _ = build(cell, settings, dataset, sizes)
        widths = [layer.out_features for layer in network.layers if layer.params]
        words += ["--compression", 0, "--hidden", *widths[:-1]]
    else:
        words += ["--compression", cell.compression, "--hidden", *sizes[1:-1]]
    for name, value in row.arguments.items():
        words += [f"--{name}", value]
    for name, value in settings.as_dict().items():
        if name not in ("temperature", "teacher_weight"):
            words += [f"--{name.replace('_', '-')}", value]
    return shlex.join(map(str, [*words, "--seed", cell.seed]))
