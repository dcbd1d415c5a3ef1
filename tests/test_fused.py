"""Fused networks: the same step as layer by layer, whatever the shapes, batches, maps and threads."""

from __future__ import annotations

import dataclasses
import functools

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels.test_backends import run_python

from benchmarks.paper.sparse_linear import SparseLinear
from minihash import (
    Dropout,
    HashedLinear,
    Linear,
    Network,
    ReLU,
    Sigmoid,
    Tanh,
    fused,
    losses,
    mlp,
)
from minihash.fused import FusedNetwork, obstacle
from minihash.kernels import fused_numba
from minihash.layers.hashed_linear import BIASES
from minihash.quantization import quantize
from minihash.testing import maps, randomize, seeds

CHUNK = fused_numba.CHUNK
#: Empty ones, one row, and both sides of where shards and chunks begin.
BATCHES = [0, 1, 2, 63, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5, 4 * CHUNK, 4 * CHUNK + 3, 9 * CHUNK - 1]
SMOOTH, EXACT = (Tanh, Sigmoid, None), (ReLU, None)


@st.composite
def networks(draw, dtype=np.float64, activations=(*SMOOTH, ReLU), integers=False):
    """Layers of all kinds that can be fused, in any order."""
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 7, 8, 17, 33]), min_size=2, max_size=5))
    layers = []
    for seed, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        if draw(st.booleans()):
            bias = draw(st.sampled_from(BIASES))
            buckets = draw(st.integers(1, fan_out * (fan_in + (bias == "hashed"))))
            options = {"num_buckets": buckets, "bias": bias, **draw(maps())}
            layers.append(HashedLinear(fan_in, fan_out, seed=seed, dtype=dtype, **options))
        else:
            layers.append(Linear(fan_in, fan_out, bias=draw(st.booleans()), dtype=dtype))
        layers += [Dropout(0, dtype=dtype)] * draw(st.integers(0, 1))
        activation = draw(st.sampled_from(activations))
        layers += [activation(dtype)] if activation else []
    scaling = {}
    if not integers:
        per_feature = st.lists(st.floats(-2, 2, width=16), min_size=sizes[0], max_size=sizes[0])
        one = st.sampled_from([0.0, 1.0, 1 / 255, -2.0])
        scaling = {name: draw(one | per_feature) for name in ("input_scale", "input_shift")}
    return randomize(Network(layers, **scaling), draw(seeds()), integers)


def case(network, batch, seed=0, integers=False):
    """inputs, grad_outputs"""
    rng = np.random.default_rng(seed)
    shapes = (batch, network.in_features), (batch, network.out_features)
    make = (lambda shape: rng.integers(-2, 3, shape)) if integers else (lambda shape: rng.normal(size=shape))
    return [make(shape).astype(network.dtype) for shape in shapes]


def step(network, inputs, grad_outputs, passes=None):
    """Outputs and gradients, which were something else before."""
    for array in network.grads.values():
        array.fill(np.nan)
    if passes is None:
        outputs = network.forward(inputs, training=True)
        network.backward(grad_outputs, need_grad_inputs=False)
    else:
        outputs = passes.forward(inputs)
        passes.backward(grad_outputs)
    return {"outputs": outputs.copy(), **{name: grad.copy() for name, grad in network.grads.items()}}


def assert_same(comp, ref, tolerance):
    assert comp.keys() == ref.keys()
    for name, wanted in ref.items():
        scale = np.abs(wanted).max(initial=1)
        np.testing.assert_allclose(comp[name], wanted, rtol=0, atol=tolerance * scale, err_msg=name)


batches = st.sampled_from(BATCHES)


# -------------------------------------------------------------------------------- the same step


@given(networks(), batches, seeds())
def test_equals_the_network_layer_by_layer(network, batch, seed):
    inputs, grad_outputs = case(network, batch, seed)
    ref = step(network, inputs, grad_outputs)
    assert_same(step(network, inputs, grad_outputs, FusedNetwork(network)), ref, 1e-11)


