"""Losses: against plain loops, published numbers, the gradient checker, and by their laws."""

from __future__ import annotations

import functools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minihash import losses
from minihash.gradient_check import check_gradients

# ----------------------------------------------------------- the slow truth: one row, plain floats


def naive_softmax_cross_entropy(row, target):
    if np.ndim(target) == 0:
        target = [float(k == target) for k in range(len(row))]
    total = sum(math.exp(z) for z in row)
    return -sum(t * math.log(math.exp(z) / total) for z, t in zip(row, target))


def naive_mean_squared_error(row, target):
    row, target = np.atleast_1d(row), np.atleast_1d(target)
    return sum((z - t) ** 2 for z, t in zip(row, target)) / len(row)


def naive_binary_cross_entropy(row, target):
    row, target = np.atleast_1d(row), np.atleast_1d(target)
    pairs = [(1 / (1 + math.exp(-z)), t) for z, t in zip(row, target)]
    return sum(-t * math.log(p) - (1 - t) * math.log(1 - p) for p, t in pairs) / len(row)


def naive_distillation(row, target, temperature=4.0, weight=0.9):
    label, *teacher = target
    totals = [sum(math.exp(v / temperature) for v in logits) for logits in (row, teacher)]
    soft = [(math.exp(z / temperature), math.exp(v / temperature)) for z, v in zip(row, teacher)]
    cross_entropy = -sum(v / totals[1] * math.log(z / totals[0]) for z, v in soft)
    hard = naive_softmax_cross_entropy(row, int(label))
    return (1 - weight) * hard + weight * temperature**2 * cross_entropy


def naive_mean(row_loss, outputs, targets, sample_weight=None):
    weights = [1.0] * len(outputs) if sample_weight is None else sample_weight
    rows = [w * row_loss(z, t) for w, z, t in zip(weights, outputs, targets)]
    return sum(rows) / sum(weights)


RNG = np.random.default_rng(2015)
LOGITS = RNG.normal(size=(6, 4)) * 3
LABELS = np.array([0, 3, 1, 1, 2, 0])
ROWS = RNG.dirichlet(np.ones(4), size=6)
COLUMN = RNG.normal(size=(6, 1)) * 3
UNIT = RNG.uniform(size=6)
TEACHER = RNG.normal(size=(6, 4)) * 3
WEIGHTS = np.array([1.0, 0.0, 2.5, 0.3, 1.0, 4.0])

CASES = {
    "softmax, labels": (losses.softmax_cross_entropy, LOGITS, LABELS),
    "softmax, rows": (losses.softmax_cross_entropy, LOGITS, ROWS),
    "squares, matrix": (losses.mean_squared_error, LOGITS, ROWS),
    "squares, column": (losses.mean_squared_error, COLUMN, UNIT),
    "squares, vector": (losses.mean_squared_error, COLUMN[:, 0], UNIT),
    "binary, column": (losses.binary_cross_entropy, COLUMN, UNIT),
    "binary, columns": (losses.binary_cross_entropy, COLUMN, UNIT[:, None]),
    "binary, vector": (losses.binary_cross_entropy, COLUMN[:, 0], UNIT),
    "binary, labels": (losses.binary_cross_entropy, LOGITS, ROWS),
    "distillation": (losses.distillation, LOGITS, losses.distillation_targets(LABELS, TEACHER)),
}
NAIVE = {
    losses.softmax_cross_entropy: naive_softmax_cross_entropy,
    losses.mean_squared_error: naive_mean_squared_error,
    losses.binary_cross_entropy: naive_binary_cross_entropy,
    losses.distillation: naive_distillation,
}
every_case = pytest.mark.parametrize("case", CASES)
every_weight = pytest.mark.parametrize("sample_weight", [None, WEIGHTS], ids=["plain", "weighted"])


# -------------------------------------------------------------------------- values and gradients


@every_case
@every_weight
def test_equals_the_plain_loop(case, sample_weight):
    loss, outputs, targets = CASES[case]
    ref = naive_mean(NAIVE[loss], outputs, targets, sample_weight)
    comp, grad_outputs = loss(outputs, targets, sample_weight)

    assert type(comp) is float
    assert comp == pytest.approx(ref, rel=1e-12)
    assert grad_outputs.shape == outputs.shape and grad_outputs.dtype == np.float64


@every_case
@every_weight
def test_gradient(case, sample_weight):
    loss, outputs, targets = CASES[case]
    report = check_gradients(lambda z: loss(z, targets, sample_weight), outputs)
    report.raise_for_errors()
    assert "complex step" in str(report), "every line of a loss is analytic"


