"""minihash.testing itself: strategies vary, laws fail where they are broken, the machine finds bugs."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.paper import strategies  # noqa: F401, which draw the two
from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import (
    Dropout,
    HashedLinear,
    Linear,
    Network,
    ReLU,
    Sigmoid,
    Tanh,
    persistence,
    testing,
)
from minihash.hashing import LIMIT_SEED
from minihash.layers.registry import activations
from minihash.maps import BucketMap

KINDS = (HashedLinear, Linear, LowRankLinear, SparseLinear, ReLU, Tanh, Sigmoid, Dropout)
BIASES = ("hashed", "free", "none")
LAWS = {
    "adjoint": lambda layer, a, d: testing.assert_adjoint(layer, a),
    "linear": lambda layer, a, d: testing.assert_linear_in_weights(layer, a),
    "sum": testing.assert_sum_over_bucket,
    "map": lambda layer, a, d: testing.assert_map_is_a_function(layer),
    "mutate": testing.assert_does_not_mutate,
}


def make(kind=HashedLinear, dtype=np.float64, integers=False, **arguments):
    """A layer 4 -> 3, its inputs and its grad_outputs."""
    arguments = {"num_buckets": 6, "seed": 7} | arguments
    layer = testing.randomize(kind(4, 3, dtype=dtype, **arguments), 1, integers)
    rng = np.random.default_rng(2)
    draw = (lambda shape: rng.integers(-5, 5, shape)) if integers else (lambda shape: rng.normal(size=shape))
    return layer, draw((5, 4)).astype(dtype), draw((5, 3)).astype(dtype)


# ----------------------------------------------------------------------------------- strategies

QUICK = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


SUBCLASSES = [type(f"My{kind.__name__}", (kind,), {}) for kind in (HashedLinear, Linear, Dropout)]


@pytest.mark.parametrize("kind", [*KINDS, *SUBCLASSES])
def test_layers_are_of_the_kinds_asked_for(kind):
    @settings(max_examples=10)
    @given(testing.layers(kinds=(kind,), dtype=np.float32, max_features=3))
    def look(layer):
        assert type(layer) is kind and layer.dtype == np.float32
        assert (layer.in_features or 1) <= 3 and (layer.out_features or 1) <= 3

    look()


def test_layers_are_of_every_kind():
    conditions = {kind.__name__: lambda layer, kind=kind: type(layer) is kind for kind in KINDS}
    assert_all_are_met(testing.layers(), conditions)


@given(testing.layers())
def test_layers_have_parameters_of_order_one(layer):
    assert layer.dtype == np.float64
    for array in layer.params.values():
        assert array.dtype == np.float64 and (0.2 <= abs(array)).all() and (abs(array) <= 1).all()


def assert_all_are_met(strategy, conditions):
    """Every condition holds for one of a few hundred examples."""
    missing = dict(conditions)

    @settings(QUICK, max_examples=500, phases=[Phase.generate])
    @given(strategy)
    def look(example):
        for name in [name for name, condition in missing.items() if condition(example)]:
            del missing[name]

    look()
    assert not missing


def test_hashed_layers_vary():
    conditions = {bias: lambda layer, bias=bias: layer.bias == bias for bias in BIASES} | {
        "one bucket": lambda layer: layer.num_buckets == 1 and layer.out_features > 1,
        "all buckets": lambda layer: layer.num_buckets == layer.num_virtual > 1,
        "one input": lambda layer: layer.in_features == 1 and layer.out_features > 2,
        "one output": lambda layer: layer.out_features == 1 and layer.in_features > 2,
        "signed": lambda layer: layer.signed,
        "unsigned": lambda layer: not layer.signed,
        "single weights": lambda layer: layer.tile == 1 < layer.columns,
        "tiles": lambda layer: 1 < layer.tile < min(layer.columns, layer.num_buckets),
        "few tiles": lambda layer: 1 < layer.bucket_map.tiles < layer.out_features < layer.num_buckets,
        "one segment": lambda layer: layer.tile == layer.columns > 2,
        "one tile": lambda layer: layer.tile == layer.num_buckets > 2,
        "weights of both signs": lambda layer: (layer.weight < 0).any() and (layer.weight > 0).any(),
        "a bias that is not 0": lambda layer: layer.bias == "free" and layer.params["bias"].all(),
    }
    assert_all_are_met(testing.layers(kinds=(HashedLinear,)), conditions)


def hashed(network):
    return [layer for layer in network.layers if isinstance(layer, HashedLinear)]


def has(kind):
    return lambda network: any(isinstance(layer, kind) for layer in network.layers)


def test_networks_vary():
    kinds = (*activations().values(), Dropout, HashedLinear, Linear)
    conditions = {kind.__name__: has(kind) for kind in kinds}
    conditions |= {
        bias: lambda network, bias=bias: any(layer.bias == bias for layer in hashed(network))
        for bias in BIASES
    }
    conditions |= {
        "several layers": lambda network: len(network.params) >= 3,
        "one layer": lambda network: len(network.layers) == 1,
        "scaled inputs": lambda network: network.input_scale != 1,
        "unsigned": lambda network: any(not layer.signed for layer in hashed(network)),
        "single weights": lambda network: any(layer.tile == 1 < layer.columns for layer in hashed(network)),
        "tiles": lambda network: any(layer.tile > 1 for layer in hashed(network)),
        "one bucket": lambda network: any(layer.num_buckets == 1 for layer in hashed(network)),
    }
    assert_all_are_met(testing.networks(), conditions)


@settings(max_examples=20)
@given(testing.networks(max_layers=2, max_features=3, dropout=False, dtype=np.float32))
def test_networks_are_as_asked_for(network):
    assert isinstance(network, Network) and network.dtype == np.float32
    assert not any(isinstance(layer, Dropout) for layer in network.layers)
    assert sum(isinstance(layer, (Linear, HashedLinear)) for layer in network.layers) <= 2
    assert network.in_features <= 3 and network.out_features <= 3
    for array in network.params.values():
        assert array.dtype == np.float32 and array.all()


@settings(max_examples=20)
@given(st.data(), st.booleans(), st.integers(1, 4))
def test_batches_fit(data, integers, max_rows):
    module = data.draw(testing.layers() | testing.networks() | st.integers(1, 9))
    inputs = data.draw(testing.batches(module, max_rows=max_rows, integers=integers))
    features = module if isinstance(module, int) else module.in_features or inputs.shape[1]
    assert inputs.ndim == 2 and 1 <= len(inputs) <= max_rows and inputs.shape[1] == features > 0
    assert inputs.dtype == np.float64 and inputs.all() and abs(inputs).max() <= 5
    assert not integers or (inputs == np.round(inputs)).all()
    if not isinstance(module, int):
        assert np.isfinite(module.forward(inputs)).all()


def test_batches_have_one_row_and_several_and_both_signs():
    conditions = {
        "one row": lambda inputs: len(inputs) == 1,
        "several rows": lambda inputs: len(inputs) > 3,
        "both signs": lambda inputs: (inputs < 0).any() and (inputs > 0).any(),
    }
    assert_all_are_met(testing.batches(3), conditions)


@given(testing.seeds(), testing.maps())
def test_seeds_and_maps_are_arguments_of_layers(seed, arguments):
    assert 0 <= seed < LIMIT_SEED
    layer = HashedLinear(19, 2, num_buckets=4, seed=seed, **arguments)
    assert layer.seed == seed and layer.signed == arguments["signed"]
    assert set(arguments) == {"tile", "signed"} and layer.tile == {1: 1, "auto": 2}[arguments["tile"]]


def test_seeds_are_small_and_large():
    conditions = {"0": lambda seed: seed == 0, "large": lambda seed: seed > 2**31}
    assert_all_are_met(testing.seeds(), conditions)


@pytest.mark.parametrize("integers", [False, True])
def test_randomize_gives_every_parameter_a_value_of_order_one(integers):
    layer = HashedLinear(9, 9, num_buckets=60, bias="free")
    assert testing.randomize(layer, 3, integers) is layer
    for array in layer.params.values():
        assert (abs(array) >= (1 if integers else 0.2)).all() and (abs(array) <= (4 if integers else 1)).all()
        assert not integers or (array == np.round(array)).all()
        assert (array < 0).any() and (array > 0).any()
    again = testing.randomize(HashedLinear(9, 9, num_buckets=60, bias="free"), 3, integers)
    other = testing.randomize(HashedLinear(9, 9, num_buckets=60, bias="free"), 4, integers)
    assert (again.weight == layer.weight).all() and (other.weight != layer.weight).any()


# ----------------------------------------------------------------- laws fail where they are broken


class GradientOfInputs(HashedLinear):
    def _backward(self, *arguments):
        return super()._backward(*arguments) * 1.001


class Curved(HashedLinear):
    """z = V(w³) a, with right gradients."""

    def _forward(self, inputs, training):
        return self._cubed(lambda: super(Curved, self)._forward(inputs, training))

    def _backward(self, *arguments):
        grad_inputs = self._cubed(lambda: super(Curved, self)._backward(*arguments))
        self.grads["weight"] *= 3 * self.weight**2
        return grad_inputs

    def _cubed(self, function):
        kept = self.weight.copy()
        self.weight **= 3
        try:
            return function()
        finally:
            self.weight = kept


class Affine(HashedLinear):
    def _forward(self, inputs, training):
        outputs, saved = super()._forward(inputs, training)
        return outputs + 1, saved


class Mean(HashedLinear):
    """The mean over buckets, where a bucket's sum is wanted."""

    def _backward(self, *arguments):
        grad_inputs = super()._backward(*arguments)
        buckets, _ = self.bucket_map(np.arange(self.out_features)[:, None], np.arange(self.columns))
        self.grads["weight"] /= np.maximum(np.bincount(buckets.ravel(), minlength=self.num_buckets), 1)
        return grad_inputs


