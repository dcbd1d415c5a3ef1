"""Activations: against plain loops and SciPy, at kinks and at extremes."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from minihash import ReLU, Sigmoid, Tanh

KINDS = [(ReLU, "relu"), (Tanh, "tanh"), (Sigmoid, "sigmoid")]
every_kind = pytest.mark.parametrize("kind, name", KINDS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
values = st.floats(-30, 30, width=32)
arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=values)
EXTREMES = np.array([[-1e4, -800.0, -100.0, -1.0, 0.0, 1.0, 100.0, 800.0, 1e4]])


def elementwise(function, array):
    return np.array([[function(float(a)) for a in row] for row in array])


@every_kind
@both_dtypes
@given(array=arrays)
def test_forward_and_backward_equal_naive(kind, name, dtype, array):
    layer, array = kind(dtype), array.astype(dtype)
    tolerance = 4 * np.finfo(dtype).eps  # the outputs lie in [−1, 1], or are exact
    ref = elementwise(getattr(naive, name), array)
    comp = layer.forward(array, training=True)
    np.testing.assert_allclose(comp, ref, rtol=0, atol=tolerance)
    assert comp.dtype == dtype

    grad_outputs = np.full_like(array, -3)
    ref = -3 * elementwise(getattr(naive, f"{name}_slope"), array)
    comp = layer.backward(grad_outputs)
    np.testing.assert_allclose(comp, ref, rtol=0, atol=4 * tolerance)
    assert comp.dtype == dtype


@both_dtypes
@pytest.mark.parametrize(
    "kind, ref",
    [(ReLU, lambda a: np.where(a > 0, a, 0)), (Tanh, np.tanh), (Sigmoid, special.expit)],
)
def test_extremes_are_right_and_silent(dtype, kind, ref):
    layer, array = kind(dtype), EXTREMES.astype(dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        comp = layer.forward(array, training=True)
        grad = layer.backward(np.ones_like(array))
    np.testing.assert_allclose(comp, ref(array), rtol=0, atol=4 * np.finfo(dtype).eps)
    slopes = {ReLU: [0, 1], Tanh: [0, 0], Sigmoid: [0, 0]}[kind]
    np.testing.assert_array_equal(grad[0, [0, -1]], slopes)


@every_kind
def test_nan_is_passed_on(kind, name):
    comp = kind().forward([[np.nan, 1.0, -1.0]])
    np.testing.assert_array_equal(np.isnan(comp), [[True, False, False]])


def test_relu_has_slope_zero_at_zero():
    layer = ReLU()
    layer.forward([[0.0, -0.0, 1e-30, -1e-30]], training=True)
    np.testing.assert_array_equal(layer.backward(np.full((1, 4), 5.0)), [[0, 0, 5, 0]])


@every_kind
def test_any_number_of_features(kind, name):
    layer = kind()
    assert layer.in_features is layer.out_features is None
    assert not layer.params and not layer.grads and layer.num_parameters == 0
    for features in (1, 5):
        assert layer.forward(np.zeros((2, features))).shape == (2, features)


def test_sigmoid_keeps_its_digits_far_to_the_left():
    inputs = np.array([[-5.0, -17.0, -20.0, -80.0]])
    for dtype in (np.float32, np.float64):
        ref = [naive.sigmoid(a) for a in inputs[0]]
        comp = Sigmoid(dtype).forward(inputs)[0]
        np.testing.assert_allclose(comp, ref, rtol=4 * np.finfo(dtype).eps)
