"""One training on HIGGS in a process of its own, and its memory.

`python -m benchmarks.higgs.process`

It reads a plan (JSON) from stdin and writes what it found (JSON) to stdout.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.speed import peers
from minihash import metrics, optimizers, schedules, strict_json
from minihash.builders import stack
from minihash.datasets.file_dataset import FileDataset, read_table
from minihash.datasets.rows import Rows
from minihash.kernels import threads
from minihash.layers import HashedLinear, Layer, Linear, Tanh
from minihash.network import Network
from minihash.schema import Split
from minihash.training import fit

MOMENTUM = 0.9
EVALUATED_ROWS = 8192

Plan = dict[str, Any]
Predict = Callable[[np.ndarray], np.ndarray]


def build(plan: Plan, data: FileDataset) -> Network:
    """Make the network of a plan; as on the slides only the first layer has a bias."""

    def make_layer(position: int, fan_in: int, fan_out: int, **common: Any) -> Layer:
        if not plan["hashed"]:
            return Linear(fan_in, fan_out, bias=position == 0, **common)
        bias = "none" if position else "hashed"
        return HashedLinear(fan_in, fan_out, bias=bias, **plan["hashed"], **common)

    return stack(
        plan["sizes"],
        make_layer,
        activation="tanh",
        seed=plan["seed"],
        input_shift=data.input_shift,
        input_scale=data.input_scale,
        class_names=data.class_names,
    )


def train(network: Network, rows: Rows, plan: Plan) -> tuple[float, float, Predict]:
    """Train a network; return seconds, the loss of the last epoch's training rows, and what predicts."""
    history = fit(
        network,
        rows,
        loss="binary_cross_entropy",
        optimizer=optimizers.SGD(plan["learning_rate"], MOMENTUM),
        schedule=schedules.one_cycle(plan["learning_rate"]),
        epochs=plan["epochs"],
        batch_size=plan["batch_size"],
        seed=plan["seed"],
        progress=False,
    )
    return history["seconds"][-1], history["loss"][-1], network.predict


def train_torch(network: Network, rows: Rows, plan: Plan) -> tuple[float, float, Predict]:
    """Train the same network in PyTorch, on the same batches of the same file."""
    torch = peers.torch()
    torch.set_num_threads(plan["threads"])
    torch.manual_seed(plan["seed"])
    module = torch.nn.Sequential(*(_module(torch, layer) for layer in network.layers))
    loss_of = torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.SGD(module.parameters(), plan["learning_rate"], MOMENTUM)
    shift, scale = (
        torch.from_numpy(np.broadcast_to(np.float32(values), rows.features).copy())
        for values in (network.input_shift, network.input_scale)
    )
    schedule = schedules.one_cycle(plan["learning_rate"])
    rng, steps = np.random.default_rng(plan["seed"]), -(-len(rows) // plan["batch_size"])
    start = time.perf_counter()
    for epoch in range(plan["epochs"]):
        total = 0.0
        with contextlib.closing(rows.batches(plan["batch_size"], rng)) as batches:
            for step, (inputs, targets, _) in enumerate(batches):
                optimizer.param_groups[0]["lr"] = schedule((epoch + step / steps) / plan["epochs"])
                optimizer.zero_grad()
                outputs = module((torch.from_numpy(inputs) - shift) * scale)
                loss = loss_of(outputs[:, 0], torch.from_numpy(targets))
                loss.backward()
                optimizer.step()
                total += loss.item() * len(targets)
    seconds = time.perf_counter() - start

    def predict(inputs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module((torch.from_numpy(inputs) - shift) * scale).numpy()

    return seconds, total / len(rows), predict


def _module(torch: Any, layer: Layer) -> Any:
    """Return a layer of PyTorch like one of ours."""
    if isinstance(layer, HashedLinear):
        return peers.stored_index_layer(layer)
    if isinstance(layer, Linear):
        return torch.nn.Linear(layer.in_features, layer.out_features, layer.bias)
    if isinstance(layer, Tanh):
        return torch.nn.Tanh()
    raise ValueError(f"layer is a {type(layer).__name__}, wanted HashedLinear, Linear or Tanh for PyTorch")


def run(plan: Plan) -> dict[str, Any]:
    """Train and measure as a plan says.

    Returns
    -------
    dict of stored and virtual (numbers), loss (of the last epoch's training rows), auc and error (of the test
    rows), seconds (of training), rows_per_second, and memory in bytes: peak (of the whole process), and of it
    process (before the training: Python, libraries, kernels), data (two buffers and a batch), model (weights,
    gradients, velocities), scores (kept for the AUC), workspace (what is left).
    """
    threads.set_num_threads(plan["threads"])
    threadpool_limits(plan["threads"])
    split = Split("last", validation=0, test=plan["test_rows"])
    data = read_table(plan["data"], task="binary", split=split)
    do = train_torch if plan["torch"] else train
    few = data.train.part(0, min(len(data.train), 2 * plan["batch_size"]))
    do(build(plan, data), few, {**plan, "epochs": 1})  # loads what the first step loads
    process = _resident("VmRSS")
    network = build(plan, data)
    seconds, loss, predict = do(network, data.train, plan)
    ranks = metrics.AUC()
    for batch in data.test.batches(EVALUATED_ROWS):
        ranks.update(predict(batch.inputs), batch.targets)
    held = {
        "process": process,
        "data": data.rows.buffer_bytes + plan["batch_size"] * (1 + data.features) * 4,
        "model": 3 * network.nbytes,
        "scores": 4 * len(data.test),
    }
    peak = _resident("VmHWM")
    return {
        "stored": network.num_parameters,
        "virtual": network.num_virtual,
        "loss": loss,
        "auc": ranks.value(),
        "seconds": seconds,
        "rows_per_second": plan["epochs"] * len(data.train) / seconds,
        "memory": {"peak": peak, **held, "workspace": max(0, peak - sum(held.values()))},
    }


def _resident(field: str) -> int:
    """Return the bytes of this process in memory, now (VmRSS) or at most (VmHWM); Linux only."""
    with open("/proc/self/status") as status:
        return 1024 * int(status.read().split(field + ":")[1].split()[0])


if __name__ == "__main__":
    print(strict_json.dumps(run(json.load(sys.stdin))))
