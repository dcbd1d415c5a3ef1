"""The hashed layer: against plain loops, as a dense layer with the virtual matrix, and its laws."""

from __future__ import annotations

import sys
from pathlib import Path

import naive
import numpy as np
import pytest
from helpers import integers
from hypothesis import given
from hypothesis import strategies as st

from minihash import HashedLinear, hashing, kernels
from minihash.kernels import numpy_cpu, panels

BIASES = ("hashed", "free", "none")
MAPS = {"element": {}, "tiles": {"tile": 2}, "tiles that overlap": {"tile": 3}}
every_bias = pytest.mark.parametrize("bias", BIASES)
every_map = pytest.mark.parametrize("arguments", MAPS.values(), ids=MAPS)
both_paths = pytest.mark.parametrize("small", [True, False], ids=["small", "panels"])


def fill(layer, make=integers):
    """Give the parameters values made by `make`; return the layer."""
    for seed, param in enumerate(layer.params.values()):
        param[...] = make(param.shape, param.dtype, seed)
    return layer


@st.composite
def layers(draw):
    """A layer with whole-numbered parameters; extents of 1 are frequent."""
    in_features, out_features = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    bias = draw(st.sampled_from(BIASES))
    columns = in_features + (bias == "hashed")
    num_buckets = draw(st.one_of(st.just(1), st.integers(1, out_features * columns)))
    layer = HashedLinear(
        in_features,
        out_features,
        num_buckets=num_buckets,
        tile=draw(st.just(1) | st.integers(1, min(columns, num_buckets))),
        seed=draw(st.one_of(st.integers(0, 2**32 - 1), st.just(2**32 - 1))),
        signed=draw(st.booleans()),
        bias=bias,
        dtype=draw(st.sampled_from([np.float32, np.float64])),
    )
    return fill(layer)


batches = st.integers(1, 4)


def lookup(layer):
    """The layer's map in plain loops."""
    return naive.tiles(layer.seed, layer.num_buckets, layer.columns, layer.tile, layer.signed)


def take_path(monkeypatch, small):
    """Let all products be small, or none."""
    monkeypatch.setattr(panels, "SMALL_BATCH", 10**9 if small else -1)
    monkeypatch.setattr(panels, "SMALL_WORK", -1)


def case(layer, batch):
    """inputs, grad_outputs"""
    return (
        integers((batch, layer.in_features), layer.dtype, seed=10),
        integers((batch, layer.out_features), layer.dtype, seed=11),
    )


def forward(layer, inputs):
    return layer.forward(inputs, training=True)


# -------------------------------------------------------------------------------- plain loops


@given(layers(), batches)
def test_forward_equals_naive(layer, batch):
    inputs, _ = case(layer, batch)
    arguments = layer.out_features, layer.bias, layer.params.get("bias")
    ref = naive.hashed_forward(inputs, layer.weight, lookup(layer), *arguments)
    np.testing.assert_array_equal(layer.forward(inputs), ref)
    np.testing.assert_array_equal(forward(layer, inputs), ref)


@given(layers(), batches, st.booleans())
def test_backward_equals_naive(layer, batch, need_grad_inputs):
    inputs, grad_outputs = case(layer, batch)
    ref_grad_inputs, ref_grad_weight, ref_grad_bias = naive.hashed_backward(
        inputs, layer.weight, lookup(layer), grad_outputs, layer.bias
    )
    forward(layer, inputs)
    grad_inputs = layer.backward(grad_outputs, need_grad_inputs)
    if need_grad_inputs:
        np.testing.assert_array_equal(grad_inputs, ref_grad_inputs)
    else:
        assert grad_inputs is None
    np.testing.assert_array_equal(layer.grads["weight"], ref_grad_weight)
    assert ("bias" in layer.grads) == (layer.bias == "free")
    if layer.bias == "free":
        np.testing.assert_array_equal(layer.grads["bias"], ref_grad_bias)


