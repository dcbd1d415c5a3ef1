"""Derivatives from values: as exact as they say, on functions whose derivatives are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash.gradient_check import numerics

EPSILON = np.finfo(np.float64).eps
NOISE = 64 * EPSILON  # of values up to 8, a few units in the last place
FUNCTIONS = {  # with derivatives
    "exp": (np.exp, np.exp),
    "sin": (np.sin, np.cos),
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "parabola": (lambda x: x * x - 2, lambda x: 2 * x),
    "constant": (lambda x: 0 * x + 7, lambda x: 0 * x),
}
functions = st.sampled_from(sorted(FUNCTIONS))
points = st.floats(-2, 2)
steps = st.floats(-5, -1.5).map(lambda exponent: 10**exponent)
sides = st.sampled_from([1, -1])


def assert_honest(found, wanted, factor):
    """The true error is at most `factor` times the estimated one, and the estimate is finite."""
    assert np.isfinite(found.error) and found.error >= 0
    assert abs(found.value - wanted) <= factor * found.error + 4 * EPSILON * abs(wanted)


@given(functions, points)
def test_complex_step_loses_no_digits(name, x):
    function, derivative = FUNCTIONS[name]
    found = numerics.complex_step(lambda t: function(x + t))
    assert found.error == 0
    assert abs(found.value - derivative(x)) <= 4 * EPSILON * (1 + abs(derivative(x)))


@given(functions, points, steps)
def test_central_difference_knows_its_error(name, x, step):
    function, derivative = FUNCTIONS[name]
    found = numerics.central_difference(lambda t: function(x + t), step, NOISE)
    assert_honest(found, derivative(x), 3)


@given(functions, points, steps, sides)
def test_one_sided_knows_its_error(name, x, step, side):
    function, derivative = FUNCTIONS[name]
    found = numerics.one_sided(lambda t: function(x + t), step, side, NOISE)
    assert_honest(found, derivative(x), 4)


@pytest.mark.parametrize("name", ["exp", "sin", "cube"])
@pytest.mark.parametrize("step, digits", [(0.1, 1e-11), (1e-2, 1e-11), (1e-3, 1e-10), (1e-5, 1e-8)])
def test_extrapolation_gains_digits(name, step, digits):
    # The plain quotient of that step is wrong by step² f‴/6, or by its rounding: 1e-3 to 1e-11.
    function, derivative = FUNCTIONS[name]
    found = numerics.central_difference(lambda t: function(0.7 + t), step, NOISE)
    assert abs(found.value - derivative(0.7)) <= digits
    assert 0 < found.error <= 10 * digits


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("step", [1e-6, 1e-3, 1.0])
def test_one_sided_derivatives_of_the_absolute_value_are_its_two_slopes(side, step):
    found = numerics.one_sided(abs, step, side, EPSILON * step)
    assert found.value == pytest.approx(side, abs=1e-12) and found.error < 1e-8


@pytest.mark.parametrize("side", [1, -1])
def test_one_sided_asks_nothing_of_the_other_side(side):
    def function(t):
        assert t * side >= 0
        return np.exp(t)

    assert numerics.one_sided(function, 1e-2, side, NOISE).value == pytest.approx(1, rel=1e-10)


def test_a_kink_between_the_steps_is_within_the_estimated_error():
    for kink in (3e-4, 1e-4, 3e-5):  # slope 0 at 0, and 1 from the kink on
        found = numerics.central_difference(lambda t, kink=kink: max(t - kink, 0), 1e-3, 0.0)
        assert abs(found.value) <= found.error


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
@given(x=points, step=st.floats(-4, -2).map(lambda exponent: 10**exponent), side=sides)
def test_values_that_are_noisy_are_so_in_the_estimated_error(offset, x, step, side):
    # sin(x) with an error of eps · offset: a sum rounds like its terms, not like its total.
    def function(t):
        return (offset + np.sin(x + t)) - offset

    noise = EPSILON * offset
    assert_honest(numerics.central_difference(function, step, noise), np.cos(x), 3)
    assert_honest(numerics.one_sided(function, step, side, noise), np.cos(x), 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_derivative_of_nan_or_infinity_is_not_trusted(value):
    with np.errstate(invalid="ignore"):
        for found in (
            numerics.central_difference(lambda t: value + t, 1e-3, NOISE),
            numerics.one_sided(lambda t: value + t, 1e-3, 1, NOISE),
        ):
            assert np.isnan(found.value) and found.error == np.inf