@every_case
def test_gradient_of_complex_outputs_is_complex(case):
    loss, outputs, targets = CASES[case]
    _, grad_outputs = loss(outputs.astype(np.complex128), targets)
    assert grad_outputs.dtype == np.complex128
    np.testing.assert_allclose(grad_outputs, loss(outputs, targets)[1], rtol=1e-12, atol=1e-16)


@every_weight
@pytest.mark.parametrize("weight", [0, 0.3, 1])
@pytest.mark.parametrize("temperature", [0.5, 1, 20])
def test_distillation_with_every_temperature_and_weight(sample_weight, temperature, weight):
    _, outputs, targets = CASES["distillation"]
    arguments = {"temperature": temperature, "weight": weight}
    ref = naive_mean(functools.partial(naive_distillation, **arguments), outputs, targets, sample_weight)
    loss = functools.partial(losses.distillation, **arguments)
    assert loss(outputs, targets, sample_weight)[0] == pytest.approx(ref, rel=1e-12)
    check_gradients(lambda z: loss(z, targets, sample_weight), outputs).raise_for_errors()


@every_case
def test_float32_stays_float32(case):
    loss, outputs, targets = CASES[case]
    ref, ref_grad = loss(outputs, targets, WEIGHTS)
    comp, grad_outputs = loss(outputs.astype(np.float32), targets, WEIGHTS)

    assert type(comp) is float
    assert grad_outputs.dtype == np.float32
    assert comp == pytest.approx(ref, rel=1e-5)
    np.testing.assert_allclose(grad_outputs, ref_grad, rtol=1e-4, atol=1e-6)


@every_case
def test_arguments_are_not_changed_nor_returned(case):
    loss, outputs, targets = CASES[case]
    arrays = [array.copy() for array in (outputs, targets, WEIGHTS)]
    for array in arrays:
        array.flags.writeable = False  # writing would raise
    _, grad_outputs = loss(*arrays)
    assert not any(np.shares_memory(grad_outputs, array) for array in arrays)


def test_softmax_equals_published_numbers():
    # The example of mindspore.ops.SoftmaxCrossEntropyWithLogits in MindSpore's documentation, r1.9:
    # losses of rows, and gradients that are not yet divided by the batch.
    outputs = np.array([[2, 4, 1, 4, 5], [2, 1, 2, 4, 3]], dtype=np.float32)
    loss, grad_outputs = losses.softmax_cross_entropy(outputs, np.array([4, 3]))

    assert loss == pytest.approx((0.5899297 + 0.52374405) / 2, rel=1e-6)
    published = [
        [0.02760027, 0.20393994, 0.01015357, 0.20393994, -0.44563377],
        [0.08015892, 0.02948882, 0.08015892, -0.4077012, 0.21789455],
    ]
    np.testing.assert_allclose(2 * grad_outputs, published, rtol=2e-6)


def test_binary_equals_published_numbers():
    # The example of keras.ops.binary_crossentropy in TensorFlow's documentation.
    probabilities = np.array([0.1, 0.9, 0.8, 0.2])
    targets = np.array([0, 1, 1, 0])
    published = [0.10536054, 0.10536054, 0.22314355, 0.22314355]
    logits = np.log(probabilities / (1 - probabilities))
    for logit, target, ref in zip(logits, targets, published):
        loss, _ = losses.binary_cross_entropy(np.array([logit]), np.array([target]))
        assert loss == pytest.approx(ref, rel=1e-6)


# ------------------------------------------------------------------------------------------ laws

LOGIT = st.floats(-50, 50, width=32)


def logits_and_labels():
    shapes = st.tuples(st.integers(1, 6), st.integers(1, 5))
    return shapes.flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float64, shape, elements=LOGIT),
            hnp.arrays(np.int64, shape[:1], elements=st.integers(0, shape[1] - 1)),
        )
    )


