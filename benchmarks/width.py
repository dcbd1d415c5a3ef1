"""Wider virtual layers of the same stored numbers: what they do to the error, and to the time.

    python -m benchmarks.width train --data-dir FOLDER [--jobs 2]   # hours; goes on where it was killed
    python -m benchmarks.width report                               # what docs/choose.md says

With tiles a wider layer costs additions and activations, and no multiplications with weights. The networks
are 784-1000-10 at 1/64 and 1/8, and such with more hidden units and the same buckets in each layer, for
MNIST, trained as in `trade.py`. Every result is a line of `width.jsonl`.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import trade
from benchmarks.ledger import Ledger
from benchmarks.tables import markdown
from minihash import datasets, mlp
from minihash.network import Network

KEYS = ("stored", "segments", "width", "seed", "epochs")
LEDGER = Ledger(Path(__file__).with_name("width.jsonl"), KEYS)
BUCKETS = {12422: [12266, 156], 99376: [98125, 1251]}  # of 784-1000-10 at 1/64 and 1/8
WIDTHS = (1, 2, 4, 8, 16)


def cells(seeds: list[int], widths: list[int], segments: list[int], epochs: int) -> list[dict[str, Any]]:
    """Return what there is to train."""
    return [
        {"stored": stored, "segments": some, "width": width, "seed": seed, "epochs": epochs}
        for seed, stored, some, width in itertools.product(seeds, BUCKETS, segments, widths)
    ]


def build(cell: dict[str, Any]) -> Network:
    """Return the network of a cell."""
    sizes, buckets = [784, 1000 * cell["width"], 10], BUCKETS[cell["stored"]]
    tiles = trade.tiles_of(sizes, buckets, cell["segments"])
    return mlp(sizes, num_buckets=buckets, tile=tiles, seed=cell["seed"], **trade.OWN)


class _Train:
    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir

    def __call__(self, cell: dict[str, Any]) -> dict[str, Any]:
        dataset = datasets.load("mnist", self.data_dir)
        return {**cell, **trade.measured(build(cell), dataset, None, cell["epochs"], cell["seed"])}


def train_all(arguments: argparse.Namespace) -> None:
    """Train whatever the ledger lacks."""
    wanted = cells(arguments.seeds, arguments.widths, arguments.segments, arguments.epochs)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for record in pool.imap_unordered(_Train(arguments.data_dir), LEDGER.missing(wanted)):
            LEDGER.append(record)
            print(*record.values(), sep=", ", flush=True)


def report() -> None:
    """Print the table of what is in the ledger."""
    found: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for record in LEDGER.records():
        found.setdefault(tuple(record[key] for key in KEYS if key != "seed"), []).append(record)
    rows = []
    for (stored, segments, width, epochs), records in sorted(found.items()):
        network = build(records[0])
        errors = [record["error"] for record in records]
        shown = f"**{np.median(errors):.2f}** ({', '.join(f'{error:.2f}' for error in sorted(errors))})"
        multiplied = f"{network.multiplications:,}"
        seconds = f"{np.median([record['seconds'] for record in records]) / epochs:.1f}"
        units, segments_or_not = f"{1000 * width:,}", str(segments or "–")
        rows.append((f"{stored:,}", units, segments_or_not, str(epochs), shown, multiplied, seconds))
    measures = "test error, %", "multiplications", "s an epoch"
    header = ("stored", "hidden units", "segments", "epochs", *measures)
    print(markdown(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    training = actions.add_parser("train")
    training.add_argument("--data-dir", required=True)
    training.add_argument("--jobs", type=int, default=1)
    training.add_argument("--epochs", type=int, default=20)
    for name, default in (("seeds", [0]), ("widths", list(WIDTHS)), ("segments", [8])):
        training.add_argument(f"--{name}", type=int, nargs="+", default=default)
    actions.add_parser("report")
    arguments = parser.parse_args()
    if arguments.action == "train":
        train_all(arguments)
    else:
        report()


if __name__ == "__main__":
    main()
