"""The trade: test error against multiplications and the time of a step, with and without tiles.

    python -m benchmarks.trade train --data-dir FOLDER [--jobs 2]   # an hour; goes on where it was killed
    python -m benchmarks.trade time                                 # minutes, alone on the machine
    python -m benchmarks.trade report                               # tables, and trade.svg

Every result is a line of `trade.jsonl`. FOLDER has MNIST's files. Training:
`minihash train`'s settings (Adam, one cycle, dropout), all training rows, the test set read once a
run. Times: a whole step of the network, batch 128, one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ledger import Ledger
from benchmarks.machine import machine
from benchmarks.speed import peers
from benchmarks.speed.cases import check_layer, thread_count
from benchmarks.speed.timing import Samples, Side
from benchmarks.tables import markdown
from minihash import datasets, evaluate, figures, fit, losses, mlp, optimizers, schedules
from minihash.kernels import threads
from minihash.layers.hashed_linear import auto_tile
from minihash.network import Network

LEDGER = Ledger(
    Path(__file__).with_name("trade.jsonl"), ("experiment", "compression", "variant", "seed", "epochs")
)
#: Segments of a row of hidden layers; 0 are single weights. The output layer has `tile="auto"`.
SEGMENTS = {"element": 0, "16 segments": 16, "8 segments": 8, "4 segments": 4, "2 segments": 2}
VARIANTS = (*SEGMENTS, "dense")
ALL = tuple(SEGMENTS)
DENSE: dict[int, tuple[str, ...]] = {1: ("dense",)}
WIDE = DENSE | {8: ALL, 64: ALL, 256: ALL}
Grid = tuple[str, list[int], int | None, int, dict[int, tuple[str, ...]]]
#: experiment: data, hidden units, training rows, epochs, variants by 1 / compression
EXPERIMENTS: dict[str, Grid] = {
    "mnist": ("mnist", [1000], None, 10, WIDE),
    "rot": ("rot", [1000], None, 20, WIDE),
    "rot, three hidden layers": ("rot", [1000] * 3, None, 20, DENSE | {64: ALL}),
    "1,000 digits": ("mnist", [1000], 1000, 100, DENSE | {8: ALL, 64: ALL}),
}
SEEDS = (0, 1, 2)
OWN: dict[str, Any] = {"dropout": (0.1, 0.25), "input_scale": 1 / 255}
BATCH = 128


def cells() -> list[dict[str, Any]]:
    """Return what there is to train: all experiments with the first seed, then with the next."""
    return [
        {
            "experiment": experiment,
            "compression": compression,
            "variant": variant,
            "seed": seed,
            "epochs": epochs,
        }
        for seed in SEEDS
        for experiment, (_, _, _, epochs, variants) in EXPERIMENTS.items()
        for compression, some in variants.items()
        for variant in some
    ]


def build(hidden: list[int], compression: int, variant: str, **arguments: Any) -> Network:
    """Return 784-…-10 of a variant, at 1 / compression."""
    sizes = [784, *hidden, 10]
    if variant == "dense":
        return mlp(sizes, **arguments)
    buckets = [round((one + 1) * next / compression) for one, next in zip(sizes, sizes[1:])]
    tiles = tiles_of(sizes, buckets, SEGMENTS[variant])
    return mlp(sizes, num_buckets=buckets, tile=tiles, **arguments)


def tiles_of(sizes: list[int], buckets: list[int], segments: int) -> list[int]:
    """Return the length of tiles of every layer."""
    if not segments:
        return [1] * len(buckets)
    hidden = [-(-(columns + 1) // segments) for columns in sizes[:-2]]
    return [*hidden, auto_tile(sizes[-1], sizes[-2] + 1, buckets[-1])]


def train(cell: dict[str, Any], data_dir: str) -> dict[str, Any]:
    """Train one network and return its cell with the test error, a percentage."""
    name, hidden, rows, *_ = EXPERIMENTS[cell["experiment"]]
    dataset = datasets.load(name, data_dir)
    network = build(hidden, cell["compression"], cell["variant"], seed=cell["seed"], **OWN)
    return {**cell, **measured(network, dataset, rows, cell["epochs"], cell["seed"])}


def measured(
    network: Network, dataset: datasets.Dataset, rows: int | None, epochs: int, seed: int
) -> dict[str, Any]:
    """Train a network; return its stored numbers, its test error (a percentage), and seconds."""
    threads.set_num_threads(1)
    inputs, labels = dataset.train_and_validation()
    history = fit(
        network,
        (inputs[:rows], labels[:rows]),
        optimizer=optimizers.Adam(2e-3),
        schedule=schedules.one_cycle(2e-3),
        epochs=epochs,
        seed=seed,
        progress=False,
    )
    error = 100 * evaluate(network, dataset.test)["error"]
    seconds = round(history["seconds"][-1], 1)
    return {"stored": network.num_parameters, "error": round(error, 4), "seconds": seconds}


def train_all(data_dir: str, jobs: int, experiments: list[str]) -> None:
    """Train whatever the ledger lacks, `jobs` networks at a time."""
    todo = [cell for cell in LEDGER.missing(cells()) if cell["experiment"] in experiments]
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=8) as pool:
        for record in pool.imap_unordered(_Train(data_dir), todo):
            LEDGER.append(record)
            print(*record.values(), sep=", ", flush=True)


class _Train:
    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir

    def __call__(self, cell: dict[str, Any]) -> dict[str, Any]:
        return train(cell, self.data_dir)


def time_all(seconds: float) -> None:
    """Measure the step of 784-1000-10 beside the same network of PyTorch, dense; one thread."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.random((BATCH, 784), np.float32), rng.integers(0, 10, BATCH)
    for compression, variants in WIDE.items():
        sides = {"PyTorch": _dense_step(inputs, labels)}
        for variant in variants:
            network = build([1000], compression, variant, seed=0)
            if variant in SEGMENTS:
                check_layer(network.layers[0], inputs, rng.normal(size=(BATCH, 1000)).astype(np.float32))
            sides[variant] = _step(network, inputs, labels)
        with thread_count(1):
            samples = Samples(sides, seconds)
        for variant in variants:
            ratio = samples.ratio(variant, "PyTorch")
            cell = {"experiment": "time", "compression": compression, "variant": variant}
            where = {"ratio": ratio.as_dict(), "machine": machine()}
            LEDGER.append({**cell, "seed": None, "epochs": None, **where})
            print(compression, variant, ratio, flush=True)


