"""Devices: every layer, loss and optimizer on arrays that refuse to become NumPy's, and what is moved."""

from __future__ import annotations

import copy
import functools
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import strict
from strict_card import StrictCard

from benchmarks.paper.low_rank_linear import LowRankLinear
from minihash import (
    Dropout,
    HashedLinear,
    Linear,
    Network,
    ReLU,
    Sigmoid,
    Tanh,
    evaluate,
    export,
    fit,
    load,
    losses,
    mlp,
    save,
    virtual_matrix,
)
from minihash.arrays import array_module, as_array, on_host
from minihash.callbacks import EarlyStopping
from minihash.gradient_check import check_gradients
from minihash.kernels import devices, numpy_cpu, panels
from minihash.maps import BucketMap
from minihash.optimizers import SGD, Adam
from minihash.quantization import quantize

FEATURES, OUTPUTS, BATCH = 7, 5, 6
hashed = functools.partial(HashedLinear, FEATURES, OUTPUTS, num_buckets=9)
LAYERS = {
    **{
        f"element, {bias}": functools.partial(hashed, bias=bias) for bias in ("hashed", "free", "none")
    },
    "tiles, shared": functools.partial(hashed, tile=3, num_buckets=8),
    "tiles, panels": functools.partial(hashed, tile=2, num_buckets=15, bias="free"),
    "dense": functools.partial(Linear, FEATURES, OUTPUTS),
    "low rank": functools.partial(LowRankLinear, FEATURES, OUTPUTS, rank=3),
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "dropout": functools.partial(Dropout, 0.4),
}
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
with_and_without_panels = pytest.mark.parametrize("small", [True, False], ids=["small", "panels"])


@pytest.fixture
def card():
    strict.MOVED.clear()
    return StrictCard(numpy_cpu)


@pytest.fixture
def rows_in_order(monkeypatch):
    """Let no product be small, and none shared: a layer of few rows puts its columns in order."""
    monkeypatch.setattr(panels, "SMALL_WORK", -1)


@both_dtypes
@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
def test_few_rows_are_put_in_order_on_a_device(bias, dtype, card, rows_in_order):
    ref, comp = (hashed(tile=3, bias=bias, num_buckets=20, dtype=dtype) for _ in range(2))
    assert ref.matrix._puts_rows_in_order(BATCH) and not ref.matrix.shares
    comp.to(card)
    inputs, grad_outputs = numbers((BATCH, FEATURES), dtype), numbers((BATCH, OUTPUTS), dtype, 1)
    outputs = comp.forward(inputs, training=True)
    assert isinstance(outputs, strict.ndarray)
    assert_close(card.get(outputs), ref.forward(inputs, training=True))
    assert_close(card.get(comp.backward(grad_outputs)), ref.backward(grad_outputs))
    assert_close(card.get(comp.grads["weight"]), ref.grads["weight"])


@pytest.fixture
def sizes(monkeypatch, small, card):
    """Many panels, or none."""
    monkeypatch.setattr(panels, "SMALL_BATCH", 10**9 if small else -1)
    for name, value in (("SMALL_WORK", -1), ("PANEL_SIZE", 6), ("PANEL_SUMMED", 2)):
        monkeypatch.setattr(panels, name, value)
    monkeypatch.setattr(virtual_matrix, "ADDITION", 0)
    card.panels = 2


