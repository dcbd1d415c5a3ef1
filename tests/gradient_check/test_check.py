"""What is right passes, whatever it is made of; kinks are reported, NaN is wrong, nothing is touched."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import Dropout, HashedLinear, Linear, Network, ReLU, Sigmoid, Tanh, losses, mlp
from minihash.gradient_check import GradientError, check_gradients, heat_map
from minihash.layers import Layer
from minihash.testing import batches, layers, networks, randomize, seeds

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
RNG = np.random.default_rng(1)
X = RNG.uniform(0.2, 2, (3, 4)) * RNG.choice([-1, 1], (3, 4))


def dense(dtype=np.float64, outputs=3, kind=Linear):
    return randomize(kind(4, outputs, dtype=dtype), 1)


def square(x):
    return (x**2).sum(), 2 * x


def places(report, name="inputs"):
    return [offender.index for offender in report.offenders if offender.name == name]


# ------------------------------------------------------------------------------ right gradients


@both_dtypes
@given(data=st.data(), seed=seeds(), loss=st.sampled_from([None, *losses.LOSSES]))
def test_right_networks_pass(dtype, data, seed, loss):
    network = data.draw(networks(dtype=dtype))
    inputs = data.draw(batches(network))
    outputs = network.out_features
    if loss == "binary_cross_entropy":
        network, outputs = Network([*network.layers, Linear(outputs, 1, dtype=dtype)]), 1
    rng = np.random.default_rng(seed)
    targets = {
        None: None,
        "softmax_cross_entropy": rng.integers(0, outputs, len(inputs)),
        "mean_squared_error": rng.normal(size=(len(inputs), outputs)),
        "binary_cross_entropy": rng.uniform(size=len(inputs)),
        "distillation": losses.distillation_targets(
            rng.integers(0, outputs, len(inputs)), rng.normal(size=(len(inputs), outputs))
        ),
    }[loss]
    report = check_gradients(network, inputs, loss=loss, targets=targets, seed=seed)
    report.raise_for_errors()
    checked = [(array.name, array.precision) for array in report.arrays]
    precisions = ["float64", "float32"] if dtype == np.float32 else ["float64"]
    assert checked == [(name, p) for p in precisions for name in ("inputs", *network.params)]


@both_dtypes
@given(data=st.data(), seed=seeds())
def test_right_layers_pass_with_few_directions(dtype, data, seed):
    layer = data.draw(layers(dtype=dtype))
    report = check_gradients(layer, data.draw(batches(layer)), max_coordinates=5, directions=2, seed=seed)
    report.raise_for_errors()
    for array in report.arrays:
        directions = array.precision == "float64" and array.errors.size > 5
        assert array.checked == ("2 directions" if directions else "every place")
        assert array.worst <= 1 and np.isnan(array.errors).all() == directions


@pytest.mark.parametrize("seed", range(5))
def test_larger_networks_pass(seed):
    activation = ["relu", "tanh", "sigmoid"][seed % 3]
    network = randomize(mlp([20, 50, 30, 5], compression=0.3, activation=activation, seed=seed), seed)
    inputs = np.random.default_rng(seed).normal(size=(4, 20))
    check_gradients(network, inputs, max_coordinates=100, seed=seed).raise_for_errors()


@pytest.mark.parametrize("kind", [Tanh, Sigmoid])
@pytest.mark.parametrize("value", [5.0, 10.0, 20.0, 30.0, 300.0])
@both_dtypes
def test_saturated_units_pass(kind, value, dtype):
    # 1 − z² has lost all its digits there: the error is small beside 1, not beside the gradient.
    check_gradients(kind(dtype), [[value, -value]]).raise_for_errors()


@pytest.mark.parametrize("name", losses.LOSSES)
@both_dtypes
def test_losses_by_themselves(name, dtype):
    outputs = X[:, :1].astype(dtype) if name == "binary_cross_entropy" else X.astype(dtype)
    targets = {
        "softmax_cross_entropy": [0, 3, 1],
        "mean_squared_error": np.ones((3, 4)),
        "binary_cross_entropy": [0.0, 0.3, 1.0],
        "distillation": losses.distillation_targets([0, 3, 1], X[::-1]),
    }[name]
    weights = [1.0, 0.5, 2.0]
    loss = losses.LOSSES[name]
    report = check_gradients(lambda z: loss(z, targets, weights), outputs)
    report.raise_for_errors()
    assert len(report.arrays) == (2 if dtype == np.float32 else 1)
    wrong = check_gradients(lambda z: (loss(z, targets, weights)[0], 1.001 * loss(z, targets)[1]), outputs)
    assert not wrong.ok


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 2)])
@both_dtypes
def test_functions_of_arrays_of_any_shape(shape, dtype):
    inputs = np.full(shape, 0.7, dtype)
    check_gradients(square, inputs).raise_for_errors()
    report = check_gradients(lambda x: (square(x)[0], 2.002 * x), inputs)
    assert set(places(report)) == set(np.ndindex(shape))


def test_a_function_that_fills_one_buffer_again_and_again():
    buffer = np.zeros(3)

    def function(x):
        if not np.iscomplexobj(x):
            buffer[...] = 2 * x
        return (x**2).sum(), buffer

    check_gradients(function, [1.0, 2.0, 3.0]).raise_for_errors()


@pytest.mark.parametrize("shape", [(1, 4), (3, 1), (1, 1)])
@both_dtypes
def test_one_row_and_one_feature(shape, dtype):
    network = randomize(mlp([shape[1], 1, 2], num_buckets=1, dtype=dtype), 1)
    check_gradients(network, np.ones(shape)).raise_for_errors()


@pytest.mark.parametrize("max_coordinates", [1000, 0])
@both_dtypes
def test_gradients_that_are_zero_everywhere(max_coordinates, dtype):
    network = Network([dense(dtype), ReLU(dtype)])
    network.layers[0].params["weight"][...] = 0
    network.layers[0].params["bias"][...] = -1
    constant = lambda x: (0.0, np.zeros_like(x))  # noqa: E731
    for target in (network, ReLU(dtype), constant):
        report = check_gradients(target, -np.abs(X).astype(dtype), max_coordinates=max_coordinates)
        report.raise_for_errors()
        assert {array.status for array in report.arrays} == {"ok"}
        assert all(array.worst == 0 and array.resolution == 0 for array in report.arrays)


def test_a_gradient_that_should_be_zero_is_wrong_if_it_is_not():
    report = check_gradients(lambda x: (0.0, np.array([0.0, 1e-9])), [1.0, 2.0])
    assert places(report) == [(1,)]


@both_dtypes
def test_dropout_keeps_one_mask(dtype):
    layer = Dropout(0.5, seed=3, dtype=dtype)
    report = check_gradients(layer, np.ones((4, 5)))
    report.raise_for_errors()
    assert not report.kinks and report.arrays[0].method == "complex step"


class Noise(Tanh):
    """Multiplies by random factors."""

    def __init__(self, draw, **generators):
        super().__init__(np.float64)
        self.draw = draw
        vars(self).update(generators)

    def _forward(self, inputs, training):
        factors = np.array([self.draw(self) for _ in range(inputs.size)]).reshape(inputs.shape)
        return inputs * factors, factors

    def _backward(self, factors, grad_outputs, need_grad_inputs):
        return grad_outputs * factors


@pytest.mark.parametrize(
    "generator", [np.random.default_rng(1), np.random.RandomState(1), random.Random(1)], ids=type
)
def test_every_kind_of_random_generator_is_rewound(generator):
    layer = Noise(lambda self: self.generator.random(), generator=generator)
    check_gradients(layer, X).raise_for_errors()
    first = layer.forward(X)
    assert not np.array_equal(first, layer.forward(X))


@pytest.mark.parametrize("hold", [lambda rng: (rng,), lambda rng: [rng], lambda rng: {"a": rng}], ids=type)
def test_generators_in_containers_are_rewound(hold):
    def draw(layer):
        held = layer.held
        return (held["a"] if isinstance(held, dict) else held[0]).random()

    check_gradients(Noise(draw, held=hold(np.random.default_rng(1))), X).raise_for_errors()


def test_random_numbers_from_elsewhere_are_a_problem():
    rng = np.random.default_rng(1)
    report = check_gradients(Noise(lambda self: rng.random()), X)
    assert not report.ok and any("other outputs the second time" in problem for problem in report.problems)


# ------------------------------------------------------------------ forward passes not analytic


class Modulus(Layer):
    """|a|, by a function that drops the imaginary part; planted with a factor."""

    factor = 1.0

    def _forward(self, inputs, training):
        return np.abs(inputs), inputs

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        return self.factor * grad_outputs * np.sign(saved.real)


class RealOnly(Modulus):
    def _forward(self, inputs, training):
        return np.abs(inputs.real) + np.square(inputs.real), inputs

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        return self.factor * grad_outputs * (np.sign(saved.real) + 2 * saved.real)


def half_analytic(x):
    return (np.abs(x) + x**2).sum(), np.sign(x) + 2 * x


def raises_for_complex(x):
    if np.iscomplexobj(x):
        raise NotImplementedError("complex numbers")
    return (x**2).sum(), 2 * x


def compares(x):
    return float((x.real**2).sum()), 2 * x.real


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Modulus, RealOnly])
@pytest.mark.parametrize("max_coordinates", [1000, 5])
@both_dtypes
def test_a_layer_that_is_not_analytic(kind, max_coordinates, dtype):
    for build in (kind, lambda dtype: Network([dense(dtype, 4), kind(dtype), dense(dtype)])):
        module = build(dtype)
        report = check_gradients(module, X, max_coordinates=max_coordinates)
        report.raise_for_errors()
        methods = {array.method for array in report.arrays if array.precision == "float64"}
        assert methods == {"differences"}
        for layer in [module, *getattr(module, "layers", [])]:
            layer.factor = 1.001
        report = check_gradients(module, X, max_coordinates=max_coordinates)
        assert "inputs" in {offender.name for offender in report.offenders}


@pytest.mark.parametrize("function", [half_analytic, raises_for_complex, compares])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_function_that_is_not_analytic(function, size):
    inputs = np.random.default_rng(0).uniform(0.5, 2, size)
    for seed in range(6):
        report = check_gradients(function, inputs, seed=seed)
        report.raise_for_errors()
        assert report.arrays[0].method == "differences"
        wrong = check_gradients(
            lambda x: (function(x)[0], function(x)[1] * [1.001, *[1] * (size - 1)]), inputs, seed=seed
        )
        assert places(wrong) == [(0,)]


def test_a_kink_does_not_hide_that_a_function_is_not_analytic():
    for seed in range(6):
        report = check_gradients(half_analytic, [0.0, 1.0, -2.0], seed=seed)
        report.raise_for_errors()
        assert report.kinks == {"inputs": [(0,)]}


def test_differences_see_a_wrong_gradient_at_a_small_number_among_large_ones():
    # Steps relative to 1e-12 itself would drown in rounding.
    def function(x):
        return half_analytic(x)[0], half_analytic(x)[1] * [2, 1]

    assert places(check_gradients(function, [1e-12, 1.0])) == [(0,)]


# ---------------------------------------------------------------------------------------- kinks


class Slope(ReLU):
    """ReLU with another slope at exactly 0."""

    at_zero = 0.0

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        slope = np.where(self._inputs.real == 0, self.at_zero, self._inputs.real > 0)
        return grad_outputs * slope.astype(grad_outputs.dtype)

    def _forward(self, inputs, training):
        self._inputs = inputs
        return super()._forward(inputs, training)


@both_dtypes
def test_relu_at_zero_is_a_kink_and_not_an_error(dtype):
    inputs = np.array([[0.0, 1.0, -1.0], [2.0, -0.0, 3.0]])
    report = check_gradients(ReLU(dtype), inputs)
    report.raise_for_errors()
    assert report.kinks == {"inputs": [(0, 0), (1, 1)]}
    assert report.arrays[0].status == "kink" and "kink in inputs" in str(report)
    assert "(0, 0), (1, 1)" in str(report)
    assert check_gradients(ReLU(dtype), inputs + 4).kinks == {}


def test_a_kink_in_a_large_array_is_reported_without_its_place():
    report = check_gradients(ReLU(np.float64), [[0.0, 1.0, -1.0]], max_coordinates=0)
    report.raise_for_errors()
    assert report.kinks == {"inputs": []} and "somewhere" in str(report)


@both_dtypes
def test_a_kink_inside_a_network(dtype):
    network = Network([dense(dtype), ReLU(dtype), dense(dtype, kind=lambda *a, **k: Linear(3, 2, **k))])
    first = network.layers[0]
    first.params["weight"][1] = [1, 1, -1, -1]
    first.params["bias"][1] = 0
    inputs = X.copy()
    inputs[0] = [0.5, 0.25, 0.5, 0.25]  # unit 1 is at 0
    report = check_gradients(network, inputs)
    report.raise_for_errors()
    assert report.kinks["0.bias"] == [(1,)]
    assert report.kinks["0.weight"] == [(1, j) for j in range(4)]
    assert report.kinks["inputs"] == [(0, j) for j in range(4)]
    assert report.kinks.keys() == {"inputs", "0.weight", "0.bias"}


@pytest.mark.parametrize("slope, right", [(0, True), (0.5, True), (1, True), (1.01, False), (-0.01, False)])
@pytest.mark.parametrize("max_coordinates", [1000, 0])
def test_a_gradient_at_a_kink_lies_between_the_slopes_of_the_two_sides(slope, right, max_coordinates):
    layer = Slope(np.float64)
    layer.at_zero = slope
    report = check_gradients(layer, [[1.0, 0.0, -1.0]], max_coordinates=max_coordinates)
    assert report.ok == right
    assert places(report) == [] if right else [(0, 1)]


@pytest.mark.parametrize("slope, right", [(0, True), (0.9, True), (-1, True), (1.01, False), (-2, False)])
def test_the_absolute_value_at_zero(slope, right):
    def function(x):
        return np.abs(x).sum(), np.where(x == 0, slope, np.sign(x))

    report = check_gradients(function, [1.0, 0.0, -2.0])
    assert places(report) == ([] if right else [(1,)])
    assert report.kinks == {"inputs": [(1,)]}


def test_the_derivative_by_branches_is_right_where_kinks_meet():
    # relu(x) − 3 relu(−x) has slopes 1 and 3 at 0, and 0 by the branches that every framework takes.
    network = Network([Linear(1, 2, bias=False, dtype=np.float64), ReLU(np.float64)])
    network.layers.append(Linear(2, 1, bias=False, seed=1, dtype=np.float64))
    network.layers[0].weight, network.layers[2].weight = [[1], [-1]], [[1, -3]]
    report = check_gradients(network, [[0.0]])
    report.raise_for_errors()
    assert report.kinks == {"inputs": [(0, 0)]}


def test_a_kink_excuses_no_other_place():
    def function(x):
        return np.abs(x).sum(), np.sign(x) * [1, 1.001, 1]

    assert places(check_gradients(function, [0.0, 1.0, -2.0])) == [(1,)]


@pytest.mark.slow
def test_float32_on_the_other_side_of_a_kink_is_not_wrong():
    # Sums that are 0 but for rounding: float32 and float64 take different branches.
    network = Network([Linear(4, 1, bias=False), ReLU()])
    for seed in range(60):
        rng = np.random.default_rng(seed)
        weight, inputs = rng.uniform(-1, 1, (2, 1, 4)).astype(np.float32)
        weight[0, -1], inputs[0, -1] = -(weight[0, :-1] @ inputs[0, :-1]), 1
        network.layers[0].weight = weight
        check_gradients(network, inputs).raise_for_errors()


@pytest.mark.parametrize("bad", [np.nan, 1e6])
def test_float32_is_held_to_the_slopes_at_a_kink(bad):
    class Spoiled(ReLU):
        def _backward(self, *arguments):
            grad_inputs = super()._backward(*arguments)
            if self.dtype == np.float32:
                grad_inputs[0, 0] = bad
            return grad_inputs

    report = check_gradients(Spoiled(), [[0.0, 1.0, -1.0]])
    assert places(report) == [(0, 0)] and report.kinks
    assert report.arrays[1].status == "WRONG" and not report.arrays[1].worst <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_kink_along_every_direction_does_not_hide_what_is_not_analytic(seed):
    report = check_gradients(lambda x: ((np.abs(x) + x**2).sum(), 2 * x), [0.0, 1.0, -2.0], seed=seed)
    assert sorted(places(report)) == [(1,), (2,)]
    assert report.arrays[0].method == "differences"


@pytest.mark.parametrize("seed", range(5))
def test_a_unit_exactly_at_its_kink_leaves_a_network_analytic(seed):
    network = Network([dense(), ReLU(np.float64)])
    network.layers[0].params["bias"][...] = 0
    report = check_gradients(network, 0 * X, seed=seed)
    report.raise_for_errors()
    assert {array.method for array in report.arrays} == {"complex step"}


def fast(function, derivative):
    return lambda x: (function(x).sum(), derivative(x))


def bump(x):
    return np.exp(-(((x - 1000) / 0.01) ** 2))


@pytest.mark.parametrize(
    "function, inputs",
    [
        (fast(np.sin, np.cos), [1e6, 1e6 + 1]),
        (fast(lambda x: np.sin(x.real), np.cos), [1e6, 1e6 + 1]),
        (fast(bump, lambda x: -2e4 * (x - 1000) * bump(x)), [1000.005]),
        (fast(lambda x: bump(x.real), lambda x: -2e4 * (x - 1000) * bump(x)), [1000.005]),
        (fast(lambda x: np.tanh(x - 1e5), lambda x: 1 - np.tanh(x - 1e5) ** 2), [1e5, 1e5 + 0.3]),
        (fast(lambda x: np.tanh(x.real - 1e5), lambda x: 1 - np.tanh(x - 1e5) ** 2), [1e5, 1e5 + 0.3]),
    ],
)
def test_functions_that_vary_faster_than_the_first_step(function, inputs):
    report = check_gradients(function, inputs)
    report.raise_for_errors()
    assert not report.kinks and report.arrays[0].status == "ok"


# ----------------------------------------------------------------------------- layers of layers


class Residual(Layer):
    """a + dropout(inner(a)), its parameters those of `inner`."""

    def __init__(self, features, dtype):
        super().__init__(dtype)
        self.inner = randomize(Linear(features, features, dtype=dtype), 1)
        self.others = [Dropout(0.5, dtype=dtype)]
        self.params, self.grads = self.inner.params, self.inner.grads
        self.in_features = self.out_features = features

    def _forward(self, inputs, training):
        return inputs + self.others[0].forward(self.inner.forward(inputs, training), training), None

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        below = self.inner.backward(self.others[0].backward(grad_outputs), need_grad_inputs)
        return grad_outputs + below if need_grad_inputs else None


@both_dtypes
def test_layers_that_hold_layers(dtype):
    report = check_gradients(Residual(4, dtype), X)
    report.raise_for_errors()
    assert report.arrays[0].method == "complex step"


class Views(Residual):
    """Its parameters and gradients are views of those of `inner`, in other shapes."""

    def __init__(self, features, dtype):
        super().__init__(features, dtype)
        inner, half = self.inner, features // 2
        for own, theirs in ((self.params, inner.params), (self.grads, inner.grads)):
            weight, bias = theirs["weight"], theirs["bias"]
            views = {"even": weight[::2], "odd": weight.T[:, 1::2], "low": bias[:half], "high": bias[half:]}
            setattr(self, "params" if own is self.params else "grads", views)


@both_dtypes
def test_parameters_that_are_views_of_an_inner_layer(dtype):
    layer = Views(4, dtype)
    before = {name: array.copy() for name, array in layer.inner.params.items()}
    report = check_gradients(layer, X)
    report.raise_for_errors()
    assert {array.name for array in report.arrays} == {"inputs", "even", "odd", "low", "high"}
    assert all(np.array_equal(layer.inner.params[name], before[name]) for name in before)
    layer.grads["low"], layer.grads["high"] = layer.grads["high"], layer.grads["low"]
    assert {offender.name for offender in check_gradients(layer, X).offenders} == {"low", "high"}


# ------------------------------------------------------------------------------ values and calls


def test_outputs_that_are_wrong_in_float32_only():
    class Wrong(Linear):
        def _forward(self, inputs, training):
            outputs, saved = super()._forward(inputs, training)
            return outputs * outputs.dtype.type(1.001 if outputs.dtype == np.float32 else 1), saved

    report = check_gradients(dense(np.float32, kind=Wrong), X)
    assert {offender.name for offender in report.offenders} == {"outputs"} and not report.ok
    assert "\noutputs   3x3" in str(report)
    assert check_gradients(dense(np.float32), X).outputs.status == "ok"


def test_the_backward_of_the_first_layer_of_training_is_run():
    class Wrong(Linear):
        def _backward(self, saved, grad_outputs, need_grad_inputs):
            grad_inputs = super()._backward(saved, grad_outputs, need_grad_inputs)
            self.grads["bias"] *= 1 if need_grad_inputs else 1.001
            return grad_outputs @ self.params["weight"] if grad_inputs is None else grad_inputs

    problems = check_gradients(dense(kind=Wrong), X).problems
    assert any("need_grad_inputs=False) gives the gradient of bias" in problem for problem in problems)
    assert any("returns a ndarray, wanted None" in problem for problem in problems)
    assert len(problems) == 2


def test_functions_that_accumulate_or_are_random():
    buffer, rng = np.zeros(2), np.random.default_rng(1)

    def accumulates(x):
        if not np.iscomplexobj(x):
            buffer[...] += 2 * x
        return (x**2).sum(), buffer

    assert any("gradient of the function" in p for p in check_gradients(accumulates, [1.0, 2.0]).problems)
    report = check_gradients(lambda x: (rng.random(), np.zeros(2)), [1.0, 2.0])
    assert any("value of the function" in problem for problem in report.problems)


def test_outputs_that_are_read_only():
    class ReadOnly(Tanh):
        def _forward(self, inputs, training):
            outputs, saved = super()._forward(inputs, training)
            return np.broadcast_to(outputs, outputs.shape), saved

    check_gradients(ReadOnly(np.float64), X).raise_for_errors()


def test_a_parameter_of_no_numbers():
    layer = dense()
    layer.params["none"], layer.grads["none"] = np.zeros(0), np.zeros(0)
    check_gradients(layer, X).raise_for_errors()


class OneDimensional(Tanh):
    def _forward(self, inputs, training):
        return inputs.sum(axis=1), inputs


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"target": lambda x: (None, x)}, "function"),
        ({"target": lambda x: ("1", x)}, "function"),
        ({"target": lambda x: (x.sum(), x.astype(object))}, "function"),
        ({"target": OneDimensional()}, "forward"),
        *(
            ({"target": dense(), "targets": X, "loss": lambda z, t, found=found: found}, "loss")
            for found in ((X, X), 3.0, (1.0, None), (1.0, [1.0]), (None, X[:, :3]))
        ),
    ],
)
def test_what_is_no_value_or_gradient_is_refused_in_a_line(arguments, name):
    with pytest.raises(ValueError, match=rf"^{name} (returned|failed)[^\n]*$"):
        check_gradients(inputs=X, **arguments)


# ---------------------------------------------------------------------------- NaN and infinity

not_finite = pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])


def spoiled(bad, place=2):
    def function(x):
        gradient = 2 * x
        gradient[place] = bad
        return (x**2).sum(), gradient

    return function


@not_finite
@pytest.mark.parametrize("max_coordinates", [1000, 0])
def test_a_gradient_that_is_not_finite_is_wrong_where_it_is(bad, max_coordinates):
    report = check_gradients(spoiled(bad), np.arange(1.0, 6), max_coordinates=max_coordinates)
    assert places(report) == [(2,)]
    assert not report.ok and report.arrays[0].status == "WRONG"
    with pytest.raises(GradientError, match=r"inputs\[2\]: claimed -?(nan|inf), expected 6"):
        report.raise_for_errors()


@not_finite
@both_dtypes
def test_a_layer_whose_gradient_is_not_finite_is_wrong(bad, dtype):
    class Spoiled(HashedLinear):
        def _backward(self, *arguments):
            grad_inputs = super()._backward(*arguments)
            self.grads["weight"][3] = bad
            return grad_inputs

    report = check_gradients(randomize(Spoiled(4, 3, num_buckets=6, dtype=dtype), 1), X)
    assert {offender.index for offender in report.offenders} == {(3,)}
    assert {offender.name for offender in report.offenders} == {"weight"}


def test_nan_in_float32_only_is_wrong():
    class Spoiled(Linear):
        def _backward(self, *arguments):
            grad_inputs = super()._backward(*arguments)
            if self.dtype == np.float32:
                self.grads["bias"][1] = np.nan
            return grad_inputs

    report = check_gradients(randomize(Spoiled(4, 3), 1), X)
    assert places(report, "bias") == [(1,)] and len(report.offenders) == 1


@not_finite
def test_values_that_are_not_finite_do_not_pass(bad):
    for gradient in (1.0, bad):
        with np.errstate(invalid="ignore"):
            report = check_gradients(lambda x: (x.sum() * bad, np.full_like(x, gradient)), [1.0, 2.0])
        assert not report.ok and "gradient check: " in str(report)


def test_nan_in_the_inputs_does_not_pass_nor_count_as_changed():
    report = check_gradients(Tanh(np.float64), [[np.nan, 1.0]])
    assert (0, 0) in places(report) and report.problems == []


# ------------------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    "change, name",
    [
        *(({"target": value}, "target") for value in (5, None, "relu", Tanh)),
        *(({"inputs": value}, "inputs") for value in (None, [["a"] * 4], [[1j] * 4], [[None] * 4])),
        *(({"inputs": value}, "inputs") for value in (X[0], X[:, 1:], X[:0])),
        ({"loss": "hinge"}, "loss"),
        ({"loss": 3}, "loss"),
        ({"targets": [1, 2, 3]}, "loss|targets"),  # for no loss
        ({"loss": "mean_squared_error"}, "targets"),
        ({"loss": "mean_squared_error", "targets": X}, "targets"),
        ({"target": square, "loss": "mean_squared_error"}, "loss"),
        ({"target": square, "targets": X}, "targets"),
        ({"target": square, "inputs": np.zeros((0, 4))}, "inputs"),
        ({"target": square, "inputs": ["a"]}, "inputs"),
        ({"target": square, "inputs": [1j]}, "inputs"),
        ({"target": lambda x: x.sum()}, "target|function"),
        ({"target": lambda x: (x, x)}, "target|function"),
        ({"target": lambda x: (x.sum(), x[:1])}, "target|function"),
        ({"target": lambda x: (x.sum(), None)}, "target|function"),
        *(({"max_coordinates": value}, "max_coordinates") for value in (-1, 1.5, None)),
        *(({"directions": value}, "directions") for value in (0, -1, 2.5, "8")),
        *(({"seed": value}, "seed") for value in (-1, 2**32, 0.5, None)),
    ],
)
def test_refuses(change, name):
    arguments = {"target": dense(), "inputs": X} | change
    with pytest.raises(ValueError, match=rf"^({name})\b"):
        check_gradients(arguments.pop("target"), arguments.pop("inputs"), **arguments)


def forgets_the_bias(layer, grad_inputs):
    del layer.grads["bias"]
    return grad_inputs


def invents_another(layer, grad_inputs):
    layer.grads["other"] = np.zeros(2)
    return grad_inputs


def makes_the_bias_a_row(layer, grad_inputs):
    layer.grads["bias"] = np.ones((1, 3))
    return grad_inputs


@pytest.mark.parametrize(
    "damage, name",
    [
        (forgets_the_bias, "bias"),
        (invents_another, "other"),
        (makes_the_bias_a_row, "bias"),
        (lambda layer, grad_inputs: grad_inputs.sum(axis=0), "inputs"),
        (lambda layer, grad_inputs: grad_inputs[:1], "inputs"),
        (lambda layer, grad_inputs: None, "inputs"),
    ],
)
def test_gradients_that_are_missing_or_of_another_shape_are_told_by_name(damage, name):
    class Damaged(Linear):
        def _backward(self, saved, grad_outputs, need_grad_inputs):
            self.grads.clear()
            self.grads.update(weight=grad_outputs.T @ saved, bias=grad_outputs.sum(axis=0))
            return damage(self, grad_outputs @ self.params["weight"])

    with pytest.raises((ValueError, GradientError), match=rf"\b{name}\b.*(shape|missing|no |None|unknown)"):
        check_gradients(dense(kind=Damaged), X).raise_for_errors()


# -------------------------------------------------------------------------- what is left behind


@both_dtypes
def test_the_module_is_left_as_it_was(dtype):
    network = randomize(mlp([4, 5, 3], compression=0.5, dropout=(0.2, 0.5), dtype=dtype), 1)
    network.forward(X, training=True)
    network.backward(np.ones((3, 3)))
    twin = copy.deepcopy(network)
    arrays = {**network.params, **{f"grad {name}": grad for name, grad in network.grads.items()}}
    kept, before, inputs = {name: a.copy() for name, a in arrays.items()}, np.random.get_state(), X.copy()
    inputs.flags.writeable = False
    check_gradients(network, inputs, loss="softmax_cross_entropy", targets=[0, 1, 2]).raise_for_errors()
    for name, array in {**network.params, **{f"grad {n}": g for n, g in network.grads.items()}}.items():
        assert array is arrays[name] and array.tobytes() == kept[name].tobytes()
    assert network.dtype == dtype and {layer.dtype for layer in network.layers} == {np.dtype(dtype)}
    after = np.random.get_state()
    assert np.array_equal(before[1], after[1]) and before[2:] == after[2:]
    # What backward needs of the forward before, and the state of the dropout.
    for module in (network, twin):
        module.backward(2 * np.ones((3, 3)))
    for comp, ref in zip(network.grads.values(), twin.grads.values()):
        np.testing.assert_array_equal(comp, ref)
    np.testing.assert_array_equal(network.forward(X, training=True), twin.forward(X, training=True))


@pytest.mark.parametrize("max_coordinates", [1000, 0])
def test_the_seed_decides_everything(max_coordinates):
    network = randomize(mlp([4, 5, 3], compression=0.5, dropout=0.5, dtype=np.float32), 1)
    first, same, other = (
        str(check_gradients(network, X, seed=seed, max_coordinates=max_coordinates)) for seed in (1, 1, 2)
    )
    assert first == same != other


class KeepsItsWeight(Linear):
    """A layer of a user's, that also keeps its weight in an attribute."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.W = self.params["weight"]

    def _forward(self, inputs, training):
        return inputs @ self.W.T + self.params["bias"], inputs