@given(networks(np.float32, SMOOTH), batches, seeds())
def test_equals_the_network_in_float32(network, batch, seed):
    inputs, grad_outputs = case(network, batch, seed)
    ref = step(network, inputs, grad_outputs)
    assert_same(step(network, inputs, grad_outputs, FusedNetwork(network)), ref, 2e-4)


@given(networks(np.float32, EXACT, integers=True), batches, seeds())
def test_whole_numbers_are_exact(network, batch, seed):
    inputs, grad_outputs = case(network, batch, seed, integers=True)
    largest = np.abs(inputs).max(initial=1)
    for layer in network.layers:
        if layer.params:
            largest *= 4 * (layer.in_features + 1)
    ref = step(network, inputs, grad_outputs)
    comp = step(network, inputs, grad_outputs, FusedNetwork(network))
    if largest * batch * 2 * network.out_features < 2**24:  # no sum is rounded
        assert_same(comp, ref, 0)
    else:
        assert_same(comp, ref, 2e-4)


@pytest.mark.parametrize("tile", [1, 3])
@pytest.mark.parametrize("bias", BIASES)
def test_equals_the_slow_truth(tile, bias):
    layers = [
        HashedLinear(4, 5, num_buckets=7, seed=1, tile=tile, bias=bias, dtype=np.float64),
        Tanh(np.float64),
        Linear(5, 2, dtype=np.float64),
        Sigmoid(np.float64),
    ]
    network = randomize(Network(layers, input_scale=2.0, input_shift=0.5), 3)
    inputs, grad_outputs = case(network, CHUNK + 2)
    lookup = naive.tiles(1, 7, 4 + (bias == "hashed"), tile)
    weight, free = layers[0].params["weight"], layers[0].params.get("bias")

    scaled = (inputs - 0.5) * 2
    hidden = naive.hashed_forward(scaled, weight, lookup, 5, bias, free)
    values = np.vectorize(naive.tanh)(hidden)
    logits = naive.linear_forward(values, layers[2].params["weight"], layers[2].params["bias"])
    grad = grad_outputs * np.vectorize(naive.sigmoid_slope)(logits)
    ref = {"outputs": np.vectorize(naive.sigmoid)(logits)}
    grad, ref["2.weight"], ref["2.bias"] = naive.linear_backward(values, layers[2].params["weight"], grad)
    grad *= np.vectorize(naive.tanh_slope)(hidden)
    _, ref["0.weight"], grad_bias = naive.hashed_backward(scaled, weight, lookup, grad, bias)
    if bias == "free":
        ref["0.bias"] = grad_bias
    assert_same(step(network, inputs, grad_outputs, FusedNetwork(network)), ref, 1e-12)


def test_steps_follow_the_weights_and_batches_of_any_size():
    network = mlp([5, 9, 2], compression=0.5, activation="sigmoid", dtype=np.float64)
    small = FusedNetwork(network)
    for seed, batch in enumerate([3, 300, 1, 0, 700, 300]):
        inputs, grad_outputs = case(network, batch, seed)
        assert_same(step(network, inputs, grad_outputs, small), step(network, inputs, grad_outputs), 1e-12)
        for param in network.params.values():
            param += np.random.default_rng(seed).normal(size=param.shape)