def numbers(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_close(comp, ref):
    assert comp.dtype == ref.dtype and comp.shape == ref.shape
    np.testing.assert_allclose(comp, ref, rtol=1e-5 if ref.dtype == np.float32 else 1e-12, atol=1e-6)


# ---------------------------------------------------------------------------------------- layers


@every_layer
@both_dtypes
@with_and_without_panels
def test_layers_compute_the_same_on_a_device(make, dtype, card, sizes):
    ref, comp = make(dtype=dtype), make(dtype=dtype)
    comp.to(card)
    inputs = numbers((BATCH, FEATURES), dtype)
    grad_outputs = numbers((BATCH, ref.out_features or FEATURES), dtype, 1)
    outputs = comp.forward(inputs, training=True)
    assert isinstance(outputs, strict.ndarray)
    assert_close(card.get(outputs), ref.forward(inputs, training=True))
    for need in (False, True):
        grads = [layer.backward(grad_outputs, need_grad_inputs=need) for layer in (comp, ref)]
        assert (grads[0] is None) == (grads[1] is None)
        if need:
            assert_close(card.get(grads[0]), grads[1])
        for name, grad in ref.grads.items():
            assert isinstance(comp.grads[name], strict.ndarray)
            assert_close(card.get(comp.grads[name]), grad)


@every_layer
def test_layers_take_arrays_of_the_device_without_moving_any(make, card):
    layer = make()
    layer.to(card)
    inputs = card.put(numbers((BATCH, FEATURES)))
    grad_outputs = card.put(numbers((BATCH, layer.out_features or FEATURES)))
    layer.forward(inputs)  # tables from the seed are moved once, here
    strict.MOVED.clear()
    layer.forward(inputs, training=True)
    layer.backward(grad_outputs)
    assert not strict.MOVED


def test_virtual_matrices_are_of_the_host(card):
    for make in LAYERS.values():
        layer = make()
        if hasattr(layer, "virtual_weight_matrix"):
            ref = layer.virtual_weight_matrix()
            layer.to(card)
            assert layer.virtual_weight_matrix().tobytes() == ref.tobytes()
            if hasattr(layer, "virtual_bias"):
                assert isinstance(layer.virtual_bias(), np.ndarray)


def test_weights_can_be_set_on_a_device(card):
    layer = HashedLinear(3, 4, num_buckets=5)
    layer.to(card)
    layer.weight = np.arange(5)
    np.testing.assert_array_equal(card.get(layer.weight), np.arange(5))
    with pytest.raises(ValueError, match="weight has shape .6,., wanted .5,."):
        layer.weight = np.arange(6)


# ------------------------------------------------------------------------- losses and optimizers

OUT, LABELS = numbers((BATCH, 3)), np.arange(BATCH) % 3
LOSSES = {
    "labels": (losses.softmax_cross_entropy, OUT, LABELS),
    "probabilities": (losses.softmax_cross_entropy, OUT, np.eye(3, dtype=np.float32)[LABELS]),
    "squares": (losses.mean_squared_error, OUT, numbers((BATCH, 3), seed=1)),
    "binary": (losses.binary_cross_entropy, OUT[:, :1], LABELS % 2),
    "distillation": (losses.distillation, OUT, losses.distillation_targets(LABELS, numbers((BATCH, 3)))),
}


@pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_compute_the_same_on_a_device(case, weighted, card):
    loss, outputs, targets = case
    weight = np.arange(1.0, BATCH + 1) if weighted else None
    ref, ref_grad = loss(outputs, targets, weight)
    moved = [None if array is None else card.put(array) for array in (outputs, targets, weight)]
    strict.MOVED.clear()
    comp, grad = loss(*moved)
    assert isinstance(comp, float) and comp == pytest.approx(ref, rel=1e-6)
    one_number = {"out": 2 if loss is losses.distillation else 1}  # two cross-entropies
    assert strict.MOVED == one_number
    assert_close(card.get(grad), ref_grad)


def test_every_loss_is_tried():
    assert {name for name in losses.LOSSES} == {case[0].__name__ for case in LOSSES.values()}


@pytest.mark.parametrize(
    "make",
    [SGD, lambda: SGD(0.1, 0.9, nesterov=True, weight_decay=0.1), lambda: Adam(0.1, weight_decay=0.1)],
)
def test_optimizers_compute_the_same_on_a_device(make, card):
    param, grads = numbers(9), [numbers(9, seed=seed) for seed in (1, 2)]
    ref, comp = {"a": param.copy()}, {"a": card.put(param)}
    optimizers = make(), make()
    strict.MOVED.clear()
    for grad in grads:
        optimizers[0].step(ref, {"a": grad})
        optimizers[1].step(comp, {"a": strict.ndarray(grad.copy())})
    assert not strict.MOVED
    assert_close(card.get(comp["a"]), ref["a"])
    for name, slot in optimizers[0].state.get("a", {}).items():
        assert_close(card.get(optimizers[1].state["a"][name]), slot)


def test_an_optimizer_does_not_follow_a_network(card):
    network, optimizer = mlp([3, 2]), Adam()
    optimizer.step(network.params, network.grads)
    network.to(card)
    with pytest.raises(ValueError, match="first_moment for '0.bias' is on another device|'0.weight' is on"):
        optimizer.step(network.params, network.grads)


# -------------------------------------------------------------------------------------- networks


def digits():
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (40, FEATURES)).astype(np.uint8)
    return inputs, inputs[:, :3].argmax(axis=1)


