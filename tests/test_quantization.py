"""Quantised buckets: codes, scales, sizes, what they predict, and the fine-tune."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from minihash import (
    HashedLinear,
    Linear,
    Network,
    QuantizedHashedLinear,
    ReLU,
    evaluate,
    fit,
    load,
    mlp,
    save,
)
from minihash.kernels import panels
from minihash.optimizers import SGD, Adam
from minihash.quantization import StraightThrough, choose_scale, codes_of, fine_tune, quantize, quantized

both_bits = pytest.mark.parametrize("bits", [8, 4])
BIASES = ("hashed", "free", "none")


def largest(bits):
    return 2 ** (bits - 1) - 1


# ----------------------------------------------------------------------------------------- layers


@st.composite
def layers(draw):
    """A hashed layer of floats of any kind."""
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    bias = draw(st.sampled_from(BIASES))
    virtual = rows * (columns + (bias == "hashed"))
    arguments = {"num_buckets": draw(st.integers(1, virtual)), "bias": bias, "signed": draw(st.booleans())}
    longest = min(columns + (bias == "hashed"), arguments["num_buckets"])
    arguments["tile"] = draw(st.sampled_from([1, "auto"]) | st.integers(1, longest))
    layer = HashedLinear(columns, rows, seed=draw(st.integers(0, 99)), **arguments)
    layer.weight = np.random.default_rng(draw(st.integers(0, 99))).normal(size=layer.num_buckets)
    if bias == "free":
        layer.params["bias"][...] = np.arange(rows)
    return layer


@both_bits
@pytest.mark.parametrize("panel_size", [6, panels.PANEL_SIZE])
@given(layer=layers(), batch=st.integers(0, 4))
def test_a_quantised_layer_is_the_layer_with_its_weights(bits, panel_size, layer, batch):
    (made,) = quantize(Network([layer]), bits).layers
    assert isinstance(made, QuantizedHashedLinear) and made.bits == bits
    twin = HashedLinear(**layer.config())
    twin.weight = made.weight
    if layer.bias == "free":
        twin.params["bias"][...] = layer.params["bias"]
    inputs = np.random.default_rng(0).normal(size=(batch, layer.in_features)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "PANEL_SIZE", panel_size)
        patch.setattr(panels, "PANEL_SUMMED", 3)
        np.testing.assert_allclose(made.forward(inputs), twin.forward(inputs), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(made.virtual_weight_matrix(), twin.virtual_weight_matrix())
    np.testing.assert_array_equal(made.virtual_bias(), twin.virtual_bias())


@both_bits
@given(data=st.data())
def test_codes_are_what_was_set(bits, data):
    count = data.draw(st.integers(1, 9))
    codes = data.draw(st.lists(st.integers(-largest(bits), largest(bits)), min_size=count, max_size=count))
    layer = QuantizedHashedLinear(3, 3, num_buckets=count, bias="none", bits=bits)
    layer.set_codes(np.array(codes), 0.5)
    assert layer.codes.tolist() == codes and layer.codes.dtype == np.int8
    np.testing.assert_array_equal(layer.weight, np.array(codes) * np.float32(0.5))


@both_bits
def test_codes_lie_in_memory_as_the_format_says(bits):
    layer = QuantizedHashedLinear(3, 3, num_buckets=3, bias="none", bits=bits)
    layer.set_codes(np.array([-7, 1, 5]), 1)
    wanted = {8: [249, 1, 5], 4: [1 | 9 << 4, 13 | 8 << 4]}[bits]
    assert layer.params["codes"].view(np.uint8).tolist() == wanted


def test_a_new_layer_has_weights_of_zero():
    layer = QuantizedHashedLinear(3, 4, num_buckets=5, bits=4)
    assert not layer.weight.any() and not layer.forward(np.ones((2, 3))).any()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"bits": 3}, "bits is 3, wanted 8 or 4"),
        ({"bits": True}, "bits is True, wanted 8 or 4"),
        ({"bits": None}, "bits is None, wanted 8 or 4"),
        ({"num_buckets": 0}, "num_buckets is 0, wanted"),
    ],
)
def test_the_layer_refuses(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        QuantizedHashedLinear(**{"in_features": 3, "out_features": 4, "num_buckets": 5, "bits": 8, **wrong})


def test_codes_are_refused():
    layer = QuantizedHashedLinear(3, 4, num_buckets=2, bits=4)
    for codes in ([0], [0.5, 1.0], ["a", "b"]):
        with pytest.raises(ValueError, match=r"^codes have shape .*, wanted 2 integers$"):
            layer.set_codes(np.array(codes), 1)
    for codes in ([8, 0], [0, -8], np.array([-128, 0], np.int8)):
        with pytest.raises(ValueError, match="^codes are .* … .*, wanted -7 … 7$"):
            layer.set_codes(np.array(codes), 1)
    for array in (layer.codes, layer.weight):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(ValueError, match="^weight is quantised, wanted codes"):
        layer.weight = [1, 2]


# ----------------------------------------------------------------------------------------- scales


@both_bits
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20).map(np.float32))
def test_no_weight_is_further_than_it_must_be(bits, weight):
    scale = choose_scale(weight, bits)
    assert scale > 0 and np.abs(codes_of(weight, scale, bits)).max() <= largest(bits)
    error = np.abs(quantized(weight, scale, bits) - weight)
    inside = np.abs(weight) <= largest(bits) * scale
    assert (error[inside] <= scale / 2 * 1.001).all()


@both_bits
def test_the_scale_has_the_least_squared_error(bits):
    weight = np.random.default_rng(0).normal(size=1000).astype(np.float32)

    def error(scale):
        return np.square(quantized(weight, scale, bits) - weight).sum()

    found = choose_scale(weight, bits)
    others = np.linspace(0.3, 1, 50) * np.abs(weight).max() / largest(bits)
    assert error(found) <= 1.001 * min(map(error, others))
    clips_nothing = np.abs(weight).max() / largest(bits)
    assert error(found) < error(clips_nothing) * {8: 1.001, 4: 0.9}[bits]


# --------------------------------------------------------------------------------------- networks


def digits(rows=400):
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (rows, 20)).astype(np.uint8)
    return inputs, (inputs[:, :10].astype(int).sum(axis=1) > inputs[:, 10:].sum(axis=1)).astype(int)


def trained(**arguments):
    network = mlp([20, 16, 2], compression=1 / 4, seed=1, input_scale=1 / 255, class_names="ab", **arguments)
    fit(network, digits(), epochs=30, batch_size=32, optimizer=Adam(0.01))
    return network


@both_bits
@pytest.mark.parametrize("tile", [1, "auto"])
def test_sizes_in_memory_and_on_disk(bits, tile, tmp_path):
    network = mlp([784, 100, 10], compression=1 / 8, tile=tile)
    small = quantize(network, bits)
    buckets = network.num_parameters
    assert small.nbytes <= buckets * bits / 8 + 2 * 1 + 2 * 4  # two layers: half a byte, a scale
    assert small.num_parameters == buckets + 2 and small.num_virtual == network.num_virtual
    path = tmp_path / "small.safetensors"
    save(small, path)
    assert path.stat().st_size <= small.nbytes + 2000  # the architecture
    assert not small.grads
    assert f"{small.nbytes:,}" in small.summary()


@both_bits
@pytest.mark.parametrize("tile", [1, "auto"])
def test_saved_and_loaded_it_predicts_the_same(bits, tile, tmp_path):
    small = quantize(trained(tile=tile, bias="free"), bits)
    save(small, tmp_path / "small.safetensors")
    with safe_open(tmp_path / "small.safetensors", "numpy") as file:
        assert file.get_slice("0.codes").get_dtype() == {8: "I8", 4: "U8"}[bits]
    again = load(tmp_path / "small.safetensors")
    assert again.predict(digits()[0]).tobytes() == small.predict(digits()[0]).tobytes()


@both_bits
def test_the_network_goes_on_as_it_was(bits):
    network = trained()
    before = {name: array.copy() for name, array in network.params.items()}
    small = quantize(network, bits)
    for name, array in network.params.items():
        assert array.tobytes() == before[name].tobytes()
    assert small.class_names == network.class_names and small.input_scale == network.input_scale
    errors = [evaluate(one, digits())["error"] for one in (network, small)]
    assert errors[1] <= errors[0] + 0.05


def test_other_layers_are_copied():
    layers = [HashedLinear(4, 3, num_buckets=5), ReLU(), Linear(3, 2)]
    small = quantize(Network(layers))
    assert [type(layer).__name__ for layer in small.layers] == ["QuantizedHashedLinear", "ReLU", "Linear"]
    np.testing.assert_array_equal(small.layers[2].weight, layers[2].weight)
    assert small.layers[2].weight is not layers[2].weight


@both_bits
@pytest.mark.parametrize(
    "dtype, size", [("f4", 3e38), ("f4", 1e-45), ("f4", 0), ("f8", 1e300), ("f8", 1e-300)]
)
def test_weights_of_any_size(bits, dtype, size):
    network = mlp([3, 2], num_buckets=4, dtype=dtype)
    network.layers[0].weight = np.array([1, -1, 0.5, 0]) * size
    made = quantize(network, bits).layers[0]
    assert np.isfinite(made.weight).all() and np.abs(made.weight).max() <= 1.1 * size + np.finfo(dtype).tiny
    if size > 1e-40 or dtype == "f8" and size:
        assert made.codes[0] == -made.codes[1] > 0


@pytest.mark.parametrize(
    "scales, message",
    [
        ({"1.weight": 1}, "scales is '1.weight', wanted one of '0.weight'"),
        ({"0.weight": 0}, r"scales\['0.weight'\] is 0, wanted 0 < "),
        ({"0.weight": "a"}, r"scales\['0.weight'\] is 'a', wanted a number"),
    ],
)
def test_wrong_scales_are_refused(scales, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        quantize(mlp([3, 2], num_buckets=4), 8, scales)


@pytest.mark.parametrize(
    "network, bits, message",
    [
        ("network", 8, "network is 'network', wanted a Network"),
        (mlp([3, 2]), 8, "network has no hashed layer of floats"),
        (quantize(mlp([3, 2], num_buckets=3)), 8, "network has no hashed layer of floats"),
        (mlp([3, 2], num_buckets=3), 2, "bits is 2, wanted 8 or 4"),
    ],
)
def test_quantize_refuses(network, bits, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        quantize(network, bits)


def test_a_quantised_network_does_not_train():
    with pytest.raises(ValueError, match="^the network is quantised and does not train, wanted floats"):
        fit(quantize(trained()), digits(), epochs=1)


# -------------------------------------------------------------------------------------- fine-tune


@both_bits
def test_a_fine_tuned_network_is_what_was_trained(bits):
    network = trained()
    small, history = fine_tune(network, digits(), bits=bits, epochs=3, batch_size=32)
    assert len(history) == 3
    for position in (0, 2):
        weight, made = network.layers[position].weight, small.layers[position]
        np.testing.assert_array_equal(weight, made.weight)  # on the grid, to the last bit
        assert len(np.unique(weight)) <= 2 * largest(bits) + 1
    outputs = small.predict(digits()[0]), network.predict(digits()[0])
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)


def test_a_fine_tune_mends_what_four_bits_cost():
    """Rounding costs, and training with it takes some of that back."""
    network = trained()
    rounded = evaluate(quantize(network, 4), digits())["loss"]
    small, _ = fine_tune(network, digits(), bits=4, epochs=20, batch_size=32, optimizer=Adam(1e-3))
    assert evaluate(small, digits())["loss"] < rounded


def test_a_fine_tune_that_diverges_says_so_and_leaves_the_network():
    network = trained()
    before = {name: array.copy() for name, array in network.params.items()}
    with pytest.raises(FloatingPointError, match="diverged"):
        fine_tune(network, digits(), epochs=3, optimizer=SGD(1e3, weight_decay=1e3))
    for name, array in network.params.items():
        assert array.tobytes() == before[name].tobytes()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"loss": "x"}, "loss is 'x'"),
        ({"optimizer": "adamw"}, "optimizer is 'adamw', wanted one of 'sgd', 'adam'"),
        ({"optimizer": Adam(), "learning_rate": 1.0}, "learning_rate is given and so is an optimizer Adam"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_a_fine_tune_with_wrong_arguments_leaves_the_network(arguments, message):
    network = trained()
    before = network.params["0.weight"].copy()
    with pytest.raises(ValueError, match=f"^{message}"):
        fine_tune(network, digits(), **arguments)
    assert network.params["0.weight"].tobytes() == before.tobytes()


def test_gradients_go_straight_through():
    """One step of SGD on a layer: w moves by the gradient at its rounded value, and is rounded again."""
    layer = HashedLinear(3, 2, num_buckets=4, seed=1, bias="none")
    network, weight = Network([layer]), layer.weight.copy()
    through = StraightThrough(SGD(0.1), network, 4)
    scale = through.scales["0.weight"]
    np.testing.assert_array_equal(layer.weight, quantized(weight, scale, 4))
    grad = np.array([1, -2, 3, 0.01], np.float32)
    through.step(network.params, {"0.weight": grad})
    np.testing.assert_array_equal(through.weights["0.weight"], weight - np.float32(0.1) * grad)
    np.testing.assert_array_equal(layer.weight, quantized(weight - np.float32(0.1) * grad, scale, 4))


def test_small_steps_add_up():
    """Steps far below the scale move the kept weights, and in the end the rounded ones."""
    layer = HashedLinear(3, 2, num_buckets=4, seed=1, bias="none")
    network = Network([layer])
    through = StraightThrough(SGD(1.0), network, 4)
    before, step = layer.weight.copy(), np.full(4, through.scales["0.weight"] / 10, np.float32)
    for _ in range(20):
        through.step(network.params, {"0.weight": step})
    clipped = -largest(4) * np.float32(through.scales["0.weight"])
    assert (layer.weight < before).sum() >= 3 and layer.weight.min() >= clipped


def test_the_schedule_sets_the_rate_of_the_inner_optimizer():
    network, inner = trained(), Adam(1e-3)
    through = StraightThrough(inner, network, 8)
    fit(network, digits(), epochs=1, optimizer=through, schedule=lambda t: 0.5 * 1e-3)
    assert inner.learning_rate == 0.5e-3 and through.steps == inner.steps > 0
