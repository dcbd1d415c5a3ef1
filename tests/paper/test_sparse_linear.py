"""The sparse layer: against plain loops, which edges it keeps, and what it holds and stores."""

from __future__ import annotations

import os
import tracemalloc

import naive
import numpy as np
import pytest
from helpers import integers
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper import sparse_linear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import Network, load, save
from minihash.gradient_check import check_gradients

BLOCKS = (1, 7, 2**18)


@st.composite
def layers(draw):
    """A layer with whole-numbered parameters; one weight, and all of them, are frequent."""
    in_features, out_features = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    virtual = in_features * out_features
    layer = SparseLinear(
        in_features,
        out_features,
        num_weights=draw(st.sampled_from([1, virtual]) | st.integers(1, virtual)),
        seed=draw(st.integers(0, 2**32 - 1)),
        dtype=draw(st.sampled_from([np.float32, np.float64])),
    )
    for seed, param in enumerate(layer.params.values()):
        param[...] = integers(param.shape, param.dtype, seed)
    return layer


def kept(layer):
    return naive.kept_edges(layer.seed, layer.num_weights, layer.in_features, layer.out_features)


# -------------------------------------------------------------------------------- plain loops


@given(layers(), st.integers(1, 4), st.sampled_from(BLOCKS))
def test_forward_and_backward_equal_naive(layer, batch, block):
    matrix = naive.sparse_matrix(layer.weight, kept(layer), layer.in_features)
    inputs = integers((batch, layer.in_features), layer.dtype, 10)
    grad_outputs = integers((batch, layer.out_features), layer.dtype, 11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_linear, "BLOCK", block)
        outputs = layer.forward(inputs, training=True)
        grad_inputs = layer.backward(grad_outputs)

    np.testing.assert_array_equal(outputs, naive.linear_forward(inputs, matrix, layer.params["bias"]))
    refs = naive.linear_backward(inputs, matrix, grad_outputs)
    np.testing.assert_array_equal(grad_inputs, refs[0])
    places = [(i, j) for i, row in enumerate(kept(layer)) for j in row]
    np.testing.assert_array_equal(layer.grads["weight"], [refs[1][place] for place in places])
    np.testing.assert_array_equal(layer.grads["bias"], refs[2])
    np.testing.assert_array_equal(layer.virtual_weight_matrix(), matrix)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_weights", [5, 100, 333, 600])  # rows without edges, of 5, of 16 and 17, of all
def test_gradients(num_weights, dtype):
    layer = SparseLinear(30, 20, num_weights=num_weights, seed=5, dtype=dtype)
    check_gradients(layer, np.random.default_rng(0).normal(size=(4, 30))).raise_for_errors()


# --------------------------------------------------------------------------------------- edges


@given(layers())
def test_edges_are_counted_exactly(layer):
    counts = np.diff(layer.indptr)
    assert counts.sum() == layer.num_weights == layer.weight.size == layer.indices.size
    assert counts.max() - counts.min() <= 1 and (np.diff(counts) <= 0).all()
    for start, stop in zip(layer.indptr, layer.indptr[1:]):
        assert (np.diff(layer.indices[start:stop]) > 0).all()  # ascending, so none is there twice
    assert layer.indices.dtype == layer.indptr.dtype == np.int32
    assert layer.indices.min() >= 0 and layer.indices.max() < layer.in_features


@given(layers(), st.sampled_from(BLOCKS))
def test_edges_depend_on_the_seed_and_the_counts_alone(layer, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_linear, "BLOCK", block)
        assert layer.indices.tolist() == [j for row in kept(layer) for j in row]
    # A row that keeps more keeps what it kept.
    fewer, more = (set(row) for row in (kept(layer)[-1], kept(layer)[0]))
    assert len(fewer) in (len(more), len(more) - 1)
    longer = layer.num_weights + layer.out_features
    if longer <= layer.in_features * layer.out_features:
        more = naive.kept_edges(layer.seed, longer, layer.in_features, layer.out_features)
        assert all(set(row) < set(other) for row, other in zip(kept(layer), more))


def test_seeds_keep_different_edges():
    first, second = (SparseLinear(50, 40, compression=1 / 4, seed=seed) for seed in (0, 1))
    same = ((first.virtual_weight_matrix() != 0) & (second.virtual_weight_matrix() != 0)).sum()
    assert same == pytest.approx(first.num_weights**2 / 2000, rel=0.25)