@both_dtypes
def test_a_layer_that_keeps_its_weight_in_an_attribute_too(dtype):
    check_gradients(dense(dtype, kind=KeepsItsWeight), X).raise_for_errors()


# --------------------------------------------------------------------------- report and picture


@both_dtypes
def test_the_report_is_a_table_of_the_arrays(dtype):
    network = randomize(mlp([4, 5, 3], num_buckets=[7, 6], bias="free", dtype=dtype), 1)
    verdict, header, line, *rows = str(check_gradients(network, X, max_coordinates=10)).splitlines()
    assert verdict == "gradient check: ok"
    assert header.split() == "gradient shape precision method checked error/tol. resolution".split()
    assert set(line) == {"-"}
    shapes = ("inputs 3x4", "0.weight 7", "0.bias 5", "2.weight 6", "2.bias 3")
    names = [f"{array} float64" for array in shapes]
    if dtype == np.float32:
        names += [f"{array} float32" for array in shapes]
    assert [" ".join(row.split()[:3]) for row in rows] == names
    assert "8 directions" in rows[0] and "every place" in rows[1]
    assert all(row.endswith(" ok") for row in rows)


def test_the_worst_offender_comes_first():
    report = check_gradients(
        lambda x: (x.sum(), 1 + np.array([1e-6, 0, 1e-3, 1e-4])), np.array([1.0, 2, 3, 4])
    )
    assert places(report) == [(2,), (3,), (0,)]
    text = str(report)
    assert text.startswith("gradient check: 3 wrong\n")
    assert "inputs[2]: claimed 1.001, expected 1 (off by 0.001, tolerance " in text
    assert text.index("inputs[2]") < text.index("inputs[3]") < text.index("inputs[0]")


