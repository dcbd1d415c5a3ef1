"""What the ranks of tests/test_distributed.py do: `mpiexec -n N python tests/mpi_worker.py WHAT …`."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minihash import Network, evaluate, fit, losses, mlp
from minihash.callbacks import EarlyStopping, GradientClipping
from minihash.datasets import open_rows
from minihash.kernels import threads
from minihash.optimizers import SGD, Adam
from minihash.training import Callback
from minihash.training.mpi import world

ROWS, FEATURES, CLASSES = 503, 40, 3  # rows: divisible by nothing


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels, and weights of which some are 0."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    labels = (inputs[:, :5].sum(axis=1) > 0).astype(int) + (inputs[:, 6] > 1)
    weights = rng.uniform(size=ROWS)
    weights[rng.uniform(size=ROWS) < 0.3] = 0
    return inputs, labels, weights


def digest(network: Network) -> str:
    content = b"".join(array.tobytes() for array in network.params.values())
    return hashlib.sha256(content).hexdigest()[:16]


#: Networks of every kind: fused ones (small), whole panels, tiles, dense; with dropout, where it can be.
NETWORKS: dict[str, dict[str, Any]] = {
    "element, small": {"compression": 1 / 8, "sizes": [FEATURES, 30, CLASSES]},
    "element": {"compression": 1 / 8, "sizes": [FEATURES, 500, 50, CLASSES], "dropout": (0.1, 0.3)},
    "tiles": {"compression": 1 / 64, "sizes": [FEATURES, 500, CLASSES], "tile": "auto", "dropout": 0.3},
    "dense": {"sizes": [FEATURES, 500, CLASSES], "dropout": 0.3},
    "float64": {"compression": 1 / 2, "sizes": [FEATURES, 30, CLASSES], "dtype": np.float64, "dropout": 0.2},
}


def train(folder: Path, mode: str) -> dict[str, Any]:
    """Train every kind, and one from a file that is cut into blocks; return what became of each."""
    inputs, labels, weights = data()
    held_out = inputs[:200], labels[:200]
    found = {}
    for name, arguments in NETWORKS.items():
        network = mlp(**arguments)
        options = {"batch_size": 50, "epochs": 2, "distributed": mode}
        history = fit(network, (inputs, labels, weights), held_out, optimizer=Adam(0.01), **options)
        found[name] = [digest(network), history["loss"], history["validation_loss"]]
    store = open_rows(folder / "rows.mh")
    network = mlp([FEATURES, 20, 1], compression=1 / 4, activation="tanh")
    callbacks = [EarlyStopping(2, "validation_loss"), GradientClipping(0.1)]
    common: dict[str, Any] = {"loss": "binary_cross_entropy", "distributed": mode}
    history = fit(
        network,
        store.part(0, 400),
        store.part(400, ROWS),
        optimizer=SGD(0.3),
        class_weight="balanced",
        epochs=4,
        batch_size=37,
        shards=5,
        callbacks=callbacks,
        **common,
    )
    scores = evaluate(network, store, **common)
    found["store"] = [digest(network), history["validation_auc"], scores]
    return found


def rows_seen(mode: str) -> list[list[int]]:
    """Train one epoch after the other on targets that are numbers of rows; return those of each epoch."""
    inputs, seen = np.zeros((ROWS, 2), np.float32), []

    def loss(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        seen.extend(targets.astype(int).tolist())
        return losses.mean_squared_error(outputs, targets)

    network, epochs = mlp([2, 1], compression=1), []
    for seed in range(2):
        seen.clear()
        options = {"epochs": 1, "batch_size": 60, "seed": seed, "distributed": mode}
        fit(network, (inputs, np.arange(ROWS)), loss=loss, **options)
        epochs.append(sum(world().collect(seen), []))
    return epochs


def traffic() -> dict[str, list[int]]:
    """Return, for a hashed and a dense network, stored parameters and bytes a step that arrived at a rank."""
    inputs, labels, _ = data()
    found = {}
    for name, compression in (("1/64", 1 / 64), ("1/8", 1 / 8), ("dense", None)):
        network, before = mlp([FEATURES, 2000, CLASSES], compression=compression), world().received
        fit(network, (inputs[:400], labels[:400]), epochs=1, batch_size=50, distributed="exact")
        found[name] = [network.num_parameters, (world().received - before) // 8]
    return found


class _Accident(Callback):
    """Does something to one rank, once, when an epoch ends or in the middle of one."""

    observer = False

    def __init__(self, rank: int, step: int, what: str) -> None:
        self._rank, self._step, self._what, self._steps = rank, step, what, 0

    def on_gradients(self, network: Network) -> None:
        self._steps += 1
        if self._steps == self._step and self._rank in (world().rank, -1):
            if self._what == "error":
                raise OSError("the disk of this machine\nis gone")
            os.kill(os.getpid(), getattr(signal, self._what))


def accident(folder: Path, rank: int, step: int, what: str, mode: str = "exact") -> dict[str, Any]:
    """Train with a checkpoint, go on where there is one, with an accident in a step; return the weights."""
    inputs, labels, _ = data()
    network = mlp(**NETWORKS["element"])
    options = {"batch_size": 50, "epochs": 5, "distributed": mode, "resume": True, "checkpoint": folder}
    validation = inputs[:100], labels[:100]
    callbacks = [_Accident(rank, step, what), EarlyStopping(5)]
    history = fit(network, (inputs, labels), validation, callbacks=callbacks, **options)
    return {"weights": digest(network), "loss": history["loss"]}


class _Seen(Callback):
    """Counts epochs, and stops after the second, on one rank."""

    def __init__(self, observer: bool) -> None:
        self.observer, self._epochs, self._threads = observer, 0, 0

    def on_epoch_end(self, network: Network, history: Any) -> bool:
        self._epochs, self._threads = self._epochs + 1, threads.num_threads()
        return not self.observer and world().rank == 1 and len(history) == 2


def agreed() -> list[list[Any]]:
    """Begin with other weights on each rank, and stop on one; return what became of it on every rank."""
    inputs, labels, _ = data()
    network, seen = mlp([FEATURES, 30, CLASSES], compression=1 / 8), [_Seen(True), _Seen(False)]
    network.params["0.weight"][:] += world().rank
    fit(network, (inputs, labels), epochs=5, batch_size=50, distributed="fast", callbacks=seen)
    return world().collect([digest(network), *(one._epochs for one in seen), seen[1]._threads])


def weights() -> list[str]:
    """Train with weights that are very small, or large."""
    inputs, labels, weight = data()
    found = []
    for exponent in (0, -500, 500):
        network = mlp([FEATURES, 30, CLASSES], compression=1 / 8)
        fit(network, (inputs, labels, weight * 2.0**exponent), epochs=2, batch_size=50, distributed=True)
        found.append(digest(network))
    return found


def interrupted() -> None:
    """Train without a checkpoint, with SIGINT to one rank."""
    inputs, labels, _ = data()
    callbacks = [_Accident(world().size - 1, 3, "SIGINT")]
    fit(mlp([FEATURES, CLASSES]), (inputs, labels), batch_size=50, distributed=True, callbacks=callbacks)


def early() -> None:
    """Fail on one rank outside of minihash, where the others wait for it."""
    if world().rank == 1:
        raise KeyError("a mistake")
    world().any(False)


def unlike() -> None:
    """Begin a training for which one rank has another batch size."""
    inputs, labels, _ = data()
    fit(mlp([FEATURES, CLASSES]), (inputs, labels), batch_size=50 + world().rank, distributed=True)


def main() -> None:
    """Do what the first argument says, and write what the first rank returns to the file of the second."""
    what, target, *others = sys.argv[1:]
    folder = Path(target).parent
    work: dict[str, Any] = {
        "train": functools.partial(train, folder, *others),
        "rows": functools.partial(rows_seen, *others),
        "traffic": traffic,
        "unlike": unlike,
        "weights": weights,
        "agreed": agreed,
        "interrupted": interrupted,
        "early": early,
        "accident": lambda: accident(folder / "state", int(others[0]), int(others[1]), *others[2:]),
    }
    try:
        found = work[what]()
    except (Exception, KeyboardInterrupt) as error:
        if what == "early":
            raise
        # In one piece: the ranks' tracebacks would run into each other.
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        sys.exit(1)
    if world().is_first:
        Path(target).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