def network_of(**arguments):
    settings = {"dropout": (0.1, 0.2), "seed": 3, "input_scale": 1 / 255, **arguments}
    return mlp([FEATURES, 11, 3], compression=1 / 2, **settings)


@with_and_without_panels
def test_a_network_trains_to_the_same_weights_on_a_device(card, sizes):
    ref, comp = network_of(), network_of().to(card)
    histories = [fit(network, digits(), digits(), epochs=3, batch_size=16) for network in (ref, comp)]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-5)
    assert histories[0]["validation_error"] == histories[1]["validation_error"]
    for name, array in ref.params.items():
        np.testing.assert_allclose(card.get(comp.params[name]), array, rtol=1e-3, atol=1e-5)
    assert evaluate(comp, digits())["error"] == evaluate(ref, digits())["error"]
    outputs = comp.predict(digits()[0])
    assert isinstance(outputs, np.ndarray) and outputs.dtype == np.float32


@pytest.mark.parametrize("loss", ["mean_squared_error", "binary_cross_entropy"])
def test_other_losses_train_on_a_device(loss, card):
    inputs, labels = digits()
    network = mlp([FEATURES, 4, 1], compression=1 / 2, input_scale=1 / 255).to(card)
    history = fit(network, (inputs, labels % 2), loss=loss, epochs=20, optimizer=Adam(0.01))
    assert history["loss"][-1] < history["loss"][0]


def test_a_batch_is_one_transfer_in_and_one_out(card):
    network = network_of().to(card)
    rows, epochs = digits(), 3
    fit(network, rows, epochs=1, batch_size=10)
    strict.MOVED.clear()
    fit(network, rows, epochs=epochs, batch_size=10)
    finite = len(network.params) * epochs  # looked at once an epoch
    assert strict.MOVED == {"in": 4 * epochs, "out": 4 * epochs + finite}
    strict.MOVED.clear()
    network.predict(np.zeros((2500, FEATURES), np.uint8))
    assert strict.MOVED == {"in": 3, "out": 3}  # in chunks of 1024 rows


def test_scaling_by_feature_is_moved_once(card):
    network = Network([Linear(3, 2)], input_scale=[1, 2, 3], input_shift=[3, 2, 1]).to(card)
    ref = Network([Linear(3, 2)], input_scale=[1, 2, 3], input_shift=[3, 2, 1])
    inputs = numbers((4, 3))
    assert_close(network.predict(inputs), ref.predict(inputs))
    strict.MOVED.clear()
    network.forward(card.put(inputs), training=True)
    network.backward(card.put(numbers((4, 2))))
    assert strict.MOVED == {"in": 2}


