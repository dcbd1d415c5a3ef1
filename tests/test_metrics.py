"""Measures: against plain loops, and by their laws; however rows are ordered and cut into batches."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minihash import metrics
from minihash.metrics import AUC, R2, Accuracy

# ---------------------------------------------------------------------- the slow truth: plain loops


def naive_auc(scores, labels, weights):
    won = pairs = Fraction(0)
    for score, label, weight in zip(scores, labels, weights):
        for other, other_label, other_weight in zip(scores, labels, weights):
            if label == 1 and other_label == 0:
                pair = Fraction(float(weight)) * Fraction(float(other_weight))
                pairs += pair
                won += pair * (Fraction(1, 2) if score == other else score > other)
    return float(won / pairs) if pairs else math.nan


def naive_accuracy(classes, labels, weights):
    right = sum(Fraction(float(w)) for c, label, w in zip(classes, labels, weights) if c == label)
    total = sum(Fraction(float(w)) for w in weights)
    return float(right / total) if total else math.nan


def naive_r2(outputs, targets, weights):
    total = sum(Fraction(float(w)) for w in weights)
    found = []
    for column in range(len(targets[0])):
        pairs = [(Fraction(float(z[column])), Fraction(float(t[column]))) for z, t in zip(outputs, targets)]
        mean = sum(Fraction(float(w)) * t for w, (_, t) in zip(weights, pairs)) / total
        residual = sum(Fraction(float(w)) * (t - z) ** 2 for w, (z, t) in zip(weights, pairs))
        variance = sum(Fraction(float(w)) * (t - mean) ** 2 for w, (_, t) in zip(weights, pairs))
        found.append(1 - residual / variance if variance else Fraction(int(residual == 0)))
    return float(sum(found) / len(found))


def measured(measure, outputs, targets, weights=None, cuts=()):
    """The measure fed with the batches between some cuts."""
    for start, end in zip([0, *cuts], [*cuts, len(outputs)]):
        weight = None if weights is None else weights[start:end]
        measure.update(outputs[start:end], targets[start:end], weight)
    return measure


def cuts_of(data, rows):
    return sorted(data.draw(st.lists(st.integers(0, rows), max_size=5)))


SCORES = st.integers(-3, 3).map(float) | st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0])
WEIGHTS = st.integers(0, 5).map(float) | st.floats(0, 10)
ROWS = st.lists(st.tuples(SCORES, st.integers(0, 1), WEIGHTS), max_size=30)


def columns(rows, dtype=np.float32):
    scores, labels, weights = np.array(rows, np.float64).reshape(-1, 3).T
    return scores.astype(dtype), labels, weights


# ----------------------------------------------------------------------------------------------- AUC


@settings(max_examples=150)
@given(rows=ROWS, dtype=st.sampled_from([np.float32, np.float64]), data=st.data())
def test_auc_is_the_fraction_of_pairs_in_order(rows, dtype, data):
    scores, labels, _ = columns(rows, dtype)
    ref = naive_auc(scores, labels, np.ones(len(rows)))
    comp = measured(AUC(), scores, labels, cuts=cuts_of(data, len(rows)))
    assert comp.value() == ref or math.isnan(comp.value()) and math.isnan(ref)  # to the last bit
    assert comp.value() == ref or math.isnan(ref)  # asked twice


@settings(max_examples=150)
@given(rows=ROWS, data=st.data())
def test_weighted_auc(rows, data):
    scores, labels, weights = columns(rows)
    weights[(weights > 0) & (weights < 1e-100)] = 0  # products of smaller ones are fewer digits
    ref = naive_auc(scores, labels, weights)
    comp = measured(AUC(), scores, labels, weights, cuts_of(data, len(rows)))
    assert comp.value() == pytest.approx(ref, rel=1e-12, abs=1e-12, nan_ok=True)
    assert comp.value() == pytest.approx(ref, rel=1e-12, abs=1e-12, nan_ok=True)


@given(rows=ROWS, data=st.data())
def test_auc_does_not_depend_on_the_order_of_rows(rows, data):
    scores, labels, _ = columns(rows)
    order = np.array(data.draw(st.permutations(range(len(rows)))), int)
    ref = measured(AUC(), scores, labels).value()
    comp = measured(AUC(), scores[order], labels[order]).value()
    assert comp == ref or math.isnan(ref)


@given(rows=ROWS)
def test_auc_of_negated_scores_is_the_rest(rows):
    scores, labels, weights = columns(rows)
    for weight in (None, weights):
        value = measured(AUC(), scores, labels, weight).value()
        negated = measured(AUC(), -scores, labels, weight).value()
        assert negated == pytest.approx(1 - value, abs=1e-12, nan_ok=True)


@given(rows=st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 1), WEIGHTS), max_size=30))
def test_auc_of_a_monotone_function_of_the_scores(rows):
    scores, labels, _ = columns(rows, np.float64)
    ref = measured(AUC(), scores, labels).value()
    for function in (np.exp, np.arctan, lambda z: z**3, lambda z: 1e30 * z - 1e32):
        comp = measured(AUC(), function(scores), labels).value()
        assert comp == ref or math.isnan(ref)


@given(rows=st.lists(st.tuples(SCORES, st.integers(0, 1), st.integers(0, 4)), max_size=20))
def test_integer_weights_are_repetitions(rows):
    scores, labels, weights = columns(rows)
    times = weights.astype(int)
    ref = measured(AUC(), scores.repeat(times), labels.repeat(times)).value()
    comp = measured(AUC(), scores, labels, weights).value()
    assert comp == pytest.approx(ref, abs=1e-12, nan_ok=True)


def test_weights_that_come_late_and_scores_that_grow():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 9, 300).astype(np.float32), rng.integers(0, 2, 300)
    weights = np.where(np.arange(300) < 100, 1, rng.uniform(size=300))
    measure = measured(AUC(), scores[:100], labels[:100])
    measure.update(scores[100:200, None].astype(np.float64), labels[100:200], weights[100:200])
    measure.update(scores[200:].astype(np.float16), labels[200:, None][:, 0], weights[200:])
    assert measure.value() == pytest.approx(naive_auc(scores, labels, weights), rel=1e-12)
    measure.update(scores[:100], labels[:100])
    ref = naive_auc([*scores, *scores[:100]], [*labels, *labels[:100]], [*weights, *np.ones(100)])
    assert measure.value() == pytest.approx(ref, rel=1e-12)


def test_scores_of_64_bits_are_not_rounded():
    assert measured(AUC(), np.array([1.0, 1 + 1e-12]), [0, 1]).value() == 1
    measure = measured(AUC(), np.array([1.0], np.float32), [0])
    measure.update(np.array([1 + 1e-12]), [1])
    assert measure.value() == 1


def test_infinite_scores_are_ordered():
    scores, labels = np.array([-np.inf, -np.inf, 0, np.inf, np.inf]), [0, 1, 0, 0, 1]
    assert measured(AUC(), scores, labels).value() == naive_auc(scores, labels, [1] * 5) == 3 / 6


@pytest.mark.parametrize("weights", [None, np.ones(3)])
def test_auc_that_is_not_defined_is_nan(weights):
    assert math.isnan(AUC().value())
    for labels in ([0, 0, 0], [1, 1, 1]):
        assert math.isnan(measured(AUC(), np.arange(3.0), labels, weights).value())
    scores = np.array([1, np.nan, 2])
    assert math.isnan(measured(AUC(), scores, [0, 0, 1], weights).value())
    assert math.isnan(measured(AUC(), scores, [0, 0, 1], weights, cuts=[2]).value())  # nor is it forgotten
    assert measured(AUC(), scores, [0, 0, 1], [1, 0, 1]).value() == 1  # it does not count
    assert math.isnan(measured(AUC(), np.arange(3.0), [0, 0, 1], [1, 1, 0]).value())


@pytest.mark.parametrize("weighted", [False, True])
def test_many_pairs_are_counted_in_pieces(weighted, monkeypatch):
    monkeypatch.setattr(metrics, "PIECE", 7)
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 20, 200).astype(np.float32), rng.integers(0, 2, 200)
    weights = rng.uniform(size=200) if weighted else np.ones(200)
    comp = measured(AUC(), scores, labels, weights if weighted else None).value()
    assert comp == pytest.approx(naive_auc(scores, labels, weights), rel=0 if not weighted else 1e-12)


def test_the_scores_are_all_the_memory():
    rng = np.random.default_rng(0)
    batches = [(rng.random((1000, 1), np.float32), rng.integers(0, 2, 1000)) for _ in range(10)]
    measure = AUC()
    tracemalloc.start()
    try:
        for _ in range(100):
            for outputs, targets in batches:
                measure.update(outputs, targets)
        held, peak = tracemalloc.get_traced_memory()
        assert held < 4.4e6
        measure.value()
        assert tracemalloc.get_traced_memory()[1] < held + 3e6 and peak < held + 4e6
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------------------------------ accuracy


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 4)), max_size=30),
    data=st.data(),
)
def test_accuracy_of_classes(rows, data):
    chosen, labels, weights = np.array(rows, int).reshape(-1, 3).T
    outputs = np.eye(5, dtype=np.float32)[chosen] * 3 - 1
    for weight in (None, weights):
        ref = naive_accuracy(chosen, labels, np.ones(len(rows)) if weight is None else weight)
        for targets in (labels, labels.astype(np.float32), np.eye(5)[labels], 0.6 * np.eye(5)[labels] + 0.08):
            comp = measured(Accuracy(), outputs, targets, weight, cuts_of(data, len(rows)))
            assert comp.value() == ref or math.isnan(ref)
            assert comp.error() == pytest.approx(1 - ref, abs=1e-15, nan_ok=True)


@given(rows=st.lists(st.tuples(SCORES, st.integers(0, 1), st.integers(0, 4)), max_size=30), data=st.data())
def test_accuracy_of_a_logit(rows, data):
    logits, labels, weights = columns(rows)
    ref = naive_accuracy(logits > 0, labels, weights)
    for outputs, targets in (
        (logits, labels),
        (logits[:, None], labels),
        (logits[:, None], labels[:, None]),
        (logits, labels == 1),
        (logits, 0.2 + 0.6 * labels),
    ):
        comp = measured(Accuracy(), outputs, targets, weights, cuts_of(data, len(rows)))
        assert comp.value() == ref or math.isnan(ref)


def test_the_first_of_equal_outputs_and_the_half_are_class_0():
    assert measured(Accuracy(), np.zeros((2, 3)), [0, 1]).value() == 0.5
    assert measured(Accuracy(), np.zeros(3), [0, 0.5, 1]).value() == 2 / 3
    assert measured(Accuracy(), np.array([[np.inf, 0], [-np.inf, 0]]), [0, 0]).value() == 0.5


def test_nan_is_wrong():
    for outputs, targets in ((np.full((2, 3), np.nan), [0, 1]), (np.full(2, np.nan), [0, 1])):
        measure = measured(Accuracy(), outputs, targets)
        assert (measure.value(), measure.error()) == (0, 1)


def test_accuracy_of_no_rows_is_nan():
    measure = measured(Accuracy(), np.zeros((2, 3)), [0, 1], [0, 0])
    assert math.isnan(measure.value()) and math.isnan(measure.error())


# ------------------------------------------------------------------------------------------------ R²

NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3)) | st.integers(-3, 3).map(float)


@st.composite
def regressions(draw):
    rows, features = draw(st.integers(2, 20)), draw(st.integers(1, 3))
    numbers = draw(st.lists(NUMBERS, min_size=2 * rows * features, max_size=2 * rows * features))
    weights = np.array(draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows)))
    assume((weights > 0).sum() >= 2)
    outputs, targets = np.array(numbers).reshape(2, rows, features)
    return outputs, targets, weights


@given(regression=regressions(), data=st.data())
def test_r2_is_its_definition(regression, data):
    outputs, targets, weights = regression
    order = np.array(data.draw(st.permutations(range(len(weights)))), int)
    for weight in (None, weights):
        ref = naive_r2(outputs, targets, np.ones(len(outputs)) if weight is None else weight)
        for rows in (slice(None), order):
            permuted = None if weight is None else weight[rows]
            comp = measured(R2(), outputs[rows], targets[rows], permuted, cuts_of(data, len(weights)))
            assert comp.value() == pytest.approx(ref, rel=1e-9, abs=1e-9)


@given(regression=regressions())
def test_r2_with_integer_weights_is_that_of_repetitions(regression):
    outputs, targets, weights = regression
    ref = measured(R2(), outputs.repeat(weights, 0), targets.repeat(weights, 0)).value()
    assert measured(R2(), outputs, targets, weights).value() == pytest.approx(ref, rel=1e-9, abs=1e-9)


def test_r2_does_not_cancel():
    targets = 1e8 + np.arange(1000) % 2
    comp = measured(R2(), targets + 0.25, targets, cuts=[1, 10, 500])
    assert comp.value() == pytest.approx(1 - 0.0625 / 0.25, rel=1e-12)


def test_r2_of_one_output_in_both_shapes():
    outputs, targets = np.array([1, 2, 4], np.float32), np.array([1, 2, 3])
    ref = naive_r2(outputs[:, None], targets[:, None], [1] * 3)
    for z, t in ((outputs, targets), (outputs[:, None], targets), (outputs[:, None], targets[:, None])):
        assert measured(R2(), z, t).value() == pytest.approx(ref)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e300])
@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 0.7, 7)])
def test_r2_of_constant_targets(constant, weights):
    targets = np.full(7, constant)
    assert measured(R2(), targets, targets, weights, [2, 3]).value() == 1
    assert measured(R2(), targets + [0, 0, 0, 1e290, 0, 0, 0], targets, weights, [2, 3]).value() == 0
    both = np.column_stack([targets, np.arange(7)])
    assert measured(R2(), both, both, weights).value() == 1


def test_r2_that_is_not_defined_is_nan():
    assert math.isnan(R2().value())
    assert math.isnan(measured(R2(), np.zeros(1), np.zeros(1)).value())
    assert math.isnan(measured(R2(), np.zeros(3), np.arange(3), [1, 0, 0]).value())
    assert math.isnan(measured(R2(), np.array([0, np.nan]), [0, 1]).value())
    assert measured(R2(), np.array([0, np.inf]), [0, 1]).value() == -np.inf
    assert measured(R2(), np.array([0, 0, np.nan]), [0, 1, 2], [1, 1, 0]).value() == -1


def test_a_row_without_weight_does_not_count_first_either():
    outputs, targets = np.zeros(3), np.array([1e200, 1, 2])
    assert measured(R2(), outputs, targets, [0, 1, 1]).value() == pytest.approx(-9)


# ---------------------------------------------------------------------------------------- what is better


@pytest.mark.parametrize("larger", [True, False])
def test_only_what_is_really_better_is_better(larger):
    sign = 1 if larger else -1
    assert metrics.better(sign * 1.5, sign * 1.0, larger)
    assert not metrics.better(sign * 1.0, sign * 1.0, larger) and not metrics.better(0, sign * 1.0, larger)
    assert not metrics.better(sign * 1.5, sign * 1.0, larger, by=0.5)
    assert metrics.better(sign * 1.5, sign * 1.0, larger, by=0.25)
    for never in (math.nan, math.inf, -math.inf):
        assert not metrics.better(never, 0, larger)
    assert metrics.better(-sign * 1e300, metrics.worst(larger), larger)


def test_names_and_modes_say_whether_larger_is_better():
    larger = {name: metrics.larger_is_better(name) for name in ("loss", *metrics.SCORES)}
    small, large = ("loss", "error", "mae", "rmse"), ("accuracy", "auc", "r2")
    assert larger == dict.fromkeys(small, False) | dict.fromkeys(large, True)
    assert all(metrics.larger_is_better(f"validation_{name}") == value for name, value in larger.items())
    assert metrics.larger_is_better("mine", "max") and not metrics.larger_is_better("auc", "min")
    with pytest.raises(ValueError, match="^monitor is 'mine', wanted mode='min' or 'max' with it, or one of"):
        metrics.larger_is_better("mine")
    with pytest.raises(ValueError, match="^mode is 'most', wanted one of 'min', 'max'"):
        metrics.larger_is_better("loss", "most")


# -------------------------------------------------------------------------------- against scikit-learn


@pytest.mark.parametrize("weighted", [False, True])
def test_as_scikit_learn(weighted):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(500, 3)).round(1)
    targets, labels = outputs + rng.normal(size=(500, 3)), rng.integers(0, 3, 500)
    score, chosen, positive = outputs[:, 0], outputs.argmax(axis=1), labels > 0
    weight = rng.uniform(size=500) if weighted else None
    for comp, ref in (
        (measured(AUC(), score, positive, weight), (sklearn.roc_auc_score, positive, score)),
        (measured(R2(), outputs, targets, weight), (sklearn.r2_score, targets, outputs)),
        (measured(Accuracy(), outputs, labels, weight), (sklearn.accuracy_score, labels, chosen)),
    ):
        assert comp.value() == pytest.approx(ref[0](*ref[1:], sample_weight=weight), rel=1e-12)


# -------------------------------------------------------------------------------------------- errors

Z = np.zeros((3, 2))
ONE = np.zeros(3)


@pytest.mark.parametrize(
    "measure, outputs, targets, weights, message",
    [
        (Accuracy, Z, [0, 1], None, r"targets has shape \(2,\), wanted \(3,\) or \(3, 2\)"),
        (Accuracy, Z, np.ones((3, 3)), None, r"targets has shape \(3, 3\), wanted \(3,\) or \(3, 2\)"),
        (Accuracy, Z, [0, 2, 1], None, "targets is 2 in row 1, wanted a label 0 <= label < 2"),
        (Accuracy, Z, [0, 3, 1], None, "targets is 3 in row 1, wanted a label 0 <= label < 2"),
        (Accuracy, Z, [0, -1, 1], None, "targets is -1 in row 1, wanted a label 0 <= label < 2"),
        (Accuracy, Z, [0, 0.5, 1], None, "targets is 0.5 in row 1, wanted a label"),
        (Accuracy, Z, [0, 0.75, 1], None, "targets is 0.75 in row 1, wanted a label"),
        (Accuracy, Z, [0, 1, np.nan], None, "targets is nan in row 2"),
        (Accuracy, Z, Z - 1, None, "targets is -1.0 in row 0, wanted a probability"),
        (Accuracy, Z, Z + 1.5, None, "targets is 1.5 in row 0, wanted a probability"),
        (Accuracy, Z, ["a", "b", "c"], None, "targets has dtype <U1, wanted real numbers"),
        (Accuracy, ONE, [0, 1, 1.5], None, "targets is 1.5 in row 2, wanted 0 <= target <= 1"),
        (Accuracy, ONE, [0, 1, -0.5], None, "targets is -0.5 in row 2, wanted 0 <= target <= 1"),
        (Accuracy, ONE, Z, None, r"targets has shape \(3, 2\), wanted \(3, 1\) as outputs"),
        (AUC, Z, ONE, None, r"outputs has shape \(3, 2\), wanted \(batch, 1\) or \(batch,\)"),
        (AUC, ONE, [0, 1, 2], None, "targets is 2 in row 2, wanted 0 or 1"),
        (AUC, ONE, [0, 1, -1], None, "targets is -1 in row 2, wanted 0 or 1"),
        (AUC, ONE, [0, 1, 0.5], None, "targets is 0.5 in row 2, wanted 0 or 1"),
        (AUC, ONE, [0, np.nan, 1], None, "targets is nan in row 1"),
        (AUC, ONE, [0, 1], None, r"targets has shape \(2,\), wanted \(3, 1\)"),
        (R2, Z, ONE, None, r"targets has shape \(3,\), wanted \(3, 2\) as outputs"),
        (R2, ONE, [0, 1, np.inf], None, "targets is inf in row 2, wanted a finite number"),
        *(
            (measure, *rest)
            for measure in (Accuracy, AUC, R2)
            for rest in (
                (ONE.astype(int), ONE, None, r"outputs has shape \(3,\) \(int64\), wanted .* floating"),
                (ONE.astype(bool), ONE, None, r"outputs has shape \(3,\) \(bool\), wanted .* floating"),
                (np.zeros((3, 1, 1)), ONE, None, r"outputs has shape \(3, 1, 1\)"),
                (np.zeros((3, 0)), ONE, None, r"outputs has shape \(3, 0\)"),
                (np.float32(0), 0, None, r"outputs has shape \(\)"),
                (ONE, ONE, [1, 1], r"sample_weight has shape \(2,\), wanted \(3,\)"),
                (ONE, ONE, [1] * 4, r"sample_weight has shape \(4,\), wanted \(3,\)"),
                (ONE, ONE, [1, -1, 1], "sample_weight is -1.0 in row 1, wanted a weight >= 0"),
                (ONE, ONE, [1, 1, np.nan], "sample_weight is nan in row 2"),
                (ONE, ONE, [1, 1, np.inf], "sample_weight is inf in row 2"),
                (ONE, ONE, ["1"] * 3, "sample_weight has dtype <U1"),
            )
        ),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(measure, outputs, targets, weights, message):
    found = measured(measure(), np.array([1.0, 2.0]), [0, 1])
    before = found.value()
    with pytest.raises(ValueError, match=f"^{message}"):
        found.update(outputs, targets, weights)
    assert found.value() == before


def test_r2_refuses_another_number_of_outputs():
    with pytest.raises(ValueError, match="^outputs has 2 features, wanted 1 as before"):
        measured(R2(), ONE, ONE).update(Z, Z)
    with pytest.raises(ValueError, match="^outputs has 1 features, wanted 2 as before"):
        measured(R2(), Z, Z).update(ONE, ONE)


@pytest.mark.parametrize("measure", [Accuracy, AUC, R2])
def test_what_is_given_is_not_changed(measure):
    given = np.array([3.0, 1, 2]), np.array([1.0, 0, 1]), np.array([1.0, 2, 3])
    copies = [array.copy() for array in given]
    measured(measure(), *given).value()
    for array, copy in zip(given, copies):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("measure", [Accuracy, AUC, R2])
def test_masks_are_not_dropped(measure):
    given = np.array([3.0, 1, 2]), np.array([1.0, 0, 1]), np.array([1.0, 2, 3])
    if measure is Accuracy:
        given = given[0][:, None] * [1, -1], given[1].astype(int), given[2]
    whole = measured(measure(), *map(np.ma.array, given)).value()
    assert whole == measured(measure(), *given).value()
    for place, name in enumerate(("outputs", "targets", "sample_weight")):
        masked = list(map(np.ma.array, given))
        masked[place][1] = np.ma.masked
        with pytest.raises(ValueError, match=f"^{name} has [12] masked entries, wanted none"):
            measure().update(*masked)
