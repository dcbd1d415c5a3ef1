"""The paper, from its data to its tables: `python -m benchmarks.paper`."""

from __future__ import annotations

import argparse
import sys

from benchmarks.paper.commands import data, tables, tune
from minihash.cli import build_parser, main

ABOUT = "The tables and figures of Chen et al. 2015: their data, networks, searches and reports."


def paper_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    return build_parser("python -m benchmarks.paper", ABOUT, (tables, tune, data))


if __name__ == "__main__":
    sys.exit(main(parser=paper_parser()))