def test_saved_from_a_device_and_loaded_on_the_cpu(card, tmp_path):
    network = network_of().to(card)
    fit(network, digits(), epochs=1)
    save(network, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.device is devices.CPU
    inputs = digits()[0]
    np.testing.assert_allclose(loaded.predict(inputs), network.predict(inputs), rtol=1e-4, atol=1e-5)


def test_there_and_back_again(card):
    network = network_of()
    before = {name: array.copy() for name, array in network.params.items()}
    assert network.to(card) is network and network.device is card
    network.to("cpu")
    for name, array in network.params.items():
        assert isinstance(array, np.ndarray) and array.tobytes() == before[name].tobytes()
    fit(network, digits(), epochs=1)


def test_best_weights_are_kept_on_the_device(card):
    network = network_of().to(card)
    fit(network, digits(), digits(), epochs=4, callbacks=[EarlyStopping(patience=1)])
    assert all(isinstance(array, strict.ndarray) for array in network.params.values())


def test_a_move_that_fails_leaves_all_where_it_was(card, monkeypatch):
    """Out of memory at the last layer."""
    network = network_of()
    ref = network.predict(digits()[0])
    put, left = StrictCard.put, [3]

    def scarce(self, value):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError("Out of memory allocating 512 bytes")
        return put(self, value)

    monkeypatch.setattr(StrictCard, "put", scarce)
    with pytest.raises(MemoryError):
        network.to(card)
    assert network.device is devices.CPU and all(layer.device is devices.CPU for layer in network.layers)
    np.testing.assert_array_equal(network.predict(digits()[0]), ref)


class OwnMap(BucketMap):
    """A map of one's own: a row has one weight."""

    slot = staticmethod(lambda key, row, segment: np.uint32(row % key[1]))


class OwnLayer(HashedLinear):
    map_type = OwnMap


def test_a_map_that_a_device_has_no_kernels_of_is_refused_by_name(card):
    layer, inputs = OwnLayer(FEATURES, OUTPUTS, num_buckets=9), numbers((BATCH, FEATURES))
    ref = layer.forward(inputs)
    refused = pytest.raises(ValueError, match="^map is 'OwnMap', wanted one of 'element', 'tiles'$")
    with refused:
        layer.to(card)
    assert layer.device is devices.CPU and layer.forward(inputs).tobytes() == ref.tobytes()

    network = Network([HashedLinear(FEATURES, FEATURES, num_buckets=9, seed=1), layer])
    ref = network.predict(inputs)
    strict.MOVED.clear()
    with refused:
        network.to(card)
    assert strict.MOVED == {"in": 2, "out": 2}  # the first layer's weights and gradients, there and back
    assert network.device is devices.CPU and all(layer.device is devices.CPU for layer in network.layers)
    assert network.predict(inputs).tobytes() == ref.tobytes()


def test_a_device_has_its_own_way_to_sum(card):
    with pytest.raises(ValueError, match="^deterministic is True and device is a Device, wanted its name"):
        mlp([3, 2]).to(card, deterministic=True)


def test_losses_move_targets_to_the_outputs(card):
    for loss, outputs, targets in LOSSES.values():
        weight = np.arange(1.0, BATCH + 1)
        comp, _ = loss(card.put(outputs), targets, weight)
        assert comp == pytest.approx(loss(outputs, targets, weight)[0], rel=1e-6)


def test_numbers_of_any_byte_order_arrive(card):
    values = np.array([1.5, -2, 3], ">f4"), np.array([1, 2], ">i8")
    for comp, ref in zip(card.put_together(*values), values):
        assert comp.dtype.isnative
        np.testing.assert_array_equal(card.get(comp), ref)


def test_tensors_of_the_host_are_no_arrays_of_a_device():
    class Tensor:
        """As PyTorch's: the class has the property, an instance on the CPU does not."""

        @property
        def __cuda_array_interface__(self):
            raise AttributeError("can't get __cuda_array_interface__ on non-CUDA tensor type")

        def __array__(self, dtype=None, copy=None):
            return np.array([0, 1, 2])

    assert on_host(Tensor()) and as_array(Tensor()).tolist() == [0, 1, 2]


def test_a_card_does_a_row_at_once_and_larger_layers_by_panels(card, monkeypatch):
    calls = []
    layer = HashedLinear(900, 700, num_buckets=50)
    layer.to(card)
    kernels = card.kernels_of(layer.bucket_map)
    spies = {
        kind: (lambda *a, kind=kind: (calls.append(kind), getattr(kernels, kind)(*a)))
        for kind in ("multiply", "expand", "gradients")
    }
    monkeypatch.setattr(card, "kernels_of", lambda map: kernels._replace(**spies))
    layer.forward(np.ones((1, 900)), training=True)
    assert calls == ["multiply"]
    layer.backward(np.ones((1, 700)))
    assert "gradients" not in calls and "expand" in calls


def test_a_new_forward_is_needed_after_a_move(card):
    network = network_of()
    network.forward(digits()[0], training=True)
    network.to(card)
    with pytest.raises(RuntimeError, match="needs a forward"):
        network.backward(np.zeros((40, 3)))


def test_what_needs_the_host_says_so(card, tmp_path):
    network = network_of().to(card)
    with pytest.raises(ValueError, match="^target is on cuda, wanted on cpu"):
        check_gradients(network, digits()[0])
    with pytest.raises(ValueError, match="^network is on cuda, wanted on cpu"):
        export.to_c(network, tmp_path)
    with pytest.raises(ValueError, match="^the network is quantised and stays on cpu, wanted floats"):
        quantize(network_of()).to(card)
    layers = [Linear(3, 4), Linear(4, 2)]
    layers[1].to(card)
    with pytest.raises(ValueError, match=r"^layers\[1\] is on cuda, wanted cpu as layers\[0\]"):
        Network(layers)


# ------------------------------------------------------------------------------------- the stand-in


PLANTED = {
    "a function of NumPy": lambda array: np.exp(array),
    "a function of NumPy that is no ufunc": lambda array: np.concatenate([array, array]),
    "an array of NumPy on the right": lambda array: array * np.ones(3),
    "an array of NumPy on the left": lambda array: np.ones(3) * array,
    "an array of NumPy added in place": lambda array: array.__iadd__(np.ones(3)),
    "an array of NumPy as an index": lambda array: array[np.arange(2)],
    "an array of NumPy assigned": lambda array: array.__setitem__(slice(None), np.ones(3)),
    "an array of NumPy among the arguments": lambda array: strict.maximum(array, np.ones(3)),
    "an array of NumPy to be filled": lambda array: strict.exp(array, out=np.ones(3)),
    "made into an array of NumPy": lambda array: np.asarray(array),
    "read one by one": lambda array: list(array),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_numpy_call_on_a_device_array_is_caught(plant):
    with pytest.raises(TypeError):
        plant(strict.ones(3))


@pytest.mark.parametrize("kind", [ReLU, Tanh, Linear, HashedLinear])
def test_a_numpy_call_in_a_layer_is_caught(kind, card):
    arguments = {Linear: (3, 3), HashedLinear: (3, 3)}.get(kind, ())
    options = {"num_buckets": 4} if kind is HashedLinear else {}

    class Planted(kind):
        def _forward(self, inputs, training):
            return super()._forward(np.abs(inputs), training)

    layer = Planted(*arguments, **options)
    layer.forward(np.ones((2, 3)))
    layer.to(card)
    with pytest.raises(TypeError):
        layer.forward(np.ones((2, 3)))


# ------------------------------------------------------------------------------------------ devices


def test_array_modules():
    assert array_module(np.ones(3)) is array_module([1, 2]) is array_module(3.0) is np
    assert array_module(strict.ones(3)) is strict
    assert on_host(np.float64(3)) and not on_host(strict.ones(3))
    assert isinstance(as_array([1, 2]), np.ndarray) and isinstance(as_array(strict.ones(3)), strict.ndarray)


def test_there_is_one_of_each_device():
    assert devices.get("cpu") is devices.CPU
    network = mlp([3, 2])
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert other.device is devices.CPU


def test_tables_are_freed_with_what_they_were_made_from(card):
    layer = LowRankLinear(4, 3, rank=2)
    layer.to(card)
    layer.forward(np.ones((2, 4)))
    assert len(card._resident) == 1
    del layer
    assert not card._resident


def test_packs_hold_arrays_of_any_kind(card):
    arrays = np.arange(6, dtype=np.uint8).reshape(2, 3)[:, ::2], numbers((3, 2), np.float64), np.array([True])
    strict.MOVED.clear()
    moved = card.put_together(*arrays)
    assert strict.MOVED == {"in": 1}
    for comp, ref in zip(moved, arrays):
        assert comp.dtype == ref.dtype
        np.testing.assert_array_equal(card.get(comp), ref)


@pytest.mark.parametrize("name", ["gpu", "CUDA", "", None, 0])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ValueError, match="^device is .*, wanted one of 'cpu', 'cuda'$"):
        mlp([3, 2]).to(name)


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "", **environment}
    )
    return done.stdout.strip(), done.stderr.strip()