def test_many_offenders_are_cut_short():
    text = str(check_gradients(lambda x: (x.sum(), 0 * x), np.ones(30)))
    assert text.startswith("gradient check: 30 wrong\n") and text.endswith("\n... and 22 more")
    assert text.count("claimed") == 8


def test_more_offenders_than_are_looked_for():
    report = check_gradients(lambda x: (x.sum(), 0 * x), np.ones(50))
    assert str(report).startswith("gradient check: at least 32 wrong (stopped looking)\n")
    assert report.arrays[0].checked == "32 places" and np.isnan(report.arrays[0].errors[32:]).all()


def test_nan_is_the_worst_offender():
    report = check_gradients(lambda x: (x.sum(), np.array([3.0, np.nan, 2.0])), np.ones(3))
    assert places(report) == [(1,), (0,), (2,)]


def test_what_is_inconclusive_is_told_in_the_verdict():
    report = check_gradients(lambda x: (1e14 + x.real.sum(), np.ones(2)), [1.0, 2.0])
    assert report.arrays[0].status == "inconclusive"
    verdict = str(report).splitlines()[0]
    assert verdict.startswith("gradient check: ok, 1 array inconclusive: rounding hides") and "try" in verdict


def test_a_value_that_no_difference_can_be_taken_of_is_wrong():
    report = check_gradients(lambda x: (float(np.where(x.real == 1, 1.0, np.inf)[0]), np.ones(1)), [1.0])
    assert report.arrays[0].status == "WRONG" and report.arrays[0].tolerances == np.inf


