"""What dispatches on a kind refuses one that it does not know, by name."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

from minihash import HashedLinear, Network, ReLU, kernels, losses, mlp
from minihash.fused import LOSSES, TAKES, FusedNetwork, obstacle
from minihash.kernels import devices, folds, panels
from minihash.layers import quantized_hashed_linear as quantized
from minihash.layers.hashed_linear import MAKE_MAP
from minihash.layers.quantized_hashed_linear import QuantizedHashedLinear
from minihash.maps import ElementMap
from minihash.quantization import choose_scale, quantize

REFUSED = "^map is 'spiral', wanted one of 'element', 'window'(, 'tile')?$"


@dataclasses.dataclass(frozen=True)
class SpiralMap(ElementMap):
    """A third map, which no kernel knows."""

    name: ClassVar[str] = "spiral"


@pytest.fixture
def spiral(monkeypatch: pytest.MonkeyPatch) -> HashedLinear:
    """A layer of the third map: layers have it, and nobody else."""
    make = lambda layer, window: SpiralMap(layer.num_buckets, layer.seed, layer.signed)  # noqa: E731
    monkeypatch.setitem(MAKE_MAP, "spiral", make)
    monkeypatch.setattr("minihash.layers.hashed_linear.MAPS", (*MAKE_MAP,))
    return HashedLinear(4, 3, num_buckets=5, map="spiral")


@pytest.mark.parametrize("batch", [1, 600_000])
def test_a_third_map_is_not_computed_as_another(spiral: HashedLinear, batch: int) -> None:
    with pytest.raises(ValueError, match=REFUSED):
        spiral.forward(np.ones((batch, 4)))


def test_a_third_map_has_no_kernels_and_no_folds(spiral: HashedLinear) -> None:
    map, inputs = spiral.bucket_map, np.ones((2, 5), np.float32)
    for use in (
        lambda: kernels.get("spiral"),
        lambda: devices.CPU.kernels_of("spiral"),
        lambda: folds.fold(inputs, map),
        lambda: folds.unfold(inputs, map, 4),
        lambda: folds.folds_bias(map),
        lambda: panels.multiply([panels.Part(0, inputs)], spiral.weight, map, np.empty((2, 3), np.float32)),
    ):
        with pytest.raises(ValueError, match=REFUSED):
            use()


def test_a_third_map_is_not_fused(spiral: HashedLinear) -> None:
    network = Network([spiral, ReLU()])
    assert obstacle(network).startswith("layers[0] is a HashedLinear with map 'spiral', wanted HashedLinear")
    with pytest.raises(ValueError, match="'spiral'"):
        FusedNetwork(network)


def test_maps_that_layers_do_not_know() -> None:
    with pytest.raises(ValueError, match=REFUSED):
        HashedLinear(4, 3, num_buckets=5, map="spiral")
    with pytest.raises(ValueError, match=REFUSED):
        mlp([4, 3], num_buckets=5, map="spiral")


@pytest.mark.parametrize("dtype", ["float16", "int16", "uint16", "bool"])
def test_weights_of_another_dtype(dtype: str) -> None:
    parts, outputs = [panels.Part(0, np.ones((2, 5), np.float32))], np.empty((2, 3), np.float32)
    found = f"^weight has dtype {dtype}, wanted one of float32, .*, int8, uint8$"
    with pytest.raises(ValueError, match=found):
        panels.multiply(parts, np.ones(5, dtype), ElementMap(5, 1), outputs)


@pytest.mark.parametrize("bits", [2, 16, 0, -4, True, None, "8", 4.5])
def test_other_numbers_of_bits(bits: Any) -> None:
    config = HashedLinear(4, 3, num_buckets=5).config() | {"bits": bits}
    for use in (
        lambda: QuantizedHashedLinear(4, 3, num_buckets=5, bits=bits),
        lambda: QuantizedHashedLinear.param_shapes(config),
        lambda: QuantizedHashedLinear.param_dtypes(config),
        lambda: quantize(mlp([4, 3], compression=0.5), bits),
        lambda: quantized.packing(bits),
    ):
        with pytest.raises(ValueError, match=f"^bits is {bits!r}, wanted 8 or 4$"):
            use()


def test_codes_are_packed_as_they_are_unpacked() -> None:
    for bits, packing in quantized.PACKINGS.items():
        largest = quantized.largest_code(bits)
        codes = np.arange(-largest, largest + 1, dtype=np.int8).repeat(packing.per_byte)
        packed = packing.pack(codes)
        assert packed.dtype == packing.dtype and packed.size * packing.per_byte == codes.size
        np.testing.assert_array_equal(packing.unpack(packed), codes)
    assert choose_scale(np.float32([-7, 7, 1]), 4) == 1


def test_numbers_that_compiled_steps_do_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    network = mlp([4, 3, 2], compression=0.5)
    fused = FusedNetwork(network)
    inputs, targets = np.ones((2, 4)), np.array([0, 1])

    def another(outputs: Any, targets: Any) -> Any:
        return losses.softmax_cross_entropy(outputs, targets)

    ref = fused.loss_and_grads(another, inputs, targets)
    assert ref == pytest.approx(fused.loss_and_grads(losses.softmax_cross_entropy, inputs, targets))
    monkeypatch.setitem(LOSSES, another, 3)
    monkeypatch.setitem(TAKES, another, TAKES[losses.softmax_cross_entropy])
    with pytest.raises(ValueError, match="^unknown loss$"):
        fused.loss_and_grads(another, inputs, targets)
    outputs = fused.forward(inputs)
    fused._layers[0, 2] = 4  # an activation
    for use in (lambda: fused.backward(outputs), lambda: fused.forward(inputs)):
        with pytest.raises(ValueError, match="^unknown activation$"):
            use()


@pytest.mark.parametrize("name", ["tpu", "CPU", ""])
def test_other_devices(name: str) -> None:
    with pytest.raises(ValueError, match=f"^device is '{name}', wanted one of 'cpu', 'cuda'$"):
        devices.get(name)
