"""Data-parallel training: what a step takes on 1, 2 and 4 ranks here, and a model of it for more.

    python -m benchmarks.scaling measure      a quarter of an hour on a quiet machine, into scaling.jsonl
    python -m benchmarks.scaling report       the tables of docs/scaling.md, and its picture

The model, of N ranks with b rows each, on machines of their own (docs/scaling.md):

    step(N, b) = fixed + row · b + sum(N),  sum(N) = 2 ⌈log₂ N⌉ · latency + 2 (N − 1) / N · bytes / bandwidth
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from minihash import figures, text

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "scaling.jsonl"
MPIEXEC = Path(sys.executable).with_name("mpiexec")
SIZES = [784, 1000, 10]
#: Networks, and the numbers each stores.
KINDS: dict[str, dict[str, Any]] = {
    "dense": {},
    "1/8": {"compression": 1 / 8},
    "1/64": {"compression": 1 / 64},
}
BATCHES = (16, 32, 64, 128, 256, 512)  # rows a rank
ROWS = 128  # a rank, where ranks are compared
FLOATS = (1_000, 12_425, 99_379, 795_013, 2_797_013)  # of a sum
STEPS, WARM = 30, 5
#: Assumed, not measured: a latency in seconds, and bytes a second.
NETWORKS = {"10 Gbit/s Ethernet": (30e-6, 1.1e9), "100 Gbit/s InfiniBand": (2e-6, 11e9)}
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
GLOBAL = 8192  # rows of a batch that all ranks share


class Watch:
    """Times from one step to the next, as a callback sees them."""

    def __new__(cls) -> Any:
        from minihash.training import Callback

        class Steps(Callback):
            observer = True

            def __init__(self) -> None:
                self._times: list[float] = []

            def on_gradients(self, network: Any) -> None:
                self._times.append(time.perf_counter())

            def median(self) -> float:
                return float(np.median(np.diff(self._times[WARM:])))

        return Steps()


def rank_steps(batch: int, kinds: list[str]) -> dict[str, float]:
    """Return seconds a step of each network in fast mode, `batch` rows a rank."""
    from minihash import fit, mlp
    from minihash.training.mpi import world

    whole = batch * world().size
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(whole * STEPS, SIZES[0])).astype(np.float32)
    labels = rng.integers(0, SIZES[-1], len(inputs))
    found = {}
    for kind in kinds:
        watch = Watch()
        options = {"epochs": 1, "batch_size": whole, "distributed": "fast", "shards": world().size}
        fit(mlp(SIZES, **KINDS[kind]), (inputs, labels), callbacks=[watch], progress=False, **options)
        if world().is_first:
            found[kind] = watch.median()
    return found


def rank_sums() -> dict[int, float]:
    """Return seconds of a sum over all ranks, by its numbers."""
    from minihash.training.mpi import world

    found = {}
    for floats in FLOATS:
        buffer, times = np.ones(floats, np.float32), []
        for _ in range(60):
            world().any(False)  # begin together
            start = time.perf_counter()
            world().sum(buffer)
            times.append(time.perf_counter() - start)
        found[floats] = float(np.median(times[10:]))
    return found


def rank(what: str, *arguments: str) -> None:
    """What a process does that `measure` starts."""
    from minihash.training.mpi import world

    found = rank_sums() if what == "sums" else rank_steps(int(arguments[0]), list(KINDS))
    if world().is_first:
        print(json.dumps(found))


def launch(ranks: int, *arguments: object) -> subprocess.Popen:
    """Start so many ranks, each with one thread."""
    own = [sys.executable, "-m", "benchmarks.scaling", "rank", *map(str, arguments)]
    words = [str(MPIEXEC), "-n", str(ranks), *own]
    environment = {**os.environ, "MINIHASH_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def results_of(*processes: subprocess.Popen) -> dict[str, float]:
    """Return the mean of what processes print."""
    found = [json.loads(process.communicate()[0]) for process in processes]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def measure(rounds: int) -> None:
    """Measure everything `rounds` times in turn, and write it."""
    records: list[dict[str, Any]] = []
    for number in range(rounds):
        for batch in BATCHES:
            steps = results_of(launch(1, "steps", batch))
            records.append({"round": number, "what": "steps", "ranks": 1, "batch": batch, "seconds": steps})
        beside = results_of(launch(1, "steps", ROWS), launch(1, "steps", ROWS))
        records.append({"round": number, "what": "beside", "ranks": 1, "batch": ROWS, "seconds": beside})
        for ranks in (2, 4):
            steps = results_of(launch(ranks, "steps", ROWS))
            common = {"round": number, "ranks": ranks}
            records.append({**common, "what": "steps", "batch": ROWS, "seconds": steps})
            sums = results_of(launch(ranks, "sums"))
            records.append({**common, "what": "sums", "seconds": sums})
        print(f"round {number + 1} of {rounds}", flush=True)
    RESULTS.write_text("".join(json.dumps(record) + "\n" for record in records))


class Found:
    """What was measured, by what it is: an array of the rounds."""

    def __init__(self) -> None:
        self.records = [json.loads(line) for line in RESULTS.read_text().splitlines()]

    def rounds(self, name: object, **fields: Any) -> np.ndarray:
        return np.array(
            [
                record["seconds"][str(name)]
                for record in self.records
                if all(record.get(field) == value for field, value in fields.items())
            ]
        )

    def median(self, name: object, **fields: Any) -> float:
        return float(np.median(self.rounds(name, **fields)))

    def step(self, kind: str) -> tuple[float, float]:
        """Return the fixed part of a step and that of a row, in seconds: least relative squares."""
        seconds = np.array([self.median(kind, what="steps", ranks=1, batch=batch) for batch in BATCHES])
        columns = np.stack([np.ones(len(BATCHES)), BATCHES], axis=1) / seconds[:, None]
        fixed, row = np.linalg.lstsq(columns, np.ones(len(BATCHES)), rcond=None)[0]
        return float(fixed), float(row)

    def link(self) -> tuple[float, float]:
        """Return latency and bandwidth between two ranks here, fitted as the step is."""
        seconds = np.array([self.median(floats, what="sums", ranks=2) for floats in FLOATS])
        columns = np.stack([np.full(len(FLOATS), 2.0), 4 * np.array(FLOATS)], axis=1) / seconds[:, None]
        latency, inverse = np.linalg.lstsq(columns, np.ones(len(FLOATS)), rcond=None)[0]
        return float(latency), float(1 / inverse)


def stored(kind: str) -> int:
    """Return the numbers of a sum: parameters, and three more."""
    from minihash import mlp

    return mlp(SIZES, **KINDS[kind]).num_parameters + 3


def sum_seconds(ranks: int, numbers: int, latency: float, bandwidth: float) -> float:
    """Return the model's time of a sum."""
    return 2 * math.ceil(math.log2(ranks)) * latency + 2 * (ranks - 1) / ranks * 4 * numbers / bandwidth