@settings(deadline=None)
@given(logits_and_labels(), st.floats(-1e3, 1e3))
def test_softmax_does_not_see_a_constant_added_to_a_row(case, constant):
    outputs, labels = case
    loss, grad_outputs = losses.softmax_cross_entropy(outputs, labels)
    shifted, grad_shifted = losses.softmax_cross_entropy(outputs + constant, labels)

    assert shifted == pytest.approx(loss, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(grad_shifted, grad_outputs, atol=1e-9)
    # hence the gradient of a row has no component along the constant
    np.testing.assert_allclose(grad_outputs.sum(axis=1), 0, atol=1e-12)


@settings(deadline=None)
@given(logits_and_labels())
def test_softmax_of_labels_equals_softmax_of_their_one_hot_rows(case):
    outputs, labels = case
    one_hot = np.array([[float(c == label) for c in range(outputs.shape[1])] for label in labels])
    loss, grad_outputs = losses.softmax_cross_entropy(outputs, labels)
    loss_rows, grad_rows = losses.softmax_cross_entropy(outputs, one_hot)

    assert loss == loss_rows >= 0
    np.testing.assert_array_equal(grad_outputs, grad_rows)


@settings(deadline=None)
@given(LOGIT, st.floats(0, 1))
def test_binary_is_softmax_of_two_classes(logit, target):
    loss, grad_outputs = losses.binary_cross_entropy(np.array([[logit]]), np.array([target]))
    softmax, grad_softmax = losses.softmax_cross_entropy(
        np.array([[0.0, logit]]), np.array([[1 - target, target]])
    )
    assert loss == pytest.approx(softmax, rel=1e-9, abs=1e-12)
    assert grad_outputs[0, 0] == pytest.approx(grad_softmax[0, 1], rel=1e-9, abs=1e-12)


@every_case
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_integer_weights_count_rows(case, data):
    loss, outputs, targets = CASES[case]
    counts = np.array(data.draw(st.lists(st.integers(0, 4), min_size=6, max_size=6).filter(any)))
    weighted, grad_weighted = loss(outputs, targets, counts)
    repeated, grad_repeated = loss(np.repeat(outputs, counts, 0), np.repeat(targets, counts, 0))

    assert weighted == pytest.approx(repeated, rel=1e-12)
    copies = np.split(grad_repeated, np.cumsum(counts)[:-1])
    ref = np.array([rows.sum(axis=0) for rows in copies])
    np.testing.assert_allclose(grad_weighted, ref, rtol=1e-12, atol=1e-18)


@every_case
@settings(deadline=None, max_examples=25)
@given(scale=st.floats(1e-6, 1e6))
def test_only_the_ratios_of_weights_matter(case, scale):
    loss, outputs, targets = CASES[case]
    value, grad_outputs = loss(outputs, targets, WEIGHTS)
    scaled, grad_scaled = loss(outputs, targets, scale * WEIGHTS)
    assert scaled == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(grad_scaled, grad_outputs, rtol=1e-12)

    equal, grad_equal = loss(outputs, targets, np.full(6, scale))
    plain, grad_plain = loss(outputs, targets)
    assert equal == pytest.approx(plain, rel=1e-12)
    np.testing.assert_allclose(grad_equal, grad_plain, rtol=1e-12)


@settings(deadline=None)
@given(logits_and_labels(), st.floats(0.1, 10), st.floats(0, 1), st.data())
def test_distillation_is_least_for_the_teachers_own_outputs(case, temperature, weight, data):
    teacher, labels = case
    outputs = data.draw(hnp.arrays(np.float64, teacher.shape, elements=LOGIT))
    targets = losses.distillation_targets(labels, teacher)
    soft = functools.partial(losses.distillation, targets=targets, temperature=temperature, weight=1)
    value, grad_outputs = soft(teacher)
    np.testing.assert_allclose(grad_outputs, 0, atol=1e-12 * temperature)
    assert soft(outputs)[0] >= value - 1e-9 * max(1, value)
    # and it is linear in the weight, from the labels' cross-entropy to the teacher's
    both = losses.distillation(outputs, targets, temperature=temperature, weight=weight)
    hard = losses.softmax_cross_entropy(outputs, labels)
    for mixed, ends in zip(both, zip(hard, soft(outputs))):
        np.testing.assert_allclose(mixed, (1 - weight) * ends[0] + weight * ends[1], rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(logits_and_labels(), st.data())
def test_distillation_tends_to_the_squared_difference_of_logits(case, data):
    # Hinton et al., section 2.1: at high temperature the gradient is (z − v) / classes, of centred logits.
    teacher, labels = case
    outputs = data.draw(hnp.arrays(np.float64, teacher.shape, elements=LOGIT))
    targets = losses.distillation_targets(labels, teacher)
    _, grad_outputs = losses.distillation(outputs, targets, temperature=1e5, weight=1)
    z, v = (logits - logits.mean(axis=1, keepdims=True) for logits in (outputs, teacher))
    np.testing.assert_allclose(grad_outputs, (z - v) / z.size, atol=0.05)


# ------------------------------------------------------------------------------- extreme outputs

both_widths = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@both_widths
def test_softmax_is_right_at_ten_thousand(dtype):
    outputs = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, -1e4, -1e4]], dtype=dtype)
    loss, grad_outputs = losses.softmax_cross_entropy(outputs, np.array([0, 1, 2]))

    assert loss == pytest.approx((0 + 2e4 + math.log(3)) / 3, rel=1e-6)
    third = 1 / 3
    ref = np.array([[0, 0, 0], [1, -1, 0], [third, third, third - 1]]) / 3
    np.testing.assert_allclose(grad_outputs, ref, rtol=1e-6, atol=0)


