"""HIGGS as on the slides that asked for this system: 28-100-50-10-1, tanh, momentum, on one small machine.

Every network is trained in a process of its own (`higgs_process`), whose memory is measured.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.ledger import Ledger, Record
from benchmarks.locks import locked
from benchmarks.machine import machine
from benchmarks.tables import markdown
from minihash import checks
from minihash.files import replacing
from minihash.size_matching import dense_sizes

SIZES = [28, 100, 50, 10, 1]
WIDE = [28, 4000, 4000, 1]
NARROW = "dense, as small as 1/8"
EIGHT: dict[str, Any] = {"num_buckets": 8}
#: What a network is called -> its sizes, arguments of its hashed layers (None: dense), and whether the
#: training is PyTorch's. The first is that of the slides: 8 buckets a layer, 32 in all.
NETWORKS: dict[str, tuple[Sequence[int], dict[str, Any] | None, bool]] = {
    "8 buckets a layer": (SIZES, EIGHT, False),
    "1/8": (SIZES, {"compression": 1 / 8}, False),
    NARROW: (dense_sizes(SIZES, 1051), None, False),
    "dense": (SIZES, None, False),
    "8 buckets a layer, PyTorch": (SIZES, EIGHT, True),
    "dense, PyTorch": (SIZES, None, True),
}
WIDE_NETWORKS = {
    "wide, 1/64": (WIDE, {"compression": 1 / 64}, False),
    "wide, dense": (WIDE, None, False),
    "wide, dense, PyTorch": (WIDE, None, True),
}
KEY = ("network", "seed", "source", "rows", "test_rows", "epochs", "batch_size", "learning_rate", "threads")
LEDGER, LOCK = "higgs.jsonl", "higgs.lock"


def plans(
    networks: Sequence[str],
    seeds: Sequence[int],
    source: str,
    rows: int,
    test_rows: int,
    *,
    epochs: int = 1,
    batch_size: int = 1024,
    learning_rate: float = 0.1,
    threads: int = 2,
) -> list[Record]:
    """Return what is to be trained, a record without results each; networks of PyTorch only where it is.

    Parameters
    ----------
    networks : of NETWORKS and WIDE_NETWORKS.
    seeds : of hashes, weights and order; each network is trained with each.
    source : what the rows are, in words.
    rows, test_rows : the file's rows to train on, then its last ones to test on.
    epochs, batch_size, learning_rate, threads : of the training; stochastic gradient descent, one cycle.
    """
    common = {"source": source, "rows": rows, "test_rows": test_rows, "epochs": epochs}
    common |= {"batch_size": batch_size, "learning_rate": learning_rate, "threads": threads}
    known = NETWORKS | WIDE_NETWORKS
    for name in networks:
        checks.choice("networks", name, tuple(known))
    at_hand = [name for name in networks if not known[name][2] or find_spec("torch")]
    return [{"network": name, "seed": seed, **common} for seed in seeds for name in at_hand]


def run(
    planned: Sequence[Record],
    data: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    report: Callable[[Record], Any] = lambda record: None,
) -> list[Record]:
    """Train what the ledger of a folder lacks, one after the other; return the records of all.

    Another process that does so in the same folder waits: two at once would disturb each other's times.

    Raises
    ------
    ValueError for a damaged ledger; OSError if it cannot be written; ChildProcessError if a process failed.
    """
    ledger = Ledger(Path(folder, LEDGER), KEY)
    with open(Path(folder, LOCK), "ab") as lock, locked(lock):
        for plan in ledger.missing(planned):
            sizes, hashed, torch = (NETWORKS | WIDE_NETWORKS)[plan["network"]]
            how = {"sizes": list(sizes), "hashed": hashed, "torch": torch, "data": os.fspath(data)}
            ledger.append({**plan, **_process({**plan, **how}), "machine": machine()})
            report(ledger.records()[-1])
    found = {ledger.identity(record): record for record in ledger.records()}
    return [found[ledger.identity(plan)] for plan in planned]


def _process(plan: Record) -> Record:
    """Do a training in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.higgs.process"]
    threads = {f"{name}_NUM_THREADS": str(plan["threads"]) for name in ("OMP", "OPENBLAS", "MKL")}
    given, env = json.dumps(plan, allow_nan=False), {**os.environ, **threads}
    found = subprocess.run(command, input=given, env=env, capture_output=True, text=True)
    if found.returncode:
        last = (found.stderr.strip().splitlines() or [f"exit status {found.returncode}"])[-1]
        raise ChildProcessError(f"training of {plan['network']!r} failed: {last}")
    return json.loads(found.stdout)


HEADER = ("network", "stored", "of", "loss", "AUC", "rows/s", "peak, MB", "process", "data", "model", "rest")


def table(records: Sequence[Record]) -> str:
    """Return the records as a table in Markdown, a row a network; of several seeds the median (and range)."""
    names = dict.fromkeys(record["network"] for record in records)
    rows = [_row(name, [record for record in records if record["network"] == name]) for name in names]
    return markdown(HEADER, rows)


def _row(name: str, found: Sequence[Record]) -> tuple[str, ...]:
    memory = {
        part: statistics.median([record["memory"][part] for record in found]) for part in found[0]["memory"]
    }
    rest = memory["scores"] + memory["workspace"]
    parts = (memory["peak"], memory["process"], memory["data"], memory["model"], rest)
    return (
        name,
        f"{found[0]['stored']:,}",
        f"{found[0]['virtual']:,}",
        f"{statistics.median([record['loss'] for record in found]):.4f}",
        _median([record["auc"] for record in found], ".4f"),
        _median([record["rows_per_second"] for record in found], ",.0f"),
        *(f"{size / 1e6:.1f}" for size in parts),
    )


def _median(values: Sequence[float | None], form: str) -> str:
    """Return the median as text, of several values with their range; None is one that is not defined."""
    known = [value for value in values if value is not None]
    if not known:
        return "undefined"
    middle = format(statistics.median(known), form)
    return f"{middle} ({min(known):{form}} to {max(known):{form}})" if len(known) > 1 else middle


def ratios(records: Sequence[Record]) -> str:
    """Return how many times as many rows a second as PyTorch's networks ours do, a line each.

    Of several seeds, each beside the other's run of the same seed: the median of the ratios and their range.
    """
    speed: dict[str, dict[int, float]] = {}
    for record in records:
        speed.setdefault(record["network"], {})[record["seed"]] = record["rows_per_second"]
    lines = []
    for peer in (name for name in speed if name.endswith("PyTorch")):
        for name in (name for name in speed if not name.endswith("PyTorch")):
            if name.startswith("wide") == peer.startswith("wide"):
                times = [rows / speed[peer][seed] for seed, rows in speed[name].items()]
                lines.append(f"{name}: {_median(times, '.2f')} times the rows a second of {peer}")
    return "\n".join(lines)


def write(records: Sequence[Record], folder: str | os.PathLike[str], name: str) -> Path:
    """Write the table to a file of a folder; return its path."""
    path = Path(folder, f"{name}.md")
    with replacing(path) as file:
        file.write(f"{table(records)}\n\n{ratios(records)}\n".encode())
    return path