def spread(values: np.ndarray, digits: int = 2) -> str:
    """Return median and range."""
    return f"{np.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def report() -> None:
    """Print the tables, draw the picture."""
    found = Found()
    latency, bandwidth = found.link()
    rows = []
    for kind in KINDS:
        fixed, row = found.step(kind)
        at = found.median(kind, what="steps", ranks=1, batch=ROWS)
        error = max(
            abs(fixed + row * batch - seconds) / seconds
            for batch in BATCHES
            for seconds in [found.median(kind, what="steps", ranks=1, batch=batch)]
        )
        numbers = f"{1e3 * fixed:.2f}", f"{1e6 * row:.1f}", f"{1e3 * at:.2f}", f"{100 * error:.0f} %"
        rows.append((kind, f"{4 * stored(kind):,}", *numbers))
    header = ("network", "bytes a step", "fixed, ms", "a row, µs", f"{ROWS} rows, ms", "largest misfit")
    print(text.table(header, rows, left=1))
    print(f"\nbetween two ranks here: latency {1e6 * latency:.0f} µs, {bandwidth / 1e9:.1f} GB/s\n")

    rows = []
    for floats in FLOATS:
        row = [f"{4 * floats:,}"]
        for ranks in (2, 4):
            seconds = found.rounds(floats, what="sums", ranks=ranks)
            row += [spread(1e3 * seconds), f"{1e3 * sum_seconds(ranks, floats, latency, bandwidth):.2f}"]
        rows.append(tuple(row))
    print(text.table(("bytes", "2 ranks, ms", "model", "4 ranks, ms", "model"), rows, left=0) + "\n")

    rows = []
    for kind in KINDS:
        alone = found.rounds(kind, what="steps", ranks=1, batch=ROWS)
        beside = found.rounds(kind, what="beside")
        two = found.rounds(kind, what="steps", ranks=2)
        four = found.rounds(kind, what="steps", ranks=4)
        model = found.median(kind, what="beside") + sum_seconds(2, stored(kind), latency, bandwidth)
        model4 = 2 * found.median(kind, what="beside") + sum_seconds(4, stored(kind), latency, bandwidth)
        rows.append(
            (
                kind,
                *(spread(1e3 * each) for each in (alone, beside, two)),
                f"{1e3 * model:.2f}",
                spread(alone / two),
                spread(beside / two),
                spread(1e3 * four),
                f"{1e3 * model4:.2f}",
            )
        )
    header = ("network", "alone, ms", "beside another", "2 ranks", "model", "alone / 2 ranks")
    print(text.table((*header, "beside / 2 ranks", "4 ranks", "model"), rows, left=1) + "\n")
    predict(found)