def test_backward_may_be_called_again():
    network = mlp([5, 9, 2], compression=0.5, dtype=np.float64)
    inputs, grad_outputs = case(network, 300)
    small = FusedNetwork(network)
    ref = step(network, inputs, grad_outputs, small)
    small.backward(2 * grad_outputs)
    for name, grad in network.grads.items():
        np.testing.assert_allclose(grad, 2 * ref[name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_takes_inputs_of_any_dtype_and_layout(dtype):
    network = mlp([6, 4, 2], compression=0.5, activation="tanh", input_scale=1 / 255, dtype=dtype)
    numbers = np.random.default_rng(0).integers(0, 255, (CHUNK + 9, 6))
    grad_outputs = case(network, len(numbers))[1]
    small = FusedNetwork(network)
    ref = step(network, numbers.astype(dtype), grad_outputs, small)
    read_only, strided = numbers.astype(dtype), np.zeros((2 * len(numbers), 9), dtype)
    read_only.setflags(write=False)
    strided[::2, 1:7] = numbers
    kinds = [np.uint8, np.int64, np.float32, np.float64, np.dtype(dtype).newbyteorder()]
    given = [numbers.astype(kind) for kind in kinds]
    given += [read_only, strided[::2, 1:7], np.asfortranarray(read_only), numbers.tolist()]
    grad_read_only = grad_outputs.copy()
    grad_read_only.setflags(write=False)
    for inputs in given:
        for grad in (grad_outputs, grad_read_only, np.asfortranarray(grad_outputs), grad_outputs.tolist()):
            assert_same(step(network, inputs, grad, small), ref, 0)


@pytest.mark.parametrize("shift", [1.7e9, [1.7e9, -1.7e9, 0]])
@pytest.mark.parametrize("dtype", [np.float64, ">f8", np.int64])
def test_shifts_before_it_rounds(shift, dtype):
    near = np.random.default_rng(0).integers(-30, 30, (50, 3))
    raw = (near + np.array(shift).astype(np.int64)).astype(dtype)
    network = mlp([3, 8, 2], compression=0.5, seed=1, input_shift=shift, input_scale=0.05)
    plain = mlp([3, 8, 2], compression=0.5, seed=1, input_scale=0.05)
    expected = FusedNetwork(plain).forward(near.astype(np.float32)).copy()
    fused = FusedNetwork(network)
    np.testing.assert_array_equal(fused.forward(raw), expected)
    labels = np.arange(50) % 2
    found = fused.loss_and_grads(losses.softmax_cross_entropy, raw, labels)
    assert found == FusedNetwork(plain).loss_and_grads(losses.softmax_cross_entropy, near, labels)
    for name, grad in plain.grads.items():
        np.testing.assert_array_equal(network.grads[name], grad)
    fused.forward(raw.astype(np.float32))  # and back to what is shifted by the kernel
    np.testing.assert_array_equal(fused.forward(raw), expected)


def test_neither_changes_what_it_is_given_nor_gives_it_back():
    network = mlp([2, 2, 2], activation="tanh")
    inputs, grad_outputs = case(network, 5)
    watched = [inputs, grad_outputs, *network.params.values()]
    kept = [array.copy() for array in watched]
    small = FusedNetwork(network)
    outputs = small.forward(inputs)
    small.backward(grad_outputs)
    assert not np.shares_memory(outputs, inputs)
    for array, before in zip(watched, kept):
        np.testing.assert_array_equal(array, before)


def test_not_a_number_and_infinity_come_out_as_from_the_network():
    network = mlp([2, 3, 3, 1], activation="tanh")
    small = FusedNetwork(network)
    inputs = np.array([[1, np.nan], [0, 1], [-3, np.inf], [1e38, 1]], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_allclose(small.forward(inputs), network.forward(inputs), rtol=1e-5)
    assert np.isfinite(small.forward(inputs)[[1, 3]]).all()


# ----------------------------------------------------------------------------------- with a loss

LOSSES = [losses.binary_cross_entropy, losses.mean_squared_error, losses.softmax_cross_entropy]
own_loss = functools.partial(losses.mean_squared_error)  # not one of them


def targets_for(loss, network, batch, rng):
    """Targets of a loss, of any kind it takes."""
    shape = (batch,) if network.out_features == 1 and rng.integers(2) else (batch, network.out_features)
    if loss is losses.softmax_cross_entropy:
        return rng.integers(0, network.out_features, batch)
    return rng.random(shape) if loss is losses.binary_cross_entropy else rng.normal(size=shape)


@given(networks(), batches, st.sampled_from([*LOSSES, own_loss]), st.booleans(), seeds())
def test_loss_and_gradients_are_those_of_the_network(network, batch, loss, weighted, seed):
    inputs, _ = case(network, batch or 1, seed)
    rng = np.random.default_rng(seed)
    targets = targets_for(loss, network, len(inputs), rng)
    weight = rng.integers(1, 4, len(inputs)) if weighted else None
    others = (targets,) if weight is None else (targets, weight)
    wanted, grad_outputs = loss(network.forward(inputs, training=True), *others)
    ref = step(network, inputs, grad_outputs)
    for array in network.grads.values():
        array.fill(np.nan)
    value = FusedNetwork(network).loss_and_grads(loss, inputs, *others)
    assert value == pytest.approx(wanted, rel=1e-11, abs=1e-11)
    assert_same({"outputs": ref["outputs"], **network.grads}, ref, 1e-11)


@pytest.mark.parametrize("loss", [*LOSSES, own_loss])
def test_loss_of_targets_that_it_does_not_take(loss):
    network = mlp([5, 9, 2], compression=0.5)
    small, (inputs, _) = FusedNetwork(network), case(network, 7)
    bad = [
        np.full((7, 2), np.nan),
        np.full((6, 2), 0.5),
        np.full((7, 3), 0.5),
        np.full(7, -1),
        np.full(7, 2**40),
        np.full((7, 2), "a"),
        np.full((7, 2), 2.0) * (1 if loss in LOSSES[::2] else np.inf),
    ]
    for targets in bad:
        with pytest.raises((ValueError, TypeError)) as wanted:
            loss(network.forward(inputs), targets)
        with pytest.raises(wanted.type) as found:
            small.loss_and_grads(loss, inputs, targets)
        assert str(found.value) == str(wanted.value)
    with pytest.raises(ValueError, match="^outputs has shape"):
        small.loss_and_grads(loss, inputs[:0], np.zeros((0, 2)))
    good = np.zeros(7, int) if loss is losses.softmax_cross_entropy else np.zeros((7, 2))
    with pytest.raises(ValueError, match="^sample_weight has the sum 0"):
        small.loss_and_grads(loss, inputs, good, np.zeros(7))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_a_row_is_learnt_nothing_is_left(dtype):
    """A batch that is no power of two: its weights are rounded."""
    network = mlp([1, 3, 3], compression=0.5, dtype=dtype)
    network.layers[0].weight[...], network.layers[2].weight[...] = 1, 1000 * np.arange(1, 7)
    inputs = np.full((700, 1), 100, dtype)
    labels = network.predict(inputs).argmax(axis=1)
    assert FusedNetwork(network).loss_and_grads(losses.softmax_cross_entropy, inputs, labels) == 0
    assert not any(grad.any() for grad in network.grads.values())


def test_a_loss_of_ones_own_may_be_anything_that_is_called():
    @dataclasses.dataclass
    class Own:
        factor: float

        def __call__(self, outputs, targets):
            return self.factor * float(outputs.sum()), np.full_like(outputs, self.factor)

    network = mlp([5, 9, 2], compression=0.5, dtype=np.float64)
    inputs, _ = case(network, 7)
    ref = step(network, inputs, np.full((7, 2), 2.0))
    value = FusedNetwork(network).loss_and_grads(Own(2.0), inputs, None)
    assert value == pytest.approx(2 * ref["outputs"].sum())
    assert_same({"outputs": ref["outputs"], **network.grads}, ref, 1e-11)


@given(networks(np.float32, SMOOTH), batches, st.sampled_from(LOSSES), seeds())
def test_loss_and_gradients_in_float32(network, batch, loss, seed):
    inputs, _ = case(network, batch or 1, seed)
    targets = targets_for(loss, network, len(inputs), np.random.default_rng(seed))
    wanted, grad_outputs = loss(network.forward(inputs, training=True), targets)
    ref = step(network, inputs, grad_outputs)
    value = FusedNetwork(network).loss_and_grads(loss, inputs, targets)
    assert value == pytest.approx(wanted, rel=2e-4, abs=2e-4)
    assert_same({"outputs": ref["outputs"], **network.grads}, ref, 2e-4)


def test_softmax_of_probabilities_is_computed_by_the_loss_itself():
    network = mlp([5, 9, 3], compression=0.5, dtype=np.float64)
    inputs, _ = case(network, 7)
    targets = np.full((7, 3), 1 / 3)
    wanted, grad_outputs = losses.softmax_cross_entropy(network.forward(inputs), targets)
    ref = step(network, inputs, grad_outputs)
    assert FusedNetwork(network).loss_and_grads(LOSSES[2], inputs, targets) == pytest.approx(wanted)
    assert_same({"outputs": ref["outputs"], **network.grads}, ref, 1e-11)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_that_is_not_finite_changes_no_gradient(loss):
    network = mlp([5, 9, 2], compression=0.5)
    inputs, _ = case(network, 300)
    inputs[299] = np.inf
    targets = targets_for(loss, network, 300, np.random.default_rng(0))
    with np.errstate(invalid="ignore"):
        value = FusedNetwork(network).loss_and_grads(loss, inputs, targets)
    assert not np.isfinite(value) and not any(grad.any() for grad in network.grads.values())


def test_backward_needs_the_forward_of_its_own():
    network = mlp([5, 9, 2], compression=0.5)
    inputs, grad_outputs = case(network, 7)
    small = FusedNetwork(network)
    small.forward(inputs)
    small.loss_and_grads(losses.mean_squared_error, inputs, grad_outputs)
    with pytest.raises(RuntimeError, match="needs a forward"):
        small.backward(grad_outputs)


# --------------------------------------------------------------------------------- threads, bits


@pytest.mark.parametrize("batch", [1, 2 * CHUNK, 9 * CHUNK + 5])
def test_the_number_of_threads_changes_no_bit(set_num_threads, batch):
    network = mlp([28, 100, 50, 10, 1], num_buckets=8, activation="tanh")
    inputs, grad_outputs = case(network, batch)
    results = []
    for count in (1, 2, 3, 5):
        set_num_threads(count)
        for _ in range(3):
            results.append(step(network, inputs, grad_outputs, FusedNetwork(network)))
            loss = FusedNetwork(network).loss_and_grads(losses.mean_squared_error, inputs, grad_outputs)
            results[-1] |= {f"{name} of it": grad.copy() for name, grad in network.grads.items()}
            results[-1]["loss"] = loss
    for result in results[1:]:
        for name, wanted in results[0].items():
            np.testing.assert_array_equal(result[name], wanted)


def test_large_batches_have_several_shards_and_small_ones_do_not():
    assert fused._cut(0, 1000) == [(0, 0)] and fused._cut(5, 2**17) == [(0, 5)]
    assert fused._cut(10**6, 1) == [(0, 10**6)]
    assert fused._cut(1000, 2**17) == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert fused._cut(128, 2**17) == [(0, 64), (64, 128)]


def test_blas_that_compiled_code_calls_is_limited_too(set_num_threads, monkeypatch):
    from minihash.kernels import threads

    monkeypatch.setattr(threads, "_single_threaded_blas", threads._SingleThreadedBlas())
    threads.run([lambda: None])  # a guard that has looked for libraries already
    fused_numba.load_blas.cache_clear()
    fused_numba.load_blas()
    threads.run([lambda: None])
    libraries = {library.filepath for library in threads._single_threaded_blas._libraries}
    assert any("scipy" in path for path in libraries) or len(libraries) == 1


# ------------------------------------------------------------------------------ planted mistakes


def planted(monkeypatch, name, wrong):
    """A step with a kernel that is wrong in some way, and the true one."""
    network = mlp([5, 9, 3], compression=0.5, activation="tanh", dtype=np.float64)
    inputs, grad_outputs = case(network, 4 * CHUNK + 9)
    ref = step(network, inputs, grad_outputs)
    small = FusedNetwork(network)
    step(network, -inputs, grad_outputs, small)  # nothing right is left in its memory
    monkeypatch.setattr(fused_numba, name, wrong(getattr(fused_numba, name)))
    return step(network, inputs, grad_outputs, small), ref


def without_the_last_chunk(kernel):
    def wrong(*arguments):
        *others, (start, stop) = arguments
        kernel(*others, (start, start + (stop - start - 1) // CHUNK * CHUNK))

    return wrong


def without_the_last_row(kernel):
    return lambda *arguments: kernel(*arguments[:-1], (arguments[-1][0], arguments[-1][1] - 1))


def with_the_slope_of_another_activation(kernel):
    def wrong(grad, matrices, layers, *rest):
        layers = layers.copy()
        layers[0, 2] = fused_numba.SIGMOID
        kernel(grad, matrices, layers, *rest)

    return wrong


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("forward", without_the_last_chunk),
        ("backward", without_the_last_chunk),
        ("forward", without_the_last_row),
        ("backward", without_the_last_row),
        ("backward", with_the_slope_of_another_activation),
    ],
)
def test_a_planted_mistake_is_caught(monkeypatch, name, wrong):
    comp, ref = planted(monkeypatch, name, wrong)
    with pytest.raises(AssertionError):
        assert_same(comp, ref, 1e-11)


# ----------------------------------------------------------------------------------- activations


def ulps(comp, exact):
    """Errors in units in the last place of float32."""
    return np.abs(comp - exact) / np.spacing(np.abs(exact).astype(np.float32))


def all_magnitudes():
    """Every 997th float32 from the smallest normal one to 100, and their negatives."""
    bits = np.arange(0x00800000, 0x42C80000, 997, dtype=np.uint32)
    positive = bits.view(np.float32)
    return np.concatenate([positive, -positive])


def test_tanh_of_float32_is_accurate_to_a_few_units_in_the_last_place():
    values = all_magnitudes()
    comp = values.copy()
    fused_numba.tanh(comp)
    assert ulps(comp, np.tanh(values.astype(np.float64))).max() < 2.6
    assert np.abs(comp).max() == 1


def test_sigmoid_of_float32_is_accurate_to_a_few_units_in_the_last_place():
    values = all_magnitudes()
    values = values[values >= -87]
    comp = values.copy()
    fused_numba.sigmoid(comp)
    assert ulps(comp, 1 / (1 + np.exp(-values.astype(np.float64)))).max() < 2.6
    assert comp.max() == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_of_special_values(dtype):
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1e30], dtype)
    tanh, sigmoid = values.copy(), values.copy()
    fused_numba.tanh(tanh)
    fused_numba.sigmoid(sigmoid)
    np.testing.assert_array_equal(tanh, np.array([np.nan, 1, -1, 0, -0.0, 1e-40, 1], dtype))
    assert np.signbit(tanh[4]) and not np.signbit(tanh[3])
    np.testing.assert_allclose(sigmoid, [np.nan, 1, 0, 0.5, 0.5, 0.5, 1], atol=1e-37)


def test_activations_of_float64_are_those_of_the_layers():
    values = np.random.default_rng(0).normal(size=500) * 5
    for kernel, layer in ((fused_numba.tanh, Tanh), (fused_numba.sigmoid, Sigmoid)):
        comp = values.copy()
        kernel(comp)
        np.testing.assert_allclose(comp, layer(np.float64).forward(values[None])[0], rtol=1e-14)


# ------------------------------------------------------------------------ what cannot be fused


def hashed(seed=0, **options):
    return HashedLinear(4, 4, num_buckets=5, seed=seed, **options)


@pytest.mark.parametrize(
    "layers, message",
    [
        ([ReLU(), hashed()], r"layers\[0\] is a ReLU, wanted Linear or HashedLinear"),
        ([hashed(), ReLU(), Tanh()], r"layers\[2\] is a Tanh"),
        ([hashed(), Dropout(0.5)], r"layers\[1\] is a Dropout"),
        ([hashed(), SparseLinear(4, 4, num_weights=5, seed=1)], r"layers\[1\] is a SparseLinear"),
        ([Dropout(0.0)], "count as 0 weights"),
        ([hashed(dtype=np.complex128)], "dtype complex128, wanted float32 or float64"),
    ],
)
def test_says_what_cannot_be_fused(layers, message):
    network = Network(layers)
    with pytest.raises(ValueError, match=message) as error:
        FusedNetwork(network)
    assert obstacle(network) == str(error.value)


def test_quantised_layers_are_not_fused():
    assert "layers[0] is a QuantizedHashedLinear" in obstacle(quantize(Network([hashed()]), 8))


def test_large_networks_are_not_fused():
    def fits(columns, rows, dense=False, **options):
        size = {} if dense else {"compression": 0.5}
        return not obstacle(mlp([columns - 1, rows], **size, **options))

    assert fits(2**9, 2**8) and not fits(2**9, 2**8 + 1)
    assert fits(2**9, 2**8, tile="auto") and not fits(2**9, 2**8 + 1, tile="auto")
    assert fits(2**6, 2**7, dense=True) and not fits(2**7, 2**7, dense=True)
    assert fits(fused.WIDTH, 1) and not fits(fused.WIDTH + 1, 1)


def test_only_on_the_cpu_with_the_kernels_of_numba():
    code = """
        from minihash import mlp
        from minihash.fused import obstacle
        network = mlp([3, 2], compression=0.5)
        print(obstacle(network.to("cuda") if {cuda} else network))
        """
    numpy = run_python(code.format(cuda=False), MINIHASH_KERNELS="numpy")
    assert "numpy_cpu, wanted those of Numba" in numpy
    card = run_python(code.format(cuda=True), NUMBA_ENABLE_CUDASIM="1")
    assert "network is on cuda, wanted it on cpu" in card
    assert run_python(code.format(cuda=False)) == "\n"


@pytest.mark.parametrize(
    "inputs, message",
    [
        (np.zeros(4), r"inputs has shape \(4,\), wanted \(batch, 4\)"),
        (np.zeros((3, 5)), r"inputs has shape \(3, 5\), wanted \(batch, 4\)"),
        (np.zeros((3, 4), complex), "inputs has dtype complex128, wanted real numbers"),
        ([["a"] * 4], "inputs has dtype <U1, wanted real numbers"),
    ],
)
def test_forward_refuses_what_the_network_refuses(inputs, message):
    with pytest.raises(ValueError, match=message):
        FusedNetwork(Network([hashed()])).forward(inputs)


def test_backward_refuses():
    small = FusedNetwork(Network([hashed()]))
    with pytest.raises(RuntimeError, match="needs a forward"):
        small.backward(np.zeros((3, 4)))
    small.forward(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"grad_outputs has shape \(2, 4\), wanted \(3, 4\)"):
        small.backward(np.zeros((2, 4)))


# ------------------------------------------------------------------------------------ processes


def test_is_right_without_jit():
    run_python(
        """
        import warnings
        import numpy as np
        from minihash import mlp
        from minihash.fused import FusedNetwork
        from minihash.kernels import fused_numba

        warnings.filterwarnings("ignore", "overflow encountered")  # of NumPy's scalars, wanted here
        warnings.filterwarnings("error", category=DeprecationWarning)
        assert not hasattr(fused_numba.forward, "py_func")  # not compiled
        rng = np.random.default_rng(0)
        for activation in ("relu", "tanh", "sigmoid"):
            for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
                network = mlp([4, 6, 2], compression=0.5, tile="auto", activation=activation, dtype=dtype)
                inputs = rng.normal(size=(fused_numba.CHUNK + 3, 4)).astype(dtype)
                ref = network.forward(inputs, training=True)
                network.backward(ref, need_grad_inputs=False)
                grads = {name: grad.copy() for name, grad in network.grads.items()}
                small = FusedNetwork(network)
                comp = small.forward(inputs)
                np.testing.assert_allclose(comp, ref, rtol=tolerance, atol=tolerance)
                small.backward(ref)
                for name, grad in network.grads.items():
                    np.testing.assert_allclose(grad, grads[name], rtol=tolerance, atol=100 * tolerance)
        """,
        NUMBA_DISABLE_JIT="1",
    )


def test_depths_and_widths_compile_nothing_anew():
    for sizes in ([2, 3], [5, 1, 4], [3, 9, 9, 9, 2]):
        network = mlp(sizes, compression=0.5)
        inputs, grad_outputs = case(network, 7)
        step(network, inputs, grad_outputs, FusedNetwork(network))
        step(network, inputs[::2], grad_outputs[::2], FusedNetwork(network))
        FusedNetwork(network).loss_and_grads(losses.mean_squared_error, inputs, grad_outputs)
    step_of_squares = fused_numba.step_with(losses.mean_squared_error.fused)
    for kernel in (fused_numba.forward, fused_numba.backward, step_of_squares):
        assert len(kernel.signatures) <= 2  # float32, and float64 of other tests