def test_without_its_packages_a_card_is_one_line():
    code = """
import sys
sys.modules["cupy"] = None
from minihash.cli import main
sys.exit(main(["train", "--device", "cuda"]))
"""
    _, said = python(code)
    assert said.startswith("minihash: error: device cuda: ")
    assert said.endswith(": pip install '.[cuda]' in the checkout")
    assert "\n" not in said


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages are there, in these versions, and a CuPy with no card or of a strange driver."""
    versions = {"numba-cuda": "0.30.4", "cupy-cuda12x": "14.2.0", "numpy": "2.4.1"}
    monkeypatch.setattr("importlib.metadata.version", versions.__getitem__)
    monkeypatch.setattr(devices, "load_libraries", lambda: None)
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "0")
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 0)
    cuda = types.SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=cuda))
    return versions, runtime


@pytest.mark.parametrize(
    "package, version", [("numba-cuda", "0.31.0"), ("cupy-cuda12x", "13.6"), ("numpy", "2.5.0")]
)
def test_a_wrong_version_is_one_line(installed, package, version):
    installed[0][package] = version
    wanted = f"^device cuda: {package} is {version}, wanted >=.*: pip install .*$"
    with pytest.raises(ImportError, match=wanted):
        mlp([3, 2]).to("cuda")


def test_without_a_card_it_is_one_line(installed):
    with pytest.raises(OSError, match="^device cuda: no GPU is visible, wanted one: see CUDA_VISIBLE"):
        mlp([3, 2]).to("cuda")


def test_without_a_driver_it_is_one_line(installed):
    def fails():
        raise RuntimeError("====\ncudaErrorInsufficientDriver:\n  too old\n====")

    installed[1].getDeviceCount = fails
    wanted = "^device cuda: cudaErrorInsufficientDriver: too old; wanted an NVIDIA GPU and its driver$"
    with pytest.raises(OSError, match=wanted):
        mlp([3, 2]).to("cuda")


def test_what_does_not_run_is_said_before_training(card, monkeypatch):
    def fails(*arguments):
        raise AttributeError("module 'numpy' has no attribute\n'row_stack'")

    kernels = card.kernels.KERNELS["element"]
    monkeypatch.setitem(card.kernels.KERNELS, "element", kernels._replace(locate=fails))
    with pytest.raises(OSError, match="^device cuda: module 'numpy' has no .* 'row_stack'; wanted a GPU"):
        devices._try_out(card)


def test_what_runs_is_tried_out(card):
    devices._try_out(card)


@pytest.mark.slow
def test_the_cpu_never_touches_cuda():
    code = """
import sys, numpy, minihash
network = minihash.mlp([3, 4, 2], compression=1 / 2)
minihash.fit(network.to("cpu"), (numpy.ones((4, 3)), numpy.array([0, 1, 0, 1])), epochs=1)
print([name for name in sys.modules if "cuda" in name or "cupy" in name])
"""
    found, said = python(code)
    assert found == "[]", said
