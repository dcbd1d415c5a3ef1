"""Error against bytes: MNIST 784-1000-10 with buckets of 32, 8 and 4 bits.

    python -m benchmarks.error_against_bytes train --data-dir FOLDER [--compressions 8 64] [--jobs 2]
    python -m benchmarks.error_against_bytes report             # the table, and error_against_bytes.svg

FOLDER has MNIST's files. Every network is trained once, as `benchmarks.paper` trains it, then rounded to 8
and to 4 bits, and fine-tuned with these; the test set is read once for each. A line of
`error_against_bytes.jsonl` a network: a run that is killed goes on from there.
"""

from __future__ import annotations

import argparse
import copy
import functools
import multiprocessing
from pathlib import Path
from typing import Any

from benchmarks.ledger import Ledger
from benchmarks.machine import machine
from benchmarks.paper.grids import Cell
from benchmarks.paper.runs import build, train
from benchmarks.paper.settings import settings_of
from benchmarks.tables import markdown
from minihash import datasets, evaluate, figures, optimizers, schedules
from minihash.kernels import threads
from minihash.quantization import fine_tune, quantize

COMPRESSIONS = (8, 16, 32, 64, 128, 256)
BITS = (8, 4)
TUNING = {"epochs": 5, "learning_rate": 3e-4}
LEDGER = Ledger(Path(__file__).with_name("error_against_bytes.jsonl"), ("compression", "seed", "settings"))
PAPER = {8: 1.45, 64: 2.79}  # table 1 and 2: HashNet, 3 layers, float32


def planned(compression: int, seed: int) -> dict[str, Any]:
    """Return a network to train; beyond the paper's factors, with the settings of 1/64."""
    cell = _cell(compression, seed)
    return {"compression": compression, "seed": seed, "settings": settings_of(cell).as_dict()}


def _cell(compression: int, seed: int) -> Cell:
    return Cell("mnist", 3, "HashNet", f"1/{min(compression, 64)}", 0, seed)


def measure(data_dir: str | None, plan: dict[str, Any]) -> dict[str, Any]:
    """Train a network and quantise it; return bytes and test errors in percent."""
    dataset = datasets.load("mnist", data_dir)
    cell, rows = _cell(plan["compression"], plan["seed"]), dataset.train_and_validation()
    settings = settings_of(cell)
    sized = Cell(**{**cell.as_dict(), "compression": f"1/{plan['compression']}"})
    network, _ = build(sized, settings, dataset)
    train(network, rows, settings, cell.seed)

    def error(network: Any) -> float:
        return round(100 * evaluate(network, dataset.test)["error"], 4)

    results: dict[str, Any] = {"float32": {"bytes": network.nbytes, "error": error(network)}}
    for bits in BITS:
        rounded = quantize(network, bits)
        rate = TUNING["learning_rate"]
        tuned, _ = fine_tune(
            copy.deepcopy(network),
            rows,
            bits=bits,
            epochs=int(TUNING["epochs"]),
            optimizer=optimizers.Adam(rate),
            schedule=schedules.cosine(rate),
            batch_size=settings.batch_size,
            progress=False,
        )
        results[f"int{bits}"] = {"bytes": rounded.nbytes, "error": error(rounded), "tuned": error(tuned)}
    return {**plan, "tuning": TUNING, "results": results, "machine": machine()}


def report() -> None:
    """Print the table and draw the picture."""
    records = sorted(LEDGER.records(), key=lambda record: (record["compression"], record["seed"]))
    rows = [
        (
            f"1/{record['compression']}",
            str(record["seed"]),
            kind,
            f"{found['bytes']:,}",
            f"{found['error']:.2f}",
            f"{found['tuned']:.2f}" if "tuned" in found else "",
        )
        for record in records
        for kind, found in record["results"].items()
    ]
    header = ("compression", "seed", "buckets", "bytes", "error, %", "fine-tuned, %")
    print(markdown(header, rows))

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        for place, kind in enumerate(("float32", "int8", "int4")):
            found = [record["results"][kind] for record in records if record["seed"] == 0]
            points = [(result["bytes"], result.get("tuned", result["error"])) for result in found]
            line = {"color": figures.COLORS[place], "linestyle": figures.DASHES[place]}
            label = kind if kind == "float32" else f"{kind}, fine-tuned"
            axes.plot(*zip(*points), label=label, marker="os^"[place], **line)
        dense = 4 * 795_010
        paper = [(dense / factor, error) for factor, error in PAPER.items()]
        axes.plot(*zip(*paper), "k+", markersize=9, label="the paper, float32")
        axes.axvline(dense / 64, color="0.6", linewidth=1)
        beside: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "right", "va": "center"}
        axes.annotate("1/64 of the dense bytes ", (dense / 64, 0.5), fontsize=8, rotation=90, **beside)
        axes.set(xscale="log", xlabel="bytes of the stored weights", ylabel="test error, %")
        axes.set_title("MNIST, 784-1000-10")
        axes.legend()

    figures.draw(LEDGER.path.with_suffix(".svg"), (6.4, 4.2), fill)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("train", "report"))
    parser.add_argument("--data-dir")
    parser.add_argument("--compressions", type=int, nargs="+", default=list(COMPRESSIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    if args.action == "report":
        return report()
    todo = LEDGER.missing([planned(c, seed) for seed in args.seeds for c in args.compressions])
    task = functools.partial(measure, args.data_dir)
    share = max(1, threads.num_threads() // args.jobs)
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.jobs, threads.set_num_threads, (share,)) as pool:
        for record in pool.imap_unordered(task, todo):
            LEDGER.append(record)
            print(f"1/{record['compression']}, seed {record['seed']}: {record['results']}", flush=True)


if __name__ == "__main__":
    main()
