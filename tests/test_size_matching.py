"""dense_sizes: the dense network that stores as much as a hashed one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minihash import mlp
from minihash.size_matching import dense_size, dense_sizes

SIZES = st.lists(st.integers(1, 60), min_size=3, max_size=5)


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4))
def test_dense_size_counts_the_parameters(sizes: list[int]) -> None:
    assert dense_size(sizes) == mlp(sizes).num_parameters


def test_the_network_of_the_main_command() -> None:
    assert mlp([784, 1000, 10], compression=1 / 64).num_parameters == 12_422
    assert dense_sizes([784, 1000, 10], 12_422) == [784, 16, 10]
    sizes = {units: abs(dense_size([784, units, 10]) - 12_422) for units in range(1, 1001)}
    assert min(sizes, key=sizes.__getitem__) == 16


@given(sizes=SIZES, budget=st.integers(1, 20_000))
def test_nearest_of_all_networks_that_shrink_at_one_rate(sizes: list[int], budget: int) -> None:
    hidden = sizes[1:-1]
    best: list[int] = []
    for first in range(1, hidden[0] + 1):
        network = [sizes[0]]
        for units in hidden:
            network.append(max(1, int(np.rint(units * first / hidden[0]))))
        network.append(sizes[-1])
        if not best or abs(mlp_size(network) - budget) < abs(mlp_size(best) - budget):
            best = network
    assert dense_sizes(sizes, budget) == best


def mlp_size(sizes: list[int]) -> int:
    total = 0
    for layer in range(1, len(sizes)):
        total += sizes[layer] * sizes[layer - 1] + sizes[layer]
    return total


@given(
    units=st.lists(st.integers(200, 2000), min_size=2, max_size=4), budget=st.integers(10**4, 10**6)
)
def test_hidden_layers_shrink_at_the_same_rate(units: list[int], budget: int) -> None:
    _, *hidden, _ = dense_sizes([784, *units, 10], budget)
    rate = hidden[0] / units[0]
    assert all(abs(found - rate * whole) <= 0.5 for found, whole in zip(hidden, units) if found > 1)


def test_equal_hidden_layers_stay_equal() -> None:
    full = [784, 1000, 1000, 1000, 10]
    sizes = dense_sizes(full, dense_size(full) // 8)
    assert sizes[1] == sizes[2] == sizes[3] and sizes[::4] == [784, 10]
    assert abs(dense_size(sizes) - dense_size(full) / 8) < 0.01 * dense_size(full) / 8


@given(sizes=SIZES, part=st.floats(0.1, 1))
def test_a_size_that_is_met_exactly_is_found(sizes: list[int], part: float) -> None:
    first = max(1, round(part * sizes[1]))
    exact = [sizes[0], *(max(1, round(units * first / sizes[1])) for units in sizes[1:-1]), sizes[-1]]
    assert dense_size(dense_sizes(sizes, dense_size(exact))) == dense_size(exact)
    assert dense_sizes(sizes, dense_size(sizes)) == sizes


@given(sizes=SIZES)
def test_ends(sizes: list[int]) -> None:
    assert dense_sizes(sizes, 10**9) == sizes
    smallest = dense_sizes(sizes, 1)
    assert smallest[1] == 1 and (smallest[0], smallest[-1]) == (sizes[0], sizes[-1])


@given(first=st.integers(1, 49))
def test_of_two_equally_near_the_smaller(first: int) -> None:
    smaller, larger = ([3, units, 2] for units in (first, first + 1))
    middle, odd = divmod(dense_size(smaller) + dense_size(larger), 2)
    assume(not odd)
    assert dense_sizes([3, 50, 2], middle) == smaller


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"sizes is \[784, 10\], wanted a hidden layer"):
        dense_sizes([784, 10], 1000)
    for budget in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"budget is {budget}"):
            dense_sizes([784, 100, 10], budget)  # type: ignore[arg-type]