class WrongSign(HashedLinear):
    def _backward(self, saved, grad_outputs, need_grad_inputs):
        grad_inputs = super()._backward(saved, grad_outputs, need_grad_inputs)
        bucket, sign = self.bucket_map(1, 2)
        _, inputs = saved
        self.grads["weight"][bucket[0]] -= 2 * sign[0] * (grad_outputs[:, 1] * inputs[:, 2]).sum()
        return grad_inputs


class OtherMatrix(HashedLinear):
    def virtual_weight_matrix(self):
        return -super().virtual_weight_matrix()


class WithMap(HashedLinear):
    """Answers about its map by a twin's."""

    kind = BucketMap

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.bucket_map = self.kind(self.num_buckets, self.seed, self.columns, signed=self.signed)


class OutOfRange(WithMap):
    class kind(BucketMap):
        def __call__(self, i, j):
            buckets, signs = super().__call__(i, j)
            return buckets + self.num_buckets * (buckets == 0), signs


class ZeroSign(WithMap):
    class kind(BucketMap):
        def __call__(self, i, j):
            buckets, signs = super().__call__(i, j)
            return buckets, signs * (buckets != 0)


class SignedAnyway(WithMap):
    class kind(BucketMap):
        def __call__(self, i, j):
            buckets, signs = super().__call__(i, j)
            return buckets, np.where(buckets == 0, -signs, signs)