@every_map
@every_bias
@both_paths
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_real_numbers_equal_naive(monkeypatch, arguments, bias, small, dtype, tolerance):
    def normal(shape, dtype, seed):
        return np.random.default_rng(seed).normal(size=shape).astype(dtype)

    take_path(monkeypatch, small)
    layer = HashedLinear(30, 20, compression=1 / 8, seed=5, bias=bias, dtype=dtype, **arguments)
    fill(layer, normal)
    inputs, grad_outputs = normal((5, 30), dtype, 10), normal((5, 20), dtype, 11)
    arguments = inputs, layer.weight, lookup(layer)
    close = {"rtol": tolerance, "atol": 10 * tolerance}

    ref = naive.hashed_forward(*arguments, 20, bias=bias, free=layer.params.get("bias"))
    np.testing.assert_allclose(forward(layer, inputs), ref, **close)
    refs = naive.hashed_backward(*arguments, grad_outputs, bias=bias)
    np.testing.assert_allclose(layer.backward(grad_outputs), refs[0], **close)
    for grad, ref in zip(layer.grads.values(), refs[1:]):
        np.testing.assert_allclose(grad, ref, **close)


@given(layers())
def test_virtual_matrix_and_bias_equal_naive(layer):
    ref = naive.virtual_matrix(layer.weight, lookup(layer), layer.out_features, layer.columns)
    np.testing.assert_array_equal(layer.virtual_weight_matrix(), ref[:, : layer.in_features])
    biases = {
        "hashed": ref[:, -1],
        "free": layer.params.get("bias"),
        "none": np.zeros(layer.out_features),
    }
    np.testing.assert_array_equal(layer.virtual_bias(), biases[layer.bias])
    for array in (layer.virtual_weight_matrix(), layer.virtual_bias()):
        assert array.dtype == layer.dtype
        assert not any(np.shares_memory(array, param) for param in layer.params.values())


# --------------------------------------------------------------------------------------- laws


@given(layers(), batches)
def test_forward_equals_dense_with_the_virtual_matrix(layer, batch):
    inputs, _ = case(layer, batch)
    ref = inputs @ layer.virtual_weight_matrix().T + layer.virtual_bias()
    np.testing.assert_array_equal(layer.forward(inputs), ref)


@every_map
def test_a_layer_of_many_panels_equals_dense_with_the_virtual_matrix(arguments):
    layer = fill(HashedLinear(1100, 700, compression=1 / 64, seed=3, **arguments))
    inputs, grad_outputs = case(layer, 5)
    matrix, bias = layer.virtual_weight_matrix(), layer.virtual_bias()
    np.testing.assert_array_equal(forward(layer, inputs), inputs @ matrix.T + bias)
    np.testing.assert_array_equal(layer.backward(grad_outputs), grad_outputs @ matrix)

    grad_matrix = grad_outputs.T @ np.hstack([inputs, np.ones((5, 1), np.float32)])
    buckets, signs = layer.bucket_map(np.arange(700)[:, None], np.arange(1101))
    ref = np.bincount(buckets.ravel(), (signs * grad_matrix).ravel())
    np.testing.assert_array_equal(layer.grads["weight"], ref)


@given(layers(), batches)
def test_outputs_equal_the_weight_times_the_feature_hash(layer, batch):
    inputs, _ = case(layer, batch)
    comp = layer.forward(inputs) - (layer.virtual_bias() if layer.bias == "free" else 0)
    columns = np.array(naive.with_bias_column(inputs, layer.bias))
    for i in range(layer.out_features):
        phi = hashing.feature_hash(columns, layer.bucket_map, i)
        np.testing.assert_array_equal(comp[:, i], phi @ layer.weight)


