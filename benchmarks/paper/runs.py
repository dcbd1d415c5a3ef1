"""One cell: build its network, train it, and read the test set once."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ledger import Record
from benchmarks.locks import locked
from benchmarks.paper import methods
from benchmarks.paper.grids import ROWS, STORED_UNITS, UNITS, Cell, compression_of
from benchmarks.paper.settings import Settings
from minihash import losses, search
from minihash.datasets import Dataset
from minihash.datasets.dataset import Part
from minihash.network import Network
from minihash.persistence import load, save
from minihash.training import Callback, History, evaluate


def sizes_of(cell: Cell, dataset: Dataset) -> list[int]:
    """Return the units of the full network: 784-1000-10, or with three hidden layers; in figure 4, of 50."""
    units = STORED_UNITS if cell.expansion else UNITS
    return [dataset.train[0].shape[1], *[units] * (cell.layers - 2), len(dataset.class_names)]


def build(
    cell: Cell, settings: Settings, dataset: Dataset, sizes: Sequence[int] | None = None
) -> tuple[Network, int]:
    """Return the network of a cell, of its sizes unless others are given, and the numbers it was to store."""
    row = ROWS[cell.row]
    arguments = {
        "dropout": (settings.input_dropout, settings.dropout),
        "seed": cell.seed,
        "input_scale": dataset.input_scale,
        "class_names": dataset.class_names,
        **row.arguments,
    }
    sizes = sizes_of(cell, dataset) if sizes is None else sizes
    if cell.expansion:
        network = methods.build_expanded(row.method, sizes, cell.expansion, **arguments)
        return network, methods.storage_budget(sizes, 1)
    compression = compression_of(cell)
    network = methods.build(row.method, sizes, compression, **arguments)
    return network, methods.storage_budget(sizes, compression)


def run(cell: Cell, settings: Settings, dataset: Dataset, teacher: Network | None = None) -> Record:
    """Train the network of a cell on all rows that are not test rows, and read the test set once.

    Returns
    -------
    stored (numbers), budget, multiplications (of a row of inputs), seconds, loss (of the last epoch) and
    test_error (a percentage). The last two are None where training diverged, and `failure` says how.
    """
    network, budget = build(cell, settings, dataset)
    start = time.perf_counter()
    results: Record = {"loss": None, "test_error": None}
    try:
        history = train(network, dataset.train_and_validation(), settings, cell.seed, teacher)
        results["loss"] = round(history["loss"][-1], 6)
        results["test_error"] = round(100 * evaluate(network, dataset.test)["error"], 4)
    except FloatingPointError as error:
        results["failure"] = str(error)
    return {
        "stored": network.num_parameters,
        "budget": budget,
        "multiplications": network.multiplications,
        "seconds": round(time.perf_counter() - start, 1),
        **results,
    }


def train(
    network: Network,
    rows: Part,
    settings: Settings,
    seed: int,
    teacher: Network | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> History:
    """Train a network as the settings say: Adam, one cycle; with a teacher, on its outputs too."""
    inputs, labels = rows
    loss: Any = "softmax_cross_entropy"
    if teacher is not None:
        labels = losses.distillation_targets(labels, teacher.predict(inputs))
        loss = functools.partial(
            losses.distillation, temperature=settings.temperature, weight=settings.teacher_weight
        )
    return search.train(network, (inputs, labels), settings, seed, loss=loss, callbacks=callbacks)


def teacher_cell(cell: Cell) -> Cell:
    """Return the cell of the teacher: the full dense network, of the same seed."""
    return Cell(cell.dataset, cell.layers, "NN", "1", 0, cell.seed)


def teacher_of(
    cell: Cell, settings: Settings, dataset: Dataset, folder: Path, sizes: Sequence[int] | None = None
) -> Network:
    """Return the teacher of a cell, trained at its first use and kept in `folder`; other processes wait.

    Other settings or data make another teacher.
    """
    facts = json.dumps([settings.as_dict(), dataset.origin], allow_nan=False)
    digest = hashlib.sha256(facts.encode()).hexdigest()
    name = f"{cell.dataset}-{cell.layers}-{cell.seed}-{digest[:8]}"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.safetensors"
    with open(folder / f"{name}.lock", "ab") as lock, locked(lock):
        if not os.path.exists(path):
            network, _ = build(teacher_cell(cell), settings, dataset, sizes)
            train(network, dataset.train_and_validation(), settings, cell.seed)
            save(network, path)
    return load(path)