def _step(network: Network, inputs: np.ndarray, labels: np.ndarray) -> Side:
    optimizer = optimizers.Adam(2e-3)

    def step() -> None:
        _, grad_outputs = losses.softmax_cross_entropy(network.forward(inputs, training=True), labels)
        network.backward(grad_outputs, need_grad_inputs=False)
        optimizer.step(network.params, network.grads)

    return step


def _dense_step(inputs: np.ndarray, labels: np.ndarray) -> Side:
    torch = peers.torch()
    dense = torch.nn.Sequential(torch.nn.Linear(784, 1000), torch.nn.ReLU(), torch.nn.Linear(1000, 10))
    descent, entropy = torch.optim.Adam(dense.parameters()), torch.nn.CrossEntropyLoss()
    a, target = torch.from_numpy(inputs), torch.from_numpy(labels)

    def step() -> None:
        descent.zero_grad()
        entropy(dense(a), target).backward()
        descent.step()

    return step


def multiplications(hidden: list[int], compression: int, variant: str) -> float:
    """Return the multiplications of a row of inputs, over the dense network's."""
    found = build(hidden, compression, variant).multiplications
    return found / build(hidden, 1, "dense").multiplications


def report(plot: str) -> None:
    """Print the tables and draw the figure of what is in the ledger."""
    errors: dict[tuple[str, int, str], list[float]] = {}
    times: dict[tuple[int, str], float] = {}
    for record in LEDGER.records():
        if record["experiment"] == "time":
            times[record["compression"], record["variant"]] = record["ratio"]["ratio"]
        else:
            place = record["experiment"], record["compression"], record["variant"]
            errors.setdefault(place, []).append(record["error"])
    for experiment, (_, hidden, _, _, variants) in EXPERIMENTS.items():
        rows = []
        for compression, some in variants.items():
            for variant in some:
                found = errors.get((experiment, compression, variant))
                if not found:
                    continue
                share = f"{multiplications(hidden, compression, variant):.3f}"
                time = times.get((compression, variant)) if hidden == [1000] else None
                shown = "" if time is None else f"{time:.2f}"
                rows.append((f"1/{compression}", variant, _describe(found), share, shown))
        columns = "test error, %", "multiplications / dense", "time / PyTorch, dense"
        header = ("compression", "variant", *columns)
        if rows:
            print(f"\n### {experiment}\n\n" + markdown(header, rows))
    _draw(errors, times, plot)


def _describe(errors: list[float]) -> str:
    every = f" ({', '.join(f'{error:.2f}' for error in errors)})" if len(errors) > 1 else ""
    return f"{np.mean(errors):.2f}{every}"


def _draw(
    errors: dict[tuple[str, int, str], list[float]], times: dict[tuple[int, str], float], plot: str
) -> None:
    """Draw errors against the time of a step, of what both are known of."""

    def fill(figure: Any) -> None:
        for axes, experiment in zip(figure.subplots(1, 2), ("mnist", "rot")):
            for place, (compression, some) in enumerate(WIDE.items()):
                for variant in some:
                    found = errors.get((experiment, compression, variant))
                    time = times.get((compression, variant))
                    if not found or time is None:
                        continue
                    color, marker = figures.COLORS[place], figures.MARKERS[VARIANTS.index(variant)]
                    name = "dense" if compression == 1 else f"1/{compression}, {variant}"
                    axes.plot([time] * 2, [min(found), max(found)], color=color, linewidth=1)
                    axes.plot(time, np.mean(found), marker, color=color, markersize=5, label=name)
            axes.set(xscale="log", yscale="log", xlabel="time of a step / dense PyTorch", title=experiment)
            axes.set_xticks((1 / 8, 1 / 4, 1 / 2, 1), ("1/8", "1/4", "1/2", "1"))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        figure.axes[0].set(ylabel="test error, %")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper")

    figures.draw(plot, (9, 3.8), fill)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    training = actions.add_parser("train")
    training.add_argument("--data-dir", required=True)
    training.add_argument("--jobs", type=int, default=2)
    training.add_argument("--experiments", nargs="+", default=list(EXPERIMENTS), choices=EXPERIMENTS)
    timing = actions.add_parser("time")
    timing.add_argument("--seconds", type=float, default=30.0, help="a compression")
    reporting = actions.add_parser("report")
    reporting.add_argument("--plot", default=str(LEDGER.path.with_suffix(".svg")))
    arguments = parser.parse_args()
    if arguments.action == "train":
        train_all(arguments.data_dir, arguments.jobs, arguments.experiments)
    elif arguments.action == "time":
        time_all(arguments.seconds)
    else:
        report(arguments.plot)


if __name__ == "__main__":
    main()
