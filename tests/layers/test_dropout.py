"""Dropout: its expectation, and what decides which units it drops."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from minihash import Dropout

ONES = np.ones((200, 500), np.float32)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_drops_at_the_rate_and_keeps_the_expectation(rate):
    outputs = Dropout(rate, seed=3).forward(ONES, training=True)
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / (1 - rate)], rtol=1e-6)
    deviation = np.sqrt(rate * (1 - rate) / ONES.size)
    assert abs((outputs == 0).mean() - rate) < 5 * deviation
    assert abs(outputs.mean() - 1) < 5 * deviation / (1 - rate)


def test_every_unit_and_row_draws_for_itself():
    kept = Dropout(0.5, seed=3).forward(ONES, training=True) != 0
    for axis in (0, 1):
        assert 0.3 < kept.mean(axis).min() and kept.mean(axis).max() < 0.7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward_uses_the_mask_of_the_training_forward(dtype):
    layer = Dropout(0.4, seed=1, dtype=dtype)
    inputs = np.full((6, 7), 2.0, dtype)
    outputs = layer.forward(inputs, training=True)
    layer.forward(inputs)  # evaluation in between draws nothing and changes nothing
    grad_inputs = layer.backward(np.full((6, 7), 3.0, dtype))
    np.testing.assert_array_equal(grad_inputs, 1.5 * outputs)
    assert 0 < np.count_nonzero(outputs) < 42
    assert outputs.dtype == grad_inputs.dtype == dtype


def test_equals_naive():
    layer, inputs = Dropout(0.3, seed=5), np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    for row in (0, 6):
        outputs = layer.forward(inputs, training=True)
        np.testing.assert_allclose(outputs, naive.dropped(inputs, 0.3, 5, row), rtol=1e-6)


def test_a_row_loses_the_same_units_in_any_batch():
    whole, cut = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    outputs = whole.forward(ONES, training=True)
    parts = [cut.forward(ONES[start:stop], training=True) for start, stop in ((0, 1), (1, 70), (70, 200))]
    np.testing.assert_array_equal(np.concatenate(parts), outputs)
    assert whole.row == cut.row == len(ONES)


def test_the_count_of_rows_wraps_around_and_can_be_set_back():
    layer = Dropout(0.5, seed=3)
    layer.row = 2**32 - 150
    outputs = layer.forward(ONES, training=True)
    assert layer.row == 50
    layer.row = 0
    np.testing.assert_array_equal(layer.forward(ONES[:50], training=True), outputs[150:])


def test_what_is_dropped_is_zero_whatever_it_was():
    outputs = Dropout(0.5).forward(np.full((9, 9), np.inf), training=True)
    assert set(np.unique(outputs)) == {0, np.inf}


def test_passes_inputs_on_outside_training():
    inputs = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(Dropout(0.9).forward(inputs), inputs)


def test_rate_zero_drops_nothing():
    layer = Dropout(0.0)
    np.testing.assert_array_equal(layer.forward(ONES, training=True), ONES)
    np.testing.assert_array_equal(layer.backward(ONES), ONES)


def test_seed_decides_the_masks():
    first, same, other = (Dropout(0.5, seed=seed) for seed in (7, 7, 8))
    masks = [layer.forward(ONES, training=True) for layer in (first, same, other, first)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], masks[3])  # a new mask each time
    np.testing.assert_array_equal(masks[3], same.forward(ONES, training=True))


def test_global_random_state_is_neither_read_nor_changed():
    before = np.random.get_state()
    Dropout(0.5).forward(ONES, training=True)
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]


@pytest.mark.parametrize(
    "change",
    [
        *({"rate": value} for value in (-0.1, 1, 1.5, np.nan, "half", None)),
        *({"seed": value} for value in (-1, 2**32, 0.5)),
        {"dtype": np.int64},
    ],
)
def test_constructor_refuses(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} is .*wanted"):
        Dropout(**({"rate": 0.5} | change))