def test_a_huge_tolerance_is_inconclusive():
    report = check_gradients(lambda x: (np.exp(1e9 * (x.real - 1)).sum(), np.ones(1)), [1.0])
    assert report.arrays[0].status == "inconclusive" and report.ok


def test_huge_gradients_do_not_overflow():
    report = check_gradients(lambda x: (1e200 * x.sum(), np.full_like(x, 1e200)), [1.0, 2.0])
    assert report.arrays[0].status == "ok" and 0 < report.arrays[0].resolution < 1e-6
    assert not check_gradients(lambda x: (1e200 * x.sum(), np.full_like(x, 1.001e200)), [1.0, 2.0]).ok


@pytest.mark.parametrize("wrong", [False, True])
def test_heat_map(wrong, tmp_path):
    target = spoiled(3.0) if wrong else dense(np.float32)
    report = check_gradients(target, np.arange(1.0, 6) if wrong else X)
    heat_map(report, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    heat_map(check_gradients(dense(), X, max_coordinates=0), tmp_path / "map.svg")
    assert b"<svg" in (tmp_path / "map.svg").read_bytes()
    with pytest.raises(ValueError, match="wanted png, svg or pdf"):
        heat_map(report, tmp_path / "map.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.png", "map.svg"]


def test_only_the_heat_map_needs_matplotlib(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import numpy as np\n"
        "from minihash import Tanh\n"
        "from minihash.gradient_check import check_gradients, heat_map\n"
        "report = check_gradients(Tanh(), np.ones((2, 3)))\n"
        "report.raise_for_errors()\n"
        "try:\n"
        "    heat_map(report, sys.argv[1])\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "map.png")]
    found = subprocess.run(argv, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("plots need matplotlib: pip install") and found.stdout.count("\n") == 1
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------- size


def processor_time(network, rows=4):
    inputs = np.random.default_rng(0).normal(size=(rows, network.in_features))
    check_gradients(network, inputs[:1], max_coordinates=0, directions=1)  # compiles
    start = time.process_time()
    check_gradients(network, inputs).raise_for_errors()
    return time.process_time() - start


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_hundred_thousand_virtual_weights_take_under_ten_seconds(dtype):
    network = mlp([300, 330, 10], compression=1 / 100, seed=1, dtype=dtype)
    assert network.num_virtual > 100_000
    assert max(array.size for array in network.params.values()) < 1000  # all places are checked
    assert processor_time(network) < 10


@pytest.mark.slow
def test_the_network_of_the_paper_is_checked_in_seconds():
    network = mlp([784, 1000, 10], compression=1 / 64, seed=1)
    assert network.num_virtual == 795_010
    assert processor_time(network) < 30