@both_widths
def test_binary_is_right_at_ten_thousand(dtype):
    outputs = np.array([1e4, 1e4, -1e4, -1e4, 1e4, -1e4], dtype=dtype)
    targets = np.array([1, 0, 1, 0, 0.25, 0.25])
    loss, grad_outputs = losses.binary_cross_entropy(outputs, targets)

    assert loss == pytest.approx((0 + 1e4 + 1e4 + 0 + 7.5e3 + 2.5e3) / 6, rel=1e-6)
    np.testing.assert_allclose(grad_outputs, np.array([0, 1, -1, 0, 0.75, -0.25]) / 6, rtol=1e-6)


@both_widths
def test_squares_are_right_at_ten_thousand(dtype):
    outputs = np.array([[1e4, -1e4]], dtype=dtype)
    loss, grad_outputs = losses.mean_squared_error(outputs, np.array([[-1e4, -1e4]]))
    assert loss == pytest.approx(2e8, rel=1e-6)
    np.testing.assert_allclose(grad_outputs, [[2e4, 0]], rtol=1e-6)


def test_binary_keeps_tiny_losses():
    # log(1 + exp(−z)) of a confident right answer; 1 − p would have rounded to 0 by z = 40
    for logit in (20.0, 40.0, 100.0):
        loss, _ = losses.binary_cross_entropy(np.array([logit]), np.array([1]))
        assert loss == pytest.approx(math.exp(-logit), rel=1e-8, abs=0)


# ---------------------------------------------------------------------------------------- errors

Z = np.zeros((3, 2))


@pytest.mark.parametrize(
    "targets, message",
    [
        ([0, 2, 1], r"targets is 2 in row 1, wanted a label 0 <= label < 2"),
        ([0, 1, -1], r"targets is -1 in row 2"),
        ([0.0, 1.0, 1.0], r"targets has dtype float64, wanted integer labels"),
        ([True, False, True], r"targets has dtype bool"),
        (["a", "b", "a"], r"targets has dtype"),
        ([0, 1], r"targets has shape \(2,\), wanted \(3,\) labels or \(3, 2\)"),
        (np.ones((3, 3)) / 3, r"targets has shape \(3, 3\)"),
        ([[1, 0], [0.5, 0.6], [1, 0]], r"sum of targets is 1.1 in row 1, wanted 1"),
        ([[1, 0], [1, 0], [1.5, -0.5]], r"targets is -0.5 in row 2, wanted a probability"),
        ([[1, 0], [1, 0], [1, np.nan]], r"targets is nan in row 2"),
    ],
)
def test_softmax_refuses_targets(targets, message):
    with pytest.raises(ValueError, match=message):
        losses.softmax_cross_entropy(Z, np.array(targets))


@pytest.mark.parametrize(
    "loss, outputs, targets, message",
    [
        (losses.mean_squared_error, Z, Z[:, 0], r"targets has shape \(3,\), wanted \(3, 2\)"),
        (losses.mean_squared_error, Z[:, 0], Z[:, :1], r"targets has shape \(3, 1\)"),
        (losses.mean_squared_error, Z, Z[:2], r"targets has shape \(2, 2\)"),
        (losses.mean_squared_error, Z[0], [0, np.inf], r"targets is inf in row 1"),
        (losses.binary_cross_entropy, Z, [0, 1, 1], r"targets has shape \(3,\), wanted \(3, 2\)"),
        (losses.binary_cross_entropy, Z, [[0, 1], [1, 2], [0, 0]], r"targets is 2.0 in row 1"),
        (losses.binary_cross_entropy, Z[:, 0], [0, 1.5, 1], r"targets is 1.5 in row 1"),
        (losses.binary_cross_entropy, Z[:, :1], [0, 1, -0.1], r"targets is -0.1 in row 2"),
        (losses.binary_cross_entropy, Z[:, 0], [0, 1, np.nan], r"targets is nan in row 2"),
        (losses.binary_cross_entropy, Z[:, 0], [0, 1], r"targets has shape \(2,\)"),
        (losses.softmax_cross_entropy, Z[0], [0, 1], r"outputs has shape \(2,\)"),
    ],
)
def test_refuses_shapes_and_values(loss, outputs, targets, message):
    with pytest.raises(ValueError, match=message):
        loss(outputs, targets)


