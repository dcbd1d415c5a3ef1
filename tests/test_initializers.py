"""Initializers: an exact second moment for any size, and no randomness but the generator's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minihash import initializers

BOTH = pytest.mark.parametrize("initializer", [initializers.uniform, initializers.normal])


class AlwaysZero(np.random.Generator):
    def uniform(self, low, high, size):
        return np.zeros(size)

    def standard_normal(self, size):
        return np.zeros(size)


@BOTH
@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.one_of(st.integers(1, 50), st.tuples(st.integers(1, 8), st.integers(1, 8))),
    fan_in=st.integers(1, 10**6),
    gain=st.floats(1e-3, 1e3),
)
def test_second_moment_is_exact(initializer, seed, shape, fan_in, gain):
    values = initializer(np.random.default_rng(seed), shape, fan_in, gain)

    assert values.dtype == np.float64
    assert values.shape == np.zeros(shape).shape
    total = sum(float(value) ** 2 for value in values.ravel())
    assert total / values.size == pytest.approx(gain**2 / fan_in, rel=1e-12)


@BOTH
def test_one_bucket_has_the_dense_variance(initializer):
    signs = set()
    for seed in range(20):
        (value,) = initializer(np.random.default_rng(seed), 1, 100)
        assert abs(value) == pytest.approx(0.1, rel=1e-15)
        signs.add(np.sign(value))
    assert signs == {-1.0, 1.0}


@BOTH
def test_all_zero_draw_gives_the_second_moment_too(initializer):
    values = initializer(AlwaysZero(np.random.PCG64(0)), (2, 3), 4)
    np.testing.assert_array_equal(np.abs(values), np.full((2, 3), 0.5))


@BOTH
def test_depends_on_the_generator_alone(initializer):
    first = initializer(np.random.default_rng(7), 5, 3)
    np.random.seed(1)  # a global seed must neither matter nor be consumed
    before = np.random.get_state()
    second = initializer(np.random.default_rng(7), 5, 3)
    after = np.random.get_state()

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert not np.array_equal(first, initializer(np.random.default_rng(8), 5, 3))


def test_distributions_differ_in_their_fourth_moment():
    # Scaled to the second moment 1, the fourth one is 9/5 if uniform and 3 if normal.
    uniform = initializers.uniform(np.random.default_rng(0), 100_000, 1)
    normal = initializers.normal(np.random.default_rng(0), 100_000, 1)

    assert np.mean(uniform**4) == pytest.approx(9 / 5, rel=0.02)
    assert np.mean(normal**4) == pytest.approx(3, rel=0.05)
    assert abs(uniform.mean()) < 0.02 and abs(normal.mean()) < 0.02
    assert np.abs(uniform).max() < 1.01 * np.sqrt(3) < np.abs(normal).max()


def test_get():
    assert initializers.get("uniform") is initializers.uniform
    assert initializers.get("normal") is initializers.normal
    with pytest.raises(ValueError, match="initializer.*'xavier'.*'uniform', 'normal'"):
        initializers.get("xavier")


@BOTH
@pytest.mark.parametrize(
    "change, message",
    [
        ({"rng": 0}, "rng is 0"),
        ({"rng": np.random.RandomState(0)}, "rng is RandomState"),
        ({"shape": (3, 0)}, "shape is .3, 0."),
        ({"shape": 0}, "shape is 0"),
        ({"fan_in": 0}, "fan_in is 0"),
        ({"fan_in": float("nan")}, "fan_in is nan"),
        ({"gain": 0.0}, "gain is 0"),
        ({"gain": -1.0}, "gain is -1"),
    ],
)
def test_refuses(initializer, change, message):
    arguments = {"rng": np.random.default_rng(0), "shape": (3, 2), "fan_in": 2, "gain": 1.0}
    with pytest.raises(ValueError, match=message):
        initializer(**(arguments | change))
