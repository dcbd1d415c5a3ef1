"""Property-based testing of layers: Hypothesis strategies, and laws to hold them to (extra `testing`).

    from hypothesis import given
    from minihash import testing

    @given(testing.layers(), testing.seeds())
    def test_my_law(layer, seed): ...

Strategies make layers in float64 with parameters of order 1; laws are functions that raise an
AssertionError which says what was broken and where. docs/testing.md shows how to check a layer of one's own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

try:
    from hypothesis import HealthCheck, settings
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
except ImportError:
    raise ImportError("minihash.testing needs Hypothesis: pip install hypothesis") from None

from minihash import checks, optimizers
from minihash.builders import mlp
from minihash.gradient_check import check_gradients
from minihash.hashing import LIMIT_SEED
from minihash.layers import Dropout, HashedLinear, Layer, Linear, WeightLayer
from minihash.layers.hashed_linear import BIASES
from minihash.layers.registry import Forms, activations
from minihash.network import Network
from minihash.persistence import load, save

PROFILES = {"dev": 10, "ci": 25, "nightly": 1000}  # examples of each property


def load_profile(name: str | None = None) -> None:
    """Choose how many examples Hypothesis tries: "dev", "ci" or "nightly".

    By default the environment's MINIHASH_PROFILE, else "ci". There is no deadline: the first call of a
    kernel compiles it, which takes seconds.
    """
    name = name or os.environ.get("MINIHASH_PROFILE") or "ci"
    examples = PROFILES[checks.choice("MINIHASH_PROFILE", name, tuple(PROFILES))]
    settings.register_profile(
        name,
        deadline=None,
        max_examples=examples,
        derandomize=False,  # Hypothesis would where it sees a CI: look for new examples there too
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile(name)


# ------------------------------------------------------------------------------------ strategies


def seeds() -> st.SearchStrategy[int]:
    """Seeds of layers and networks, 0 … 2³² − 1."""
    return st.integers(0, LIMIT_SEED - 1)


def maps() -> st.SearchStrategy[dict[str, Any]]:
    """Maps, as arguments of `HashedLinear` and `mlp`: `{"tile": 1 or "auto", "signed": …}`."""
    return st.fixed_dictionaries({"tile": st.sampled_from([1, "auto"]), "signed": st.booleans()})


#: Strategies of a constructor's arguments beside `dtype`, called with the most features: by kind of layer.
ARGUMENTS: Forms[Callable[[int], st.SearchStrategy[dict[str, Any]]]] = Forms("testing.layers")


@st.composite
def layers(
    draw: st.DrawFn,
    kinds: tuple[type[Layer], ...] | None = None,
    max_features: int = 8,
    dtype: Any = np.float64,
) -> Layer:
    """Layers of every kind in ARGUMENTS (or of `kinds`), with up to `max_features` inputs and outputs.

    A kind of your own is drawn with any shape and seed if it is asked for, and among all once it is in there:
    `testing.ARGUMENTS.register(MyLayer)(testing.shapes)`, or with a strategy of its other arguments.
    """
    if kinds is not None and not kinds:
        raise ValueError("kinds is empty, wanted layer classes")
    kind = draw(st.sampled_from(kinds or [kind for kind in ARGUMENTS if kind is not WeightLayer]))
    known = next((base for base in kind.__mro__ if base in ARGUMENTS), None)  # a subclass takes as much
    arguments = st.just({}) if known is None else ARGUMENTS.of_kind(known)(max_features)
    return randomize(kind(**draw(arguments), dtype=dtype), draw(seeds()))


@ARGUMENTS.register(WeightLayer)
def shapes(max_features: int) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments that every `WeightLayer` takes: its numbers of units, and a seed."""
    units = st.integers(1, max_features)
    return st.fixed_dictionaries({"in_features": units, "out_features": units, "seed": seeds()})


@ARGUMENTS.register(*activations().values())
def _no_arguments(max_features: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.just({})


@ARGUMENTS.register(Dropout)
def _dropout_arguments(max_features: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"rate": st.floats(0, 0.9), "seed": seeds()})


@ARGUMENTS.register(Linear)
@st.composite
def _linear_arguments(draw: st.DrawFn, max_features: int) -> dict[str, Any]:
    return {**draw(shapes(max_features)), "bias": draw(st.booleans())}


@ARGUMENTS.register(HashedLinear)
@st.composite
def _hashed_arguments(draw: st.DrawFn, max_features: int) -> dict[str, Any]:
    shape, bias = draw(shapes(max_features)), draw(st.sampled_from(BIASES))
    columns = shape["in_features"] + (bias == "hashed")
    num_buckets = draw(st.integers(1, shape["out_features"] * columns))
    longest = min(columns, num_buckets)
    tile = draw(st.just(1) | st.integers(1, longest) | st.just(longest))
    return {**shape, "bias": bias, "num_buckets": num_buckets, "tile": tile, "signed": draw(st.booleans())}


