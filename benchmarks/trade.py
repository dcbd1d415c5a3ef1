"""The trade: test error against the time of a step, for the maps, at several compressions.

    python benchmarks/trade.py train --data-dir FOLDER [--jobs 2]   # hours; goes on where it was killed
    python benchmarks/trade.py time                                 # minutes, alone on the machine
    python benchmarks/trade.py report                               # tables, and trade.svg

Every result is a line of `trade.jsonl`. FOLDER has MNIST's files. Training:
`minihash train`'s settings (Adam, one cycle, dropout), all training rows, the test set read once a
run. Times: a whole step of the network, batch 128, one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

import blocks
import numpy as np

from minihash import datasets, evaluate, figures, fit, losses, mlp, optimizers, schedules, text
from minihash.bench import peers
from minihash.bench.cases import check_layer, thread_count
from minihash.bench.timing import Samples, Side
from minihash.experiments.ledger import Ledger
from minihash.kernels import threads
from minihash.layers import HashedLinear
from minihash.machine import machine
from minihash.network import Network

LEDGER = Ledger(
    Path(__file__).with_name("trade.jsonl"), ("experiment", "compression", "variant", "seed", "epochs")
)
HIDDEN: dict[str, Any] = {
    "element": {"map": "element"},
    "window": {"map": "window"},
    "window 1/2": {"map": "window", "window": 1 / 2},
    "window 1/4": {"map": "window", "window": 1 / 4},
    "window 1/8": {"map": "window", "window": 1 / 8},
    "block 8": {"length": 8},
    "block 16": {"length": 16},
}
# Where windows might be worse; the variants of the last name the map of the hidden and of the output layer.
OUTPUT: dict[str, Any] = {"window, element": ({"map": "window"}, {"map": "element"})}
VARIANTS = {name: (map, map) for name, map in HIDDEN.items()} | OUTPUT
FEW = ("element", "window", "window 1/4")
Grid = tuple[str, list[int], int | None, int, tuple[int, ...], tuple[str, ...]]
#: experiment: data, hidden units, training rows, epochs, 1 / compression, variants
EXPERIMENTS: dict[str, Grid] = {
    "mnist": ("mnist", [1000], None, 10, (8, 64, 256), tuple(HIDDEN)),
    "rot": ("rot", [1000], None, 20, (8, 64, 256), tuple(HIDDEN)),
    "rot, few buckets": ("rot", [1000], None, 20, (1024,), (*FEW, "window, element")),
    # 192 buckets: no window is longer, folded or not.
    "rot, fewest buckets": ("rot", [1000], None, 20, (4096,), ("element", "window", "window, element")),
    "rot, three hidden layers": ("rot", [1000] * 3, None, 20, (64,), (*FEW, "window, element")),
    "1,000 digits": ("mnist", [1000], 1000, 100, (8, 64), (*FEW, "window, element")),
    "rot, element outputs": ("rot", [1000], None, 20, (64, 256), ("window, element",)),
}
SEEDS = (0, 1, 2)
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
        for experiment, (_, _, _, epochs, compressions, variants) in EXPERIMENTS.items()
        for compression in compressions
        for variant in variants
    ]


def build(hidden: list[int], compression: float, variant: str, seed: int, **arguments: Any) -> Network:
    """Return 784-…-10 with the variant's maps in its hidden and output layers."""
    network = mlp([784, *hidden, 10], compression=compression, seed=seed, **arguments)
    layers = list(network.layers)
    for position, layer in enumerate(layers):
        if isinstance(layer, HashedLinear):
            map = VARIANTS[variant][position == len(layers) - 1]
            kind: Any = blocks.BlockLinear if "length" in map else HashedLinear
            layers[position] = kind(**{**layer.config(), **map})
    return Network(layers, input_scale=network.input_scale)