@every_map
def test_backward_expands_nothing_where_the_gradient_of_the_inputs_is_not_needed(monkeypatch, arguments):
    take_path(monkeypatch, small=False)
    layer = fill(HashedLinear(5, 4, num_buckets=8, **arguments))
    inputs, grad_outputs = case(layer, 2)
    forward(layer, inputs)
    layer.backward(grad_outputs)
    ref = layer.grads["weight"].copy()
    twin = kernels.of_map(numpy_cpu, layer.bucket_map)._replace(expand=None)  # cannot be called
    monkeypatch.setattr(kernels, "get", lambda map: twin)
    assert layer.backward(grad_outputs, need_grad_inputs=False) is None
    np.testing.assert_array_equal(layer.grads["weight"], ref)


def test_one_bucket_holds_every_weight():
    layer = HashedLinear(4, 3, num_buckets=1, signed=False, bias="none")
    layer.weight[:] = 2
    np.testing.assert_array_equal(layer.forward([[1, 2, 3, 4]]), [[20, 20, 20]])
    layer.forward([[1, 2, 3, 4]], training=True)
    np.testing.assert_array_equal(layer.backward([[1, 1, -3]]), [[-2, -2, -2, -2]])
    np.testing.assert_array_equal(layer.grads["weight"], [-10])


@every_map
@every_bias
@both_paths
def test_a_read_only_or_strided_weight_will_do(monkeypatch, arguments, bias, small):
    take_path(monkeypatch, small)
    layer = fill(HashedLinear(5, 4, num_buckets=3, bias=bias, **arguments))
    inputs, grad_outputs = case(layer, 2)
    ref, ref_grad = forward(layer, inputs), layer.backward(grad_outputs)
    wide = np.repeat(layer.weight, 2)
    wide.flags.writeable = False
    layer.params["weight"] = wide[::2]
    np.testing.assert_array_equal(forward(layer, inputs), ref)
    np.testing.assert_array_equal(layer.backward(grad_outputs), ref_grad)


# ------------------------------------------------------------------------------- construction


@every_bias
@pytest.mark.parametrize("compression", [1, 0.5, 1 / 3, 1 / 64, 1e-9])
def test_num_buckets_is_the_rounded_share_of_the_virtual_weights(bias, compression):
    virtual = 785_000 if bias == "hashed" else 784_000
    layer = HashedLinear(784, 1000, compression=compression, bias=bias)
    assert layer.num_buckets == max(1, round(compression * virtual)) == layer.weight.size
    free = 1000 if bias == "free" else 0
    assert layer.num_virtual == virtual + free
    assert layer.num_parameters == layer.num_buckets + free


def test_paper_sized_layer_stores_what_it_says():
    layer = HashedLinear(784, 1000, compression=1 / 64)
    assert (layer.num_buckets, layer.num_virtual) == (12_266, 785_000)
    assert layer.weight.nbytes == 49_064


@pytest.mark.parametrize("initializer", ["uniform", "normal"])
@pytest.mark.parametrize("size", [{"num_buckets": 1}, {"compression": 1 / 64}, {"compression": 1}])
@pytest.mark.parametrize("gain", [1.0, np.sqrt(2)])
@every_bias
def test_initial_virtual_weights_have_the_second_moment_of_a_dense_layer(
    initializer, size, gain, bias
):
    layer = HashedLinear(300, 200, initializer=initializer, gain=gain, seed=4, bias=bias, **size)
    ref = gain**2 / layer.columns
    comp = np.mean(np.square(layer.virtual_weight_matrix(), dtype=np.float64))
    assert comp == pytest.approx(ref, rel=0.05)  # exact in w; V draws its entries from w
    assert np.mean(np.square(layer.weight, dtype=np.float64)) == pytest.approx(ref, rel=1e-5)
    if bias == "free":
        assert not layer.params["bias"].any()


@every_map
def test_seeds_give_different_weights_and_maps(arguments):
    first, second = (HashedLinear(20, 20, num_buckets=20, seed=seed, **arguments) for seed in (0, 1))
    assert (first.weight != second.weight).all()
    second.weight = first.weight
    assert not np.array_equal(first.virtual_weight_matrix(), second.virtual_weight_matrix())