class DependsOnOthers(WithMap):
    class kind(BucketMap):
        def __call__(self, i, j):
            buckets, signs = super().__call__(i, j)
            return np.roll(buckets, 1), signs


class ClipsInputs(HashedLinear):
    """Changes its inputs once: the second time they are as it wants them."""

    def _forward(self, inputs, training):
        np.clip(inputs, -0.5, 0.5, out=inputs)
        return super()._forward(inputs, training)


class NegatesInputsInBackward(HashedLinear):
    def _forward(self, inputs, training):
        self.given = inputs
        return super()._forward(inputs, training)

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        grad_inputs = super()._backward(saved, grad_outputs, need_grad_inputs)
        self.given *= -1
        return grad_inputs


class ScalesGradOutputs(HashedLinear):
    def _backward(self, saved, grad_outputs, need_grad_inputs):
        grad_inputs = super()._backward(saved, grad_outputs, need_grad_inputs)
        grad_outputs *= 0.5
        return grad_inputs


class DecaysWeights(HashedLinear):
    def _backward(self, *arguments):
        grad_inputs = super()._backward(*arguments)
        self.weight *= 0.99
        return grad_inputs


class ClipsWeights(HashedLinear):
    """Changes its weights once, before anything else."""

    def _forward(self, inputs, training):
        np.clip(self.weight, -0.3, 0.3, out=self.weight)
        return super()._forward(inputs, training)