@pytest.mark.parametrize(
    "row, message",
    [
        ([2, 0, 0.5], r"targets is 2.0 in row 1, wanted a label 0 <= label < 2"),
        ([-1, 0, 0.5], r"targets is -1.0 in row 1"),
        ([0.5, 0, 0], r"targets is 0.5 in row 1"),
        ([np.nan, 0, 0], r"targets is nan in row 1"),
        ([1, 0, np.inf], r"the teacher's output in targets is inf in row 1, wanted a finite number"),
    ],
)
def test_distillation_refuses_rows(row, message):
    targets = np.array([[0, 1, 2], row, [1, 1, 1]])
    with pytest.raises(ValueError, match=message):
        losses.distillation(Z, targets)


@pytest.mark.parametrize("targets", [[0, 1, 1], Z, np.zeros((2, 3)), np.zeros((3, 3), bool), [["0"] * 3] * 3])
def test_distillation_refuses_other_targets(targets):
    message = r"targets has shape .* \(.*\), wanted \(3, 3\): a label and the teacher's outputs"
    with pytest.raises(ValueError, match=message):
        losses.distillation(Z, targets)


@pytest.mark.parametrize(
    "change",
    [*({"temperature": value} for value in (0, -1, np.inf, "hot")), *({"weight": w} for w in (-0.1, 1.1))],
)
def test_distillation_refuses_arguments(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} is "):
        losses.distillation(*CASES["distillation"][1:], **change)


def test_distillation_targets_hold_labels_and_logits():
    targets = losses.distillation_targets(LABELS, TEACHER.astype(np.float32))
    assert targets.dtype == np.float32 and targets.shape == (6, 5)
    np.testing.assert_array_equal(targets[:, 0], LABELS)
    np.testing.assert_array_equal(targets[:, 1:], TEACHER.astype(np.float32))


@pytest.mark.parametrize(
    "labels, teacher, message",
    [
        ([0, 1], Z, r"labels has shape \(2,\) \(int64\), wanted \(3,\) integers"),
        (Z, Z, r"labels has shape \(3, 2\)"),
        ([0, 1, 2], Z, "is 2.0 in row 2, wanted a label"),
        ([0.0, 1.0, 1.0], Z, r"labels has shape \(3,\) \(float64\)"),
        ([0, 1, 1], Z[0], r"^teacher_outputs has shape \(2,\)"),
        ([0, 1, 1], Z + np.nan, "is nan in row 0"),
        ([0, 1, 1], Z.astype(int), "^teacher_outputs has dtype int64"),
    ],
)
def test_distillation_targets_refuse(labels, teacher, message):
    with pytest.raises(ValueError, match=message):
        losses.distillation_targets(labels, teacher)


@every_case
@pytest.mark.parametrize(
    "sample_weight, message",
    [
        (np.array([1, 1, 1, -2.0, 1, 1]), r"sample_weight is -2.0 in row 3"),
        (np.array([1, 1, 1, 1, 1, np.nan]), r"sample_weight is nan in row 5"),
        (np.array([1, np.inf, 1, 1, 1, 1]), r"sample_weight is inf in row 1"),
        (np.zeros(6), r"sample_weight has the sum 0, wanted a positive one"),
        (np.ones(5), r"sample_weight has shape \(5,\), wanted \(6,\)"),
        (np.ones((6, 1)), r"sample_weight has shape \(6, 1\)"),
    ],
)
def test_refuses_weights(case, sample_weight, message):
    loss, outputs, targets = CASES[case]
    with pytest.raises(ValueError, match=message):
        loss(outputs, targets, sample_weight)


@every_case
def test_refuses_an_empty_batch_and_integer_outputs(case):
    loss, outputs, targets = CASES[case]
    with pytest.raises(ValueError, match=r"outputs has shape \(0,.*not empty"):
        loss(outputs[:0], targets[:0])
    with pytest.raises(ValueError, match="outputs has dtype int64"):
        loss(outputs.astype(np.int64), targets)


# ---------------------------------------------------------------------- targets without outputs


def message_of(call, *args):
    with pytest.raises(ValueError) as caught:
        call(*args)
    return str(caught.value)


