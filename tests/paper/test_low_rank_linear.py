"""The low-rank layer: against plain loops, its fixed factor, and what it stores."""

from __future__ import annotations

import os
import tracemalloc

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper.low_rank_linear import LowRankLinear
from minihash import Network, load, save
from minihash.gradient_check import check_gradients

extents = st.integers(1, 6)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@given(
    batch=extents, out_features=extents, seed=st.integers(0, 2**32 - 1), shape=st.tuples(extents, extents)
)
def test_forward_and_backward_equal_naive(batch, out_features, seed, shape):
    rank, in_features = sorted(shape)
    layer = LowRankLinear(in_features, out_features, rank=rank, seed=seed, dtype=np.float64)
    layer.params["bias"][...] = normal(out_features)
    inputs, grad_outputs = normal((batch, in_features), 1), normal((batch, out_features), 2)
    factor = naive.gaussian_factor(seed, rank, in_features)
    matrix = naive.matrix_product(layer.weight, factor)
    close = {"rtol": 1e-12, "atol": 1e-12}

    ref = naive.linear_forward(inputs, matrix, layer.params["bias"])
    np.testing.assert_allclose(layer.forward(inputs, training=True), ref, **close)
    refs = naive.linear_backward(inputs, matrix, grad_outputs)
    np.testing.assert_allclose(layer.backward(grad_outputs), refs[0], **close)
    grad_weight = naive.matrix_product(refs[1], factor.T)  # ∂L/∂U = ∂L/∂(U G) Gᵀ
    np.testing.assert_allclose(layer.grads["weight"], grad_weight, **close)
    np.testing.assert_allclose(layer.grads["bias"], refs[2], **close)
    np.testing.assert_allclose(layer.virtual_weight_matrix(), matrix, **close)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [1, 7, 30])
def test_gradients(rank, dtype):
    layer = LowRankLinear(30, 20, rank=rank, seed=5, dtype=dtype)
    check_gradients(layer, normal((4, 30))).raise_for_errors()


# ---------------------------------------------------------------------------- the fixed factor


@given(st.integers(0, 2**32 - 1), extents, extents)
def test_factor_equals_naive(seed, rank, more):
    factor = LowRankLinear(rank + more, 2, rank=rank, seed=seed).fixed_factor
    ref = naive.gaussian_factor(seed, rank, rank + more)
    np.testing.assert_array_equal(factor, ref)
    assert factor.dtype == np.float32


def test_factor_is_gaussian_with_the_variance_of_one_input():
    factor = LowRankLinear(784, 10, rank=300, seed=3).fixed_factor * np.sqrt(784)
    size = factor.size
    moments = [np.mean(factor.astype(float) ** power) for power in (1, 2, 3, 4)]
    # Each within five standard errors: variances of the powers are 1, 2, 15 and 96.
    for moment, ref, variance in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96)):
        assert moment == pytest.approx(ref, abs=5 * np.sqrt(variance / size))
    for rows in (factor, factor.T):
        correlations = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
        assert np.abs(correlations).max() < 6 / np.sqrt(rows.shape[1])


def test_factor_is_the_same_in_every_precision_and_another_for_every_seed():
    first, same, other = (
        LowRankLinear(20, 3, rank=5, seed=seed, dtype=dtype).fixed_factor
        for seed, dtype in ((0, "f4"), (0, "f8"), (1, "f4"))
    )
    np.testing.assert_array_equal(first, same, strict=True)
    assert (first != other).all()


def test_building_and_loading_make_no_factor(tmp_path):
    save(Network([LowRankLinear(2**32 - 2, 1, rank=1)]), tmp_path / "model")
    tracemalloc.start()
    try:
        load(tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_file_holds_no_factor(tmp_path):
    layer = LowRankLinear(784, 100, compression=1 / 8, seed=8)
    inputs = normal((3, 784))
    network = Network([layer])
    ref = network.forward(inputs)
    save(network, tmp_path / "model")
    assert os.path.getsize(tmp_path / "model") - 4 * layer.num_parameters < 1000
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.forward(inputs), ref)
    assert list(again.params) == ["0.weight", "0.bias"]


# ------------------------------------------------------------------------------- construction


@pytest.mark.parametrize("compression, rank", [(1, 784), (0.5, 391), (1 / 8, 97), (1 / 64, 11), (1e-9, 1)])
def test_rank_is_what_the_biases_leave(compression, rank):
    layer = LowRankLinear(784, 1000, compression=compression)
    assert layer.rank == rank
    assert layer.num_parameters == 1000 * (rank + 1)
    assert layer.num_virtual == 785_000


@pytest.mark.parametrize("initializer", ["uniform", "normal"])
def test_initial_weights_count_the_rank(initializer):
    layer = LowRankLinear(50, 40, rank=5, initializer=initializer, gain=1.5, seed=1)
    assert np.mean(np.square(layer.weight, dtype=float)) == pytest.approx(1.5**2 / 5, rel=1e-5)
    assert not layer.params["bias"].any()


@pytest.mark.parametrize("rank", [1, 8, 200])
def test_outputs_start_as_large_as_the_inputs(rank):
    layers = [LowRankLinear(400, 300, rank=rank, seed=seed) for seed in range(20)]
    inputs = normal((10, 400))
    assert np.mean([layer.forward(inputs) ** 2 for layer in layers]) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize(
    "change, name",
    [
        *(({"in_features": value}, "in_features") for value in (0, 2.5)),
        *(({"out_features": value}, "out_features") for value in (0, None)),
        *(({"rank": value}, "rank") for value in (0, -1, 2.0, 5, "4", True)),
        ({"rank": None}, "rank"),
        ({"compression": 0.5}, "compression"),
        *(({"rank": None, "compression": value}, "compression") for value in (0, 1.01, np.nan, "half")),
        *(({"seed": value}, "seed") for value in (-1, 2**32, 0.5)),
        ({"initializer": "zeros"}, "initializer"),
        ({"gain": 0}, "gain"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_constructor_refuses(change, name):
    arguments = {"in_features": 4, "out_features": 3, "rank": 2} | change
    with pytest.raises(ValueError, match=rf"\b{name} is .*wanted"):
        LowRankLinear(**arguments)