def predict(found: Found) -> None:
    """Print and draw the model for other networks than this machine's memory."""
    curves: dict[tuple[str, str], dict[str, list[float]]] = {}
    for name, link in NETWORKS.items():
        for kind in KINDS:
            fixed, row = found.step(kind)
            numbers = stored(kind)

            def step(ranks: int, batch: float) -> float:
                return fixed + row * batch + (sum_seconds(ranks, numbers, *link) if ranks > 1 else 0)

            weak = [step(1, ROWS) / step(ranks, ROWS) for ranks in RANKS]
            strong = [step(1, GLOBAL) / step(ranks, GLOBAL / ranks) for ranks in RANKS]
            curves[name, "weak"] = {**curves.get((name, "weak"), {}), kind: weak}
            curves[name, "strong"] = {**curves.get((name, "strong"), {}), kind: strong}
    titles = {
        "weak": f"efficiency, {ROWS} rows a rank",
        "strong": f"times as fast, {GLOBAL:,} rows a step",
    }
    for (name, what), lines in curves.items():
        shown = [0, 3, 5, 7, 10]
        rows = [(kind, *(f"{values[at]:.3g}" for at in shown)) for kind, values in lines.items()]
        print(f"{name}, {titles[what]}:")
        print(text.table(("ranks", *(f"{RANKS[at]:,}" for at in shown)), rows, left=1) + "\n")

    def fill(figure: Any) -> None:
        grid = figure.subplots(2, 2, sharex=True, sharey="row")
        for column, name in enumerate(NETWORKS):
            for ax, what in zip(grid[:, column], titles):
                for index, (kind, values) in enumerate(curves[name, what].items()):
                    color, marker = figures.COLORS[index], figures.MARKERS[index]
                    ax.plot(RANKS, values, marker=marker, color=color, markersize=4, label=kind)
                ax.set_xscale("log", base=2)
                ax.set_xticks(RANKS[::2], [f"{ranks:,}" for ranks in RANKS[::2]])
                if what == "strong":
                    ax.set_yscale("log", base=2)
                    ax.plot(RANKS, RANKS, color="0.6", linewidth=0.8)
                    ax.set_xlabel("ranks")
                if column == 0:
                    ax.set_ylabel(titles[what])
            grid[0, column].set_title(name)
            grid[0, column].set_ylim(0, 1.05)
        grid[0, 0].legend()

    figures.draw(FOLDER / "scaling.svg", (9, 6.5), fill)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("measure", "report", "rank"))
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.what == "rank":
        rank(*arguments.arguments)
    elif arguments.what == "measure":
        measure(arguments.rounds)
    else:
        report()


if __name__ == "__main__":
    main()