#: A violation -> the laws that must fail, and the words of the first; all other laws hold.
BROKEN = {
    GradientOfInputs: (["adjoint"], r"inputs\[\d, \d\]: claimed"),
    Curved: (["linear", "sum"], "outputs are not linear in the weights: .* at .*, wanted"),
    Affine: (["linear"], "outputs are not linear in the weights"),
    Mean: (["sum", "adjoint"], r"gradient is not the sum over its bucket: .* at \(\d,\), wanted"),
    WrongSign: (["sum", "adjoint"], r"gradient is not the sum over its bucket: .* at \(\d,\), wanted"),
    OtherMatrix: (["map"], "V is not sign times weight"),
    OutOfRange: (["map"], "a bucket is out of range"),
    ZeroSign: (["map"], "a sign is neither"),
    DependsOnOthers: (["map"], r"the map of \(\d, \d\) depends on what is asked beside it"),
    ClipsInputs: (["mutate"], "inputs was changed"),
    NegatesInputsInBackward: (["mutate"], "inputs was changed"),
    ScalesGradOutputs: (["mutate"], "grad_outputs was changed"),
    DecaysWeights: (["mutate"], "weight was changed"),
    ClipsWeights: (["mutate"], "weight was changed"),
}
#: Laws that say nothing of such a layer: its map lies, or its arguments are not what they were.
EXCUSED = {
    **dict.fromkeys((OutOfRange, ZeroSign, DependsOnOthers), {"sum"}),
    **dict.fromkeys((ClipsInputs, NegatesInputsInBackward, ScalesGradOutputs), {"adjoint", "linear", "sum"}),
    **dict.fromkeys((DecaysWeights, ClipsWeights), {"adjoint", "linear", "sum"}),
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bias", BIASES)
def test_a_law_fails_for_what_breaks_it_and_the_others_hold(kind, bias):
    failing, message = BROKEN[kind]
    for law, assert_law in LAWS.items():
        arguments = make(kind, bias=bias)
        if law == failing[0]:
            with pytest.raises(AssertionError, match=message):
                assert_law(*arguments)
        elif law in failing:
            with pytest.raises(AssertionError):
                assert_law(*arguments)
        elif law not in EXCUSED.get(kind, ()):
            assert_law(*arguments)


def test_an_unsigned_map_has_no_signs():
    testing.assert_map_is_a_function(make(signed=False)[0])
    with pytest.raises(AssertionError, match="an unsigned map has a sign"):
        testing.assert_map_is_a_function(make(SignedAnyway, signed=False)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("arguments", [{}, {"tile": 2}, {"tile": 3}])
def test_laws_hold_for_a_right_layer_and_leave_it_as_it_was(dtype, bias, integers, arguments):
    for assert_law in LAWS.values():
        layer, inputs, grad_outputs = make(dtype=dtype, bias=bias, integers=integers, **arguments)
        kept = {name: array.tobytes() for name, array in layer.params.items()}
        assert_law(layer, inputs, grad_outputs)
        assert {name: array.tobytes() for name, array in layer.params.items()} == kept


def test_a_map_is_looked_at_in_its_bias_column_too():
    layer = make(bias="hashed")[0]
    right = layer.bucket_map

    def out_of_range(i, j):
        buckets, signs = right(i, j)
        return np.where(np.asarray(j) == layer.in_features, layer.num_buckets, buckets), signs

    layer.bucket_map = out_of_range
    with pytest.raises(AssertionError, match="a bucket is out of range"):
        testing.assert_map_is_a_function(layer)


def test_nan_in_the_inputs_is_not_a_change():
    layer, inputs, grad_outputs = make()
    inputs[0, 0] = np.nan
    testing.assert_does_not_mutate(layer, inputs, grad_outputs)


def test_linearity_restores_the_weights_where_forward_fails():
    layer, inputs, _ = make()
    kept = layer.weight.copy()
    calls = iter([layer.forward])
    layer.forward = lambda values: next(calls)(values)
    with pytest.raises(StopIteration):
        testing.assert_linear_in_weights(layer, inputs)
    np.testing.assert_array_equal(layer.weight, kept)


def test_no_kinds_of_layers_are_refused():
    @settings(max_examples=1)
    @given(testing.layers(kinds=()))
    def look(layer):
        raise AssertionError(layer)

    with pytest.raises(ValueError, match="^kinds is empty"):
        look()


def test_linearity_restores_the_weights_of_what_is_not_linear():
    layer, inputs, _ = make(Affine)
    kept = layer.weight.copy()
    with pytest.raises(AssertionError):
        testing.assert_linear_in_weights(layer, inputs)
    np.testing.assert_array_equal(layer.weight, kept)


def test_mutation_is_seen_where_the_dtype_of_the_arguments_is_another():
    # float64 data for a float32 layer: it is a converted copy that a layer would change.
    for kind in (NegatesInputsInBackward, ScalesGradOutputs):
        layer, inputs, grad_outputs = make(kind, dtype=np.float32)
        with pytest.raises(AssertionError, match="was changed"):
            testing.assert_does_not_mutate(layer, inputs.astype(np.float64), grad_outputs.astype(np.float64))


def test_laws_hold_networks_to_them_too():
    class Doubled(Tanh):
        def _backward(self, saved, grad_outputs, need_grad_inputs):
            grad_outputs *= 2
            return super()._backward(saved, grad_outputs, need_grad_inputs)

    network = Network([make()[0], Doubled(np.float64)])
    with pytest.raises(AssertionError, match="grad_outputs was changed"):
        testing.assert_does_not_mutate(network, make()[1])
    with pytest.raises(AssertionError, match="gradient check: "):
        testing.assert_adjoint(network, make()[1])


@pytest.mark.parametrize(
    "wrong", [[1.0, 2.001], [1.0, np.nan], [1.0, np.inf], [1.0], [[1.0, 2.0]], [[1.0], [2.0]], 1.5, np.nan]
)
def test_assert_close_fails_for_other_numbers_shapes_and_nan(wrong):
    testing.assert_close([1.0, 2.0 + 1e-15], [1.0, 2.0], 1.0, np.float64, "hint")
    with np.errstate(invalid="ignore"), pytest.raises(AssertionError, match="^hint: "):
        testing.assert_close(wrong, [1.0, 2.0], 1.0, np.float64, "hint")


def test_assert_close_allows_the_rounding_of_the_precision_and_no_more():
    for dtype in (np.float32, np.float64):
        epsilon = np.finfo(dtype).eps
        testing.assert_close(10 * epsilon, 0.0, 1.0, dtype, "hint")
        for wrong, scale in ((200 * epsilon, 1.0), (10 * epsilon, 1e-3)):
            with pytest.raises(AssertionError, match=r"hint: .* at \(\), wanted"):
                testing.assert_close(wrong, 0.0, scale, dtype, "hint")


def test_a_law_of_the_sum_sees_an_error_of_the_size_of_one_part_in_a_million():
    class Slightly(HashedLinear):
        def _backward(self, *arguments):
            grad_inputs = super()._backward(*arguments)
            self.grads["weight"][4] *= 1 + 1e-6
            return grad_inputs

    with pytest.raises(AssertionError, match=r"at \(4,\)"):
        testing.assert_sum_over_bucket(*make(Slightly))


# -------------------------------------------------------------------------------------- machine


TestTraining = testing.TrainSaveLoadResume.TestCase


def swap_two(network):
    arrays = list(network.params.values())
    for first, second in itertools.combinations(arrays, 2):
        if first.shape == second.shape:
            first[...], second[...] = second.copy(), first.copy()
            return


def drop_biases(network):
    for name, array in network.params.items():
        if name.endswith("bias"):
            array[...] = 0


def drop_digits(network):
    for array in network.params.values():
        array[...] = array.astype(np.float32)


def drop_scale(network):
    network.input_scale = np.ones(())


def other_seeds(network):
    for layer in hashed(network):
        layer.seed ^= 1
        layer.bucket_map = replace(layer.bucket_map, seed=layer.seed)


@pytest.mark.parametrize("name", ["save", "load"])
@pytest.mark.parametrize("damage", [swap_two, drop_biases, drop_digits, drop_scale, other_seeds])
def test_the_machine_finds_what_files_lose(name, damage, monkeypatch):
    def save(network, path):
        network = copy.deepcopy(network)
        damage(network)
        persistence.save(network, path)

    def load(path):
        network = persistence.load(path)
        damage(network)
        return network

    monkeypatch.setattr(testing, name, {"save": save, "load": load}[name])
    with pytest.raises(AssertionError, match="differs from the uninterrupted|gives another file"):
        run_machine()


def test_the_machine_finds_a_file_without_one_parameter(monkeypatch):
    def load(path):
        network = persistence.load(path)
        for layer in network.layers:
            layer.params.pop("bias", None)
        return network

    monkeypatch.setattr(testing, "load", load)
    with pytest.raises((AssertionError, KeyError)):
        run_machine()


def run_machine(**arguments):
    """Run the machine until it finds a bug, without a search for the smallest."""
    arguments = {"max_examples": 200, "stateful_step_count": 8} | arguments
    quick = settings(QUICK, phases=[Phase.generate], report_multiple_bugs=False, **arguments)
    run_state_machine_as_test(testing.TrainSaveLoadResume, settings=quick)


def test_the_machine_finds_a_file_that_is_not_written_again_the_same(monkeypatch):
    counter = iter(range(10**9))

    def save(network, path):
        network.class_names = tuple(f"{next(counter)} {c}" for c in range(max(2, network.out_features)))
        persistence.save(network, path)

    monkeypatch.setattr(testing, "save", save)
    with pytest.raises(AssertionError, match="gives another file"):
        run_machine()


# ------------------------------------------------------------------------- profiles and packages


@pytest.fixture
def profile_restored():
    yield
    testing.load_profile()


@pytest.mark.parametrize("name, examples", [("dev", 10), ("ci", 25), ("nightly", 1000)])
def test_profiles(name, examples, monkeypatch, profile_restored):
    for load in (lambda: testing.load_profile(name), testing.load_profile):
        testing.load_profile("nightly" if name == "dev" else "dev")
        monkeypatch.setenv("MINIHASH_PROFILE", name)
        load()
        assert settings().max_examples == examples and settings().deadline is None
        assert not settings().derandomize
        assert HealthCheck.too_slow in settings().suppress_health_check
    monkeypatch.undo()


def test_the_profile_is_ci_where_nothing_is_said(monkeypatch, profile_restored):
    for value in (None, ""):
        monkeypatch.setenv("MINIHASH_PROFILE", value or "")
        if value is None:
            monkeypatch.delenv("MINIHASH_PROFILE")
        testing.load_profile("dev")
        testing.load_profile()
        assert settings().max_examples == testing.PROFILES["ci"] == 25
    monkeypatch.undo()


def test_an_unknown_profile_is_refused(monkeypatch):
    monkeypatch.setenv("MINIHASH_PROFILE", "weekly")
    with pytest.raises(ValueError, match="MINIHASH_PROFILE is 'weekly', wanted one of 'dev'"):
        testing.load_profile()


def test_without_hypothesis_only_this_module_is_missing():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import minihash, minihash.gradient_check, minihash.cli\n"
        "import minihash.testing\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 1
    *_, line = found.stderr.splitlines()
    assert line.startswith("ImportError: minihash.testing needs Hypothesis: pip install ")
    assert "During handling" not in found.stderr