@st.composite
def networks(
    draw: st.DrawFn, max_layers: int = 3, max_features: int = 8, dropout: bool = True, dtype: Any = np.float64
) -> Network:
    """Multi-layer perceptrons, hashed or dense, with every activation, bias and map."""
    sizes = draw(st.lists(st.integers(1, max_features), min_size=2, max_size=max_layers + 1))
    arguments: dict[str, Any] = {
        "activation": draw(st.sampled_from(tuple(activations()))),
        "bias": draw(st.sampled_from(BIASES)),
        "compression": draw(st.none() | st.floats(0.01, 1)),
        "dropout": (draw(st.sampled_from([0.0, 0.3])), draw(st.sampled_from([0.0, 0.5]))) if dropout else 0.0,
        "input_scale": draw(st.sampled_from([1.0, 1 / 255, -2.0])),
        "seed": draw(seeds()),
        **draw(maps()),
    }
    if arguments["compression"] is None:
        arguments["tile"] = 1  # a dense layer has none
    return randomize(mlp(sizes, dtype=dtype, **arguments), draw(seeds()))


@st.composite
def batches(
    draw: st.DrawFn, module: Layer | Network | int, max_rows: int = 6, integers: bool = False
) -> np.ndarray:
    """Inputs (rows, features) of order 1 for a layer or network (or for so many features), none of them 0.

    With `integers` they are whole numbers, for which sums and products of moderate size are exact.
    """
    features = module if isinstance(module, int) else module.in_features
    if features is None:
        features = draw(st.integers(1, 8))
    shape = draw(st.integers(1, max_rows)), features
    return _of_order_1(np.random.default_rng(draw(seeds())), shape, integers, 0.1, 2)


def randomize(module: Any, seed: int, integers: bool = False) -> Any:
    """Give every parameter a value of order 1 and either sign, biases too; return the module."""
    rng = np.random.default_rng(seed)
    for array in module.params.values():
        array[...] = _of_order_1(rng, array.shape, integers, 0.2, 1)
    return module


def _of_order_1(
    rng: np.random.Generator, shape: tuple[int, ...], integers: bool, low: float, high: float
) -> np.ndarray:
    """Return numbers of either sign and of sizes from low to high, or whole ones up to 4."""
    sizes = rng.integers(1, 5, shape) if integers else rng.uniform(low, high, shape)
    return sizes * rng.choice([-1.0, 1.0], shape)


# ------------------------------------------------------------------------------------------ laws


def assert_adjoint(module: Layer | Network, inputs: np.ndarray, seed: int = 0) -> None:
    """⟨δ, J v⟩ = ⟨Jᵀ δ, v⟩ in the inputs and in every parameter: `backward` is the transpose of `forward`."""
    check_gradients(module, inputs, max_coordinates=0, directions=3, seed=seed).raise_for_errors()


def assert_linear_in_weights(layer: Layer, inputs: np.ndarray, seed: int = 0) -> None:
    """The outputs are linear in the parameters together: z(αp + βq) = α z(p) + β z(q)."""
    rng = np.random.default_rng(seed)
    alpha, beta = 2.0, -0.5  # exact in every precision
    params = list(layer.params.values())
    kept = [array.copy() for array in params]
    others = [rng.uniform(-1, 1, array.shape).astype(array.dtype) for array in kept]
    mixed = [alpha * own + beta * other for own, other in zip(kept, others)]

    def outputs_of(values: list[np.ndarray]) -> np.ndarray:
        for array, numbers in zip(params, values):
            array[...] = numbers
        return layer.forward(inputs)

    try:
        first, second, both = [outputs_of(values) for values in (kept, others, mixed)]
    finally:
        for array, numbers in zip(params, kept):
            array[...] = numbers
    scale = np.abs(first).max() + np.abs(second).max()
    message = "outputs are not linear in the weights"
    assert_close(both, alpha * first + beta * second, scale, layer.dtype, message)


def assert_sum_over_bucket(layer: HashedLinear, inputs: np.ndarray, grad_outputs: np.ndarray) -> None:
    """∂L/∂w[k] = Σ_{h(i,j)=k} ξ(i, j) ∂L/∂V[i, j], with ∂L/∂V = δᵀ a (eq. 12): a sum, not a mean."""
    layer.forward(inputs, training=True)
    layer.backward(grad_outputs)
    a = np.asarray(inputs, np.float64)
    if layer.bias == "hashed":
        a = np.column_stack([a, np.ones(len(a))])
    grad_V = np.asarray(grad_outputs, np.float64).T @ a
    buckets, signs = layer.bucket_map(np.arange(layer.out_features)[:, None], np.arange(a.shape[1]))
    sums, sizes = np.zeros(layer.num_buckets), np.zeros(layer.num_buckets)
    np.add.at(sums, buckets, signs * grad_V)
    np.add.at(sizes, buckets, np.abs(grad_outputs).T @ np.abs(a))
    assert_close(layer.grads["weight"], sums, sizes, layer.dtype, "gradient is not the sum over its bucket")