@every_case
def test_targets_alone_are_checked_as_the_loss_does(case):
    loss, outputs, targets = CASES[case]
    shape, name = outputs.shape, losses.object_of(loss).name
    losses.check_targets(name, targets, shape)
    for wrong in (np.nan, np.inf, -1, 4, 1.5, "a"):
        changed = targets.astype(object)
        changed[3] = wrong
        for wrong_targets in (changed, changed.astype(str), targets[:5]):
            assert message_of(loss, outputs, wrong_targets) == message_of(
                losses.check_targets, name, wrong_targets, shape, outputs.dtype
            )
        if wrong == "a":
            continue
        try:
            losses.check_targets(name, (numbers := changed.astype(float)), shape, outputs.dtype)
        except ValueError as error:
            assert message_of(loss, outputs, numbers) == str(error)
        else:
            loss(outputs, numbers)


def test_a_wrong_row_is_found_in_any_block(monkeypatch):
    monkeypatch.setattr("minihash.losses.targets.CHECKED_ROWS", 4)
    for row in range(9):
        labels = np.zeros(9, int)
        labels[row] = 5
        with pytest.raises(ValueError, match=f"^targets is 5 in row {row}, wanted a label 0 <= label < 3$"):
            losses.check_targets("softmax_cross_entropy", labels, (9, 3))
        with pytest.raises(ValueError, match=f"^targets is 5.0 in row {row}, wanted 0 <= target <= 1$"):
            losses.check_targets("binary_cross_entropy", labels, (9, 1))


def test_checking_targets_takes_the_memory_of_some_rows():
    """Not that of rows x classes: of a million rows and a million classes there are four terabytes."""
    rows, classes = 1_000_000, 1_000_000
    labels = np.arange(rows, dtype=np.int32)
    values = np.zeros((200_000, 10), np.float64)
    tracemalloc.start()
    losses.check_targets("softmax_cross_entropy", labels, (rows, classes))
    losses.check_targets("mean_squared_error", values, values.shape)
    losses.check_targets("binary_cross_entropy", values, values.shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_unknown_losses_are_not_taken_for_another():
    message = "^loss is 'hinge', wanted one of 'softmax_cross_entropy'"
    with pytest.raises(ValueError, match=message):
        losses.check_targets("hinge", LABELS, LOGITS.shape)


@every_case
def test_masks_are_not_dropped(case):
    loss, outputs, targets = CASES[case]
    whole = np.ma.array(targets)
    assert loss(outputs, whole, np.ma.array(WEIGHTS))[0] == loss(outputs, targets, WEIGHTS)[0]
    whole[2] = np.ma.masked
    count = np.ma.count_masked(whole)
    wanted = "wanted none: fill them or leave out their rows$"
    with pytest.raises(ValueError, match=f"^targets has {count} masked entries, {wanted}"):
        loss(outputs, whole)
    with pytest.raises(ValueError, match=f"^sample_weight has 1 masked entries, {wanted}"):
        loss(outputs, targets, np.ma.masked_equal(WEIGHTS, 2.5))
    with pytest.raises(ValueError, match=f"^outputs has .* masked entries, {wanted}"):
        loss(np.ma.masked_greater(outputs, 1), targets)


def test_get():
    assert losses.get("softmax_cross_entropy") is losses.softmax_cross_entropy
    assert losses.get("mean_squared_error") is losses.mean_squared_error
    assert losses.get("binary_cross_entropy") is losses.binary_cross_entropy
    assert losses.get("distillation") is losses.distillation
    assert losses.get(naive_mean) is naive_mean
    with pytest.raises(ValueError, match="loss.*'hinge'.*'softmax_cross_entropy'"):
        losses.get("hinge")


def test_names_of_losses():
    partial = functools.partial(functools.partial(losses.distillation, weight=0.5), temperature=2)
    assert losses.object_of(partial).name == losses.object_of("distillation").name == "distillation"
    assert losses.object_of(naive_mean).name == "naive_mean"
    assert losses.object_of(type("Loss", (), {"__call__": naive_mean})()).name == ""


def test_probabilities_of_several_labels_are_by_themselves() -> None:
    logits = np.array([[0.0, 2.0, -3.0]])
    found = losses.class_probabilities(logits, "multilabel")
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-12)
    np.testing.assert_allclose(losses.class_probabilities(logits, "classification").sum(), 1, rtol=1e-12)


class Plain(losses.Loss):
    """Says nothing of itself but its value."""

    def __call__(self, outputs, targets, sample_weight=None):
        return 0.0, np.zeros_like(outputs)


def test_what_a_loss_does_not_say_of_itself():
    plain = Plain()
    assert (plain.name, plain.task, plain.scores, plain.dimensions) == ("", None, (), (1, 2))
    assert not (plain.classifies or plain.binary or plain.one_output) and plain.fused is None
    assert plain.task_with(1) is None and plain.misfit(0.0, 9.0, True, 1) == ""
    plain.check_column("rows", 2)
    assert losses.mean_squared_error.__name__ == "mean_squared_error"


