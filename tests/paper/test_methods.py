"""The six methods: each stores what its rule says, and what it is built of."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.methods import DISTILLED, NAMES, build, build_expanded, storage_budget
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import (
    Dropout,
    HashedLinear,
    Linear,
    Network,
    Tanh,
    evaluate,
    fit,
    losses,
    mlp,
    optimizers,
)

ONE, THREE = [784, 1000, 10], [784, 1000, 1000, 1000, 10]
KINDS = {
    "RER": SparseLinear,
    "LRD": LowRankLinear,
    "NN": Linear,
    "DK": Linear,
    "HashNet": HashedLinear,
    "HashNet_DK": HashedLinear,
}
every_method = pytest.mark.parametrize("method", NAMES)


def weight_layers(network: Network) -> list[Any]:
    return [layer for layer in network.layers if layer.params]


def difference(method: str, sizes: list[int], compression: float) -> int:
    return build(method, sizes, compression).num_parameters - storage_budget(sizes, compression)


def test_names() -> None:
    assert list(NAMES) == list(KINDS) and set(DISTILLED) == {name for name in NAMES if name.endswith("DK")}


@pytest.mark.parametrize(
    "sizes, compression, budget",
    [(ONE, 1, 795_010), (ONE, 1 / 8, 99_376), (ONE, 1 / 64, 12_422)]
    + [(THREE, 1, 2_797_010), (THREE, 1 / 8, 349_626), (THREE, 1 / 64, 43_703)],
)
def test_budgets_of_the_paper(sizes: list[int], compression: float, budget: int) -> None:
    assert storage_budget(sizes, compression) == budget
    assert storage_budget([3, 2], 1e-9) == 1


@pytest.mark.parametrize(
    "sizes, compression, differences",
    [
        (ONE, 1, {name: 0 for name in KINDS}),
        (ONE, 1 / 8, {"RER": 0, "LRD": -126, "NN": 9, "HashNet": 0}),
        (ONE, 1 / 64, {"RER": 0, "LRD": -262, "NN": 308, "HashNet": 0}),
        (THREE, 1 / 8, {"RER": 0, "LRD": -376, "NN": 184, "HashNet": 0}),
        (THREE, 1 / 64, {"RER": 1, "LRD": 457, "NN": 162, "HashNet": 1}),
    ],
)
def test_differences_from_the_budgets_of_the_paper(
    sizes: list[int], compression: float, differences: dict[str, int]
) -> None:
    assert {name: difference(name, sizes, compression) for name in differences} == differences


@settings(max_examples=25)
@given(
    hidden=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    ends=st.tuples(st.integers(1, 40), st.integers(1, 10)),
    compression=st.floats(0.01, 1),
)
def test_every_method_comes_as_near_as_its_rule_allows(
    hidden: list[int], ends: tuple[int, int], compression: float
) -> None:
    sizes = [ends[0], *hidden, ends[1]]
    networks = {name: build(name, sizes, compression) for name in NAMES}
    for name, network in networks.items():
        assert {type(layer) for layer in weight_layers(network)} == {KINDS[name]}
        assert (network.in_features, network.out_features) == ends
        if name not in ("NN", "DK"):
            assert [layer.out_features for layer in weight_layers(network)] == sizes[1:]
            assert network.num_virtual == sum((a + 1) * b for a, b in zip(sizes, sizes[1:]))
    for position, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        share = compression * (fan_in + 1) * fan_out
        hashed, sparse, low_rank = (
            weight_layers(networks[name])[position].num_parameters for name in ("HashNet", "RER", "LRD")
        )
        assert abs(hashed - max(1, share)) <= 0.5
        assert abs(sparse - max(fan_out + 1, share)) <= 0.5
        assert abs(low_rank - max(2 * fan_out, share)) <= fan_out / 2 + 0.5
    units = [layer.out_features for layer in weight_layers(networks["NN"])][:-1]
    for other in ({units[0] - 1, units[0] + 1} if len(units) == 1 else set()) - {0, hidden[0] + 1}:
        budget = storage_budget(sizes, compression)
        neighbour = mlp([ends[0], other, ends[1]]).num_parameters
        assert abs(networks["NN"].num_parameters - budget) <= abs(neighbour - budget)


def test_hash_net_is_the_network_of_the_main_command() -> None:
    for arguments in ({}, {"tile": "auto"}, {"signed": False}):
        network = build("HashNet", [20, 30, 4], 1 / 8, seed=3, **arguments)
        assert repr(network) == repr(mlp([20, 30, 4], compression=1 / 8, seed=3, **arguments))


@pytest.mark.parametrize("names", [("NN", "DK"), ("HashNet", "HashNet_DK")])
def test_a_distilled_form_is_built_alike(names: tuple[str, str]) -> None:
    first, second = (build(name, [20, 30, 4], 1 / 8, seed=3) for name in names)
    assert repr(first) == repr(second)
    for name, array in first.params.items():
        np.testing.assert_array_equal(array, second.params[name])


def test_the_teacher_is_the_full_network() -> None:
    assert repr(build("NN", THREE, 1, seed=4)) == repr(mlp(THREE, seed=4))


@every_method
def test_arguments_reach_the_network(method: str) -> None:
    arguments = {"activation": "tanh", "dropout": (0.1, 0.2), "seed": 6, "initializer": "normal"}
    network = build(
        method,
        [20, 30, 4],
        1 / 2,
        **arguments,
        input_scale=1 / 255,
        input_shift=3,
        class_names="abcd",
        dtype="f8",
    )
    kinds = [type(layer) for layer in network.layers]
    assert kinds == [Dropout, KINDS[method], Tanh, Dropout, KINDS[method]]
    assert [network.layers[0].rate, network.layers[3].rate] == [0.1, 0.2]
    twin = mlp([20, 30, 4], **arguments)
    assert [layer.seed for layer in weight_layers(network)] == [layer.seed for layer in weight_layers(twin)]
    assert {layer.initializer for layer in weight_layers(network)} == {"normal"}
    assert (network.input_scale, network.input_shift) == (1 / 255, 3)
    assert network.class_names == ("a", "b", "c", "d") and network.dtype == np.float64


# ------------------------------------------------------------------------------------ expansion


@every_method
@pytest.mark.parametrize("sizes", [[784, 50, 10], [784, 50, 50, 50, 10]])
@pytest.mark.parametrize("expansion", [1, 2, 8, 64])
def test_storage_stays_where_hidden_layers_grow(method: str, sizes: list[int], expansion: int) -> None:
    layers = weight_layers(build_expanded(method, sizes, expansion))
    wide = [sizes[0], *(units * expansion for units in sizes[1:-1]), sizes[-1]]
    if method in ("NN", "DK"):
        wide = sizes
    assert [(layer.in_features, layer.out_features) for layer in layers] == list(zip(wide, wide[1:]))
    for layer, fan_in, fan_out in zip(layers, sizes, sizes[1:]):
        budget, units = (fan_in + 1) * fan_out, layer.out_features
        if method == "LRD":
            assert abs(layer.num_parameters - max(budget, 2 * units)) <= units / 2
        elif method == "RER":
            assert layer.num_parameters == max(budget, units + 1)
        else:
            assert layer.num_parameters == budget


@pytest.mark.parametrize("expansion", [0, -1, 1.5, "2"])
def test_wrong_expansions_are_refused(expansion: Any) -> None:
    with pytest.raises(ValueError, match="^expansion is"):
        build_expanded("HashNet", [784, 50, 10], expansion)
    with pytest.raises(ValueError, match="^sizes is"):
        build_expanded("HashNet", [], 2)


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "method, arguments, message",
    [
        ("SVM", {}, "method is 'SVM', wanted one of 'RER', 'LRD'"),
        ("HashNet", {"compression": 0}, "compression is 0"),
        ("RER", {"compression": 1.5}, "compression is 1.5"),
        ("HashNet", {"tile": 0}, "tile is 0"),
        *(
            (method, {"tile": 2}, f"tile is 2, .* {method} has no hashed layers")
            for method in ("RER", "LRD", "NN", "DK")
        ),
        ("LRD", {"signed": False}, ".* signed False, wanted none"),
        ("NN", {"sizes": [5, 2]}, "sizes is .*hidden"),
        ("RER", {"sizes": [5]}, "sizes is "),
    ],
)
def test_refused(method: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        build(method, **{"sizes": [5, 4, 2], "compression": 0.5, **arguments})


# ------------------------------------------------------------------------------------- training


@every_method
def test_every_method_learns(method: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    inputs = rng.normal(size=(3, 20))[labels] + 0.5 * rng.normal(size=(300, 20))
    network = build(method, [20, 40, 3], 1 / 2, seed=1)
    assert evaluate(network, (inputs, labels))["error"] > 0.2
    targets, loss = labels, losses.softmax_cross_entropy
    if method in DISTILLED:
        teacher = build("NN", [20, 40, 3], 1, seed=2)
        fit(teacher, (inputs, labels), epochs=10, optimizer=optimizers.Adam(0.01))
        targets = losses.distillation_targets(labels, teacher.predict(inputs))
        loss = partial(losses.distillation, temperature=2, weight=0.5)
    fit(network, (inputs, targets), epochs=10, optimizer=optimizers.Adam(0.01), loss=loss)
    result = evaluate(network, (inputs, targets), loss=loss)
    assert result["error"] == evaluate(network, (inputs, labels))["error"] < 0.02
