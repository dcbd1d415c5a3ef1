"""Arguments that several commands share, and types of numbers that refuse wrong ones with their option."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction

from minihash.tasks import TASKS

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
    about = "that computes; cuda: an NVIDIA card, with the extra 'cuda' (default: %(default)s)"
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help=about)
    about = "on a card, sum gradients to the same bits every time"
    parser.add_argument("--deterministic", action="store_true", help=about)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --data, and what there is to say of a file of the user's own; `data_sets.open_data` opens it."""
    data = parser.add_argument_group("data")
    about = "data set, see: minihash data list; or a store, .npy, .npz or CSV file (default: %(default)s)"
    data.add_argument("--data", default="mnist-small", metavar="DATA", help=about)
    data.add_argument("--data-dir", metavar="DIR", help="folder of the files of mnist and fashion-mnist")
    about = "of a file: what its targets are (default: what they look like)"
    data.add_argument("--task", choices=tuple(TASKS), help=about)
    add_layout_arguments(data)
    about = "of a file: so many before the last are for choosing settings (default: a tenth, at most 500000)"
    data.add_argument("--validation-rows", type=integer(0), metavar="N", help=about)
    about = "of a file: so many of the last are for testing (default: a tenth, at most 500000)"
    data.add_argument("--test-rows", type=integer(0), metavar="N", help=about)


def add_layout_arguments(parser: argparse._ActionsContainer) -> None:
    """Add what there is to say of a table: which column is the target, and whether there is a header."""
    about = "of an .npy or CSV file: which column is the target; -1: the last (default: the model's, else 0)"
    parser.add_argument("--label-column", type=int, metavar="N", help=about)
    about = "of a CSV file: leave out the first line (default: the model's, else no)"
    parser.add_argument("--header", action=argparse.BooleanOptionalAction, help=about)
