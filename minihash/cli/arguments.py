"""Arguments that several commands share, and types of numbers that refuse wrong ones with their option."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction

from minihash.tasks import MISSING, SPLITS, TASKS

LONGEST = 50  # letters of a fraction


def integer(low: int, high: int = 2**31) -> Callable[[str], int]:
    """Return a type for argparse: an integer with `low <= value < high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value < high:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low} to {high - 1}")
        return value

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a type for argparse: a number or fraction, such as 0.25 or 1/64, with `low <= value <= high`."""

    def parse(text: str) -> float:
        try:
            value = float(Fraction(text) if "/" in text and len(text) < LONGEST else text)
        except (ValueError, ArithmeticError):
            value = low - 1
        if not low <= value <= high:
            wanted = f"a number from {low:g} to {high:g}, such as 0.25 or 1/64"
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse


SEED = integer(0, 2**32)


def add_device_arguments(parser: argparse._ActionsContainer) -> None:
    """Add --device and --deterministic."""
    about = "that computes; cuda: an NVIDIA GPU, with the extra 'cuda' (default: %(default)s)"
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help=about)
    about = "on a GPU, sum gradients to the same bits every time"
    parser.add_argument("--deterministic", action="store_true", help=about)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data, and what there is to say of a file of the user's own; `data_sets.open_data` opens it."""
    about = "a table (CSV, other text, Parquet), a store, .npy or .npz file; or a data set, see: minihash "
    about += "data list (default: mnist-small)"
    parser.set_defaults(data="mnist-small")  # not the argument's own: where it is absent, settings hold
    parser.add_argument("data", nargs="?", default=argparse.SUPPRESS, metavar="DATA", help=about)
    data = parser.add_argument_group("data")
    data.add_argument("--data-dir", metavar="DIR", help="folder of the files of mnist and fashion-mnist")
    add_table_arguments(data)
    about = "what the targets are (default: the model's, else what they look like)"
    data.add_argument("--task", choices=tuple(TASKS), help=about)
    about = "leave this column out; may be given several times"
    data.add_argument("--drop", action="append", default=[], metavar="NAME", help=about)
    about = "fill empty cells with the column's mean, or drop their rows (default: refuse them)"
    data.add_argument("--missing", choices=MISSING, help=about)
    about = "of a file: which rows test: of each class its share, or the last ones (default: shuffled)"
    data.add_argument("--split", choices=SPLITS, help=about)
    about = "of a file: so many rows to choose settings by (default: as --test-rows)"
    data.add_argument("--validation-rows", type=integer(0), metavar="N", help=about)
    about = "of a file: so many rows to test (default: the model's, else a tenth, at most 500000)"
    data.add_argument("--test-rows", type=integer(0), metavar="N", help=about)


def add_table_arguments(parser: argparse._ActionsContainer) -> None:
    """Add what there is to say of a table: which column is the target, and whether there is a header."""
    about = "its column, by name or number from 0; -1: the last (default: the model's, else the one called "
    about += "target, label, class or y; of a file without names the first)"
    parser.add_argument("--target", metavar="NAME", help=about)
    about = "of a text file: whether the first line has names (default: what it looks like)"
    parser.add_argument("--header", action=argparse.BooleanOptionalAction, help=about)
