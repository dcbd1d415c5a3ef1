"""What a resumed training must share, word for word: trainings that were begun before must go on."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minihash import callbacks as make
from minihash import fit, losses, mlp, schedules
from minihash.optimizers import SGD, Adam
from minihash.quantization import StraightThrough
from minihash.training.checkpoint import Checkpoint
from minihash.training.ranks import Ranks
from minihash.training.resumption import agree

DATA = np.ones((8, 2), np.float32), np.array([0, 1] * 4)


def settings_of(folder: Path, **options: Any) -> dict[str, Any]:
    """What the checkpoint of a training says of its settings."""
    network = mlp([2, 3, 2], input_shift=0.5, seed=4)
    fit(network, DATA, **{"epochs": 1, "batch_size": 3, "checkpoint": folder, "progress": False, **options})
    with Checkpoint(folder) as saved:
        state = saved.read()
    assert state is not None
    return state.settings


def in_order(settings: Any) -> str:
    """The settings as text, in which the order of names counts too."""
    return repr(settings)


OPTIMIZERS: list[tuple[Any, list[Any], float]] = [
    (SGD(), ["SGD", {"weight_decay": 0.0, "momentum": 0.0, "nesterov": False}], 0.1),
    (
        SGD(0.5, momentum=0.25, nesterov=True, weight_decay=2),
        ["SGD", {"weight_decay": 2.0, "momentum": 0.25, "nesterov": True}],
        0.5,
    ),
    (Adam(), ["Adam", {"weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}], 0.001),
    (
        Adam(0.5, 0.25, 0.75, 0.125, 1),
        ["Adam", {"weight_decay": 1.0, "beta1": 0.25, "beta2": 0.75, "epsilon": 0.125}],
        0.5,
    ),
]


@pytest.mark.parametrize("optimizer, settings, rate", OPTIMIZERS)
def test_settings_of_optimizers(optimizer: Any, settings: list[Any], rate: float, tmp_path: Path) -> None:
    found = settings_of(tmp_path, optimizer=optimizer)
    assert in_order([found["optimizer"], found["learning rates"]]) == in_order([settings, [rate]])


def test_settings_of_callbacks(tmp_path: Path) -> None:
    optimizer = SGD()
    callbacks = [
        make.EarlyStopping(),
        make.EarlyStopping(3, "loss", False, "max"),
        make.ReduceOnPlateau(optimizer),
        make.ReduceOnPlateau(optimizer, 0.5, 2, "loss", 0.001, "min"),
        make.GradientClipping(2),
        make.KeepLastGood(),
        make.PrintEpochs(3),  # observers are none of it
        make.Log(tmp_path / "log.csv"),
    ]
    found = settings_of(tmp_path, optimizer=optimizer, callbacks=callbacks, validation=DATA)
    assert in_order(found["callbacks"]) == in_order(
        [
            ["EarlyStopping", {"patience": 10, "monitor": "validation_error", "restore_best": True}],
            ["EarlyStopping", {"patience": 3, "monitor": "loss", "mode": "max", "restore_best": False}],
            [
                "ReduceOnPlateau",
                {"patience": 5, "monitor": "validation_loss", "factor": 0.1, "lowest": 0.0},
            ],
            [
                "ReduceOnPlateau",
                {"patience": 2, "monitor": "loss", "mode": "min", "factor": 0.5, "lowest": 0.001},
            ],
            ["GradientClipping", {"limit": 2.0}],
            ["KeepLastGood", {}],
        ]
    )


def test_all_settings(tmp_path: Path) -> None:
    options = {"epochs": 2, "seed": 7, "class_weight": {1: 2.0}, "optimizer": SGD()}
    found = settings_of(tmp_path, schedule=schedules.cosine(0.5), **options)
    rates = found.pop("learning rates")
    assert rates == [schedules.cosine(0.5)(sixteenth / 16) for sixteenth in range(16)]
    assert in_order(found) == in_order(
        {
            "loss": ["softmax_cross_entropy"],
            "optimizer": ["SGD", {"weight_decay": 0.0, "momentum": 0.0, "nesterov": False}],
            "epochs": 2,
            "batch_size": 3,
            "seed": 7,
            "class_weight": [1.0, 2.0],
            "training rows": [8, 2, 1573500403],
            "validation rows": None,
            "callbacks": [],
            "distributed": None,
            "scaling": 2282456487,
            "network": repr(mlp([2, 3, 2], input_shift=0.5, seed=4)),
        }
    )


@pytest.mark.parametrize("rows", [1, 64, 65, 128, 200])
def test_rows_are_known_by_the_first_64_and_the_last(rows: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inputs, labels, weights = rng.random((rows, 2), np.float32), rng.integers(0, 2, rows), rng.random(rows)
    network = mlp([2, 2])
    fit(network, (inputs, labels, weights), epochs=1, checkpoint=tmp_path, progress=False)
    with Checkpoint(tmp_path) as saved:
        state = saved.read()
    checksum = 0
    for part in [slice(64)] if rows <= 64 else [slice(64), slice(-64, None)]:
        for array in (inputs, labels, weights):
            checksum = zlib.crc32(array[part].tobytes(), checksum)
    assert state is not None and state.settings["training rows"] == [rows, 2, checksum]


def test_settings_of_a_loss_with_arguments(tmp_path: Path) -> None:
    targets = losses.distillation_targets(DATA[1], np.ones((8, 2)))
    loss = functools.partial(functools.partial(losses.distillation, weight=np.float64(0.5)), temperature=2.0)
    network = mlp([2, 2])
    fit(network, (DATA[0], targets), loss=loss, epochs=1, checkpoint=tmp_path, progress=False)
    with Checkpoint(tmp_path) as saved:
        state = saved.read()
    assert state is not None and state.settings["loss"] == ["distillation", "temperature=2.0", "weight=0.5"]


class First(Ranks):
    """The first of two ranks; the other has other settings, as said. It is told zeros."""

    size = 2

    def __init__(self, **others: Any) -> None:
        self.others = others

    def collect(self, value: Any) -> list[Any]:
        return [value, value | self.others]

    def share(self, value: Any) -> Any:
        return {name: 0 * array for name, array in value.items()}


def test_ranks_agree_on_settings_and_weights() -> None:
    network = mlp([2, 2])
    before = network.params["0.weight"].copy()
    plan: Any = SimpleNamespace(network=network, settings={"epochs": 3, "seed": 4})
    for seed in (3, 5):
        plan.ranks = First(seed=seed)
        with pytest.raises(ValueError, match=f"^rank 1 has seed {seed}, wanted 4 as rank 0 has$"):
            agree(plan)
    assert (network.params["0.weight"] == before).all()
    plan.ranks = First()
    agree(plan)
    assert not network.params["0.weight"].any()


LINES = [
    ("SGD (learning_rate 0.1, weight_decay 0, momentum 0, nesterov False)", lambda network: SGD()),
    (
        "SGD (learning_rate 0.333333, weight_decay 0.5, momentum 0.9, nesterov True)",
        lambda network: SGD(1 / 3, 0.9, True, 0.5),
    ),
    (
        "Adam (learning_rate 0.001, weight_decay 0, beta1 0.9, beta2 0.999, epsilon 1e-08)",
        lambda network: Adam(),
    ),
    (
        "StraightThrough (learning_rate 0.25, weight_decay 0.125, bits 4)",
        lambda network: StraightThrough(SGD(0.25, weight_decay=0.125), network, 4),
    ),
]


@pytest.mark.parametrize("optimizer, make_optimizer", LINES)
def test_the_line_that_describes_a_training(
    optimizer: str, make_optimizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    network = mlp([2, 4, 2], compression=1 / 2, tile=1)
    fit(network, DATA, optimizer=make_optimizer(network), epochs=2, batch_size=3, seed=5, progress=True)
    line = capsys.readouterr().err.splitlines()[0]
    before, after = "2 epochs of 3 steps of 3, softmax_cross_entropy", "seed 5, float32 on cpu"
    assert line == f"fit: 8 rows, {before}, {optimizer}, {after}"