@pytest.mark.parametrize(
    "change, name",
    [
        *(({"in_features": value}, "in_features") for value in (0, -1, 2.0, "3", None, 2**32 - 1)),
        *(({"out_features": value}, "out_features") for value in (0, -1, 2.0, None, 2**32 - 1)),
        *(({"num_buckets": value}, "num_buckets") for value in (0, -1, 2.0, 13, 2**30, "4")),
        ({"num_buckets": None}, "num_buckets"),
        ({"compression": 0.5}, "compression"),
        *(
            ({"num_buckets": None, "compression": value}, "compression")
            for value in (0, -0.1, 1.01, np.nan, "half", [0.5])
        ),
        *(({"seed": value}, "seed") for value in (-1, 2**32, 0.5, None)),
        *(({"tile": value}, "tile") for value in (0, -1, 5, 2.0, 0.5, np.nan, "half", "5", True, [3], None)),
        *(({"signed": value}, "signed") for value in ("yes", 1, None)),
        *(({"bias": value}, "bias") for value in (True, "dense", None)),
        *(({"initializer": value}, "initializer") for value in ("xavier", None)),
        *(({"gain": value}, "gain") for value in (0, -1, np.inf, np.nan, "a")),
        *(({"dtype": value}, "dtype") for value in (np.int32, np.float16, "real")),
    ],
)
def test_constructor_refuses(change, name):
    arguments = {"in_features": 3, "out_features": 3, "num_buckets": 4} | change
    with pytest.raises(ValueError, match=rf"\b{name} is .*wanted"):
        HashedLinear(**arguments)


def test_num_buckets_reaches_up_to_the_virtual_weights():
    assert HashedLinear(3, 3, num_buckets=12).num_buckets == 12
    assert HashedLinear(3, 3, num_buckets=9, bias="none").num_buckets == 9
    with pytest.raises(ValueError, match="num_buckets is 10"):
        HashedLinear(3, 3, num_buckets=10, bias="none")
    with pytest.raises(ValueError, match="num_buckets is 10"):
        HashedLinear(3, 3, num_buckets=10, bias="free")


def test_limits_are_checked_before_anything_is_allocated():
    with pytest.raises(ValueError, match="num_buckets"):
        HashedLinear(2**31, 2**31, compression=1)


# ------------------------------------------------------------------------------- the way to a kernel


@pytest.mark.parametrize("tile", [1, "auto"])
@pytest.mark.parametrize("batch", [1, 64])
def test_five_files_lead_from_forward_to_a_kernel(tile, batch, monkeypatch):
    """Besides devices.py and threads.py, which say where a task is run and not what it computes."""
    layer, paths = HashedLinear(200, 300, compression=1 / 64, tile=tile), []

    def watched(kernel):
        def call(*arguments):
            frame, files = sys._getframe(1), {kernel.__module__.rpartition(".")[2] + ".py"}
            while frame.f_code is not HashedLinear.forward.__code__:
                files.add(Path(frame.f_code.co_filename).name)
                frame = frame.f_back
            paths.append({*files, Path(frame.f_code.co_filename).name} - {"devices.py", "threads.py"})
            return kernel(*arguments)

        return call

    kinds = {
        kind: own._replace(**{name: watched(kernel) for name, kernel in own._asdict().items()})
        for kind, own in numpy_cpu.KERNELS.items()
    }
    monkeypatch.setattr(numpy_cpu, "KERNELS", kinds)
    for name in ("arrange", "gather", "multiply_row"):
        monkeypatch.setattr(numpy_cpu, name, watched(getattr(numpy_cpu, name)))
    monkeypatch.setattr(kernels, "module", lambda: numpy_cpu)
    layer.forward(np.ones((batch, 200)))
    assert paths and all(len(files) <= 5 for files in paths), paths