def assert_map_is_a_function(layer: HashedLinear) -> None:
    """V[i, j] is ξ(i, j) w[h(i, j)] with a bucket in 0 … K − 1 and a sign that depend on (i, j) alone."""
    i, j = np.arange(layer.out_features)[:, None], np.arange(layer.columns)  # a hashed bias is one
    buckets, signs = layer.bucket_map(i, j)
    assert buckets.min() >= 0 and buckets.max() < layer.num_buckets, "a bucket is out of range"
    assert np.isin(signs, (-1, 1)).all(), "a sign is neither −1 nor +1"
    assert layer.signed or (signs == 1).all(), "an unsigned map has a sign"
    last_row, last = layer.out_features - 1, layer.columns - 1
    for row, column in {(0, 0), (last_row, layer.in_features - 1), (0, last), (last_row, last)}:
        alone = [int(value.ravel()[0]) for value in layer.bucket_map(row, column)]
        together = [int(buckets[row, column]), int(signs[row, column])]
        assert alone == together, f"the map of ({row}, {column}) depends on what is asked beside it"
    expected = (signs * layer.weight[buckets])[:, : layer.in_features]
    assert np.array_equal(layer.virtual_weight_matrix(), expected), "V is not sign times weight[bucket]"


def assert_does_not_mutate(
    module: Layer | Network, inputs: np.ndarray, grad_outputs: np.ndarray | None = None
) -> None:
    """Neither `forward` nor `backward` writes into inputs, grad_outputs or parameters."""
    inputs = np.array(inputs, dtype=module.dtype)  # else the layer would see, and change, a converted copy
    watched = [("inputs", inputs, inputs.copy())]
    watched += [(name, array, array.copy()) for name, array in module.params.items()]
    outputs = module.forward(inputs, training=True)
    grad_outputs = np.array(np.ones_like(outputs) if grad_outputs is None else grad_outputs, module.dtype)
    watched.append(("grad_outputs", grad_outputs, grad_outputs.copy()))
    module.backward(grad_outputs)
    for name, array, before in watched:
        assert np.array_equal(array, before, equal_nan=True), f"{name} was changed by forward or backward"


def assert_close(result: Any, wanted: Any, scale: Any, dtype: Any, message: str) -> None:
    """Assert equality up to rounding of sums of size `scale`; the message names the worst place."""
    result, wanted = np.asarray(result), np.asarray(wanted)
    assert result.shape == wanted.shape, f"{message}: shape {result.shape}, wanted {wanted.shape}"
    excess = np.abs(result - wanted) - 64 * np.finfo(dtype).eps * (np.asarray(scale) + np.abs(wanted))
    if not (excess <= 0).all():
        worst = np.unravel_index(np.where(np.isnan(excess), np.inf, excess).argmax(), result.shape)
        place = tuple(int(index) for index in worst)
        raise AssertionError(f"{message}: {result[worst]!r} at {place}, wanted {wanted[worst]!r}")


# ---------------------------------------------------------------------------------------- machine


class TrainSaveLoadResume(RuleBasedStateMachine):
    """Train, save, load and go on, in any order: a network that went through files equals one that did not.

    `TestTraining = TrainSaveLoadResume.TestCase` makes it a test.
    """

    @initialize(network=networks(dropout=False), seed=seeds(), momentum=st.sampled_from([0.0, 0.9]))
    def start(self, network: Network, seed: int, momentum: float) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "model.safetensors")
        save(network, self.path)
        # Two networks on the same course: `uninterrupted` never meets a file again.
        self.network, self.uninterrupted = network, load(self.path)
        self.optimizers = [optimizers.SGD(0.01, momentum) for _ in range(2)]
        self.rng = np.random.default_rng(seed)

    @rule(rows=st.integers(1, 5))
    def train(self, rows: int) -> None:
        inputs = self.rng.normal(size=(rows, self.network.in_features or 1))
        direction = self.rng.uniform(-1, 1, (rows, self.network.out_features or 1))
        for network, optimizer in zip((self.network, self.uninterrupted), self.optimizers):
            network.forward(inputs, training=True)
            network.backward(direction, need_grad_inputs=False)
            optimizer.step(network.params, network.grads)

    @rule()
    def save_and_load(self) -> None:
        save(self.network, self.path)
        self.network = load(self.path)

    @rule()
    def load_again_what_was_saved(self) -> None:
        copy = self.path.with_suffix(".copy")
        save(self.network, self.path)
        save(load(self.path), copy)
        same = self.path.read_bytes() == copy.read_bytes()
        assert same, "saving what was loaded gives another file"

    @invariant()
    def same_bits(self) -> None:
        for name, array in self.network.params.items():
            wanted = self.uninterrupted.params[name]
            assert array.tobytes() == wanted.tobytes(), f"{name} differs from the uninterrupted network's"

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()