def test_every_input_is_kept_equally_often():
    layer = SparseLinear(100, 4000, num_weights=40_000, seed=9)
    counts = np.bincount(layer.indices, minlength=100)
    # Binomial: 400 ± 19, and the squares of the deviations by their sum: χ² of 99 degrees, ± 14.
    assert ((counts - 400) ** 2 / (400 * 0.9)).sum() == pytest.approx(99, abs=5 * 14)
    neighbours = (np.diff(layer.indices) == 1).sum()  # 99 pairs a row, both of them kept with 10/100 · 9/99
    assert neighbours == pytest.approx(4000 * 99 * 10 / 100 * 9 / 99, rel=0.1)


# ------------------------------------------------------------------------------- construction


@pytest.mark.parametrize("compression", [1, 0.5, 1 / 3, 1 / 64, 1e-9])
def test_biases_are_counted_as_kept(compression):
    layer = SparseLinear(784, 1000, compression=compression)
    assert layer.num_virtual == 785_000
    assert layer.num_weights == max(1, round(compression * 785_000) - 1000)
    assert layer.num_parameters == layer.num_weights + 1000


def test_all_edges_are_a_dense_layer():
    layer = SparseLinear(5, 4, compression=1, seed=3)
    assert layer.num_parameters == layer.num_virtual == 24
    np.testing.assert_array_equal(layer.virtual_weight_matrix(), layer.weight.reshape(4, 5))


@pytest.mark.parametrize("initializer", ["uniform", "normal"])
@pytest.mark.parametrize("num_weights, fan_in", [(20 * 6, 6), (20 * 6 + 1, 7), (3, 1)])
def test_initial_weights_count_the_edges_of_a_row(initializer, num_weights, fan_in):
    layer = SparseLinear(50, 20, num_weights=num_weights, gain=1.5, initializer=initializer, seed=1)
    comp = np.mean(np.square(layer.weight, dtype=np.float64))
    assert comp == pytest.approx(1.5**2 / fan_in, rel=1e-5)
    assert not layer.params["bias"].any()


@pytest.mark.parametrize(
    "change, name",
    [
        *(({"in_features": value}, "in_features") for value in (0, 2.5, 2**31)),
        *(({"out_features": value}, "out_features") for value in (0, None)),
        *(({"num_weights": value}, "num_weights") for value in (0, -1, 2.0, 13, "4", True)),
        ({"num_weights": None}, "num_weights"),
        ({"compression": 0.5}, "compression"),
        *(
            ({"num_weights": None, "compression": value}, "compression")
            for value in (0, -0.1, 1.01, np.nan, "half")
        ),
        *(({"seed": value}, "seed") for value in (-1, 2**32, 0.5)),
        ({"initializer": "zeros"}, "initializer"),
        ({"gain": 0}, "gain"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_constructor_refuses(change, name):
    arguments = {"in_features": 4, "out_features": 3, "num_weights": 4} | change
    with pytest.raises(ValueError, match=rf"\b{name} is .*wanted"):
        SparseLinear(**arguments)


def test_limits_are_checked_before_anything_is_allocated():
    with pytest.raises(ValueError, match="num_weights"):
        SparseLinear(2**30, 2**30, compression=1)


# ----------------------------------------------------------------------------- memory and files


def peak(function):
    """The bytes that a call allocates at its height."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_array_is_as_large_as_the_matrix(tmp_path):
    inputs = np.ones((16, 4096), np.float32)
    SparseLinear(3, 3, num_weights=4).forward(inputs[:, :3])  # imports SciPy

    def step():
        layer = SparseLinear(4096, 4096, compression=1 / 64)
        layer.backward(layer.forward(inputs, training=True))
        network = Network([layer])
        save(network, tmp_path / "model")
        load(tmp_path / "model").forward(inputs)

    # Two layers of 1 MB of weights, with gradients and indices, and blocks of a few MB; W has 64 MiB.
    assert 4e6 < peak(step) < 20e6


def test_the_file_holds_no_positions(tmp_path):
    layer = SparseLinear(784, 100, compression=1 / 8, seed=8)
    inputs = np.random.default_rng(0).random((3, 784))
    network = Network([layer])
    ref = network.forward(inputs)
    save(network, tmp_path / "model")
    assert os.path.getsize(tmp_path / "model") - 4 * layer.num_parameters < 1000
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.forward(inputs), ref)
    assert list(again.params) == ["0.weight", "0.bias"]


def test_building_and_loading_hash_nothing(tmp_path):
    layer = SparseLinear(2**31 - 1, 1, num_weights=2)
    save(Network([layer]), tmp_path / "model")
    assert peak(lambda: load(tmp_path / "model")) < 1_000_000
