"""Why HashNets lose to dense networks of their size on BG-RAND: one thing changed at a time.

    python -m benchmarks.paper.exceptions train      # 20 minutes; goes on where it was killed
    python -m benchmarks.paper.exceptions report     # the table of docs/paper.md

Each network stores what those of its table do, and is trained on the same rows with the same settings but
for what its name says. Every result is a line of `exceptions.jsonl`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ledger import Ledger, Record
from benchmarks.paper import data, grids, methods, runs
from benchmarks.paper.settings import settings_of
from benchmarks.tables import markdown
from minihash.size_matching import dense_size
from minihash.training import evaluate

KEYS = ("layers", "compression", "variant", "seed")
LEDGER = Ledger(Path(__file__).with_name("exceptions.jsonl"), KEYS)
CASES = ((3, "1/8"), (5, "1/64"))  # where the tables have NN before HashNet
DATASET = "bg-rand"


class Variant(NamedTuple):
    """What is changed.

    row : of `grids.ROWS`.
    units : of the hidden layers.
    settings : that differ from the table's.
    """

    row: str = "HashNet"
    units: int = grids.UNITS
    settings: dict[str, Any] = {}


VARIANTS = {
    "NN": Variant("NN"),
    "HashNet": Variant(),
    "no sign": Variant("HashNet, unsigned"),
    "4 tiles a row": Variant("HashNet, 4 tiles a row"),
    "500 units": Variant(units=500),
    "250 units": Variant(units=250),
    "125 units": Variant(units=125),
    "no dropout": Variant(settings={"input_dropout": 0.0, "dropout": 0.0}),
    "input dropout 0.4": Variant(settings={"input_dropout": 0.4}),
    "dropout 0.5": Variant(settings={"dropout": 0.5}),
    "weight decay 1e-4": Variant(settings={"weight_decay": 1e-4}),
    "weight decay 1e-3": Variant(settings={"weight_decay": 1e-3}),
    "20 epochs": Variant(settings={"epochs": 20}),
    "150 epochs": Variant(settings={"epochs": 150}),
    "NN, 150 epochs": Variant("NN", settings={"epochs": 150}),
    "learning rate / 4": Variant(settings={"learning_rate": 0.25}),  # times the table's
}


def cells(seeds: list[int]) -> list[dict[str, Any]]:
    """Return what there is to train."""
    return [
        {"layers": layers, "compression": compression, "variant": name, "seed": seed}
        for seed in seeds
        for layers, compression in CASES
        for name in VARIANTS
    ]


def run(cell: dict[str, Any]) -> Record:
    """Train the network of a cell, and measure it on the rows it was trained on and on the test rows."""
    variant, dataset = VARIANTS[cell["variant"]], data.load(DATASET)
    paper = grids.Cell(DATASET, cell["layers"], variant.row, cell["compression"], 0, cell["seed"])
    known = settings_of(paper)
    changed = dict(variant.settings)
    changed["learning_rate"] = known.learning_rate * changed.get("learning_rate", 1)
    settings, whole = replace(known, **changed), runs.sizes_of(paper, dataset)
    sizes = [whole[0], *[variant.units] * (len(whole) - 2), whole[-1]]
    budget = methods.storage_budget(whole, grids.compression_of(paper))
    narrower = replace(paper, compression=f"{min(budget, dense_size(sizes))}/{dense_size(sizes)}")
    network, _ = runs.build(narrower, settings, dataset, sizes)
    start = time.perf_counter()
    rows = dataset.train_and_validation()
    runs.train(network, rows, settings, cell["seed"])
    return {
        **cell,
        "stored": network.num_parameters,
        "seconds": round(time.perf_counter() - start, 1),
        "train_error": round(100 * evaluate(network, rows)["error"], 3),
        "test_error": round(100 * evaluate(network, dataset.test)["error"], 3),
    }


def report() -> None:
    """Print the table of what is in the ledger."""
    found = {tuple(record[key] for key in KEYS): record for record in LEDGER.records()}
    rows = []
    for name in VARIANTS:
        row = [name]
        for layers, compression in CASES:
            record = found.get((layers, compression, name, 0), {})
            row += [f"{record[key]:.2f}" if record else "missing" for key in ("train_error", "test_error")]
        rows.append(row)
    columns = [f"{layers} layers, {size}: {part}" for layers, size in CASES for part in ("training", "test")]
    print(markdown(("changed", *columns), rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    training = actions.add_parser("train")
    training.add_argument("--seeds", type=int, nargs="+", default=[0])
    actions.add_parser("report")
    arguments = parser.parse_args()
    if arguments.action == "report":
        report()
        return
    for cell in LEDGER.missing(cells(arguments.seeds)):
        record = run(cell)
        LEDGER.append(record)
        print(*record.values(), sep=", ", flush=True)


if __name__ == "__main__":
    main()