def train(cell: dict[str, Any], data_dir: str) -> dict[str, Any]:
    """Train one network and return its cell with the test error, a percentage."""
    threads.set_num_threads(1)
    blocks.register()
    name, hidden, rows, *_ = EXPERIMENTS[cell["experiment"]]
    dataset = datasets.load(name, data_dir)
    seed, inputs, labels = cell["seed"], *dataset.train_and_validation()
    network = build(
        hidden, 1 / cell["compression"], cell["variant"], seed, dropout=(0.1, 0.25), input_scale=1 / 255
    )
    history = fit(
        network,
        (inputs[:rows], labels[:rows]),
        optimizer=optimizers.Adam(2e-3),
        schedule=schedules.one_cycle(2e-3),
        epochs=cell["epochs"],
        seed=seed,
        progress=False,
    )
    error = 100 * evaluate(network, dataset.test)["error"]
    stored = network.num_parameters
    return {**cell, "stored": stored, "error": round(error, 4), "seconds": round(history["seconds"][-1], 1)}


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
    blocks.register()
    rng = np.random.default_rng(0)
    inputs, labels = rng.random((BATCH, 784), np.float32), rng.integers(0, 10, BATCH)
    for compression in EXPERIMENTS["mnist"][4]:
        sides = {"dense": _dense_step(inputs, labels)}
        for variant in HIDDEN:
            network = build([1000], 1 / compression, variant, 0)
            check_layer(network.layers[0], inputs, rng.normal(size=(BATCH, 1000)).astype(np.float32))
            sides[variant] = _step(network, inputs, labels)
        with thread_count(1):
            samples = Samples(sides, seconds)
        for variant in HIDDEN:
            ratio = samples.ratio(variant, "dense")
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


def report(plot: str) -> None:
    """Print the tables and draw the figure of what is in the ledger."""
    records = LEDGER.records()
    errors: dict[tuple[str, int, str], list[float]] = {}
    times: dict[tuple[int, str], float] = {}
    for record in records:
        if record["experiment"] == "time":
            times[record["compression"], record["variant"]] = record["ratio"]["ratio"]
        else:
            place = record["experiment"], record["compression"], record["variant"]
            errors.setdefault(place, []).append(record["error"])
    for experiment, (*_, compressions, variants) in EXPERIMENTS.items():
        rows = []
        for variant in variants:
            found = [_describe(errors.get((experiment, c, variant), [])) for c in compressions]
            shown = [f"{times[c, variant]:.2f}" if (c, variant) in times else "" for c in compressions]
            rows.append((variant, *found, *(shown if experiment == "mnist" else ())))
        header = ["map", *(f"1/{c}" for c in compressions)]
        header += [f"time 1/{c}" for c in compressions] if experiment == "mnist" else []
        print(f"\n### {experiment}\n\n" + text.markdown(header, rows))
    _draw(errors, times, plot)


def _describe(errors: list[float]) -> str:
    return f"{np.mean(errors):.2f} ({', '.join(f'{error:.2f}' for error in errors)})" if errors else ""


def _draw(errors: Any, times: Any, plot: str) -> None:
    shown = [name for name in ("mnist", "rot") if any(place[0] == name for place in errors)]
    families = {"element": 0, "window": 1, "block": 2}

    def fill(figure: Any) -> None:
        grid = figure.subplots(len(shown), 3, squeeze=False)
        for line, experiment in zip(grid, shown):
            for axes, compression in zip(line, EXPERIMENTS[experiment][4]):
                for variant in HIDDEN:
                    found = errors.get((experiment, compression, variant))
                    if not found or (compression, variant) not in times:
                        continue
                    color = figures.COLORS[families[variant.split()[0]]]
                    time, middle = times[compression, variant], np.mean(found)
                    axes.plot([time] * 2, [min(found), max(found)], color=color, linewidth=1)
                    axes.plot(time, middle, "o", color=color, markersize=5)
                    axes.annotate(
                        variant, (time, middle), (4, 4), textcoords="offset points", fontsize=7
                    )
                axes.set(title=f"{experiment}, 1/{compression}", xlim=(0, None))
                axes.margins(x=0.2, y=0.15)
        for axes in grid[-1]:
            axes.set(xlabel="time of a step / dense PyTorch")
        for line in grid:
            line[0].set(ylabel="test error, %")

    figures.draw(plot, (11, 3.6 * len(shown)), fill)


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
