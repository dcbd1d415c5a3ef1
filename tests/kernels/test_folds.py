"""The fold of the inputs for the window map, and its transpose."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash.kernels.folds import fold, unfold
from minihash.maps import ElementMap, WindowMap

SEED = 2015
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
lengths = st.integers(1, 9)


@st.composite
def cases(draw):
    """A window map, its columns in plain loops, and how many of them are inputs."""
    features, signed = draw(lengths), draw(st.booleans())
    columns = features + draw(st.integers(0, 1))  # a bias
    window = draw(st.just(columns) | st.integers(1, columns))
    column_of = naive.window_columns(SEED, columns, window, signed)
    return WindowMap(20, SEED, columns, window, signed), column_of, features


def integers(shape, dtype, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


@every_dtype
@given(case=cases(), batch=st.integers(0, 3))
def test_fold_adds_signed_inputs_and_the_bias_to_their_places(dtype, case, batch):
    map, column_of, features = case
    inputs = integers((batch, features), dtype)
    ref = np.zeros((batch, map.window), dtype)
    for n in range(batch):
        for j, (place, sign) in enumerate(column_of):
            ref[n, place] += sign * (inputs[n, j] if j < features else 1)
    folded = fold(inputs, map)
    np.testing.assert_array_equal(folded, ref, strict=True)
    assert not np.shares_memory(folded, inputs)


@every_dtype
@given(case=cases(), batch=st.integers(0, 3))
def test_unfold_is_the_transpose_of_fold(dtype, case, batch):
    map, _, features = case
    inputs, grad_folded = integers((batch, features), dtype), integers((batch, map.window), dtype, seed=1)
    grad_inputs = unfold(grad_folded.copy(), map, features)  # which uses it up
    assert grad_inputs.shape == inputs.shape and grad_inputs.dtype == dtype
    linear = fold(inputs, map) - fold(np.zeros_like(inputs), map)  # without the bias's 1
    assert (linear * grad_folded).sum() == (inputs * grad_inputs).sum()


def test_the_element_map_takes_inputs_as_they_are():
    inputs = integers((2, 3), np.float32)
    assert fold(inputs, ElementMap(4, SEED)) is inputs
    unfolded = unfold(integers((2, 4), np.float32), ElementMap(4, SEED), 3)  # the last column is of the bias
    assert (unfolded == integers((2, 4), np.float32)[:, :3]).all()