def test_a_fused_body_goes_with_the_call_that_it_computes():
    base = losses.mean_squared_error
    same = type("Same", (type(base),), {"name": "same"})
    other = type("Other", (type(base),), {"__call__": Plain.__call__})
    both = type("Both", (type(base),), {"__call__": Plain.__call__, "fused": staticmethod(max)})
    assert same.fused is base.fused and other.fused is None and both.fused is max


@pytest.mark.parametrize("loss", [losses.mean_squared_error, losses.binary_cross_entropy])
def test_one_target_a_row_is_for_one_output(loss):
    loss.check_column("rows", 1)
    losses.softmax_cross_entropy.check_column("rows", 2)
    for outputs in (2, 3, math.inf):
        message = f"^rows has one target a row, and network has {outputs} outputs, wanted one$"
        with pytest.raises(ValueError, match=message):
            loss.check_column("rows", outputs)


def test_the_shapes_of_outputs_that_are_wanted():
    with pytest.raises(ValueError, match=r"shape \(2,\), wanted \(batch, features\), not empty$"):
        losses.softmax_cross_entropy(Z[0], [0, 1])
    with pytest.raises(ValueError, match=r"\(1, 3, 2\), wanted \(batch,\) or \(batch, features\), not"):
        losses.mean_squared_error(Z[None], Z[None])


@pytest.mark.parametrize(
    "weights, message",
    [([1.0, -0.5, 1.0], "is -0.5 in row 1"), ([1e308] * 3, "has the sum inf, wanted a positive one")],
)
def test_weights_that_cannot_be_averaged_with(weights, message):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=f"^sample_weight {message}"):
        losses.mean_squared_error(Z, Z, weights)


FUSED = {
    "softmax": (losses.softmax_cross_entropy, LOGITS, LABELS),
    "softmax, large": (losses.softmax_cross_entropy, LOGITS * 1e4, LABELS),
    "squares": (losses.mean_squared_error, LOGITS, ROWS),
    "binary": (losses.binary_cross_entropy, LOGITS, ROWS),
    "binary, column": (losses.binary_cross_entropy, COLUMN, (UNIT > 0.5)),
    "binary, far from 0": (losses.binary_cross_entropy, np.array([[0.0], [900.0], [-900.0]]), UNIT[:3]),
}


@pytest.mark.parametrize("case", FUSED)
def test_a_fused_body_as_it_stands_computes_the_loss(case):
    """Not compiled, and so in any installation."""
    loss, outputs, targets = FUSED[case]
    weights = np.array([1.0, 0.5, 2.5, 0.25, 1.0, 4.0])[: len(outputs)]
    ref, grad_ref = loss(outputs, targets, weights)
    grad = np.full_like(outputs, np.nan)
    columns = targets.astype(outputs.dtype).reshape(len(outputs), -1)
    total, good = loss.fused(outputs, columns, weights / weights.sum(), grad)
    assert good and total == pytest.approx(ref, rel=1e-12)
    np.testing.assert_allclose(grad, grad_ref, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "loss, wrong",
    [
        (losses.softmax_cross_entropy, (-1.0, 2.0, math.nan)),
        (losses.mean_squared_error, (math.inf, -math.inf, math.nan)),
        (losses.binary_cross_entropy, (-0.125, 1.125, math.nan)),
    ],
)
def test_a_fused_body_tells_good_targets_from_others(loss, wrong):
    columns = 1 if loss is losses.softmax_cross_entropy else 2
    for row in range(3):
        for value in (0.0, 1.0, *wrong):
            targets = np.zeros((3, columns))
            targets[row, 0] = value
            _, good = loss.fused(Z.copy(), targets, np.full(3, 1 / 3), np.zeros_like(Z))
            assert bool(good) is (value in (0, 1))


# ------------------------------------------------------------------ what others ask a loss about


def test_tasks_of_losses():
    binary = losses.binary_cross_entropy
    assert [binary.task_with(outputs) for outputs in (None, 1, 2, 3)] == [None, "binary", *["multilabel"] * 2]
    assert losses.softmax_cross_entropy.task_with(1) == losses.distillation.task_with(3) == "classification"
    assert losses.mean_squared_error.task_with(None) == "regression"


