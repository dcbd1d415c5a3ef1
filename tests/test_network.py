"""Networks: their structure, their scaling, prediction in chunks, and what they refuse."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    hashing,
    mlp,
)
from minihash.builders import stack
from minihash.network import PREDICT_ROWS


def kinds(network):
    return [type(layer) for layer in network.layers]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ---------------------------------------------------------------------------------------- mlp


def test_mlp_is_hashed_layers_with_activations_between():
    network = mlp([5, 7, 6, 3], compression=0.5)
    assert kinds(network) == [HashedLinear, ReLU, HashedLinear, ReLU, HashedLinear]
    shapes = [(layer.in_features, layer.out_features) for layer in network.layers[::2]]
    assert shapes == [(5, 7), (7, 6), (6, 3)]
    assert [layer.num_buckets for layer in network.layers[::2]] == [21, 24, 10]
    assert (network.in_features, network.out_features) == (5, 3)


def test_mlp_without_buckets_is_dense():
    network = mlp([5, 7, 3], activation="tanh", seed=3)
    assert kinds(network) == [Linear, Tanh, Linear]
    assert network.num_parameters == network.num_virtual == 5 * 7 + 7 + 7 * 3 + 3
    network = mlp([5, 7, 3], activation="sigmoid", bias="none")
    assert kinds(network) == [Linear, Sigmoid, Linear]
    assert network.num_parameters == 5 * 7 + 7 * 3


@pytest.mark.parametrize(
    "dropout, rates",
    [
        (0.0, [0, 0, 0]),
        (0.25, [0, 0.25, 0.25]),
        ((0.1, 0.5), [0.1, 0.5, 0.5]),
        ((0.1, 0), [0.1, 0, 0]),
    ],
)
def test_mlp_drops_out_before_the_layers(dropout, rates):
    network = mlp([4, 5, 6, 2], compression=0.5, dropout=dropout)
    comp, rate = [], 0
    for layer in network.layers:
        if isinstance(layer, Dropout):
            rate = layer.rate
        if isinstance(layer, HashedLinear):
            comp.append(rate)
            rate = 0
    assert comp == rates
    seeds = [layer.seed for layer in network.layers if not isinstance(layer, ReLU)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("compression", [0.5, None])
@pytest.mark.parametrize("dropout", [0.5, 0])
@pytest.mark.parametrize("seed", [0, 1, 2015, 2**32 - 1])
def test_mlp_seeds_are_hashes_of_the_position(compression, dropout, seed):
    network = mlp([4, 5, 6, 2], compression=compression, dropout=dropout, seed=seed)
    seeds = [layer.seed for layer in network.layers if hasattr(layer, "weight")]
    assert seeds == [naive.layer_seed(position, seed) for position in range(3)]


def test_mlp_gains_suit_the_activation_that_follows():
    def gains(**arguments):
        layers = mlp([4, 5, 6, 2], compression=0.5, **arguments).layers
        return [layer.gain for layer in layers if isinstance(layer, HashedLinear)]

    assert gains() == [np.sqrt(2), np.sqrt(2), 1]
    assert gains(activation="tanh") == [1, 1, 1]


def test_mlp_passes_its_arguments_on():
    arguments = {"bias": "free", "signed": False, "initializer": "normal", "tile": 2}
    network = mlp(
        [4, 5, 2],
        num_buckets=3,
        dtype=np.float64,
        input_scale=2,
        input_shift=[1, 2, 3, 4],
        class_names=["a", "b"],
        **arguments,
    )
    for layer in network.layers[::2]:
        assert {name: getattr(layer, name) for name in arguments} == arguments
    assert network.dtype == np.float64 and network.class_names == ("a", "b")
    assert network.input_scale == 2 and network.input_shift.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("arguments", [{}, {"tile": 2}, {"tile": "auto"}])
def test_layers_of_equal_shape_have_different_maps_and_weights(arguments):
    layers = mlp([20, 20, 20, 20], compression=0.5, activation="tanh", **arguments).layers[::2]
    positions = np.arange(20)[:, None], np.arange(20)
    for n, layer in enumerate(layers):
        for other in layers[:n]:
            pairs = zip(layer.bucket_map(*positions), other.bucket_map(*positions))
            assert np.logical_and(*(mine == others for mine, others in pairs)).mean() < 0.05
            assert (layer.weight != other.weight).any()


@pytest.mark.parametrize(
    "tile, lengths", [(1, [1, 1]), (4, [4, 4]), ([5, 2], [5, 2]), ((1, 6), [1, 6]), ("auto", [6, 2])]
)
def test_tiles_of_each_layer(tile, lengths):
    network = mlp([20, 9, 7], num_buckets=[60, 15], tile=tile)
    assert [layer.tile for layer in network.layers[::2]] == lengths


def test_stack_asks_for_each_layer():
    asked = []

    def make_layer(position, in_features, out_features, **common):
        asked.append((position, in_features, out_features))
        kind, size = ((SparseLinear, {"num_weights": 9}), (LowRankLinear, {"rank": 2}))[position]
        return kind(in_features, out_features, **size, **common)

    arguments = {"dropout": 0.5, "seed": 7, "input_scale": 2, "initializer": "normal", "dtype": "f8"}
    network = stack([5, 4, 3], make_layer, **arguments)
    assert asked == [(0, 5, 4), (1, 4, 3)]
    assert kinds(network) == [SparseLinear, ReLU, Dropout, LowRankLinear]
    twin = mlp([5, 4, 3], **arguments)
    for layer, other in zip(network.layers, twin.layers):
        for name in {"seed", "gain", "initializer", "dtype", "rate"} & other.config().keys():
            assert layer.config()[name] == other.config()[name]
    assert network.input_scale == 2


def test_num_buckets_for_each_layer():
    network = mlp([28, 100, 50, 10, 1], num_buckets=8)
    assert network.num_parameters == 32 and network.nbytes == 128
    assert {param.shape for param in network.params.values()} == {(8,)}
    network = mlp([4, 5, 2], num_buckets=(7, 3))
    assert [param.size for param in network.params.values()] == [7, 3]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sizes": [4]}, "sizes is"),
        ({"sizes": []}, "sizes is"),
        ({"sizes": [4, 0, 2]}, r"sizes\[1\] is 0"),
        ({"compression": 0}, "compression is 0"),
        ({"compression": 2}, "compression is 2"),
        ({"num_buckets": 3}, "num_buckets is 3 and compression is 0.5"),
        ({"compression": None, "num_buckets": 0}, "num_buckets is 0"),
        ({"compression": None, "num_buckets": [3]}, "num_buckets has 1 values, wanted 2"),
        ({"compression": None, "num_buckets": [3, 3, 3]}, "num_buckets has 3 values, wanted 2"),
        ({"activation": "softmax"}, "activation is 'softmax'"),
        ({"dropout": 1.0}, "rate is 1"),
        ({"dropout": (-0.1, 0.5)}, "dropout is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"tile": 6}, "tile is 6, wanted 1 <= tile < 6"),
        ({"tile": 0}, "tile is 0"),
        ({"tile": "all"}, "tile is 'all', wanted one of 'auto'"),
        ({"tile": [2, 3, 2]}, "tile has 3 values, wanted 2"),
        ({"tile": 0.5}, "tile is 0.5"),
        ({"tile": None}, "tile is None"),
        ({"compression": None, "tile": 2}, "tile is 2, wanted 1: a dense layer has no tiles"),
        ({"compression": None, "tile": [1, 2]}, r"tile is \[1, 2\], wanted 1: a dense layer has no tiles"),
        ({"bias": "dense"}, "bias is 'dense'"),
        ({"compression": None, "bias": "dense"}, "bias is 'dense'"),
        ({"signed": 1}, "signed is 1"),
        ({"initializer": "zeros"}, "initializer is 'zeros'"),
        ({"dtype": "int8"}, "dtype is int8"),
        ({"input_scale": [1, 2]}, "input_scale has shape"),
        ({"class_names": ["a"]}, "class_names has 1 names, wanted 2"),
    ],
)
def test_mlp_refuses(change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        mlp(**({"sizes": [4, 5, 2], "compression": 0.5} | change))


# ----------------------------------------------------------------------------------- structure


@pytest.mark.parametrize(
    "layers, message",
    [
        ([], "layers is empty"),
        ([Linear], r"layers\[0\] is"),
        ([Linear(3, 4), "relu"], r"layers\[1\] is 'relu'"),
        ([Linear(3, 4), Linear(5, 2)], r"layers\[1\] has in_features 5, wanted 4"),
        ([Linear(3, 4), ReLU(), Linear(5, 2)], r"layers\[2\] has in_features 5, wanted 4"),
        ([Linear(3, 4), Linear(4, 2, dtype="f8")], r"layers\[1\] has dtype float64, wanted"),
        ([Linear(3, 4), Tanh(np.float64)], r"layers\[1\] has dtype float64"),
        (
            [HashedLinear(3, 4, num_buckets=2, seed=7), HashedLinear(4, 4, num_buckets=2, seed=7)],
            r"layers\[1\] has seed 7, as layers\[0\]",
        ),
        (
            [SparseLinear(4, 4, num_weights=5, seed=7), ReLU(), SparseLinear(4, 4, num_weights=5, seed=7)],
            r"layers\[2\] has seed 7, as layers\[0\]",
        ),
        (
            [LowRankLinear(4, 4, rank=2, seed=7), LowRankLinear(4, 4, rank=3, seed=7)],
            r"layers\[1\] has seed 7, as layers\[0\]",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Network(layers)


def test_only_hashed_layers_need_seeds_of_their_own():
    Network([Linear(3, 4), Linear(4, 3), HashedLinear(3, 3, num_buckets=2), Dropout(0.5)])


@pytest.mark.parametrize("name", ["input_scale", "input_shift"])
@pytest.mark.parametrize("value", [[1, 2], np.ones((1, 3)), "1", None, 1j, np.nan, [1, 2, np.inf]])
def test_wrong_scaling_is_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} "):
        Network([Linear(3, 2)], **{name: value})


def test_class_names_fit_the_outputs():
    assert Network([Linear(3, 1)], class_names=["no", "yes"]).class_names == ("no", "yes")
    assert Network([Linear(3, 3)]).class_names is None
    for out_features, names in [(1, ["yes"]), (3, ["a", "b"])]:
        with pytest.raises(ValueError, match="^class_names has"):
            Network([Linear(3, out_features)], class_names=names)


def test_params_and_grads_have_the_names_of_the_layers():
    network = mlp([4, 5, 3], compression=0.5, bias="free", dropout=0.5)
    assert kinds(network) == [HashedLinear, ReLU, Dropout, HashedLinear]
    assert list(network.params) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert list(network.grads) == list(network.params)
    assert network.params["3.weight"] is network.layers[3].weight
    assert network.grads["3.bias"] is network.layers[3].grads["bias"]
    assert network.num_parameters == 10 + 5 + 8 + 3
    assert network.num_virtual == 20 + 5 + 15 + 3


def test_forward_and_backward_are_those_of_the_layers():
    network = mlp([4, 5, 3], compression=0.5, activation="tanh", dtype=np.float64)
    inputs, grad_outputs = normal(6, 4), normal(6, 3, seed=1)
    first, tanh, second = network.layers
    ref = second.forward(tanh.forward(first.forward(inputs)))
    np.testing.assert_array_equal(network.forward(inputs), ref)

    network.forward(inputs, training=True)
    ref = first.backward(tanh.backward(second.backward(grad_outputs)))
    refs = {name: grad.copy() for name, grad in network.grads.items()}
    for grad in network.grads.values():
        grad.fill(np.nan)
    np.testing.assert_array_equal(network.backward(grad_outputs), ref)
    for name, ref in refs.items():
        np.testing.assert_array_equal(network.grads[name], ref)

    for grad in network.grads.values():
        grad.fill(np.nan)
    assert network.backward(grad_outputs, need_grad_inputs=False) is None
    for name, ref in refs.items():
        np.testing.assert_array_equal(network.grads[name], ref)


def test_training_is_passed_to_the_layers():
    network = Network([Dropout(0.5), Linear(50, 1, bias=False)])
    network.params["1.weight"].fill(1)
    ones = np.ones((1, 50))
    assert network.forward(ones) == network.predict(ones) == 50
    dropped = network.forward(ones, training=True)
    assert dropped != 50 and dropped % 2 == 0
    with pytest.raises(RuntimeError, match="Linear.backward needs"):
        Network([Linear(3, 2)]).backward(np.zeros((1, 2)))


# ------------------------------------------------------------------------------------- scaling

SCALINGS = [(1 / 255, 0.0), (2.0, 3.0), (1.0, [1.0, 2, 3, 4]), ([1.0, 0, 2, -1], 0.5)]
every_scaling = pytest.mark.parametrize("scale, shift", SCALINGS)


@every_scaling
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_layer_sees_shifted_and_scaled_inputs(scale, shift, dtype):
    layer = HashedLinear(4, 3, num_buckets=5, dtype=dtype)
    network = Network([layer], input_scale=scale, input_shift=shift)
    raw = np.random.default_rng(0).integers(0, 256, (6, 4), np.uint8)
    ref = layer.forward((raw - np.array(shift)) * np.array(scale))
    for inputs in (raw, raw.astype(np.float64), np.asfortranarray(raw.astype(dtype))):
        kept = inputs.copy()
        for comp in (network.forward(inputs), network.predict(inputs)):
            assert comp.dtype == dtype
            np.testing.assert_allclose(comp, ref, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(inputs, kept)


@every_scaling
def test_gradient_of_raw_inputs_is_scaled_too(scale, shift):
    layer = HashedLinear(4, 3, num_buckets=5, dtype=np.float64)
    network = Network([layer], input_scale=scale, input_shift=shift)
    inputs, grad_outputs = normal(6, 4), normal(6, 3, seed=1)
    network.forward(inputs, training=True)
    # The network is linear but for a constant: <f(a + d) − f(a), δ> = <d, gradient>.
    step = normal(6, 4, seed=2)
    ref = ((network.forward(inputs + step) - network.forward(inputs)) * grad_outputs).sum()
    assert (step * network.backward(grad_outputs)).sum() == pytest.approx(ref, rel=1e-10)


@pytest.mark.parametrize("shift", [1.7e9, [1.7e9, -1.7e9, 0]])
@pytest.mark.parametrize("dtype", [np.float64, ">f8", np.int64])
def test_what_float32_cannot_hold_is_shifted_before_it_is_rounded(shift, dtype):
    """A time stamp of the last minute: the next float32 is 128 seconds away."""
    near = np.random.default_rng(0).integers(-30, 30, (PREDICT_ROWS + 5, 3))
    raw = (near + np.array(shift).astype(np.int64)).astype(dtype)
    network = mlp([3, 8, 2], compression=0.5, seed=1, input_shift=shift, input_scale=0.05)
    plain = mlp([3, 8, 2], compression=0.5, seed=1, input_scale=0.05)
    expected = plain.forward(near.astype(np.float32))
    np.testing.assert_array_equal(network.forward(raw), expected)
    np.testing.assert_allclose(network.predict(raw), expected, rtol=1e-5, atol=1e-6)
    assert network.forward(raw).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_what_float32_holds_is_scaled_to_the_bits_it_was(dtype):
    inputs = (np.random.default_rng(0).random((9, 3)) * 200).astype(dtype)
    network = mlp([3, 2], input_shift=[33.3, 1 / 3, 0], input_scale=[0.3, 1, 2])
    shift, scale = (np.array(values, np.float32) for values in (network.input_shift, network.input_scale))
    expected = network.layers[0].forward((inputs.astype(np.float32) - shift) * scale)
    np.testing.assert_array_equal(network.forward(inputs), expected)
    assert (network.scale(inputs.astype(np.float32)) == (inputs.astype(np.float32) - shift) * scale).all()


def test_scaling_is_a_copy():
    scale = np.ones(3)
    network = Network([Linear(3, 2)], input_scale=scale)
    scale.fill(5)
    np.testing.assert_array_equal(network.input_scale, np.ones(3))


# ------------------------------------------------------------------------------------- predict


@pytest.mark.parametrize("rows", [0, 1, 2, 1023, 1024, 1025, 2048, 2049])
def test_predict_equals_forward_in_chunks(monkeypatch, rows):
    network = mlp([4, 5, 3], compression=0.5)
    inputs = np.random.default_rng(0).integers(-3, 4, (rows, 4))
    ref = network.forward(inputs)
    seen, forward = [], network.forward
    monkeypatch.setattr(network, "forward", lambda chunk: seen.append(len(chunk)) or forward(chunk))
    comp = network.predict(inputs)
    np.testing.assert_allclose(comp, ref, rtol=1e-5, atol=1e-6)
    assert comp.shape == (rows, 3) and comp.dtype == np.float32
    assert sum(seen) == rows and max(seen) <= PREDICT_ROWS == 1024


def test_predict_leaves_training_alone():
    network = mlp([4, 5, 3], compression=0.5, dropout=0.5)
    network.forward(normal(6, 4), training=True)
    network.predict(normal(2, 4))
    assert network.backward(np.zeros((6, 3))).shape == (6, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 5, 1500])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_predict_refuses_what_is_not_finite_and_names_the_row(value, row, dtype):
    inputs = np.zeros((1600, 4), dtype)
    inputs[row, 2] = value
    with pytest.raises(ValueError, match=f"^inputs has NaN or infinity in row {row}, wanted"):
        mlp([4, 3], compression=0.5).predict(inputs)


def test_predict_takes_large_numbers():
    # Their sum overflows, they do not.
    inputs = np.full((3, 4), np.finfo(np.float32).max, np.float32)
    network = Network([Linear(4, 1, bias=False)], input_scale=2.0**-127)
    network.params["0.weight"].fill(1)
    np.testing.assert_allclose(network.predict(inputs), np.full((3, 1), 8.0), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 4, 1), ()])
def test_predict_refuses_shapes(shape):
    with pytest.raises(ValueError, match="^inputs has shape"):
        mlp([4, 3], compression=0.5).predict(np.zeros(shape))


# ------------------------------------------------------------------------------------- summary


def test_summary_of_the_papers_network():
    network = mlp([784, 1000, 10], compression=1 / 64)
    assert network.num_virtual == 795_010
    assert network.num_parameters == 12_422
    assert network.nbytes == 49_688
    lines = [line.split() for line in network.summary().splitlines()]
    for row in [
        "HashedLinear 784 -> 1000 785,000 12,266 49,064 1/64",
        "HashedLinear 1000 -> 10 10,010 156 624 1/64.17",
        "total 784 -> 10 795,010 12,422 49,688 1/64",
    ]:
        assert row.split() in lines
    assert ["ReLU"] in lines


def test_summary_of_a_dense_network_and_of_one_without_parameters():
    lines = [line.split() for line in mlp([3, 2], dtype=np.float64).summary().splitlines()]
    assert lines[-1] == "total 3 -> 2 8 8 64 1".split()
    assert Network([ReLU()]).summary().splitlines()[-1].strip() == "total"


# -------------------------------------------------------------------------------- the whole


@pytest.mark.parametrize("tiles", [[1, 1], [4, 3], [6, 1]])
def test_a_network_equals_its_plain_loops(tiles):
    network = mlp([5, 6, 3], compression=0.5, dtype=np.float64, seed=9, input_scale=0.5, tile=tiles)
    sizes = (18, 6), (10, 7)  # buckets and columns
    lookups = [
        naive.tiles(naive.layer_seed(position, 9), *size, tile)
        for position, (size, tile) in enumerate(zip(sizes, tiles))
    ]
    inputs = normal(4, 5)
    first, _, second = network.layers
    hidden = naive.hashed_forward(0.5 * inputs, first.weight, lookups[0], 6)
    hidden = [[naive.relu(z) for z in row] for row in hidden]
    ref = naive.hashed_forward(hidden, second.weight, lookups[1], 3)
    np.testing.assert_allclose(network.predict(inputs), ref, rtol=1e-12)
    assert hashing.layer_seed(1, 9) == second.seed


@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    memory_bytes=st.integers(0, 20_000),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_memory_bytes_are_the_most_and_nearly_used(bias, sizes, memory_bytes, dtype):
    itemsize = np.dtype(dtype).itemsize
    least = itemsize * (len(sizes) - 1 + (sum(sizes[1:]) if bias == "free" else 0))
    if memory_bytes < least:
        with pytest.raises(ValueError, match=f"^memory_bytes is {memory_bytes}, wanted {least} <="):
            mlp(sizes, memory_bytes=memory_bytes, bias=bias, dtype=dtype)
        return
    network = mlp(sizes, memory_bytes=memory_bytes, bias=bias, dtype=dtype)
    all_of_it = itemsize * network.num_virtual
    assert network.nbytes <= memory_bytes
    assert network.nbytes > min(memory_bytes, all_of_it) - itemsize * len(sizes)


def test_layers_share_the_memory_by_their_size():
    network = mlp([784, 100, 10], memory_bytes=24_000)
    rates = [layer.num_buckets / layer.num_virtual for layer in network.layers if layer.params]
    assert max(rates) / min(rates) < 1.01 and 23_992 <= network.nbytes <= 24_000


@pytest.mark.parametrize("sizes", [[3, 0], [0, 0], [3, "a"], [3, None], [3, 2.5]])
def test_wrong_sizes_are_refused_whatever_is_wanted_of_them(sizes):
    for size in ({"memory_bytes": 100}, {"compression": 0.5}, {}):
        with pytest.raises(ValueError, match=r"^sizes\[.\] is "):
            mlp(sizes, **size)


@pytest.mark.parametrize("other", [{"compression": 0.5}, {"num_buckets": 3}])
def test_one_size_alone_is_wanted(other):
    with pytest.raises(ValueError, match="^memory_bytes is given and so is .*, wanted one of them$"):
        mlp([3, 2], memory_bytes=100, **other)
