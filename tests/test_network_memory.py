"""Networks that do not fit the machine's memory: refused, before they take it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import Dropout, HashedLinear, Network, fit, machine, mlp
from minihash.builders import stack
from minihash.memory import check_building, check_predicting, check_training
from minihash.optimizers import SGD, Adam
from minihash.training import loop
from minihash.training.ranks import Ranks


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What has been said to need how many bytes."""
    asked: list[tuple[str, float]] = []

    def note(what: str, count: float, wanted: str) -> None:
        asked.append((what, count))

    for place in ("minihash.memory", "minihash.layers.base"):
        monkeypatch.setattr(f"{place}.check_memory", note)
    return asked


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 100 MB."""
    monkeypatch.setattr(machine, "available_memory", lambda: 10**8)


WIDE = 2_000_000


SIZES = {}, {"compression": 0.9}, {"num_buckets": 20_000_000}, {"memory_bytes": 10**9}


@pytest.mark.parametrize("how", SIZES)
def test_mlp_refuses(little: None, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "default_rng", lambda seed: pytest.fail("a layer was made"))
    found = f"^a network 20-{WIDE}-10 needs about .* GB, and 0.1 GB are available: wanted fewer units or more"
    with pytest.raises(ValueError, match=found):
        mlp([20, WIDE, 10], **how)


def test_layers_refuse(little: None) -> None:
    found = f"^a layer 20-{WIDE} needs about 0.576 GB, and 0.1 GB are available: wanted fewer units"
    with pytest.raises(ValueError, match=found):
        HashedLinear(20, WIDE, num_buckets=36_000_000)
    found = f"^a layer {WIDE}-30 needs"
    with pytest.raises(ValueError, match=found):
        stack([WIDE, 30, 10], lambda place, *fans, **more: LowRankLinear(*fans, rank=WIDE, **more))


def test_training_is_refused_before_it_begins(little: None) -> None:
    network = mlp([20, WIDE // 10, 2], compression=1 / 4000)
    before = network.params["0.weight"].copy()
    data = np.zeros((200, 20)), np.zeros(200, int)
    found = (
        f"training a network 20-{WIDE // 10}-2 with batches of 100 needs about 0.32 GB, and 0.1 GB are "
        "available: wanted fewer units, more compression or smaller batches"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(found)}$"):
        fit(network, data, batch_size=100)
    with pytest.raises(ValueError, match="needs about 0.32 GB, .* fewer rows than 200$"):
        fit(network, data, data, batch_size=4)
    with pytest.raises(ValueError, match="fewer rows than 200$"):
        network.predict(data[0])
    assert network.predict(data[0][:30]).shape == (30, 2)
    np.testing.assert_array_equal(network.params["0.weight"], before)


def test_what_is_counted(needed: list[tuple[str, float]]) -> None:
    hashed = HashedLinear(10, 30, num_buckets=40, seed=1)
    network = Network([Dropout(0.5), hashed, LowRankLinear(30, 5, rank=2)])
    needed.clear()
    values = 10 + 10 + 30 + 5 + 2 * 30  # of a row: inputs, outputs of three layers, two gradients
    weights = 40 + 10 + 5
    check_training(network.layers, 7, slots=2)
    copies = 3 * 40  # of the hashed layer's gradient: panels.py
    factor = 2 * 30
    assert needed == [
        ("training a network 10-30-5 with batches of 7", 4 * (7 * values + 3 * weights + copies + factor))
    ]
    network.forward(np.ones((7, 10)), training=True)
    network.backward(np.ones((7, 5)))
    needed.clear()
    check_training(network.layers, 7, slots=0)  # gradients and factor are there
    assert needed[0][1] == 4 * (7 * values + copies)
    needed.clear()
    check_predicting(network.layers, 9)
    assert needed == [("a network 10-30-5", 4 * 9 * 40)]


def test_what_a_network_takes_while_it_is_made(needed: list[tuple[str, float]]) -> None:
    check_building([10, 30, 5], [300, 150], 4)
    mlp([10, 30, 5], bias="none")
    assert needed == [
        ("a network 10-30-5", 4 * 450 + 12 * 300),
        ("a network 10-30-5", 4 * 450 + 12 * 300),
        ("a layer 10-30", 16 * 300),
        ("a layer 30-5", 16 * 150),
    ]
    needed.clear()
    mlp([10, 30, 5], compression=0.5, dtype="float64")
    assert needed[0] == ("a network 10-30-5", 8 * 0.5 * (330 + 155) + 8 * 0.5 * 330)


@pytest.mark.parametrize("optimizer, slots", [(SGD(0.1), 0), (SGD(0.1, momentum=0.9), 1), (Adam(), 2)])
def test_slots_of_the_optimizer_are_counted_once(
    needed: list[tuple[str, float]], optimizer: Any, slots: int
) -> None:
    network = Network([SparseLinear(10, 3, num_weights=12)])
    values = 4 * (10 + 3 + 2 * 10) * 8
    for wanted in (4 * (1 + slots) * 15 + 4 * 12, 0):
        needed.clear()
        fit(network, (np.eye(10)[:8], np.arange(8) % 3), optimizer=optimizer, epochs=1, batch_size=9)
        assert needed == [("training a network 10-3 with batches of 8", values + wanted)]


def test_a_rank_has_its_share_of_a_batch(
    needed: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Three(Ranks):
        size = 3

    monkeypatch.setattr(loop, "ranks_of", lambda mode: Three())
    fit(mlp([10, 3]), (np.eye(10)[:8], np.arange(8) % 3), epochs=1, distributed=True)
    assert needed[-1][0] == "training a network 10-3 with batches of 3"
