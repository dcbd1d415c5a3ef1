"""`Rounding`: what it computes, the gradient that passes through, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import Network, load, save
from minihash.layers import Rounding

VALUES = st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20)
ranges = pytest.mark.parametrize("low, high", [(-128, 127), (0, 127), (0, 255), (-7, 7)])


@ranges
@given(values=VALUES, exponent=st.integers(-6, 3))
def test_values_are_whole_numbers_times_the_scale(
    low: int, high: int, values: list[float], exponent: int
) -> None:
    scale = 2.0**exponent  # exact, also in float32
    found = Rounding(scale, low=low, high=high).forward(np.array([values], np.float32))
    ref = [scale * min(max(math.floor(value / scale + 0.5), low), high) for value in values]
    assert found.tolist() == [ref]


@ranges
def test_the_gradient_passes_where_nothing_is_clipped(low: int, high: int) -> None:
    layer, inputs = Rounding(0.5, low=low, high=high), np.linspace(-200, 200, 801, dtype="f")[None]
    layer.forward(inputs, training=True)
    found = layer.backward(np.full_like(inputs, 3))
    codes = np.floor(inputs / 0.5 + 0.5)
    np.testing.assert_array_equal(found, np.where((codes >= low) & (codes <= high), 3, 0))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"scale": 0}, "scale is 0, wanted 0 < scale <="),
        ({"scale": np.nan}, "scale is nan, wanted 0 < scale <="),
        ({"scale": 1, "low": -129}, "low is -129, wanted"),
        ({"scale": 1, "high": 256}, "high is 256, wanted"),
        ({"scale": 1, "low": -1, "high": 128}, "low is -1 and high is 128, wanted a range in -128 … 127 or"),
        ({"scale": 1, "low": 5, "high": 5}, "low is 5 and high is 5, wanted a range"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Rounding(**arguments)


def test_it_is_saved_with_its_network(tmp_path: Any) -> None:
    save(Network([Rounding(0.1, low=0, high=200)]), tmp_path / "model.safetensors")
    (layer,) = load(tmp_path / "model.safetensors").layers
    assert isinstance(layer, Rounding) and layer.config() == Rounding(0.1, low=0, high=200).config()
