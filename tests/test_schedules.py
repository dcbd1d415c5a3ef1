"""Schedules: end points, direction, continuity, and PyTorch's published one-cycle numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minihash import schedules

FRACTION = st.floats(0, 1)
GRID = np.linspace(0, 1, 1001)


def test_constant():
    rate = schedules.constant(0.25)
    assert [rate(t) for t in (0, 0.5, 1)] == [0.25, 0.25, 0.25]


def test_step_by_default_has_three_parts():
    rate = schedules.step(0.9)
    for t, drops in [(0, 0), (0.33, 0), (1 / 3, 1), (0.5, 1), (0.66, 1), (2 / 3, 2), (1, 2)]:
        assert rate(t) == pytest.approx(0.9 * 0.1**drops, rel=1e-12)


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 10, 49])
def test_step_drops_exactly_where_a_part_begins(parts):
    rate = schedules.step(1.0, every=1 / parts, factor=0.5)
    total = 6 * parts  # steps of a training; k / total meets every border, with its rounding
    for k in range(total):
        assert rate(k / total) == 0.5 ** (k // 6)
    assert rate(1.0) == 0.5 ** (parts - 1)


def test_step_of_a_length_that_does_not_divide_the_training():
    rate = schedules.step(1.0, every=0.4, factor=0.1)
    values = [rate(t) for t in (0.39, 0.4, 0.79, 0.8, 1.0)]
    assert values == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])
    assert schedules.step(1.0, every=1.0)(1.0) == 1.0


@settings(deadline=None)
@given(st.floats(0, 10), st.floats(0, 10), FRACTION)
def test_cosine_equals_its_equation_and_meets_its_ends(start, final, t):
    rate = schedules.cosine(start, final)
    assert rate(0) == start and rate(1) == final
    ref = final + (start - final) * (1 + math.cos(math.pi * t)) / 2
    assert rate(t) == pytest.approx(ref, rel=1e-12, abs=1e-12)


def test_cosine_falls_to_zero_by_default():
    values = [schedules.cosine(0.3)(t) for t in GRID]
    assert values[0] == 0.3 and values[500] == pytest.approx(0.15) and values[-1] == 0
    assert (np.diff(values) < 0).all()


def test_one_cycle_rises_then_falls():
    rate = schedules.one_cycle(0.5)
    values = np.array([rate(t) for t in GRID])
    assert values[0] == 0.5 / 25 and values[300] == 0.5
    assert values[-1] == pytest.approx(0.5 / 25e4, rel=1e-12)
    assert (np.diff(values[:301]) > 0).all() and (np.diff(values[300:]) < 0).all()


@settings(deadline=None)
@given(FRACTION, FRACTION, st.floats(0.01, 0.99))
def test_cosine_and_one_cycle_are_continuous(t, step, warmup):
    # half a cosine wave over a length ℓ has the slope π / 2ℓ at most
    step = min(step * 1e-3, 1 - t)
    slope = math.pi / 2 / min(warmup, 1 - warmup)
    for rate in (schedules.cosine(1.0), schedules.one_cycle(1.0, warmup=warmup)):
        assert abs(rate(t + step) - rate(t)) <= slope * step + 1e-12


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_one_cycle_may_have_one_phase_only(warmup):
    rate = schedules.one_cycle(1.0, warmup=warmup, initial=0.2, final=0.1)
    ref = schedules.cosine(*((1.0, 0.1) if warmup == 0 else (0.2, 1.0)))
    assert [rate(t) for t in GRID] == pytest.approx([ref(t) for t in GRID], rel=1e-12)


def annealing_cos(start, end, pct):
    """As in PyTorch's tests."""
    return end + (start - end) / 2.0 * (math.cos(math.pi * pct) + 1)


def test_one_cycle_equals_the_published_numbers_of_pytorch():
    # PyTorch, test/optim/test_lrscheduler.py, test_onecycle_lr_cosine_annealing: the rates of
    # OneCycleLR(max_lr=25, final_div_factor=2, total_steps=10). There the peak is reached after
    # 0.3 · 10 − 1 = 2 of the 9 intervals between ten steps.
    published = [1, 13, 25, *(annealing_cos(25, 0.5, k / 7) for k in range(1, 7)), 0.5]
    rate = schedules.one_cycle(25, warmup=2 / 9, final=0.5)
    assert [rate(k / 9) for k in range(10)] == pytest.approx(published, rel=1e-12)


def test_one_cycle_has_the_defaults_of_pytorch():
    # pct_start=0.3, div_factor=25, final_div_factor=1e4; the two agree when steps are many, as
    # PyTorch counts the intervals between steps and reaches the peak at 0.3 · total − 1.
    total, peak = 100_000, 0.7
    turn, end = 0.3 * total - 1, total - 1
    rate = schedules.one_cycle(peak)
    for k in range(0, total, 997):
        if k <= turn:
            ref = annealing_cos(peak / 25, peak, k / turn)
        else:
            ref = annealing_cos(peak, peak / 25 / 1e4, (k - turn) / (end - turn))
        assert rate(k / end) == pytest.approx(ref, abs=1e-4 * peak)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "one_cycle"])
def test_get_gives_functions_of_the_rate(name):
    schedule = schedules.get(name)
    assert schedule is getattr(schedules, name)
    rate = schedule(0.1)
    assert all(type(rate(t)) is float and 0 <= rate(t) <= 0.1 for t in (0, 0.3, 1))
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="fraction is"):
            rate(bad)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: schedules.get("linear"), "schedule is 'linear'.*'one_cycle'"),
        (lambda: schedules.constant(-1), "learning_rate is -1"),
        (lambda: schedules.constant(math.inf), "learning_rate is inf"),
        (lambda: schedules.constant(1.5e6), r"learning_rate is 1.5e\+06"),
        (lambda: schedules.step(-1), "learning_rate is -1"),
        (lambda: schedules.step(1, every=0), "every is 0"),
        (lambda: schedules.step(1, every=0.9e-6), "every is 9e-07"),
        (lambda: schedules.step(1, every=1.01), "every is 1.01"),
        (lambda: schedules.step(1, factor=2), "factor is 2"),
        (lambda: schedules.step(1, factor=-0.1), "factor is -0.1"),
        (lambda: schedules.cosine(math.nan), "learning_rate is nan"),
        (lambda: schedules.cosine(1, final=-1), "final is -1"),
        (lambda: schedules.one_cycle(-1), "peak is -1"),
        (lambda: schedules.one_cycle(1, warmup=1.5), "warmup is 1.5"),
        (lambda: schedules.one_cycle(1, warmup=-0.1), "warmup is -0.1"),
        (lambda: schedules.one_cycle(1, initial=-1), "initial is -1"),
        (lambda: schedules.one_cycle(1, final=math.nan), "final is nan"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_the_ends_of_what_is_taken():
    assert schedules.constant(1e6)(0.5) == 1e6
    assert schedules.step(1.0, every=1e-6, factor=0.0)(0.0) == 1.0
    assert schedules.step(1.0, every=1.0, factor=1.0)(1.0) == 1.0


def test_no_rate_is_above_a_million():
    for make in (schedules.constant, schedules.step, schedules.cosine, schedules.one_cycle):
        with pytest.raises(ValueError, match=r"is 1e\+06, wanted 0 <= "):
            make(1e6 + 0.5)
