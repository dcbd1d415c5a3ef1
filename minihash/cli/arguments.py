"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from fractions import Fraction


def fraction(text: str) -> float:
    """Parse "1/64" or "0.015625" for argparse."""
    try:
        return float(Fraction(text))
    except (ValueError, ArithmeticError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 1/64 or 0.25") from None


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --data and --data-dir."""
    parser.add_argument(
        "--data", default="mnist-small", metavar="NAME", help="data set (default: %(default)s)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the idx files (see: minihash data)")
