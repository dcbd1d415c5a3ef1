"""`minihash tune`: search how a network is best trained on data of the user's own."""

from __future__ import annotations

import argparse
import math
import os
import shlex
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import SEED, integer, number
from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.network import Network
    from minihash.search import Found, Settings, Trial, Watch


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("tune", help="search the settings with which a network is trained best")
    parser.set_defaults(run=run)
    about = "data set, see: minihash data list; or an npz file with the arrays inputs and labels"
    parser.add_argument("data", metavar="DATA", help=about)
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the files of data sets")

    network = parser.add_argument_group("network")
    about = "stored / virtual weights; 0: dense layers (default: %(default)s)"
    network.add_argument("--compression", type=share, default="1/64", help=about)
    about = "units of each hidden layer (default: 1000)"
    network.add_argument(
        "--hidden", type=integer(1), nargs="*", default=[1000], metavar="UNITS", help=about
    )
    about = "weights of a tile, or auto (default: 1, the paper's map)"
    network.add_argument("--tile", type=_tile, default=1, metavar="N", help=about)
    add_search_arguments(parser)


def add_search_arguments(parser: argparse.ArgumentParser) -> Any:
    """Add what every search has; return the group of outputs."""
    search = parser.add_argument_group("search")
    search.add_argument(
        "--trials", type=integer(1), default=60, metavar="N", help="in all (default: %(default)s)"
    )
    about = "of a trial; two numbers, such as 10-40, to search them too (default: as of the first trial)"
    search.add_argument("--epochs", type=_range, metavar="N", help=about)
    search.add_argument("--minutes", type=number(0, 1e9), metavar="N", help="begin no trial after so many")
    about = "of the search, hashes, weights, order and dropout (default: %(default)s)"
    search.add_argument("--seed", type=SEED, default=0, help=about)
    about = "keep the trials in this file as they end, and go on from what is in it; processes may share it"
    search.add_argument("--journal", metavar="FILE", help=about)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE", help="write the best settings (json)")
    return output


def share(text: str) -> str:
    """Parse a compression: 0.125 is 1/8."""
    number(0, 1)(text)
    return str(Fraction(text))


def _tile(text: str) -> int | str:
    return text if text == "auto" else integer(1)(text)


def _range(text: str) -> tuple[int, int]:
    """Parse 10 or 10-40."""
    fewest, dash, most = text.partition("-")
    low = integer(1)(fewest)
    return low, integer(low)(most) if dash else low


def run(args: argparse.Namespace) -> int:
    """Search, print, write."""
    from minihash import search, strict_json, studies
    from minihash.files import check_outputs

    check_outputs([args.journal, args.out], args.data)
    studies.require_optuna()
    dataset = load(args)
    sizes = [dataset.features, *args.hidden, len(dataset.class_names)]
    most, epochs = search.epochs_of(args.epochs, search.Settings().epochs)
    rows = search.split(dataset)
    facts = [dataset.name, sizes, args.compression, args.tile, args.seed, most, epochs]
    name = strict_json.dumps([*facts, search.checksum((rows.train, rows.validation))])

    def attempt(settings: Settings, watch: Watch) -> None:
        network = _build(args, sizes, dataset, settings)
        search.train(network, rows.train, settings, args.seed, callbacks=(watch,))

    def searching() -> Found:
        return search.search(
            attempt,
            rows.validation,
            search.Settings().with_epochs(most),
            search.SPACE | epochs,
            name=name,
            trials=args.trials,
            seed=args.seed,
            journal=args.journal,
            minutes=args.minutes,
            report=Printer(args.trials),
        )

    def write(found: Found) -> None:
        network = {"sizes": sizes, "compression": args.compression, "tile": args.tile}
        write_best(args, {**network, "settings": found.settings.as_dict(), "found": found.describe()})
        say(_command(args, found.settings))

    network = "dense" if args.compression == "0" else f"hashed at {args.compression}"
    return tell(args, dataset, rows, f"{'-'.join(map(str, sizes))}, {network}", searching, write)


def tell(
    args: argparse.Namespace,
    dataset: Dataset,
    rows: Dataset,
    title: str,
    searching: Callable[[], Found],
    write: Callable[[Found], None],
) -> int:
    """Search, say what becomes of it, and write it; also where it is interrupted."""
    from minihash.kernels import threads
    from minihash.search import Stopped
    from minihash.training.interrupts import held_back

    threads.num_threads()  # refuses a wrong MINIHASH_NUM_THREADS
    for note in dataset.notes:
        say(note)
    training, validation = len(rows.train[1]), len(rows.validation[1])
    say(f"{title}: {training:,} rows to train on, {validation:,} to choose by; {args.trials} trials")
    stop = None
    try:
        found = searching()
    except Stopped as stopped:
        found, stop = stopped.found, stopped.__cause__
        say(f"interrupted after {found.trials} of {args.trials} trials")
    early = f" ({found.pruned} stopped early)" if found.pruned else ""
    say(f"best of {found.trials} trials{early}: {_percent(found.error)} of the validation rows wrong with")
    say(f"  {_describe(found.settings, found.names)}")
    with held_back():
        write(found)
    if stop:
        raise stop
    return 0


def load(args: argparse.Namespace) -> Dataset:
    """Return a data set by its name, or of an npz file."""
    from minihash import datasets
    from minihash.datasets.labelled import read_labelled
    from minihash.files import beside
    from minihash.text import meant

    if args.data in datasets.names():
        return datasets.load(args.data, args.data_dir)
    if not os.path.exists(args.data):
        known = datasets.names()
        hint = meant(args.data, [*known, *beside(args.data)])
        wanted = f"wanted the path of an npz file, or one of {', '.join(known)}"
        raise ValueError(f"DATA is {args.data!r}, {wanted}{hint}")
    return read_labelled(args.data)


def _build(args: argparse.Namespace, sizes: list[int], dataset: Dataset, settings: Settings) -> Network:
    from minihash.builders import mlp

    return mlp(
        sizes,
        compression=float(Fraction(args.compression)) or None,
        tile=args.tile,
        dropout=(settings.input_dropout, settings.dropout),
        seed=args.seed,
        input_scale=dataset.input_scale,
        class_names=dataset.class_names,
    )


class Printer:
    """Says what became of each trial, in a line."""

    def __init__(self, trials: int) -> None:
        from minihash import metrics
        from minihash.search import SCORE

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


def write_best(args: argparse.Namespace, best: dict[str, Any]) -> None:
    """Write what was asked for, and say how to go on."""
    from minihash import strict_json
    from minihash.files import replacing

    if args.out:
        with replacing(args.out) as file:
            file.write(strict_json.dumps(best, indent=2).encode() + b"\n")
        say(f"wrote {args.out}")
    if args.journal:
        say(f"{args.journal} keeps the trials: the same command with a larger --trials goes on from there")


def _command(args: argparse.Namespace, settings: Settings) -> str:
    """Return the command that trains with the settings."""
    network = {"hidden": args.hidden, "compression": args.compression}
    if args.compression != "0":
        network["tile"] = args.tile
    return train_command(args, network, settings)


def train_command(args: argparse.Namespace, network: dict[str, Any], settings: Settings) -> str:
    """Return the command `minihash train` for a network, with settings that it knows."""
    words: list[Any] = ["minihash", "train", args.data, "--final"]
    words += ["--data-dir", args.data_dir] if args.data_dir else []
    for name, value in {**network, **settings.as_dict(), "seed": args.seed}.items():
        words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    return shlex.join(map(str, words))
