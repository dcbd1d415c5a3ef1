"""Networks on a GPU, with CuPy: `pytest tests/cuda -m gpu` where there is one."""

from __future__ import annotations

import cupy
import numpy as np
import pytest
from test_devices import LAYERS, digits, network_of, numbers

from benchmarks.speed import gpu_cases
from minihash import HashedLinear, evaluate, fit
from minihash.kernels import devices, panels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not cupy.cuda.is_available(), reason="needs a GPU"),
]


def trained(device, **options):
    network = network_of().to(device, **options)
    fit(network, digits(), epochs=5, batch_size=16)
    return network


def values(network):
    return {name: network.device.get(array) for name, array in network.params.items()}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("batch", [1, 6, 300])
def test_layers_compute_the_same_on_a_card(make, batch):
    card = devices.get("cuda")
    ref, comp = make(), make()
    comp.to(card)
    inputs, grad_outputs = numbers((batch, 7)), numbers((batch, ref.out_features or 7), seed=1)
    outputs = card.get(comp.forward(inputs, training=True))
    np.testing.assert_allclose(outputs, ref.forward(inputs, training=True), rtol=1e-4, atol=1e-5)
    grads = card.get(comp.backward(grad_outputs)), ref.backward(grad_outputs)
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-5)
    for name, grad in ref.grads.items():
        np.testing.assert_allclose(card.get(comp.grads[name]), grad, rtol=1e-3, atol=1e-4)


def test_a_network_trains_on_a_card_as_on_the_cpu():
    ref, comp = trained("cpu"), trained("cuda")
    for name, array in values(comp).items():
        np.testing.assert_allclose(array, ref.params[name], rtol=1e-2, atol=1e-3)
    assert abs(evaluate(comp, digits())["error"] - evaluate(ref, digits())["error"]) < 0.1


def test_deterministic_training_has_the_same_bits_every_time():
    first, second = (values(trained("cuda", deterministic=True)) for _ in range(2))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_a_step_needs_the_buckets_and_panels_and_never_the_matrix():
    """16384 × 16384 at 1/64: V would have 1 GiB, the buckets have 16 MiB, a panel 64 MiB."""
    card, width, batch = devices.get("cuda"), 16384, 64
    layer = HashedLinear(width, width, compression=1 / 64)
    layer.to(card)
    pool = cupy.get_default_memory_pool()
    inputs, grad_outputs = (card.put(numbers((batch, width), seed=seed)) for seed in (0, 1))
    vars(card._scratch).clear()
    pool.free_all_blocks()
    before = pool.total_bytes()
    layer.forward(inputs, training=True)
    layer.backward(grad_outputs)
    card.synchronize()
    panel = 4 * card.panels * panels.PANEL_SIZE
    activations = 6 * 4 * batch * width  # inputs, outputs, gradients, products
    assert pool.total_bytes() - before <= 4 * panel + 2 * layer.weight.nbytes + activations
    assert 8 * panel < 4 * width * width


def test_too_large_a_network_is_one_clear_error():
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    limit = pool.get_limit()
    pool.set_limit(pool.total_bytes() + 2**20)
    try:
        with pytest.raises(MemoryError, match="[Mm]emory"):
            HashedLinear(4096, 4096, compression=1 / 8).to(devices.get("cuda"))
    finally:
        pool.set_limit(limit)


@pytest.mark.parametrize("shape", gpu_cases.SHAPES.values(), ids=gpu_cases.SHAPES)
def test_the_bench_runs(shape):
    assert len(list(gpu_cases.layer_case(*shape, 0))) >= 4
