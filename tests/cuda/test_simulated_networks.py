"""Whole networks on simulated GPUs: they train as on the CPU, on arrays that never become NumPy's."""

from __future__ import annotations

import os
import subprocess
import sys

import cards
import numpy as np
import pytest
import strict
from cards import every_card, kernels_on
from strict_card import StrictCard
from test_devices import LAYERS, numbers

from minihash import HashedLinear, evaluate, fit, mlp, save, virtual_matrix
from minihash.kernels import devices, panels
from minihash.optimizers import Adam

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # of uint32, wanted
FEATURES, ROWS = 5, 8


def rows():
    inputs = np.random.default_rng(0).integers(0, 256, (ROWS, FEATURES)).astype(np.uint8)
    return inputs, inputs[:, :3].argmax(axis=1)


def network_of(**options):
    settings = {"dropout": (0.1, 0.2), "seed": 3, "input_scale": 1 / 255, **options}
    return mlp([FEATURES, 4, 3], compression=1 / 2, **settings)


def trained(network):
    fit(network, rows(), epochs=1, batch_size=4, optimizer=Adam(0.01))
    return network


@pytest.fixture(params=[True, False], ids=["small", "panels"])
def products(request, monkeypatch):
    """Products without panels, or with many."""
    monkeypatch.setattr(panels, "SMALL_BATCH", 10**9 if request.param else -1)
    for name, value in (("SMALL_WORK", -1), ("PANEL_SIZE", 6), ("PANEL_SUMMED", 2)):
        monkeypatch.setattr(panels, name, value)
    monkeypatch.setattr(virtual_matrix, "ADDITION", 0)


@every_card
@pytest.mark.parametrize("sums", ["KERNELS", "DETERMINISTIC"])
@pytest.mark.parametrize("tile", [1, 4])
def test_a_network_trains_on_a_simulated_card_as_on_the_cpu(card, sums, tile, products):
    device = StrictCard(kernels_on(card), sums)
    device.panels = 2
    ref, comp = trained(network_of(tile=(tile, 1))), trained(network_of(tile=(tile, 1)).to(device))
    for name, array in comp.params.items():
        assert isinstance(array, strict.ndarray)
        np.testing.assert_allclose(device.get(array), ref.params[name], rtol=1e-3, atol=1e-5)
    assert evaluate(comp, rows())["error"] == evaluate(ref, rows())["error"]


OPTIONS: list[dict] = [{}, {"bias": "free"}, {"signed": False}, {"tile": 2}, {"tile": 4}]


@every_card
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_virtual_matrix_has_the_same_bits_on_a_card(card, options, products):
    """Multiplying the identity shows V, without a rounding."""
    ref, comp = (HashedLinear(FEATURES, 7, num_buckets=9, seed=5, **options) for _ in range(2))
    device = StrictCard(kernels_on(card))
    comp.to(device)
    ones = np.eye(FEATURES, dtype=np.float32)
    for layer in (ref, comp):
        layer.weight = np.round(np.arange(9) - 4)  # whole, so that a hashed bias may be taken off again
    bias = ref.forward(np.zeros((1, FEATURES)))
    shown = device.get(comp.forward(ones)) - bias
    assert shown.T.tobytes() == (ref.forward(ones) - bias).T.tobytes()
    np.testing.assert_array_equal(shown.T, ref.virtual_weight_matrix())


def test_numbas_simulator_is_a_device_of_its_own():
    """`network.to("cuda")` under NUMBA_ENABLE_CUDASIM=1: NumPy's arrays, the GPU's kernels."""
    cards.make_small(devices.get("cuda").kernels)
    ref, comp = trained(network_of()), trained(network_of().to("cuda"))
    assert comp.device.name == "cuda" and comp.device.xp is np
    for name, array in comp.params.items():
        np.testing.assert_allclose(array, ref.params[name], rtol=1e-3, atol=1e-5)
    fixed = [trained(network_of().to("cuda", deterministic=True)) for _ in range(2)]
    assert fixed[0].device.deterministic and fixed[0].device is fixed[1].device
    for name, array in fixed[0].params.items():
        assert array.tobytes() == fixed[1].params[name].tobytes()


def test_the_command_line_runs_on_the_simulator(tmp_path):
    model, inputs = tmp_path / "model.safetensors", tmp_path / "inputs.npy"
    network = network_of(class_names="abc")
    save(network, model)
    np.save(inputs, rows()[0][:2])
    said = []
    for device in ("cpu", "cuda"):
        command = [sys.executable, "-m", "minihash", "predict", str(model), str(inputs), "--device", device]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] and said[0].startswith("label,p(a)")


@every_card
@pytest.mark.parametrize(
    "name", ["element, hashed", "element, free", "tiles, shared", "tiles, panels", "dropout"]
)
def test_layers_compute_the_same_on_a_simulated_card(card, name, products):
    """The layers that have kernels, forward and backward, in float32 (the kernels have both dtypes)."""
    ref, comp = LAYERS[name](), LAYERS[name]()
    device = StrictCard(kernels_on(card))
    device.panels = 2
    comp.to(device)
    inputs, grad_outputs = numbers((3, 7)), numbers((3, ref.out_features or 7), seed=1)
    outputs = device.get(comp.forward(inputs, training=True))
    np.testing.assert_allclose(outputs, ref.forward(inputs, training=True), rtol=1e-5, atol=1e-6)
    grads = device.get(comp.backward(grad_outputs)), ref.backward(grad_outputs)
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)
    for key, grad in ref.grads.items():
        np.testing.assert_allclose(device.get(comp.grads[key]), grad, rtol=1e-5, atol=1e-6)
