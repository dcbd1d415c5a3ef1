"""The dense layer: against plain loops."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from helpers import integers
from hypothesis import given
from hypothesis import strategies as st

from minihash import Linear

extents = st.integers(1, 6)


@given(extents, extents, extents, st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_forward_and_backward_equal_naive(batch, in_features, out_features, bias, dtype):
    layer = Linear(in_features, out_features, bias=bias, dtype=dtype)
    assert set(layer.params) == ({"weight", "bias"} if bias else {"weight"})
    for seed, param in enumerate(layer.params.values()):
        param[...] = integers(param.shape, dtype, seed)
    inputs = integers((batch, in_features), dtype, 10)
    grad_outputs = integers((batch, out_features), dtype, 11)

    ref = naive.linear_forward(inputs, layer.weight, layer.params.get("bias", [0] * out_features))
    np.testing.assert_array_equal(layer.forward(inputs, training=True), ref)
    refs = naive.linear_backward(inputs, layer.weight, grad_outputs)
    np.testing.assert_array_equal(layer.backward(grad_outputs), refs[0])
    for grad, ref in zip(layer.grads.values(), refs[1:]):
        np.testing.assert_array_equal(grad, ref)
    assert layer.backward(grad_outputs, need_grad_inputs=False) is None


@pytest.mark.parametrize("initializer", ["uniform", "normal"])
@pytest.mark.parametrize("gain", [1.0, np.sqrt(2)])
def test_initial_weights_have_the_second_moment_gain_squared_over_fan_in(initializer, gain):
    layer = Linear(50, 40, initializer=initializer, gain=gain, seed=1)
    comp = np.mean(np.square(layer.weight, dtype=np.float64))
    assert comp == pytest.approx(gain**2 / 50, rel=1e-5)
    assert not layer.params["bias"].any()


@pytest.mark.parametrize(
    "change",
    [
        {"in_features": 0},
        {"out_features": 2.5},
        {"bias": "hashed"},
        {"seed": -1},
        {"gain": 0},
        {"initializer": "zeros"},
        {"dtype": "int8"},
    ],
)
def test_constructor_refuses(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} is .*wanted"):
        Linear(**({"in_features": 3, "out_features": 2} | change))