@pytest.mark.parametrize(
    "loss, low, high, whole, fits",
    [
        (losses.binary_cross_entropy, 0.0, 1.0, False, True),
        (losses.binary_cross_entropy, 0.25, 0.5, False, True),
        (losses.binary_cross_entropy, -0.25, 1.0, False, False),
        (losses.binary_cross_entropy, 0.0, 1.25, False, False),
        (losses.softmax_cross_entropy, 0.0, 2.0, True, True),
        (losses.softmax_cross_entropy, 1.0, 1.0, True, True),
        (losses.softmax_cross_entropy, 0.0, 2.0, False, False),
        (losses.softmax_cross_entropy, -1.0, 2.0, True, False),
        (losses.softmax_cross_entropy, 0.0, 3.0, True, False),
        (losses.mean_squared_error, -9.0, 9.0, False, True),
    ],
)
def test_which_targets_of_files_fit(loss, low, high, whole, fits):
    wanted = loss.misfit(low, high, whole, 3)
    texts = ("labels, whole numbers from 0 to less than 3", "numbers from 0 to 1")
    assert wanted == ("" if fits else texts[loss is losses.binary_cross_entropy])


def test_labels_of_targets():
    column = np.array([0, 0.25, 0.5, 0.75, 1])
    assert losses.binary_cross_entropy.labels(column).tolist() == [0, 0, 0, 1, 1]
    assert losses.binary_cross_entropy.labels(np.array([[0, 1], [1, 0]])).tolist() == [0, 1, 1, 0]
    assert losses.softmax_cross_entropy.labels(LABELS).tolist() == LABELS.tolist()
    rows = np.array([[0.25, 0.5, 0.25], [0.75, 0.25, 0.0]])
    assert losses.softmax_cross_entropy.labels(rows).tolist() == [1, 0]
    labels = losses.distillation.labels(np.array([[1.0, 9, 0], [0, 0, 9]]))
    assert labels.tolist() == [1, 0] and labels.dtype == np.intp


def test_targets_as_losses_take_them():
    softmax = losses.softmax_cross_entropy
    assert softmax.prepare(np.array([0, 2], np.uint8)).dtype == np.int64
    assert softmax.prepare(ROWS) is ROWS and losses.mean_squared_error.prepare(ROWS) is ROWS
    with pytest.raises(ValueError, match="^loss is 'distillation' and rows has no outputs of a teacher"):
        losses.distillation.check_column("rows", 3)


def test_probabilities_of_classes():
    logits = np.array([[0.0, 1.0, 3.0], [1e4, -1e4, 0.0]])
    powers = np.exp([[0.0, 1.0, 3.0]])
    ref = np.vstack([powers / powers.sum(), [[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(losses.class_probabilities(logits), ref, rtol=1e-12)
    one = losses.class_probabilities(np.array([[2.0], [0.0]]), "binary")
    np.testing.assert_allclose(one, [[1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))], [0.5, 0.5]], rtol=1e-12)
    two = losses.class_probabilities(np.array([[0.0, 0.0]]))
    assert two.tolist() == [[0.5, 0.5]]


def test_the_ends_of_what_distillation_takes():
    outputs, targets = CASES["distillation"][1:]
    for change in ({"temperature": 1e6}, {"weight": 0.0}, {"weight": 1.0}):
        assert math.isfinite(losses.distillation(outputs, targets, **change)[0])
    for change in ({"temperature": 1e6 + 0.5}, {"temperature": 0.0}, {"weight": 1.5}):
        with pytest.raises(ValueError, match=f"^{next(iter(change))} is "):
            losses.distillation(outputs, targets, **change)
    with pytest.raises(ValueError, match=r"^targets has shape \(3, 4\) .*, wanted \(3, 3\)"):
        losses.distillation(Z, np.zeros((3, 4)))


@pytest.mark.parametrize("label", [0.25, 0.75, 2.0, 3.0, -1.0])
def test_labels_beside_a_teacher_are_whole_and_in_range(label):
    targets = np.zeros((3, 3))
    targets[1, 0] = label
    message = f"^targets is {label} in row 1, wanted a label 0 <= label < 2$"
    with pytest.raises(ValueError, match=message):
        losses.distillation(Z, targets)


def test_every_output_of_a_teacher_is_looked_at():
    for place in (1, 2):
        targets = np.zeros((3, 3))
        targets[2, place] = np.inf
        with pytest.raises(ValueError, match="^the teacher's output in targets is inf in row 2"):
            losses.distillation(Z, targets)
    with pytest.raises(ValueError, match=r"^labels has shape \(4,\) \(int64\), wanted \(3,\) integers$"):
        losses.distillation_targets([0, 1, 1, 0], Z)
